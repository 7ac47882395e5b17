#pragma once
/*
 * The keys that let go of a container: a sequence such as Ctrl-P Ctrl-Q, looked for in what is
 * typed. Bytes that may be its beginning are held back until the next byte decides.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define DETACH_KEYS_DEFAULT "ctrl-p,ctrl-q"
#define DETACH_KEYS_MAX     16

struct detach_keys {
	unsigned char keys[DETACH_KEYS_MAX];
	size_t count;   /* 0: nothing detaches */
	size_t matched; /* how many have been typed and are held back */
};

/*
 * TEXT: keys apart by commas; a key is one character, "ctrl-" with one of a-z @ [ \ ] ^ _, or
 * "DEL". NULL and "" mean the default.
 */
int detach_keys_parse(const char *text, struct detach_keys *ret, struct error *err);

/*
 * Scans LEN bytes at DATA; what is to be passed on goes to OUT, which has room for LEN +
 * DETACH_KEYS_MAX bytes, its length to *ret_len. True when the sequence is complete: nothing after
 * it is looked at.
 */
bool detach_keys_scan(struct detach_keys *keys, const void *data, size_t len, void *out,
		      size_t *ret_len);
