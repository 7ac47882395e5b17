#include "hyperstart/sync.h"

#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/fd.h"

struct packet {
	int what, kind, exit_code;
	char text[sizeof(((struct error *)0)->message)];
};

int sync_open(int fds[2], struct error *err)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0 ||
	    fd_set_nonblocking(fds[0], true) < 0)
		return error_errno(err, errno, "making a pair of sockets");
	return 0;
}

int sync_send(int fd, enum sync_what what, const struct error *error, const int *fds, size_t count)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * SYNC_FDS_MAX)];
	} control = { 0 };
	struct packet packet = { .what = (int)what };
	struct iovec iov = { .iov_base = &packet, .iov_len = offsetof(struct packet, text) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (error) {
		size_t len = strlen(error->message);

		packet.kind = (int)error->kind;
		packet.exit_code = error->exit_code;
		memcpy(packet.text, error->message, len);
		iov.iov_len += len;
	}
	if (count) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * count);
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int sync_receive(int fd, struct sync_message *ret)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * SYNC_FDS_MAX)];
	} control;
	struct packet packet = { 0 };
	struct iovec iov = { .iov_base = &packet, .iov_len = sizeof(packet) - 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n;

	memset(ret, 0, sizeof(*ret));
	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		ret->fd_count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(ret->fds, CMSG_DATA(c), ret->fd_count * sizeof(int));
	}
	ret->what = (enum sync_what)packet.what;
	ret->error.kind = (enum error_kind)packet.kind;
	ret->error.exit_code = packet.exit_code;
	memcpy(ret->error.message, packet.text, sizeof(packet.text));
	return 0;
}

void sync_message_done(struct sync_message *message)
{
	for (size_t i = 0; i < message->fd_count; i++)
		if (message->fds[i] >= 0)
			close(message->fds[i]);
	message->fd_count = 0;
}
