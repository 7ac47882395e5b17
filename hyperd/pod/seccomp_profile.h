#pragma once
/*
 * Seccomp profiles: Docker's JSON (moby profiles/seccomp; containers-common's seccomp.json is the
 * default) made into the BPF program that the agent installs. What a profile allows depends on the
 * capabilities and the architecture (its "includes" and "excludes"), so programs are kept for each
 * pair of profile and capabilities.
 *
 * Loop thread, except seccomp_compile(), which any thread may run.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/job.h"

struct seccomp_cache;

/* A struct sock_filter[], shared by reference count. */
struct seccomp_filter {
	unsigned refs;
	size_t len; /* bytes */
	uint8_t data[];
};

int seccomp_cache_new(struct job_pool *jobs, const char *default_path, struct seccomp_cache **ret,
		      struct error *err);
void seccomp_cache_free(struct seccomp_cache *cache);

/*
 * Task. PROFILE: NULL for the default one, or JSON text. *ret is a reference for
 * seccomp_filter_unref().
 */
int seccomp_get(struct seccomp_cache *cache, const char *profile, uint64_t capabilities,
		struct seccomp_filter **ret, struct error *err);
void seccomp_filter_unref(struct seccomp_filter *filter);

/* Compiles TEXT; owned by the caller. ERROR_INVALID names the wrong member. */
int seccomp_compile(const char *text, size_t len, uint64_t capabilities,
		    struct seccomp_filter **ret, struct error *err);
