#pragma once
/*
 * Containers: a root file system, a cgroup and processes. ContainerCreate makes everything and
 * forks the child that will be its first process; it stands in its own namespaces and root and
 * waits for ContainerStart. A container that has ended stays, with its exit code, until it is
 * deleted.
 */
#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/list.h"
#include "hyperstart/cgroup.h"
#include "hyperstart/process.h"
#include "hyperstart/proto.h"

struct agent;
struct layer;
struct request;

#define CONTAINER_ID_MAX 128

struct container {
	struct list node;
	struct agent *agent;              /* borrowed */
	char *id;                         /* owned */
	Hyper__ContainerCreate *spec;     /* owned; NULL for the one beside the init */
	Hyper__ContainerCreate *old_spec; /* owned: what it was while prepared */
	struct cgroup *cgroup;            /* owned */
	struct layer **layers;            /* owned array of used layers */
	size_t layer_count;
	int root_fd;           /* owned: its root directory, O_PATH; -1 before it stands */
	int terminal_fd;       /* owned until the start: its terminal's master */
	struct process *main;  /* owned, in processes */
	struct list processes; /* of process.node; main first */
	bool started, paused;
	bool prepared, was_prepared; /* waits for whom it will be; has been one */
	int mnt_ns_fd; /* owned; of a prepared one: its mounts need not go before its end is told;
			  -1 */
	uint64_t oom_kills, oom_told;
	int oom_fd; /* owned, or -1 */
	struct loop_io oom_io;
	struct request *create, *delete; /* kept while under way */
	bool delete_disk;
};

struct container *container_find(struct agent *agent, const char *id);
/* The same with the error that says so; ID "" is the one beside the init. */
int container_get(struct agent *agent, const char *id, struct container **ret, struct error *err);
/* A name of a container or an exec as hosts may give it; WHAT is for messages. */
int container_name_check(const char *name, const char *what, struct error *err);
bool container_running(const struct container *container);
int container_set_limits(struct container *container, const Hyper__Limits *limits,
			 struct error *err);

int container_beside_new(struct agent *agent, struct error *err);
void container_free_all(struct agent *agent);

/* A process of it has been reaped. */
void container_process_ended(struct container *container, struct process *process);

int container_create_handle(struct request *request, struct error *err);
int container_start_arrive(struct request *request, struct error *err);
int container_start_handle(struct request *request, struct error *err);
int container_exec_arrive(struct request *request, struct error *err);
int container_exec_handle(struct request *request, struct error *err);
int container_delete_handle(struct request *request, struct error *err);
int container_pause_handle(struct request *request, struct error *err);
int container_update_handle(struct request *request, struct error *err);
