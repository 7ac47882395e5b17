#include "base/ignore.h"

#include <ctype.h>
#include <string.h>

#include "base/str.h"

struct ignore {
	char **patterns; /* owned strv, cleaned; without the "!" */
	bool *taken_in;  /* owned, one for each: it began with "!" */
	size_t count;
};

/* "[a-z]", "[^a]": *p stands after the bracket. */
static bool class_match(const char **p, char c)
{
	bool negated = **p == '^', found = false;
	const char *at = *p + negated;

	while (*at && *at != ']') {
		char low = *at == '\\' && at[1] ? *++at : *at, high = low;

		at++;
		if (*at == '-' && at[1] && at[1] != ']') {
			at++;
			high = *at == '\\' && at[1] ? *++at : *at;
			at++;
		}
		if (c >= low && c <= high)
			found = true;
	}
	*p = *at ? at + 1 : at;
	return found != negated && c != '/';
}

/*
 * Where a star stood last is remembered, so that the work is bounded by the product of both
 * lengths: one star within a component, one through all of them.
 */
bool ignore_pattern_match(const char *p, const char *s)
{
	const char *star = NULL, *star_at = NULL, *deep = NULL, *deep_at = NULL;

	for (;;) {
		bool fits = false;

		if (p[0] == '*' && p[1] == '*') {
			p += strspn(p, "*");
			/* "**" and its slash may also stand for nothing. */
			if (*p == '/')
				p++;
			deep = p;
			deep_at = s;
			star = NULL;
			continue;
		}
		if (*p == '*') {
			star = ++p;
			star_at = s;
			continue;
		}
		if (!*s && !*p)
			return true;
		if (*s && *p == '?') {
			fits = *s != '/';
			p++;
		} else if (*s && *p == '[') {
			p++;
			fits = class_match(&p, *s);
		} else if (*s && *p) {
			p += *p == '\\' && p[1];
			fits = *p++ == *s;
		}
		if (fits) {
			s++;
			continue;
		}
		if (star && *star_at && *star_at != '/') {
			s = ++star_at;
			p = star;
		} else if (deep && *deep_at) {
			/* A whole component more, or any byte at the pattern's end. */
			s = ++deep_at;
			while (*deep && *s && s[-1] != '/' && deep[-1] == '/')
				s = ++deep_at;
			p = deep;
			star = NULL;
		} else {
			return false;
		}
	}
}

/* Blanks around it, slashes at both ends, "." and ".." taken out. */
static char *clean(const char *text, size_t len)
{
	autofree char *copy = strndup(text, len);
	autostrv char **parts = copy ? strv_split(copy, '/') : NULL;
	autostr struct str out = STR_INIT;

	if (!parts)
		return NULL;
	strv_for_each(part, parts) {
		if (!**part || strcmp(*part, ".") == 0)
			continue;
		if (strcmp(*part, "..") == 0) {
			while (out.len && out.data[--out.len] != '/')
				;
			if (out.data)
				out.data[out.len] = '\0';
			continue;
		}
		str_addf(&out, "%s%s", out.len ? "/" : "", *part);
	}
	if (!out.len)
		str_addc(&out, '.');
	return str_steal(&out);
}

static int add_line(struct ignore *ignore, const char *line, size_t len, struct error *err)
{
	bool taken_in, *grown;
	char *pattern;

	while (len && isspace((unsigned char)line[len - 1]))
		len--;
	while (len && isspace((unsigned char)*line)) {
		line++;
		len--;
	}
	if (!len)
		return 0;
	taken_in = *line == '!';
	if (taken_in && len == 1)
		return error_set(err, ERROR_INVALID, "illegal exclusion pattern: \"!\"");
	if (ignore->count >= IGNORE_MAX_PATTERNS)
		return error_set(err, ERROR_LIMIT, "more than %d patterns", IGNORE_MAX_PATTERNS);
	line += taken_in;
	len -= taken_in;
	while (len && isspace((unsigned char)*line)) {
		line++;
		len--;
	}
	grown = reallocarray(ignore->taken_in, ignore->count + 1, sizeof(*grown));
	if (!grown)
		return error_nomem(err);
	ignore->taken_in = grown;
	pattern = clean(line, len);
	if (!pattern || strv_take(&ignore->patterns, pattern) < 0)
		return error_nomem(err);
	grown[ignore->count++] = taken_in;
	return 0;
}

int ignore_parse(const char *text, size_t len, struct ignore **ret, struct error *err)
{
	struct ignore *ignore = calloc(1, sizeof(*ignore));
	const char *end = text + len;
	int r = 0;

	if (!ignore)
		return error_nomem(err);
	if (len > IGNORE_MAX_BYTES)
		r = error_set(err, ERROR_LIMIT, "larger than %u bytes", IGNORE_MAX_BYTES);
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3;
	while (r == 0 && text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		size_t line = (size_t)((newline ? newline : end) - text);

		if (*text != '#')
			r = add_line(ignore, text, line, err);
		text += line + 1;
	}
	if (r < 0) {
		ignore_free(ignore);
		return error_prefix(err, r, ".dockerignore");
	}
	*ret = ignore;
	return 0;
}

void ignore_free(struct ignore *ignore)
{
	if (!ignore)
		return;
	strv_free(ignore->patterns);
	free(ignore->taken_in);
	free(ignore);
}

/* The name itself, or a directory on the way to it. */
static bool fits(const char *pattern, const char *path)
{
	autofree char *copy = NULL;
	char *slash;

	if (ignore_pattern_match(pattern, path))
		return true;
	copy = strdup(path);
	while (copy && (slash = strrchr(copy, '/'))) {
		*slash = '\0';
		if (ignore_pattern_match(pattern, copy))
			return true;
	}
	return false;
}

bool ignore_match(const struct ignore *ignore, const char *path)
{
	bool out = false;

	for (size_t i = 0; ignore && i < ignore->count; i++)
		if (ignore->taken_in[i] == out && fits(ignore->patterns[i], path))
			out = !ignore->taken_in[i];
	return out;
}

bool ignore_may_hold(const struct ignore *ignore, const char *path)
{
	for (size_t i = 0; ignore && i < ignore->count; i++) {
		const char *pattern = ignore->patterns[i];
		size_t len = strcspn(pattern, "*?[\\");

		if (!ignore->taken_in[i])
			continue;
		/* As far as both are plain, they must agree. */
		if (strncmp(pattern, path, len < strlen(path) ? len : strlen(path)) == 0)
			return true;
	}
	return false;
}
