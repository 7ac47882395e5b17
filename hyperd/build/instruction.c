#include "hyperd/build/instruction.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

#define NEEDS_BUILDKIT                                                                       \
	"requires BuildKit, which this daemon does not have: it builds as Docker's classic " \
	"builder does"

/* What each knows, and what only BuildKit knows. */
static const struct {
	enum instruction_kind kind;
	const char *known[6], *buildkit[6];
} flag_table[] = {
	{ INSTRUCTION_ADD,
	  { "chown" },
	  { "chmod", "link", "checksum", "keep-git-dir", "exclude", "unpack" } },
	{ INSTRUCTION_COPY, { "chown", "from" }, { "chmod", "link", "parents", "exclude" } },
	{ INSTRUCTION_FROM, { "platform" }, { 0 } },
	{ INSTRUCTION_HEALTHCHECK,
	  { "interval", "timeout", "start-period", "retries", "start-interval" },
	  { 0 } },
	{ INSTRUCTION_RUN, { 0 }, { "mount", "network", "security", "device" } },
};

static bool in_list(const char *const *list, size_t count, const char *name, size_t len)
{
	for (size_t i = 0; i < count && list[i]; i++)
		if (strlen(list[i]) == len && strncmp(list[i], name, len) == 0)
			return true;
	return false;
}

static int check_flags(const struct instruction *in, struct error *err)
{
	const char *const *known = NULL, *const *buildkit = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(flag_table); i++) {
		if (flag_table[i].kind != in->kind)
			continue;
		known = flag_table[i].known;
		buildkit = flag_table[i].buildkit;
	}
	strv_for_each(flag, in->flags) {
		const char *name = *flag + 2;
		size_t len = strcspn(name, "=");

		if (buildkit && in_list(buildkit, 6, name, len))
			return error_set(err, ERROR_INVALID, "the --%.*s option " NEEDS_BUILDKIT,
					 (int)len, name);
		if (!known || !in_list(known, 6, name, len))
			return error_set(err, ERROR_INVALID, "Unknown flag: %.*s",
					 len > 100 ? 100 : (int)len, name);
		if (name[len] != '=')
			return error_set(err, ERROR_INVALID, "Missing a value on flag: %.*s",
					 (int)len, name);
		for (char **other = in->flags; other != flag; other++)
			if (strncmp(*other, *flag, len + 3) == 0)
				return error_set(err, ERROR_INVALID,
						 "Duplicate flag specified: %.*s", (int)len, name);
	}
	return 0;
}

/* "<<EOF", "3<<-'EOF'": in the classic builder only the first of its lines would be taken. */
static bool is_heredoc(const char *word, size_t len)
{
	const char *end = word + len;

	while (word < end && isdigit((unsigned char)*word))
		word++;
	if (end - word < 3 || word[0] != '<' || word[1] != '<')
		return false;
	word += 2;
	word += *word == '-';
	word += word < end && (*word == '\'' || *word == '"');
	return word < end && (isalpha((unsigned char)*word) || *word == '_');
}

static int check_heredoc(const struct instruction *in, struct error *err)
{
	if (in->json || (in->kind != INSTRUCTION_RUN && in->kind != INSTRUCTION_COPY &&
			 in->kind != INSTRUCTION_ADD))
		return 0;
	for (const char *p = in->text; *p;) {
		size_t len = strcspn(p, " \t");

		if (is_heredoc(p, len))
			return error_set(err, ERROR_INVALID,
					 "the here-document %.*s " NEEDS_BUILDKIT,
					 len > 40 ? 40 : (int)len, p);
		p += len;
		p += strspn(p, " \t");
	}
	return 0;
}

static int check_from(const struct instruction *in, struct error *err)
{
	size_t count = strv_len(in->args);
	const char *name;

	if (count != 1 && !(count == 3 && strcasecmp(in->args[1], "as") == 0))
		return error_set(err, ERROR_INVALID, "FROM requires either one or three arguments");
	if (count == 1)
		return 0;
	name = in->args[2];
	for (const char *p = name; *p; p++)
		if (p == name ? !isalpha((unsigned char)*p)
			      : !isalnum((unsigned char)*p) && !strchr("-_.", *p))
			return error_set(err, ERROR_INVALID,
					 "invalid name for build stage: \"%.100s\", name can't "
					 "start with a number or contain symbols",
					 name);
	return 0;
}

static int check_health(const struct instruction *in, struct error *err)
{
	size_t count = strv_len(in->args);

	if (strcasecmp(in->args[0], "NONE") == 0)
		return count == 1 ? 0
				  : error_set(err, ERROR_INVALID,
					      "HEALTHCHECK NONE takes no arguments");
	if (strcasecmp(in->args[0], "CMD") != 0) {
		autofree char *upper = strdup(in->args[0]);

		for (char *p = upper; p && *p; p++)
			*p = (char)toupper((unsigned char)*p);
		return error_set(err, ERROR_INVALID,
				 "Unknown type \"%.100s\" in HEALTHCHECK (try CMD)",
				 upper ? upper : "");
	}
	return count > 1 ? 0
			 : error_set(err, ERROR_INVALID, "Missing command after HEALTHCHECK CMD");
}

