#include "hyperctl/context.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/ignore.h"
#include "base/str.h"

#define IGNORE_NAME ".dockerignore"

struct listing {
	struct ignore *ignore; /* owned; NULL: nothing is left out */
	const char *dockerfile;
	struct str names; /* each with "./" before and a NUL behind it */
};

/* The daemon needs these two, and leaves them out itself where that was meant. */
static bool is_needed(const struct listing *listing, const char *path)
{
	return strcmp(path, IGNORE_NAME) == 0 || strcmp(path, listing->dockerfile) == 0;
}

static bool leads_to_dockerfile(const struct listing *listing, const char *path)
{
	return str_starts(listing->dockerfile, path) && listing->dockerfile[strlen(path)] == '/';
}

static int list_directory(struct listing *listing, int dir_fd, const char *path, struct error *err);

static int list_entry(struct listing *listing, int dir_fd, const char *path, const char *name,
		      struct error *err)
{
	bool out = ignore_match(listing->ignore, path) && !is_needed(listing, path);
	autoclose int fd = -1;
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, errno, "'%s'", path);
	if (!out && !S_ISSOCK(st.st_mode)) {
		str_add(&listing->names, "./");
		str_append(&listing->names, path, strlen(path) + 1);
	}
	if (!S_ISDIR(st.st_mode) ||
	    (out && !ignore_may_hold(listing->ignore, path) && !leads_to_dockerfile(listing, path)))
		return 0;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "'%s'", path);
	return list_directory(listing, fd, path, err);
}

static int list_directory(struct listing *listing, int dir_fd, const char *path, struct error *err)
{
	autoclosedir DIR *dir = NULL;
	struct dirent *e;
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return error_errno(err, errno, "'%s'", path);
	while (r == 0 && (e = readdir(dir))) {
		autofree char *child = NULL;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		child = strf("%s%s%s", path, *path ? "/" : "", e->d_name);
		r = child ? list_entry(listing, dir_fd, child, e->d_name, err) : error_nomem(err);
	}
	return r;
}

static int read_ignore(int dir_fd, struct ignore **ret, struct error *err)
{
	autofree char *text = NULL;
	struct error why = { 0 };
	size_t len;
	int r = file_read(dir_fd, IGNORE_NAME, IGNORE_MAX_BYTES, &text, &len, &why);

	if (why.kind == ERROR_NOT_FOUND)
		return 0;
	if (r < 0) {
		error_copy(err, &why);
		return r;
	}
	return ignore_parse(text, len, ret, err);
}

/* The names in a file for tar's standard input. */
static int list_names(const char *directory, const char *dockerfile, int *ret_fd, struct error *err)
{
	struct listing listing = { .dockerfile = dockerfile };
	autoclose int fd = memfd_create("names", MFD_CLOEXEC);
	autoclose int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (dir_fd < 0 || fd < 0)
		return error_errno(err, errno, "'%s'", directory);
	r = read_ignore(dir_fd, &listing.ignore, err);
	if (r == 0)
		r = list_directory(&listing, dir_fd, "", err);
	if (r == 0 && listing.names.failed)
		r = error_nomem(err);
	if (r == 0) {
		r = fd_write_all(fd, str_text(&listing.names), listing.names.len);
		if (r < 0 || lseek(fd, 0, SEEK_SET) < 0)
			r = error_errno(err, r < 0 ? -r : errno, "listing '%s'", directory);
	}
	ignore_free(listing.ignore);
	str_done(&listing.names);
	*ret_fd = r == 0 ? steal_fd(&fd) : -1;
	return r;
}

/* Whoever ends early makes the other one see it: SIGPIPE is tar's own again. */
static void become_tar(const char *directory, int names, int archive)
{
	/* Owners of this machine mean nothing where the image runs. */
	const char *argv[] = { "tar",
			       "--null",
			       "--no-recursion",
			       "--numeric-owner",
			       "--owner=0",
			       "--group=0",
			       "-C",
			       directory,
			       "-T",
			       "-",
			       "-c",
			       NULL };

	signal(SIGPIPE, SIG_DFL);
	if (dup2(names, STDIN_FILENO) < 0 || dup2(archive, STDOUT_FILENO) < 0)
		_exit(127);
	execvp("tar", (char *const *)argv);
	fprintf(stderr, "hyperctl: starting tar: %s\n", strerror(errno));
	_exit(127);
}

int context_begin(const char *directory, const char *dockerfile, struct context *ret,
		  struct error *err)
{
	autoclose int names = -1, reader = -1, writer = -1;
	int ends[2], r = list_names(directory, dockerfile, &names, err);

	if (r < 0)
		return r;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, errno, "packing '%s'", directory);
	reader = ends[0];
	writer = ends[1];
	ret->pid = fork();
	if (ret->pid < 0)
		return error_errno(err, errno, "starting tar");
	if (ret->pid == 0)
		become_tar(directory, names, writer);
	ret->fd = steal_fd(&reader);
	return 0;
}

int context_end(struct context *context, struct error *err)
{
	int status;

	close(context->fd);
	while (waitpid(context->pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_errno(err, errno, "waiting for tar");
	/* It is ended by us when the daemon wants no more. */
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE)
		return 0;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0
		       ? 0
		       : error_set(err, ERROR_FAILED, "the context could not be packed");
}
