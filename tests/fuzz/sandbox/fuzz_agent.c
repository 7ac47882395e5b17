#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "hyperd/sandbox/agent.h"
#include "wire/frame.h"

static unsigned lost;

static void on_event(struct agent *agent, const Hyper__Event *event, void *owner)
{
	if (!event)
		abort();
}

static void on_lost(struct agent *agent, const struct error *why, void *owner)
{
	if (!why->kind || ++lost > 1)
		abort();
}

static const struct agent_events events = { .event = on_event, .lost = on_lost };

/*
 * A guest that answers the preamble rightly and then says anything. Input: messages as length, type
 * and payload, which get the frames that let them through; type 0 is bytes as they are.
 */
static void speak(struct str *out, const uint8_t *data, size_t size)
{
	while (size >= 2) {
		size_t n = data[0] < size - 2 ? data[0] : size - 2;
		struct frame_header header = { .type = data[1] & 7,
					       .length = (uint32_t)n,
					       .stream = data[1] >> 5,
					       .offset = data[1] >> 3 & 3 };
		uint8_t head[FRAME_HEADER], tail[FRAME_TRAILER];

		frame_header_encode(&header, head);
		frame_trailer_encode(&header, tail);
		if (header.type)
			str_append(out, head, sizeof(head));
		str_append(out, data + 2, n);
		if (header.type)
			str_append(out, tail, sizeof(tail));
		data += 2 + n;
		size -= 2 + n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = { 0 };
	struct agent *agent;
	struct loop *loop;
	uint8_t preamble[PREAMBLE_BYTES];
	autostr struct str said = STR_INIT;
	int fds[2];

	if (size > 60000)
		return 0;
	lost = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0 || loop_new(&loop, &err) < 0 ||
	    agent_open(loop, fds[0], false, &events, NULL, &agent, &err) < 0)
		abort();
	loop_run_once(loop, 0, &err);
	if (fd_read_exact(fds[1], preamble, sizeof(preamble)) < 0)
		abort();
	fd_write_all(fds[1], preamble, sizeof(preamble));
	speak(&said, data, size);
	fd_set_nonblocking(fds[1], true);
	for (size_t at = 0; at < said.len;) {
		ssize_t n = send(fds[1], said.data + at, said.len - at, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			break;
		at += n > 0 ? (size_t)n : 0;
		loop_run_once(loop, 0, &err);
	}
	shutdown(fds[1], SHUT_WR);
	for (int i = 0; i < 1000 && !lost; i++)
		loop_run_once(loop, 0, &err);
	if (!agent_is_lost(agent) || lost != 1)
		abort();
	agent_free(agent);
	loop_free(loop);
	close(fds[1]);
	return 0;
}
