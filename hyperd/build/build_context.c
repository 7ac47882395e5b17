/* The context: received, unpacked by a confined child, and the Dockerfile found in it. */
#include "hyperd/build/build_private.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/ignore.h"
#include "hyperd/image/archive.h"
#include "hyperd/image/unpack.h"

#define CONTEXT_ARCHIVE "context.tar"
#define CONTEXT_DIR     "context"
#define DOCKERFILE_NAME "Dockerfile"
#define IGNORE_NAME     ".dockerignore"

struct reading {
	struct tree *tree;
	const char *asked;
	char *name;   /* owned: where it was found */
	char *text;   /* owned */
	char *ignore; /* owned, or NULL */
	struct error *err;
};

/* Only the name that everybody uses may also be written in small letters. */
static int read_job(void *arg)
{
	struct reading *reading = arg;
	const char *name = reading->asked;
	int r = tree_read_file(reading->tree, name, DOCKERFILE_MAX_BYTES, &reading->text);

	if (r == -ENOENT && strcmp(name, DOCKERFILE_NAME) == 0) {
		name = "dockerfile";
		r = tree_read_file(reading->tree, name, DOCKERFILE_MAX_BYTES, &reading->text);
	}
	if (r == -EFBIG)
		return error_set(reading->err, ERROR_LIMIT,
				 "the Dockerfile is larger than %u bytes", DOCKERFILE_MAX_BYTES);
	if (r < 0)
		return error_set(reading->err, ERROR_FAILED,
				 "Cannot locate specified Dockerfile: %.200s", reading->asked);
	reading->name = strdup(name);
	if (!reading->name)
		return error_nomem(reading->err);
	r = tree_read_file(reading->tree, IGNORE_NAME, IGNORE_MAX_BYTES, &reading->ignore);
	return r < 0 && r != -ENOENT ? error_errno(reading->err, -r, IGNORE_NAME) : 0;
}

struct removing {
	int dir_fd;
	const char *const *names;
	const struct ignore *ignore;
};

/* What the client had to send although it is left out. */
static int remove_job(void *arg)
{
	struct removing *removing = arg;

	for (const char *const *name = removing->names; *name; name++) {
		struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
					.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
		autofree char *parent = strdup(*name);
		char *slash = parent ? strrchr(parent, '/') : NULL;
		const char *base = slash ? *name + (slash - parent) + 1 : *name;
		autoclose int fd = -1;

		if (!parent || !ignore_match(removing->ignore, *name))
			continue;
		*(slash ? slash : parent) = '\0';
		fd = (int)syscall(SYS_openat2, removing->dir_fd, *parent ? parent : ".", &how,
				  sizeof(how));
		if (fd >= 0)
			unlinkat(fd, base, 0);
	}
	return 0;
}

static int apply_ignore(struct build *b, int dir_fd, const char *text, struct error *err)
{
	autoptr(ignore_free) struct ignore *ignore = NULL;
	const char *names[] = { IGNORE_NAME, b->dockerfile_name, NULL };
	struct removing removing = { .dir_fd = dir_fd, .names = names };
	int r;

	if (!text)
		return 0;
	r = ignore_parse(text, strlen(text), &ignore, err);
	if (r < 0)
		return r;
	removing.ignore = ignore;
	return job_run(b->jobs, remove_job, &removing);
}

static int receive(struct build *b, int fd, int *ret_dir, struct error *err)
{
	struct layer_limits limits = { BUILD_MAX_CONTEXT_BYTES, LAYER_MAX_ENTRIES };
	struct unpack_result result;
	autoclose int archive = -1;
	int r;

	r = archive_spool(b->jobs, fd, b->work, CONTEXT_ARCHIVE, limits.max_bytes, err);
	if (r < 0)
		return r;
	archive = openat(b->work->fd, CONTEXT_ARCHIVE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (archive < 0)
		return error_errno(err, errno, "the build context");
	unlinkat(b->work->fd, CONTEXT_ARCHIVE, 0);
	*ret_dir = file_open_dir(b->work->fd, CONTEXT_DIR, 0755, err);
	if (*ret_dir < 0)
		return *ret_dir;
	r = layer_unpack(b->jobs, archive, *ret_dir, &limits, &result, err);
	return r < 0 ? error_prefix(err, r, "the build context") : 0;
}

static int read_dockerfile(struct build *b, struct reading *reading, struct error *err)
{
	int r = job_run(b->jobs, read_job, reading);

	if (r < 0)
		return r;
	b->dockerfile_name = steal(reading->name);
	if (!*reading->text)
		return error_set(err, ERROR_INVALID, "the Dockerfile (%.200s) cannot be empty",
				 b->dockerfile_name);
	return dockerfile_parse(reading->text, strlen(reading->text), b->dockerfile_name, &b->file,
				err);
}

int build_read_context(struct build *b, int fd, struct error *err)
{
	const char *asked = b->options->dockerfile;
	struct reading reading = { .err = err };
	autoclose int dir = -1;
	int r = receive(b, fd, &dir, err);

	if (r == 0)
		r = tree_of_directory(dir, &b->context, err);
	if (r < 0)
		return r;
	reading.tree = b->context;
	reading.asked = asked && *asked ? asked : DOCKERFILE_NAME;
	r = read_dockerfile(b, &reading, err);
	if (r == 0)
		r = apply_ignore(b, dir, reading.ignore, err);
	free(reading.name);
	free(reading.text);
	free(reading.ignore);
	return r;
}
