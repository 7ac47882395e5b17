#include "hyperctl/keys.h"

#include <string.h>
#include <strings.h>

#include "base/str.h"

static int key_parse(const char *name, unsigned char *ret)
{
	if (strlen(name) == 1) {
		*ret = (unsigned char)*name;
		return 0;
	}
	if (strcasecmp(name, "del") == 0) {
		*ret = 0x7f;
		return 0;
	}
	if (strncasecmp(name, "ctrl-", 5) == 0 && strlen(name) == 6) {
		char c = name[5];

		if (c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		if (c >= '@' && c <= '_') {
			*ret = (unsigned char)(c - '@');
			return 0;
		}
	}
	return -EINVAL;
}

int detach_keys_parse(const char *text, struct detach_keys *ret, struct error *err)
{
	autostrv char **names = strv_split(text && *text ? text : DETACH_KEYS_DEFAULT, ',');

	*ret = (struct detach_keys){ 0 };
	strv_for_each(name, names) {
		if (ret->count == DETACH_KEYS_MAX)
			return error_set(err, ERROR_INVALID, "--detach-keys: more than %d keys",
					 DETACH_KEYS_MAX);
		if (key_parse(*name, &ret->keys[ret->count++]) < 0)
			return error_set(err, ERROR_INVALID,
					 "--detach-keys: '%s': expected a character, ctrl-X or DEL",
					 *name);
	}
	return 0;
}

/* The longest beginning of the keys that ends the first MATCHED of them followed by BYTE. */
static size_t longest_match(const struct detach_keys *keys, size_t matched, unsigned char byte)
{
	for (size_t n = matched + 1; n > 0; n--) {
		/* keys[0..n) against the last n of keys[0..matched) + byte */
		if (keys->keys[n - 1] == byte &&
		    memcmp(keys->keys, keys->keys + (matched - (n - 1)), n - 1) == 0)
			return n;
	}
	return 0;
}

bool detach_keys_scan(struct detach_keys *keys, const void *data, size_t len, void *out,
		      size_t *ret_len)
{
	const unsigned char *p = data;
	unsigned char *to = out;

	if (!keys->count) {
		memcpy(out, data, len);
		*ret_len = len;
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		size_t before = keys->matched, now = longest_match(keys, before, p[i]);

		/* What was held and is no longer part of a match was meant for the process. */
		if (now <= before) {
			size_t release = before + 1 - now;

			for (size_t k = 0; k < release; k++)
				*to++ = k < before ? keys->keys[k] : p[i];
		}
		keys->matched = now;
		if (now == keys->count) {
			keys->matched = 0;
			*ret_len = (size_t)(to - (unsigned char *)out);
			return true;
		}
	}
	*ret_len = (size_t)(to - (unsigned char *)out);
	return false;
}
