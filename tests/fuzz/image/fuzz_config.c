#include <stdint.h>
#include <stdlib.h>

#include "hyperd/image/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoconfig struct config_file file = { 0 };
	struct error err = { 0 };

	if (config_file_parse((const char *)data, size, &file, &err) < 0 && !err.message[0])
		abort();
	return 0;
}
