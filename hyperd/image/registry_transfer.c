#include "hyperd/image/registry_transfer.h"

#include <curl/curl.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"

#define IDLE_HANDLES 8

struct transfer_client {
	const struct registry_endpoint *endpoint; /* borrowed */
	const atomic_bool *canceled;              /* borrowed */
	pthread_mutex_t lock;
	CURL *idle[IDLE_HANDLES]; /* owned; each keeps its connections */
	size_t idle_count;
};

/* One exchange, without redirects. */
struct exchange {
	struct transfer_client *client;
	const struct transfer_request *request;
	struct transfer_response *response; /* to be filled in */
	CURL *curl;
	struct error *err;
	size_t header_bytes;
	uint64_t body_offset;
	bool begun, refused; /* refused: err says why the answer was not taken */
	bool cut;            /* enough of an error's text has come */
};

static void global_init(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

int transfer_client_new(const struct registry_endpoint *endpoint, const atomic_bool *canceled,
			struct transfer_client **ret, struct error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct transfer_client *client = calloc(1, sizeof(*client));

	if (!client)
		return error_nomem(err);
	pthread_once(&once, global_init);
	client->endpoint = endpoint;
	client->canceled = canceled;
	pthread_mutex_init(&client->lock, NULL);
	*ret = client;
	return 0;
}

void transfer_client_free(struct transfer_client *client)
{
	if (!client)
		return;
	while (client->idle_count)
		curl_easy_cleanup(client->idle[--client->idle_count]);
	pthread_mutex_destroy(&client->lock);
	free(client);
}

static CURL *take_handle(struct transfer_client *client)
{
	CURL *curl = NULL;

	pthread_mutex_lock(&client->lock);
	if (client->idle_count)
		curl = client->idle[--client->idle_count];
	pthread_mutex_unlock(&client->lock);
	return curl ? curl : curl_easy_init();
}

static void give_handle(struct transfer_client *client, CURL *curl)
{
	/* Forgets what was asked, keeps connections. */
	curl_easy_reset(curl);
	pthread_mutex_lock(&client->lock);
	if (client->idle_count < IDLE_HANDLES)
		client->idle[client->idle_count++] = steal(curl);
	pthread_mutex_unlock(&client->lock);
	if (curl)
		curl_easy_cleanup(curl);
}

void transfer_response_done(struct transfer_response *response)
{
	free(response->url);
	free(response->content_type);
	free(response->content_digest);
	free(response->content_range);
	free(response->location);
	free(response->link);
	free(response->range);
	strv_free(response->challenges);
	str_done(&response->body);
	*response = (struct transfer_response){ 0 };
}

/* ------------------------------------------------------------------ callbacks */

static int refuse(struct exchange *x, int r)
{
	x->refused = true;
	return r;
}

static int take_text(char **to, const char *value, size_t len)
{
	free(*to);
	*to = strndup(value, len);
	return *to ? 0 : -ENOMEM;
}

static int take_field(struct exchange *x, const char *name, size_t name_len, const char *value,
		      size_t len)
{
	static const struct {
		const char *name;
		size_t offset;
	} fields[] = {
		{ "Content-Type", offsetof(struct transfer_response, content_type) },
		{ "Docker-Content-Digest", offsetof(struct transfer_response, content_digest) },
		{ "Content-Range", offsetof(struct transfer_response, content_range) },
		{ "Location", offsetof(struct transfer_response, location) },
		{ "Link", offsetof(struct transfer_response, link) },
		{ "Range", offsetof(struct transfer_response, range) },
	};
	struct transfer_response *response = x->response;
	autofree char *text = NULL;
	unsigned long long number;

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (strlen(fields[i].name) == name_len &&
		    strncasecmp(fields[i].name, name, name_len) == 0)
			return take_text((char **)((char *)response + fields[i].offset), value,
					 len);
	text = strndup(value, len);
	if (!text)
		return -ENOMEM;
	if (name_len == 16 && strncasecmp(name, "WWW-Authenticate", 16) == 0)
		return strv_take(&response->challenges, steal(text));
	if (name_len == 11 && strncasecmp(name, "Retry-After", 11) == 0 &&
	    parse_u64(text, 0, 86400, &number) == 0)
		response->retry_after_s = (int64_t)number;
	return 0;
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
	struct exchange *x = arg;
	size_t len = size * count, name;
	const char *value, *end = data + len;

	x->header_bytes += len;
	if (x->header_bytes > TRANSFER_MAX_HEADER_BYTES) {
		refuse(x,
		       error_set(x->err, ERROR_LIMIT, "the answer's header is longer than %u bytes",
				 TRANSFER_MAX_HEADER_BYTES));
		return 0;
	}
	/* A new status line: what an interim answer (100) said is forgotten. */
	if (len > 5 && memcmp(data, "HTTP/", 5) == 0) {
		transfer_response_done(x->response);
		x->response->content_length = x->response->retry_after_s = -1;
		return len;
	}
	value = memchr(data, ':', len);
	if (!value)
		return len;
	name = (size_t)(value++ - data);
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
		end--;
	if (take_field(x, data, name, value, (size_t)(end - value)) < 0) {
		refuse(x, error_nomem(x->err));
		return 0;
	}
	return len;
}

static void take_status(struct exchange *x)
{
	curl_off_t length = -1;

	curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &x->response->status);
	curl_easy_getinfo(x->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	x->response->content_length = length;
}

static int begin(struct exchange *x)
{
	int r = 0;

	if (x->begun)
		return 0;
	x->begun = true;
	take_status(x);
	if (x->request->begin)
		r = x->request->begin(x->request->arg, x->response, x->err);
	return r < 0 ? refuse(x, r) : 0;
}

static bool is_success(const struct transfer_response *response)
{
	return response->status >= 200 && response->status < 300;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
	struct exchange *x = arg;
	const struct transfer_request *request = x->request;
	size_t len = size * count, max = request->max_bytes;
	int r;

	take_status(x);
	if (is_success(x->response) && request->receive) {
		r = begin(x);
		if (r == 0) {
			r = request->receive(request->arg, data, len, x->err);
			if (r < 0)
				refuse(x, r);
		}
		return r < 0 ? CURL_WRITEFUNC_ERROR : len;
	}
	if (!is_success(x->response)) {
		size_t room = TRANSFER_MAX_ERROR_BYTES - x->response->body.len;

		str_append(&x->response->body, data, len < room ? len : room);
		x->cut = len > room;
		return x->cut ? CURL_WRITEFUNC_ERROR : len;
	}
	if (x->response->body.len + len > max) {
		refuse(x,
		       error_set(x->err, ERROR_LIMIT, "the answer is longer than %zu bytes", max));
		return CURL_WRITEFUNC_ERROR;
	}
	str_append(&x->response->body, data, len);
	return len;
}

static size_t on_send(char *data, size_t size, size_t count, void *arg)
{
	struct exchange *x = arg;
	uint64_t left = x->request->body_bytes - x->body_offset;
	size_t len = size * count < left ? size * count : (size_t)left;
	ssize_t n = (ssize_t)len;

	if (x->request->body)
		memcpy(data, (const char *)x->request->body + x->body_offset, len);
	else
		n = pread(x->request->body_fd, data, len, (off_t)x->body_offset);
	if (n < 0 || (n == 0 && len > 0)) {
		refuse(x, error_errno(x->err, n < 0 ? errno : EIO, "reading what is to be sent"));
		return CURL_READFUNC_ABORT;
	}
	x->body_offset += (uint64_t)n;
	if (x->request->sent_bytes)
		atomic_store(x->request->sent_bytes, x->body_offset);
	return (size_t)n;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct exchange *x = arg;

	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > x->request->body_bytes)
		return CURL_SEEKFUNC_FAIL;
	x->body_offset = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	struct exchange *x = arg;

	(void)a, (void)b, (void)c, (void)d;
	return atomic_load(x->client->canceled);
}

