#pragma once
/* The sending half of a remote log (remote_send.c) and what it shares with the other (remote.c). */
#include "hyperd/logdriver/remote.h"

#define REMOTE_CONNECT_MS 10000

/* Before each message in the queue. */
struct remote_message {
	uint64_t id;
	uint32_t len;
	uint32_t stream_bytes; /* of the stream, that are stored when this has left */
	uint32_t text_bytes;   /* of the line, as the buffer's limit counts */
	uint32_t stream;
};

struct remote_message *remote_message_at(const struct remote_log *r, size_t at);
size_t remote_message_after(const struct remote_log *r, size_t at);
/* Takes the oldest message out. */
void remote_pop(struct remote_log *r);
/* Says that more is stored than before. */
void remote_progress(struct remote_log *r);
void remote_set_gone(struct remote_log *r, bool gone);
/* COUNT lines were dropped. */
void remote_lose(struct remote_log *r, uint64_t count);

int remote_start_sender(struct remote_log *r, struct error *err);
/* Task. What is not sent stays in the queue. */
void remote_stop_sender(struct remote_log *r);
