#include "hyperctl/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

int upload_open(const char *path, int *ret_fd, struct error *err)
{
	struct stat st;
	int fd;

	if (strcmp(path, "-") == 0) {
		if (isatty(STDIN_FILENO))
			return error_set(err, ERROR_INVALID,
					 "expected an archive: name a file, or pipe one in");
		fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	} else {
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0)
		return error_errno(err, errno, "opening '%s'", path);
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		close(fd);
		return error_set(err, ERROR_INVALID,
				 "'%s' is a directory; pipe it in: tar -C %s -c . | hyperctl …",
				 path, path);
	}
	*ret_fd = fd;
	return 0;
}

ssize_t upload_read(void *arg, void *data, size_t len, struct error *err)
{
	ssize_t n = fd_read(*(int *)arg, data, len);

	return n < 0 ? error_errno(err, (int)-n, "reading the archive") : n;
}
