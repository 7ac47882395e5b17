#include "hyperd/hypervisor/run_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"

/* A socket's name may be 107 bytes long, a path longer: the directory is named by its descriptor.
 */
static int socket_address(const char *run_dir, const char *name, struct sockaddr_un *address,
			  int *ret_dir, struct error *err)
{
	*ret_dir = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*ret_dir < 0)
		return error_errno(err, errno, "opening '%s'", run_dir);
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/%s", *ret_dir,
		 name);
	return 0;
}

int run_socket_listen(const char *run_dir, const char *name, int *ret_fd, struct error *err)
{
	autoclose int fd = -1, dir = -1;
	struct sockaddr_un address;
	int r = socket_address(run_dir, name, &address, &dir, err);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 4) < 0)
		return error_errno(err, errno, "listening at '%s/%s'", run_dir, name);
	*ret_fd = steal_fd(&fd);
	return 0;
}

int run_socket_connect(const char *run_dir, const char *name, int *ret_fd, struct error *err)
{
	autoclose int fd = -1, dir = -1;
	struct sockaddr_un address;
	int r = socket_address(run_dir, name, &address, &dir, err);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return error_errno(err, errno, "connecting to '%s/%s'", run_dir, name);
	*ret_fd = steal_fd(&fd);
	return 0;
}
