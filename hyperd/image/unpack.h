#pragma once
/*
 * Unpacking a layer: a job decompresses and hashes, a confined child makes the tree. The digests
 * are computed on this side, so that not even a child that an archive has taken over could pass a
 * tree off as another layer's.
 */
#include <stdint.h>

#include "base/error.h"
#include "base/job.h"
#include "hyperd/image/digest.h"
#include "hyperd/image/layer_writer.h"

struct unpack_result {
	char blob_digest[DIGEST_TEXT_BYTES]; /* of the bytes as stored */
	char diff_id[DIGEST_TEXT_BYTES];     /* of the uncompressed tar */
	uint64_t blob_bytes;
	uint64_t content_bytes; /* of the files in it */
};

/*
 * Task. Unpacks the archive in BLOB_FD (a regular file, from its beginning) into the empty
 * directory DIR_FD; both are borrowed. On failure the directory holds rubbish: the caller removes
 * it.
 */
int layer_unpack(struct job_pool *jobs, int blob_fd, int dir_fd, const struct layer_limits *limits,
		 struct unpack_result *ret, struct error *err);

/* What the child is started as: our own program, with this as its first argument. */
extern const char unpack_child_name[];

/* The descriptors that the child is given, beside /dev/null as 1 and 2. */
enum { UNPACK_DATA_FD = 0, UNPACK_DIR_FD = 3, UNPACK_REPORT_FD = 4 };

/* What the child writes at its end; the paths of opaque directories follow, each with a NUL. */
struct unpack_report {
	int32_t result; /* 0 or -errno */
	int32_t kind;   /* enum error_kind */
	uint64_t content_bytes;
	char message[1024];
};