/* ------------------------------------------------------------------ one exchange */

static void set_trust(CURL *curl, const struct registry_endpoint *e, bool same_host)
{
	struct curl_blob blob = { .flags = CURL_BLOB_COPY };

	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	/* A registry's token server and storage often have certificates of the same CA. */
	if (e->certificates) {
		blob.data = e->certificates;
		blob.len = strlen(e->certificates);
		curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &blob);
	}
	/* But that the registry's own host is trusted says nothing about others. */
	if (!same_host)
		return;
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, e->verify ? 1L : 0L);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, e->verify ? 2L : 0L);
	if (e->client_certificate) {
		curl_easy_setopt(curl, CURLOPT_SSLCERT, e->client_certificate);
		curl_easy_setopt(curl, CURLOPT_SSLKEY, e->client_key);
	}
	if (e->loopback)
		curl_easy_setopt(curl, CURLOPT_PROXY, "");
}

static char *url_part(const char *url, CURLUPart part)
{
	CURLU *parsed = curl_url();
	char *text = NULL, *copy = NULL;

	if (parsed && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
	    curl_url_get(parsed, part, &text, CURLU_DEFAULT_PORT) == CURLUE_OK)
		copy = strdup(text);
	curl_free(text);
	curl_url_cleanup(parsed);
	return copy;
}

