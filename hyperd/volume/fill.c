#include "hyperd/volume/fill.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>

#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"
#include "hyperd/volume/driver.h"

#define FILL_DEADLINE_MS (15 * 60 * 1000)
#define LAYERS_MAX       127

/* A job: the file system may be another machine's. 0: empty. */
static int look_empty(void *arg)
{
	autoclosedir DIR *dir = opendir(arg);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			return -ENOTEMPTY;
	return dir ? 0 : -errno;
}

struct fill_fds {
	struct process_fd fds[1 + LAYERS_MAX];
	size_t count;
};

static void fill_fds_done(struct fill_fds *f)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->fds[i].source >= 0)
			close(f->fds[i].source);
}

static int add_fd(struct fill_fds *f, const char *path, int flags, struct error *err)
{
	int fd = open(path, flags | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, errno, "opening '%s'", path);
	f->fds[f->count] = (struct process_fd){ fd, FILL_TARGET_FD + (int)f->count };
	f->count++;
	return 0;
}

int volume_fill(struct volume *v, char *const *layers, const char *path, struct error *err)
{
	const char *argv[] = { "/proc/self/exe", fill_child_name, path, NULL, NULL };
	static const char *const env[] = { "PATH=/", "LC_ALL=C", NULL };
	struct fill_fds fds = { .count = 0 };
	struct process_options options = { .argv = argv, .env = env, .fds = fds.fds };
	char count[16];
	int r;

	if (strv_len(layers) > LAYERS_MAX)
		return error_set(err, ERROR_LIMIT, "%zu layers are too many", strv_len(layers));
	if (!strv_len(layers) || !*v->mountpoint || volume_is_disk(v, NULL) ||
	    job_run(v->store->jobs, look_empty, v->mountpoint) < 0)
		return 0;
	r = add_fd(&fds, v->mountpoint, O_RDONLY, err);
	strv_for_each(layer, layers)
		if (r == 0)
			r = add_fd(&fds, *layer, O_RDONLY, err);
	snprintf(count, sizeof(count), "%zu", strv_len(layers));
	argv[3] = count;
	options.fd_count = fds.count;
	options.clone_flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC;
	if (r == 0)
		r = process_run(&options, NULL, deadline_in_ms(FILL_DEADLINE_MS), 4096, NULL, err);
	fill_fds_done(&fds);
	return r < 0 ? error_prefix(err, r, "volume %s", v->name) : 0;
}
