#include "hyperd/logdriver/lines.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

void line_splitter_init(struct line_splitter *s, enum log_stream stream)
{
	memset(s, 0, sizeof(*s));
	s->stream = stream;
}

void line_splitter_done(struct line_splitter *s)
{
	str_done(&s->line);
}

void line_splitter_clear(struct line_splitter *s)
{
	str_clear(&s->line);
	s->ordinal = 0;
}

static void make_id(struct line_splitter *s)
{
	uint8_t bytes[LOG_LINE_ID_BYTES / 2] = { 0 };

	(void)!getrandom(bytes, sizeof(bytes), 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(s->id + 2 * i, 3, "%02x", bytes[i]);
}

/* How much of a line without an end makes a record: no UTF-8 sequence is cut that need not be. */
static size_t piece_of(const char *data)
{
	size_t n = LOG_LINE_BYTES;

	while (n > LOG_LINE_BYTES - 3 && ((unsigned char)data[n] & 0xc0) == 0x80)
		n--;
	return ((unsigned char)data[n] & 0xc0) == 0x80 ? LOG_LINE_BYTES : n;
}

static void give(struct line_splitter *s, uint64_t time_ns, const char *data, size_t len,
		 bool complete, log_line_fn *fn, void *owner)
{
	struct log_line line = { .stream = s->stream, .data = data, .len = len };

	/* All pieces of a line bear the time of its first. */
	if (!s->ordinal)
		s->time_ns = time_ns;
	line.time_ns = s->time_ns;
	if (!complete || s->ordinal) {
		if (!s->ordinal)
			make_id(s);
		line.ordinal = ++s->ordinal;
		line.last = complete;
		line.id = s->id;
	}
	if (complete)
		s->ordinal = 0;
	fn(owner, &line);
}

/* Gives what is complete in DATA; returns how much that was. */
static size_t give_complete(struct line_splitter *s, uint64_t time_ns, const char *data, size_t len,
			    log_line_fn *fn, void *owner)
{
	size_t done = 0;

	while (done < len) {
		const char *start = data + done;
		const char *newline = memchr(start, '\n', len - done);
		size_t n = newline ? (size_t)(newline - start) + 1 : len - done;

		if (n > LOG_LINE_BYTES) {
			n = piece_of(start);
			give(s, time_ns, start, n, false, fn, owner);
		} else if (newline) {
			give(s, time_ns, start, n, true, fn, owner);
		} else {
			break;
		}
		done += n;
	}
	return done;
}

void line_splitter_write(struct line_splitter *s, uint64_t time_ns, const char *data, size_t len,
			 log_line_fn *fn, void *owner)
{
	size_t done;

	/* A begun line is completed first, with no more of DATA than it needs. */
	while (s->line.len && len) {
		const char *newline = memchr(data, '\n', len);
		size_t n = newline ? (size_t)(newline - data) + 1 : len;

		if (n > LOG_LINE_BYTES)
			n = LOG_LINE_BYTES;
		str_append(&s->line, data, n);
		data += n;
		len -= n;
		done = give_complete(s, s->time_ns, s->line.data, s->line.len, fn, owner);
		str_consume(&s->line, done);
	}
	if (!len)
		return;
	done = give_complete(s, time_ns, data, len, fn, owner);
	if (done < len && !s->ordinal)
		s->time_ns = time_ns;
	str_append(&s->line, data + done, len - done);
}

void line_splitter_end(struct line_splitter *s, log_line_fn *fn, void *owner)
{
	if (s->line.len)
		give(s, s->time_ns, s->line.data, s->line.len, false, fn, owner);
	line_splitter_clear(s);
}
