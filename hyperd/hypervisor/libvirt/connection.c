#include "hyperd/hypervisor/libvirt/connection.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "hyperd/hypervisor/qemu/tsc.h"

/* A libvirtd that does not answer is given up after this many times this long. */
#define KEEPALIVE_S     5
#define KEEPALIVE_COUNT 4
#define RETRY_FIRST_MS  250
#define RETRY_MAX_MS    10000

/* ------------------------------------------------------------------ events, from their thread */

struct event {
	struct list node;
	char uuid[VIR_UUID_STRING_BUFLEN]; /* "": the connection is lost */
	int event, detail;
};

/* Where libvirt's thread leaves events for the loop. Callbacks of a closed connection may still
 * come: it lives until the last is gone. */
struct event_sink {
	atomic_uint refs;
	const struct libvirt_library *lib;
	pthread_mutex_t lock;
	struct list events; /* owned */
	int fd;             /* owned */
};

static void sink_unref(void *arg)
{
	struct event_sink *sink = arg;

	if (!sink || atomic_fetch_sub(&sink->refs, 1) > 1)
		return;
	while (!list_empty(&sink->events)) {
		struct event *event = container_of(sink->events.next, struct event, node);

		list_remove(&event->node);
		free(event);
	}
	if (sink->fd >= 0)
		close(sink->fd);
	pthread_mutex_destroy(&sink->lock);
	free(sink);
}

static struct event_sink *sink_new(const struct libvirt_library *lib)
{
	struct event_sink *sink = calloc(1, sizeof(*sink));

	if (!sink)
		return NULL;
	atomic_init(&sink->refs, 1);
	sink->lib = lib;
	pthread_mutex_init(&sink->lock, NULL);
	list_init(&sink->events);
	sink->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sink->fd < 0) {
		sink_unref(sink);
		return NULL;
	}
	return sink;
}

static void sink_put(struct event_sink *sink, const char *uuid, int number, int detail)
{
	struct event *event = calloc(1, sizeof(*event));
	const uint64_t one = 1;

	if (!event)
		return;
	snprintf(event->uuid, sizeof(event->uuid), "%s", uuid);
	event->event = number;
	event->detail = detail;
	pthread_mutex_lock(&sink->lock);
	list_append(&sink->events, &event->node);
	pthread_mutex_unlock(&sink->lock);
	if (write(sink->fd, &one, sizeof(one)) < 0)
		return; /* it is full, and so it is readable */
}

static struct event *sink_take(struct event_sink *sink)
{
	struct event *event = NULL;

	pthread_mutex_lock(&sink->lock);
	if (!list_empty(&sink->events)) {
		event = container_of(sink->events.next, struct event, node);
		list_remove(&event->node);
	}
	pthread_mutex_unlock(&sink->lock);
	return event;
}

static int on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail,
			void *arg)
{
	char uuid[VIR_UUID_STRING_BUFLEN] = "";
	struct event_sink *sink = arg;

	if (sink->lib->virDomainGetUUIDString(domain, uuid) == 0)
		sink_put(sink, uuid, event, detail);
	return 0;
}

static void on_closed(virConnectPtr connection, int reason, void *arg)
{
	sink_put(arg, "", 0, reason);
}

/* ------------------------------------------------------------------ events, in the loop */

static const char *end_of(int event, int detail)
{
	static const char *const stopped[] = {
		[VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN] = "has shut down",
		[VIR_DOMAIN_EVENT_STOPPED_DESTROYED] = "was destroyed",
		[VIR_DOMAIN_EVENT_STOPPED_CRASHED] = "has crashed",
		[VIR_DOMAIN_EVENT_STOPPED_MIGRATED] = "was migrated away",
		[VIR_DOMAIN_EVENT_STOPPED_SAVED] = "was saved to a file",
		[VIR_DOMAIN_EVENT_STOPPED_FAILED] = "has failed",
		[VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT] = "was reverted to a snapshot",
	};

	if (event != VIR_DOMAIN_EVENT_STOPPED)
		return NULL;
	return detail >= 0 && detail < (int)ARRAY_SIZE(stopped) ? stopped[detail] : "has stopped";
}

static void lose_connection(struct libvirt *l);

static void sink_ready(struct loop_io *io, uint32_t events)
{
	struct libvirt *l = container_of(io, struct libvirt, sink_io);
	struct event *event;
	uint64_t count;

	if (read(l->sink->fd, &count, sizeof(count)) < 0)
		return;
	while ((event = sink_take(l->sink))) {
		struct libvirt_vm *vm = *event->uuid ? libvirt_vm_find(l, event->uuid) : NULL;
		const char *how = end_of(event->event, event->detail);

		trace(vm, "libvirt: %s: event %d, %d", *event->uuid ? event->uuid : "closed",
		      event->event, event->detail);
		if (!*event->uuid)
			lose_connection(l);
		else if (vm && how)
			libvirt_vm_ended_as(vm, how);
		free(event);
	}
}

