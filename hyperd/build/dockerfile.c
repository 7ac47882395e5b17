#include "hyperd/build/dockerfile.h"

#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/build/instruction.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r';
}

static const char *skip_blanks(const char *p)
{
	while (is_blank(*p))
		p++;
	return p;
}

void instruction_done(struct instruction *instruction)
{
	free(instruction->text);
	strv_free(instruction->flags);
	strv_free(instruction->args);
	*instruction = (struct instruction){ 0 };
}

void dockerfile_done(struct dockerfile *file)
{
	for (size_t i = 0; i < file->count; i++)
		instruction_done(&file->instructions[i]);
	free(file->instructions);
	strv_free(file->warnings);
	*file = (struct dockerfile){ 0 };
}

/* ------------------------------------------------------------------ words of a line */

/* "--name=value" at the beginning; quotes are taken off. *p is left at what follows them. */
static int take_flags(const char **p, char ***ret, struct error *err)
{
	for (;;) {
		autostr struct str word = STR_INIT;
		const char *at = skip_blanks(*p);
		char quote = 0;

		*p = at;
		if (strncmp(at, "--", 2) != 0)
			return 0;
		for (; *at && (quote || !is_blank(*at)); at++) {
			if (quote && *at == quote) {
				quote = 0;
			} else if (!quote && (*at == '\'' || *at == '"')) {
				quote = *at;
			} else {
				if (*at == '\\' && at[1])
					at++;
				str_addc(&word, *at);
			}
		}
		*p = at;
		if (strcmp(str_text(&word), "--") == 0) {
			*p = skip_blanks(at);
			return 0;
		}
		if (word.failed || strv_add(ret, str_text(&word)) < 0)
			return error_nomem(err);
	}
}

/* Words between blanks, quotes and escapes kept as they are: expanding takes them off. */
static int split_quoted(const char *p, char escape, char ***ret, struct error *err)
{
	for (p = skip_blanks(p); *p; p = skip_blanks(p)) {
		autostr struct str word = STR_INIT;
		char quote = 0;

		for (; *p && (quote || !is_blank(*p)); p++) {
			if (quote && *p == quote) {
				quote = 0;
			} else if (!quote && (*p == '\'' || *p == '"')) {
				quote = *p;
			} else if (*p == escape && quote != '\'') {
				/* One at the very end means nothing. */
				if (!p[1])
					continue;
				str_addc(&word, *p++);
			}
			str_addc(&word, *p);
		}
		if (word.failed || (word.len && strv_add(ret, str_text(&word)) < 0))
			return error_nomem(err);
	}
	return 0;
}

static int split_plain(const char *p, char ***ret, struct error *err)
{
	for (p = skip_blanks(p); *p; p = skip_blanks(p)) {
		const char *end = p;

		while (*end && !is_blank(*end))
			end++;
		if (strv_addf(ret, "%.*s", (int)(end - p), p) < 0)
			return error_nomem(err);
		p = end;
	}
	return 0;
}

/* *ret_json tells whether ARGS is a JSON list; one of other things than strings is an error. */
static int take_json(const char *args, char ***ret, bool *ret_json, struct error *err)
{
	autojson json_t *list = NULL;
	json_t *item;
	size_t i;

	*ret_json = false;
	args = skip_blanks(args);
	if (*args != '[')
		return 0;
	list = json_loads(args, 0, NULL);
	if (!json_is_array(list))
		return 0;
	json_array_foreach(list, i, item) {
		if (!json_is_string(item))
			return error_set(err, ERROR_INVALID,
					 "when using JSON array syntax, arrays must be comprised "
					 "of strings only");
		if (strv_add(ret, json_string_value(item)) < 0)
			return error_nomem(err);
	}
	*ret_json = true;
	return 0;
}

/* ------------------------------------------------------------------ arguments, kind by kind */

static int args_none(struct instruction *in, const char *args, char escape, struct error *err)
{
	return *args && strv_add(&in->args, args) < 0 ? error_nomem(err) : 0;
}

static int args_plain(struct instruction *in, const char *args, char escape, struct error *err)
{
	return split_plain(args, &in->args, err);
}

static int args_quoted(struct instruction *in, const char *args, char escape, struct error *err)
{
	return split_quoted(args, escape, &in->args, err);
}

static int args_json(struct instruction *in, const char *args, char escape, struct error *err)
{
	int r = take_json(args, &in->args, &in->json, err);

	return r < 0 || in->json ? r : args_none(in, args, escape, err);
}

