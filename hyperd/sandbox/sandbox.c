#include "hyperd/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "hyperd/sandbox/factory.h"
#include "hyperd/sandbox/host_stats.h"

/* A broken channel is reported when its process has not ended by then: that would have said why. */
#define LOST_GRACE_MS 300
/* What the agent gets beyond the deadline it was given, to say that it is done. */
#define SHUTDOWN_GRACE_MS 3000

static const struct sandbox_backend *const backends[] = {
	[ISOLATION_VM] = &vm_backend,
	[ISOLATION_NAMESPACE] = &namespace_backend,
};

const char *sandbox_isolation_name(enum sandbox_isolation isolation)
{
	static const char *const names[] = { "vm", "namespace" };

	return names[isolation];
}

/* ------------------------------------------------------------------ its end, from below */

static void tell_died(struct sandbox *s, const struct error *why)
{
	if (s->told || s->stopping)
		return;
	s->told = true;
	loop_timer_cancel(&s->lost_timer);
	if (s->events && s->events->died)
		s->events->died(s, why, s->owner);
}

void sandbox_exited(struct sandbox *s, const struct error *why)
{
	s->exited = true;
	s->lost_why = *why;
	cond_broadcast(&s->gone);
	/* While it starts, the start fails; afterwards its owner is told. */
	if (s->started)
		tell_died(s, why);
}

static void on_vm_exited(struct vm *vm, const struct error *why, void *owner)
{
	sandbox_exited(owner, why);
}

const struct vm_events sandbox_vm_events = { .exited = on_vm_exited };

static void grace_over(struct loop_timer *timer)
{
	struct sandbox *s = container_of(timer, struct sandbox, lost_timer);

	tell_died(s, &s->lost_why);
}

static void on_agent_lost(struct agent *agent, const struct error *why, void *owner)
{
	struct sandbox *s = owner;

	if (!s->exited)
		s->lost_why = *why;
	if (s->started && !s->told && !s->stopping)
		loop_timer_set(s->factory->loop, &s->lost_timer, deadline_in_ms(LOST_GRACE_MS),
			       grace_over);
}

static void on_agent_event(struct agent *agent, const Hyper__Event *event, void *owner)
{
	struct sandbox *s = owner;

	if (s->started && s->events && s->events->agent_event)
		s->events->agent_event(s, event, s->owner);
}

const struct agent_events sandbox_agent_events = { .event = on_agent_event, .lost = on_agent_lost };

/* ------------------------------------------------------------------ start */

static void sandbox_free(struct sandbox *s)
{
	if (!s)
		return;
	list_remove(&s->node);
	loop_timer_cancel(&s->lost_timer);
	loop_io_remove(&s->exit_io);
	process_done(&s->process);
	strv_free(s->layers);
	strv_free(s->shares);
	free(s->id);
	free(s->storage);
	free(s);
}

static struct sandbox *sandbox_alloc(struct sandbox_factory *factory,
				     enum sandbox_isolation isolation, const char *id,
				     const char *storage, const struct sandbox_events *events,
				     void *owner)
{
	struct sandbox *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->factory = factory;
	s->backend = backends[isolation];
	s->events = events;
	s->owner = owner;
	s->process = (struct process)PROCESS_INIT;
	s->begin_ns = now_ns();
	s->timing.accel = "";
	cond_init(&s->gone);
	list_init(&s->node);
	s->id = strdup(id);
	s->storage = strdup(storage);
	s->layers = calloc(1, sizeof(*s->layers));
	s->shares = calloc(1, sizeof(*s->shares));
	if (!s->id || !s->storage || !s->layers || !s->shares) {
		sandbox_free(s);
		return NULL;
	}
	return s;
}

/* It becomes the name of directories and control groups. */
static int check_id(const char *id, struct error *err)
{
	size_t len = strlen(id);

	if (len == 0 || len > 64 || strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789") != len)
		return error_set(err, ERROR_INVALID,
				 "sandbox id '%.80s': expected 1 to 64 of a-z and 0-9", id);
	return 0;
}

int sandbox_remember_layers(struct sandbox *s, const struct sandbox_layer *layers, size_t count,
			    struct error *err)
{
	for (size_t i = 0; i < count; i++)
		if (strv_add(&s->layers, layers[i].diff_id) < 0)
			return error_nomem(err);
	return 0;
}

/* They become names in the sandbox's root. */
static int check_shares(const struct sandbox_share *shares, size_t count, struct error *err)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";

	if (count > SHARES_MAX)
		return error_set(err, ERROR_LIMIT, "%zu shares are more than %d", count,
				 SHARES_MAX);
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(shares[i].name);

		if (!len || len >= SHARE_NAME_MAX || strspn(shares[i].name, allowed) != len)
			return error_set(err, ERROR_INVALID, "share '%.80s': bad name",
					 shares[i].name);
	}
	return 0;
}

