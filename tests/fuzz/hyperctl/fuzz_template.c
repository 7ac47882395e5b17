/* --format's templates: any text, on data of every type. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/template.h"
#include "hyperctl/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char object[] = "{\"A\": \"text\", \"B\": 1, \"C\": [1, \"x\", null, [2]], "
				     "\"D\": {\"E\": {\"F\": 2.5}},"
				     " \"G\": null, \"H\": true, \"LabelMap\": {\"k\": \"v\"}}";
	autojson json_t *value = json_loads(object, 0, NULL);
	autostr struct str out = STR_INIT, aligned = STR_INIT;
	char *template;

	/* Nested ranges multiply: long templates only take long. */
	if (size > 256)
		return 0;
	template = strndup((const char *)data, size);
	if (template && template_print("--format", template, value, &out, NULL) == 0)
		table_align(str_text(&out), out.len, &aligned);
	free(template);
	return 0;
}