/* ------------------------------------------------------------------ connecting */

struct connect_job {
	struct libvirt *libvirt;
	virConnectPtr connection;
	struct error error;
};

static int connect_job(void *arg)
{
	struct connect_job *job = arg;
	const struct libvirt *l = job->libvirt;
	const struct libvirt_library *lib = l->lib;
	virConnectPtr c = lib->virConnectOpen(l->uri);

	if (!c) {
		int r = libvirt_error(lib, &job->error, "connecting to '%s'", l->uri);

		return error_prefix(&job->error, r, "is libvirtd running, and %s installed?",
				    l->flavour->package);
	}
	/* Those inside this process know no keep-alive and never close. */
	lib->virConnectSetKeepAlive(c, KEEPALIVE_S, KEEPALIVE_COUNT);
	atomic_fetch_add(&l->sink->refs, 1);
	if (lib->virConnectRegisterCloseCallback(c, on_closed, l->sink, sink_unref) < 0)
		sink_unref(l->sink);
	atomic_fetch_add(&l->sink->refs, 1);
	if (lib->virConnectDomainEventRegisterAny(c, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
						  VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), l->sink,
						  sink_unref) < 0) {
		int r = libvirt_error(lib, &job->error, "asking for events");

		sink_unref(l->sink);
		lib->virConnectClose(c);
		return r;
	}
	lib->virResetLastError();
	lib->virConnectGetVersion(c, (unsigned long *)&l->version);
	job->connection = c;
	return 0;
}

static int connect_now(struct libvirt *l, struct error *err)
{
	struct connect_job job = { .libvirt = l };
	int r = task_mutex_lock(&l->connecting, DEADLINE_NEVER);

	if (r < 0)
		return error_set(err, ERROR_CANCELED, "canceled");
	if (!l->connection) {
		r = job_run(l->jobs, connect_job, &job);
		if (r < 0)
			error_copy(err, &job.error);
		l->connection = job.connection;
	}
	task_mutex_unlock(&l->connecting);
	return r;
}

static int close_job(void *arg)
{
	struct libvirt_job *job = arg;
	const struct libvirt_library *lib = job->libvirt->lib;

	lib->virConnectUnregisterCloseCallback(job->connection, on_closed);
	lib->virConnectClose(job->connection);
	return 0;
}

static void reconnect(void *arg)
{
	uint64_t pause_ms = RETRY_FIRST_MS;
	struct libvirt *l = arg;
	struct libvirt_job old = { .libvirt = l, .connection = steal(l->connection) };
	struct error err = { 0 };
	int r;

	if (old.connection)
		job_run(l->jobs, close_job, &old);
	while ((r = connect_now(l, &err)) < 0 && r != -ECANCELED) {
		error_clear(&err);
		if (task_sleep_until(deadline_in_ms(pause_ms)) < 0)
			return;
		pause_ms = pause_ms * 2 < RETRY_MAX_MS ? pause_ms * 2 : RETRY_MAX_MS;
	}
	if (r == 0)
		r = libvirt_vms_check(l, &err);
	if (r == 0)
		log_info("libvirt (%s): connected again", l->uri);
	else if (r != -ECANCELED)
		log_warn("libvirt (%s): %s", l->uri, err.message);
}

static void lose_connection(struct libvirt *l)
{
	struct error err = { 0 };

	if (!l->connection || (l->reconnecting && !task_is_done(l->reconnecting)))
		return;
	log_warn("libvirt (%s): the connection is lost; machines go on", l->uri);
	task_unref(steal(l->reconnecting));
	if (task_spawn(l->loop, "libvirt: reconnect", reconnect, l, &l->reconnecting, &err) < 0)
		log_warn("libvirt (%s): %s", l->uri, err.message);
}

struct run {
	struct libvirt_job job;
	libvirt_job_fn *fn;
};

static int run_job(void *arg)
{
	struct run *run = arg;
	const struct libvirt_library *lib = run->job.libvirt->lib;
	int r = run->fn(&run->job, run->job.arg);

	if (r < 0 && lib->virConnectIsAlive(run->job.connection) == 0)
		error_prefix(&run->job.error, r, "libvirtd has gone");
	lib->virConnectClose(run->job.connection);
	lib->virResetLastError();
	return r;
}

int libvirt_run(struct libvirt *l, libvirt_job_fn *fn, void *arg, struct error *err)
{
	struct run run = { { .libvirt = l, .arg = arg }, fn };
	int r = l->connection ? 0 : connect_now(l, err);

	if (r < 0)
		return r;
	run.job.connection = l->connection;
	l->lib->virConnectRef(l->connection);
	r = job_run(l->jobs, run_job, &run);
	if (r < 0)
		error_copy(err, &run.job.error);
	return r;
}

/* ------------------------------------------------------------------ whose a domain is */

