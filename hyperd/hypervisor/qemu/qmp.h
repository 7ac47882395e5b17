#pragma once
/*
 * QEMU's control channel (QEMU: docs/interop/qmp-spec.rst): commands in JSON, a reply each, and
 * events. Commands can be posted before QEMU has begun to read, so a clone is driven without a
 * round trip. A QEMU that a guest has taken over may say anything: lines are bounded, unknown
 * replies ignored.
 *
 * Loop thread; qmp_wait() and qmp_call() are for tasks.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/list.h"
#include "base/loop.h"

/* The longest line that is read: a console of 64 KiB, in base64, with room to spare. */
#define QMP_MAX_LINE (1u << 20)

struct qmp;

struct qmp_events {
	/* DATA is borrowed for the call and may be NULL. */
	void (*event)(struct qmp *qmp, const char *name, const json_t *data, void *owner);
};

struct qmp_ticket {
	struct list node;
	unsigned id;
	json_t *result; /* owned until taken */
	struct error error;
	bool done;
};

/* Takes FD (a connected socket, even on failure) and begins with qmp_capabilities. EVENTS may be
 * NULL. */
int qmp_new(struct loop *loop, int fd, const struct qmp_events *events, void *owner,
	    struct qmp **ret, struct error *err);
/* Waiting calls fail. Takes NULL. */
void qmp_free(struct qmp *qmp);
DEFINE_CLEANUP(qmp_free, struct qmp *);
bool qmp_is_closed(const struct qmp *qmp);

/* Sends COMMAND; ARGUMENTS is taken, even on failure, and may be NULL. PASS_FD (borrowed) goes with
 * it unless -1. */
int qmp_post(struct qmp *qmp, const char *command, json_t *arguments, int pass_fd,
	     struct qmp_ticket *ticket, struct error *err);
/* *ret may be NULL, else it is the caller's. */
int qmp_wait(struct qmp *qmp, struct qmp_ticket *ticket, uint64_t deadline_ns, json_t **ret,
	     struct error *err);
void qmp_forget(struct qmp_ticket *ticket);
int qmp_call(struct qmp *qmp, const char *command, json_t *arguments, uint64_t deadline_ns,
	     json_t **ret, struct error *err);

/* Feeds what was read; used by the fuzz target. 0, or -EBADMSG when the peer is no QMP server. */
int qmp_input(struct qmp *qmp, const char *data, size_t len, struct error *err);
