/* Filters, percent-encoding: the values of query parameters. */
#include <stdlib.h>
#include <string.h>

#include "hyperd/http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = strndup((const char *)data, size);
	static const char *const allowed[] = { "label", "status", NULL };
	struct http_filters *filters = NULL;
	char *decoded = NULL;

	if (http_filters_parse(text, &filters, NULL) == 0) {
		http_filters_check(filters, allowed, NULL);
		http_filters_match(filters, "label", "a=b");
		http_filters_get(filters, "status");
		http_filters_free(filters);
	}
	if (http_percent_decode((const char *)data, size, true, &decoded) == 0) {
		if (!(strlen(decoded) <= size))
			abort();
		free(decoded);
	}
	return 0;
}
