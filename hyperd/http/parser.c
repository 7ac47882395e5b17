/* llhttp's callbacks: bytes into one struct http_request, within the limits of http.h. */
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "hyperd/http/internal.h"

static int refuse(struct http_connection *c, int status, const char *text)
{
	if (!c->refusal) {
		c->refusal = status;
		c->refusal_text = text;
	}
	return HPE_USER;
}

static bool count_head(struct http_connection *c, size_t len)
{
	if (c->head_done) { /* trailers of a chunked body */
		c->trailer_bytes += len;
		return c->trailer_bytes <= HTTP_MAX_TRAILER_BYTES;
	}
	c->head_bytes += len;
	return c->head_bytes <= HTTP_MAX_HEAD_BYTES;
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
	struct http_connection *c = parser->data;

	if (!count_head(c, len))
		return refuse(c, 414, "the request line is too long");
	str_append(&c->target, at, len);
	return 0;
}

static int field_end(struct http_connection *c)
{
	struct http_request *request = &c->request;
	char *name, *value;

	c->header_value_seen = false;
	if (c->head_done) { /* a trailer: nobody asks for it */
		str_clear(&c->field);
		str_clear(&c->value);
		return 0;
	}
	if (request->header_count >= HTTP_MAX_HEADERS)
		return refuse(c, 431, "too many header fields");
	name = str_steal(&c->field);
	value = str_steal(&c->value);
	if (http_fields_add(&request->headers, &request->header_count, name, value) < 0)
		return refuse(c, 500, "out of memory");
	return 0;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len)
{
	struct http_connection *c = parser->data;

	if (!count_head(c, len + 2))
		return refuse(c, 431, "the request's header is too large");
	str_append(&c->field, at, len);
	return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len)
{
	struct http_connection *c = parser->data;

	if (!count_head(c, len + 2))
		return refuse(c, 431, "the request's header is too large");
	if (memchr(at, 0, len))
		return refuse(c, 400, "a NUL character in a header field");
	str_append(&c->value, at, len);
	return 0;
}

static int on_header_value_complete(llhttp_t *parser)
{
	return field_end(parser->data);
}

static bool has_token(const char *value, const char *token)
{
	size_t len = strlen(token);

	while (value && *value) {
		value += strspn(value, " \t,");
		if (!strncasecmp(value, token, len) && (!value[len] || strchr(" \t,;", value[len])))
			return true;
		value += strcspn(value, ",");
	}
	return false;
}

static const struct {
	unsigned llhttp, bit;
} method_bits[] = {
	{ HTTP_GET, HTTP_GET_BIT }, { HTTP_HEAD, HTTP_HEAD_BIT },     { HTTP_POST, HTTP_POST_BIT },
	{ HTTP_PUT, HTTP_PUT_BIT }, { HTTP_DELETE, HTTP_DELETE_BIT },
};

