/* Lines of json-file logs, which Docker or a container's owner may have written; and any text as
 * output, which must come back. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hyperd/logdriver/json_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct file_record record = { 0 };
	autostr struct str line = STR_INIT, again = STR_INIT, text = STR_INIT;

	json_record_parse((const char *)data, size, &record);

	json_record_add(&line, LOG_STDERR, "2024-01-02T03:04:05Z", "", (const char *)data, size);
	if (line.data[line.len - 1] != '\n' || memchr(line.data, '\n', line.len - 1) ||
	    json_record_parse(line.data, line.len - 1, &record) < 0 || record.stream != LOG_STDERR)
		abort();
	/* What was no UTF-8 was replaced once; from then on nothing changes. */
	json_record_add(&again, LOG_STDERR, "2024-01-02T03:04:05Z", "", str_text(&record.text),
			record.text.len);
	str_append(&text, record.text.data, record.text.len);
	if (json_record_parse(again.data, again.len - 1, &record) < 0 ||
	    record.text.len != text.len ||
	    memcmp(str_text(&record.text), str_text(&text), text.len))
		abort();
	file_record_done(&record);
	return 0;
}