bool transfer_same_origin(const char *a, const char *b)
{
	static const CURLUPart parts[] = { CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT };

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		autofree char *of_a = url_part(a, parts[i]), *of_b = url_part(b, parts[i]);

		if (!of_a || !of_b || strcasecmp(of_a, of_b) != 0)
			return false;
	}
	return true;
}

static bool same_host(const char *a, const char *b)
{
	autofree char *of_a = url_part(a, CURLUPART_HOST), *of_b = url_part(b, CURLUPART_HOST);

	return of_a && of_b && strcasecmp(of_a, of_b) == 0;
}

int transfer_resolve(const char *base, const char *location, char **ret, struct error *err)
{
	CURLU *parsed = curl_url();
	char *text = NULL, *scheme = NULL;
	int r = 0;

	if (!parsed || curl_url_set(parsed, CURLUPART_URL, base, 0) != CURLUE_OK ||
	    curl_url_set(parsed, CURLUPART_URL, location, 0) != CURLUE_OK ||
	    curl_url_set(parsed, CURLUPART_USER, NULL, 0) != CURLUE_OK ||
	    curl_url_set(parsed, CURLUPART_PASSWORD, NULL, 0) != CURLUE_OK ||
	    curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    curl_url_get(parsed, CURLUPART_URL, &text, 0) != CURLUE_OK)
		r = error_set(err, ERROR_INVALID, "'%.200s' is no address", location);
	else if (strcasecmp(scheme, "https") != 0 && strcasecmp(scheme, "http") != 0)
		r = error_set(err, ERROR_INVALID, "'%.200s': expected http or https", location);
	else if (strncasecmp(base, "https:", 6) == 0 && strcasecmp(scheme, "https") != 0)
		r = error_set(err, ERROR_INVALID, "'%.200s': from https to plain http", location);
	else if (!(*ret = strdup(text)))
		r = error_nomem(err);
	curl_free(scheme);
	curl_free(text);
	curl_url_cleanup(parsed);
	return r;
}

static int set_headers(struct exchange *x, const char *authorization, struct curl_slist **ret)
{
	autofree char *line = authorization ? strf("Authorization: %s", authorization) : NULL;
	struct curl_slist *list = curl_slist_append(NULL, "Expect:"), *grown;
	const char *const *headers = x->request->headers;

	if (list && authorization)
		list = line && (grown = curl_slist_append(list, line)) ? grown : list;
	for (; list && headers && *headers; headers++)
		if (!(grown = curl_slist_append(list, *headers)))
			break;
	*ret = list;
	curl_easy_setopt(x->curl, CURLOPT_HTTPHEADER, list);
	return list && (!authorization || line) ? 0 : -ENOMEM;
}

static void set_body(struct exchange *x)
{
	const struct transfer_request *request = x->request;
	bool put = strcmp(request->method, "PUT") == 0 || strcmp(request->method, "POST") == 0 ||
		   strcmp(request->method, "PATCH") == 0;

	if (strcmp(request->method, "HEAD") == 0)
		curl_easy_setopt(x->curl, CURLOPT_NOBODY, 1L);
	else if (put)
		curl_easy_setopt(x->curl, CURLOPT_UPLOAD, 1L);
	if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0)
		curl_easy_setopt(x->curl, CURLOPT_CUSTOMREQUEST, request->method);
	if (!put)
		return;
	curl_easy_setopt(x->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->body_bytes);
	curl_easy_setopt(x->curl, CURLOPT_READFUNCTION, on_send);
	curl_easy_setopt(x->curl, CURLOPT_READDATA, x);
	curl_easy_setopt(x->curl, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(x->curl, CURLOPT_SEEKDATA, x);
}

