/* Records of local logs, which Docker or a container's owner may have written; and any text as
 * output, which must come back byte for byte. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hyperd/logdriver/local_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct log_line line = {
		.stream = LOG_STDERR,
		.time_ns = 7,
		.data = (const char *)data,
		.len = size < LOG_LINE_BYTES ? size : LOG_LINE_BYTES,
		.ordinal = size & 1 ? 3 : 0,
		.last = size & 2,
		.id = "id",
	};
	struct file_record record = { 0 };
	autostr struct str text = STR_INIT, attrs = STR_INIT;
	size_t len = log_line_text_len(&line);
	ssize_t n = local_record_cut((const char *)data, size);

	if (n > (ssize_t)size)
		abort();
	if (n > 0)
		local_record_parse((const char *)data, (size_t)n, &record);
	local_record_add_attr(&attrs, "k", "v");
	local_record_add(&text, &line, &attrs);
	if (local_record_cut(text.data, text.len) != (ssize_t)text.len ||
	    local_record_parse(text.data, text.len, &record) < 0 || record.stream != LOG_STDERR ||
	    record.text.len < len || memcmp(str_text(&record.text), data, len) ||
	    strcmp(str_text(&record.details), "k=v") != 0)
		abort();
	file_record_done(&record);
	return 0;
}