static int remember_shares(struct sandbox *s, const struct sandbox_share *shares, size_t count,
			   struct error *err)
{
	for (size_t i = 0; i < count; i++)
		if (strv_add(&s->shares, shares[i].name) < 0)
			return error_nomem(err);
	return 0;
}

bool sandbox_has_share(const struct sandbox *s, const char *name)
{
	strv_for_each(share, s->shares)
		if (strcmp(*share, name) == 0)
			return true;
	return false;
}

int sandbox_start(struct sandbox_factory *factory, const struct sandbox_config *config,
		  const struct sandbox_events *events, void *owner, struct sandbox **ret,
		  struct error *err)
{
	struct sandbox *s;
	int r = check_id(config->id, err);

	if (r == 0)
		r = check_shares(config->shares, config->share_count, err);
	if (r == 0)
		r = file_make_dirs(AT_FDCWD, config->storage, 0700, err);
	if (r < 0)
		return r;
	s = sandbox_alloc(factory, config->isolation, config->id, config->storage, events, owner);
	if (!s)
		return error_nomem(err);
	list_append(&factory->sandboxes, &s->node);
	r = remember_shares(s, config->shares, config->share_count, err);
	for (size_t i = 0; i < config->disk_count && r == 0; i++)
		if (strv_add(&s->shares, config->disks[i].serial) < 0)
			r = error_nomem(err);
	if (r < 0) {
		sandbox_free(s);
		return r;
	}
	r = s->backend->start(s, config, err);
	if (r == 0 && (s->exited || agent_is_lost(s->machine.agent))) {
		error_copy(err, &s->lost_why);
		r = error_kind_errno(s->lost_why.kind ? s->lost_why.kind : ERROR_FAILED);
		s->backend->end(s);
	}
	if (r < 0) {
		sandbox_free(s);
		return r;
	}
	s->started = true;
	*ret = s;
	return 0;
}

struct agent *sandbox_agent(struct sandbox *s)
{
	return s->machine.agent;
}

const struct sandbox_timing *sandbox_timing(const struct sandbox *s)
{
	return &s->timing;
}

const char *sandbox_tap(const struct sandbox *s)
{
	return s->machine.tap;
}

int sandbox_netns(const struct sandbox *s, int *ret_fd, struct error *err)
{
	char path[64];

	if (s->backend->isolation != ISOLATION_NAMESPACE)
		return error_set(err, ERROR_UNSUPPORTED, "a machine has no network namespace");
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)s->process.pid);
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	return *ret_fd < 0 ? error_errno(err, errno, "the pod's network namespace") : 0;
}

int sandbox_add_layers(struct sandbox *s, const struct sandbox_layer *layers, size_t count,
		       struct error *err)
{
	struct sandbox_layer *missing = calloc(count ? count : 1, sizeof(*missing));
	size_t n = 0;
	int r;

	if (!missing)
		return error_nomem(err);
	for (size_t i = 0; i < count; i++) {
		bool there = false;

		strv_for_each(layer, s->layers)
			there |= strcmp(*layer, layers[i].diff_id) == 0;
		if (!there)
			missing[n++] = layers[i];
	}
	r = n ? s->backend->add_layers(s, missing, n, err) : 0;
	if (r == 0)
		r = sandbox_remember_layers(s, missing, n, err);
	free(missing);
	return r;
}

int sandbox_add_shares(struct sandbox *s, const struct sandbox_share *shares, size_t count,
		       struct error *err)
{
	int r = check_shares(shares, count, err);

	for (size_t i = 0; i < count && r == 0; i++) {
		if (sandbox_has_share(s, shares[i].name))
			continue;
		r = s->backend->add_share(s, &shares[i], err);
		if (r == 0)
			r = remember_shares(s, &shares[i], 1, err);
	}
	return r;
}

int sandbox_pause(struct sandbox *s, bool paused, struct error *err)
{
	int r = s->backend->pause(s, paused, err);

	if (r == 0)
		s->paused = paused;
	return r;
}

int sandbox_host_stats(struct sandbox *s, json_t **ret, struct error *err)
{
	return host_stats(s->factory, s->machine.place->cgroup, s->backend->pid(s), ret, err);
}

int sandbox_console(struct sandbox *s, char **ret, size_t *ret_len, struct error *err)
{
	if (!s->backend->console)
		return error_set(err, ERROR_UNSUPPORTED, "isolation \"%s\" has no console",
				 sandbox_isolation_name(s->backend->isolation));
	return s->backend->console(s, ret, ret_len, err);
}

/* ------------------------------------------------------------------ stop */

