#pragma once
/*
 * Builds: a Dockerfile and its context become an image, step by step, as Docker's classic builder
 * does it and with its words. Why an interpreter of our own and not buildah in a VM:
 * docs/build.md. Nothing of the build runs on the host: RUN is a container in a pod of its own, by
 * the daemon's default in a microVM. COPY and ADD write a layer's archive from what confined
 * children have unpacked; links are resolved in the image, never on the host.
 *
 * Each step gives an image that remembers its parent: that is the cache. A build is one task, the
 * caller's; cancelling it ends the container that runs, and leaves nothing behind but finished
 * steps' images.
 */
#include <jansson.h>
#include <stdbool.h>

#include "base/job.h"
#include "hyperd/pod/engine.h"

/* How much a context may hold, unpacked; and how long the wait for a container's end after a kill.
 */
#define BUILD_MAX_CONTEXT_BYTES (16ull << 30)

/* All borrowed for the time of the build. */
struct build_options {
	const char *dockerfile;  /* its name in the context; NULL: "Dockerfile" */
	const char *target;      /* a stage's name; NULL or "": the last one */
	const char *platform;    /* "linux/amd64"; NULL: the machine's */
	char *const *cache_from; /* strv of images */
	json_t *args;            /* {"name": "value" or null}; may be NULL */
	json_t *labels;          /* {"name": "value"}; may be NULL */
	json_t *host_config;     /* Docker's HostConfig of the containers of RUN; may be NULL */
	bool no_cache, pull;
	bool remove;       /* the containers of steps that went well */
	bool force_remove; /* the others too */
};

/* All but `text` and `image` are called in the build's task and may wait. */
struct build_events {
	/* What people read; ends with a newline where a line ends. ERROR: it came from stderr. */
	int (*text)(void *arg, const char *text, size_t len, bool error);
	/* A stage has given this image. */
	void (*image)(void *arg, const char *id);
	/* Makes a container of Docker's create body. */
	int (*create)(void *arg, json_t *body, struct container **ret, struct error *err);
	/* Gets an image from its registry. */
	int (*pull)(void *arg, const char *reference, const char *platform, struct error *err);
};

/*
 * Task. CONTEXT_FD: a tar, packed or not; a pipe or a file. *ret is a reference. err->exit_code is
 * that of a RUN which failed.
 */
int build_run(struct engine *engine, struct job_pool *jobs, int context_fd,
	      const struct build_options *options, const struct build_events *events, void *arg,
	      struct image **ret, struct error *err);
