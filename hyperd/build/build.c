#include "hyperd/build/build_private.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/log.h"
#include "base/task.h"
#include "hyperd/build/expand.h"

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

int build_say(struct build *b, const char *fmt, ...)
{
	autostr struct str text = STR_INIT;
	va_list ap;

	va_start(ap, fmt);
	str_addvf(&text, fmt, ap);
	va_end(ap);
	return b->events->text(b->arg, str_text(&text), text.len, false);
}

void build_file_name(struct build *b, char name[32])
{
	snprintf(name, 32, "f%u", b->next_file++);
}

int build_env(struct build *b, char ***ret, struct error *err)
{
	autostrv char **env = run_config_strv(b->config, "Env");
	int r;

	/* What ENV says hides what ARG says. */
	*ret = env ? strv_copy(env) : NULL;
	if (env && !*ret)
		return error_nomem(err);
	r = build_args_env(&b->args, env, ret, err);
	return r;
}

static void say_step(struct build *b, const char *text)
{
	build_say(b, "Step %u/%u : %s", ++b->step, b->step_count, text);
	build_say(b, "\n");
}

static void say_image(struct build *b)
{
	build_say(b, " ---> %.12s\n", b->image ? digest_hex(image_id(b->image)) : "");
}

/* ------------------------------------------------------------------ stages */

static int add_stage(struct build *b, const struct instruction *from, struct error *err)
{
	struct build_stage *grown = reallocarray(b->stages, b->stage_count + 1, sizeof(*b->stages));
	struct build_stage *stage;

	if (!grown)
		return error_nomem(err);
	b->stages = grown;
	stage = &grown[b->stage_count++];
	*stage = (struct build_stage){ .from = from, .first = from + 1 };
	if (strv_len(from->args) < 3)
		return 0;
	stage->name = strdup(from->args[2]);
	if (!stage->name)
		return error_nomem(err);
	for (char *p = stage->name; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return 0;
}

/* What stands before the first FROM can only be ARG. */
static int find_stages(struct build *b, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < b->file.count; i++) {
		const struct instruction *in = &b->file.instructions[i];

		if (in->kind == INSTRUCTION_FROM)
			r = add_stage(b, in, err);
		else if (b->stage_count)
			b->stages[b->stage_count - 1].count++;
		else if (in->kind != INSTRUCTION_ARG)
			r = error_set(err, ERROR_INVALID, "no build stage in current context");
	}
	return r;
}

static int choose_target(struct build *b, struct error *err)
{
	const char *target = b->options->target;
	unsigned long long index;

	if (!target || !*target)
		return 0;
	for (size_t i = 0; i < b->stage_count; i++) {
		if (!b->stages[i].name || strcasecmp(b->stages[i].name, target) != 0)
			continue;
		b->stage_count = i + 1;
		return 0;
	}
	if (parse_u64(target, 0, b->stage_count - 1, &index) == 0) {
		b->stage_count = index + 1;
		return 0;
	}
	return error_set(err, ERROR_INVALID, "failed to reach build target %.200s in Dockerfile",
			 target);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The client's labels are steps at the end of the last stage. */
static int make_labels(struct build *b, struct error *err)
{
	size_t count = json_object_size(b->options->labels), i = 0;
	autofree const char **names = calloc(count + 1, sizeof(*names));
	const char *name;
	json_t *value;

	b->labels = calloc(count + 1, sizeof(*b->labels));
	if (!names || !b->labels)
		return error_nomem(err);
	json_object_foreach(b->options->labels, name, value)
		names[i++] = name;
	qsort(names, count, sizeof(*names), by_name);
	for (i = 0; i < count; i++) {
		struct instruction *label = &b->labels[b->label_count++];
		const char *text = json_string_value(json_object_get(b->options->labels, names[i]));

		*label = (struct instruction){ .kind = INSTRUCTION_LABEL, .literal = true };
		label->text = strf("LABEL %s=%s", names[i], text ? text : "");
		if (!label->text || strv_add(&label->args, names[i]) < 0 ||
		    strv_add(&label->args, text ? text : "") < 0)
			return error_nomem(err);
	}
	return 0;
}

static void count_steps(struct build *b)
{
	b->step_count = (unsigned)b->label_count;
	for (size_t i = 0; i < b->file.count; i++) {
		if (b->file.instructions[i].kind == INSTRUCTION_FROM)
			break;
		b->step_count++;
	}
	for (size_t i = 0; i < b->stage_count; i++)
		b->step_count += (unsigned)b->stages[i].count + 1;
}

/* ------------------------------------------------------------------ before the first FROM */

static int declare_before(struct build *b, const struct instruction *in, struct error *err)
{
	int r = 0;

	say_step(b, in->text);
	strv_for_each(arg, in->args) {
		autofree char *word = NULL, *name = NULL;
		autostrv char **env = NULL;
		const char *value;

		r = build_args_env_before(&b->args, &env, err);
		if (r == 0)
			r = expand_word(*arg, env, b->file.escape, &word, err);
		if (r < 0)
			return r;
		name = strndup(word, strcspn(word, "="));
		value = strchr(word, '=');
		if (!name)
			return error_nomem(err);
		r = build_args_declare(&b->args, name, value ? value + 1 : NULL, true, err);
		if (r < 0)
			return r;
	}
	return r;
}

static int declare_all_before(struct build *b, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < b->file.count; i++) {
		if (b->file.instructions[i].kind == INSTRUCTION_FROM)
			break;
		r = declare_before(b, &b->file.instructions[i], err);
	}
	return r;
}

