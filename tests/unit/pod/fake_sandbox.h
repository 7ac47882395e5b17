#pragma once
/*
 * Sandboxes and images for tests of the domain: an agent scripted in this process, spoken to
 *through the real client and the real multiplexer over a socket pair. What a container does is its
 *first argument:
 *
 *	true            exits with 0 at once
 *	exit N          exits with N at once
 *	echo TEXT       writes TEXT and a newline to its output, and exits
 *	part TEXT       writes TEXT without a newline and runs on
 *	err TEXT        the same as echo on its error output
 *	cat             copies its input to its output until its end
 *	run             runs until it is told to end
 *	stubborn        runs until SIGKILL
 *	flood BYTES     writes so many bytes in lines, and exits
 *	missing         cannot be started: 127
 *	mute            the start is never answered
 *
 * The state outlives a detached sandbox, as a real one's agent outlives the daemon.
 */
#include "base/str.h"
#include "hyperd/image/image.h"
#include "hyperd/sandbox/sandbox.h"

/* What the fakes have seen; set to zero by fake_reset(). */
struct fake_log {
	unsigned sandboxes_started, sandboxes_stopped, alive;
	unsigned containers_created, containers_deleted, disks_deleted, processes_forgotten;
	unsigned setups;
	bool fail_start; /* the next sandbox_start() fails */
	char last_hostname[80];
	char **last_env;
	size_t last_seccomp_bytes;
	uint64_t last_capabilities;
	char *last_file; /* content of the last file written */
	/* What the agent answers when it is to serve files, and what it got. */
	struct {
		const char *refusal; /* the request fails so; NULL: it does not */
		struct str out;      /* said on the stream, then its end unless it stalls */
		bool stall;
		unsigned asked;
		uint64_t taken;
	} files;
};
extern struct fake_log fake;

void fake_reset(void);
/* The sandbox of the pod dies, as a QEMU that is killed. */
void fake_kill(const char *pod_id);
/* Ends what was detached and never adopted. */
void fake_sweep(void);
/* Makes the container's main process exit, without the daemon being told while it is detached. */
void fake_exit(const char *pod_id, const char *container_id, int code);
/* The container's main process writes. */
void fake_write(const char *pod_id, const char *container_id, const char *text);
/* Bytes of standard output that the agent still keeps because they are not acknowledged. */
uint64_t fake_unacknowledged(const char *pod_id, const char *container_id);
