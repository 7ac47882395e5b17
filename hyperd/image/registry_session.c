#include "hyperd/image/registry_session.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/log.h"
#include "base/task.h"

/* How often one exchange may be sent off to prove who we are. */
#define MAX_PROOFS      2
#define TOKEN_MAX_BYTES (1u << 20)
#define CLIENT_ID       "hyper"

struct registries {
	struct registry_settings settings;
	unsigned open;
	struct cond closed; /* a session has ended */
};

struct registry_session {
	struct registries *registries; /* borrowed */
	struct job_pool *jobs;         /* owned */
	atomic_bool canceled;
	struct registry_credentials credentials; /* owned */
	char *const *scopes;                     /* borrowed */
	char *domain;                            /* owned */
	bool want_refresh_token, skip_mirrors;
	struct registry_endpoints endpoints;      /* owned */
	size_t next;                              /* endpoint to turn to */
	const struct registry_endpoint *endpoint; /* in use; borrowed from endpoints */
	struct transfer_client *client;           /* owned */
	char *url;                                /* owned: with the scheme that was found */

	/* Of the threads. */
	pthread_mutex_t lock;
	char *authorization; /* owned */
	unsigned generation; /* of it */
	char *refresh_token; /* owned */
};

int registries_new(const struct registry_settings *settings, struct registries **ret,
		   struct error *err)
{
	struct registries *registries = calloc(1, sizeof(*registries));

	if (!registries)
		return error_nomem(err);
	registries->settings = *settings;
	cond_init(&registries->closed);
	*ret = registries;
	return 0;
}

void registries_free(struct registries *registries)
{
	free(registries);
}

/* ------------------------------------------------------------------ jobs */

struct session_job {
	struct registry_session *session;
	job_fn *fn;
	void *arg;
	int result;
};

static void job_task(void *arg)
{
	struct session_job *job = arg;

	job->result = job_run(job->session->jobs, job->fn, job->arg);
}

int registry_session_job(struct registry_session *session, job_fn *fn, void *arg,
			 void (*tick)(void *arg), void *tick_arg)
{
	struct session_job job = { session, fn, arg, -ECANCELED };
	struct task *task;
	int r = task_spawn(task_loop(), "registry", job_task, &job, &task, NULL);

	if (r < 0)
		return r;
	for (;;) {
		bool old;

		r = task_join(task, tick ? deadline_in_ms(SESSION_TICK_MS) : DEADLINE_NEVER);
		if (r == 0)
			break;
		if (r == -ETIMEDOUT) {
			tick(tick_arg);
			continue;
		}
		/* The thread uses what is on our stack: it is told to end, and waited for. */
		registry_session_cancel(session);
		old = task_shield(true);
		task_join(task, DEADLINE_NEVER);
		task_shield(old);
		break;
	}
	task_unref(task);
	return job.result;
}

int registry_task_spawn(struct registry_task *t, void (*fn)(void *arg), void *arg,
			struct error *err)
{
	t->result = -ECANCELED;
	return task_spawn(task_loop(), "registry", fn, arg, &t->task, err);
}

void registry_task_end(struct registry_session *session, struct registry_task *t, int result,
		       const char *what)
{
	t->result = result;
	if (result == 0)
		return;
	if (t->err.kind == ERROR_NONE)
		error_errno(&t->err, -result, "the transfer");
	if (t->err.kind != ERROR_CANCELED)
		error_prefix(&t->err, result, "%s", what);
	registry_session_cancel(session);
}

static void cancel_tasks(struct registry_task **tasks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (tasks[i]->task)
			task_cancel(tasks[i]->task);
}

int registry_tasks_join(struct registry_session *session, struct registry_task **tasks,
			size_t count, struct error *err)
{
	const struct registry_task *failed = NULL;

	for (size_t i = 0; i < count; i++) {
		struct registry_task *t = tasks[i];

		if (!t->task)
			continue;
		if (task_join(t->task, DEADLINE_NEVER) < 0) {
			bool old = task_shield(true);

			registry_session_cancel(session);
			cancel_tasks(tasks, count);
			task_join(t->task, DEADLINE_NEVER);
			task_shield(old);
		}
		task_unref(steal(t->task));
		if (t->result == 0)
			continue;
		if (!failed)
			cancel_tasks(tasks, count);
		if (!failed || failed->err.kind == ERROR_CANCELED)
			failed = t;
	}
	if (!failed)
		return 0;
	error_copy(err, &failed->err);
	return failed->result;
}

