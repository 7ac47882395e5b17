#pragma once
/*
 * One call's conversation with one registry: threads of its own, the endpoint in use, who is
 * asking, and the token that says so. For pull, push and their like alone. Tasks of one session may
 * use it side by side.
 */
#include "base/job.h"
#include "hyperd/image/digest.h"
#include "hyperd/image/registry.h"
#include "hyperd/image/registry_transfer.h"

#define SESSION_TICK_MS 100

struct registry_session;

struct session_options {
	const char *domain;
	char *const
		*scopes; /* strv: "repository:NAME:pull,push"; borrowed for the session's life */
	const struct registry_credentials *credentials;
	unsigned threads;
	bool want_refresh_token; /* logging in */
	bool skip_mirrors;
};

/* Task. Finds the endpoints; nobody has been asked anything yet. */
int registry_session_new(struct registries *registries, const struct session_options *options,
			 struct registry_session **ret, struct error *err);
/* Task: waits for transfers that still run. */
void registry_session_free(struct registry_session *session);
DEFINE_CLEANUP(registry_session_free, struct registry_session *);

/*
 * Task. Turns to the first or next endpoint that speaks the registry protocol, and proves who we
 * are where it wants to know. ERROR_NOT_FOUND when there is no more; else the last one's error.
 */
int registry_session_connect(struct registry_session *session, struct error *err);
/* Whether there is another endpoint after the present one, which was a mirror. */
bool registry_session_has_next(const struct registry_session *session);
/* "http://localhost:5000", borrowed. */
const char *registry_session_url(const struct registry_session *session);
/* The refresh token that was given on the way, or NULL; borrowed. */
const char *registry_session_refresh_token(const struct registry_session *session);

/*
 * Task. Runs FN(ARG) on one of the session's threads, calling TICK (may be NULL) on the loop's
 * about every SESSION_TICK_MS meanwhile. Cancelling the task cancels the session.
 */
int registry_session_job(struct registry_session *session, job_fn *fn, void *arg,
			 void (*tick)(void *arg), void *tick_arg);
/* Ends all of the session's transfers with ERROR_CANCELED. */
void registry_session_cancel(struct registry_session *session);
bool registry_session_canceled(const struct registry_session *session);

/* One of several tasks that work for the same call: embedded in what it works on. */
struct registry_task {
	struct task *task; /* owned */
	struct error err;
	int result;
};

/* Starts FN, which sets result and err of what ARG points to. */
int registry_task_spawn(struct registry_task *t, void (*fn)(void *arg), void *arg,
			struct error *err);
/* For FN's end: one that failed makes the session end the others' transfers. */
void registry_task_end(struct registry_session *session, struct registry_task *t, int result,
		       const char *what);
/*
 * Waits for all that were started. The first failure, and the waiting task's being cancelled,
 * cancel the others; of several errors, the one that ended the others is told.
 */
int registry_tasks_join(struct registry_session *session, struct registry_task **tasks,
			size_t count, struct error *err);

/*
 * Blocking: for a job. One exchange; REQUEST's url is a path ("/v2/…") at the endpoint or an
 * address. Its authorization is the session's business.
 */
int registry_session_run(struct registry_session *session, struct transfer_request *request,
			 struct transfer_response *ret, bool *ret_again, struct error *err);

/* Task. The same, again after failures that pass, for exchanges that fit in memory. TICK as above.
 */
int registry_session_call(struct registry_session *session, struct transfer_request *request,
			  struct transfer_response *ret, struct error *err);
/* Task. Waits before attempt ATTEMPT (1 is the second one). 0 or -ECANCELED. */
int registry_session_pause(struct registry_session *session, unsigned attempt,
			   int64_t retry_after_s, struct error *err);
/* Whether a status says that asking again may help. */
bool registry_status_passes(long status);

/* The error that an answer without success stands for; WHAT was asked for. Returns its errno. */
int registry_answer_error(const struct transfer_response *response, const char *what,
			  struct error *err);

/* A manifest as it came. */
struct registry_manifest {
	char *text; /* owned */
	size_t len;
	char *media_type; /* owned; as its header says, may be NULL */
	char digest[DIGEST_TEXT_BYTES];
};

#define automanifest_text __attribute__((cleanup(registry_manifest_done)))

void registry_manifest_done(struct registry_manifest *manifest);
/* Task. REFERENCE: a tag, or a digest that it must have. */
int registry_manifest_get(struct registry_session *session, const char *path, const char *reference,
			  struct registry_manifest *ret, struct error *err);
/* Task. A blob that is JSON, of exactly SIZE_BYTES and that digest. */
int registry_blob_get(struct registry_session *session, const char *path, const char *digest,
		      uint64_t size_bytes, size_t max_bytes, char **ret, struct error *err);
