#include "hyperd/hypervisor/qemu/qmp.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "base/task.h"

#define READ_BYTES     16384
#define READS_PER_TURN 8
#define QUEUED_MAX     (1u << 20)

struct qmp {
	struct loop *loop; /* borrowed */
	int fd;            /* owned */
	struct loop_io io;
	const struct qmp_events *events; /* borrowed */
	void *owner;
	struct str in, out;
	struct list tickets;
	struct cond replied;
	struct qmp_ticket capabilities;
	unsigned next_id;
	bool closed;
	struct error why;
};

static void close_with(struct qmp *qmp, const struct error *why)
{
	if (qmp->closed)
		return;
	trace(qmp, "closed: %s", why->message);
	qmp->closed = true;
	qmp->why = *why;
	loop_io_remove(&qmp->io);
	while (!list_empty(&qmp->tickets)) {
		struct qmp_ticket *ticket =
			container_of(list_pop(&qmp->tickets), struct qmp_ticket, node);

		ticket->error = *why;
		ticket->done = true;
	}
	cond_broadcast(&qmp->replied);
}

/* ------------------------------------------------------------------ reading */

static struct qmp_ticket *find_ticket(struct qmp *qmp, json_int_t id)
{
	struct qmp_ticket *ticket;

	list_for_each_entry(ticket, &qmp->tickets, node) {
		if ((json_int_t)ticket->id == id)
			return ticket;
	}
	return NULL;
}

static void reply_read(struct qmp *qmp, json_t *message)
{
	struct qmp_ticket *ticket =
		find_ticket(qmp, json_integer_value(json_object_get(message, "id")));
	const json_t *error = json_object_get(message, "error");
	const char *text;

	if (!ticket) {
		trace(qmp, "a reply that nobody waits for");
		return;
	}
	if (error) {
		text = json_string_value(json_object_get(error, "desc"));
		error_set(&ticket->error, ERROR_FAILED, "QEMU: %s", text ? text : "refused");
	} else {
		ticket->result = json_incref(json_object_get(message, "return"));
	}
	list_remove(&ticket->node);
	ticket->done = true;
	cond_broadcast(&qmp->replied);
}

static int line_read(struct qmp *qmp, const char *line, size_t len, struct error *err)
{
	autojson json_t *message = NULL;
	const char *event;
	int r = json_parse(line, len, &message, err);

	if (r == 0 && !json_is_object(message))
		r = error_set(err, ERROR_INVALID, "expected an object");
	if (r < 0)
		return error_prefix(err, -EBADMSG, "QMP");
	trace(qmp, "<- %.*s", (int)(len < 1000 ? len : 1000), line);
	event = json_string_value(json_object_get(message, "event"));
	if (event && qmp->events && qmp->events->event)
		qmp->events->event(qmp, event, json_object_get(message, "data"), qmp->owner);
	else if (json_object_get(message, "return") || json_object_get(message, "error"))
		reply_read(qmp, message);
	return 0;
}

int qmp_input(struct qmp *qmp, const char *data, size_t len, struct error *err)
{
	size_t begin = 0;
	const char *end;
	int r = 0;

	str_append(&qmp->in, data, len);
	if (qmp->in.failed)
		return error_nomem(err);
	while (r == 0 && qmp->in.len &&
	       (end = memchr(qmp->in.data + begin, '\n', qmp->in.len - begin))) {
		size_t line_len = (size_t)(end - (qmp->in.data + begin));

		if (line_len && qmp->in.data[begin + line_len - 1] == '\r')
			line_len--;
		if (line_len)
			r = line_read(qmp, qmp->in.data + begin, line_len, err);
		begin = (size_t)(end - qmp->in.data) + 1;
		if (begin == qmp->in.len)
			break;
	}
	str_consume(&qmp->in, begin);
	if (r == 0 && qmp->in.len > QMP_MAX_LINE)
		r = error_set(err, ERROR_LIMIT, "QMP: a line of more than %u bytes", QMP_MAX_LINE);
	return r;
}

static void qmp_read(struct qmp *qmp)
{
	struct error why = { 0 };
	char buf[READ_BYTES];

	for (int i = 0; i < READS_PER_TURN && !qmp->closed; i++) {
		ssize_t n = fd_read(qmp->fd, buf, sizeof(buf));

		if (n == -EAGAIN)
			return;
		if (n < 0)
			error_errno(&why, (int)-n, "QMP: reading");
		else if (n == 0)
			error_set(&why, ERROR_UNAVAILABLE, "QEMU has closed its control channel");
		if (n <= 0 || qmp_input(qmp, buf, (size_t)n, &why) < 0) {
			close_with(qmp, &why);
			return;
		}
	}
}

/* ------------------------------------------------------------------ writing */

