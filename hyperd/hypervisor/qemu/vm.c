#include "hyperd/hypervisor/qemu/vm.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "base/task.h"
#include "hyperd/hypervisor/qemu/confine.h"
#include "hyperd/hypervisor/run_socket.h"

#define QMP_SOCKET   "qmp"
#define AGENT_SOCKET "agent"

#define QMP_DEADLINE_MS 30000
#define END_DEADLINE_MS 10000
/* What QEMU may say on its standard error; a guest can make it talk without end. */
#define STDERR_BYTES 16384

struct qemu_vm {
	struct vm vm;
	struct process process;
	struct loop_io exit_io; /* on the pidfd */
	struct qmp *qmp;        /* owned */
	struct qmp_ticket incoming;
	bool is_incoming;
	int stderr_fd;      /* owned; -1 when adopted */
	struct str console; /* read out of QEMU already */
	char *run_dir;      /* owned */
	unsigned long long start_time;
	bool adopted, exited;
	struct error exit_why;
	struct cond migrated; /* a MIGRATION event came, or it has ended */
	enum { SAVING, SAVED, SAVE_FAILED } migration;
};

static struct qemu_vm *qemu_vm(const struct vm *vm)
{
	return container_of((struct vm *)vm, struct qemu_vm, vm);
}

static struct qemu *qemu_of(const struct vm *vm)
{
	return container_of(vm->hypervisor, struct qemu, base);
}

/* ------------------------------------------------------------------ its end */

/* The last line of its standard error. */
static void last_words(struct qemu_vm *q, char *out, size_t size)
{
	char text[STDERR_BYTES + 1];
	ssize_t n = q->stderr_fd >= 0 ? pread(q->stderr_fd, text, STDERR_BYTES, 0) : 0;
	char *line;

	out[0] = '\0';
	if (n <= 0)
		return;
	text[n] = '\0';
	/* The file is as large as it may ever be: what has not been written is zeros. */
	n = (ssize_t)strlen(text);
	while (n > 0 && text[n - 1] == '\n')
		text[--n] = '\0';
	line = strrchr(text, '\n');
	snprintf(out, size, "%s", line ? line + 1 : text);
}

static void set_exited(struct qemu_vm *q, int code, struct error *why)
{
	char words[256];

	last_words(q, words, sizeof(words));
	q->exited = true;
	loop_io_remove(&q->exit_io);
	if (code < 0)
		error_set(why, ERROR_UNAVAILABLE, "QEMU has ended");
	else if (code > 128)
		error_set(why, ERROR_UNAVAILABLE, "QEMU was killed by signal %d%s%s", code - 128,
			  *words ? ": " : "", words);
	else
		error_set(why, ERROR_UNAVAILABLE, "QEMU has ended with code %d%s%s", code,
			  *words ? ": " : "", words);
}

static void process_ended(struct loop_io *io, uint32_t events)
{
	struct qemu_vm *q = container_of(io, struct qemu_vm, exit_io);
	int code = -1;

	if (!q->adopted && process_reap(&q->process, &code) == -EAGAIN)
		return;
	set_exited(q, code, &q->exit_why);
	trace(vm, "%s: %s", q->run_dir, q->exit_why.message);
	cond_broadcast(&q->migrated);
	if (q->vm.events && q->vm.events->exited)
		q->vm.events->exited(&q->vm, &q->exit_why, q->vm.owner);
}

int qemu_vm_ended(struct vm *vm, uint64_t deadline_ns, struct error *ret_why)
{
	struct qemu_vm *q = qemu_vm(vm);
	int r = 0;

	while (!q->exited && r == 0)
		r = cond_wait(&q->migrated, deadline_ns);
	if (q->exited)
		error_copy(ret_why, &q->exit_why);
	return q->exited ? 0 : r;
}

static void vm_free(struct qemu_vm *q)
{
	if (!q)
		return;
	loop_io_remove(&q->exit_io);
	if (q->is_incoming)
		qmp_forget(&q->incoming);
	qmp_free(q->qmp);
	process_done(&q->process);
	if (q->stderr_fd >= 0)
		close(q->stderr_fd);
	str_done(&q->console);
	free(q->run_dir);
	free(q);
}

