/*
 * Names on a network: a dnsmasq on its gateway's address, which reads a hosts file of ours anew
 * whenever it is told to, and asks the host's servers for everything else. It runs as nobody, with
 * the one capability that port 53 needs, and sees a directory with that file and the host's
 * resolv.conf.
 *
 * It outlives the daemon; the next one starts another in its place.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "hyperd/network/internal.h"

#define HOSTS_FILE "hosts"
/* Where it sees its directory: every system has this one, and nothing of its own in it. */
#define OWN_DIR         "/mnt"
#define PID_FILE        "server.json"
#define NOBODY          65534
#define READY_MS        10000
#define RESTART_WAIT_MS 1000
#define END_MS          5000

struct names {
	struct network *network; /* borrowed: it goes after us */
	char *dir;               /* owned */
	struct process process;
	struct loop_io exit_io;
	struct loop_timer restart_timer;
	char *text; /* owned: what the server was told last */
};

bool network_has_names(const struct network *n)
{
	return strcmp(n->driver, "bridge") == 0 && !n->predefined;
}

static char *names_dir(const struct networks *networks, const char *id)
{
	return strf("%s/names/%s", networks->run_root, id);
}

/* ------------------------------------------------------------------ its file */

static void add_entry(struct str *out, const struct ip *ip, const char *name)
{
	char text[IP_TEXT_BYTES];

	if (ip->family)
		str_addf(out, "%s %s\n", ip_text(ip, text), name);
}

static bool has_name(const struct network *n, const char *name)
{
	const struct endpoint *e;

	list_for_each_entry(e, &n->endpoints, node) {
		strv_for_each(alias, e->aliases)
			if (strcmp(*alias, name) == 0)
				return true;
	}
	return false;
}

/* The same file has to be the same text, or every change anywhere would wake every server. */
static void add_endpoint(struct str *out, const struct endpoint *e, const struct network *unless)
{
	if (!*e->port)
		return;
	strv_for_each(alias, e->aliases) {
		if (unless && has_name(unless, *alias))
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(e->addresses); i++)
			add_entry(out, &e->addresses[i], *alias);
	}
}

/* A pod asks one server: its first network's. What it sees on its other networks is answered there
 * too. */
static void add_neighbours(struct str *out, const struct network *n)
{
	struct network *other;
	const struct endpoint *mine, *e;

	list_for_each_entry(other, &n->networks->list, node) {
		bool shared = false;

		if (other == n || !network_has_names(other))
			continue;
		list_for_each_entry(mine, &n->endpoints, node) {
			list_for_each_entry(e, &other->endpoints, node) {
				shared |= strcmp(e->owner, mine->owner) == 0;
			}
		}
		if (!shared)
			continue;
		list_for_each_entry(e, &other->endpoints, node)
			add_endpoint(out, e, n);
	}
}

int names_update(struct network *n, struct error *err)
{
	struct names *names = n->names;
	autostr struct str text = STR_INIT;
	autofree char *path = strf("%s/" HOSTS_FILE, names->dir);
	const struct endpoint *e;
	int r;

	list_for_each_entry(e, &n->endpoints, node)
		add_endpoint(&text, e, NULL);
	add_neighbours(&text, n);
	if (!path || text.failed)
		return error_nomem(err);
	if (names->text && strcmp(names->text, str_text(&text)) == 0)
		return 0;
	r = file_write_atomic(AT_FDCWD, path, str_text(&text), text.len, 0644, false, err);
	if (r < 0)
		return error_prefix(err, r, "names of network %s", n->name);
	free(names->text);
	names->text = strdup(str_text(&text));
	if (names->process.pidfd >= 0)
		process_signal(&names->process, SIGHUP);
	return 0;
}

/* ------------------------------------------------------------------ its server */

struct confinement {
	const char *dir;
};

/* Between fork and exec: system calls only. Its view of the file system is the host's programs and
 * libraries, read-only, and its directory. */
