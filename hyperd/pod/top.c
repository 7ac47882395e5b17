/* A container's processes in ps's clothes: the columns that Docker's users ask for. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "hyperd/pod/internal.h"

struct row {
	const Hyper__TopProcess *p;
	uint64_t now_ns, memory_total_bytes;
};

static char *show_uid(const struct row *row)
{
	return strdup(row->p->user);
}

static char *show_uid_number(const struct row *row)
{
	return strf("%u", row->p->uid);
}

static char *show_gid(const struct row *row)
{
	return strf("%u", row->p->gid);
}

static char *show_pid(const struct row *row)
{
	return strf("%d", row->p->pid);
}

static char *show_parent(const struct row *row)
{
	return strf("%d", row->p->parent);
}

static double age_s(const struct row *row)
{
	return row->now_ns > row->p->start_realtime_ns
		       ? (double)(row->now_ns - row->p->start_realtime_ns) / 1e9
		       : 0;
}

static double cpu_percent(const struct row *row)
{
	return age_s(row) > 0 ? (double)row->p->cpu_ns / 1e7 / age_s(row) : 0;
}

static char *show_c(const struct row *row)
{
	return strf("%d", (int)cpu_percent(row));
}

static char *show_cpu(const struct row *row)
{
	return strf("%.1f", cpu_percent(row));
}

static char *show_start(const struct row *row)
{
	time_t start = (time_t)(row->p->start_realtime_ns / NSEC_PER_SEC);
	char text[32];
	struct tm tm;

	if (!localtime_r(&start, &tm))
		return strdup("-");
	strftime(text, sizeof(text), age_s(row) < 86400 ? "%H:%M" : "%b%d", &tm);
	return strdup(text);
}

static char *show_elapsed(const struct row *row)
{
	unsigned s = (unsigned)age_s(row);

	if (s >= 86400)
		return strf("%u-%02u:%02u:%02u", s / 86400, s / 3600 % 24, s / 60 % 60, s % 60);
	return s >= 3600 ? strf("%02u:%02u:%02u", s / 3600, s / 60 % 60, s % 60)
			 : strf("%02u:%02u", s / 60, s % 60);
}

static char *show_tty(const struct row *row)
{
	return strdup(*row->p->tty ? row->p->tty : "?");
}

static char *show_time(const struct row *row)
{
	unsigned s = (unsigned)(row->p->cpu_ns / NSEC_PER_SEC);

	return strf("%02u:%02u:%02u", s / 3600, s / 60 % 60, s % 60);
}

static char *show_short_time(const struct row *row)
{
	unsigned s = (unsigned)(row->p->cpu_ns / NSEC_PER_SEC);

	return strf("%u:%02u", s / 60, s % 60);
}

static char *show_command(const struct row *row)
{
	return strdup(row->p->command);
}

static char *show_name(const struct row *row)
{
	return strdup(row->p->name);
}

static char *show_rss(const struct row *row)
{
	return strf("%llu", (unsigned long long)row->p->rss_bytes / 1024);
}

static char *show_vsz(const struct row *row)
{
	return strf("%llu", (unsigned long long)row->p->vsz_bytes / 1024);
}

static char *show_state(const struct row *row)
{
	return strdup(row->p->state);
}

/* ps's words, its headings, and where the values come from. */
static const struct column {
	const char *word, *heading;
	char *(*show)(const struct row *row);
} columns[] = {
	{ "pid", "PID", show_pid },
	{ "ppid", "PPID", show_parent },
	{ "user", "USER", show_uid },
	{ "euser", "EUSER", show_uid },
	{ "ruser", "RUSER", show_uid },
	{ "uid", "UID", show_uid_number },
	{ "euid", "EUID", show_uid_number },
	{ "gid", "GID", show_gid },
	{ "c", "C", show_c },
	{ "pcpu", "%CPU", show_cpu },
	{ "%cpu", "%CPU", show_cpu },
	{ "stime", "STIME", show_start },
	{ "start", "START", show_start },
	{ "start_time", "START", show_start },
	{ "etime", "ELAPSED", show_elapsed },
	{ "tty", "TT", show_tty },
	{ "tt", "TT", show_tty },
	{ "time", "TIME", show_time },
	{ "cputime", "TIME", show_time },
	{ "cmd", "CMD", show_command },
	{ "args", "COMMAND", show_command },
	{ "command", "COMMAND", show_command },
	{ "comm", "COMMAND", show_name },
	{ "ucmd", "CMD", show_name },
	{ "rss", "RSS", show_rss },
	{ "rsz", "RSZ", show_rss },
	{ "vsz", "VSZ", show_vsz },
	{ "stat", "STAT", show_state },
	{ "state", "S", show_state },
	{ "s", "S", show_state },
};

static const struct column full_format[] = {
	{ "uid", "UID", show_uid },       { "pid", "PID", show_pid },
	{ "ppid", "PPID", show_parent },  { "c", "C", show_c },
	{ "stime", "STIME", show_start }, { "tty", "TTY", show_tty },
	{ "time", "TIME", show_time },    { "cmd", "CMD", show_command },
};

