#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hyperd/hypervisor/qemu/qmp.h"

static void on_event(struct qmp *qmp, const char *name, const json_t *data, void *owner)
{
	if (!name)
		abort();
}

static const struct qmp_events events = { .event = on_event };

/* What a QEMU that a guest has taken over says, in pieces whose sizes it chooses, with two commands
 * waiting. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = { 0 };
	struct qmp_ticket a, b;
	struct loop *loop;
	struct qmp *qmp;
	size_t piece = size ? data[0] + 1u : 1;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0 || loop_new(&loop, &err) < 0 ||
	    qmp_new(loop, fds[0], &events, NULL, &qmp, &err) < 0 ||
	    qmp_post(qmp, "query-status", NULL, -1, &a, &err) < 0 ||
	    qmp_post(qmp, "stop", NULL, -1, &b, &err) < 0)
		abort();
	for (size_t at = 1; at < size; at += piece) {
		size_t n = size - at < piece ? size - at : piece;

		if (qmp_input(qmp, (const char *)data + at, n, &err) < 0)
			break;
	}
	qmp_forget(&a);
	qmp_forget(&b);
	qmp_free(qmp);
	loop_free(loop);
	close(fds[1]);
	return 0;
}