void registry_session_cancel(struct registry_session *session)
{
	atomic_store(&session->canceled, true);
}

bool registry_session_canceled(const struct registry_session *session)
{
	return atomic_load(&session->canceled);
}

/* ------------------------------------------------------------------ who is asking */

static void query_add(struct str *url, const char *key, const char *value)
{
	char *escaped = value ? curl_easy_escape(NULL, value, 0) : NULL;

	if (escaped)
		str_addf(url, "%c%s=%s", strchr(str_text(url), '?') ? '&' : '?', key, escaped);
	curl_free(escaped);
}

static void form_add(struct str *form, const char *key, const char *value)
{
	char *escaped = value ? curl_easy_escape(NULL, value, 0) : NULL;

	if (escaped)
		str_addf(form, "%s%s=%s", form->len ? "&" : "", key, escaped);
	curl_free(escaped);
}

/* A mirror is not who the credentials are meant for. */
static const struct registry_credentials *credentials_of(const struct registry_session *session)
{
	static const struct registry_credentials none;

	return session->endpoint->mirror ? &none : &session->credentials;
}

/* What the challenge asks for, unless it is among what we want anyway. */
static const char *other_scope(const struct registry_session *session,
			       const struct registry_challenge *challenge)
{
	strv_for_each(scope, session->scopes)
		if (str_equal(*scope, challenge->scope))
			return NULL;
	return challenge->scope;
}

/* The token server's GET: user and password, or nobody. */
static void token_url(const struct registry_session *session,
		      const struct registry_challenge *challenge, struct str *url)
{
	const struct registry_credentials *c = credentials_of(session);

	query_add(url, "service", challenge->service);
	strv_for_each(scope, session->scopes)
		query_add(url, "scope", *scope);
	query_add(url, "scope", other_scope(session, challenge));
	query_add(url, "account", c->username);
	if (session->want_refresh_token) {
		query_add(url, "offline_token", "true");
		query_add(url, "client_id", CLIENT_ID);
	}
}

/* OAuth2: a refresh token for an access token. */
static void token_form(const struct registry_session *session,
		       const struct registry_challenge *challenge, struct str *form)
{
	autostr struct str scopes = STR_INIT;
	const char *other = other_scope(session, challenge);

	strv_for_each(scope, session->scopes)
		str_addf(&scopes, "%s%s", scopes.len ? " " : "", *scope);
	if (other)
		str_addf(&scopes, "%s%s", scopes.len ? " " : "", other);
	form_add(form, "grant_type", "refresh_token");
	form_add(form, "refresh_token", credentials_of(session)->identity_token);
	form_add(form, "service", challenge->service);
	form_add(form, "client_id", CLIENT_ID);
	if (scopes.len)
		form_add(form, "scope", str_text(&scopes));
}

static int token_request(struct registry_session *session,
			 const struct registry_challenge *challenge, struct transfer_response *ret,
			 struct error *err)
{
	static const char *const form_headers[] = {
		"Content-Type: application/x-www-form-urlencoded", NULL
	};
	const struct registry_credentials *c = credentials_of(session);
	struct transfer_request request = { .method = "GET", .max_bytes = TOKEN_MAX_BYTES };
	autofree char *realm = NULL, *basic = registry_credentials_basic(c);
	autostr struct str url = STR_INIT, form = STR_INIT;
	int r = transfer_resolve(session->url, challenge->realm, &realm, err);

	if (r < 0)
		return error_prefix(err, r, "the realm of its challenge");
	str_add(&url, realm);
	if (c->identity_token) {
		token_form(session, challenge, &form);
		request.method = "POST";
		request.headers = form_headers;
		request.body = str_text(&form);
		request.body_bytes = form.len;
	} else {
		token_url(session, challenge, &url);
		request.authorization = basic;
	}
	request.url = str_text(&url);
	if (url.failed || form.failed)
		return error_nomem(err);
	return transfer_run(session->client, &request, ret, NULL, err);
}