static void remove_sockets(const char *run_dir)
{
	static const char *const names[] = { QMP_SOCKET, AGENT_SOCKET };
	autoclose int dir = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; dir >= 0 && i < ARRAY_SIZE(names); i++)
		unlinkat(dir, names[i], 0);
}

void qemu_vm_end(struct vm *vm)
{
	struct qemu_vm *q = vm ? qemu_vm(vm) : NULL;
	bool shielded;
	int code;

	if (!q)
		return;
	loop_io_remove(&q->exit_io);
	if (!q->exited && q->process.pidfd >= 0) {
		shielded = task_shield(true);
		process_signal(&q->process, SIGKILL);
		task_wait_fd(q->process.pidfd, EPOLLIN, deadline_in_ms(END_DEADLINE_MS), NULL);
		if (!q->adopted)
			process_reap(&q->process, &code);
		task_shield(shielded);
	}
	remove_sockets(q->run_dir);
	vm_free(q);
}

void qemu_vm_detach(struct vm *vm)
{
	vm_free(vm ? qemu_vm(vm) : NULL);
}

/* ------------------------------------------------------------------ control */

static void on_qmp_event(struct qmp *qmp, const char *name, const json_t *data, void *owner)
{
	struct qemu_vm *q = owner;
	const char *status = json_string_value(json_object_get(data, "status"));

	if (strcmp(name, "MIGRATION") != 0 || !status)
		return;
	if (strcmp(status, "completed") == 0)
		q->migration = SAVED;
	else if (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0)
		q->migration = SAVE_FAILED;
	cond_broadcast(&q->migrated);
}

static const struct qmp_events qmp_events = { .event = on_qmp_event };

static int connect_qmp(struct qemu_vm *q, struct error *err)
{
	struct qemu *qemu = qemu_of(&q->vm);
	int fd, r = run_socket_connect(q->run_dir, QMP_SOCKET, &fd, err);

	return r < 0 ? r : qmp_new(qemu->loop, fd, &qmp_events, q, &q->qmp, err);
}

/*
 * x-ignore-shared: memory stays in its file and out of the state. QEMU 7.2 has no option for it on
 * its command line; it reads its control channel a byte at a time, so that what can be an option
 * (events) is one.
 */
static json_t *migration_capabilities(void)
{
	return json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", "x-ignore-shared",
			 "state", 1);
}

/*
 * All that a clone has to be told, before it has begun to read. The state is loaded in the order of
 * the commands, and then the machine runs by itself, for it was saved running.
 */
static int post_incoming(struct qemu_vm *q, int state_fd, struct error *err)
{
	struct qmp_ticket ignored;
	char uri[16];
	int r;

	snprintf(uri, sizeof(uri), "fd:%d", state_fd);
	r = qmp_post(q->qmp, "migrate-set-capabilities", migration_capabilities(), -1, &ignored,
		     err);
	if (r < 0)
		return r;
	qmp_forget(&ignored);
	r = qmp_post(q->qmp, "migrate-incoming", json_pack("{s:s}", "uri", uri), -1, &q->incoming,
		     err);
	q->is_incoming = r == 0;
	return r;
}

int qemu_vm_loaded(struct vm *vm, uint64_t deadline_ns, struct error *err)
{
	struct qemu_vm *q = qemu_vm(vm);
	int r = 0;

	if (q->is_incoming) {
		q->is_incoming = false;
		r = qmp_wait(q->qmp, &q->incoming, deadline_ns, NULL, err);
	}
	/* Loading goes on after the reply; its failure ends the process, its end is an event. */
	while (r == 0 && q->migration == SAVING && !q->exited)
		r = cond_wait(&q->migrated, deadline_ns);
	if (q->exited || (r == 0 && q->migration != SAVED)) {
		char words[256];

		last_words(q, words, sizeof(words));
		return error_set(err, ERROR_UNAVAILABLE, "loading a template: %s",
				 *words ? words : "QEMU refused it");
	}
	return r < 0 && err && !err->kind ? error_errno(err, -r, "loading a template") : r;
}

