#pragma once
/*
 * What image_load() is given, as a set of named files: a tar (plain, gzip, zstd; seekable or not)
 * or a directory. The files of a tar are spooled under numbers into a work directory, one pass,
 * whatever their order; no name of the archive ever becomes one of ours. Layers are linked from
 * there into their final place, so nothing is copied twice.
 *
 * Input that can keep us waiting (a pipe, a socket) is first spooled as it is, by the task: a slow
 * sender holds no thread of the pool.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/job.h"
#include "hyperd/image/layer_store.h"

#define ARCHIVE_MAX_MEMBERS 65536u

struct archive;

/* Task. FD is borrowed; a regular file is read from its present position. */
int archive_open(struct layer_store *layers, struct job_pool *jobs, int fd, uint64_t max_bytes,
		 struct archive **ret, struct error *err);
/* Task. */
void archive_free(struct archive *archive);
DEFINE_CLEANUP(archive_free, struct archive *);

/* Blocking: for jobs. A small file's content; ERROR_NOT_FOUND when there is none of that name. As
 * manifest_source.read. */
int archive_read(void *archive, const char *name, size_t max, char **ret, size_t *ret_len,
		 struct error *err);
/* Blocking: for jobs. Makes sure that NAME is a file in the work directory; *ret_file is its name
 * there. */
int archive_file(struct archive *archive, const char *name, char ret_file[32], struct error *err);
const struct workdir *archive_workdir(const struct archive *archive);

/* Task. Copies what FD gives to the file NAME in WORK; a regular file is read from its present
 * position. */
int archive_spool(struct job_pool *jobs, int fd, const struct workdir *work, const char *name,
		  uint64_t max_bytes, struct error *err);
