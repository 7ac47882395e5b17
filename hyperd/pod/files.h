#pragma once
/*
 * A container's files, served by its agent (hyperstart/files.h): entries come and go over a pair of
 * streams. The host never looks at what a guest wrote by itself, so a container that does not run
 * gets a sandbox for it, in which nothing of the container runs; it is kept a moment for what
 * follows (a cp is two requests) and then ended. What the agent sends is checked here (wire/tree.h)
 * and is otherwise as trustworthy as the guest.
 *
 * Tasks, all of them. A session holds its container's sandbox: it outlives the container's end.
 */
#include "hyperd/pod/engine.h"
#include "wire/tree.h"

struct files;

/* An agent that says nothing for so long, while it is waited for, is given up. Tests are not so
 * patient. */
extern unsigned files_stall_ms;

struct files_options {
	Hyper__FilesTask task;
	const char *path; /* absolute and clean, or NULL */
	bool follow, keep_kinds, own;
	const char *user; /* with own; NULL: root */
	bool freeze;      /* the container stands still meanwhile */
};

/* Begins: ERROR_NOT_FOUND when the path does not lead anywhere. */
int files_open(struct container *container, const struct files_options *options, struct files **ret,
	       struct error *err);
/* Takes NULL. What was not read is of no interest any more. */
void files_close(struct files *files);
DEFINE_CLEANUP(files_close, struct files *);

/*
 * The next entry, for tree_entry_done(); TREE_END is the last one. What is left of the last one's
 * data is passed over. A failure that the agent tells becomes an error.
 */
int files_next(struct files *files, struct tree_entry *ret, struct error *err);
/* The next piece of the entry's data, 0 at its end. */
ssize_t files_data(struct files *files, void *buf, size_t len, struct error *err);

/* To the agent. A refusal that the agent has sent meanwhile becomes the error. */
int files_put(struct files *files, const void *data, size_t len, struct error *err);
int files_put_entry(struct files *files, const struct tree_entry *entry, struct error *err);
/* The end of what is sent; waits until it is all there. */
int files_finish(struct files *files, struct error *err);
