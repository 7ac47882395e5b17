#include <string.h>
#include <unistd.h>

#include "hyperctl/attached.h"
#include "hyperctl/container_options.h"
#include "hyperctl/object.h"
#include "hyperctl/terminal.h"

struct exec_options {
	bool detach, interactive, tty, privileged, vm;
	struct option_list env, env_files;
	const char *working_dir, *user, *detach_keys;
};
#define OPT struct exec_options
static const struct option options[] = {
	FLAG('d', "detach", OPT, detach, "Leave it in the background"),
	FLAG('i', "interactive", OPT, interactive, "Pass standard input on"),
	FLAG('t', "tty", OPT, tty, "Give the process a terminal"),
	LIST('e', "env", OPT, env, "KEY[=VALUE]", "Set an environment variable"),
	LIST(0, "env-file", OPT, env_files, "FILE", "Read environment variables from a file"),
	STRING('w', "workdir", OPT, working_dir, "DIR", "Working directory"),
	STRING('u', "user", OPT, user, "USER[:GROUP]", "User and group, by name or number"),
	FLAG(0, "privileged", OPT, privileged, "All capabilities"),
	STRING(0, "detach-keys", OPT, detach_keys, "KEYS", "Keys that detach"),
	FLAG(0, "vm", OPT, vm, "Run beside the init of the pod's sandbox, not in a container"),
	OPTIONS_END,
};
#undef OPT

/* What is to be run, with the defaults that `exec --vm POD` alone has: a shell to type into. */
struct plan {
	bool tty, input;
	char *const *args;
};

static json_t *console_size(void)
{
	unsigned rows, columns;

	if (!terminal_size(STDOUT_FILENO, &rows, &columns))
		return NULL;
	return json_pack("[i, i]", rows, columns);
}

static int exec_create(struct ctl *ctl, const struct exec_options *o, const struct plan *plan,
		       const char *path, char **ret_id, struct error *err)
{
	autojson json_t *env = NULL, *body = NULL, *answer = NULL, *size = NULL;
	autofree char *exec_path = strf("%s/exec", path);
	const char *id;
	int r;

	if (!exec_path)
		return error_nomem(err);
	r = env_collect(&o->env_files, &o->env, &env, err);
	if (r < 0)
		return r;
	body = json_pack("{s:o, s:O, s:b, s:b, s:b, s:b}", "Cmd", json_from_strv(plan->args), "Env",
			 env, "Tty", plan->tty, "AttachStdin", plan->input && !o->detach,
			 "AttachStdout", !o->detach, "AttachStderr", !o->detach);
	if (!body)
		return error_set(err, ERROR_INVALID, "an argument is not UTF-8");
	/* A process beside the init has no privileges to be given: left out unless asked for. */
	if (o->privileged)
		json_object_set_new(body, "Privileged", json_true());
	if (o->detach_keys)
		json_object_set_new(body, "DetachKeys", json_string(o->detach_keys));
	if (o->user)
		json_object_set_new(body, "User", json_string(o->user));
	if (o->working_dir)
		json_object_set_new(body, "WorkingDir", json_string(o->working_dir));
	size = plan->tty && !o->vm ? console_size() : NULL;
	if (size)
		json_object_set(body, "ConsoleSize", size);
	r = client_call(&ctl->client, "POST", exec_path, NULL, body, &answer, err);
	if (r < 0)
		return r;
	id = json_string_value(json_object_get(answer, "Id"));
	*ret_id = id ? strdup(id) : NULL;
	return *ret_id ? 0 : error_set(err, ERROR_FAILED, "the daemon named no exec session");
}

static int exec_start(struct ctl *ctl, const struct exec_options *o, const struct plan *plan,
		      const char *path, struct response **ret, struct error *err)
{
	autojson json_t *body = json_pack("{s:b, s:b}", "Detach", o->detach, "Tty", plan->tty);
	autojson json_t *size = plan->tty ? console_size() : NULL;
	autofree char *start_path = strf("%s/start", path), *text = NULL;
	struct request request = {
		.method = "POST",
		.path = start_path,
		.content_type = "application/json",
		.hijack = !o->detach,
	};
	int r;

	if (size)
		json_object_set(body, "ConsoleSize", size);
	text = json_dumps(body, JSON_COMPACT);
	if (!text || !start_path)
		return error_nomem(err);
	request.body = text;
	request.body_len = strlen(text);
	r = client_open(&ctl->client, &request, ret, err);
	if (r < 0)
		start_failure_code(err, 1);
	return r;
}

static int exit_code(struct ctl *ctl, const char *path, struct error *err)
{
	autofree char *json_path = strf("%s/json", path);
	autojson json_t *answer = NULL;
	json_t *code;
	int r;

	if (!json_path)
		return error_nomem(err);
	r = client_call(&ctl->client, "GET", json_path, NULL, NULL, &answer, err);
	if (r < 0)
		return r;
	code = json_object_get(answer, "ExitCode");
	/* Detached from, it runs on. */
	return json_is_integer(code) ? (int)(json_integer_value(code) & 0xff) : 0;
}

static int exec_attached(struct ctl *ctl, const struct exec_options *o, const struct plan *plan,
			 const char *path, struct error *err)
{
	autoattached struct attached attached = {
		.client = &ctl->client,
		.path = path,
		.tty = plan->tty,
		.input = plan->input,
	};
	int r = detach_keys_parse(o->detach_keys, &attached.keys, err);

	if (r == 0)
		r = exec_start(ctl, o, plan, path, &attached.stream, err);
	if (r < 0 || o->detach)
		return r;
	r = attached_run(&attached, err);
	return r < 0 ? r : exit_code(ctl, path, err);
}

static int exec_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	static char *const shell[] = { (char *)"/bin/sh", NULL };
	const struct exec_options *o = given;
	struct plan plan = { .tty = o->tty, .input = o->interactive, .args = args + 1 };
	autofree char *id = NULL, *path = NULL;
	autoobject struct object object = { 0 };
	int r;

	if (o->vm && !args[1]) {
		plan.args = shell;
		plan.input = true;
		plan.tty = o->tty || isatty(STDIN_FILENO);
	} else if (!args[1]) {
		return error_set(err, ERROR_INVALID, "expected a command after the container");
	}
	r = o->detach ? 0 : attached_check_terminal(plan.tty, plan.input, err);
	if (r == 0)
		r = o->vm ? object_find(ctl, args[0], OBJECT_POD, &object, err)
			  : object_find_container(ctl, args[0], &object, err);
	if (r == 0)
		r = exec_create(ctl, o, &plan, object.path, &id, err);
	if (r < 0)
		return r;
	path = strf("/exec/%s", id);
	return path ? exec_attached(ctl, o, &plan, path, err) : error_nomem(err);
}

const struct command command_exec = {
	.name = "exec",
	.group = "Looking inside",
	.usage = "[OPTIONS] CONTAINER COMMAND [ARG...]\n[OPTIONS] --vm POD [COMMAND] [ARG...]",
	.summary = "Run a command in a running container, or beside the init of its sandbox",
	.options = options,
	.options_size = sizeof(struct exec_options),
	.min_args = 1,
	.max_args = -1,
	.run = exec_main,
};
