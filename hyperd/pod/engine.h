#pragma once
/*
 * The domain: pods, their containers, exec sessions, restarts, events. `struct engine` owns them
 * all; the API's edges are thin translations onto these calls. Loop thread; everything that talks
 * to a sandbox is for tasks.
 *
 * A container always belongs to a pod. Docker's containers are pods of one: made, started, renamed
 * and removed together with it ("solo"). A pod's sandbox runs while the pod is started: it begins
 * with the pod or with the first container started in it, and ends when its last container has
 * ended and none will be restarted (a pod without containers stays until it is stopped).
 *
 * Objects are reference-counted: *_get() and *_create() return references; hold one across every
 * wait. Operations on one pod that change its state are serialised by the pod's mutex; a request in
 * the wrong state is refused as ERROR_CONFLICT, and "already so" is ERROR_NOT_MODIFIED.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/job.h"
#include "base/loop.h"
#include "hyperd/image/image.h"
#include "hyperd/network/network.h"
#include "hyperd/pod/spec.h"
#include "hyperd/sandbox/sandbox.h"
#include "hyperd/store/store.h"
#include "hyperd/volume/volume.h"

struct engine;
struct pod;
struct container;
struct exec;

struct engine_config {
	const char *run_root;
	struct volume_store *volumes;     /* borrowed for the engine's life; NULL: no volumes */
	enum sandbox_isolation isolation; /* default of pods that do not say */
	const char *log_driver;           /* default "json-file" */
	struct spec_pair *log_options;    /* borrowed */
	const char *seccomp_profile;      /* path of the default profile */
	bool live_restore;
	struct networks *networks; /* borrowed; NULL: pods have loopback only */
};

/* All borrowed for the engine's life. */
int engine_new(struct loop *loop, struct job_pool *jobs, struct store *store,
	       struct image_store *images, struct sandbox_factory *sandboxes,
	       const struct engine_config *config, struct engine **ret, struct error *err);
/* Task: reads the records, adopts what runs, settles what died meanwhile, applies restart policies,
 * sweeps. */
int engine_restore(struct engine *engine, struct error *err);
/* Task: stops every pod in order, unless with live-restore. Requests are still answered, those to
 * start something with a refusal. */
void engine_stop(struct engine *engine);
/* Task: engine_stop(), then lets go of what still runs, and frees. */
void engine_shutdown(struct engine *engine);

/* ------------------------------------------------------------------ pods */

enum pod_state {
	POD_CREATED,
	POD_STARTING,
	POD_RUNNING,
	POD_PAUSED,
	POD_STOPPING,
	POD_STOPPED,
	POD_FAILED
};
const char *pod_state_name(enum pod_state state);

/* Takes SPEC, also on failure. Its images must be there (ERROR_NOT_FOUND names a missing one).
 * Nothing runs yet. */
int pod_create(struct engine *engine, struct pod_spec *spec, struct pod **ret, struct error *err);
/* By name, id, or unambiguous id prefix. */
int pod_get(struct engine *engine, const char *name, struct pod **ret, struct error *err);
struct pod *pod_ref(struct pod *pod);
void pod_unref(struct pod *pod);
DEFINE_CLEANUP(pod_unref, struct pod *);
void pod_each(struct engine *engine, void (*fn)(struct pod *pod, void *arg), void *arg);

const char *pod_id(const struct pod *pod); /* 64 hex digits */
const char *pod_name(const struct pod *pod);
enum pod_state pod_state(const struct pod *pod);
bool pod_is_solo(const struct pod *pod);
const struct pod_spec *pod_spec(const struct pod *pod);
struct engine *pod_engine(const struct pod *pod);

int pod_start(struct pod *pod, struct error *err); /* task; all its containers */
int pod_stop(struct pod *pod, int timeout_s,
	     struct error *err); /* task; -1: each container's own time-out */
