#pragma once
/*
 * Who a process runs as, looked up in the container's own /etc/passwd and /etc/group by a parser
 * of ours: both files are the image's or the container's and may hold anything.
 */
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

struct identity {
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* owned: the supplementary ones */
	size_t group_count;
	char *home; /* owned; NULL: none known */
};

/* USER: "", "name", "uid", "user:group", "uid:gid". */
int identity_find(int root_fd, const char *user, char *const *additional_groups, size_t count,
		  struct identity *ret, struct error *err);
void identity_done(struct identity *identity);

/* The name of a uid in PASSWD's text; NAME's size bytes, false when it has none. */
bool identity_name(const char *passwd, uid_t uid, char *name, size_t size);
/* The text of the container's passwd file, owned; NULL when it has none. */
char *identity_passwd(int root_fd);
