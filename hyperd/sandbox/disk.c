#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/process.h"
#include "hyperd/sandbox/factory.h"

#define FORMAT_DEADLINE_MS 60000

/*
 * ext4 on a sparse file. assume_storage_prezeroed: nothing is written but what differs from zero,
 * and the guest's kernel has no tables to clear in the background. A small journal is enough for
 * one pod, and less to copy.
 */
static int format(const char *path, uint64_t bytes, struct error *err)
{
	const char *argv[] = { "mkfs.ext4",
			       "-q",
			       "-F",
			       "-m",
			       "0",
			       "-J",
			       "size=16",
			       "-L",
			       "hyper",
			       "-U",
			       "11111111-1111-4111-8111-111111111111",
			       "-E",
			       "assume_storage_prezeroed=1,lazy_itable_init=1,nodiscard",
			       "-O",
			       "^resize_inode,^metadata_csum,^orphan_file",
			       path,
			       NULL };
	const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
	autoclose int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return error_errno(err, errno, "making '%s'", path);
	return process_run(&(struct process_options){ .argv = argv, .env = env }, NULL,
			   deadline_in_ms(FORMAT_DEADLINE_MS), 65536, NULL, err);
}

int disk_blank(struct sandbox_factory *factory, char **ret_path, struct error *err)
{
	/* The number is the format's: another way of formatting makes another file. */
	autofree char *path = strf("%s/templates/blank-1-%" PRIu64 ".img", factory->data_root,
				   factory->disk_bytes);
	autofree char *temporary = path ? strf("%s.new", path) : NULL;
	int r;

	if (!temporary)
		return error_nomem(err);
	r = task_mutex_lock(&factory->blank_mutex, DEADLINE_NEVER);
	if (r < 0)
		return error_set(err, ERROR_CANCELED, "canceled while making a blank disk");
	if (access(path, R_OK) < 0) {
		r = format(temporary, factory->disk_bytes, err);
		if (r == 0 && rename(temporary, path) < 0)
			r = error_errno(err, errno, "making '%s'", path);
		if (r < 0) {
			unlink(temporary);
			error_prefix(err, r, "formatting a blank disk");
		}
	}
	task_mutex_unlock(&factory->blank_mutex);
	if (r == 0)
		*ret_path = steal(path);
	return r;
}

struct copy {
	const char *from;
	int to_fd;
	struct error error;
};

static int copy_job(void *arg)
{
	struct copy *copy = arg;
	autoclose int from = open(copy->from, O_RDONLY | O_CLOEXEC);

	if (from < 0)
		return error_errno(&copy->error, errno, "opening '%s'", copy->from);
	return file_copy_sparse(from, copy->to_fd, &copy->error);
}

int disk_copy(struct sandbox_factory *factory, const char *from, const char *to, int *ret_fd,
	      struct error *err)
{
	autoclose int fd = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct copy copy = { .from = from, .to_fd = fd };
	int r;

	if (fd < 0)
		return error_errno(err, errno, "making the pod's disk '%s'", to);
	r = job_run(factory->jobs, copy_job, &copy);
	if (r < 0) {
		error_copy(err, &copy.error);
		unlink(to);
		return error_prefix(err, r, "making the pod's disk '%s'", to);
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}