int qemu_vm_pause(struct vm *vm, bool paused, struct error *err)
{
	return qmp_call(qemu_vm(vm)->qmp, paused ? "stop" : "cont", NULL,
			deadline_in_ms(QMP_DEADLINE_MS), NULL, err);
}

/* Saved running, not stopped: its clones then run as soon as they have loaded, without being told.
 */
int qemu_vm_save(struct vm *vm, int state_fd, uint64_t deadline_ns, struct error *err)
{
	struct qemu_vm *q = qemu_vm(vm);
	struct qmp_ticket ticket;
	int r;

	r = qmp_call(q->qmp, "migrate-set-capabilities", migration_capabilities(), deadline_ns,
		     NULL, err);
	if (r == 0)
		r = qmp_post(q->qmp, "getfd", json_pack("{s:s}", "fdname", "state"), state_fd,
			     &ticket, err);
	if (r == 0)
		r = qmp_wait(q->qmp, &ticket, deadline_ns, NULL, err);
	q->migration = SAVING;
	if (r == 0)
		r = qmp_call(q->qmp, "migrate", json_pack("{s:s}", "uri", "fd:state"), deadline_ns,
			     NULL, err);
	if (r < 0)
		return error_prefix(err, r, "saving a template");
	while (r == 0 && q->migration == SAVING && !q->exited)
		r = cond_wait(&q->migrated, deadline_ns);
	if (r < 0)
		return error_errno(err, -r, "saving a template");
	if (q->exited || q->migration != SAVED)
		return error_set(err, ERROR_FAILED, "saving a template: QEMU gave up");
	return 0;
}

static int decode_base64(const char *text, char **ret, size_t *ret_len)
{
	size_t len = strlen(text), n = 0;
	uint32_t bits = 0;
	unsigned have = 0;
	char *out = malloc(len + 1);

	if (!out)
		return -ENOMEM;
	for (; *text && *text != '='; text++) {
		static const char digits[] =
			"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
		const char *at = strchr(digits, *text);

		if (!at)
			continue;
		bits = bits << 6 | (uint32_t)(at - digits);
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[n++] = (char)(bits >> have);
		}
	}
	out[n] = '\0';
	*ret = out;
	*ret_len = n;
	return 0;
}

int qemu_vm_console(struct vm *vm, char **ret, size_t *ret_len, struct error *err)
{
	struct qemu_vm *q = qemu_vm(vm);
	autojson json_t *result = NULL;
	autofree char *text = NULL;
	size_t len;
	int r;

	/* Reading empties QEMU's ring: what was read is kept here, as bounded as there. */
	r = qmp_call(q->qmp, "ringbuf-read",
		     json_pack("{s:s, s:i, s:s}", "device", QEMU_CONSOLE_ID, "size",
			       QEMU_CONSOLE_BYTES, "format", "base64"),
		     deadline_in_ms(QMP_DEADLINE_MS), &result, err);
	if (r < 0)
		return r;
	if (!json_is_string(result))
		return error_set(err, ERROR_FAILED, "QEMU gave no console text");
	r = decode_base64(json_string_value(result), &text, &len);
	if (r < 0)
		return error_nomem(err);
	str_append(&q->console, text, len);
	if (q->console.len > QEMU_CONSOLE_BYTES)
		str_consume(&q->console, q->console.len - QEMU_CONSOLE_BYTES);
	*ret = malloc(q->console.len + 1);
	if (!*ret)
		return error_nomem(err);
	memcpy(*ret, str_text(&q->console), q->console.len + 1);
	*ret_len = q->console.len;
	return 0;
}

int qemu_vm_channel(struct vm *vm, int *ret_fd, struct error *err)
{
	return run_socket_connect(qemu_vm(vm)->run_dir, AGENT_SOCKET, ret_fd, err);
}

