#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "hyperd/volume/volume.h"

/* SUBPATH below PATH, wherever links in it point. */
static int open_beneath(const char *path, const char *subpath, struct error *err)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
	autoclose int top = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd;

	if (top < 0)
		return error_errno(err, errno, "'%s'", path);
	fd = (int)syscall(SYS_openat2, top, subpath, &how, sizeof(how));
	return fd < 0 ? error_errno(err, errno, "'%s' in '%s'", subpath, path) : fd;
}

static int apply(int tree, const struct host_tree_options *o)
{
	const unsigned recursive = o->recursive ? AT_RECURSIVE : 0;
	struct mount_attr attributes = {
		.attr_set =
			(o->read_only ? MOUNT_ATTR_RDONLY : 0u) |
			(o->inert ? MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC : 0u),
		.propagation = o->slave ? MS_SLAVE : MS_PRIVATE,
	};

	return mount_setattr(tree, "", AT_EMPTY_PATH | recursive, &attributes, sizeof(attributes));
}

static int open_tree_at(const char *path, const char *subpath, const struct host_tree_options *o,
			int *ret_fd, bool *ret_is_directory, struct error *err)
{
	const unsigned flags =
		OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (o->recursive ? AT_RECURSIVE : 0u);
	autoclose int source = -1, tree = -1;
	struct stat st;

	if (subpath && *subpath) {
		source = open_beneath(path, subpath, err);
		if (source < 0)
			return source;
	} else {
		source = open(path, O_PATH | O_CLOEXEC);
		if (source < 0)
			return error_errno(err, errno, "'%s'", path);
	}
	if (fstat(source, &st) < 0)
		return error_errno(err, errno, "'%s'", path);
	if (S_ISLNK(st.st_mode))
		return error_set(err, ERROR_INVALID, "'%s': a symbolic link", path);
	tree = open_tree(source, "", AT_EMPTY_PATH | flags);
	if (tree < 0 || apply(tree, o) < 0)
		return error_errno(err, errno, "sharing '%s' (it takes Linux 5.12)", path);
	*ret_is_directory = S_ISDIR(st.st_mode);
	*ret_fd = steal_fd(&tree);
	return 0;
}

struct open_job {
	const char *path, *subpath;
	const struct host_tree_options *options;
	int fd;
	bool is_directory;
	struct error error;
};

static int open_job(void *arg)
{
	struct open_job *job = arg;

	return open_tree_at(job->path, job->subpath, job->options, &job->fd, &job->is_directory,
			    &job->error);
}

int host_tree_open(struct job_pool *jobs, const char *path, const char *subpath,
		   const struct host_tree_options *options, int *ret_fd, bool *ret_is_directory,
		   struct error *err)
{
	struct open_job job = { .path = path, .subpath = subpath, .options = options };
	int r = job_run(jobs, open_job, &job);

	if (r < 0) {
		error_copy(err, &job.error);
		return r;
	}
	*ret_fd = job.fd;
	*ret_is_directory = job.is_directory;
	return 0;
}