static int bearer(struct registry_session *session, const struct registry_challenge *challenge,
		  char **ret, struct error *err)
{
	const struct registry_credentials *c = credentials_of(session);
	autoresponse struct transfer_response response = { 0 };
	autofree char *token = NULL, *refresh = NULL;
	int r = 0;

	if (c->registry_token && !(token = strdup(c->registry_token)))
		return error_nomem(err);
	if (!token) {
		if (!challenge->realm)
			return error_set(err, ERROR_INVALID, "its challenge names no realm");
		r = token_request(session, challenge, &response, err);
		if (r == 0 && (response.status < 200 || response.status > 299))
			r = registry_answer_error(&response, "token server", err);
		if (r == 0)
			r = registry_token_parse(str_text(&response.body), response.body.len,
						 &token, &refresh, err);
	}
	if (r < 0)
		return r;
	if (refresh) {
		free(session->refresh_token);
		session->refresh_token = steal(refresh);
	}
	*ret = strf("Bearer %s", token);
	return *ret ? 0 : error_nomem(err);
}

/* With the lock held. */
static int prove(struct registry_session *session, char *const *challenges, struct error *err)
{
	autochallenge struct registry_challenge challenge = { 0 };
	autofree char *value = NULL;
	int r = registry_challenge_parse(challenges, &challenge, err);

	if (r < 0)
		return r;
	switch (challenge.scheme) {
	case REGISTRY_SCHEME_BEARER:
		r = bearer(session, &challenge, &value, err);
		break;
	case REGISTRY_SCHEME_BASIC:
		value = registry_credentials_basic(credentials_of(session));
		if (!value)
			r = error_set(err, ERROR_UNAUTHORIZED, "no basic auth credentials");
		break;
	case REGISTRY_SCHEME_NONE:
		r = error_set(err, ERROR_UNAUTHORIZED,
			      "authentication required, in a way that is not known here");
		break;
	}
	if (r < 0)
		return r;
	free(session->authorization);
	session->authorization = steal(value);
	session->generation++;
	return 0;
}

/* Another thread may have done it since GENERATION was used. */
static int prove_once(struct registry_session *session, unsigned generation,
		      char *const *challenges, struct error *err)
{
	int r = 0;

	pthread_mutex_lock(&session->lock);
	if (session->generation == generation)
		r = prove(session, challenges, err);
	pthread_mutex_unlock(&session->lock);
	return r;
}

static char *authorization_now(struct registry_session *session, unsigned *ret_generation)
{
	char *value;

	pthread_mutex_lock(&session->lock);
	*ret_generation = session->generation;
	value = session->authorization ? strdup(session->authorization) : NULL;
	pthread_mutex_unlock(&session->lock);
	return value;
}

int registry_session_run(struct registry_session *session, struct transfer_request *request,
			 struct transfer_response *ret, bool *ret_again, struct error *err)
{
	autofree char *url = *request->url == '/' ? strf("%s%s", session->url, request->url)
						  : strdup(request->url);
	const char *path = request->url;
	bool ours, again = false;
	int r;

	if (!url)
		return error_nomem(err);
	ours = transfer_same_origin(session->url, url);
	request->url = url;
	for (unsigned proofs = 0;; proofs++) {
		unsigned generation;
		autofree char *value = authorization_now(session, &generation);

		request->authorization = ours ? value : NULL;
		r = transfer_run(session->client, request, ret, &again, err);
		/* Only what the registry itself says counts as its challenge. */
		if (r < 0 || ret->status != 401 || proofs == MAX_PROOFS || !ours ||
		    !transfer_same_origin(session->url, ret->url))
			break;
		r = prove_once(session, generation, ret->challenges, err);
		if (r < 0) {
			transfer_response_done(ret);
			break;
		}
		transfer_response_done(ret);
	}
	request->url = path;
	request->authorization = NULL;
	if (ret_again)
		*ret_again = again;
	return r;
}

/* ------------------------------------------------------------------ asking again */

bool registry_status_passes(long status)
{
	return status == 429 || status == 500 || status == 502 || status == 503 || status == 504 ||
	       status == 408;
}

int registry_session_pause(struct registry_session *session, unsigned attempt,
			   int64_t retry_after_s, struct error *err)
{
	uint64_t ms = (uint64_t)REGISTRY_RETRY_FIRST_MS << (attempt - 1);

	if (retry_after_s > 0)
		ms = (uint64_t)retry_after_s * 1000;
	if (ms > REGISTRY_RETRY_MAX_MS)
		ms = REGISTRY_RETRY_MAX_MS;
	if (registry_session_canceled(session) ||
	    task_sleep_until(deadline_in_ms(ms)) == -ECANCELED)
		return error_set(err, ERROR_CANCELED, "canceled");
	return 0;
}

struct call {
	struct registry_session *session;
	struct transfer_request *request;
	struct transfer_response *response;
	bool again;
	struct error *err;
};