pid_t qemu_vm_pid(const struct vm *vm)
{
	return qemu_vm(vm)->process.pid;
}

/* ------------------------------------------------------------------ its start */

/* A file of a fixed size that cannot grow: what is said beyond it is lost, and nothing fills up. */
static int make_stderr(struct error *err)
{
	autoclose int fd = memfd_create("qemu-stderr", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, STDERR_BYTES) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return error_errno(err, errno, "making a file for QEMU's errors");
	return steal_fd(&fd);
}

/* What goes to the spawning thread. */
struct launch {
	struct process_options options;
	struct process *process;
	const struct cgroup_joining *joining;
	struct error error;
};

static int launch(void *arg)
{
	struct launch *l = arg;

	return process_spawn(&l->options, l->process, &l->error);
}

static int join_late(void *arg)
{
	struct launch *l = arg;

	return cgroup_join_late(l->joining, l->process->pid);
}

#define FIRST_FD 3
#define MAX_FDS  (8 + 32)

struct fd_plan {
	struct process_fd fds[MAX_FDS];
	size_t count;
};

static int plan_fd(struct fd_plan *plan, int source)
{
	int target = FIRST_FD + (int)plan->count;

	if (source < 0)
		return -1;
	plan->fds[plan->count++] = (struct process_fd){ source, target };
	return target;
}

static int open_boot_files(const struct qemu *qemu, int *kernel, int *initramfs, struct error *err)
{
	*kernel = open(qemu->kernel, O_RDONLY | O_CLOEXEC);
	if (*kernel < 0)
		return error_errno(err, errno, "opening the guest kernel '%s'", qemu->kernel);
	*initramfs = open(qemu->initramfs, O_RDONLY | O_CLOEXEC);
	if (*initramfs < 0)
		return error_errno(err, errno, "opening the initramfs '%s'", qemu->initramfs);
	return 0;
}

static uint64_t largest_file(const struct vm_config *config)
{
	uint64_t max = config->memory_bytes;

	for (size_t i = 0; i < config->disk_count; i++) {
		off_t size = lseek(config->disks[i].fd, 0, SEEK_END);

		/* Grows with what is written, and has tables of its own. */
		if (config->disks[i].qcow2)
			return RLIM_INFINITY;
		if (size > 0 && (uint64_t)size > max)
			max = (uint64_t)size;
	}
	return max;
}

/* ------------------------------------------------------------------ serving files */

/* Above all numbers that the child gives to what it was given. */
#define SHARE_FD_MIN (FIRST_FD + MAX_FDS)

static void close_shares(struct confinement_share *shares, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (shares[i].tree_fd > 0)
			close(shares[i].tree_fd);
}

static int dup_shares(const struct vm_config *config, struct confinement_share *shares,
		      struct error *err)
{
	for (size_t i = 0; i < config->share_count; i++) {
		shares[i].name = config->shares[i].name;
		shares[i].is_directory = config->shares[i].is_directory;
		shares[i].tree_fd = fcntl(config->shares[i].fd, F_DUPFD_CLOEXEC, SHARE_FD_MIN);
		if (shares[i].tree_fd < 0)
			return error_errno(err, errno, "share '%s'", shares[i].name);
	}
	return 0;
}

/*
 * A process that may override modes could open what it got for reading anew through /proc, for
 * writing: so it gets it by way of a read-only mount of that one file.
 */
static int protect_fd(int *fd, struct error *err)
{
	struct mount_attr attributes = { .attr_set = MOUNT_ATTR_RDONLY };
	autoclose int tree = -1;
	char path[32];
	int protected;

	tree = open_tree(*fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) < 0)
		return error_errno(err, errno, "protecting a file of QEMU's");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", tree);
	protected = open(path, O_RDONLY | O_CLOEXEC);
	if (protected < 0)
		return error_errno(err, errno, "protecting a file of QEMU's");
	*fd = protected;
	return 0;
}

/* Descriptors of a machine that serves files, protected; the caller closes them. */
struct protected_fds {
	int fds[MAX_FDS];
	size_t count;
};

