#include "hyperstart/file_write.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "hyperstart/agent.h"
#include "hyperstart/container.h"
#include "hyperstart/identity.h"
#include "hyperstart/root.h"

static int make_parent(int root_fd, const char *path, struct error *err)
{
	autofree char *parent = strdup(path);
	autoclose int fd = -1;
	char *slash;

	if (!parent)
		return error_nomem(err);
	slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return 0;
	*slash = '\0';
	fd = root_make_dir(root_fd, parent, 0755, err);
	return fd < 0 ? fd : 0;
}

static int write_at(int fd, const Hyper__FileWrite *f)
{
	size_t done = 0;

	while (done < f->data.len) {
		ssize_t n = pwrite(fd, f->data.data + done, f->data.len - done,
				   (off_t)(f->offset + done));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			done += (size_t)n;
	}
	return 0;
}

int file_write_handle(struct request *request, struct error *err)
{
	const Hyper__FileWrite *f = request->body->file_write;
	struct identity who = { 0 };
	autoclose int fd = -1;
	struct container *c;
	struct stat st;
	int r = container_get(request->agent, f->container, &c, err);

	if (r < 0)
		return r;
	if (c->root_fd < 0)
		return error_set(err, ERROR_CONFLICT, "container '%s' has no root", c->id);
	if (f->path[0] != '/')
		return error_set(err, ERROR_INVALID, "file '%s': expected an absolute path",
				 f->path);
	if (f->offset > INT64_MAX - f->data.len)
		return error_set(err, ERROR_INVALID, "file '%s': offset out of range", f->path);
	r = make_parent(c->root_fd, f->path, err);
	if (r == 0)
		r = identity_find(c->root_fd, f->user, NULL, 0, &who, err);
	if (r < 0)
		return error_prefix(err, r, "file '%s'", f->path);
	/* Not blocking: what is there may be a pipe. */
	fd = root_open(c->root_fd, f->path, O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY, 0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		r = fd < 0 ? fd : -errno;
	else if (!S_ISREG(st.st_mode))
		r = -EINVAL;
	else if (f->offset == 0 && ftruncate(fd, 0) < 0)
		r = -errno;
	if (r == 0)
		r = write_at(fd, f);
	if (r == 0 && f->offset == 0 &&
	    (fchown(fd, who.uid, who.gid) < 0 || fchmod(fd, f->mode ? f->mode & 07777 : 0644) < 0))
		r = -errno;
	identity_done(&who);
	return r < 0 ? error_errno(err, -r, "file '%s'", f->path) : 0;
}
