#include "hyperctl/run.h"

#include <string.h>

#include "base/clock.h"
#include "hyperctl/attached.h"
#include "hyperctl/timing.h"

static const struct option options[] = {
	TABLE(container_option_table, struct run_options, container),
	STRING('f', "file", struct run_options, file, "FILE",
	       "Run the pod that FILE (JSON or YAML, - for standard input) describes"),
	FLAG('d', "detach", struct run_options, detach, "Leave it in the background, print its id"),
	STRING(0, "detach-keys", struct run_options, detach_keys, "KEYS",
	       "Keys that detach, such as ctrl-p,ctrl-q or ctrl-x"),
	FLAG(0, "sig-proxy", struct run_options, sig_proxy, "Pass signals on to the process",
	     .initial = "true"),
	FLAG(0, "timing", struct run_options, timing, "Show where the time of the start went"),
	OPTIONS_END,
};

struct run {
	const struct run_options *options;
	struct attached attached;
	char *id;   /* owned */
	char *path; /* owned */
	struct timing timing;
};

static void first_output(void *arg)
{
	struct run *run = arg;

	timing_mark(&run->timing, TIMING_OUTPUT);
}

static int start(struct run *run, struct error *err)
{
	autofree char *path = strf("%s/start", run->path);
	int r;

	if (!path)
		return error_nomem(err);
	r = client_call(run->attached.client, "POST", path, NULL, NULL, NULL, err);
	if (r < 0)
		start_failure_code(err, EXIT_DAEMON_FAILED);
	else
		timing_mark(&run->timing, TIMING_STARTED);
	return r;
}

static int run_attached(struct run *run, struct error *err)
{
	const struct run_options *o = run->options;
	const char *condition = o->container.remove ? "removed" : "next-exit";
	int r = attached_open(&run->attached, o->detach_keys, err);

	if (r == 0)
		r = attached_open_wait(&run->attached, condition, err);
	if (r == 0)
		r = start(run, err);
	if (r < 0)
		return r;
	r = attached_run(&run->attached, err);
	timing_mark(&run->timing, TIMING_ENDED);
	return r;
}

static int run_container(struct ctl *ctl, struct run *run, char *const *args, struct error *err)
{
	const struct run_options *o = run->options;
	int r = container_create(&ctl->client, &o->container, args, !o->detach, &run->id, err);

	if (r < 0)
		return r;
	timing_mark(&run->timing, TIMING_CREATED);
	run->path = strf("/containers/%s", run->id);
	if (!run->path)
		return error_nomem(err);
	run->attached = (struct attached){
		.client = &ctl->client,
		.path = run->path,
		.tty = o->container.tty,
		.input = o->container.interactive,
		.pass_signals = o->sig_proxy,
		.first_output = first_output,
		.arg = run,
	};
	run->timing.object = run->id;
	if (!o->detach)
		return run_attached(run, err);
	r = start(run, err);
	if (r == 0)
		puts(run->id);
	return r;
}

static int check(const struct run_options *o, char *const *args, struct error *err)
{
	struct detach_keys keys;
	int r;

	if (o->file && args[0])
		return error_set(err, ERROR_INVALID,
				 "with -f the pod file says what runs: '%s' is one too many",
				 args[0]);
	if (!o->file && !args[0])
		return error_set(err, ERROR_INVALID, "expected an image, or a pod file with -f");
	r = detach_keys_parse(o->detach_keys, &keys, err);
	if (r < 0)
		return r;
	return o->detach ? 0
			 : attached_check_terminal(o->container.tty, o->container.interactive, err);
}

static int run_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct run_options *o = given;
	struct run run = { .options = o };
	int r = check(o, args, err);

	if (r < 0)
		return r;
	if (o->file)
		return pod_run(ctl, o, err);
	timing_begin(&run.timing, &ctl->client, o->timing);
	r = run_container(ctl, &run, args, err);
	timing_print(&run.timing);
	attached_done(&run.attached);
	free(run.id);
	free(run.path);
	timing_done(&run.timing);
	return r;
}

const struct command command_run = {
	.name = "run",
	.group = "Pods and containers",
	.usage = "[OPTIONS] IMAGE [COMMAND] [ARG...]\n[OPTIONS] -f FILE",
	.summary = "Create and start a container, or a pod from a file",
	.details =
		"The exit code is the process's; 125 when it could not be created, 126 when the\n"
		"command could not be run, 127 when it was not found. A pod's exit code is the "
		"first\n"
		"of its containers' that is not 0.",
	.options = options,
	.options_size = sizeof(struct run_options),
	.max_args = -1,
	.run = run_main,
	.failure_code = 125,
};