/* ------------------------------------------------------------------ FROM */

static bool has_path(char *const *env)
{
	strv_for_each(entry, env)
		if (str_starts(*entry, "PATH="))
			return true;
	return false;
}

static int begin_config(struct build *b, struct error *err)
{
	const json_t *base =
		b->image ? json_object_get(image_config_json(b->image), "config") : NULL;
	autostrv char **env = NULL;
	int r = 0;

	json_decref(b->config);
	b->config = run_config_make(base);
	if (!b->config)
		return error_nomem(err);
	json_object_set_new(b->config, "OpenStdin", json_false());
	json_object_set_new(b->config, "StdinOnce", json_false());
	env = run_config_strv(b->config, "Env");
	if (!has_path(env)) {
		if (strv_add(&env, DEFAULT_PATH) < 0)
			return error_nomem(err);
		r = run_config_set_strv(b->config, "Env", env, err);
	}
	if (r == 0 && b->image)
		r = run_config_set_text(b->config, "Image", image_id(b->image), err);
	return r;
}

static int run_trigger(struct build *b, const char *text, struct error *err)
{
	struct instruction in = { 0 };
	int r = instruction_parse(text, b->file.escape, &in, err);

	if (r == 0 && in.kind == INSTRUCTION_FROM)
		r = error_set(err, ERROR_INVALID, "FROM isn't allowed as an ONBUILD trigger");
	if (r == 0)
		r = build_step(b, &in, err);
	instruction_done(&in);
	return r;
}

/* What the image has kept for those who build on it. */
static int run_triggers(struct build *b, struct error *err)
{
	autostrv char **triggers = run_config_strv(b->config, "OnBuild");
	int r = 0;

	if (!strv_len(triggers))
		return 0;
	json_object_set_new(b->config, "OnBuild", json_null());
	build_say(b, "# Executing %zu build trigger%s\n", strv_len(triggers),
		  strv_len(triggers) > 1 ? "s" : "");
	strv_for_each(trigger, triggers)
		if (r == 0)
			r = run_trigger(b, *trigger, err);
	return r;
}

static int begin_stage(struct build *b, const struct build_stage *stage, struct error *err)
{
	autofree char *name = NULL;
	autostrv char **env = NULL;
	struct image *image = NULL;
	int r = build_args_env_before(&b->args, &env, err);

	for (size_t i = 0; stage->name && i < b->stage; i++)
		if (str_equal(b->stages[i].name, stage->name))
			return error_set(err, ERROR_INVALID, "%s stage name already used",
					 stage->name);
	say_step(b, stage->from->text);
	if (r == 0)
		r = expand_word(stage->from->args[0], env, b->file.escape, &name, err);
	if (r == 0 && !*name)
		r = error_set(err, ERROR_INVALID, "base name (%.200s) should not be blank",
			      stage->from->args[0]);
	if (r == 0 && strcmp(name, "scratch") != 0)
		r = build_find_image(b, name, false, &image, err);
	if (r < 0)
		return r;
	image_unref(b->image);
	b->image = image;
	b->begun = true;
	b->cmd_set = b->cache_missed = false;
	free(steal(b->author));
	build_args_next_stage(&b->args);
	r = begin_config(b, err);
	return r < 0 ? r : run_triggers(b, err);
}