static int args_json_list(struct instruction *in, const char *args, char escape, struct error *err)
{
	int r = take_json(args, &in->args, &in->json, err);

	return r < 0 || in->json ? r : split_plain(args, &in->args, err);
}

/* NAME=VALUE…, or the old form of a name and the rest of the line. */
static int args_pairs(struct instruction *in, const char *args, char escape, struct error *err)
{
	autostrv char **words = NULL;
	int r = split_quoted(args, escape, &words, err);

	if (r < 0 || !words)
		return r;
	if (!strchr(words[0], '=')) {
		const char *value = args;

		while (*value && !is_blank(*value))
			value++;
		if (!*skip_blanks(value))
			return error_set(err, ERROR_INVALID, "%s must have two arguments",
					 instruction_name(in->kind));
		r = strv_addf(&in->args, "%.*s", (int)(value - args), args);
		if (r == 0)
			r = strv_add(&in->args, skip_blanks(value));
		return r < 0 ? error_nomem(err) : 0;
	}
	strv_for_each(word, words) {
		char *equals = strchr(*word, '=');

		if (!equals)
			return error_set(err, ERROR_INVALID,
					 "Syntax error - can't find = in \"%.200s\". Must be of "
					 "the form: name=value",
					 *word);
		*equals = '\0';
		if (strv_add(&in->args, *word) < 0 || strv_add(&in->args, equals + 1) < 0)
			return error_nomem(err);
	}
	return 0;
}

/* The kind of check, and its command in either form. */
static int args_health(struct instruction *in, const char *args, char escape, struct error *err)
{
	autostrv char **command = NULL;
	const char *end = args;
	int r;

	while (*end && !is_blank(*end))
		end++;
	if (end == args)
		return 0;
	r = strv_addf(&in->args, "%.*s", (int)(end - args), args);
	if (r < 0)
		return error_nomem(err);
	r = take_json(end, &command, &in->json, err);
	if (r == 0 && !in->json && *skip_blanks(end) && strv_add(&command, skip_blanks(end)) < 0)
		r = error_nomem(err);
	strv_for_each(word, command)
		if (r == 0 && strv_add(&in->args, *word) < 0)
			r = error_nomem(err);
	return r;
}

static const struct {
	const char *name;
	int (*parse)(struct instruction *in, const char *args, char escape, struct error *err);
} kinds[] = {
	[INSTRUCTION_ADD] = { "ADD", args_json_list },
	[INSTRUCTION_ARG] = { "ARG", args_quoted },
	[INSTRUCTION_CMD] = { "CMD", args_json },
	[INSTRUCTION_COPY] = { "COPY", args_json_list },
	[INSTRUCTION_ENTRYPOINT] = { "ENTRYPOINT", args_json },
	[INSTRUCTION_ENV] = { "ENV", args_pairs },
	[INSTRUCTION_EXPOSE] = { "EXPOSE", args_plain },
	[INSTRUCTION_FROM] = { "FROM", args_plain },
	[INSTRUCTION_HEALTHCHECK] = { "HEALTHCHECK", args_health },
	[INSTRUCTION_LABEL] = { "LABEL", args_pairs },
	[INSTRUCTION_MAINTAINER] = { "MAINTAINER", args_none },
	[INSTRUCTION_ONBUILD] = { "ONBUILD", args_none },
	[INSTRUCTION_RUN] = { "RUN", args_json },
	[INSTRUCTION_SHELL] = { "SHELL", args_json },
	[INSTRUCTION_STOPSIGNAL] = { "STOPSIGNAL", args_none },
	[INSTRUCTION_USER] = { "USER", args_none },
	[INSTRUCTION_VOLUME] = { "VOLUME", args_json_list },
	[INSTRUCTION_WORKDIR] = { "WORKDIR", args_none },
};

const char *instruction_name(enum instruction_kind kind)
{
	return kind < ARRAY_SIZE(kinds) ? kinds[kind].name : "";
}

const char *instruction_flag(const struct instruction *instruction, const char *name)
{
	size_t len = strlen(name);

	strv_for_each(flag, instruction->flags) {
		if (strncmp(*flag + 2, name, len) != 0)
			continue;
		if ((*flag)[2 + len] == '=')
			return *flag + 2 + len + 1;
		if ((*flag)[2 + len] == '\0')
			return "";
	}
	return NULL;
}

