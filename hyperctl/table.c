#include "hyperctl/table.h"

#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX    64
#define COLUMN_MIN     10
#define COLUMN_PADDING 3

/* Characters, not bytes: continuation bytes of UTF-8 take no room. */
static size_t text_width(const char *text, size_t len)
{
	size_t width = 0;

	for (size_t i = 0; i < len; i++)
		width += ((unsigned char)text[i] & 0xc0) != 0x80;
	return width;
}

struct cell {
	const char *text;
	size_t len;
	bool last;
};

/* Takes the next cell of the line off *p; false at the line's end. */
static bool next_cell(const char **p, const char *line_end, struct cell *ret)
{
	const char *tab;

	if (*p > line_end)
		return false;
	tab = memchr(*p, '\t', (size_t)(line_end - *p));
	ret->text = *p;
	ret->last = !tab;
	ret->len = (size_t)((tab ? tab : line_end) - *p);
	*p = tab ? tab + 1 : line_end + 1;
	return true;
}

static const char *line_end_of(const char *p, const char *end)
{
	const char *newline = memchr(p, '\n', (size_t)(end - p));

	return newline ? newline : end;
}

void table_align(const char *text, size_t len, struct str *out)
{
	size_t widths[COLUMNS_MAX] = { 0 };
	const char *end = text + len;
	struct cell cell;

	for (const char *line = text; line < end; line = line_end_of(line, end) + 1) {
		const char *p = line, *stop = line_end_of(line, end);

		for (size_t i = 0; i < COLUMNS_MAX && next_cell(&p, stop, &cell); i++) {
			size_t width = text_width(cell.text, cell.len);

			if (!cell.last && width + COLUMN_PADDING > widths[i])
				widths[i] = width + COLUMN_PADDING;
		}
	}
	for (const char *line = text; line < end; line = line_end_of(line, end) + 1) {
		const char *p = line, *stop = line_end_of(line, end);

		for (size_t i = 0; next_cell(&p, stop, &cell); i++) {
			size_t width = text_width(cell.text, cell.len);
			size_t want = i < COLUMNS_MAX ? widths[i] : 0;

			if (want < COLUMN_MIN)
				want = COLUMN_MIN;
			str_append(out, cell.text, cell.len);
			for (; !cell.last && width < want; width++)
				str_addc(out, ' ');
		}
		str_addc(out, '\n');
	}
}

void text_add_safe(struct str *out, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		/* C1 controls are two bytes in UTF-8: 0xc2 0x80 to 0xc2 0x9f. */
		if (*p < 0x20 || *p == 0x7f)
			str_addc(out, '?');
		else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
			str_addc(out, '?'), p++;
		else
			str_addc(out, (char)*p);
	}
}
