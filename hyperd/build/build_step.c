/* One instruction at a time: what it changes, and what the history says of it. */
#include "hyperd/build/build_private.h"

#include <string.h>

#include "base/json.h"
#include "hyperd/build/expand.h"
#include "hyperd/image/changes.h"
#include "hyperd/pod/oci_defaults.h"

struct step {
	struct build *b;
	const struct instruction *in;
	char **words; /* owned strv: its arguments, expanded where they are */
};

static int commit(struct step *s, const struct str *comment, struct error *err)
{
	return comment->failed ? error_nomem(err)
			       : build_commit_config(s->b, str_text(comment), err);
}

static int step_env(struct step *s, struct error *err)
{
	autostr struct str comment = STR_INIT;
	int r = 0;

	str_add(&comment, "ENV");
	for (size_t i = 0; r == 0 && s->words[i] && s->words[i + 1]; i += 2) {
		str_addf(&comment, " %s=%s", s->words[i], s->words[i + 1]);
		r = run_config_set_env(s->b->config, s->words[i], s->words[i + 1], err);
	}
	return r < 0 ? r : commit(s, &comment, err);
}

static int step_label(struct step *s, struct error *err)
{
	autostr struct str comment = STR_INIT;
	int r = 0;

	str_add(&comment, "LABEL");
	for (size_t i = 0; r == 0 && s->words[i] && s->words[i + 1]; i += 2) {
		str_addf(&comment, " %s=%s", s->words[i], s->words[i + 1]);
		r = run_config_set_member(s->b->config, "Labels", s->words[i], s->words[i + 1],
					  err);
	}
	return r < 0 ? r : commit(s, &comment, err);
}

static int step_maintainer(struct step *s, struct error *err)
{
	autostr struct str comment = STR_INIT;

	free(s->b->author);
	s->b->author = strdup(s->words[0]);
	if (!s->b->author)
		return error_nomem(err);
	str_addf(&comment, "MAINTAINER %s", s->words[0]);
	return commit(s, &comment, err);
}

static int step_copy(struct step *s, struct error *err)
{
	const char *chown = instruction_flag(s->in, "chown");
	autofree char *expanded = NULL;
	autostrv char **env = NULL;
	int r = build_env(s->b, &env, err);

	if (r == 0 && chown)
		r = expand_word(chown, env, s->b->file.escape, &expanded, err);
	return r < 0 ? r : build_copy(s->b, s->in, s->words, expanded, err);
}

/* What is kept is the text after the word ONBUILD. */
static int step_onbuild(struct step *s, struct error *err)
{
	json_t *list = json_object_get(s->b->config, "OnBuild");
	autostr struct str comment = STR_INIT;

	if (!json_is_array(list)) {
		list = json_array();
		if (json_object_set_new(s->b->config, "OnBuild", list) < 0)
			return error_nomem(err);
	}
	if (json_array_append_new(list, json_string(s->words[0])) < 0)
		return error_nomem(err);
	str_addf(&comment, "ONBUILD %s", s->words[0]);
	return commit(s, &comment, err);
}

/* "." and ".." taken out of a path that begins with a slash. */
static char *clean_path(const char *path)
{
	autostrv char **parts = strv_split(path, '/');
	autostr struct str out = STR_INIT;

	strv_for_each(part, parts) {
		if (!**part || strcmp(*part, ".") == 0)
			continue;
		if (strcmp(*part, "..") != 0) {
			str_addf(&out, "/%s", *part);
			continue;
		}
		while (out.len && out.data[--out.len] != '/')
			;
		if (out.data)
			out.data[out.len] = '\0';
	}
	if (!out.len)
		str_addc(&out, '/');
	return str_steal(&out);
}

static int step_workdir(struct step *s, struct error *err)
{
	const char *old = json_string_value(json_object_get(s->b->config, "WorkingDir"));
	autofree char *joined = NULL, *path = NULL;
	int r;

	if (!*s->words[0])
		return error_set(err, ERROR_INVALID, "cannot normalize nothing");
	if (*s->words[0] == '/') {
		path = strdup(s->words[0]);
	} else {
		joined = strf("%s/%s", old ? old : "", s->words[0]);
		path = joined ? clean_path(joined) : NULL;
	}
	if (!path)
		return error_nomem(err);
	r = run_config_set_text(s->b->config, "WorkingDir", path, err);
	return r < 0 ? r : build_workdir(s->b, path, err);
}

static int step_run(struct step *s, struct error *err)
{
	return build_run_command(s->b, s->in, err);
}

