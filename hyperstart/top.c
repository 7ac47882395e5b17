#include "hyperstart/top.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "hyperstart/agent.h"
#include "hyperstart/container.h"
#include "hyperstart/identity.h"
#include "hyperstart/stats.h"

#define PROCESSES_MAX 4096
#define COMMAND_MAX   4096

struct entry {
	Hyper__TopProcess process;
	char name[64], user[64], tty[16], state[2];
	char *command; /* owned */
};

static char *read_of(pid_t pid, const char *name, size_t *len)
{
	char path[48], *text = NULL;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return file_read(AT_FDCWD, path, COMMAND_MAX * 16, &text, len, NULL) < 0 ? NULL : text;
}

/* Protobuf strings are UTF-8; what processes call themselves need not be. */
static void make_printable(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || (unsigned char)*s >= 0x7f)
			*s = '?';
}

/* Fields of /proc/PID/stat (proc(5)), counted from the one after the state. */
enum {
	STAT_PARENT = 0,
	STAT_TTY = 3,
	STAT_UTIME = 10,
	STAT_STIME = 11,
	STAT_START = 18,
	STAT_VSIZE = 19,
	STAT_RSS = 20,
	STAT_FIELDS,
};

/* The line; the name may hold brackets and spaces. */
static bool parse_stat(char *text, struct entry *e)
{
	Hyper__TopProcess *p = &e->process;
	char *open = strchr(text, '('), *close = strrchr(text, ')');
	uint64_t v[STAT_FIELDS], tick_ns = NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK);
	unsigned tty;

	if (!open || !close || close < open || strlen(close) < 4)
		return false;
	*close = '\0';
	strncpy(e->name, open + 1, sizeof(e->name) - 1);
	e->state[0] = close[2];
	if (numbers_read(close + 3, v, STAT_FIELDS) < STAT_FIELDS)
		return false;
	p->parent = (int)v[STAT_PARENT];
	tty = (unsigned)v[STAT_TTY];
	p->cpu_ns = (v[STAT_UTIME] + v[STAT_STIME]) * tick_ns;
	p->vsz_bytes = v[STAT_VSIZE];
	p->rss_bytes = v[STAT_RSS] * (uint64_t)sysconf(_SC_PAGESIZE);
	p->start_realtime_ns = realtime_ns() - clock_ns(CLOCK_BOOTTIME) + v[STAT_START] * tick_ns;
	if (tty >> 8 == 136)
		snprintf(e->tty, sizeof(e->tty), "pts/%u", tty & 0xff);
	else
		strcpy(e->tty, "?");
	return true;
}

static unsigned status_number(const char *text, const char *key)
{
	const char *p = strstr(text, key);

	return p ? (unsigned)strtoul(p + strlen(key), NULL, 10) : 0;
}

static char *command_of(pid_t pid, const char *name)
{
	size_t len = 0;
	char *text = read_of(pid, "cmdline", &len);

	if (!text || !len) {
		free(text);
		return strf("[%s]", name);
	}
	while (len && !text[len - 1])
		len--;
	if (len > COMMAND_MAX)
		len = COMMAND_MAX;
	text[len] = '\0';
	for (size_t i = 0; i < len; i++)
		if (!text[i])
			text[i] = ' ';
	return text;
}

static bool fill(struct entry *e, pid_t pid, const char *passwd)
{
	autofree char *stat = read_of(pid, "stat", NULL), *status = read_of(pid, "status", NULL);

	e->process = (Hyper__TopProcess)HYPER__TOP_PROCESS__INIT;
	if (!stat || !status || !parse_stat(stat, e))
		return false; /* it has just ended */
	e->process.pid = pid;
	e->process.uid = status_number(status, "\nUid:\t");
	e->process.gid = status_number(status, "\nGid:\t");
	if (!passwd || !identity_name(passwd, e->process.uid, e->user, sizeof(e->user)))
		snprintf(e->user, sizeof(e->user), "%u", e->process.uid);
	e->command = command_of(pid, e->name);
	if (!e->command)
		return false;
	make_printable(e->name);
	make_printable(e->user);
	make_printable(e->command);
	e->process.name = e->name;
	e->process.user = e->user;
	e->process.tty = e->tty;
	e->process.state = e->state;
	e->process.command = e->command;
	return true;
}

int container_top_handle(struct request *request, struct error *err)
{
	Hyper__ContainerTopReply body = HYPER__CONTAINER_TOP_REPLY__INIT;
	Hyper__Reply reply = HYPER__REPLY__INIT;
	autofree pid_t *pids = NULL;
	autofree struct entry *entries = NULL;
	autofree Hyper__TopProcess **pointers = NULL;
	autofree char *passwd = NULL;
	struct container *c;
	size_t count, n = 0;
	int r = container_get(request->agent, request->body->container_top->id, &c, err);

	if (r < 0)
		return r;
	if (!c->cgroup || !container_running(c))
		return error_set(err, ERROR_CONFLICT, "container '%s' is not running", c->id);
	r = cgroup_pids(c->cgroup, &pids, &count);
	if (r < 0)
		return error_errno(err, -r, "listing processes");
	if (count > PROCESSES_MAX)
		count = PROCESSES_MAX;
	entries = calloc(count + 1, sizeof(*entries));
	pointers = calloc(count + 1, sizeof(*pointers));
	if (!entries || !pointers)
		return error_nomem(err);
	passwd = identity_passwd(c->root_fd);
	for (size_t i = 0; i < count; i++) {
		if (fill(&entries[n], pids[i], passwd)) {
			pointers[n] = &entries[n].process;
			n++;
		}
	}
	body.processes = pointers;
	body.n_processes = n;
	reply.body_case = HYPER__REPLY__BODY_CONTAINER_TOP;
	reply.container_top = &body;
	request_reply(request, &reply);
	for (size_t i = 0; i < n; i++)
		free(entries[i].command);
	return REQUEST_KEPT;
}
