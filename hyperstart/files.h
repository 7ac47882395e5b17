#pragma once
/*
 * A container's files, read and written for the host: what diff, commit, export and cp are made of.
 * A child of the agent does the work: it enters a private copy of the container's mounts (or looks
 * at its upper directory), so that nothing the container does meanwhile leads it elsewhere, and
 * the host, which must not look at what a guest wrote, gets entries (wire/tree.h) over a stream.
 * Nothing is executed in there, and every look-up stays in the root (root.h).
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/str.h"
#include "hyperstart/proto.h"
#include "wire/tree.h"

struct agent;
struct container;
struct process;
struct request;

int files_serve_arrive(struct request *request, struct error *err);
int files_serve_handle(struct request *request, struct error *err);
/* Whether it is one of these processes, by its name. */
bool files_is_child(const struct process *process);
/* Ends it and forgets it when it has been reaped. */
void files_child_end(struct process *process);
/* The same for all: the host that asked has gone. */
void files_abandon(struct agent *agent);

/* ------------------------------------------------------------------ in the child */

struct files_child {
	struct agent *agent;        /* borrowed */
	struct container *standing; /* borrowed; NULL when it need not stand */
	const Hyper__FilesServe *ask;
	char *dir;        /* owned: of the container's upper directory on the pod's disk */
	unsigned *layers; /* owned: numbers below LAYERS_DIR, lowest first */
	size_t layer_count;
	int sync_fd;
	int fds_dir;     /* /proc/self/fd, opened before any other namespace was entered */
	bool begun;      /* the request has been answered: failures go into the stream */
	struct str sent; /* waits to be written */
};

/* Everything named was found: answers the request. */
void files_begin(struct files_child *child);
int files_send(struct files_child *child, const struct tree_entry *entry, struct error *err);
/* The data of NAME in DIR_FD, exactly as many bytes as ENTRY, which goes first, says. */
int files_send_file(struct files_child *child, int dir_fd, const char *name,
		    struct tree_entry *entry, struct error *err);
/* Fills an entry: type by ST, numbers, no names. TREE_SOCKET for what is not sent. */
void files_entry(const struct stat *st, struct tree_entry *ret);
/* The entry of NAME in DIR_FD, with link and xattrs, then its data when it is a file. */
int files_send_named(struct files_child *child, int dir_fd, const char *name, const struct stat *st,
		     const char *path, struct error *err);

/* The path that is asked for; new string. */
char *files_path(const struct files_child *child);

/* The names in a directory, sorted: the same tree always makes the same stream. strv. */
int files_names(int dir_fd, char ***ret, struct error *err);

/* Hard links among what is sent. Returns the path that ST's file had before, else NULL, and then
 * remembers PATH. */
struct files_links;
struct files_links *files_links_new(void);
const char *files_links_seen(struct files_links *links, const struct stat *st, const char *path);

/* The tasks. Each returns when its last entry was sent. */
int files_diff(struct files_child *child, struct error *err);
int files_read(struct files_child *child, int root_fd, struct error *err);
int files_write(struct files_child *child, int root_fd, struct error *err);