/* In the shell's form the shell comes first; *ret is a strv of the caller's. */
static int command_line(struct step *s, char ***ret, struct error *err)
{
	autostrv char **line =
		s->in->json ? calloc(1, sizeof(*line)) : run_config_shell(s->b->config);

	if (!line)
		return error_nomem(err);
	strv_for_each(word, s->words)
		if (strv_add(&line, *word) < 0)
			return error_nomem(err);
	*ret = steal(line);
	return 0;
}

static int step_cmd(struct step *s, struct error *err)
{
	autostr struct str comment = STR_INIT;
	autostrv char **line = NULL;
	int r = command_line(s, &line, err);

	if (r == 0)
		r = run_config_set_strv(s->b->config, "Cmd", line, err);
	if (r < 0)
		return r;
	str_add(&comment, "CMD ");
	go_quote_list(&comment, line);
	r = commit(s, &comment, err);
	if (strv_len(s->words))
		s->b->cmd_set = true;
	return r;
}

/* A new entry point makes the old arguments meaningless. */
static int step_entrypoint(struct step *s, struct error *err)
{
	autostr struct str comment = STR_INIT;
	autostrv char **line = NULL;
	int r = command_line(s, &line, err);

	if (r == 0)
		r = run_config_set_strv(s->b->config, "Entrypoint", line, err);
	if (r < 0)
		return r;
	if (!s->b->cmd_set)
		json_object_set_new(s->b->config, "Cmd", json_null());
	str_add(&comment, "ENTRYPOINT ");
	go_quote_list(&comment, line);
	return commit(s, &comment, err);
}

static int apply_change(struct step *s, const char *change, struct error *err)
{
	const char *changes[] = { change, NULL };

	return image_changes_apply(s->b->config, (char *const *)changes, err);
}

/* Go's %q of the structure, as everybody's history has it. */
static void describe_health(struct str *out, const json_t *check)
{
	static const char *const times[] = { "Interval", "Timeout", "StartPeriod" };
	autostrv char **test = NULL;
	int64_t number = 0;

	json_get_strv(check, "Test", &test, NULL);
	str_add(out, "HEALTHCHECK &{");
	go_quote_list(out, test);
	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		json_get_int(check, times[i], &number, NULL);
		str_add(out, " \"");
		go_duration(out, number);
		str_addc(out, '"');
	}
	json_get_int(check, "Retries", &number, NULL);
	if (number >= 0x20 && number < 0x7f)
		str_addf(out, " '%c'}", (char)number);
	else
		str_addf(out,
			 number == 10   ? " '\\n'}"
			 : number == 9  ? " '\\t'}"
			 : number == 13 ? " '\\r'}"
					: " '\\x%02llx'}",
			 (unsigned long long)number);
}