static int call_job(void *arg)
{
	struct call *call = arg;

	return registry_session_run(call->session, call->request, call->response, &call->again,
				    call->err);
}

int registry_session_call(struct registry_session *session, struct transfer_request *request,
			  struct transfer_response *ret, struct error *err)
{
	struct call call = { session, request, ret, false, err };
	unsigned attempt = 0;

	for (;;) {
		int64_t after = 0;
		int r = registry_session_job(session, call_job, &call, NULL, NULL);

		if (r == 0 && !registry_status_passes(ret->status))
			return 0;
		if (r < 0 && !call.again)
			return r;
		if (++attempt == REGISTRY_MAX_ATTEMPTS)
			return r;
		if (r == 0) {
			after = ret->retry_after_s;
			transfer_response_done(ret);
		}
		r = registry_session_pause(session, attempt, after, err);
		if (r < 0)
			return r;
	}
}

/* ------------------------------------------------------------------ errors */

/* What strangers say is shown to people: printable, and not too long. */
static void add_said(struct str *out, const char *text)
{
	size_t len = strnlen(text, 300);

	while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
		len--;
	for (size_t i = 0; i < len; i++)
		str_addc(out, (unsigned char)text[i] < ' ' || text[i] == 0x7f ? ' ' : text[i]);
}

/* {"errors": [{"code": "MANIFEST_UNKNOWN", "message": …}]} as Docker words it, or a token server's
 * {"details": …} and its like. */
static void what_it_said(const struct transfer_response *response, struct str *out)
{
	autojson json_t *root = NULL;
	const char *code, *message;
	json_t *first;

	if (!response->body.len ||
	    json_parse(response->body.data, response->body.len, &root, NULL) < 0)
		return;
	first = json_array_get(json_object_get(root, "errors"), 0);
	code = json_string_value(json_object_get(first, "code"));
	message = json_string_value(json_object_get(first, "message"));
	if (!message)
		message = json_string_value(json_object_get(root, "details"));
	if (code) {
		autostr struct str plain = STR_INIT;

		for (const char *p = code; *p; p++)
			str_addc(&plain, *p == '_' ? ' ' : *p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
		add_said(out, str_text(&plain));
	}
	if (message && *message) {
		str_add(out, out->len ? ": " : "");
		add_said(out, message);
	}
}

int registry_answer_error(const struct transfer_response *response, const char *what,
			  struct error *err)
{
	static const struct {
		long status;
		enum error_kind kind;
		const char *text;
	} kinds[] = {
		{ 400, ERROR_INVALID, "bad request" },
		{ 401, ERROR_UNAUTHORIZED, "unauthorized: authentication required" },
		{ 403, ERROR_DENIED, "denied: requested access to the resource is denied" },
		{ 404, ERROR_NOT_FOUND, "not found" },
		{ 405, ERROR_UNSUPPORTED, "unsupported: the operation is unsupported" },
		{ 413, ERROR_LIMIT, "too large" },
		{ 429, ERROR_UNAVAILABLE, "toomanyrequests: too many requests" },
		{ 503, ERROR_UNAVAILABLE, "the service is unavailable" },
	};
	autostr struct str said = STR_INIT;
	enum error_kind kind = ERROR_FAILED;
	const char *text = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].status == response->status) {
			kind = kinds[i].kind;
			text = kinds[i].text;
		}
	what_it_said(response, &said);
	if (said.len)
		text = str_text(&said);
	if (!text)
		return error_set(err, kind, "%s: unexpected status %ld", what, response->status);
	return error_set(err, kind, "%s: %s", what, text);
}

/* ------------------------------------------------------------------ endpoints */

struct find {
	struct registry_session *session;
	struct error *err;
};

static int find_job(void *arg)
{
	struct find *find = arg;
	struct registry_session *session = find->session;

	return registry_endpoints_find(&session->registries->settings, session->domain,
				       &session->endpoints, find->err);
}

int registry_session_new(struct registries *registries, const struct session_options *options,
			 struct registry_session **ret, struct error *err)
{
	struct registry_session *session;
	struct find find = { .err = err };
	int r = 0;