/* Asks the agent to end everything and waits until the sandbox is gone. */
static void shut_down(struct sandbox *s, uint64_t deadline_ms)
{
	uint64_t deadline_ns = deadline_in_ms(deadline_ms + SHUTDOWN_GRACE_MS);
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__Shutdown shutdown = HYPER__SHUTDOWN__INIT;
	struct error err = { 0 };
	int r = 0;

	if (s->paused)
		sandbox_pause(s, false, NULL);
	shutdown.deadline_ms = deadline_ms < UINT32_MAX ? (uint32_t)deadline_ms : UINT32_MAX;
	request.body_case = HYPER__REQUEST__BODY_SHUTDOWN;
	request.shutdown = &shutdown;
	/* The reply may be lost with the power: that it is gone is what counts. */
	if (agent_call(s->machine.agent, &request, deadline_ns, NULL, &err) < 0) {
		trace(sandbox, "%s: shutting down: %s", s->id, err.message);
		if (!agent_is_lost(s->machine.agent))
			return;
	}
	while (!s->exited && r == 0)
		r = cond_wait(&s->gone, deadline_ns);
}

void sandbox_stop(struct sandbox *s, uint64_t deadline_ms)
{
	bool shielded;

	if (!s)
		return;
	s->stopping = true;
	loop_timer_cancel(&s->lost_timer);
	shielded = task_shield(true);
	if (deadline_ms && !s->exited && s->machine.agent && !agent_is_lost(s->machine.agent))
		shut_down(s, deadline_ms);
	s->backend->end(s);
	task_shield(shielded);
	sandbox_free(s);
}

/* ------------------------------------------------------------------ changing daemons */

json_t *sandbox_record(const struct sandbox *s)
{
	const struct place *place = s->machine.place;
	json_t *record = json_pack("{s:s, s:s, s:s, s:s, s:I, s:b, s:o, s:o}", "isolation",
				   sandbox_isolation_name(s->backend->isolation), "id", s->id,
				   "place", place->name, "storage", s->storage, "uid",
				   (json_int_t)place->uid, "paused", s->paused, "layers",
				   json_from_strv(s->layers), "shares", json_from_strv(s->shares));

	if (record)
		s->backend->record(s, record);
	return record;
}

void sandbox_detach(struct sandbox *s)
{
	if (!s)
		return;
	s->stopping = true;
	s->backend->detach(s);
	sandbox_free(s);
}

static int read_record(const json_t *record, enum sandbox_isolation *isolation, const char **id,
		       const char **place, const char **storage, int64_t *uid, struct error *err)
{
	const char *name;
	int r = json_get_string(record, "isolation", &name, err);

	if (r == 0)
		r = json_get_string(record, "id", id, err);
	if (r == 0)
		r = json_get_string(record, "place", place, err);
	if (r == 0)
		r = json_get_string(record, "storage", storage, err);
	if (r == 0)
		r = json_get_int(record, "uid", uid, err);
	if (r < 0)
		return r;
	if (!name || !*id || !*place || !*storage || strchr(*place, '/') || **place == '.' ||
	    !**place)
		return error_set(err, ERROR_INVALID, "the sandbox's record is incomplete");
	*isolation = strcmp(name, "vm") == 0 ? ISOLATION_VM : ISOLATION_NAMESPACE;
	return 0;
}

int sandbox_adopt(struct sandbox_factory *factory, const json_t *record,
		  const struct sandbox_events *events, void *owner, struct sandbox **ret,
		  struct error *err)
{
	enum sandbox_isolation isolation = ISOLATION_VM;
	const char *id, *place, *storage;
	struct sandbox *s;
	int64_t uid;
	int r = read_record(record, &isolation, &id, &place, &storage, &uid, err);

	if (r < 0)
		return r;
	s = sandbox_alloc(factory, isolation, id, storage, events, owner);
	if (!s)
		return error_nomem(err);
	list_append(&factory->sandboxes, &s->node);
	s->adopted = true;
	json_get_bool(record, "paused", &s->paused, NULL);
	strv_free(steal(s->layers));
	strv_free(steal(s->shares));
	r = json_get_strv(record, "layers", &s->layers, err);
	if (r == 0)
		r = json_get_strv(record, "shares", &s->shares, err);
	if (r == 0)
		r = place_adopt(factory, place, (uid_t)uid, isolation == ISOLATION_NAMESPACE,
				&s->machine.place, err);
	/* A paused machine cannot answer: it runs while it is taken over. */
	if (r == 0)
		r = s->backend->adopt(s, record, err);
	if (r == 0 && s->exited) {
		error_copy(err, &s->lost_why);
		r = -ENOENT;
	}
	if (r < 0) {
		/* Whatever is left of it is of no use to anybody. */
		s->backend->end(s);
		sandbox_free(s);
		if (err)
			err->kind = r == -ECANCELED ? ERROR_CANCELED : ERROR_NOT_FOUND;
		return error_prefix(err, r == -ECANCELED ? r : -ENOENT, "sandbox '%s'", id);
	}
	s->started = true;
	*ret = s;
	return 0;
}