static enum instruction_kind find_kind(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strlen(kinds[i].name) == len && strncasecmp(kinds[i].name, name, len) == 0)
			return (enum instruction_kind)i;
	return INSTRUCTION_UNKNOWN;
}

/* Without what stands around it. */
static char *trimmed(const char *text)
{
	size_t len;

	text = skip_blanks(text);
	len = strlen(text);
	while (len && (is_blank(text[len - 1]) || text[len - 1] == '\n'))
		len--;
	return strndup(text, len);
}

int instruction_read(const char *line, char escape, struct instruction *ret, struct error *err)
{
	struct instruction in = { 0 };
	autofree char *args = NULL;
	const char *p;
	size_t len = 0;
	int r;

	in.text = trimmed(line);
	if (!in.text)
		return error_nomem(err);
	while (in.text[len] && !is_blank(in.text[len]))
		len++;
	p = in.text + len;
	in.kind = find_kind(in.text, len);
	r = take_flags(&p, &in.flags, err);
	if (r == 0 && !(args = trimmed(p)))
		r = error_nomem(err);
	if (r == 0 && in.kind != INSTRUCTION_UNKNOWN)
		r = kinds[in.kind].parse(&in, args, escape, err);
	if (r < 0) {
		instruction_done(&in);
		return r;
	}
	*ret = in;
	return 0;
}

int instruction_parse(const char *line, char escape, struct instruction *ret, struct error *err)
{
	int r = instruction_read(line, escape, ret, err);

	if (r == 0)
		r = instruction_check(ret, escape, err);
	if (r < 0)
		instruction_done(ret);
	return r;
}

/* ------------------------------------------------------------------ lines of a file */

struct lines {
	const char *text, *end;
	unsigned number; /* of the last one read */
	char escape;
	bool directives; /* still looked for */
	bool escape_seen, syntax_seen;
};

/* The next line without its end; false after the last. */
static bool next_line(struct lines *lines, const char **ret, size_t *ret_len)
{
	const char *newline;
	size_t len;

	if (lines->text >= lines->end)
		return false;
	newline = memchr(lines->text, '\n', (size_t)(lines->end - lines->text));
	len = (size_t)((newline ? newline : lines->end) - lines->text);
	*ret = lines->text;
	*ret_len = len && lines->text[len - 1] == '\r' ? len - 1 : len;
	lines->text += len + (newline ? 1 : 0);
	lines->number++;
	return true;
}

/* "# escape=`" and "# syntax=…", before anything else. */
static int take_directive(struct lines *lines, const char *line, struct error *err)
{
	autofree char *value = NULL;
	const char *p = line, *name;
	bool *seen = NULL;
	size_t len;

	if (!lines->directives)
		return 0;
	lines->directives = false;
	if (*p != '#')
		return 0;
	name = p = skip_blanks(p + 1);
	len = strcspn(p, "= \t");
	p = skip_blanks(p + len);
	if (*p != '=' || !*skip_blanks(p + 1))
		return 0;
	value = trimmed(p + 1);
	if (!value)
		return error_nomem(err);
	if (len == 6 && strncasecmp(name, "escape", len) == 0)
		seen = &lines->escape_seen;
	else if (len == 6 && strncasecmp(name, "syntax", len) == 0)
		seen = &lines->syntax_seen;
	if (!seen)
		return 0;
	if (*seen)
		return error_set(err, ERROR_INVALID, "only one %.6s parser directive can be used",
				 name);
	*seen = true;
	lines->directives = true;
	if (seen == &lines->syntax_seen)
		return 0;
	if (strcmp(value, "`") != 0 && strcmp(value, "\\") != 0)
		return error_set(err, ERROR_INVALID, "invalid ESCAPE '%.20s'. Must be ` or \\",
				 value);
	lines->escape = *value;
	return 0;
}

/* Whether LINE goes on in the next one; takes the mark off. */
static bool cut_continuation(struct str *line, char escape)
{
	size_t len = line->len;

	while (len && (line->data[len - 1] == ' ' || line->data[len - 1] == '\t'))
		len--;
	if (!len || line->data[len - 1] != escape)
		return false;
	line->len = len - 1;
	line->data[line->len] = '\0';
	return true;
}

static bool is_comment(const char *line, size_t len)
{
	while (len && (is_blank(*line))) {
		line++;
		len--;
	}
	return len && *line == '#';
}