static int confine(void *arg, const char **ret_what)
{
	static const char *const empty[] = { "/root", "/home", "/var", "/run", "/tmp", "/srv" };
	const struct confinement *c = arg;
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { 0 };
	const struct rlimit files = { 256, 256 }, core = { 0, 0 };

	*ret_what = "making a view of the file system";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(c->dir, OWN_DIR, NULL, MS_BIND, NULL) < 0)
		return -errno;
	*ret_what = "hiding what is not its business";
	for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
		if (mount("hyper", empty[i], "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
			  "size=4k") < 0 &&
		    errno != ENOENT)
			return -errno;
	setsid();
	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &core);
	*ret_what = "dropping privileges";
	for (int cap = 0; cap < 64; cap++)
		if (cap != CAP_NET_BIND_SERVICE && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 &&
		    errno != EINVAL)
			return -errno;
	prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
	if (syscall(SYS_setgroups, 0, NULL) < 0 ||
	    syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY) < 0 ||
	    syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY) < 0)
		return -errno;
	caps[0].effective = caps[0].permitted = caps[0].inheritable = 1u << CAP_NET_BIND_SERVICE;
	if (syscall(SYS_capset, &header, caps) < 0 ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

static int command_line(const struct network *n, char ***ret)
{
	static const char *const fixed[] = {
		"dnsmasq",
		"--keep-in-foreground",
		"--conf-file=/dev/null",
		"--pid-file=",
		"--no-hosts",
		"--addn-hosts=" OWN_DIR "/" HOSTS_FILE,
		"--bind-interfaces",
		"--domain-needed",
		"--bogus-priv",
		"--local-ttl=0",
		"--neg-ttl=1",
		"--log-facility=-",
		"--user=",
		"--group=",
		"--cache-size=1000",
		"--no-poll",
	};
	char **argv = NULL, text[IP_TEXT_BYTES];
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(fixed) && r == 0; i++)
		r = strv_add(&argv, fixed[i]);
	for (size_t i = 0; i < ARRAY_SIZE(n->families) && r == 0; i++)
		if (n->families[i].on)
			r = strv_addf(&argv, "--listen-address=%s",
				      ip_text(&n->families[i].gateway, text));
	/* Who is not to reach the outside is not to reach it by asking for names either. */
	if (r == 0)
		r = strv_add(&argv, n->internal ? "--no-resolv" : "--resolv-file=/etc/resolv.conf");
	if (r < 0) {
		strv_free(argv);
		return r;
	}
	*ret = argv;
	return 0;
}

static void server_ended(struct loop_io *io, uint32_t events);

struct spawn_job {
	struct process_options options;
	struct process *process;
	struct error error;
};

static int spawn(void *arg)
{
	struct spawn_job *job = arg;

	return process_spawn(&job->options, job->process, &job->error);
}

static int write_pid(struct names *names, struct error *err)
{
	autofree char *path = strf("%s/" PID_FILE, names->dir);
	autojson json_t *json = NULL;
	unsigned long long start;
	int r = path ? process_start_time(names->process.pid, &start) : -ENOMEM;

	if (r < 0)
		return error_errno(err, -r, "looking at dnsmasq");
	json = json_pack("{s:i, s:I}", "pid", (int)names->process.pid, "start_time",
			 (json_int_t)start);
	return json ? json_write(AT_FDCWD, path, json, false, err) : error_nomem(err);
}

/* Whether somebody listens at the gateway: the kernel's table of UDP sockets says it. */
static bool listens(const struct network *n)
{
	autofclose FILE *f = fopen("/proc/net/udp", "re");
	char line[256];
	unsigned address, port, wanted;

	memcpy(&wanted, n->families[0].gateway.bytes, 4);
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " %*d: %x:%x", &address, &port) == 2 && address == wanted &&
		    port == 53)
			return true;
	return false;
}

static int wait_until_it_listens(struct names *names, struct error *err)
{
	uint64_t deadline_ns = deadline_in_ms(READY_MS);

	while (!listens(names->network)) {
		if (names->process.pidfd < 0)
			return error_set(err, ERROR_FAILED,
					 "dnsmasq ended at once; is port 53 of %s taken?",
					 names->network->name);
		if (now_ns() > deadline_ns)
			return error_set(err, ERROR_TIMEOUT, "dnsmasq did not begin to listen");
		if (task_sleep_until(deadline_in_ms(2)) == -ECANCELED)
			return error_set(err, ERROR_CANCELED, "canceled while dnsmasq was started");
	}
	return 0;
}

static int start_server(struct names *names, struct error *err)
{
	autostrv char **argv = NULL;
	static const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
	struct confinement confinement = { .dir = names->dir };
	struct spawn_job job = { .process = &names->process };
	/* What it has to say is for those who look into it. */
	struct process_fd fds[] = { { 2, 2 } };
	int r = command_line(names->network, &argv);

	if (r < 0)
		return error_nomem(err);
	job.options = (struct process_options){ .argv = (const char *const *)argv,
						.env = env,
						.fds = fds,
						.fd_count = trace_enabled("network"),
						.setup = confine,
						.setup_arg = &confinement,
						.clone_flags =
							CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS };
	r = job_run(names->network->networks->jobs, spawn, &job);
	if (r < 0) {
		error_copy(err, &job.error);
		return error_prefix(err, r, "starting dnsmasq");
	}
	r = loop_io_add(names->network->networks->loop, &names->exit_io, names->process.pidfd,
			EPOLLIN, server_ended);
	if (r < 0)
		return error_errno(err, -r, "watching dnsmasq");
	return write_pid(names, err);
}