int pod_kill(struct pod *pod, int signal, struct error *err);   /* task; every container */
int pod_pause(struct pod *pod, bool paused, struct error *err); /* task */
int pod_remove(struct pod *pod, bool force, struct error *err); /* task */
/* It has ended: begins its removal when that was asked for at its creation. */
void pod_auto_remove(struct pod *pod);
int pod_rename(struct pod *pod, const char *name, struct error *err);
/* Task: waits until it is not running; *ret_code is the first non-zero exit code of its containers.
 */
int pod_wait(struct pod *pod, int *ret_code, struct error *err);
json_t *pod_inspect(struct pod *pod); /* docs/api.md */

/* "none", "host", "default", or the first network's name, as Docker's NetworkMode. */
const char *pod_network_mode(const struct pod *pod);
/* What it is in now: borrowed, gone after any wait. While it does not run there are none. */
struct endpoint *const *pod_endpoints(const struct pod *pod, size_t *ret_count);
struct published *const *pod_published(const struct pod *pod, size_t *ret_count);
/* Task: also while it runs. CONFIG: its pointers are borrowed. */
int pod_network_connect(struct pod *pod, const struct spec_network *config, struct error *err);
int pod_network_disconnect(struct pod *pod, const char *network, bool force, struct error *err);
/* Task: publishes a port (host_first 0: any), or takes it back, while it runs or not. */
int pod_port_add(struct pod *pod, const struct spec_port *port, struct error *err);
int pod_port_remove(struct pod *pod, const char *protocol, int port, int host_port,
		    struct error *err);

int pod_stats(struct pod *pod, json_t **ret, struct error *err); /* task: guest and host figures */
int pod_console(struct pod *pod, char **ret, size_t *ret_len, struct error *err); /* task */
/* Milestones of the last start; the first output's time is 0 until there was some. */
json_t *pod_timing(struct pod *pod);

/* ------------------------------------------------------------------ containers */

enum container_state {
	CONTAINER_CREATED,
	CONTAINER_STARTING,
	CONTAINER_RUNNING,
	CONTAINER_PAUSED,
	CONTAINER_RESTARTING,
	CONTAINER_STOPPING,
	CONTAINER_EXITED,
	CONTAINER_REMOVING,
	CONTAINER_DEAD,
};
/* Docker's words: "created", "running", "paused", "restarting", "removing", "exited", "dead". */
const char *container_state_name(enum container_state state);

/*
 * Task: volumes that it names are made. Takes SPEC, also on failure. POD NULL: a pod of one is made
 * with POD_OPTIONS (borrowed; NULL: defaults; its isolation, vcpus, memory count). An empty name
 * gets a made-up one.
 */
int container_create(struct engine *engine, struct container_spec *spec, struct pod *pod,
		     const struct pod_spec *pod_options, struct container **ret, struct error *err);
/* By name (with or without leading slash), id, or unambiguous id prefix. Docker's error texts. */
int container_get(struct engine *engine, const char *name, struct container **ret,
		  struct error *err);
struct container *container_ref(struct container *container);
void container_unref(struct container *container);
DEFINE_CLEANUP(container_unref, struct container *);
/* In order of creation, newest first. */
void container_each(struct engine *engine, void (*fn)(struct container *container, void *arg),
		    void *arg);

const char *container_id(const struct container *container);   /* 64 hex digits */
const char *container_name(const struct container *container); /* without slash */
enum container_state container_state(const struct container *container);
struct pod *container_pod(const struct container *container);                   /* borrowed */
const struct container_spec *container_spec(const struct container *container); /* as asked for */
struct image *container_image(const struct container *container);               /* borrowed */
/* As it runs: image defaults merged in. strv, borrowed. */
char *const *container_args(const struct container *container); /* entrypoint and cmd */
char *const *container_env(const struct container *container);
uint64_t container_created_ns(const struct container *container); /* realtime */

struct container_status {
	enum container_state state;
	bool running, paused, restarting, dead, oom_killed;
	int exit_code;
	int pid;           /* of the main process, in the guest or the pod's pid namespace */
	const char *error; /* why the last start failed, or "" */
	uint64_t started_ns, finished_ns; /* realtime; 0: never */
	unsigned restart_count;
	const char *health; /* "none", "starting", "healthy", "unhealthy" */
};
void container_status(const struct container *container, struct container_status *ret);

