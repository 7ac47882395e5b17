#pragma once
/* Entries of a container's files as a tar. */
#include "hyperd/image/tar.h"
#include "hyperd/pod/files.h"

struct tar_out {
	tar_sink_fn *write;
	void *arg;
	const char *top; /* begins every name; "": names are as in the tree, which has no top */
	bool layer;      /* what is gone becomes ".wh." files */
	uint64_t entries;
};

/* Everything that FILES still has, and the archive's end. */
int tar_out_all(struct tar_out *out, struct files *files, struct error *err);