/* What is kept must be an instruction, and one that may come later. */
static int check_onbuild(const struct instruction *in, char escape, struct error *err)
{
	struct instruction trigger = { 0 };
	int r = instruction_read(in->args[0], escape, &trigger, err);

	if (r < 0)
		return r;
	if (trigger.kind == INSTRUCTION_ONBUILD)
		r = error_set(err, ERROR_INVALID,
			      "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
	else if (trigger.kind == INSTRUCTION_FROM || trigger.kind == INSTRUCTION_MAINTAINER)
		r = error_set(err, ERROR_INVALID, "%s isn't allowed as an ONBUILD trigger",
			      instruction_name(trigger.kind));
	instruction_done(&trigger);
	return r;
}

/* How many arguments each wants. */
static const struct {
	enum instruction_kind kind;
	size_t min, max;
	const char *complaint;
} counts[] = {
	{ INSTRUCTION_ADD, 2, SIZE_MAX,
	  "ADD requires at least two arguments, but only one was provided. Destination could not "
	  "be determined" },
	{ INSTRUCTION_ARG, 1, SIZE_MAX, "ARG requires at least one argument" },
	{ INSTRUCTION_COPY, 2, SIZE_MAX,
	  "COPY requires at least two arguments, but only one was provided. Destination could not "
	  "be determined" },
	{ INSTRUCTION_ENV, 2, SIZE_MAX, "ENV requires at least one argument" },
	{ INSTRUCTION_EXPOSE, 1, SIZE_MAX, "EXPOSE requires at least one argument" },
	{ INSTRUCTION_HEALTHCHECK, 1, SIZE_MAX, "HEALTHCHECK requires at least one argument" },
	{ INSTRUCTION_LABEL, 2, SIZE_MAX, "LABEL requires at least one argument" },
	{ INSTRUCTION_MAINTAINER, 1, 1, "MAINTAINER requires exactly one argument" },
	{ INSTRUCTION_ONBUILD, 1, SIZE_MAX, "ONBUILD requires at least one argument" },
	{ INSTRUCTION_SHELL, 1, SIZE_MAX, "SHELL requires at least one argument" },
	{ INSTRUCTION_STOPSIGNAL, 1, 1, "STOPSIGNAL requires exactly one argument" },
	{ INSTRUCTION_USER, 1, 1, "USER requires exactly one argument" },
	{ INSTRUCTION_VOLUME, 1, SIZE_MAX, "VOLUME requires at least one argument" },
	{ INSTRUCTION_WORKDIR, 1, 1, "WORKDIR requires exactly one argument" },
};

static int check_count(const struct instruction *in, struct error *err)
{
	size_t count = strv_len(in->args);

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		if (counts[i].kind == in->kind && (count < counts[i].min || count > counts[i].max))
			return error_set(err, ERROR_INVALID, "%s", counts[i].complaint);
	if (in->kind == INSTRUCTION_SHELL && !in->json)
		return error_set(err, ERROR_INVALID,
				 "SHELL requires the arguments to be in JSON form");
	return 0;
}

static int check_names(const struct instruction *in, struct error *err)
{
	bool pairs = in->kind == INSTRUCTION_ENV || in->kind == INSTRUCTION_LABEL;

	for (size_t i = 0; pairs && in->args[i]; i += 2)
		if (!*in->args[i])
			return error_set(err, ERROR_INVALID, "%s names can not be blank",
					 instruction_name(in->kind));
	if (in->kind == INSTRUCTION_VOLUME)
		strv_for_each(path, in->args)
			if (!**path)
				return error_set(err, ERROR_INVALID,
						 "VOLUME specified can not be an empty string");
	if (in->kind == INSTRUCTION_ARG)
		strv_for_each(arg, in->args)
			if (**arg == '=')
				return error_set(err, ERROR_INVALID, "ARG names can not be blank");
	return 0;
}

static int unknown(const struct instruction *in, struct error *err)
{
	autofree char *name = strndup(in->text, strcspn(in->text, " \t\v\f\r"));

	for (char *p = name; p && *p; p++)
		*p = (char)toupper((unsigned char)*p);
	return error_set(err, ERROR_INVALID, "unknown instruction: %.100s", name ? name : "");
}

int instruction_check(struct instruction *in, char escape, struct error *err)
{
	int r = in->kind == INSTRUCTION_UNKNOWN ? unknown(in, err) : check_count(in, err);

	if (r == 0)
		r = check_flags(in, err);
	if (r == 0)
		r = check_heredoc(in, err);
	if (r == 0)
		r = check_names(in, err);
	if (r == 0 && in->kind == INSTRUCTION_FROM)
		r = check_from(in, err);
	if (r == 0 && in->kind == INSTRUCTION_HEALTHCHECK)
		r = check_health(in, err);
	if (r == 0 && in->kind == INSTRUCTION_ONBUILD)
		r = check_onbuild(in, escape, err);
	return r;
}
