/* The host's end of a machine's network card: an interface that lives as long as somebody holds its
 * descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hyperd/sandbox/factory.h"

_Static_assert(TAP_NAME_BYTES == IFNAMSIZ, "names of interfaces");

#define NAME_ATTEMPTS 64

int tap_open(struct sandbox_factory *factory, char name[TAP_NAME_BYTES], int *ret_fd,
	     struct error *err)
{
	/* With the header by which packets are handed over that are larger than the wire's, and
	 * whose checksums nobody has to compute. */
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	autoclose int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return error_errno(err, errno, "opening /dev/net/tun");
	for (int attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
		snprintf(request.ifr_name, sizeof(request.ifr_name), "%s%x", factory->tap_prefix,
			 factory->tap_counter++ & 0xffffff);
		/* That of an earlier daemon's machine is busy. */
		if (ioctl(fd, TUNSETIFF, &request) == 0) {
			memcpy(name, request.ifr_name, TAP_NAME_BYTES);
			*ret_fd = steal_fd(&fd);
			return 0;
		}
		if (errno != EBUSY)
			break;
	}
	return error_errno(err, errno, "making the tap %s", request.ifr_name);
}