	while (registries->open == REGISTRY_MAX_SESSIONS) {
		r = cond_wait(&registries->closed, DEADLINE_NEVER);
		if (r < 0)
			return error_errno(err, -r, "waiting for other transfers");
	}
	session = calloc(1, sizeof(*session));
	if (!session)
		return error_nomem(err);
	registries->open++;
	session->registries = registries;
	session->scopes = options->scopes;
	session->want_refresh_token = options->want_refresh_token;
	session->skip_mirrors = options->skip_mirrors;
	pthread_mutex_init(&session->lock, NULL);
	find.session = session;
	session->domain = strdup(options->domain);
	if (!session->domain)
		r = error_nomem(err);
	if (r == 0)
		r = registry_credentials_copy(options->credentials, &session->credentials, err);
	if (r == 0)
		r = job_pool_new(task_loop(), options->threads, &session->jobs, err);
	if (r == 0)
		r = registry_session_job(session, find_job, &find, NULL, NULL);
	if (r == 0 && registry_session_canceled(session))
		r = error_set(err, ERROR_CANCELED, "canceled");
	if (r < 0) {
		registry_session_free(session);
		return r;
	}
	if (session->skip_mirrors)
		session->next = session->endpoints.count - 1;
	*ret = session;
	return 0;
}

void registry_session_free(struct registry_session *session)
{
	if (!session)
		return;
	job_pool_free(session->jobs);
	transfer_client_free(session->client);
	registry_endpoints_done(&session->endpoints);
	registry_credentials_done(&session->credentials);
	pthread_mutex_destroy(&session->lock);
	session->registries->open--;
	cond_broadcast(&session->registries->closed);
	free(session->authorization);
	free(session->refresh_token);
	free(session->domain);
	free(session->url);
	free(session);
}

const char *registry_session_url(const struct registry_session *session)
{
	return session->url ? session->url : session->domain;
}

const char *registry_session_refresh_token(const struct registry_session *session)
{
	return session->refresh_token;
}

bool registry_session_has_next(const struct registry_session *session)
{
	return session->endpoint && session->endpoint->mirror &&
	       session->next < session->endpoints.count;
}

struct ping {
	struct registry_session *session;
	struct error *err;
};

static int ping_job(void *arg)
{
	struct ping *ping = arg;
	struct transfer_request request = { .method = "GET",
					    .url = "/v2/",
					    .max_bytes = TRANSFER_MAX_ERROR_BYTES };
	autoresponse struct transfer_response response = { 0 };
	int r = registry_session_run(ping->session, &request, &response, NULL, ping->err);

	if (r < 0)
		return r;
	if (response.status == 200)
		return 0;
	if (response.status == 401 || response.status == 403 ||
	    registry_status_passes(response.status))
		return registry_answer_error(&response, "GET /v2/", ping->err);
	return error_set(ping->err, ERROR_FAILED,
			 "no registry answers there: GET /v2/ has status %ld", response.status);
}

static int try_url(struct registry_session *session, const char *url, struct error *err)
{
	struct ping ping = { session, err };
	int r;

	free(session->url);
	session->url = strdup(url);
	if (!session->url)
		return error_nomem(err);
	r = registry_session_job(session, ping_job, &ping, NULL, NULL);
	if (r == -ECANCELED && registry_session_canceled(session))
		return error_set(err, ERROR_CANCELED, "canceled");
	return r;
}

/* Nothing was said in reply: whoever is there may speak plain HTTP. */
static bool no_answer(const struct error *err)
{
	return err->kind == ERROR_FAILED || err->kind == ERROR_TIMEOUT;
}

static int try_endpoint(struct registry_session *session, struct error *err)
{
	const struct registry_endpoint *e = session->endpoint;
	struct error secure = { 0 };
	autofree char *plain = NULL;
	int r = try_url(session, e->url, &secure);

	if (r < 0 && e->plain_too && no_answer(&secure)) {
		plain = strf("http://%s", e->host);
		if (!plain)
			return error_nomem(err);
		r = try_url(session, plain, err);
	} else {
		error_copy(err, &secure);
	}
	return r < 0 ? error_prefix(err, r, "registry %s", e->host) : 0;
}

int registry_session_connect(struct registry_session *session, struct error *err)
{
	int r = error_set(err, ERROR_NOT_FOUND, "registry %s: no endpoint is left",
			  session->domain);

	/* A transfer that failed at the last endpoint has ended its companions there. */
	if (!task_canceled())
		atomic_store(&session->canceled, false);
	while (session->next < session->endpoints.count) {
		transfer_client_free(steal(session->client));
		free(steal(session->authorization));
		session->endpoint = &session->endpoints.items[session->next++];
		r = transfer_client_new(session->endpoint, &session->canceled, &session->client,
					err);
		if (r == 0)
			r = try_endpoint(session, err);
		if (r == 0) {
			error_clear(err);
			return 0;
		}
		if (registry_session_canceled(session) || !registry_session_has_next(session))
			return r;
		trace(registry, "mirror %s is passed over: %s", session->endpoint->url,
		      err ? err->message : "");
	}
	return r;
}

