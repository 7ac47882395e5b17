#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/image/changes.h"
#include "hyperd/image/image.h"
#include "hyperd/image/config.h"

/* A change a line. What they make of an empty configuration must be one that we would load. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = strndup((const char *)data, size);
	autostrv char **changes = strv_split(text, '\n');
	autojson json_t *config = json_object();
	struct image_config parsed = { 0 };
	struct error err = { 0 };

	if (image_changes_apply(config, changes, &err) < 0)
		return 0;
	if (image_config_parse(config, &parsed, &err) < 0)
		abort();
	image_config_done(&parsed);
	return 0;
}
