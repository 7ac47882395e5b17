#pragma once
/* The domain's structs. Private to hyperd/pod; engine.h is what others see. */
#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"
#include "base/task.h"
#include "hyperd/logdriver/logdriver.h"
#include "hyperd/pod/engine.h"
#include "hyperd/pod/names.h"
#include "hyperd/pod/process_io.h"
#include "hyperd/pod/seccomp_profile.h"
#include "hyperd/pod/spec_fields.h"

/* An agent that does not answer small requests within this is as good as dead. */
#define AGENT_CALL_MS 10000
/* A start may have to make directories, copy up volumes and write files under emulation. */
#define AGENT_START_MS 120000
/* From a process's death to the end of its output: all that is left is under way. */
#define OUTPUT_AFTER_EXIT_MS 10000
/* The same of an exec session, whose pipes a grandchild may hold open (Docker: 2 s). */
#define EXEC_OUTPUT_AFTER_EXIT_MS 2000
/* After SIGKILL. */
#define KILL_WAIT_MS   10000
#define STOP_TIMEOUT_S 10
/* A sandbox's ordered end: unmounting and writing back its disk. */
#define SANDBOX_STOP_MS 10000

/* What remote logs still have to send when the daemon stops. */
#define LOGS_END_MS 3000

#define POD_RECORD_VERSION       1
#define CONTAINER_RECORD_VERSION 1

struct engine {
	struct loop *loop; /* these are borrowed */
	struct job_pool *jobs;
	struct log_group *logs; /* owned */
	struct store *store;
	struct image_store *images;
	struct volume_store *volumes; /* NULL: this daemon keeps none */
	struct sandbox_factory *sandboxes;
	struct networks *networks;     /* may be NULL */
	char *run_root, *log_driver;   /* owned */
	struct spec_pair *log_options; /* owned */
	enum sandbox_isolation isolation;
	bool live_restore, stopping;
	struct seccomp_cache *seccomp;
	struct list pods, containers, execs; /* each newest first; they do not hold references but
						are references: registered objects are kept */
	json_t *past_events;
	struct list subscriptions;
	unsigned background; /* tasks of the engine's own */
	struct cond idle;    /* background fell to 0 */
};

struct pod {
	unsigned refs;
	struct engine *engine; /* borrowed */
	struct list node;
	char id[ID_BYTES + 1];
	char *name;
	struct pod_spec *spec;
	bool solo, removed;
	enum pod_state state;
	uint64_t created_ns, started_ns, finished_ns; /* realtime */
	struct error failure;                         /* why the last start failed or it died */
	struct list containers;                       /* of container.pod_node, oldest first */
	char **garbage;          /* ids of removed containers whose files are still on the disk */
	struct task_mutex mutex; /* one change of state at a time */
	struct cond changed;     /* state, sandbox or a container's state */
	struct sandbox *sandbox; /* NULL: does not run */
	bool sandbox_dead;       /* it died, and is still to be cleared away */
	bool storage_used;       /* a sandbox has used the storage directory */
	bool set_up;             /* PodSetup was sent to this sandbox */
	bool serving;            /* it runs only for the pod's files (pod_serve.c) */
	unsigned held, holds;    /* by whom files are read and written now; and ever */
	bool thawed;             /* goes on though it is paused, its containers frozen */
	uint64_t asked_ns, ready_ns, started_mono_ns; /* monotonic, of the last start */
	struct sandbox_timing timing;
	struct endpoint **endpoints; /* owned; on the networks it is in while it runs */
	size_t endpoint_count;
	struct published **published; /* owned */
	size_t published_count;
	json_t *addresses; /* owned: network id → addresses it had last; may be NULL */
};

/* Image defaults and specification, merged; all owned. */
struct process_config {
	char **args, **env;
	char *user, *working_dir;
	int stop_signal;
	uint64_t capabilities;
	struct spec_pair *labels;
	struct spec_health health; /* test NULL: none */
};

struct process_exit {
	bool have;
	int code, signal;
	bool out_of_memory;
	uint64_t realtime_ns;
};

struct health;