static const struct column user_format[] = {
	{ "user", "USER", show_uid },        { "pid", "PID", show_pid },
	{ "pcpu", "%CPU", show_cpu },        { "vsz", "VSZ", show_vsz },
	{ "rss", "RSS", show_rss },          { "tty", "TTY", show_tty },
	{ "stat", "STAT", show_state },      { "start", "START", show_start },
	{ "time", "TIME", show_short_time }, { "args", "COMMAND", show_command },
};

#define COLUMNS_MAX 32

static int add_words(const char *list, struct column *out, size_t *count, struct error *err)
{
	autostrv char **words = strv_split(list, ',');

	strv_for_each(word, words) {
		const char *heading = strchr(*word, '=');
		size_t n = heading ? (size_t)(heading - *word) : strlen(*word), i;

		if (!n)
			continue;
		for (i = 0; i < ARRAY_SIZE(columns); i++)
			if (strlen(columns[i].word) == n && strncmp(columns[i].word, *word, n) == 0)
				break;
		if (i == ARRAY_SIZE(columns))
			return error_set(err, ERROR_INVALID,
					 "Error running ps: error: unknown user-defined format "
					 "specifier \"%s\"",
					 *word);
		if (*count < COLUMNS_MAX)
			out[(*count)++] = columns[i];
	}
	return 0;
}

/* "-ef", "aux", "-o pid,cmd", "-eo pid,cmd": what is asked for in all but rare cases. */
static int choose_columns(const char *args, struct column *out, size_t *count, struct error *err)
{
	autostrv char **words = strv_split(args && *args ? args : "-ef", ' ');
	bool next_is_format = false;

	*count = 0;
	strv_for_each(word, words) {
		const char *o = strchr(*word, 'o');
		int r = 0;

		if (next_is_format)
			r = add_words(*word, out, count, err);
		else if (str_starts(*word, "--format="))
			r = add_words(*word + strlen("--format="), out, count, err);
		else if (o && strspn(*word, "-eAax") == (size_t)(o - *word) && o[1])
			r = add_words(o + 1, out, count, err);
		if (r < 0)
			return r;
		next_is_format = !next_is_format && o && !o[1] && **word != ',' &&
				 strspn(*word, "-eAax") == (size_t)(o - *word);
	}
	if (*count)
		return 0;
	if (args && strchr(args, 'u')) {
		memcpy(out, user_format, sizeof(user_format));
		*count = ARRAY_SIZE(user_format);
	} else {
		memcpy(out, full_format, sizeof(full_format));
		*count = ARRAY_SIZE(full_format);
	}
	return 0;
}

static json_t *make_table(const Hyper__ContainerTopReply *top, const struct column *cols,
			  size_t count)
{
	json_t *titles = json_array(), *processes = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(titles, json_string(cols[i].heading));
	for (size_t k = 0; k < top->n_processes; k++) {
		const struct row row = { .p = top->processes[k], .now_ns = realtime_ns() };
		json_t *line = json_array();

		for (size_t i = 0; i < count; i++) {
			autofree char *text = cols[i].show(&row);
			json_t *value = text ? json_string(text) : NULL;

			/* A guest's words need not be UTF-8. */
			json_array_append_new(line, value ? value : json_string("?"));
		}
		json_array_append_new(processes, line);
	}
	return json_pack("{s:o, s:o}", "Titles", titles, "Processes", processes);
}

int container_top(struct container *c, const char *ps_args, json_t **ret, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ContainerTop body = HYPER__CONTAINER_TOP__INIT;
	struct column cols[COLUMNS_MAX];
	Hyper__Reply *reply = NULL;
	struct agent *agent;
	size_t count;
	int r;

	if (c->state == CONTAINER_RESTARTING)
		return error_set(err, ERROR_CONFLICT,
				 "Container %s is restarting, wait until the container is running",
				 c->id);
	if (!container_is_running(c))
		return error_set(err, ERROR_CONFLICT, "Container %s is not running", c->id);
	r = choose_columns(ps_args, cols, &count, err);
	if (r < 0)
		return r;
	agent = pod_agent(c->pod, err);
	if (!agent)
		return -EBUSY;
	body.id = c->id;
	request.body_case = HYPER__REQUEST__BODY_CONTAINER_TOP;
	request.container_top = &body;
	r = agent_call(agent, &request, deadline_in_ms(AGENT_CALL_MS), &reply, err);
	if (r < 0)
		return r;
	if (reply->body_case == HYPER__REPLY__BODY_CONTAINER_TOP)
		*ret = make_table(reply->container_top, cols, count);
	else
		r = error_set(err, ERROR_FAILED, "the agent answered something else");
	hyper__reply__free_unpacked(reply, NULL);
	if (r == 0)
		container_event(c, "top", NULL);
	return r;
}
