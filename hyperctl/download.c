#include "hyperctl/download.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

int download_check(const char *path, struct error *err)
{
	if (path || !isatty(STDOUT_FILENO))
		return 0;
	return error_set(err, ERROR_INVALID,
			 "an archive is nothing for a terminal: give -o FILE, or redirect it");
}

int download_to(struct response *response, int fd, struct error *err)
{
	struct str *body = &response->reader.body;
	int r;

	do {
		r = fd_write_all(fd, str_text(body), body->len);
		if (r < 0)
			return error_errno(err, -r, "writing the archive");
		str_clear(body);
		r = response_fill(response, err);
	} while (r > 0);
	return r;
}

/* The file appears when it is whole: a broken save leaves what was there before. */
static int copy_to_file(struct response *response, const char *path, struct error *err)
{
	autofree char *temporary = strf("%s.XXXXXX", path);
	autoclose int fd = -1;
	mode_t mask;
	int r;

	if (!temporary)
		return error_nomem(err);
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "creating a file beside '%s'", path);
	mask = umask(0);
	umask(mask);
	fchmod(fd, 0666 & ~mask);
	r = download_to(response, fd, err);
	if (r == 0 && rename(temporary, path) < 0)
		r = error_errno(err, errno, "renaming to '%s'", path);
	if (r < 0)
		unlink(temporary);
	return r;
}

int download(struct response *response, const char *path, struct error *err)
{
	struct stat st;

	if (!path)
		return download_to(response, STDOUT_FILENO, err);
	/* Pipes and devices are written to, not replaced. */
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);

		return fd < 0 ? error_errno(err, errno, "opening '%s'", path)
			      : download_to(response, fd, err);
	}
	return copy_to_file(response, path, err);
}