int container_start(struct container *container, struct error *err); /* task */
int container_stop(struct container *container, int timeout_s,
		   struct error *err); /* task; -1: its own */
int container_restart(struct container *container, int timeout_s, struct error *err); /* task */
int container_kill(struct container *container, int signal, struct error *err);       /* task */
int container_pause(struct container *container, bool paused, struct error *err);     /* task */
int container_rename(struct container *container, const char *name, struct error *err);
int container_resize(struct container *container, unsigned rows, unsigned columns,
		     struct error *err); /* task */
struct container_remove_options {
	bool force, volumes;
};
int container_remove(struct container *container, const struct container_remove_options *options,
		     struct error *err); /* task */
enum wait_condition { WAIT_NOT_RUNNING, WAIT_NEXT_EXIT, WAIT_REMOVED };
/*
 * Two steps, since Docker's clients want the HTTP header before the start: container_wait_begin()
 * registers, and container_wait_end() (task) waits and frees. *ret_error: why it could not be
 * started, "" else; borrowed.
 */
struct container_wait;
int container_wait_begin(struct container *container, enum wait_condition condition,
			 struct container_wait **ret, struct error *err);
int container_wait_end(struct container_wait *wait, int *ret_code, struct error *err);
/* Task: new limits, restart policy; only what is set in the arguments (NULL: unchanged). */
int container_update(struct container *container, const struct spec_resources *resources,
		     const struct restart_policy *restart, struct error *err);
/* Task: *ret is Docker's {"Titles": [...], "Processes": [[...]]} for PS_ARGS (NULL: "-ef"). */
int container_top(struct container *container, const char *ps_args, json_t **ret,
		  struct error *err);
/* Task: the agent's figures. Freed by the caller with hyper__reply__free_unpacked. */
int container_stats(struct container *container, Hyper__Reply **ret, struct error *err);

/* ------------------------------------------------------------------ attaching and exec */

enum stream_kind { STREAM_STDIN, STREAM_STDOUT, STREAM_STDERR };

/*
 * One client on a process's streams. The engine calls WRITE with output; the client takes what it
 * can and returns how much; when less than LEN it calls attachment_writable() once it can take
 * more: a slow client slows down only itself as long as the engine's buffer (ATTACH_BUFFER_BYTES)
 * for it lasts, then the process (as Docker does).
 */
struct attachment;
#define ATTACH_BUFFER_BYTES (1u << 20)
struct attachment_events {
	size_t (*write)(struct attachment *attachment, enum stream_kind kind, const void *data,
			size_t len, void *owner);
	/* All output has been delivered and the process ended, or the client was detached: nothing
	 * follows. */
	void (*ended)(struct attachment *attachment, void *owner);
	/* attachment_input() can take more. */
	void (*input_room)(struct attachment *attachment, void *owner);
};
struct attach_options {
	bool want_stdin, want_stdout, want_stderr;
	bool logs;   /* first what was logged so far */
	bool stream; /* then live */
};
/* May be called before the start. The container (or exec) is referenced by the attachment. */
int container_attach(struct container *container, const struct attach_options *options,
		     const struct attachment_events *events, void *owner, struct attachment **ret,
		     struct error *err);
void attachment_writable(struct attachment *attachment);
/* Takes as much as there is room for; returns how much, or -EPIPE when the process takes no more
 * input. */
ssize_t attachment_input(struct attachment *attachment, const void *data, size_t len);
void attachment_input_end(
	struct attachment *attachment); /* half-close: the process sees end of file */
void attachment_detach(struct attachment *attachment); /* frees it; no callback follows */

struct exec_spec {
	char **args, **env; /* strv; owned */
	char *user, *working_dir, *detach_keys;
	bool tty, privileged, open_stdin, want_stdout, want_stderr;
};
void exec_spec_free(struct exec_spec *spec);
/* Takes SPEC, also on failure. CONTAINER must be running. */
int exec_create(struct container *container, struct exec_spec *spec, struct exec **ret,
		struct error *err);
