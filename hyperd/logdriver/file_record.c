#include "hyperd/logdriver/file_record.h"

#include <ctype.h>

static void add_query_escaped(struct str *to, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~')
			str_addc(to, (char)c);
		else if (c == ' ')
			str_addc(to, '+');
		else
			str_addf(to, "%%%02X", c);
	}
}

void file_record_add_detail(struct file_record *record, const char *key, size_t key_len,
			    const char *value, size_t value_len)
{
	if (record->details.len)
		str_addc(&record->details, ',');
	add_query_escaped(&record->details, key, key_len);
	str_addc(&record->details, '=');
	add_query_escaped(&record->details, value, value_len);
}

void file_record_done(struct file_record *record)
{
	str_done(&record->text);
	str_done(&record->details);
}
