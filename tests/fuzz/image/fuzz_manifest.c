#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "hyperd/image/manifest.h"

/* The input is index.json, and after a NUL manifest.json; blobs answer with the first text again.
 */
struct input {
	const char *text[2];
	size_t len[2];
};

static int read_input(void *arg, const char *name, size_t max, char **ret, size_t *ret_len,
		      struct error *err)
{
	const struct input *input = arg;
	int which = strcmp(name, "manifest.json") == 0;

	if (!input->text[which])
		return error_set(err, ERROR_NOT_FOUND, "'%s'", name);
	if (input->len[which] > max)
		return error_set(err, ERROR_LIMIT, "too large");
	*ret = malloc(input->len[which] + 1);
	memcpy(*ret, input->text[which], input->len[which]);
	(*ret)[input->len[which]] = '\0';
	*ret_len = input->len[which];
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
	struct input input = { { (const char *)data }, { nul ? (size_t)(nul - data) : size } };
	struct manifest_source source = { read_input, &input };
	automanifest struct manifest_list list = { 0 };
	struct error err = { 0 };

	if (nul) {
		input.text[1] = (const char *)nul + 1;
		input.len[1] = size - (size_t)(nul + 1 - data);
		if (nul == data)
			input.text[0] = NULL;
	}
	if (manifest_list_read(&source, &list, &err) < 0 && !err.message[0])
		abort();
	return 0;
}