static void qmp_write(struct qmp *qmp)
{
	struct error why = { 0 };

	while (qmp->out.len) {
		ssize_t n = send(qmp->fd, qmp->out.data, qmp->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			error_errno(&why, errno, "QMP: writing");
			close_with(qmp, &why);
			return;
		}
		str_consume(&qmp->out, (size_t)n);
	}
	loop_io_modify(&qmp->io, qmp->out.len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void on_io(struct loop_io *io, uint32_t events)
{
	struct qmp *qmp = container_of(io, struct qmp, io);

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		qmp_read(qmp);
	if ((events & EPOLLOUT) && !qmp->closed)
		qmp_write(qmp);
}

/* A descriptor belongs to the byte it is sent with: its command is sent at once or not at all. */
static int send_with_fd(struct qmp *qmp, const char *text, size_t len, int pass_fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)text, len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	ssize_t n;

	qmp_write(qmp);
	if (qmp->closed || qmp->out.len)
		return -EAGAIN;
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &pass_fd, sizeof(int));
	n = sendmsg(qmp->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	if ((size_t)n < len)
		str_append(&qmp->out, text + n, len - (size_t)n);
	return 0;
}

int qmp_post(struct qmp *qmp, const char *command, json_t *arguments, int pass_fd,
	     struct qmp_ticket *ticket, struct error *err)
{
	autofree char *text = NULL;
	json_t *message;
	size_t len;
	int r = 0;

	memset(ticket, 0, sizeof(*ticket));
	list_init(&ticket->node);
	ticket->id = ++qmp->next_id;
	message = json_pack("{s:s, s:i, s:o*}", "execute", command, "id", (int)ticket->id,
			    "arguments", arguments);
	text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	json_decref(message);
	if (!text)
		return error_nomem(err);
	if (qmp->closed) {
		error_copy(err, &qmp->why);
		return error_kind_errno(qmp->why.kind);
	}
	if (qmp->out.len > QUEUED_MAX)
		return error_set(err, ERROR_UNAVAILABLE, "QEMU does not read its control channel");
	trace(qmp, "-> %s", text);
	len = strlen(text);
	text[len++] = '\n'; /* in the place of the NUL: the length is what counts */
	if (pass_fd >= 0)
		r = send_with_fd(qmp, text, len, pass_fd);
	else
		str_append(&qmp->out, text, len);
	if (r == 0 && qmp->out.failed)
		r = -ENOMEM;
	if (r < 0)
		return error_errno(err, -r, "QMP: sending '%s'", command);
	list_append(&qmp->tickets, &ticket->node);
	qmp_write(qmp);
	return 0;
}

void qmp_forget(struct qmp_ticket *ticket)
{
	if (ticket->node.next)
		list_remove(&ticket->node);
	json_decref(steal(ticket->result));
}

int qmp_wait(struct qmp *qmp, struct qmp_ticket *ticket, uint64_t deadline_ns, json_t **ret,
	     struct error *err)
{
	int r = 0;

	if (ret)
		*ret = NULL;
	while (!ticket->done && r == 0)
		r = cond_wait(&qmp->replied, deadline_ns);
	if (ticket->done && ticket->error.kind) {
		error_copy(err, &ticket->error);
		r = error_kind_errno(ticket->error.kind);
	} else if (ticket->done) {
		r = 0;
		if (ret)
			*ret = steal(ticket->result);
	} else if (r == -ETIMEDOUT) {
		r = error_set(err, ERROR_TIMEOUT, "QEMU did not answer within its deadline");
	} else {
		r = error_set(err, ERROR_CANCELED, "canceled while waiting for QEMU");
	}
	qmp_forget(ticket);
	return r;
}

int qmp_call(struct qmp *qmp, const char *command, json_t *arguments, uint64_t deadline_ns,
	     json_t **ret, struct error *err)
{
	struct qmp_ticket ticket;
	int r = qmp_post(qmp, command, arguments, -1, &ticket, err);

	if (r == 0)
		r = qmp_wait(qmp, &ticket, deadline_ns, ret, err);
	return r < 0 ? error_prefix(err, r, "%s", command) : 0;
}

/* ------------------------------------------------------------------ its life */

int qmp_new(struct loop *loop, int fd, const struct qmp_events *events, void *owner,
	    struct qmp **ret, struct error *err)
{
	autoptr(qmp_free) struct qmp *qmp = calloc(1, sizeof(*qmp));
	int r;

	if (!qmp) {
		close(fd);
		return error_nomem(err);
	}
	qmp->loop = loop;
	qmp->fd = fd;
	qmp->events = events;
	qmp->owner = owner;
	list_init(&qmp->tickets);
	list_init(&qmp->capabilities.node);
	cond_init(&qmp->replied);
	r = fd_set_nonblocking(fd, true);
	if (r == 0)
		r = loop_io_add(loop, &qmp->io, fd, EPOLLIN, on_io);
	if (r < 0)
		return error_errno(err, -r, "QMP: opening");
	r = qmp_post(qmp, "qmp_capabilities", NULL, -1, &qmp->capabilities, err);
	if (r < 0)
		return r;
	*ret = steal(qmp);
	return 0;
}

void qmp_free(struct qmp *qmp)
{
	struct error why = { 0 };

	if (!qmp)
		return;
	error_set(&why, ERROR_CANCELED, "QMP: let go");
	close_with(qmp, &why);
	qmp_forget(&qmp->capabilities);
	str_done(&qmp->in);
	str_done(&qmp->out);
	close(qmp->fd);
	free(qmp);
}

bool qmp_is_closed(const struct qmp *qmp)
{
	return qmp->closed;
}