static void set_options(struct exchange *x, const char *url)
{
	CURL *curl = x->curl;

	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "hyperd/" HYPER_VERSION);
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)TRANSFER_CONNECT_MS);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)TRANSFER_STALL_BYTES);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)TRANSFER_STALL_SECONDS);
	if (!x->request->receive && (x->request->body || !x->request->body_bytes))
		curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TRANSFER_SMALL_SECONDS);
	curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 128L << 10);
	curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 128L << 10);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, x);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, x);
	set_trust(curl, x->client->endpoint, same_host(x->client->endpoint->url, url));
	set_body(x);
}

/* Certificates do not become better by asking again, nor does a host that is not there. */
static bool worth_repeating(CURLcode code)
{
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_OUT_OF_MEMORY:
		return false;
	default:
		return true;
	}
}

static int exchange_failed(struct exchange *x, CURLcode code, const char *text, bool *ret_again)
{
	if (atomic_load(x->client->canceled))
		return error_set(x->err, ERROR_CANCELED, "canceled");
	if (x->refused)
		return error_kind_errno(x->err->kind);
	*ret_again = worth_repeating(code);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return error_set(x->err, ERROR_TIMEOUT, "no answer in time: %s",
				 *text ? text : curl_easy_strerror(code));
	/* Docker's words, which people look for. */
	if (code == CURLE_SSL_CONNECT_ERROR && strstr(text, "wrong version number"))
		return error_set(x->err, ERROR_FAILED,
				 "http: server gave HTTP response to HTTPS client");
	return error_set(x->err, ERROR_FAILED, "%s", *text ? text : curl_easy_strerror(code));
}

static int run_once(struct exchange *x, const char *url, const char *authorization, bool *ret_again)
{
	char text[CURL_ERROR_SIZE] = "";
	struct curl_slist *list = NULL;
	CURLcode code;
	int r;

	x->curl = take_handle(x->client);
	if (!x->curl)
		return error_nomem(x->err);
	set_options(x, url);
	curl_easy_setopt(x->curl, CURLOPT_ERRORBUFFER, text);
	r = set_headers(x, authorization, &list);
	if (r < 0) {
		error_nomem(x->err);
	} else {
		code = curl_easy_perform(x->curl);
		if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && x->cut)) {
			take_status(x);
			r = is_success(x->response) && x->request->receive ? begin(x) : 0;
		} else {
			r = exchange_failed(x, code, text, ret_again);
		}
	}
	trace(registry, "%s %s: %ld %s", x->request->method, url, x->response->status,
	      r < 0 ? x->err->message : "");
	curl_slist_free_all(list);
	give_handle(x->client, x->curl);
	return r;
}

static bool is_redirect(const struct transfer_response *response, const char *method)
{
	long s = response->status;

	/* An upload's Location says where to go on; only reading follows redirects. */
	return response->location && (s == 301 || s == 302 || s == 303 || s == 307 || s == 308) &&
	       (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0);
}

int transfer_run(struct transfer_client *client, const struct transfer_request *request,
		 struct transfer_response *ret, bool *ret_again, struct error *err)
{
	autofree char *url = strdup(request->url);
	const char *authorization = request->authorization;
	struct error own = { 0 };
	bool again = false;

	if (!url)
		return error_nomem(err);
	*ret = (struct transfer_response){ .content_length = -1, .retry_after_s = -1 };
	if (ret_again)
		*ret_again = false;
	for (unsigned i = 0; i <= TRANSFER_MAX_REDIRECTS; i++) {
		struct exchange x = {
			.client = client, .request = request, .response = ret, .err = &own
		};
		autofree char *next = NULL;
		int r = run_once(&x, url, authorization, &again);

		if (r == 0 && is_redirect(ret, request->method)) {
			r = transfer_resolve(url, ret->location, &next, &own);
			if (r == 0) {
				if (!transfer_same_origin(url, next))
					authorization = NULL;
				transfer_response_done(ret);
				free(url);
				url = steal(next);
				continue;
			}
			error_prefix(&own, r, "redirect");
		}
		if (r < 0) {
			transfer_response_done(ret);
			if (ret_again)
				*ret_again = again;
			if (err)
				*err = own;
			return error_prefix(err, r, "%s %.300s", request->method, url);
		}
		ret->url = steal(url);
		if (ret->body.failed) {
			transfer_response_done(ret);
			return error_nomem(err);
		}
		return 0;
	}
	transfer_response_done(ret);
	return error_set(err, ERROR_LIMIT, "%s %.300s: more than %d redirects", request->method,
			 request->url, TRANSFER_MAX_REDIRECTS);
}