static int on_headers_complete(llhttp_t *parser)
{
	struct http_connection *c = parser->data;
	struct http_request *request = &c->request;
	const char *expect;

	request->method = HTTP_OTHER_BIT;
	for (size_t i = 0; i < ARRAY_SIZE(method_bits); i++)
		if (method_bits[i].llhttp == parser->method)
			request->method = method_bits[i].bit;
	request->method_name = llhttp_method_name(parser->method);
	if (parser->http_major != 1)
		return refuse(c, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
	request->minor = parser->http_minor;
	request->target = str_steal(&c->target);
	if (!request->target)
		return refuse(c, 500, "out of memory");
	request->content_length = -1;
	if ((parser->flags & F_CONTENT_LENGTH) && !(parser->flags & F_CHUNKED)) {
		if (parser->content_length > INT64_MAX)
			return refuse(c, 400, "Content-Length is out of range");
		request->content_length = (int64_t)parser->content_length;
	}
	request->has_body = (parser->flags & F_CHUNKED) || request->content_length > 0;
	request->upgrade_tcp = has_token(http_header(request, "Connection"), "upgrade") &&
			       has_token(http_header(request, "Upgrade"), "tcp");
	c->keep_alive = llhttp_should_keep_alive(parser);
	expect = http_header(request, "Expect");
	if (expect && request->has_body) {
		if (strcasecmp(expect, "100-continue"))
			return refuse(c, 417, "the only expectation known is 100-continue");
		c->expect_continue = request->minor >= 1;
	}
	if (parser->method == HTTP_CONNECT)
		return refuse(c, 400, "CONNECT is not supported");
	c->head_done = true;
	return HPE_PAUSED;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
	struct http_connection *c = parser->data;

	memcpy(c->body_to + c->body_len, at, len);
	c->body_len += len;
	return 0;
}

static int on_message_complete(llhttp_t *parser)
{
	struct http_connection *c = parser->data;

	c->message_done = true;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_header_value_complete = on_header_value_complete,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

void http_parser_init(struct http_connection *c)
{
	llhttp_init(&c->parser, HTTP_REQUEST, &settings);
	c->parser.data = c;
}

void http_request_reset(struct http_connection *c)
{
	struct http_request *request = &c->request;

	free(request->target);
	http_fields_free(request->headers, request->header_count);
	http_fields_free(request->query, request->query_count);
	http_fields_free(request->extra, request->extra_count);
	for (unsigned i = 0; i < request->param_count; i++) {
		free(request->params[i].name);
		free(request->params[i].value);
	}
	*request = (struct http_request){
		.connection = c,
		.context = c->server->config->context,
		.content_length = -1,
	};
	str_clear(&c->target);
	str_clear(&c->field);
	str_clear(&c->value);
	c->head_done = c->message_done = c->expect_continue = false;
	c->head_bytes = c->trailer_bytes = 0;
	c->refusal = 0;
	c->body_error = 0;
	/* A new parser for each request: after an upgrade that we did not take, or a pause at the
	 * end of a message, llhttp_resume() would do as well, but nothing can be left over this
	 * way. */
	http_parser_init(c);
}

int http_parser_feed(struct http_connection *c, size_t len)
{
	const char *at = c->in + c->in_at;
	enum llhttp_errno e;

	if (len > c->in_len - c->in_at)
		len = c->in_len - c->in_at;
	if (llhttp_get_errno(&c->parser) == HPE_PAUSED)
		llhttp_resume(&c->parser);
	e = llhttp_execute(&c->parser, at, len);
	if (e == HPE_OK) {
		c->in_at += len;
	} else if (e == HPE_PAUSED || e == HPE_PAUSED_UPGRADE) {
		c->in_at += (size_t)(llhttp_get_error_pos(&c->parser) - at);
		if (e == HPE_PAUSED_UPGRADE)
			c->message_done = true;
	} else {
		trace(http, "parser: %s: %s", llhttp_errno_name(e),
		      llhttp_get_error_reason(&c->parser));
		if (!c->refusal)
			refuse(c, 400, "malformed HTTP request");
		return -EINVAL;
	}
	return 0;
}

ssize_t http_input_fill(struct http_connection *c, uint64_t deadline_ns)
{
	if (c->in_at == c->in_len)
		c->in_at = c->in_len = 0;
	if (c->in_len == HTTP_INPUT_BYTES) {
		memmove(c->in, c->in + c->in_at, c->in_len - c->in_at);
		c->in_len -= c->in_at;
		c->in_at = 0;
	}
	for (;;) {
		uint32_t events = 0;
		ssize_t n = http_transport_read(c, c->in + c->in_len, HTTP_INPUT_BYTES - c->in_len,
						&events);
		int r;

		if (n >= 0) {
			if (n == 0)
				c->in_eof = true;
			c->in_len += (size_t)n;
			return n;
		}
		if (n != -EAGAIN)
			return n;
		r = task_wait_fd(c->fd, events, deadline_ns, NULL);
		if (r < 0)
			return r;
	}
}
