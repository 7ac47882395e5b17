#pragma once
/*
 * A connection to a receiver of logs: UDP, TCP, TLS, and both kinds of Unix sockets. Names are
 * resolved on the job pool; nothing blocks but the calling task. Private to hyperd/logdriver.
 */
#include <sys/uio.h>

#include "base/job.h"
#include "base/task.h"
#include "base/tls.h"

enum link_kind { LINK_UDP, LINK_TCP, LINK_TLS, LINK_UNIX, LINK_UNIXGRAM, LINK_SYSLOG };

/* Where to. All owned. */
struct link_target {
	enum link_kind kind;
	char *host, *port; /* of UDP, TCP and TLS */
	char *path;        /* of Unix sockets; LINK_SYSLOG finds its own */
	char *ca, *certificate, *key;
	bool skip_verify;
};
void link_target_done(struct link_target *target);

/*
 * Takes "scheme://host:port" or "scheme://path" apart. SCHEMES: those that are allowed, NULL at the
 * end. The port is DEFAULT_PORT where there is none; DEFAULT_PORT NULL: there must be one. Returns
 * -EINVAL when it is no such thing.
 */
int link_target_parse(const char *address, const char *const *schemes, const char *default_port,
		      struct link_target *ret);

/* A send waits no longer before it says so. */
#define LINK_WAIT_MS 2000

struct link {
	const struct link_target *target; /* borrowed */
	struct job_pool *jobs;            /* borrowed */
	int fd;                           /* owned; -1: not connected */
	bool stream;
	struct tls_context *tls_context; /* owned */
	struct tls_stream *tls;          /* owned */
};

void link_init(struct link *link, const struct link_target *target, struct job_pool *jobs);
void link_close(struct link *link);
/* Task. Errors as Go's net.Dial words them. */
int link_open(struct link *link, uint64_t deadline_ns, struct error *err);
/* Whether the other side has ended the connection; what it says is read and forgotten. */
bool link_is_dead(struct link *link);
/*
 * Task. Streams: returns how many bytes were taken, or -errno. Datagrams: IOV are so many messages;
 * returns how many were taken, or -errno for the first. -EAGAIN: waited until there is room, try
 * again (what IOV pointed to may have moved).
 */
ssize_t link_send(struct link *link, const struct iovec *iov, int count);
/* Task. Waits for something to read: how much, 0 at the end, or -errno. */
ssize_t link_receive(struct link *link, void *data, size_t len, uint64_t deadline_ns);
