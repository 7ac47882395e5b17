#include "hyperstart/launch.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "hyperstart/identity.h"
#include "hyperstart/pod.h"
#include "hyperstart/root.h"
#include "hyperstart/sync.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

int launch_place_fds(const int fds[3], struct error *err)
{
	int moved[3];

	for (int i = 0; i < 3; i++) {
		moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (moved[i] < 0)
			return error_errno(err, errno, "placing descriptor %d", i);
	}
	for (int i = 0; i < 3; i++)
		if (dup2(moved[i], i) < 0)
			return error_errno(err, errno, "placing descriptor %d", i);
	return 0;
}

/* ------------------------------------------------------------------ limits */

/* Standard error is the container's already: the agent logs it. */
static int warn_fd = -1;

static void __attribute__((format(printf, 1, 2))) launch_warn(const char *fmt, ...)
{
	struct error warning = { .kind = ERROR_FAILED };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(warning.message, sizeof(warning.message), fmt, ap);
	va_end(ap);
	sync_send(warn_fd, SYNC_WARNING, &warning, NULL, 0);
}

static const struct {
	const char *name;
	int resource;
} rlimits[] = {
	{ "RLIMIT_AS", RLIMIT_AS },
	{ "RLIMIT_CORE", RLIMIT_CORE },
	{ "RLIMIT_CPU", RLIMIT_CPU },
	{ "RLIMIT_DATA", RLIMIT_DATA },
	{ "RLIMIT_FSIZE", RLIMIT_FSIZE },
	{ "RLIMIT_LOCKS", RLIMIT_LOCKS },
	{ "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK },
	{ "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE },
	{ "RLIMIT_NICE", RLIMIT_NICE },
	{ "RLIMIT_NOFILE", RLIMIT_NOFILE },
	{ "RLIMIT_NPROC", RLIMIT_NPROC },
	{ "RLIMIT_RSS", RLIMIT_RSS },
	{ "RLIMIT_RTPRIO", RLIMIT_RTPRIO },
	{ "RLIMIT_RTTIME", RLIMIT_RTTIME },
	{ "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING },
	{ "RLIMIT_STACK", RLIMIT_STACK },
};

/* An agent without CAP_SYS_RESOURCE (a namespace pod in a container) cannot raise a limit: as much
 * as it can, and it says so. */
static int lower_rlimit(int resource, const struct rlimit *wanted, const char *name,
			struct error *err)
{
	struct rlimit possible;

	if (getrlimit(resource, &possible) < 0)
		return error_errno(err, errno, "setting %s", name);
	if (wanted->rlim_max < possible.rlim_max)
		possible.rlim_max = wanted->rlim_max;
	possible.rlim_cur =
		wanted->rlim_cur < possible.rlim_max ? wanted->rlim_cur : possible.rlim_max;
	if (setrlimit(resource, &possible) < 0)
		return error_errno(err, errno, "setting %s", name);
	launch_warn("%s stays at %llu: this agent may not raise it", name,
		    (unsigned long long)possible.rlim_max);
	return 0;
}

static int set_rlimit(const Hyper__Rlimit *limit, struct error *err)
{
	struct rlimit value = { .rlim_cur = limit->soft, .rlim_max = limit->hard };

	for (size_t i = 0; i < ARRAY_SIZE(rlimits); i++) {
		if (strcmp(rlimits[i].name, limit->type) != 0)
			continue;
		if (setrlimit(rlimits[i].resource, &value) == 0)
			return 0;
		return errno == EPERM ? lower_rlimit(rlimits[i].resource, &value, limit->type, err)
				      : error_errno(err, errno, "setting %s", limit->type);
	}
	return error_set(err, ERROR_INVALID, "'%s' is no resource limit", limit->type);
}

static int set_oom_score(int adjustment, struct error *err)
{
	char text[16];
	int r;

	if (!adjustment)
		return 0;
	snprintf(text, sizeof(text), "%d", adjustment);
	r = pod_write_file(AT_FDCWD, "/proc/self/oom_score_adj", text);
	if (r == -EACCES || r == -EPERM) {
		launch_warn("oom_score_adj stays: this agent may not lower it to %d", adjustment);
		return 0;
	}
	return r < 0 ? error_errno(err, -r, "setting oom_score_adj to %d", adjustment) : 0;
}

/* ------------------------------------------------------------------ privileges */

static int last_capability(void)
{
	int cap = 0;

	while (cap < 63 && prctl(PR_CAPBSET_READ, cap) >= 0)
		cap++;
	return cap - 1;
}

static int limit_bounding_set(uint64_t keep, int last, struct error *err)
{
	for (int cap = 0; cap <= last; cap++)
		if (!(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap) < 0)
			return error_errno(err, errno, "dropping capability %d", cap);
	return 0;
}

/* What the agent has itself: in a namespace pod that may be less than everything. */
static uint64_t own_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	syscall(SYS_capget, &header, data);
	return data[0].permitted | (uint64_t)data[1].permitted << 32;
}

static int set_capabilities(const Hyper__Capabilities *c, uint64_t known, struct error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	uint64_t e = c->effective & known, p = c->permitted & known, i = c->inheritable & known;
	struct __user_cap_data_struct data[2] = {
		{ (uint32_t)e, (uint32_t)p, (uint32_t)i },
		{ (uint32_t)(e >> 32), (uint32_t)(p >> 32), (uint32_t)(i >> 32) },
	};

	if (syscall(SYS_capset, &header, data) < 0)
		return error_errno(err, errno, "setting capabilities");
	for (int cap = 0; cap < 64; cap++)
		if ((c->ambient & known) >> cap & 1 &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return error_errno(err, errno, "raising ambient capability %d", cap);
	return 0;
}

/* The kernel lets an unprivileged user's capabilities go at setuid; those asked for are to stay
 * until capset. */
static int become(const struct identity *who, const Hyper__Process *spec, struct error *err)
{
	static const Hyper__Capabilities none = HYPER__CAPABILITIES__INIT;
	const Hyper__Capabilities *caps = spec->capabilities ? spec->capabilities : &none;
	Hyper__Capabilities own = *caps;
	uint64_t known = own_capabilities();
	int last = last_capability(), r;

	r = limit_bounding_set(caps->bounding, last, err);
	if (r < 0)
		return r;
	prctl(PR_SET_KEEPCAPS, 1);
	if (setgroups(who->group_count, who->groups) < 0)
		return error_errno(err, errno, "setting supplementary groups");
	if (setresgid(who->gid, who->gid, who->gid) < 0)
		return error_errno(err, errno, "setting group %u", who->gid);
	if (setresuid(who->uid, who->uid, who->uid) < 0)
		return error_errno(err, errno, "setting user %u", who->uid);
	/* As runc: another user than root begins with what is ambient only. */
	if (who->uid != 0)
		own.effective = own.permitted = own.ambient;
	return set_capabilities(&own, known, err);
}

static int load_seccomp(const Hyper__Process *spec, struct error *err)
{
	struct sock_fprog program;

	if (!spec->seccomp.len)
		return 0;
	program.len = (unsigned short)(spec->seccomp.len / sizeof(struct sock_filter));
	program.filter = (struct sock_filter *)spec->seccomp.data;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, spec->seccomp_flags, &program) < 0)
		return error_errno(err, errno, "loading the seccomp filter");
	return 0;
}

/* ------------------------------------------------------------------ the program */

static const char *find_env(char *const *env, size_t count, const char *name)
{
	size_t len = strlen(name);
	const char *found = NULL;

	for (size_t i = 0; i < count; i++)
		if (strncmp(env[i], name, len) == 0 && env[i][len] == '=')
			found = env[i] + len + 1;
	return found;
}

static int cannot_run(const char *name, int errnum, struct error *err)
{
	const char *why = errnum == ENOENT ? "no such file or directory" : strerror(errnum);

	if (errnum == EACCES)
		why = "permission denied";
	error_set(err, ERROR_INVALID, "exec: \"%s\": %s", name, why);
	if (err)
		err->exit_code = errnum == ENOENT || errnum == ENOTDIR ? 127 : 126;
	return -errnum;
}

static int is_program(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return access(path, X_OK) < 0 && geteuid() != 0 ? -EACCES : st.st_mode & 0111 ? 0 : -EACCES;
}

static int search_path(const char *name, const char *path, char *ret, struct error *err)
{
	bool denied = false;

	while (path) {
		const char *end = strchrnul(path, ':');
		int len = (int)(end - path), r;

		if (len + strlen(name) + 2 <= PATH_MAX) {
			snprintf(ret, PATH_MAX, "%.*s/%s", len ? len : 1, len ? path : ".", name);
			r = is_program(ret);
			if (r == 0)
				return 0;
			denied |= r == -EACCES;
		}
		path = *end ? end + 1 : NULL;
	}
	if (denied)
		return cannot_run(name, EACCES, err);
	error_set(err, ERROR_INVALID, "exec: \"%s\": executable file not found in $PATH", name);
	if (err)
		err->exit_code = 127;
	return -ENOENT;
}

int launch_find_program(const Hyper__Process *spec, char *ret, struct error *err)
{
	const char *path = find_env(spec->env, spec->n_env, "PATH");
	int r;

	if (!strchr(spec->args[0], '/'))
		return search_path(spec->args[0], path ? path : DEFAULT_PATH, ret, err);
	if (strlen(spec->args[0]) >= PATH_MAX)
		return cannot_run("…", ENAMETOOLONG, err);
	strcpy(ret, spec->args[0]);
	r = is_program(ret);
	return r < 0 ? cannot_run(spec->args[0], -r, err) : 0;
}

int launch_run(const Hyper__Process *spec, const char *home, struct error *err)
{
	char **argv = calloc(spec->n_args + 1, sizeof(*argv));
	char **env = calloc(spec->n_env + 2, sizeof(*env));
	char program[PATH_MAX];
	int r;

	if (!argv || !env)
		return error_nomem(err);
	memcpy(argv, spec->args, spec->n_args * sizeof(*argv));
	if (spec->n_env)
		memcpy(env, spec->env, spec->n_env * sizeof(*env));
	if (!find_env(spec->env, spec->n_env, "HOME"))
		env[spec->n_env] = strf("HOME=%s", home && *home ? home : "/");
	r = launch_find_program(spec, program, err);
	if (r < 0)
		return r;
	execve(program, argv, env);
	return cannot_run(argv[0], errno, err);
}

/* Made when missing, as Docker does; never reached through /proc's magic links. */
static int enter_cwd(int root_fd, const char *cwd, struct error *err)
{
	autoclose int fd = -1;

	if (!*cwd)
		cwd = "/";
	if (*cwd != '/')
		return error_set(err, ERROR_INVALID,
				 "working directory '%s': expected an absolute path", cwd);
	fd = root_make_dir(root_fd, cwd, 0755, err);
	if (fd < 0)
		return error_prefix(err, fd, "working directory '%s'", cwd);
	if (fchdir(fd) < 0)
		return error_errno(err, errno, "working directory '%s'", cwd);
	return 0;
}

int launch_prepare(const Hyper__Process *spec, int root_fd, int sync_fd, char **ret_home,
		   struct error *err)
{
	struct identity who = { 0 };
	int r = 0;

	warn_fd = sync_fd;
	setsid();
	if (spec->terminal && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
		return error_errno(err, errno, "making the terminal a controlling one");
	r = identity_find(root_fd, spec->user, spec->additional_groups, spec->n_additional_groups,
			  &who, err);
	if (r == 0)
		r = enter_cwd(root_fd, spec->cwd, err);
	for (size_t i = 0; r == 0 && i < spec->n_rlimits; i++)
		r = set_rlimit(spec->rlimits[i], err);
	if (r == 0)
		r = set_oom_score(spec->oom_score_adj, err);
	if (r == 0 && spec->terminal)
		r = fchown(STDIN_FILENO, who.uid, (gid_t)-1) < 0 && errno != EPERM
			    ? error_errno(err, errno, "giving the terminal to user %u", who.uid)
			    : 0;
	if (r < 0)
		return r;
	umask(spec->umask ? (mode_t)spec->umask : 0022);
	syscall(SYS_close_range, 3u, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);

	/* Without no_new_privs a filter needs a privilege that is about to go. */
	if (spec->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_errno(err, errno, "setting no_new_privs");
	if (!spec->no_new_privileges)
		r = load_seccomp(spec, err);
	if (r == 0)
		r = become(&who, spec, err);
	if (r == 0 && spec->no_new_privileges)
		r = load_seccomp(spec, err);
	*ret_home = who.home;
	return r;
}

int launch(const Hyper__Process *spec, int root_fd, int sync_fd, struct error *err)
{
	char *home;
	int r = launch_prepare(spec, root_fd, sync_fd, &home, err);

	return r < 0 ? r : launch_run(spec, home, err);
}
