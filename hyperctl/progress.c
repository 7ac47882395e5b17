#include "hyperctl/progress.h"

#include <string.h>
#include <unistd.h>

#include "hyperctl/table.h"
#include "hyperctl/terminal.h"
#include "hyperctl/units.h"

#define LINES_MAX 64
#define BAR_WIDTH 50

struct progress {
	FILE *out;
	bool terminal;
	char *ids[LINES_MAX]; /* owned; one line each, the first uppermost */
	size_t count;
	char *last; /* owned */
};

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key)) ?: "";
}

/* "[=====>     ]  1.2MB/5MB", or nothing. */
static void bar_add(struct str *line, const json_t *message, size_t columns)
{
	json_t *detail = json_object_get(message, "progressDetail");
	double current = json_number_value(json_object_get(detail, "current"));
	double total = json_number_value(json_object_get(detail, "total"));
	char now[24], all[24];

	if (current <= 0 && total <= 0)
		return;
	size_human(current, now);
	size_human(total, all);
	if (total > 0 && columns >= 110) {
		size_t full = current >= total ? BAR_WIDTH : (size_t)(current / total * BAR_WIDTH);

		str_add(line, " [");
		for (size_t i = 0; i < BAR_WIDTH; i++)
			str_addc(line, i < full ? '=' : i == full ? '>' : ' ');
		str_add(line, "] ");
	}
	str_addf(line, total > 0 ? " %s/%s" : " %s", now, all);
}

/* The line of ID, counted from the bottom (1: the lowest); 0 when there is no room for one more. */
static size_t line_of(struct progress *progress, const char *id)
{
	for (size_t i = 0; i < progress->count; i++)
		if (strcmp(progress->ids[i], id) == 0)
			return progress->count - i;
	if (progress->count == LINES_MAX)
		return 0;
	progress->ids[progress->count] = strdup(id);
	if (!progress->ids[progress->count])
		return 0;
	progress->count++;
	fputc('\n', progress->out);
	return 1;
}

static void show(struct progress *progress, const json_t *message)
{
	const char *id = text_of(message, "id"), *status = text_of(message, "status");
	unsigned rows = 24, columns = 80;
	autostr struct str line = STR_INIT, safe = STR_INIT;
	size_t up;

	text_add_safe(&safe, id);
	if (*id)
		str_addf(&line, "%s: ", str_text(&safe));
	str_clear(&safe);
	text_add_safe(&safe, status);
	str_add(&line, str_text(&safe));
	if (!progress->terminal) {
		/* Progress within a layer is for people who watch. */
		if (json_object_size(json_object_get(message, "progressDetail")) == 0)
			fprintf(progress->out, "%s\n", str_text(&line));
		return;
	}
	terminal_size(STDOUT_FILENO, &rows, &columns);
	bar_add(&line, message, columns);
	if (line.len >= columns)
		line.data[columns - 1] = '\0';
	up = *id ? line_of(progress, id) : 0;
	if (up && up < rows)
		fprintf(progress->out, "\033[%zuA\r\033[2K%s\033[%zuB\r", up, str_text(&line), up);
	else if (!up)
		fprintf(progress->out, "%s\n", str_text(&line));
	if (!up) {
		/* What came between ends the block of lines that can be redrawn. */
		for (size_t i = 0; i < progress->count; i++)
			free(progress->ids[i]);
		progress->count = 0;
	}
	fflush(progress->out);
}

static int handle(struct progress *progress, const json_t *message, bool quiet, struct error *err)
{
	const char *error = text_of(json_object_get(message, "errorDetail"), "message");
	const char *stream = text_of(message, "stream"), *status = text_of(message, "status");

	if (!*error)
		error = text_of(message, "error");
	if (*error)
		return error_set(err, ERROR_FAILED, "%s", error);
	if (*status) {
		free(progress->last);
		progress->last = strdup(status);
	}
	if (quiet)
		return 0;
	if (*stream) {
		autostrv char **lines = strv_split(stream, '\n');

		strv_for_each(line, lines) {
			autostr struct str safe = STR_INIT;

			text_add_safe(&safe, *line);
			fprintf(progress->out, "%s%s", line == lines ? "" : "\n", str_text(&safe));
		}
		fflush(progress->out);
	}
	if (*status)
		show(progress, message);
	return 0;
}

int progress_show(struct response *response, FILE *out, bool quiet, char **ret_last,
		  struct error *err)
{
	struct progress progress = { .out = out, .terminal = isatty(fileno(out)) };
	int r;

	for (;;) {
		autojson json_t *message = NULL;

		r = response_next_json(response, &message, err);
		if (r <= 0)
			break;
		r = handle(&progress, message, quiet, err);
		if (r < 0)
			break;
	}
	for (size_t i = 0; i < progress.count; i++)
		free(progress.ids[i]);
	if (r == 0 && ret_last)
		*ret_last = steal(progress.last);
	free(progress.last);
	return r;
}
