#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "hyperd/image/reference.h"

/* What is accepted must read back as itself, in its short and its whole form. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = strndup((const char *)data, size), *familiar = NULL, *again = NULL;
	autoreference struct reference reference = { 0 }, second = { 0 };
	struct error err = { 0 };

	if (reference_parse(text, &reference, &err) < 0)
		return 0;
	familiar = reference_familiar(&reference);
	if (reference_parse(familiar, &second, &err) < 0)
		abort();
	again = reference_familiar(&second);
	if (strcmp(familiar, again) != 0 || strcmp(reference.domain, second.domain) != 0 ||
	    strcmp(reference.path, second.path) != 0)
		abort();
	return 0;
}
