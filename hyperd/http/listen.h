#pragma once
/*
 * Where the API listens, as dockerd's -H says it: unix:///path, tcp://host:port (also [::1]:port),
 * fd:// (sockets handed over by systemd, sd_listen_fds(3)).
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

enum http_address_kind { HTTP_ADDRESS_UNIX, HTTP_ADDRESS_TCP, HTTP_ADDRESS_FD };

struct http_address {
	enum http_address_kind kind;
	char *path, *host, *port; /* owned; host "" is every address */
};

int http_address_parse(const char *text, struct http_address *ret, struct error *err);
void http_address_done(struct http_address *address);

/*
 * A listening socket at a path: the directory is made, a socket that nobody serves is replaced, one
 * that somebody serves is refused. Mode 0660, group GID.
 */
int http_listen_unix(const char *path, gid_t gid, int *ret_fd, struct error *err);
/* Blocks while names are looked up: for the start. The first address that works. */
int http_listen_tcp(const char *host, const char *port, int *ret_fd, struct error *err);
/* The descriptors that systemd passed, from 3 on; 0 when there are none. Clears the environment. */
int http_listen_activated(int *ret_first);
