#include "hyperctl/http.h"

#include <string.h>
#include <strings.h>

#include "base/base64.h"

static struct http_reader *reader_of(llhttp_t *parser)
{
	return container_of(parser, struct http_reader, parser);
}

static void header_line_end(struct http_reader *reader)
{
	if (strcasecmp(str_text(&reader->name), "content-type") == 0)
		snprintf(reader->content_type, sizeof(reader->content_type), "%s",
			 str_text(&reader->value));
	else if (strcasecmp(str_text(&reader->name), "x-docker-container-path-stat") == 0)
		str_append(&reader->path_stat, str_text(&reader->value), reader->value.len);
	str_clear(&reader->name);
	str_clear(&reader->value);
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len)
{
	struct http_reader *reader = reader_of(parser);

	str_append(&reader->name, at, len);
	return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len)
{
	struct http_reader *reader = reader_of(parser);

	str_append(&reader->value, at, len);
	return 0;
}

static int on_header_value_complete(llhttp_t *parser)
{
	header_line_end(reader_of(parser));
	return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
	struct http_reader *reader = reader_of(parser);

	reader->status = llhttp_get_status_code(parser);
	if (reader->status >= 100 && reader->status < 200 && reader->status != 101) {
		reader->header_bytes = 0;
		return 0; /* "100 Continue": the answer follows */
	}
	reader->header_done = true;
	if (reader->hijack && (reader->status == 101 || reader->status == 200)) {
		reader->hijacked = true;
		return 2;
	}
	return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
	struct http_reader *reader = reader_of(parser);

	str_append(&reader->body, at, len);
	return 0;
}

static int on_message_complete(llhttp_t *parser)
{
	struct http_reader *reader = reader_of(parser);

	if (!reader->header_done)
		return 0;
	if (!reader->hijacked)
		reader->ended = true;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_header_value_complete = on_header_value_complete,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

void http_reader_init(struct http_reader *reader, bool hijack)
{
	*reader = (struct http_reader){ .hijack = hijack };
	llhttp_init(&reader->parser, HTTP_RESPONSE, &settings);
}

void http_reader_done(struct http_reader *reader)
{
	str_done(&reader->body);
	str_done(&reader->path_stat);
	str_done(&reader->name);
	str_done(&reader->value);
}

int http_reader_feed(struct http_reader *reader, const char *data, size_t len, struct error *err)
{
	llhttp_errno_t e;

	if (reader->ended)
		return 0;
	if (reader->hijacked) {
		str_append(&reader->body, data, len);
		return reader->body.failed ? error_nomem(err) : 0;
	}
	if (!reader->header_done) {
		reader->header_bytes += len;
		/* What comes in one piece with the header may be body: only count what must be
		 * header. */
		if (reader->header_bytes - len > HTTP_HEADER_MAX_BYTES)
			return error_set(err, ERROR_LIMIT,
					 "the answer's header is larger than %u KiB",
					 HTTP_HEADER_MAX_BYTES >> 10);
	}
	e = llhttp_execute(&reader->parser, data, len);
	if (reader->body.failed || reader->name.failed || reader->value.failed)
		return error_nomem(err);
	if (reader->hijacked) {
		const char *rest = llhttp_get_error_pos(&reader->parser);

		if (e == HPE_PAUSED) {
			/* Paused by the message's end before the upgrade was seen. */
			llhttp_resume(&reader->parser);
			e = llhttp_execute(&reader->parser, rest, (size_t)(data + len - rest));
			rest = llhttp_get_error_pos(&reader->parser);
		}
		if (rest >= data && rest <= data + len)
			str_append(&reader->body, rest, (size_t)(data + len - rest));
		return 0;
	}
	if (reader->ended || e == HPE_OK)
		return 0;
	return error_set(err, ERROR_FAILED, "the answer is not HTTP: %s",
			 llhttp_get_error_reason(&reader->parser) ?: llhttp_errno_name(e));
}

int http_reader_path_stat(const struct http_reader *reader, json_t **ret, struct error *err)
{
	autofree char *text = NULL;
	size_t len;
	int r = base64_decode(str_text(&reader->path_stat), reader->path_stat.len, &text, &len);

	if (r < 0 || !len)
		return error_set(err, ERROR_FAILED, "the answer does not say what is there");
	return json_parse(text, len, ret, err);
}

int http_reader_finish(struct http_reader *reader, struct error *err)
{
	llhttp_errno_t e;

	if (reader->ended)
		return 0;
	if (reader->hijacked) {
		reader->ended = true;
		return 0;
	}
	e = llhttp_finish(&reader->parser);
	if (reader->header_done && (e == HPE_OK || reader->ended)) {
		reader->ended = true;
		return 0;
	}
	return error_set(err, ERROR_FAILED, "the connection ended in the middle of the answer");
}
