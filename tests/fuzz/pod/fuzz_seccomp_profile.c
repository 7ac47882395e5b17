/* Seccomp profiles of strangers. */
#include <linux/filter.h>
#include <stdint.h>
#include <stdlib.h>

#include "hyperd/pod/seccomp_profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seccomp_filter *filter = NULL;

	if (seccomp_compile((const char *)data, size, 0xa80425fb, &filter, NULL) == 0 &&
	    filter->len % sizeof(struct sock_filter))
		abort();
	seccomp_filter_unref(filter);
	return 0;
}