struct container {
	unsigned refs;
	struct engine *engine; /* borrowed */
	struct pod *pod;       /* referenced */
	struct list node, pod_node;
	char id[ID_BYTES + 1];
	char *name;
	struct container_spec *spec;
	struct image *image; /* referenced; NULL when it is gone */
	char *image_id;
	struct process_config config;
	enum container_state state;
	bool oom_killed, manually_stopped, removing, removed;
	bool in_agent;      /* the sandbox's agent knows it */
	bool stands;        /* it was made there only for its files */
	bool took_prepared; /* its files were another's while it started */
	bool size_known;    /* of a stopped one: changed_bytes is what its files take */
	uint64_t changed_bytes;
	bool restart_canceled; /* the next exit is the last */
	int exit_code, pid;
	char *error;
	uint64_t created_ns, started_ns, finished_ns; /* realtime */
	uint64_t started_mono_ns;
	unsigned restart_count;
	uint64_t backoff_ns;
	struct process_exit exit; /* told by the agent and not yet dealt with */
	struct process_io io;
	struct log *log;   /* owned; NULL until the first start */
	bool log_outdated; /* it was opened under another name */
	struct list waits;
	struct cond changed;
	struct health *health;
};

struct exec {
	unsigned refs;
	struct engine *engine; /* borrowed */
	struct list node;
	char id[ID_BYTES + 1];
	struct pod *pod;             /* referenced */
	struct container *container; /* referenced; NULL: beside the agent */
	struct exec_spec *spec;
	struct process_io io;
	bool started, running, done;
	int exit_code, pid;
	struct process_exit exit;
	struct cond changed;
};

struct arena;

/* ------------------------------------------------------------------ engine.c */

/* Counts a task of the engine's own; the shutdown waits for them. FN gives ARG's reference back. */
int engine_task(struct engine *engine, const char *name, task_fn *fn, void *arg, struct error *err);
void engine_task_done(struct engine *engine);
struct pod *engine_find_pod(struct engine *engine, const char *name);             /* borrowed */
struct container *engine_find_container(struct engine *engine, const char *name); /* by name */
/* DATA-ROOT/pods/ID[/REST]; owned by the caller. */
char *engine_pod_path(const struct engine *engine, const char *pod_id, const char *rest);

/* ------------------------------------------------------------------ pod.c */

/* Makes a pod without containers and registers it. Takes SPEC, also on failure. */
int pod_new(struct engine *engine, struct pod_spec *spec, bool solo, const char *id,
	    struct pod **ret, struct error *err);
void pod_set_state(struct pod *pod, enum pod_state state);
bool pod_state_may_become(enum pod_state from, enum pod_state to);
int pod_save(struct pod *pod, bool sync, struct error *err);
/* Logs what goes wrong: for changes that have happened and cannot be taken back. */
void pod_save_logged(struct pod *pod);
int pod_lock(struct pod *pod, struct error *err);
void pod_unlock(struct pod *pod);
/* The agent, or NULL with the reason in ERR. Borrowed: gone after any wait. */
struct agent *pod_agent(const struct pod *pod, struct error *err);
bool pod_has_live_containers(const struct pod *pod);
/* A pod of one that no other container has joined. */
bool pod_is_alone(const struct pod *pod);
/* Unregisters a pod whose containers are gone and deletes its files. Task, mutex held. */
int pod_delete(struct pod *pod, struct error *err);
void pod_event(struct pod *pod, const char *action);

/* ------------------------------------------------------------------ pod_start.c, pod_stop.c */

/* Task, mutex held: begins the sandbox when there is none and starts the containers in one burst.
 */
int pod_start_containers(struct pod *pod, struct container **containers, size_t count,
			 struct error *err);
extern const struct sandbox_events pod_sandbox_events;
/* Task, mutex held: a sandbox for the pod's files when there is none; with STANDING the container
 * is made in it, and not started. */
int pod_start_serving(struct pod *pod, struct container *container, bool standing,
		      struct error *err);
/* Task, mutex held: ends the sandbox when nothing lives in it any more. */
void pod_settle(struct pod *pod);
/* Task, mutex held: ends the sandbox now; what still runs in it dies. */
void pod_end_sandbox(struct pod *pod, uint64_t deadline_ms, enum pod_state state);
/* Task, mutex held. TIMEOUT_S -1: each one's own. */
int pod_stop_containers(struct pod *pod, struct container **containers, size_t count, int timeout_s,
			bool manual, struct error *err);
/* The live containers, referenced; freed with containers_free(). */
int pod_collect(struct pod *pod, bool live_only, struct container ***ret, size_t *ret_count,
		struct error *err);
void containers_free(struct container **containers, size_t count);
/* Task: a signal for the main process, or with ALL every process of the container. */
int pod_signal(struct pod *pod, const char *container_id, const char *exec_id, int signal,
	       struct error *err);
/* Task, mutex held: freezes or continues containers and, with the last or first one, the sandbox.
 */
int pod_pause_container(struct pod *pod, struct container *container, bool paused,
			struct error *err);
/* Task: ContainerDelete in a running sandbox. */
int pod_delete_in_agent(struct pod *pod, struct container *container, bool disk, struct error *err);