static void protected_fds_done(struct protected_fds *p)
{
	for (size_t i = 0; i < p->count; i++)
		close(p->fds[i]);
}

static int protect(struct protected_fds *p, const struct vm_config *config, int fd, int *ret,
		   struct error *err)
{
	int r;

	*ret = fd;
	if (!config->share_count || fd < 0)
		return 0;
	r = protect_fd(ret, err);
	if (r == 0)
		p->fds[p->count++] = *ret;
	return r;
}

/* ------------------------------------------------------------------ spawning */

static int spawn(struct qemu_vm *q, const struct vm_config *config, int *ret_state_fd,
		 struct error *err)
{
	/* One arena and no thread caches: threads of QEMU's allocate little, and idle memory is
	 * what pods cost. */
	static const char *const env[] = { "PATH=/usr/bin", "LC_ALL=C", "MALLOC_ARENA_MAX=1",
					   "GLIBC_TUNABLES=glibc.malloc.tcache_count=0", NULL };
	struct qemu *qemu = qemu_of(&q->vm);
	autoclose int agent = -1, qmp = -1, kernel = -1, initramfs = -1;
	autostrv char **argv = NULL;
	autofree struct confinement_share *shares =
		calloc(config->share_count + 1, sizeof(*shares));
	struct protected_fds protected = { .count = 0 };
	struct fd_plan plan = { 0 };
	int disks[MAX_FDS], fd, r;
	struct qemu_fds fds = { .disks = disks };
	struct confinement confinement = {
		.jail_dir = qemu->jail_dir,
		.program = qemu->program,
		.host_name = config->name,
		.kvm = strcmp(config->accel, "kvm") == 0,
		.uid = config->uid,
		.file_max_bytes = largest_file(config),
		.shares = shares,
		.share_count = config->share_count,
	};
	struct cgroup_joining joining;
	struct launch l = { .process = &q->process, .joining = &joining };

	if (config->disk_count + 8 > MAX_FDS)
		return error_set(err, ERROR_LIMIT, "%zu disks are too many", config->disk_count);
	r = shares ? open_boot_files(qemu, &kernel, &initramfs, err) : error_nomem(err);
	if (r == 0)
		r = run_socket_listen(config->run_dir, AGENT_SOCKET, &agent, err);
	if (r == 0)
		r = run_socket_listen(config->run_dir, QMP_SOCKET, &qmp, err);
	if (r < 0)
		return r;
	fds.agent = plan_fd(&plan, agent);
	fds.qmp = plan_fd(&plan, qmp);
	r = protect(&protected, config, kernel, &fd, err);
	fds.kernel = plan_fd(&plan, fd);
	if (r == 0)
		r = protect(&protected, config, initramfs, &fd, err);
	fds.initramfs = plan_fd(&plan, fd);
	fds.memory = plan_fd(&plan, config->memory_fd);
	for (size_t i = 0; i < config->disk_count && r == 0; i++) {
		fd = config->disks[i].fd;
		if (config->disks[i].read_only)
			r = protect(&protected, config, fd, &fd, err);
		disks[i] = plan_fd(&plan, fd);
	}
	if (r == 0)
		r = protect(&protected, config, config->state_fd, &fd, err);
	*ret_state_fd = plan_fd(&plan, config->state_fd < 0 ? -1 : fd);
	if (config->network == VM_NETWORK_TAP)
		fds.tap = plan_fd(&plan, config->tap_fd);
	plan.fds[plan.count++] = (struct process_fd){ q->stderr_fd, 2 };