static void start_again(void *arg)
{
	struct network *n = arg;
	struct error err = { 0 };

	if (task_mutex_lock(&n->mutex, DEADLINE_NEVER) == 0) {
		if (n->names && n->names->process.pidfd < 0 && n->up &&
		    start_server(n->names, &err) < 0) {
			log_warn("network %s: %s", n->name, err.message);
		}
		task_mutex_unlock(&n->mutex);
	}
	network_unref(n);
}

static void restart(struct loop_timer *timer)
{
	struct names *names = container_of(timer, struct names, restart_timer);
	struct network *n = names->network;

	if (task_spawn(n->networks->loop, "names", start_again, network_ref(n), NULL, NULL) < 0)
		network_unref(n);
}

static void server_ended(struct loop_io *io, uint32_t events)
{
	struct names *names = container_of(io, struct names, exit_io);
	static struct process none = PROCESS_INIT;
	int code = 0;

	if (process_reap(&names->process, &code) == -EAGAIN)
		return;
	loop_io_remove(io);
	process_done(&names->process);
	names->process = none;
	log_warn("network %s: its dnsmasq has ended (%d), starting another", names->network->name,
		 code);
	loop_timer_set(names->network->networks->loop, &names->restart_timer,
		       deadline_in_ms(RESTART_WAIT_MS), restart);
}

int names_start(struct network *n, struct error *err)
{
	autofree char *hosts = NULL;
	struct names *names;
	int r;

	if (n->names)
		return 0;
	names = calloc(1, sizeof(*names));
	if (!names)
		return error_nomem(err);
	names->network = n;
	names->process = (struct process)PROCESS_INIT;
	names->dir = names_dir(n->networks, n->id);
	hosts = names->dir ? strf("%s/" HOSTS_FILE, names->dir) : NULL;
	r = hosts ? file_make_dirs(AT_FDCWD, names->dir, 0755, err) : error_nomem(err);
	if (r == 0)
		r = file_write_atomic(AT_FDCWD, hosts, "", 0, 0644, false, err);
	n->names = names;
	if (r == 0)
		r = start_server(names, err);
	if (r == 0)
		r = wait_until_it_listens(names, err);
	if (r < 0)
		names_stop(n);
	return r;
}

void names_free(struct names *names, bool keep)
{
	if (!names)
		return;
	loop_timer_cancel(&names->restart_timer);
	loop_io_remove(&names->exit_io);
	if (!keep && names->process.pidfd >= 0)
		process_signal(&names->process, SIGKILL);
	process_done(&names->process);
	free(names->dir);
	free(names->text);
	free(names);
}

void names_stop(struct network *n)
{
	struct names *names = steal(n->names);
	int code;

	if (!names)
		return;
	loop_timer_cancel(&names->restart_timer);
	loop_io_remove(&names->exit_io);
	if (names->process.pidfd >= 0) {
		process_signal(&names->process, SIGKILL);
		process_wait(&names->process, deadline_in_ms(END_MS), &code, NULL);
		process_done(&names->process);
		names->process = (struct process)PROCESS_INIT;
	}
	if (names->dir)
		file_remove_tree(AT_FDCWD, names->dir, NULL);
	names_free(names, true);
}

/* ------------------------------------------------------------------ what earlier daemons left */

static void end_server(const char *dir)
{
	autofree char *path = strf("%s/" PID_FILE, dir);
	autojson json_t *json = NULL;
	autoclose int pidfd = -1;
	unsigned long long start;
	int64_t pid = 0, recorded = 0;

	if (!path || json_read(AT_FDCWD, path, 4096, &json, NULL) < 0)
		return;
	json_get_int(json, "pid", &pid, NULL);
	json_get_int(json, "start_time", &recorded, NULL);
	if (pid <= 1)
		return;
	pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	/* With the descriptor held, the number cannot become another's between look and signal. */
	if (pidfd < 0 || process_start_time((pid_t)pid, &start) < 0 ||
	    start != (unsigned long long)recorded)
		return;
	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	task_wait_fd(pidfd, EPOLLIN, deadline_in_ms(END_MS), NULL);
}

void names_sweep(struct networks *networks)
{
	autofree char *parent = strf("%s/names", networks->run_root);
	autostrv char **found = NULL;
	autoclosedir DIR *dir = parent ? opendir(parent) : NULL;
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			strv_add(&found, entry->d_name);
	strv_for_each(id, found) {
		autofree char *path = names_dir(networks, *id);

		if (!path)
			continue;
		end_server(path);
		file_remove_tree(AT_FDCWD, path, NULL);
	}
}
