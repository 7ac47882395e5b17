#include "hyperd/build/expand.h"

#include <ctype.h>
#include <string.h>

#include "base/str.h"

/* "${a:-${b:-…}}" nests; nobody needs it this deep. */
#define EXPAND_MAX_DEPTH 32
#define EXPAND_MAX_BYTES (1u << 20)

struct expansion {
	const char *p;
	char *const *env;
	char escape;
	char ***words; /* collected beside the whole, or NULL */
	struct str word;
	bool in_word;
	unsigned depth;
};

static int bad(struct error *err, const char *what)
{
	return error_set(err, ERROR_INVALID, "%s", what);
}

static void word_end(struct expansion *x)
{
	if (x->in_word && x->word.len)
		strv_add(x->words, str_text(&x->word));
	str_clear(&x->word);
	x->in_word = false;
}

static void word_add(struct expansion *x, const char *text, size_t len)
{
	str_append(&x->word, text, len);
	x->in_word = true;
}

/* Blanks that came out of a variable separate words too. */
static void word_add_split(struct expansion *x, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (isspace((unsigned char)text[i]))
			word_end(x);
		else
			word_add(x, text + i, 1);
	}
}

static const char *lookup(const struct expansion *x, const char *name, size_t len)
{
	strv_for_each(entry, x->env)
		if (strncmp(*entry, name, len) == 0 && ((*entry)[len] == '=' || !(*entry)[len]))
			return (*entry)[len] ? *entry + len + 1 : "";
	return NULL;
}

/* Letters, digits and "_"; or digits alone; or one of the shell's own. */
static size_t name_length(const char *p)
{
	size_t n = 0;

	if (*p && strchr("@*#?-$!", *p))
		return 1;
	if (isdigit((unsigned char)*p)) {
		while (isdigit((unsigned char)p[n]))
			n++;
		return n;
	}
	while (isalnum((unsigned char)p[n]) || p[n] == '_')
		n++;
	return n;
}

static int expand_until(struct expansion *x, char stop, struct str *out, struct error *err);

/* What follows the name in braces: "}", or a modifier and its word. */
static int expand_modifier(struct expansion *x, const char *name, size_t len, struct str *out,
			   struct error *err)
{
	autostr struct str other = STR_INIT;
	const char *value = lookup(x, name, len);
	bool empty_counts = *x->p == ':', use;
	char ***words = x->words;
	char modifier;
	int r;

	if (*x->p == '}') {
		x->p++;
		str_add(out, value ? value : "");
		return 0;
	}
	if (!*x->p)
		return bad(err, "missing ':' in substitution");
	x->p += empty_counts;
	modifier = *x->p;
	if (!modifier)
		return bad(err, "syntax error: missing '}'");
	if (!strchr("+-?", modifier))
		return error_set(err, ERROR_INVALID, "unsupported modifier (%s%c) in substitution",
				 empty_counts ? ":" : "", modifier);
	x->p++;
	x->words = NULL;
	r = expand_until(x, '}', &other, err);
	x->words = words;
	if (r < 0)
		return r;
	use = value && !(empty_counts && !*value);
	if (modifier == '?' && !use)
		return error_set(err, ERROR_INVALID, "%.*s: %.200s", (int)len, name,
				 other.len ? str_text(&other)
				 : value   ? "is not allowed to be empty"
					   : "is not allowed to be unset");
	if (modifier == '+')
		str_add(out, use ? str_text(&other) : "");
	else
		str_add(out, use ? value : str_text(&other));
	return 0;
}

/* P stands after the dollar. */
static int expand_dollar(struct expansion *x, struct str *out, struct error *err)
{
	const char *name = x->p;
	size_t len;

	if (*name != '{') {
		const char *value;

		len = name_length(name);
		if (!len) {
			str_addc(out, '$');
			return 0;
		}
		value = lookup(x, name, len);
		str_add(out, value ? value : "");
		x->p += len;
		return 0;
	}
	name++;
	if (!*name)
		return bad(err, "syntax error: missing '}'");
	len = name_length(name);
	if (!len)
		return bad(err, "syntax error: bad substitution");
	x->p = name + len;
	return expand_modifier(x, name, len, out, err);
}

static int single_quoted(struct expansion *x, struct str *out, struct error *err)
{
	const char *end = strchr(x->p, '\'');

	if (!end)
		return bad(err, "unexpected end of statement while looking for matching "
				"single-quote");
	str_append(out, x->p, (size_t)(end - x->p));
	x->p = end + 1;
	return 0;
}

static int double_quoted(struct expansion *x, struct str *out, struct error *err)
{
	while (*x->p && *x->p != '"') {
		char c = *x->p++;

		if (c == '$') {
			int r = expand_dollar(x, out, err);

			if (r < 0)
				return r;
			if (out->len > EXPAND_MAX_BYTES)
				return bad(err, "too long");
			continue;
		}
		if (c == x->escape) {
			if (!*x->p)
				continue;
			if (*x->p == '"' || *x->p == '$' || *x->p == x->escape)
				c = *x->p++;
		}
		str_addc(out, c);
	}
	if (!*x->p)
		return bad(err, "unexpected end of statement while looking for matching "
				"double-quote");
	x->p++;
	return 0;
}

/* Quotes and variables: what stands at P after the character C. */
static int special(struct expansion *x, char c, struct str *out, struct error *err)
{
	switch (c) {
	case '\'':
		return single_quoted(x, out, err);
	case '"':
		return double_quoted(x, out, err);
	default:
		return expand_dollar(x, out, err);
	}
}

static int expand_until(struct expansion *x, char stop, struct str *out, struct error *err)
{
	if (++x->depth > EXPAND_MAX_DEPTH)
		return bad(err, "substitutions nested too deep");
	while (*x->p && *x->p != stop) {
		char c = *x->p++;
		size_t before = out->len;

		if (c == '\'' || c == '"' || c == '$') {
			int r = special(x, c, out, err);

			if (r < 0)
				return r;
			if (out->len > EXPAND_MAX_BYTES)
				return bad(err, "too long");
			if (x->words && c == '$')
				word_add_split(x, str_text(out) + before, out->len - before);
			else if (x->words)
				word_add(x, str_text(out) + before, out->len - before);
			continue;
		}
		if (c == x->escape) {
			if (!*x->p)
				break;
			c = *x->p++;
			str_addc(out, c);
			if (x->words)
				word_add(x, &c, 1);
			continue;
		}
		str_addc(out, c);
		if (x->words)
			word_add_split(x, &c, 1);
	}
	x->depth--;
	if (stop && *x->p != stop)
		return bad(err, "syntax error: missing '}'");
	x->p += stop ? 1 : 0;
	return 0;
}

static int expand(const char *word, char *const *env, char escape, char ***words, struct str *out,
		  struct error *err)
{
	struct expansion x = { .p = word, .env = env, .escape = escape, .words = words };
	int r = expand_until(&x, '\0', out, err);

	if (r == 0 && words)
		word_end(&x);
	str_done(&x.word);
	if (r < 0)
		return error_prefix(err, r, "failed to process \"%.200s\"", word);
	return out->failed ? error_nomem(err) : 0;
}

int expand_word(const char *word, char *const *env, char escape, char **ret, struct error *err)
{
	autostr struct str out = STR_INIT;
	int r = expand(word, env, escape, NULL, &out, err);

	if (r < 0)
		return r;
	*ret = strdup(str_text(&out));
	return *ret ? 0 : error_nomem(err);
}

int expand_words(const char *word, char *const *env, char escape, char ***ret, struct error *err)
{
	autostr struct str out = STR_INIT;

	return expand(word, env, escape, ret, &out, err);
}