/* ------------------------------------------------------------------ pod_serve.c */

/*
 * Task: the pod's sandbox is there and stays until the release, whatever becomes of its containers;
 * with STANDING the container's root is mounted in it. With FREEZE a running container stands still
 * until then (*ret_frozen, for the release).
 */
int pod_hold(struct container *container, bool standing, bool freeze, bool *ret_frozen,
	     struct error *err);
void pod_release(struct container *container, bool frozen);
/* Tasks, mutex held. */
void pod_end_serving(struct pod *pod, uint64_t deadline_ms);
/* Before a start: ends it when the start cannot go on in it. */
void pod_leave_serving(struct pod *pod);

/* ------------------------------------------------------------------ container.c */

int container_new(struct engine *engine, struct container_spec *spec, struct pod *pod,
		  const char *id, const char *name, struct image *image, struct container **ret,
		  struct error *err);
/* Drops it from the lists; the last reference frees. */
void container_unregister(struct container *container);
/* The end of a container that does not run: its record, log and registration. */
void container_discard(struct container *container);
void container_set_state(struct container *container, enum container_state state);
bool container_state_may_become(enum container_state from, enum container_state to);
int container_save(struct container *container, bool sync, struct error *err);
void container_save_logged(struct container *container);
/* Runs, is paused or is being stopped. */
bool container_is_running(const struct container *container);
/* The same, or being started, or about to be restarted. */
bool container_is_live(const struct container *container);
void container_set_error(struct container *container, const char *text);
int container_open_log(struct container *container, struct error *err);
/* KEYS: "name", "value", …, NULL; may be NULL. */
void container_event(struct container *container, const char *action, const char *const *keys);
void container_wake_waits(struct container *container, enum wait_condition condition);

/* ------------------------------------------------------------------ container_exit.c */

/* The agent told that the main process has ended, or the sandbox died. */
void container_process_exited(struct container *container, const struct process_exit *exit);
/* Begins to deal with an exit that came while the container was being started. */
void container_exit_begin(struct container *container);

/* ------------------------------------------------------------------ container_process.c */

int process_config_make(const struct container_spec *spec, const struct image_config *image,
			struct process_config *ret, struct error *err);
void process_config_done(struct process_config *config);
/* As exec takes over: later entries replace earlier ones of the same name. */
int env_merge(char ***env, char *const *more);
int container_spec_check(const struct container_spec *spec, struct error *err);

/* ------------------------------------------------------------------ container_request.c */

/*
 * What a container made ahead in a template must be like to become that of CREATE, whose
 * prepared_key it sets; NULL when this one cannot be made ahead.
 */
Hyper__ContainerCreate *container_prepare_request(struct arena *arena,
						  const struct container *container,
						  Hyper__ContainerCreate *create);
/* The request to make CONTAINER, its pieces in ARENA. FILTER borrowed, may be NULL. */
Hyper__ContainerCreate *container_request(struct arena *arena, struct container *container,
					  const struct seccomp_filter *filter);
Hyper__PodSetup *pod_setup_request(struct arena *arena, struct pod *pod);
Hyper__Limits *limits_request(struct arena *arena, const struct spec_resources *resources);
Hyper__Process *process_request(struct arena *arena, const struct process_config *config,
				const struct container_spec *spec,
				const struct seccomp_filter *filter);
/* Task: the filter of a container, NULL when it has none. */
int container_seccomp(struct container *container, bool privileged, struct seccomp_filter **ret,
		      struct error *err);

/* ------------------------------------------------------------------ pod_network.c */

/* Whether what is asked for can be, before the pod is made. */
int pod_network_check(struct engine *engine, const struct pod_spec *spec, struct error *err);
bool pod_has_card(const struct pod *pod);
bool pod_has_host_network(const struct pod *pod);
/* Task, mutex held: addresses for a start that begins; what QEMU's own stack is to play, or NULL.
 */
int pod_network_open(struct pod *pod, char **ret_user_network, struct error *err);
/* Task: its sandbox is there: interfaces, rules, ports. */
int pod_network_attach(struct pod *pod, struct error *err);
/* Task: gives all of it back. */
void pod_network_close(struct pod *pod);
/* Lets go of it for a later daemon. */
void pod_network_detach(struct pod *pod);
json_t *pod_network_record(const struct pod *pod);
void pod_network_adopt(struct pod *pod, const json_t *record);
/* Its name or a container's has changed. */
void pod_network_rename(struct pod *pod);
int pod_endpoint_open(struct pod *pod, const char *network, const struct spec_network *asked,
		      struct error *err);
