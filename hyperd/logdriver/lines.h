#pragma once
/*
 * Cuts a stream into what drivers log: lines, and pieces of at most LOG_LINE_BYTES of longer ones,
 * as Docker does. A piece bears the time of its line's first, the line's made-up id and its
 * ordinal, so that a receiver can put them together again.
 */
#include "base/str.h"
#include "hyperd/logdriver/logdriver.h"

/* Docker cuts longer lines. */
#define LOG_LINE_BYTES (16u * 1024)
/* Hex digits of a line's id. */
#define LOG_LINE_ID_BYTES 64

struct log_line {
	enum log_stream stream;
	uint64_t time_ns; /* realtime */
	const char *data; /* borrowed, with its newline where it had one */
	size_t len;
	unsigned ordinal; /* 0: a line that was not cut; else which piece, from 1 */
	bool last;        /* of a cut line: the piece with the newline */
	const char *id;   /* of a cut line; borrowed */
};

/* The line's text without its newline. */
static inline size_t log_line_text_len(const struct log_line *line)
{
	return line->len - (line->len && line->data[line->len - 1] == '\n');
}

struct line_splitter {
	enum log_stream stream;
	struct str line; /* begun, no newline yet */
	uint64_t time_ns;
	unsigned ordinal; /* of the last piece; 0: no piece of this line was given yet */
	char id[LOG_LINE_ID_BYTES + 1];
};

typedef void log_line_fn(void *owner, const struct log_line *line);

void line_splitter_init(struct line_splitter *s, enum log_stream stream);
void line_splitter_done(struct line_splitter *s);
/* Forgets what was begun. */
void line_splitter_clear(struct line_splitter *s);
/* Calls FN for each line that DATA completes. */
void line_splitter_write(struct line_splitter *s, uint64_t time_ns, const char *data, size_t len,
			 log_line_fn *fn, void *owner);
/* The stream has ended: what was begun is a piece without an end. */
void line_splitter_end(struct line_splitter *s, log_line_fn *fn, void *owner);
