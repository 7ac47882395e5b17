#include "hyperd/image/reference.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "hyperd/image/digest.h"

#define DEFAULT_DOMAIN "docker.io"
#define LEGACY_DOMAIN  "index.docker.io"
#define LIBRARY        "library/"
#define TAG_MAX_BYTES  128

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* [a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])? joined by dots, or [IPv6]; then an optional :port. */
static bool domain_is_valid(const char *s, size_t len)
{
	const char *end = s + len, *colon = NULL;
	bool start = true;

	for (const char *p = s; p < end; p++)
		if (*p == ':')
			colon = p;

	if (len && s[0] == '[') {
		const char *close = memchr(s, ']', len);

		if (!close || close == s + 1)
			return false;
		for (const char *p = s + 1; p < close; p++)
			if (!isxdigit((unsigned char)*p) && *p != ':')
				return false;
		if (close + 1 == end)
			return true;
		if (close[1] != ':')
			return false;
		colon = close + 1;
		start = false;
	} else {
		for (const char *p = s; p < (colon ? colon : end); p++) {
			if (*p == '.' || *p == '-') {
				if (start || (*p == '.' && p[-1] == '-'))
					return false;
				start = *p == '.';
			} else if (!is_alnum(*p)) {
				return false;
			} else {
				start = false;
			}
		}
		if (start || (colon ? colon : end)[-1] == '-')
			return false;
	}
	if (!colon)
		return true;
	for (const char *p = colon + 1; p < end; p++)
		if (*p < '0' || *p > '9')
			return false;
	return colon + 1 < end;
}

/* Components of [a-z0-9]+ joined by one of . _ __ or any number of -; the components joined by /.
 */
static bool path_is_valid(const char *s, size_t len)
{
	size_t i = 0;

	for (;;) {
		size_t run = 0;

		while (i + run < len && is_lower_alnum(s[i + run]))
			run++;
		if (run == 0)
			return false;
		i += run;
		if (i == len)
			return true;
		if (s[i] == '/' || s[i] == '.') {
			i++;
		} else if (s[i] == '_') {
			i += i + 1 < len && s[i + 1] == '_' ? 2 : 1;
		} else if (s[i] == '-') {
			while (i < len && s[i] == '-')
				i++;
		} else {
			return false;
		}
	}
}

static bool tag_is_valid(const char *s, size_t len)
{
	if (len == 0 || len > TAG_MAX_BYTES || (!is_alnum(s[0]) && s[0] != '_'))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(s[i]) && s[i] != '_' && s[i] != '.' && s[i] != '-')
			return false;
	return true;
}

static bool has_upper(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] >= 'A' && s[i] <= 'Z')
			return true;
	return false;
}

static int invalid(const char *text, const char *why, struct error *err)
{
	return error_set(err, ERROR_INVALID, "invalid reference format: '%.300s': %s", text, why);
}

/* The first component is a domain when it looks like one: a dot, a port, localhost, or capitals. */
static size_t domain_length(const char *s, size_t len)
{
	const char *slash = memchr(s, '/', len);
	size_t n = slash ? (size_t)(slash - s) : 0;

	if (!slash)
		return 0;
	if (memchr(s, '.', n) || memchr(s, ':', n) || has_upper(s, n) ||
	    (n == 9 && memcmp(s, "localhost", 9) == 0))
		return n;
	return 0;
}

static int split_name(const char *text, const char *name, size_t len, struct reference *r,
		      struct error *err)
{
	size_t domain = domain_length(name, len);
	const char *path = domain ? name + domain + 1 : name;
	size_t path_len = len - (size_t)(path - name);
	bool docker;