/* ------------------------------------------------------------------ manifests and small blobs */

void registry_manifest_done(struct registry_manifest *manifest)
{
	free(manifest->text);
	free(manifest->media_type);
	*manifest = (struct registry_manifest){ 0 };
}

/* "application/json; charset=utf-8" without what follows the type. */
static char *bare_type(const char *type)
{
	return type ? strndup(type, strcspn(type, "; \t")) : NULL;
}

static int check_manifest(struct registry_manifest *manifest, const char *reference,
			  const char *said, struct error *err)
{
	int r = digest_data(manifest->text, manifest->len, manifest->digest, err);

	if (r < 0)
		return r;
	if (digest_is_valid(reference) && strcmp(reference, manifest->digest) != 0)
		return error_set(err, ERROR_INVALID,
				 "manifest verification failed for digest %s: it is %s", reference,
				 manifest->digest);
	if (digest_is_valid(said) && strcmp(said, manifest->digest) != 0)
		return error_set(err, ERROR_INVALID,
				 "manifest %s does not have the digest that the registry says: %s",
				 manifest->digest, said);
	return 0;
}

int registry_manifest_get(struct registry_session *session, const char *path, const char *reference,
			  struct registry_manifest *ret, struct error *err)
{
	static const char *const headers[] = {
		"Accept: application/vnd.docker.distribution.manifest.v2+json",
		"Accept: application/vnd.docker.distribution.manifest.list.v2+json",
		"Accept: application/vnd.oci.image.index.v1+json",
		"Accept: application/vnd.oci.image.manifest.v1+json",
		"Accept: application/json;q=0.5",
		NULL,
	};
	automanifest_text struct registry_manifest manifest = { 0 };
	autoresponse struct transfer_response response = { 0 };
	autofree char *url = strf("/v2/%s/manifests/%s", path, reference);
	struct transfer_request request = { .method = "GET",
					    .url = url,
					    .headers = headers,
					    .max_bytes = IMAGE_MAX_MANIFEST_BYTES };
	int r;

	if (!url)
		return error_nomem(err);
	r = registry_session_call(session, &request, &response, err);
	if (r == 0 && response.status != 200)
		r = registry_answer_error(&response, "manifest", err);
	if (r < 0)
		return r;
	manifest.len = response.body.len;
	manifest.text = manifest.len ? str_steal(&response.body) : strdup("");
	manifest.media_type = bare_type(response.content_type);
	if (!manifest.text || (response.content_type && !manifest.media_type))
		return error_nomem(err);
	r = check_manifest(&manifest, reference, response.content_digest, err);
	if (r < 0)
		return r;
	*ret = manifest;
	manifest = (struct registry_manifest){ 0 };
	return 0;
}

int registry_blob_get(struct registry_session *session, const char *path, const char *digest,
		      uint64_t size_bytes, size_t max_bytes, char **ret, struct error *err)
{
	autoresponse struct transfer_response response = { 0 };
	autofree char *url = strf("/v2/%s/blobs/%s", path, digest);
	struct transfer_request request = { .method = "GET", .url = url };
	char found[DIGEST_TEXT_BYTES];
	int r;

	if (!url)
		return error_nomem(err);
	if (size_bytes > max_bytes)
		return error_set(err, ERROR_LIMIT, "blob %s: %llu bytes, more than %zu", digest,
				 (unsigned long long)size_bytes, max_bytes);
	request.max_bytes = (size_t)size_bytes;
	r = registry_session_call(session, &request, &response, err);
	if (r == 0 && response.status != 200)
		return registry_answer_error(&response, "blob", err);
	if (r < 0)
		return error_prefix(err, r, "blob %s", digest);
	if (response.body.len != size_bytes)
		return error_set(err, ERROR_INVALID,
				 "blob %s has %zu bytes, its descriptor says %llu", digest,
				 response.body.len, (unsigned long long)size_bytes);
	r = digest_data(str_text(&response.body), response.body.len, found, err);
	if (r < 0)
		return r;
	if (strcmp(found, digest) != 0)
		return error_set(err, ERROR_INVALID,
				 "blob verification failed for digest %s: it is %s", digest, found);
	*ret = response.body.len ? str_steal(&response.body) : strdup("");
	return *ret ? 0 : error_nomem(err);
}
