#pragma once
/*
 * Registries: pulling images from them, pushing images to them, asking them. Sources: OCI
 * distribution specification 1.0, Docker Registry HTTP API V2 and its token authentication. All
 * calls are for tasks; transfers run on threads that a call has for itself, so a registry that
 * stalls keeps nobody else waiting. Cancelling the calling task ends its transfers, and leaves
 * nothing half stored.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "hyperd/image/image.h"
#include "hyperd/image/registry_auth.h"
#include "hyperd/image/registry_endpoint.h"

/* Calls that talk to registries at one time; more wait for their turn. */
#define REGISTRY_MAX_SESSIONS     16
#define REGISTRY_DOWNLOAD_THREADS 3
#define REGISTRY_UPLOAD_THREADS   5
/* Tries for one thing, the waits between them doubling. */
#define REGISTRY_MAX_ATTEMPTS   5
#define REGISTRY_RETRY_FIRST_MS 250
#define REGISTRY_RETRY_MAX_MS   5000
#define REGISTRY_MAX_TAGS       10000

struct registries;

/* What SETTINGS point to is borrowed. */
int registries_new(const struct registry_settings *settings, struct registries **ret,
		   struct error *err);
void registries_free(struct registries *registries);

/* All borrowed, for the time of the call. */
struct pull_options {
	const char *reference; /* without tag and digest: "latest", unless all_tags */
	bool all_tags;
	const char *platform; /* "linux/amd64", "linux/arm64/v8"; NULL: the machine's */
	const struct registry_credentials *credentials; /* may be NULL */
	const struct image_progress *progress;          /* may be NULL */
	/* Called for each image that is there now: its familiar reference, whether it is new. */
	void (*pulled)(void *arg, const char *reference, const struct image *image);
	void *arg;
};

int image_pull(struct image_store *images, struct registries *registries,
	       const struct pull_options *options, struct error *err);

struct push_options {
	const char *name; /* a reference; without a tag: all tags of the repository */
	const struct registry_credentials *credentials;
	const struct image_progress *progress;
	/* Called for each tag that is there now. */
	void (*pushed)(void *arg, const char *tag, const char *digest, uint64_t size_bytes);
	void *arg;
};

int image_push(struct image_store *images, struct registries *registries,
	       const struct push_options *options, struct error *err);

/*
 * Whether the registry at CREDENTIALS' server address accepts them: ERROR_UNAUTHORIZED when not.
 * *ret_identity_token (owned by the caller, may become NULL) is a token to log in with from then
 * on, when the registry gives them out.
 */
int registry_login(struct registries *registries, const struct registry_credentials *credentials,
		   char **ret_identity_token, struct error *err);

/* What `GET /distribution/NAME/json` answers: {"Descriptor": …, "Platforms": […]}. */
int registry_describe(struct registries *registries, const char *reference,
		      const struct registry_credentials *credentials, json_t **ret,
		      struct error *err);
