#pragma once
/*
 * What an image runs on, as the entries of an index and `--platform` say it: "linux/amd64",
 * "linux/arm/v7". Any thread.
 */
#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

#define PLATFORM_TEXT_BYTES 32

struct platform {
	char os[PLATFORM_TEXT_BYTES], architecture[PLATFORM_TEXT_BYTES],
		variant[PLATFORM_TEXT_BYTES]; /* variant "": any */
};

/* TEXT NULL or "": this machine's. "OS", "ARCHITECTURE" and "OS/ARCHITECTURE[/VARIANT]";
 * ERROR_INVALID for others. */
int platform_parse(const char *text, struct platform *ret, struct error *err);
/* Whether an index's "platform" OBJECT is that. */
int platform_match(const json_t *object, const struct platform *platform, bool *ret,
		   struct error *err);