/* Beside the agent itself, in the pod's VM. */
int exec_create_vm(struct pod *pod, struct exec_spec *spec, struct exec **ret, struct error *err);
int exec_get(struct engine *engine, const char *id, struct exec **ret, struct error *err);
struct exec *exec_ref(struct exec *exec);
void exec_unref(struct exec *exec);
DEFINE_CLEANUP(exec_unref, struct exec *);
const char *exec_id(const struct exec *exec);
/* Task. EVENTS NULL: detached. With events, output goes to the attachment from the first byte on.
 */
int exec_start(struct exec *exec, const struct attachment_events *events, void *owner,
	       struct attachment **ret, struct error *err);
int exec_resize(struct exec *exec, unsigned rows, unsigned columns, struct error *err); /* task */
int exec_wait(struct exec *exec, int *ret_code, struct error *err);                     /* task */
struct exec_status {
	bool running, started;
	int exit_code, pid;
	const struct exec_spec *spec;
	const char *container_id; /* "" for exec_create_vm */
};
void exec_status(const struct exec *exec, struct exec_status *ret);

/* ------------------------------------------------------------------ logs */

struct log_read_options {
	bool want_stdout, want_stderr, follow, details;
	uint64_t since_ns, until_ns; /* realtime; 0: no bound */
	int64_t tail;                /* lines; -1: all */
};
/* Whether there is a log to be read: what container_logs() would refuse, for those who must know
 * before they begin an answer. */
int container_logs_check(struct container *container, struct error *err);
/*
 * Task. Calls FN for each record in order until the end (or with FOLLOW until the container has
 * ended), or FN returns non-zero, or the task is cancelled. DATA includes its newline where it had
 * one.
 */
int container_logs(struct container *container, const struct log_read_options *options,
		   int (*fn)(enum stream_kind kind, uint64_t time_ns, const char *data, size_t len,
			     const char *details, void *arg),
		   void *arg, struct error *err);

/* ------------------------------------------------------------------ events and figures */

/* Docker's event object: {Type, Action, Actor: {ID, Attributes}, scope, time, timeNano, status, id,
 * from}. */
struct event_subscription;
int engine_subscribe(struct engine *engine, void (*fn)(const json_t *event, void *arg), void *arg,
		     struct event_subscription **ret, struct error *err);
void event_unsubscribe(struct event_subscription *subscription);
/* The last events kept (at most EVENTS_KEPT), oldest first; borrowed. */
#define EVENTS_KEPT 256
const json_t *engine_past_events(struct engine *engine);
/* For events that do not come from pods (images). ATTRIBUTES taken. */
void engine_emit(struct engine *engine, const char *type, const char *action, const char *id,
		 json_t *attributes);

struct networks *engine_networks(struct engine *engine); /* may be NULL */
/* Tells of a network: create, destroy. */
void engine_network_event(struct engine *engine, const struct network *network, const char *action,
			  const char *container_id);
struct image_store *engine_images(struct engine *engine);
struct volume_store *engine_volumes(struct engine *engine); /* may be NULL */
/* How many containers have VOLUME; *ret_ids (may be NULL) gets their ids. */
size_t engine_volume_users(struct engine *engine, const char *volume, char ***ret_ids);
/* Task: refused with Docker's text while a container has it. */
int engine_volume_remove(struct engine *engine, struct volume *volume, bool force,
			 struct error *err);
/* Task: as volume_create(), with the event. */
int engine_volume_create(struct engine *engine, const struct volume_config *config,
			 struct volume **ret, struct error *err);
struct sandbox_factory *engine_sandboxes(struct engine *engine);
/* For image removal: the name of a container that uses IMAGE_ID, or NULL. ARG is the engine. */
const char *engine_image_user(const char *image_id, void *engine);
json_t *engine_info(
	struct engine *engine); /* counts of pods and containers by state, isolation, … */
