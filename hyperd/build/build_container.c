/* RUN: a command in a container of its own, whose changes become a layer. */
#include "hyperd/build/build_private.h"

#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/task.h"
#include "hyperd/pod/container_files.h"

/* Output that waits for the client; more, and the process waits too. */
#define OUTPUT_MAX_BYTES (256u << 10)

/* ------------------------------------------------------------------ output */

struct output {
	struct str text[2]; /* of stdout and stderr */
	struct attachment *attachment;
	struct cond changed;
	bool ended, full;
};

static size_t take_output(struct attachment *attachment, enum stream_kind kind, const void *data,
			  size_t len, void *owner)
{
	struct output *out = owner;
	struct str *to = &out->text[kind == STREAM_STDERR];
	size_t room = to->len < OUTPUT_MAX_BYTES ? OUTPUT_MAX_BYTES - to->len : 0;
	size_t taken = len < room ? len : room;

	str_append(to, data, taken);
	out->full = out->full || taken < len;
	cond_broadcast(&out->changed);
	return taken;
}

static void output_ended(struct attachment *attachment, void *owner)
{
	struct output *out = owner;

	out->ended = true;
	cond_broadcast(&out->changed);
}

static void no_input(struct attachment *attachment, void *owner)
{
}

/* A character of several bytes that has come by half waits for its rest. */
static size_t whole_characters(const struct str *text)
{
	size_t back = 1;

	while (back <= 3 && back <= text->len) {
		unsigned char c = (unsigned char)text->data[text->len - back];

		if (c < 0x80)
			return text->len;
		if (c >= 0xc0)
			return text->len - ((c >= 0xf0   ? 4u
					     : c >= 0xe0 ? 3u
							 : 2u) > back
						    ? back
						    : 0);
		back++;
	}
	return text->len;
}

static int pass_on(struct build *b, struct output *out, int which)
{
	struct str *from = &out->text[which];
	autostr struct str piece = STR_INIT;
	size_t len = out->ended ? from->len : whole_characters(from);

	if (!len)
		return 0;
	/* More comes while the client is waited for. */
	str_append(&piece, from->data, len);
	str_consume(from, len);
	return b->events->text(b->arg, str_text(&piece), piece.len, which == 1);
}

static int pump(struct build *b, struct output *out)
{
	for (;;) {
		bool ended = out->ended;
		int r = pass_on(b, out, 0);

		if (r == 0)
			r = pass_on(b, out, 1);
		if (r < 0)
			return r;
		if (out->full) {
			out->full = false;
			attachment_writable(out->attachment);
			continue;
		}
		if (ended)
			return 0;
		/* Half a character may be left; it is no reason to go round again. */
		if (out->ended || whole_characters(&out->text[0]) ||
		    whole_characters(&out->text[1]))
			continue;
		r = cond_wait(&out->changed, DEADLINE_NEVER);
		if (r < 0)
			return r;
	}
}

/* ------------------------------------------------------------------ the container */

/* The command as it runs, and as the cache knows it: with the arguments that it could see. */
struct command {
	char **line, **saved, **env; /* owned strv; ENV: with the build arguments */
};

