#pragma once
/* What mount(8)'s words say. */
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct mount_options {
	unsigned long flags, propagation; /* of mount(2) */
	bool recursive;                   /* rbind */
	bool bind;                        /* bind or rbind */
	char *data;                       /* owned: what is left, joined by commas; NULL: none */
};

int mount_options_parse(char *const *words, size_t count, struct mount_options *ret,
			struct error *err);
void mount_options_done(struct mount_options *options);