	if (r == 0)
		r = qemu_command_line(qemu->program, config, &fds, &qemu->host, &argv, err);
	if (r == 0)
		r = dup_shares(config, shares, err);
	if (r == 0)
		r = cgroup_joining_open(config->cgroup, &joining, err);
	if (r < 0) {
		close_shares(shares, config->share_count);
		protected_fds_done(&protected);
		return r;
	}
	confinement.joining = &joining;
	l.options = (struct process_options){
		.argv = (const char *const *)argv,
		.env = env,
		.fds = plan.fds,
		.fd_count = plan.count,
		.setup = confinement_enter,
		.setup_arg = &confinement,
		.clone_flags = confinement_clone_flags(config->network == VM_NETWORK_USER),
		.cgroup_fd = joining.birth_fd,
	};
	/* A thread waits for the exec and moves the process: both can take many milliseconds. */
	r = job_run(qemu->jobs, launch, &l);
	if (r < 0) {
		error_copy(err, &l.error);
	} else {
		r = job_run(qemu->jobs, join_late, &l);
		if (r < 0)
			error_errno(err, -r, "joining control groups");
	}
	cgroup_joining_close(&joining);
	close_shares(shares, config->share_count);
	protected_fds_done(&protected);
	return r;
}

static struct qemu_vm *vm_alloc(struct hypervisor *hypervisor, const char *run_dir,
				const struct vm_events *events, void *owner)
{
	struct qemu_vm *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->vm.hypervisor = hypervisor;
	q->vm.events = events;
	q->vm.owner = owner;
	q->process = (struct process)PROCESS_INIT;
	q->stderr_fd = -1;
	cond_init(&q->migrated);
	q->run_dir = strdup(run_dir);
	if (!q->run_dir) {
		free(q);
		return NULL;
	}
	return q;
}

int qemu_vm_start(struct hypervisor *hypervisor, const struct vm_config *config,
		  const struct vm_events *events, void *owner, struct vm **ret, struct error *err)
{
	struct qemu *qemu = container_of(hypervisor, struct qemu, base);
	struct qemu_vm *q = vm_alloc(hypervisor, config->run_dir, events, owner);
	int state_fd = -1, r;

	if (!q)
		return error_nomem(err);
	r = q->stderr_fd = make_stderr(err);
	if (r >= 0)
		r = spawn(q, config, &state_fd, err);
	if (r == 0)
		r = process_start_time(q->process.pid, &q->start_time);
	if (r == 0)
		r = loop_io_add(qemu->loop, &q->exit_io, q->process.pidfd, EPOLLIN, process_ended);
	if (r == 0)
		r = connect_qmp(q, err);
	if (r == 0 && state_fd >= 0)
		r = post_incoming(q, state_fd, err);
	if (r < 0) {
		qemu_vm_end(&q->vm);
		if (err && !err->kind)
			error_errno(err, -r, "starting QEMU");
		return error_prefix(err, r, "machine '%s'", config->name);
	}
	*ret = &q->vm;
	return 0;
}

/* ------------------------------------------------------------------ adoption */

json_t *qemu_vm_record(const struct vm *vm)
{
	const struct qemu_vm *q = qemu_vm(vm);

	return json_pack("{s:i, s:I}", "pid", (int)q->process.pid, "start_time",
			 (json_int_t)q->start_time);
}

int qemu_vm_adopt(struct hypervisor *hypervisor, const json_t *record,
		  const struct vm_config *config, const struct vm_events *events, void *owner,
		  struct vm **ret, struct error *err)
{
	struct qemu *qemu = container_of(hypervisor, struct qemu, base);
	struct qemu_vm *q = vm_alloc(hypervisor, config->run_dir, events, owner);
	int r;

	if (!q)
		return error_nomem(err);
	q->adopted = true;
	q->start_time =
		(unsigned long long)json_integer_value(json_object_get(record, "start_time"));
	r = cgroup_find_process(config->cgroup,
				(pid_t)json_integer_value(json_object_get(record, "pid")),
				q->start_time, &q->process, err);
	if (r == 0)
		r = loop_io_add(qemu->loop, &q->exit_io, q->process.pidfd, EPOLLIN, process_ended);
	if (r == 0)
		r = connect_qmp(q, err);
	if (r < 0) {
		vm_free(q);
		return error_prefix(err, r, "adopting machine '%s'", config->name);
	}
	*ret = &q->vm;
	return 0;
}
