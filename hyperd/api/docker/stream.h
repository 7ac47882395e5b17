#pragma once
/*
 * One client on a process's streams: what attach and exec start have in common. Output goes from
 * the engine's callback straight into the connection; input is read by a task of its own, since the
 * handler's task waits for the end.
 */
#include "base/task.h"
#include "hyperd/api/api.h"
#include "hyperd/http/websocket.h"

/* Docker's header of a piece of output (docs/api.md). */
#define STREAM_HEADER_BYTES 8
void stream_header(unsigned char header[STREAM_HEADER_BYTES], enum stream_kind kind, size_t len);
const char *stream_content_type(const struct http_request *request, bool tty);

/* Key sequence that detaches a client with a terminal: "ctrl-p,ctrl-q". */
#define DETACH_KEYS_MAX 16
struct detach_keys {
	unsigned char keys[DETACH_KEYS_MAX];
	size_t count, matched;
};
/* TEXT NULL or "": the default. */
int detach_keys_parse(const char *text, struct detach_keys *ret, struct error *err);
/*
 * Passes IN on to OUT (room for LEN + DETACH_KEYS_MAX), holding back what may become the sequence.
 * Returns how much was put out; *ret_detached when the sequence is complete.
 */
size_t detach_keys_filter(struct detach_keys *keys, const unsigned char *in, size_t len,
			  unsigned char *out, bool *ret_detached);

struct stream_session {
	struct http_request *request;
	struct attachment *attachment;
	struct task *reader;
	struct cond changed;
	struct detach_keys detach;
	bool websocket; /* messages instead of Docker's frames */
	struct http_websocket input;
	bool tty, want_stdin;
	bool close_stdin; /* the end of the client's input is the end of the process's */
	bool ready;       /* the header has been sent: output may follow */
	bool ended, gone, detached, room_wanted, reader_done;
};

extern const struct attachment_events stream_events;

/* Before the attachment is made, with the session as its owner. */
void stream_session_init(struct stream_session *session, struct http_request *request, bool tty,
			 bool want_stdin);
/* Task: hijacks. Output that the attachment holds back is for stream_session_run() to fetch. */
int stream_session_begin(struct stream_session *session, struct error *err);
/* Task, after begin: moves bytes until the end, detaches. */
int stream_session_run(struct stream_session *session, struct error *err);