bool libvirt_is_ours(struct libvirt_job *job, virDomainPtr domain)
{
	const struct libvirt_library *lib = job->libvirt->lib;
	autofree char *text = lib->virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT,
							DOMAIN_METADATA_URI, 0);
	const char *at = text ? strstr(text, " owner=") : NULL;
	size_t len = strlen(job->libvirt->owner);

	lib->virResetLastError();
	/* libvirt writes an attribute in either kind of quotes. */
	at += at ? strlen(" owner=") + 1 : 0;
	return at && strncmp(at, job->libvirt->owner, len) == 0 && at[len] == at[-1];
}

int libvirt_find_domain(struct libvirt_job *job, const char *uuid, virDomainPtr *ret)
{
	const struct libvirt_library *lib = job->libvirt->lib;
	virDomainPtr domain = lib->virDomainLookupByUUIDString(job->connection, uuid);

	if (!domain)
		return libvirt_error(lib, &job->error, "looking up domain %s", uuid);
	if (!libvirt_is_ours(job, domain)) {
		lib->virDomainFree(domain);
		return error_set(&job->error, ERROR_NOT_FOUND, "domain %s is somebody else's",
				 uuid);
	}
	*ret = domain;
	return 0;
}

/* ------------------------------------------------------------------ opening */

/* What tells daemons of one host apart is where they run: FNV-1a of that. */
static char *owner_of(const char *run_root)
{
	uint64_t hash = 14695981039346656037ull;

	for (; *run_root; run_root++)
		hash = (hash ^ (unsigned char)*run_root) * 1099511628211ull;
	return strf("%016" PRIx64, hash);
}

static int copy_paths(struct libvirt *l, const char *uri, const struct hypervisor_config *config,
		      struct error *err)
{
	l->uri = strdup(uri);
	l->owner = owner_of(config->run_root);
	if (!l->uri || !l->owner)
		return error_nomem(err);
	l->kernel = realpath(config->kernel, NULL);
	if (!l->kernel)
		return error_errno(err, errno, "guest kernel '%s'", config->kernel);
	l->initramfs = realpath(config->initramfs, NULL);
	if (!l->initramfs)
		return error_errno(err, errno, "initramfs '%s'", config->initramfs);
	if (config->program && *config->program == '/')
		l->emulator = strdup(config->program);
	return 0;
}

int libvirt_open(const struct libvirt_flavour *flavour, const char *uri,
		 const struct hypervisor_config *config, struct hypervisor **ret, struct error *err)
{
	struct libvirt *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return error_nomem(err);
	l->base.driver = flavour->driver;
	l->flavour = flavour;
	l->loop = config->loop;
	l->jobs = config->jobs;
	l->tb_cache_mib = config->tb_cache_mib;
	l->embedded = strstr(uri, ":///embed") != NULL;
	task_mutex_init(&l->connecting);
	list_init(&l->vms);
	r = libvirt_library_open(&l->lib, err);
	if (r == 0)
		r = copy_paths(l, uri, config, err);
	if (r == 0 && flavour->tcg)
		r = tsc_measure(config->state_dir, &l->tsc_khz, err);
	if (r == 0 && !(l->sink = sink_new(l->lib)))
		r = error_nomem(err);
	if (r == 0)
		r = loop_io_add(l->loop, &l->sink_io, l->sink->fd, EPOLLIN, sink_ready);
	if (r == 0)
		r = connect_now(l, err);
	if (r < 0) {
		libvirt_close(&l->base);
		return r;
	}
	*ret = &l->base;
	return 0;
}

void libvirt_close(struct hypervisor *hypervisor)
{
	struct libvirt *l = hypervisor ? container_of(hypervisor, struct libvirt, base) : NULL;
	struct libvirt_job job = { .libvirt = l };

	if (!l)
		return;
	if (l->reconnecting) {
		task_cancel(l->reconnecting);
		task_join(l->reconnecting, DEADLINE_NEVER);
		task_unref(l->reconnecting);
	}
	loop_io_remove(&l->sink_io);
	job.connection = steal(l->connection);
	if (job.connection)
		job_run(l->jobs, close_job, &job);
	sink_unref(l->sink);
	free(l->uri);
	free(l->owner);
	free(l->kernel);
	free(l->initramfs);
	free(l->emulator);
	free(l);
}

static char *version_text(unsigned long version)
{
	return strf("%lu.%lu.%lu", version / 1000000, version / 1000 % 1000, version % 1000);
}

json_t *libvirt_info(struct hypervisor *hypervisor)
{
	struct libvirt *l = container_of(hypervisor, struct libvirt, base);
	autofree char *version = version_text(l->version), *own = NULL;
	unsigned long number = 0;

	l->lib->virGetVersion(&number, NULL, NULL);
	own = version_text(number);
	if (!version || !own)
		return NULL;
	return json_pack("{s:s, s:s, s:s, s:s, s:b}", "name", l->base.driver->name, "version",
			 version, "libvirt", own, "uri", l->uri, "connected",
			 l->connection != NULL);
}