int pod_endpoint_attach(struct pod *pod, size_t i, struct error *err);
int pod_port_open(struct pod *pod, const struct spec_port *port, struct error *err);
void pod_interface_name(const struct pod *pod, size_t i, char out[LINK_NAME_BYTES]);
/* What its agent is to do, from endpoint FIRST on; NULL: nothing. */
Hyper__NetworkSetup *pod_network_request(struct arena *arena, struct pod *pod, size_t first);
/* The address that its host name has; NULL: loopback's. */
const struct ip *pod_address(const struct pod *pod);
/* The server that knows names on its networks; NULL: none. */
const struct ip *pod_name_server(const struct pod *pod);

/* ------------------------------------------------------------------ restart.c */

/* Docker's rules: whether an exit is followed by a restart. DAEMON_STARTED: the question is asked
 * because hyperd has come back. */
bool restart_wanted(const struct restart_policy *policy, int exit_code, bool manually_stopped,
		    bool canceled, bool daemon_started, unsigned restart_count);
/* The wait before the next restart: doubles from 100 ms to 1 min, anew after 10 s of running. */
#define RESTART_BACKOFF_FIRST_NS (100 * NSEC_PER_MSEC)
#define RESTART_BACKOFF_MAX_NS   (60 * NSEC_PER_SEC)
#define RESTART_STEADY_NS        (10 * NSEC_PER_SEC)
uint64_t restart_backoff(uint64_t last_ns, uint64_t ran_ns);

/* ------------------------------------------------------------------ health.c */

void health_begin(struct container *container);
void health_end(struct container *container);
const char *health_text(const struct container *container);
json_t *health_json(const struct container *container);
void health_free(struct health *health);

/* ------------------------------------------------------------------ exec.c */

void exec_process_exited(struct pod *pod, const char *exec_id, const struct process_exit *exit);
/* The sandbox is gone: sessions in the pod (CONTAINER NULL) or the container end with 137. */
void execs_ended(struct pod *pod, struct container *container);
/* Their container is being removed. */
void execs_forget(struct pod *pod, struct container *container);
int exec_adopt(struct pod *pod, struct container *container, const Hyper__ProcessState *state,
	       struct error *err);

/* ------------------------------------------------------------------ mounts.c */

/*
 * Task: other containers' and the image's volumes become mounts of SPEC, and volumes that are not
 * there are made. What it made stays on failure until container_mounts_drop().
 */
int container_mounts_settle(struct engine *engine, struct container_spec *spec,
			    const struct image *image, enum sandbox_isolation isolation,
			    struct error *err);
/* The names of SPEC's anonymous volumes; a strv of the caller's. */
char **container_mounts_anonymous(const struct container_spec *spec);
/* Task: removes those of NAMES that no container uses. */
void engine_volumes_drop(struct engine *engine, char *const *names);
/* Task: both. */
void container_mounts_drop(struct engine *engine, const struct container_spec *spec);
/* ATTRIBUTES taken, may be NULL. */
void engine_volume_event(struct engine *engine, const struct volume *volume, const char *action,
			 json_t *attributes);

/* ------------------------------------------------------------------ shares.c */

#define SHARE_NAME_BYTES 40

struct pod_shares {
	struct pod_share {
		char name[SHARE_NAME_BYTES];
		int fd;
		bool is_directory;
	} * items;
	size_t count;
	struct pod_disk {
		char serial[21];
		const char *volume; /* borrowed from a container's mounts */
		char *path;         /* owned */
		int fd;             /* owned */
		bool read_only, qcow2, device;
	} * disks;
	size_t disk_count;
};
/* Task, mutex held: those that the pod's sandbox does not have yet. */
int pod_shares_open(struct pod *pod, struct pod_shares *ret, struct error *err);
/* Whether any of its containers mounts something of the host. */
bool pod_has_shares(const struct pod *pod);
void pod_shares_done(struct pod_shares *shares);
/* Task: its volumes are not used any more. */
void pod_volumes_unmount(struct pod *pod);
void pod_volumes_adopt(struct pod *pod);
/* How the agent mounts the container's mount number I. */
Hyper__Mount *share_request(struct arena *arena, const struct container *container, size_t i);

/* ------------------------------------------------------------------ record.c */

int pod_from_record(struct engine *engine, json_t *record, struct pod **ret, struct error *err);
int container_from_record(struct engine *engine, json_t *record, enum container_state *ret_state,
			  struct container **ret, struct error *err);
json_t *container_record(const struct container *container);
json_t *pod_record(const struct pod *pod);

/* ------------------------------------------------------------------ events.c */

void events_done(struct engine *engine);
