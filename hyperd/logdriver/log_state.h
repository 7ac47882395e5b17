#pragma once
/*
 * What a log must know after a crash of the daemon: how much of each stream is in the log, together
 * with the log file's length. A small mapped file: what is stored here survives the death of this
 * process at once. Private to hyperd/logdriver.
 */
#include "hyperd/logdriver/logdriver.h"

struct log_state;

struct log_progress {
	uint64_t inode; /* of the file that `size` is about */
	uint64_t size;
	uint64_t stored[LOG_STREAM_COUNT];
};

/* Maps the file NAME, making it; *ret_known is false when it is new. */
int log_state_open(int dir_fd, const char *name, struct log_state **ret, bool *ret_known,
		   struct error *err);
/* Takes NULL. */
void log_state_close(struct log_state *state);
const struct log_progress *log_state_get(const struct log_state *state);
/* A crash at any instruction leaves the old or the new. */
void log_state_save(struct log_state *state, const struct log_progress *progress);