/* ------------------------------------------------------------------ the whole */

static int run_instruction(struct build *b, const struct instruction *in, struct error *err)
{
	int r;

	say_step(b, in->text);
	r = build_step(b, in, err);
	if (r == 0)
		say_image(b);
	return r;
}

static int run_stage(struct build *b, struct error *err)
{
	struct build_stage *stage = &b->stages[b->stage];
	bool last = b->stage + 1 == b->stage_count;
	int r = begin_stage(b, stage, err);

	if (r == 0)
		say_image(b);
	for (size_t i = 0; r == 0 && i < stage->count; i++)
		r = run_instruction(b, &stage->first[i], err);
	for (size_t i = 0; r == 0 && last && i < b->label_count; i++)
		r = run_instruction(b, &b->labels[i], err);
	if (r < 0)
		return r;
	stage->image = b->image ? image_ref(b->image) : NULL;
	if (b->image)
		b->events->image(b->arg, image_id(b->image));
	return 0;
}

static void say_unused(struct build *b)
{
	autostrv char **unused = build_args_unused(&b->args);
	autostr struct str list = STR_INIT;

	if (!unused)
		return;
	go_list(&list, unused);
	build_say(b, "[Warning] One or more build-args %s were not consumed\n", str_text(&list));
}

static int build_all(struct build *b, int context_fd, struct error *err)
{
	autostr struct str warnings = STR_INIT;
	int r = workdir_new(image_store_layers(b->images), &b->work, err);

	if (r == 0)
		r = build_read_context(b, context_fd, err);
	if (r == 0)
		r = find_stages(b, err);
	if (r == 0)
		r = choose_target(b, err);
	if (r == 0)
		r = make_labels(b, err);
	if (r < 0)
		return r;
	strv_for_each(warning, b->file.warnings)
		str_addf(&warnings, "%s\n", *warning);
	if (warnings.len)
		b->events->text(b->arg, str_text(&warnings), warnings.len, true);
	count_steps(b);
	r = declare_all_before(b, err);
	for (b->stage = 0; r == 0 && b->stage < b->stage_count; b->stage++)
		r = run_stage(b, err);
	if (r == 0)
		say_unused(b);
	if (r == 0 && !b->image)
		r = error_set(err, ERROR_INVALID,
			      "No image was generated. Is your Dockerfile empty?");
	return r;
}

static void build_done(struct build *b)
{
	bool old = task_shield(true);

	for (size_t i = 0; i < b->stage_count; i++) {
		free(b->stages[i].name);
		image_unref(b->stages[i].image);
	}
	for (size_t i = 0; i < b->label_count; i++)
		instruction_done(&b->labels[i]);
	free(b->stages);
	free(b->labels);
	free(b->author);
	free(b->dockerfile_name);
	strv_free(b->imaginary);
	json_decref(b->config);
	build_args_done(&b->args);
	dockerfile_done(&b->file);
	tree_free(b->context);
	image_unref(b->image);
	workdir_free(b->work);
	layer_store_collect(image_store_layers(b->images), NULL);
	task_shield(old);
}

int build_run(struct engine *engine, struct job_pool *jobs, int context_fd,
	      const struct build_options *options, const struct build_events *events, void *arg,
	      struct image **ret, struct error *err)
{
	struct build b = {
		.engine = engine,
		.images = engine_images(engine),
		.jobs = jobs,
		.options = options,
		.events = events,
		.arg = arg,
	};
	int r = build_args_init(&b.args, options->args, err);

	if (r == 0)
		r = build_all(&b, context_fd, err);
	if (r == 0)
		*ret = image_ref(b.image);
	build_done(&b);
	return r;
}
