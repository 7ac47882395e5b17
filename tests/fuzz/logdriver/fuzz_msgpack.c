/* What a Fluentd server may answer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hyperd/logdriver/msgpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text, *begin = (const char *)data;
	size_t len;
	ssize_t n = msgpack_find(begin, size, "ack", &text, &len);

	if (n > (ssize_t)size)
		abort();
	if (n > 0 && text && (text < begin || len > (size_t)(begin + n - text)))
		abort();
	/* What is whole stays so, whatever follows; what is not was not found by a part of it. */
	if (n > 0 && msgpack_find(begin, (size_t)n - 1, "ack", &text, &len) != 0)
		abort();
	return 0;
}
