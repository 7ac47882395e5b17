#pragma once
/*
 * A host for tests of the init: speaks to an agent over the real multiplexer and waits for what it
 * answers, blocking. Whatever goes wrong fails the test. Single-threaded.
 */
#include "tests/unit/test.h"

#include <stdio.h>
#undef stdin
#undef stdout
#undef stderr

#include "base/list.h"
#include "base/str.h"
#include "wire/hyper.pb-c.h"
#include "wire/mux.h"

struct client {
	struct mux *mux; /* owned */
	int fd;          /* owned */
	bool connected, closed, broken;
	bool muted; /* reads nothing: a host that does not listen */
	uint32_t last_id, last_stream;
	struct list messages; /* of client_message.node: replies and events not yet asked for */
};

struct client_message {
	struct list node;
	Hyper__Envelope *envelope; /* owned */
};

struct client_stream {
	struct client *client; /* borrowed */
	struct mux_stream *stream;
	uint32_t id;
	struct str data; /* what has come */
	uint64_t base;   /* the offset at which DATA begins */
	bool eof, hold;  /* HOLD: acknowledges nothing */
	int reset;
};

/* TAKEOVER: as a daemon that succeeds another. Says Hello. */
void client_connect(struct client *client, const char *path, bool takeover);
/* Throws away what has not been asked for. */
void client_forget_messages(struct client *client);
/* Drops the connection as a killed daemon does. */
void client_done(struct client *client);

/* Carries bytes for one round; false when nothing happened for TIMEOUT_MS. */
bool client_pump(struct client *client, int timeout_ms);
/* The same, until COND. */
#define client_until(client, cond)                                         \
	do {                                                               \
		while (!(cond))                                            \
			if (!client_pump(client, CLIENT_TIMEOUT_MS))       \
				fail_msg("waited in vain for: %s", #cond); \
	} while (0)
#define CLIENT_TIMEOUT_MS 60000

uint32_t client_post(struct client *client, Hyper__Request *request);
/* The reply to request ID; the caller frees it with hyper__envelope__free_unpacked(). */
Hyper__Envelope *client_reply(struct client *client, uint32_t id);
Hyper__Envelope *client_call(struct client *client, Hyper__Request *request);
void client_expect_ok(struct client *client, uint32_t id);
/* PART is in the failure's message. */
void client_expect_failure(struct client *client, uint32_t id, enum error_kind kind,
			   const char *part);
void client_ok(struct client *client, Hyper__Request *request);
void client_fails(struct client *client, Hyper__Request *request, enum error_kind kind,
		  const char *part);

/* Waits for the exit event of a process; returns its code. */
uint32_t client_exit(struct client *client, const char *container, const char *exec);
/* The same with all the event says, freed by the caller. */
Hyper__Envelope *client_exit_event(struct client *client, const char *container, const char *exec);

void client_stream_open(struct client_stream *stream, struct client *client);
/* One that an older host has used. */
void client_stream_adopt(struct client_stream *stream, struct client *client, uint32_t id,
			 uint64_t sent, uint64_t received);
void client_stream_close(struct client_stream *stream);
/* Sends all of it, waiting for room. */
void client_stream_send(struct client_stream *stream, const void *data, size_t len);
void client_stream_wait_eof(struct client_stream *stream);

/* Requests, ready to be sent. */
#define REQUEST(name, NAME, ...)                                                  \
	(&(Hyper__Request){ PROTOBUF_C_MESSAGE_INIT(&hyper__request__descriptor), \
			    .body_case = HYPER__REQUEST__BODY_##NAME, .name = (__VA_ARGS__) })