	if (domain && !domain_is_valid(name, domain))
		return invalid(text, "the host name is malformed", err);
	if (has_upper(path, path_len))
		return error_set(err, ERROR_INVALID,
				 "invalid reference format: repository name must be lowercase");
	if (!path_is_valid(path, path_len))
		return invalid(text,
			       "expected [HOST[:PORT]/]NAME[:TAG][@DIGEST], a name of a-z, 0-9 and "
			       "single . _ - / between them",
			       err);
	docker = !domain ||
		 (domain == strlen(DEFAULT_DOMAIN) && memcmp(name, DEFAULT_DOMAIN, domain) == 0) ||
		 (domain == strlen(LEGACY_DOMAIN) && memcmp(name, LEGACY_DOMAIN, domain) == 0);
	r->domain = docker ? strdup(DEFAULT_DOMAIN) : strndup(name, domain);
	r->path = strf("%s%.*s", docker && !memchr(path, '/', path_len) ? LIBRARY : "",
		       (int)path_len, path);
	if (!r->domain || !r->path)
		return error_nomem(err);
	if (strlen(r->domain) + 1 + strlen(r->path) > REFERENCE_MAX_NAME_BYTES)
		return invalid(text, "the name is longer than 255 bytes", err);
	return 0;
}

int reference_parse(const char *text, struct reference *ret, struct error *err)
{
	autoreference struct reference reference = { 0 };
	const char *at = strchr(text, '@'), *end = at ? at : text + strlen(text), *colon, *slash;
	size_t name_len;
	int r;

	if (!*text)
		return error_set(err, ERROR_INVALID, "an empty image reference");
	if (strlen(text) > REFERENCE_MAX_NAME_BYTES + TAG_MAX_BYTES + DIGEST_TEXT_BYTES + 2)
		return error_set(err, ERROR_INVALID, "an image reference of %zu bytes",
				 strlen(text));
	if (at && !digest_is_valid(at + 1))
		return invalid(text, "the digest is not sha256: and 64 hex digits", err);
	if (at && !(reference.digest = strdup(at + 1)))
		return error_nomem(err);

	/* A colon after the last slash begins the tag; one before it, a port. */
	colon = memrchr(text, ':', (size_t)(end - text));
	slash = memrchr(text, '/', (size_t)(end - text));
	if (colon && slash && colon < slash)
		colon = NULL;
	if (colon && !tag_is_valid(colon + 1, (size_t)(end - colon - 1)))
		return invalid(text,
			       "a tag is 1 to 128 of [A-Za-z0-9_.-], not beginning with . or -",
			       err);
	if (colon && !(reference.tag = strndup(colon + 1, (size_t)(end - colon - 1))))
		return error_nomem(err);
	name_len = (size_t)((colon ? colon : end) - text);
	if (name_len == DIGEST_HEX_BYTES && strspn(text, "0123456789abcdef") == name_len)
		return invalid(text, "64 hex digits name an image id, not a repository", err);

	r = split_name(text, text, name_len, &reference, err);
	if (r < 0)
		return r;
	*ret = reference;
	reference = (struct reference){ 0 };
	return 0;
}

void reference_done(struct reference *reference)
{
	free(reference->domain);
	free(reference->path);
	free(reference->tag);
	free(reference->digest);
	*reference = (struct reference){ 0 };
}

int reference_add_default_tag(struct reference *reference, struct error *err)
{
	if (reference->tag || reference->digest)
		return 0;
	reference->tag = strdup("latest");
	return reference->tag ? 0 : error_nomem(err);
}

char *reference_name(const struct reference *reference)
{
	return strf("%s/%s", reference->domain, reference->path);
}

char *reference_familiar_name(const struct reference *reference)
{
	const char *path = reference->path;

	/* A path that would itself be taken for a host keeps its own: docker.io/quay.io/x. */
	if (strcmp(reference->domain, DEFAULT_DOMAIN) != 0 || domain_length(path, strlen(path)))
		return reference_name(reference);
	if (str_starts(path, LIBRARY) && !strchr(path + strlen(LIBRARY), '/'))
		path += strlen(LIBRARY);
	return strdup(path);
}

char *reference_familiar(const struct reference *reference)
{
	autofree char *name = reference_familiar_name(reference);

	if (!name)
		return NULL;
	return strf("%s%s%s%s%s", name, reference->tag ? ":" : "",
		    reference->tag ? reference->tag : "", reference->digest ? "@" : "",
		    reference->digest ? reference->digest : "");
}