static bool is_empty(const char *line, size_t len)
{
	while (len && is_blank(*line)) {
		line++;
		len--;
	}
	return len == 0;
}

/* One instruction's lines as one; empty when there was only a comment or nothing. */
static int join_lines(struct lines *lines, const char *line, size_t len, struct str *out,
		      struct dockerfile *file, struct error *err)
{
	bool empty_line = false, goes_on;

	while (len && is_blank(*line)) {
		line++;
		len--;
	}
	str_append(out, line, len);
	if (take_directive(lines, str_text(out), err) < 0)
		return -EINVAL;
	if (len && *line == '#')
		str_clear(out);
	goes_on = cut_continuation(out, lines->escape);
	while (goes_on && next_line(lines, &line, &len)) {
		autostr struct str more = STR_INIT;

		if (is_comment(line, len))
			continue;
		if (is_empty(line, len)) {
			empty_line = true;
			continue;
		}
		str_append(&more, line, len);
		goes_on = cut_continuation(&more, lines->escape);
		str_append(out, str_text(&more), more.len);
	}
	if (empty_line &&
	    strv_addf(&file->warnings, "[WARNING]: Empty continuation line found in:\n    %s",
		      str_text(out)) < 0)
		return error_nomem(err);
	return out->failed ? error_nomem(err) : 0;
}

static int add_instruction(struct dockerfile *file, const char *text, unsigned line,
			   struct error *err)
{
	struct instruction *grown;
	int r;

	if (file->count >= DOCKERFILE_MAX_INSTRUCTIONS)
		return error_set(err, ERROR_LIMIT, "the Dockerfile has more than %d instructions",
				 DOCKERFILE_MAX_INSTRUCTIONS);
	grown = reallocarray(file->instructions, file->count + 1, sizeof(*grown));
	if (!grown)
		return error_nomem(err);
	file->instructions = grown;
	r = instruction_read(text, file->escape, &grown[file->count], err);
	if (r < 0)
		return r;
	grown[file->count++].line = line;
	return 0;
}

static int parse_lines(struct lines *lines, struct dockerfile *file, struct error *err)
{
	const char *line;
	size_t len;
	int r;

	while (next_line(lines, &line, &len)) {
		autostr struct str text = STR_INIT;
		unsigned first = lines->number;

		r = join_lines(lines, line, len, &text, file, err);
		if (r < 0)
			return r;
		file->escape = lines->escape;
		if (is_empty(str_text(&text), text.len))
			continue;
		r = add_instruction(file, str_text(&text), first, err);
		if (r < 0)
			return r;
	}
	if (file->warnings &&
	    strv_add(&file->warnings,
		     "[WARNING]: Empty continuation lines will become errors in a future "
		     "release.") < 0)
		return error_nomem(err);
	if (!file->count)
		return error_set(err, ERROR_INVALID, "file with no instructions");
	return 0;
}

/* All of it could be read; now each is looked at. */
static int check_all(struct dockerfile *file, struct error *err)
{
	for (size_t i = 0; i < file->count; i++) {
		int r = instruction_check(&file->instructions[i], file->escape, err);

		if (r < 0)
			return error_prefix(err, r, "dockerfile parse error line %u",
					    file->instructions[i].line);
	}
	return 0;
}

int dockerfile_parse(const char *text, size_t len, const char *name, struct dockerfile *ret,
		     struct error *err)
{
	struct lines lines = {
		.text = text, .end = text + len, .escape = '\\', .directives = true
	};
	struct dockerfile file = { .escape = '\\' };
	autojson json_t *proof = NULL;
	int r;

	if (len > DOCKERFILE_MAX_BYTES)
		return error_set(err, ERROR_LIMIT, "the Dockerfile is larger than %u bytes",
				 DOCKERFILE_MAX_BYTES);
	/* What it says ends up in JSON. */
	proof = json_stringn(text, len);
	if (!proof || memchr(text, '\0', len))
		return error_set(err, ERROR_INVALID, "the Dockerfile is not a text in UTF-8");
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		lines.text += 3;
	r = parse_lines(&lines, &file, err);
	if (r < 0)
		error_prefix(err, r, "failed to parse %.200s", name);
	else
		r = check_all(&file, err);
	if (r < 0) {
		dockerfile_done(&file);
		return r;
	}
	*ret = file;
	return 0;
}
