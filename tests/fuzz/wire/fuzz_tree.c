#include <stdlib.h>
#include <string.h>

#include "wire/tree.h"

/* Whatever is taken is as it must be, and encodes to the same bytes again. */
static void check(const struct tree_entry *e, const uint8_t *data, size_t size)
{
	autostr struct str again = STR_INIT;

	if (!tree_path_ok(e->path) || e->path[0] == '/' || strstr(e->path, "//"))
		abort();
	if (strcmp(e->path, "..") == 0 || str_starts(e->path, "../") || strstr(e->path, "/../"))
		abort();
	if (tree_encode(e, &again, NULL) < 0 || again.len != size + TREE_LENGTH_BYTES ||
	    memcmp(again.data + TREE_LENGTH_BYTES, data, size) != 0)
		abort();
}

/* Input: entries as a stream has them; the data of files is left out. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	while (size >= TREE_LENGTH_BYTES) {
		autotree struct tree_entry entry = { 0 };
		autofree uint8_t *copy = NULL;
		struct error err = { 0 };
		uint32_t len;

		if (tree_length(data, &len, &err) < 0) {
			if (err.kind != ERROR_INVALID)
				abort();
			return 0;
		}
		data += TREE_LENGTH_BYTES;
		size -= TREE_LENGTH_BYTES;
		if (len > size)
			return 0;
		copy = malloc(len);
		memcpy(copy, data, len);
		if (tree_decode(copy, len, &entry, &err) == 0)
			check(&entry, copy, len);
		else if (err.kind != ERROR_INVALID)
			abort();
		data += len;
		size -= len;
	}
	return 0;
}