static int step_healthcheck(struct step *s, struct error *err)
{
	json_t *old = json_object_get(s->b->config, "Healthcheck"), *check, *value;
	autojson json_t *inherited = NULL;
	autostr struct str comment = STR_INIT;
	autostrv char **test = NULL;
	const char *key;
	int r;

	json_get_strv(old, "Test", &test, NULL);
	if (strv_len(test) && strcmp(test[0], "NONE") != 0) {
		autostr struct str note = STR_INIT;

		go_list(&note, test);
		build_say(s->b, "Note: overriding previous HEALTHCHECK: %s\n", str_text(&note));
	}
	inherited = json_deep_copy(old);
	r = apply_change(s, s->in->text, err);
	if (r < 0)
		return r;
	check = json_object_get(s->b->config, "Healthcheck");
	describe_health(&comment, check);
	/* As Docker: what it does not say stays as it was. */
	json_object_foreach(inherited, key, value)
		if (!json_object_get(check, key))
			json_object_set(check, key, value);
	return commit(s, &comment, err);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int step_expose(struct step *s, struct error *err)
{
	autostr struct str ports = STR_INIT, change = STR_INIT;
	int r;

	if (s->words[0])
		qsort(s->words, strv_len(s->words), sizeof(*s->words), by_bytes);
	strv_for_each(word, s->words)
		str_addf(&ports, " %s", *word);
	str_addf(&change, "EXPOSE%s", str_text(&ports));
	r = ports.failed || change.failed ? error_nomem(err)
					  : apply_change(s, str_text(&change), err);
	return r < 0 ? r : commit(s, &change, err);
}

static int step_user(struct step *s, struct error *err)
{
	autostr struct str comment = STR_INIT;
	int r = run_config_set_text(s->b->config, "User", s->words[0], err);

	if (r < 0)
		return r;
	str_addf(&comment, "USER %s", s->words[0]);
	return commit(s, &comment, err);
}

static int step_volume(struct step *s, struct error *err)
{
	autostr struct str comment = STR_INIT;
	int r = 0;

	strv_for_each(word, s->words) {
		if (!**word)
			r = error_set(err, ERROR_INVALID,
				      "VOLUME specified can not be an empty string");
		if (r == 0)
			r = run_config_set_member(s->b->config, "Volumes", *word, NULL, err);
	}
	if (r < 0)
		return r;
	str_add(&comment, "VOLUME ");
	go_list(&comment, s->words);
	return commit(s, &comment, err);
}

static int step_stopsignal(struct step *s, struct error *err)
{
	autostr struct str comment = STR_INIT;
	int number, r = signal_parse(s->words[0], &number, err);

	if (r == 0)
		r = run_config_set_text(s->b->config, "StopSignal", s->words[0], err);
	if (r < 0)
		return r;
	str_addf(&comment, "STOPSIGNAL %s", s->words[0]);
	return commit(s, &comment, err);
}

static int step_arg(struct step *s, struct error *err)
{
	autostr struct str comment = STR_INIT;
	int r = 0;

	str_add(&comment, "ARG");
	strv_for_each(word, s->words) {
		autofree char *name = strndup(*word, strcspn(*word, "="));
		const char *value = strchr(*word, '=');

		if (!name)
			return error_nomem(err);
		str_addf(&comment, " %s", *word);
		r = build_args_declare(&s->b->args, name, value ? value + 1 : NULL, false, err);
		if (r < 0)
			return r;
	}
	return commit(s, &comment, err);
}

static int step_shell(struct step *s, struct error *err)
{
	autostr struct str comment = STR_INIT;
	int r = run_config_set_strv(s->b->config, "Shell", s->words, err);

	if (r < 0)
		return r;
	str_add(&comment, "SHELL ");
	go_list(&comment, s->words);
	return commit(s, &comment, err);
}

enum expansion { EXPAND_NOT, EXPAND_EACH, EXPAND_SPLIT };

/* FROM begins a stage and is none of its steps. */
static const struct {
	int (*run)(struct step *s, struct error *err);
	enum expansion expansion;
} steps[] = {
	[INSTRUCTION_ADD] = { step_copy, EXPAND_EACH },
	[INSTRUCTION_ARG] = { step_arg, EXPAND_EACH },
	[INSTRUCTION_CMD] = { step_cmd },
	[INSTRUCTION_COPY] = { step_copy, EXPAND_EACH },
	[INSTRUCTION_ENTRYPOINT] = { step_entrypoint },
	[INSTRUCTION_ENV] = { step_env, EXPAND_EACH },
	[INSTRUCTION_EXPOSE] = { step_expose, EXPAND_SPLIT },
	[INSTRUCTION_HEALTHCHECK] = { step_healthcheck },
	[INSTRUCTION_LABEL] = { step_label, EXPAND_EACH },
	[INSTRUCTION_MAINTAINER] = { step_maintainer },
	[INSTRUCTION_ONBUILD] = { step_onbuild },
	[INSTRUCTION_RUN] = { step_run },
	[INSTRUCTION_SHELL] = { step_shell },
	[INSTRUCTION_STOPSIGNAL] = { step_stopsignal, EXPAND_EACH },
	[INSTRUCTION_USER] = { step_user, EXPAND_EACH },
	[INSTRUCTION_VOLUME] = { step_volume, EXPAND_EACH },
	[INSTRUCTION_WORKDIR] = { step_workdir, EXPAND_EACH },
};

static int expand_all(struct step *s, enum expansion expansion, struct error *err)
{
	autostrv char **env = NULL;
	int r = build_env(s->b, &env, err);

	s->words = calloc(1, sizeof(*s->words));
	if (!s->words)
		return error_nomem(err);
	strv_for_each(arg, s->in->args) {
		autofree char *word = NULL;

		if (r < 0)
			return r;
		if (expansion == EXPAND_SPLIT && !s->in->literal) {
			r = expand_words(*arg, env, s->b->file.escape, &s->words, err);
			continue;
		}
		if (expansion == EXPAND_NOT || s->in->literal)
			word = strdup(*arg);
		else
			r = expand_word(*arg, env, s->b->file.escape, &word, err);
		if (r == 0 && (!word || strv_take(&s->words, steal(word)) < 0))
			r = error_nomem(err);
	}
	return r;
}

int build_step(struct build *b, const struct instruction *in, struct error *err)
{
	struct step s = { .b = b, .in = in };
	enum step_end end;
	bool old;
	int r = expand_all(&s, steps[in->kind].expansion, err);

	if (r == 0)
		r = steps[in->kind].run(&s, err);
	strv_free(s.words);
	end = r == 0 ? STEP_DONE : task_canceled() ? STEP_CANCELED : STEP_FAILED;
	old = task_shield(true);
	build_remove_containers(b, end);
	task_shield(old);
	if (r == 0 && b->image)
		r = run_config_set_text(b->config, "Image", image_id(b->image), err);
	return r;
}
