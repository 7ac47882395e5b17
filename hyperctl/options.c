#include "hyperctl/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "hyperctl/units.h"

/* A row and where its value goes. */
struct found {
	const struct option *option;
	char *target;
};

static bool find(const struct option *table, char *base, char letter, const char *name,
		 size_t name_len, struct found *ret)
{
	for (const struct option *o = table; !option_is_end(o); o++) {
		if (o->kind == OPTION_TABLE) {
			if (find(o->table, base + o->offset, letter, name, name_len, ret))
				return true;
			continue;
		}
		if (name ? strlen(o->name) == name_len && memcmp(o->name, name, name_len) == 0
			 : o->letter == letter) {
			*ret = (struct found){ o, base + o->offset };
			return true;
		}
	}
	return false;
}

int option_list_add(struct option_list *list, const char *item)
{
	const char **items = reallocarray(list->items, list->count + 2, sizeof(*items));

	if (!items)
		return -ENOMEM;
	items[list->count++] = item;
	items[list->count] = NULL;
	list->items = items;
	return 0;
}

static int parse_flag(const char *text, bool *ret)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = {
		{ "true", true }, { "1", true },    { "t", true },      { "T", true },
		{ "TRUE", true }, { "True", true }, { "false", false }, { "0", false },
		{ "f", false },   { "F", false },   { "FALSE", false }, { "False", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(text, words[i].word) == 0) {
			*ret = words[i].value;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_number(const struct option *o, const char *text, long long *ret, struct error *err)
{
	bool bounded = o->min || o->max;
	int r = parse_i64(text, bounded ? o->min : INT64_MIN, bounded ? o->max : INT64_MAX, ret);

	if (r == 0)
		return 0;
	if (bounded)
		return error_set(err, ERROR_INVALID, "'%s': expected a number from %lld to %lld",
				 text, o->min, o->max);
	return error_set(err, ERROR_INVALID, "'%s': expected a number", text);
}

static int store(const struct found *found, const char *text, struct error *err)
{
	const struct option *o = found->option;
	void *target = found->target;
	int r = 0;

	switch (o->kind) {
	case OPTION_FLAG:
		if (parse_flag(text, target) < 0)
			r = error_set(err, ERROR_INVALID, "'%s': expected true or false", text);
		break;
	case OPTION_STRING:
		*(const char **)target = text;
		break;
	case OPTION_LIST:
		if (option_list_add(target, text) < 0)
			r = error_nomem(err);
		break;
	case OPTION_NUMBER:
		r = parse_number(o, text, target, err);
		break;
	case OPTION_SIZE:
		r = size_parse(text, target, err);
		break;
	case OPTION_CPUS:
		r = cpus_parse(text, target, err);
		break;
	case OPTION_DURATION:
		r = duration_parse(text, target, err);
		break;
	case OPTION_TABLE:
		break;
	}
	if (r < 0)
		return error_prefix(err, r, "invalid value of --%s", o->name);
	return 0;
}

static int set_initial(const struct option *table, char *base, struct error *err)
{
	for (const struct option *o = table; !option_is_end(o); o++) {
		int r = 0;

		if (o->kind == OPTION_TABLE)
			r = set_initial(o->table, base + o->offset, err);
		else if (o->initial)
			r = store(&(struct found){ o, base + o->offset }, o->initial, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* "--name", "--name=value", "--name value". ARGS points at it; *args is moved to the last word
 * used. */
static int parse_long(const struct option *table, char *base, char ***args, bool *ret_help,
		      struct error *err)
{
	const char *name = **args + 2, *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	struct found found;

	if (!find(table, base, 0, name, len, &found)) {
		if (len == 4 && memcmp(name, "help", 4) == 0) {
			*ret_help = true;
			return 0;
		}
		return error_set(err, ERROR_INVALID, "unknown option: --%.*s", (int)len, name);
	}
	if (equals)
		return store(&found, equals + 1, err);
	if (found.option->kind == OPTION_FLAG)
		return store(&found, "true", err);
	if (!(*args)[1])
		return error_set(err, ERROR_INVALID, "--%s needs a value (%s)", found.option->name,
				 found.option->value);
	(*args)++;
	return store(&found, **args, err);
}

/* "-d", "-dit", "-eA=1", "-e=A=1", "-e A=1". */
static int parse_cluster(const struct option *table, char *base, char ***args, bool *ret_help,
			 struct error *err)
{
	for (const char *p = **args + 1; *p; p++) {
		struct found found;
		int r;

		if (!find(table, base, *p, NULL, 0, &found)) {
			if (*p == 'h') {
				*ret_help = true;
				return 0;
			}
			return error_set(err, ERROR_INVALID, "unknown option: -%c%s%s%s", *p,
					 strlen(**args) > 2 ? " (in " : "",
					 strlen(**args) > 2 ? **args : "",
					 strlen(**args) > 2 ? ")" : "");
		}
		if (found.option->kind == OPTION_FLAG && p[1] != '=') {
			r = store(&found, "true", err);
			if (r < 0)
				return r;
			continue;
		}
		if (p[1] == '=')
			return store(&found, p + 2, err);
		if (p[1])
			return store(&found, p + 1, err);
		if (!(*args)[1])
			return error_set(err, ERROR_INVALID, "-%c needs a value (%s)", *p,
					 found.option->value);
		(*args)++;
		return store(&found, **args, err);
	}
	return 0;
}

int options_parse(const struct option *table, void *base, char **args, bool mixed, bool *ret_help,
		  struct error *err)
{
	char **kept = args;
	int r;

	*ret_help = false;
	r = set_initial(table, base, err);
	for (; r == 0 && *args && !*ret_help; args++) {
		if (strcmp(*args, "--") == 0) {
			args++;
			break;
		}
		if ((*args)[0] != '-' || !(*args)[1]) {
			if (!mixed)
				break;
			*kept++ = *args;
		} else if ((*args)[1] == '-') {
			r = parse_long(table, base, &args, ret_help, err);
		} else {
			r = parse_cluster(table, base, &args, ret_help, err);
		}
	}
	while (r == 0 && *args)
		*kept++ = *args++;
	*kept = NULL;
	return r;
}

void options_done(const struct option *table, void *base)
{
	for (const struct option *o = table; !option_is_end(o); o++) {
		void *target = (char *)base + o->offset;

		if (o->kind == OPTION_TABLE)
			options_done(o->table, target);
		else if (o->kind == OPTION_LIST) {
			struct option_list *list = target;

			free(list->items);
			*list = (struct option_list){ 0 };
		}
	}
}

void options_each(const struct option *table, void (*fn)(const struct option *option, void *arg),
		  void *arg)
{
	for (const struct option *o = table; !option_is_end(o); o++) {
		if (o->kind == OPTION_TABLE)
			options_each(o->table, fn, arg);
		else if (!o->hidden)
			fn(o, arg);
	}
}

struct sorted {
	const struct option *rows[128];
	size_t count;
};

static void collect(const struct option *option, void *arg)
{
	struct sorted *sorted = arg;

	if (sorted->count < ARRAY_SIZE(sorted->rows))
		sorted->rows[sorted->count++] = option;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(const struct option *const *)a)->name,
		      (*(const struct option *const *)b)->name);
}

void options_print_help(const struct option *table, FILE *out)
{
	struct sorted sorted = { 0 };
	int width = 0;

	options_each(table, collect, &sorted);
	if (!sorted.count)
		return;
	qsort(sorted.rows, sorted.count, sizeof(sorted.rows[0]), by_name);
	for (size_t i = 0; i < sorted.count; i++) {
		const struct option *o = sorted.rows[i];
		int n = (int)(strlen(o->name) + (o->value ? strlen(o->value) + 1 : 0));

		if (n > width)
			width = n;
	}
	fputs("\nOptions:\n", out);
	for (size_t i = 0; i < sorted.count; i++) {
		const struct option *o = sorted.rows[i];
		int used = (int)strlen(o->name);

		if (o->letter)
			fprintf(out, "  -%c, --%s", o->letter, o->name);
		else
			fprintf(out, "      --%s", o->name);
		if (o->value)
			used += fprintf(out, " %s", o->value);
		fprintf(out, "%*s%s", width - used + 3, "", o->help);
		/* -1 stands for "not said" wherever it is the default. */
		if (o->initial && strcmp(o->initial, "-1") != 0 && o->kind != OPTION_FLAG)
			fprintf(out, " (default %s)", o->initial);
		else if (o->initial && o->kind == OPTION_FLAG)
			fprintf(out, " (--%s=false: do not)", o->name);
		fputc('\n', out);
	}
}