static void command_done(struct command *command)
{
	strv_free(command->line);
	strv_free(command->saved);
	strv_free(command->env);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "|2", the arguments, the command: no command can begin like this. */
static int save_command(struct build *b, char *const *args, struct command *command,
			struct error *err)
{
	autostrv char **counted = NULL;
	int r = 0;

	strv_for_each(arg, args) {
		autofree char *name = strndup(*arg, strcspn(*arg, "="));

		if (!name || (build_args_counts(&b->args, name) && strv_add(&counted, *arg) < 0))
			return error_nomem(err);
	}
	if (counted)
		qsort(counted, strv_len(counted), sizeof(*counted), by_bytes);
	if (strv_len(args))
		r = strv_addf(&command->saved, "|%zu", strv_len(counted));
	strv_for_each(arg, counted)
		r = r < 0 ? r : strv_add(&command->saved, *arg);
	strv_for_each(word, command->line)
		r = r < 0 ? r : strv_add(&command->saved, *word);
	return r < 0 ? error_nomem(err) : 0;
}

static int make_command(struct build *b, const struct instruction *in, struct command *command,
			struct error *err)
{
	autostrv char **args = NULL, **env = run_config_strv(b->config, "Env");
	int r;

	command->line = in->json ? NULL : run_config_shell(b->config);
	strv_for_each(word, in->args)
		if (strv_add(&command->line, *word) < 0)
			return error_nomem(err);
	r = build_args_env(&b->args, env, &args, err);
	if (r == 0)
		r = save_command(b, args, command, err);
	if (r < 0)
		return r;
	command->env = steal(env);
	strv_for_each(arg, args)
		if (strv_add(&command->env, *arg) < 0)
			return error_nomem(err);
	return 0;
}

static json_t *create_body(struct build *b, const struct command *command)
{
	autojson json_t *body = json_deep_copy(b->config);
	json_t *host =
		b->options->host_config ? json_deep_copy(b->options->host_config) : json_object();

	if (!body || json_object_set_new(body, "HostConfig", host) < 0 ||
	    run_config_set_strv(body, "Cmd", command->line, NULL) < 0 ||
	    run_config_set_strv(body, "Env", command->env, NULL) < 0 ||
	    run_config_set_text(body, "Image", image_id(b->image), NULL) < 0 ||
	    /* Neither the image's entry point nor its health check has a part in this. */
	    json_object_set_new(body, "Entrypoint", json_pack("[s]", "")) < 0 ||
	    json_object_set_new(body, "Healthcheck", json_pack("{s:[s]}", "Test", "NONE")) < 0 ||
	    json_object_set_new(host, "LogConfig", json_pack("{s:s}", "Type", "none")) < 0)
		return NULL;
	json_object_del(body, "OnBuild");
	return steal(body);
}

static int remember_container(struct build *b, struct container *container, struct error *err)
{
	struct container **grown =
		reallocarray(b->containers, b->container_count + 1, sizeof(*grown));

	if (!grown) {
		container_unref(container);
		return error_nomem(err);
	}
	b->containers = grown;
	grown[b->container_count++] = container;
	return 0;
}

static int wait_for_end(struct build *b, struct container *container, struct output *out,
			int *ret_code, struct error *err)
{
	struct container_wait *wait;
	int r = container_start(container, err);

	if (r < 0)
		return r;
	r = pump(b, out);
	if (r < 0)
		return error_errno(err, -r, "passing the output on");
	r = container_wait_begin(container, WAIT_NOT_RUNNING, &wait, err);
	return r < 0 ? r : container_wait_end(wait, ret_code, err);
}

/* To its end; what it did is in its files. */
static int run_container(struct build *b, struct container *container, int *ret_code,
			 struct error *err)
{
	static const struct attachment_events events = { .write = take_output,
							 .ended = output_ended,
							 .input_room = no_input };
	struct attach_options options = { .want_stdout = true,
					  .want_stderr = true,
					  .stream = true };
	struct output out = { 0 };
	int r;

	cond_init(&out.changed);
	r = container_attach(container, &options, &events, &out, &out.attachment, err);
	if (r == 0) {
		r = wait_for_end(b, container, &out, ret_code, err);
		attachment_detach(out.attachment);
	}
	str_done(&out.text[0]);
	str_done(&out.text[1]);
	return r;
}

/* Docker's text; clients look at the code. */
static int command_failed(const struct command *command, int code, struct error *err)
{
	autostr struct str text = STR_INIT;

	strv_for_each(word, command->line)
		str_addf(&text, "%s%s", text.len ? " " : "", *word);
	error_set(err, ERROR_FAILED, "The command '%.800s' returned a non-zero code: %d",
		  str_text(&text), code);
	err->exit_code = code;
	return error_kind_errno(ERROR_FAILED);
}

/* What it changed, as a layer; its own configuration is of no account. */
static int commit_container(struct build *b, struct container *container, json_t *container_config,
			    char *const *command, struct error *err)
{
	struct build_result result = { .container_config = container_config,
				       .container_id = container_id(container) };
	autostr struct str created_by = STR_INIT;
	char file[32];
	bool empty;
	int r;

	build_file_name(b, file);
	r = container_layer(container, false, b->work, file, &empty, err);
	if (r < 0)
		return r;
	strv_for_each(word, command)
		str_addf(&created_by, "%s%s", word != command ? " " : "", *word);
	result.created_by = str_text(&created_by);
	result.file = empty ? NULL : file;
	return build_commit(b, &result, err);
}

static int run_in_container(struct build *b, const struct command *command, struct container **ret,
			    struct error *err)
{
	autojson json_t *body = create_body(b, command);
	struct container *container = NULL;
	int code = 0, r;

	if (!body)
		return error_nomem(err);
	r = b->events->create(b->arg, body, &container, err);
	if (r == 0)
		r = remember_container(b, container, err);
	if (r < 0)
		return r;
	build_say(b, " ---> Running in %.12s\n", container_id(container));
	r = run_container(b, container, &code, err);
	if (r == 0 && code != 0)
		r = command_failed(command, code, err);
	*ret = container;
	return r;
}

int build_run_command(struct build *b, const struct instruction *in, struct error *err)
{
	struct command command = { 0 };
	autojson json_t *container_config = json_deep_copy(b->config);
	struct container *container = NULL;
	int r = container_config ? make_command(b, in, &command, err) : error_nomem(err);

	if (r == 0)
		r = run_config_set_strv(container_config, "Cmd", command.saved, err);
	if (r == 0 && strv_len(command.saved))
		json_object_set_new(container_config, "Entrypoint", json_null());
	if (r == 0 && !build_probe_cache(b, container_config)) {
		r = b->image
			    ? run_in_container(b, &command, &container, err)
			    : error_set(
				      err, ERROR_FAILED,
				      "there is nothing to run in an empty image: exec: \"%s\": no "
				      "such file or directory",
				      command.line ? command.line[0] : "");
		if (r == 0)
			r = commit_container(b, container, container_config, command.saved, err);
	}
	command_done(&command);
	return r;
}

static void remove_one(struct build *b, struct container *container)
{
	static const struct container_remove_options options = { .force = true, .volumes = true };
	struct error err = { 0 };

	if (container_remove(container, &options, &err) < 0)
		log_warn("build: removing container %.12s: %s", container_id(container),
			 err.message);
	else
		build_say(b, "Removing intermediate container %.12s\n", container_id(container));
}

void build_remove_containers(struct build *b, enum step_end end)
{
	bool removed = b->options->force_remove || end == STEP_CANCELED ||
		       (b->options->remove && end == STEP_DONE);

	for (size_t i = 0; i < b->container_count; i++) {
		if (removed)
			remove_one(b, b->containers[i]);
		container_unref(b->containers[i]);
	}
	strv_for_each(id, b->imaginary)
		if (removed)
			build_say(b, "Removing intermediate container %.12s\n", *id);
	free(steal(b->containers));
	b->container_count = 0;
	strv_free(steal(b->imaginary));
}
