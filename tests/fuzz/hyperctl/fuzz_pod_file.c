/* Pod files that take files of this side: their YAML becomes JSON. */
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperctl/pod_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autostr struct str text = STR_INIT;
	autofree char *resolved = NULL;
	size_t len;

	/* Without this the text would only be copied. */
	str_add(&text, "# file://\n");
	str_append(&text, data, size);
	if (pod_file_resolve(text.data, text.len, "/nonexistent", &resolved, &len, NULL) == 0) {
		autojson json_t *value =
			json_loadb(resolved, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);

		if (!value)
			abort();
	}
	return 0;
}
