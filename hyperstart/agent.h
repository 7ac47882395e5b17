#pragma once
/*
 * The agent: what hyperd asks for over the channel is looked up in one table and carried out here,
 * the same in a VM and in a namespace pod. One thread, one loop; all state hangs off struct agent.
 *
 * Order. Requests are carried out strictly one after the other, in the order they arrived. A
 * handler that has to wait (a layer that is still coming, a container's set-up) holds up all later
 * requests until it has finished, so a burst "add the layer, create, start" needs no replies in
 * between. Two exceptions: ContainerStart and ContainerExec are answered when the program runs or
 * could not be started, and later requests do not wait for that. Streams that a request names are
 * opened when it arrives, not when its turn comes, because their data may follow at once.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/utsname.h>

#include "base/error.h"
#include "base/list.h"
#include "base/loop.h"
#include "hyperstart/cgroup.h"
#include "hyperstart/proto.h"
#include "wire/mux.h"

struct channel;
struct container;
struct layer;
struct stdio;

/* Where things are in the agent's root, in both kinds of pod. */
#define HYPER_DIR      "/run/hyper"
#define DISK_DIR       HYPER_DIR "/disk"
#define LAYERS_DIR     HYPER_DIR "/l" /* short: 127 of these names make one mount option */
#define ROOT_DIR       HYPER_DIR "/root"
#define CONTAINERS_DIR HYPER_DIR "/c"
#define SHARES_DIR     "/shares" /* what the host shares: namespace pods get it from their launcher */
#define SHM_DIR        HYPER_DIR "/shm"
#define MACHINE_ID     HYPER_DIR "/machine-id"

/* Limits on what a host can make the agent hold. */
#define AGENT_MAX_WAITING       1024
#define AGENT_MAX_WAITING_BYTES (8u << 20)
/* Unsent control messages beyond which the agent stops reading. */
#define AGENT_MAX_UNSENT (1u << 20)

struct request {
	struct list node;
	struct agent *agent;        /* borrowed */
	Hyper__Envelope *envelope;  /* owned */
	const Hyper__Request *body; /* borrowed from envelope */
	size_t bytes;
	unsigned connection; /* a reply goes to the host that asked, or nowhere */
	struct stdio *stdio; /* owned: streams opened on arrival, until a process takes them */
	struct layer *layer; /* borrowed: begun on arrival */
};

struct agent {
	struct loop *loop;       /* owned */
	struct mux *mux;         /* owned */
	struct channel *channel; /* owned */
	bool namespace_pod;
	int self_exe_fd, self_pid_ns_fd; /* owned */
	/* Had before a template is saved, so that no clone has to ask. */
	struct utsname kernel;
	int random_fd; /* owned; -1 in a namespace pod */

	unsigned connection; /* counts hosts that have connected */
	struct list waiting; /* of request.node */
	unsigned waiting_count;
	size_t waiting_bytes;
	struct request *blocking; /* borrowed: the one that the others wait for */

	struct list layers; /* of layer.node */
	unsigned last_layer;

	bool disk_ready, disk_mounted;
	char *disk_path; /* owned; DISK_DIR when no disk was set up: then it is memory */

	bool pod_ready, has_machine_id, loopback_up, shares_mounted;
	uint64_t shm_bytes;

	struct cgroup_root cgroups;
	struct list containers;     /* of container.node, in order of creation */
	struct container *prepared; /* borrowed: taken, its files not yet named (prepared.h) */
	struct loop_timer prepared_timer;
	bool had_prepared;
	struct container *beside; /* owned; a container in name only: processes beside the init */

	int signal_fd; /* owned */
	struct loop_io signal_io;
	struct shutdown *shutdown; /* owned; while one is under way */
};

/* What a handler returns beside 0 (send an empty reply) and a negative errno (send the failure). */
#define REQUEST_KEPT \
	1 /* the handler answers with request_reply() or request_fail(), now or later */

int agent_new(bool namespace_pod, struct agent **ret, struct error *err);
/* For tests and fuzzing; the real agent never ends. */
void agent_free(struct agent *agent);
/* Carries out waiting requests, as far as they may go. */
void agent_run_waiting(struct agent *agent);

/* Both free the request, and let waiting ones go on if they waited for this one. */
void request_reply(struct request *request, Hyper__Reply *reply);
void request_fail(struct request *request, const struct error *err);
/* Later requests wait until this one, which the handler keeps, is answered. */
void request_block(struct request *request);

void agent_event(struct agent *agent, Hyper__Event *event);
