/*
 * Health checks: a command run in the container again and again, as Docker does. One task for each
 * container that has one and runs.
 */
#include <string.h>

#include "base/clock.h"
#include "hyperd/pod/internal.h"

/* Docker's defaults and limits. */
#define HEALTH_INTERVAL_NS  (30 * NSEC_PER_SEC)
#define HEALTH_TIMEOUT_NS   (30 * NSEC_PER_SEC)
#define HEALTH_RETRIES      3
#define HEALTH_OUTPUT_BYTES 4096
#define HEALTH_LOG_ENTRIES  5

struct health {
	unsigned refs;      /* the container's and its task's */
	const char *status; /* a literal */
	unsigned failing_streak;
	json_t *log; /* owned array */
	struct task *task;
	bool ending;
};

const char *health_text(const struct container *c)
{
	return c->health ? c->health->status : "none";
}

json_t *health_json(const struct container *c)
{
	if (!c->health)
		return NULL;
	return json_pack("{s:s, s:i, s:O}", "Status", c->health->status, "FailingStreak",
			 (int)c->health->failing_streak, "Log", c->health->log);
}

void health_free(struct health *health)
{
	if (!health || --health->refs)
		return;
	json_decref(health->log);
	task_unref(health->task);
	free(health);
}

/* ------------------------------------------------------------------ one probe */

struct probe {
	struct str output;
	bool ended;
};

static size_t probe_write(struct attachment *attachment, enum stream_kind kind, const void *data,
			  size_t len, void *owner)
{
	struct probe *probe = owner;
	size_t room = HEALTH_OUTPUT_BYTES - probe->output.len;

	str_append(&probe->output, data, len < room ? len : room);
	return len;
}

static void probe_ended(struct attachment *attachment, void *owner)
{
	struct probe *probe = owner;

	probe->ended = true;
}

static const struct attachment_events probe_events = {
	.write = probe_write,
	.ended = probe_ended,
};

static struct exec_spec *probe_spec(const struct container *c)
{
	struct exec_spec *spec = calloc(1, sizeof(*spec));
	char *const *test = c->config.health.test;
	int r = 0;

	if (!spec)
		return NULL;
	spec->want_stdout = spec->want_stderr = true;
	if (strcmp(test[0], "CMD-SHELL") == 0) {
		r = strv_add(&spec->args, "/bin/sh");
		if (r == 0)
			r = strv_add(&spec->args, "-c");
		if (r == 0)
			r = strv_add(&spec->args, test[1] ? test[1] : "");
	} else {
		for (char *const *arg = test + 1; r == 0 && *arg; arg++)
			r = strv_add(&spec->args, *arg);
	}
	if (r < 0) {
		exec_spec_free(spec);
		return NULL;
	}
	return spec;
}

/* The exit code, -1 when it took too long. */
static int run_probe(struct container *c, struct probe *probe, uint64_t timeout_ns)
{
	autoptr(exec_unref) struct exec *exec = NULL;
	struct exec_spec *spec = probe_spec(c);
	struct attachment *attachment = NULL;
	struct error err = { 0 };
	uint64_t deadline = now_ns() + timeout_ns;
	int r = spec ? exec_create(c, spec, &exec, &err) : error_nomem(&err);

	if (r == 0)
		r = exec_start(exec, &probe_events, probe, &attachment, &err);
	if (r < 0) {
		str_add(&probe->output, err.message);
		return 1;
	}
	while (!exec->done && cond_wait(&exec->changed, deadline) == 0)
		;
	attachment_detach(attachment);
	if (exec->done)
		return exec->exit_code;
	pod_signal(c->pod, c->id, exec->id, 9, NULL);
	str_clear(&probe->output);
	str_addf(&probe->output, "Health check exceeded timeout (%.9gs)",
		 (double)timeout_ns / (double)NSEC_PER_SEC);
	return -1;
}

/* ------------------------------------------------------------------ the verdict */

static void add_entry(struct health *health, uint64_t start_ns, int code, const char *output)
{
	json_t *entry = json_pack("{s:I, s:I, s:i, s:s%}", "StartNs", (json_int_t)start_ns, "EndNs",
				  (json_int_t)realtime_ns(), "ExitCode", code, "Output", output,
				  strlen(output));

	/* Output that is no UTF-8 is left out. */
	if (!entry)
		entry = json_pack("{s:I, s:I, s:i, s:s}", "StartNs", (json_int_t)start_ns, "EndNs",
				  (json_int_t)realtime_ns(), "ExitCode", code, "Output", "");
	json_array_append_new(health->log, entry);
	while (json_array_size(health->log) > HEALTH_LOG_ENTRIES)
		json_array_remove(health->log, 0);
}

static void set_status(struct container *c, const char *status)
{
	autofree char *action = NULL;

	if (strcmp(c->health->status, status) == 0)
		return;
	c->health->status = status;
	action = strf("health_status: %s", status);
	if (action)
		container_event(c, action, NULL);
	cond_broadcast(&c->changed);
}

static void judge(struct container *c, int code, uint64_t started_ns)
{
	const struct spec_health *spec = &c->config.health;
	unsigned retries = spec->retries ? spec->retries : HEALTH_RETRIES;
	struct health *health = c->health;

	if (code == 0) {
		health->failing_streak = 0;
		set_status(c, "healthy");
		return;
	}
	/* Failures while it starts do not count. */
	if (strcmp(health->status, "starting") == 0 &&
	    now_ns() - started_ns < spec->start_period_ns)
		return;
	if (++health->failing_streak >= retries)
		set_status(c, "unhealthy");
}

static void health_task(void *arg)
{
	struct container *c = arg;
	struct engine *engine = c->engine;
	struct health *health = c->health; /* referenced */
	const struct spec_health *spec = &c->config.health;
	uint64_t interval = spec->interval_ns ? spec->interval_ns : HEALTH_INTERVAL_NS;
	uint64_t timeout = spec->timeout_ns ? spec->timeout_ns : HEALTH_TIMEOUT_NS;
	uint64_t started_ns = c->started_mono_ns;

	while (!health->ending && task_sleep_until(now_ns() + interval) == 0) {
		struct probe probe = { 0 };
		uint64_t start_ns = realtime_ns();
		int code;

		if (health->ending || c->health != health || c->state == CONTAINER_PAUSED)
			continue;
		code = run_probe(c, &probe, timeout);
		if (!health->ending) {
			add_entry(health, start_ns, code, str_text(&probe.output));
			judge(c, code, started_ns);
		}
		str_done(&probe.output);
	}
	task_unref(steal(health->task));
	health_free(health);
	container_unref(c);
	engine_task_done(engine);
}

void health_begin(struct container *c)
{
	struct error err = { 0 };

	if (!c->config.health.test)
		return;
	health_end(c);
	health_free(steal(c->health));
	c->health = calloc(1, sizeof(*c->health));
	if (!c->health)
		return;
	c->health->refs = 1;
	c->health->status = "starting";
	c->health->log = json_array();
	if (task_spawn(c->engine->loop, "health", health_task, container_ref(c), &c->health->task,
		       &err) < 0) {
		log_warn("container %s: health checks: %s", c->name, err.message);
		container_unref(c);
		return;
	}
	c->health->refs++;
	c->engine->background++;
}

void health_end(struct container *c)
{
	if (!c->health || !c->health->task)
		return;
	c->health->ending = true;
	task_cancel(c->health->task);
}
