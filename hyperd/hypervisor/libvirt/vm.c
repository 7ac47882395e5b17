#include "hyperd/hypervisor/libvirt/vm.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "hyperd/hypervisor/run_socket.h"

/* What is kept of a console; it is read as it comes. */
#define CONSOLE_BYTES 65536
/* Of the sandbox's name: enough to tell machines apart in a list; the whole when that is taken. */
#define SHORT_NAME 12

struct libvirt_vm {
	struct vm vm;
	struct list node; /* in libvirt.vms */
	char uuid[VIR_UUID_STRING_BUFLEN];
	char *name, *run_dir; /* owned */
	pid_t pid;            /* of its process here; 0: not known */
	unsigned long long start_time;
	int console_fd; /* owned */
	struct loop_io console_io;
	struct str console;
	bool exited;
	struct error exit_why;
	struct cond ended;
};

static struct libvirt_vm *libvirt_vm(const struct vm *vm)
{
	return container_of((struct vm *)vm, struct libvirt_vm, vm);
}

static struct libvirt *libvirt_of(const struct vm *vm)
{
	return container_of(vm->hypervisor, struct libvirt, base);
}

static struct libvirt_vm *vm_alloc(struct libvirt *l, const char *run_dir,
				   const struct vm_events *events, void *owner)
{
	struct libvirt_vm *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->vm.hypervisor = &l->base;
	v->vm.events = events;
	v->vm.owner = owner;
	v->console_fd = -1;
	cond_init(&v->ended);
	v->run_dir = strdup(run_dir);
	if (!v->run_dir) {
		free(v);
		return NULL;
	}
	list_append(&l->vms, &v->node);
	return v;
}

static void vm_free(struct libvirt_vm *v)
{
	if (!v)
		return;
	list_remove(&v->node);
	loop_io_remove(&v->console_io);
	if (v->console_fd >= 0)
		close(v->console_fd);
	str_done(&v->console);
	free(v->name);
	free(v->run_dir);
	free(v);
}

struct libvirt_vm *libvirt_vm_find(struct libvirt *l, const char *uuid)
{
	struct libvirt_vm *v;

	list_for_each_entry(v, &l->vms, node) {
		if (strcmp(v->uuid, uuid) == 0)
			return v;
	}
	return NULL;
}

void libvirt_vm_detach(struct vm *vm)
{
	vm_free(vm ? libvirt_vm(vm) : NULL);
}

/* ------------------------------------------------------------------ its end */

void libvirt_vm_ended_as(struct libvirt_vm *v, const char *how)
{
	if (v->exited)
		return;
	v->exited = true;
	error_set(&v->exit_why, ERROR_UNAVAILABLE, "domain '%s' %s", v->name ? v->name : v->uuid,
		  how);
	cond_broadcast(&v->ended);
	if (v->vm.events && v->vm.events->exited)
		v->vm.events->exited(&v->vm, &v->exit_why, v->vm.owner);
}

int libvirt_vm_ended(struct vm *vm, uint64_t deadline_ns, struct error *ret_why)
{
	struct libvirt_vm *v = libvirt_vm(vm);
	int r = 0;

	while (!v->exited && r == 0)
		r = cond_wait(&v->ended, deadline_ns);
	if (v->exited)
		error_copy(ret_why, &v->exit_why);
	return v->exited ? 0 : r;
}

/* Persistent only between its definition and its start. */
static int destroy_domain(struct libvirt_job *job, virDomainPtr domain)
{
	const struct libvirt_library *lib = job->libvirt->lib;
	int r = 0;

	if (lib->virDomainIsActive(domain) == 1 && lib->virDomainDestroy(domain) < 0 &&
	    lib->virDomainIsActive(domain) == 1)
		r = libvirt_error(lib, &job->error, "destroying domain '%s'",
				  lib->virDomainGetName(domain));
	if (lib->virDomainIsPersistent(domain) == 1)
		lib->virDomainUndefine(domain);
	lib->virResetLastError();
	return r;
}

static int destroy_job(struct libvirt_job *job, void *uuid)
{
	virDomainPtr domain;
	int r = libvirt_find_domain(job, uuid, &domain);

	if (r < 0)
		return job->error.kind == ERROR_NOT_FOUND ? 0 : r;
	r = destroy_domain(job, domain);
	job->libvirt->lib->virDomainFree(domain);
	return r;
}

/* Without libvirt: what it ran is a process of this host's, and known. */
static void kill_process(const struct libvirt_vm *v)
{
	unsigned long long start_time;

	if (v->pid > 0 && process_start_time(v->pid, &start_time) == 0 &&
	    start_time == v->start_time)
		kill(v->pid, SIGKILL);
}

void libvirt_vm_end(struct vm *vm)
{
	struct libvirt_vm *v = vm ? libvirt_vm(vm) : NULL;
	struct error err = { 0 };
	bool shielded;

	if (!v)
		return;
	v->vm.events = NULL;
	shielded = task_shield(true);
	if (libvirt_run(libvirt_of(vm), destroy_job, v->uuid, &err) < 0) {
		log_warn("machine '%s': %s", v->name, err.message);
		kill_process(v);
	}
	task_shield(shielded);
	vm_free(v);
}

/* ------------------------------------------------------------------ its console */

static void console_ready(struct loop_io *io, uint32_t events)
{
	struct libvirt_vm *v = container_of(io, struct libvirt_vm, console_io);
	char buf[4096];
	ssize_t n = fd_read(v->console_fd, buf, sizeof(buf));

	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n <= 0) {
		loop_io_remove(&v->console_io);
		return;
	}
	str_append(&v->console, buf, (size_t)n);
	if (v->console.len > CONSOLE_BYTES)
		str_consume(&v->console, v->console.len - CONSOLE_BYTES);
}

/* A machine without a console that can be read runs all the same. */
static void watch_console(struct libvirt_vm *v, int fd)
{
	v->console_fd = fd;
	if (fd < 0 || fd_set_nonblocking(fd, true) < 0 ||
	    loop_io_add(libvirt_of(&v->vm)->loop, &v->console_io, fd, EPOLLIN, console_ready) < 0)
		log_warn("machine '%s': its console cannot be read", v->name);
}

int libvirt_vm_console(struct vm *vm, char **ret, size_t *ret_len, struct error *err)
{
	struct libvirt_vm *v = libvirt_vm(vm);

	*ret = malloc(v->console.len + 1);
	if (!*ret)
		return error_nomem(err);
	memcpy(*ret, str_text(&v->console), v->console.len + 1);
	*ret_len = v->console.len;
	return 0;
}

/* ------------------------------------------------------------------ its process */

/* QEMU is told its machine's UUID on its command line, and libvirt its pid nowhere. */
static bool is_process_of(const char *pid, const char *uuid)
{
	autofree char *path = strf("/proc/%s/cmdline", pid), *text = NULL;
	size_t len = 0;

	if (!path || file_read(AT_FDCWD, path, 65536, &text, &len, NULL) < 0)
		return false;
	return memmem(text, len, uuid, strlen(uuid)) && memmem(text, len, "-uuid", 6);
}

static pid_t find_process(const char *uuid)
{
	autoclosedir DIR *proc = opendir("/proc");
	struct dirent *entry;

	while (proc && (entry = readdir(proc)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
		    is_process_of(entry->d_name, uuid))
			return (pid_t)strtol(entry->d_name, NULL, 10);
	return 0;
}

/* ------------------------------------------------------------------ its start */

struct start {
	const struct vm_config *config; /* borrowed */
	const char *uuid, *run_dir;     /* borrowed */
	char *name;                     /* owned */
	int console_fd;                 /* owned */
	pid_t pid;
};

static bool name_is_taken(struct libvirt_job *job, const char *name)
{
	const struct libvirt_library *lib = job->libvirt->lib;
	virDomainPtr domain = lib->virDomainLookupByName(job->connection, name);

	lib->virResetLastError();
	if (domain)
		lib->virDomainFree(domain);
	return domain != NULL;
}

/* Somebody else's domain keeps its name. */
static int choose_name(struct libvirt_job *job, struct start *start)
{
	const char *sandbox = start->config->name;

	start->name = strf("hyper-%.*s", SHORT_NAME, sandbox);
	if (start->name && name_is_taken(job, start->name)) {
		free(start->name);
		start->name = strf("hyper-%s", sandbox);
		if (start->name && name_is_taken(job, start->name))
			return error_set(&job->error, ERROR_CONFLICT,
					 "there is a domain '%s' already, and one with the short "
					 "name too: rename or undefine them",
					 start->name);
	}
	return start->name ? 0 : error_nomem(&job->error);
}

static int define(struct libvirt_job *job, struct start *start, virDomainPtr *ret)
{
	const struct libvirt *l = job->libvirt;
	const struct domain_options options = {
		.name = start->name,
		.uuid = start->uuid,
		.owner = l->owner,
		.kernel = l->kernel,
		.initramfs = l->initramfs,
		.emulator = l->emulator,
		.tsc_khz = l->tsc_khz,
		.tb_cache_mib = l->tb_cache_mib,
	};
	autostr struct str xml = STR_INIT;
	int r = l->flavour->xml(start->config, &options, &xml, &job->error);

	if (r < 0)
		return r;
	trace(vm, "%s", str_text(&xml));
	*ret = l->lib->virDomainDefineXML(job->connection, str_text(&xml));
	return *ret ? 0 : libvirt_error(l->lib, &job->error, "defining domain '%s'", start->name);
}

static int hand_over_disks(struct libvirt_job *job, const struct start *start, virDomainPtr domain)
{
	const struct libvirt_library *lib = job->libvirt->lib;

	for (size_t i = 0; i < start->config->disk_count; i++) {
		const struct vm_disk *disk = &start->config->disks[i];
		char name[32];
		int fd = disk->fd;

		snprintf(name, sizeof(name), "disk%zu", i);
		if (lib->virDomainFDAssociate(
			    domain, name, 1, &fd,
			    disk->read_only ? 0 : VIR_DOMAIN_FD_ASSOCIATE_SECLABEL_WRITABLE) < 0)
			return libvirt_error(lib, &job->error, "handing over disk %zu", i);
	}
	return 0;
}

/* Begun stopped, so that nothing is said before somebody listens. */
static int run_domain(struct libvirt_job *job, struct start *start, virDomainPtr domain)
{
	const struct libvirt_library *lib = job->libvirt->lib;

	if (lib->virDomainCreateWithFlags(domain, VIR_DOMAIN_START_PAUSED) < 0)
		return libvirt_error(lib, &job->error, "starting domain '%s'", start->name);
	/* From here on it is gone when it ends. */
	lib->virDomainUndefine(domain);
	if (job->libvirt->flavour->open_console)
		start->console_fd =
			job->libvirt->flavour->open_console(job, domain, start->run_dir);
	if (lib->virDomainResume(domain) < 0)
		return libvirt_error(lib, &job->error, "letting domain '%s' run", start->name);
	return 0;
}

static int start_job(struct libvirt_job *job, void *arg)
{
	struct start *start = arg;
	virDomainPtr domain = NULL;
	int r = choose_name(job, start);

	if (r == 0)
		r = define(job, start, &domain);
	if (r < 0)
		return r;
	if (job->libvirt->flavour->hands_over_disks)
		r = hand_over_disks(job, start, domain);
	if (r == 0)
		r = run_domain(job, start, domain);
	if (r == 0)
		start->pid = find_process(start->uuid);
	else
		destroy_domain(job, domain);
	job->libvirt->lib->virDomainFree(domain);
	return r;
}

static int make_uuid(char out[VIR_UUID_STRING_BUFLEN], struct error *err)
{
	unsigned char b[16];

	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		return error_errno(err, errno, "getting random numbers");
	/* RFC 9562: version 4, variant 1. */
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	snprintf(out, VIR_UUID_STRING_BUFLEN,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		 b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		 b[15]);
	return 0;
}

struct move {
	struct cgroup_joining joining;
	pid_t pid;
};

static int move_job(void *arg)
{
	struct move *move = arg;

	return cgroup_move(&move->joining, move->pid);
}

/*
 * What this process started belongs to the sandbox's group; what libvirtd started is in groups of
 * libvirtd's, which looks after them.
 */
static int take_process(struct libvirt_vm *v, const struct vm_config *config, struct error *err)
{
	struct libvirt *l = libvirt_of(&v->vm);
	struct move move = { .pid = v->pid };
	int r;

	if (v->pid <= 0 || process_start_time(v->pid, &v->start_time) < 0) {
		v->pid = 0;
		return 0;
	}
	if (!l->embedded)
		return 0;
	r = cgroup_joining_open(config->cgroup, &move.joining, err);
	if (r < 0)
		return r;
	r = job_run(l->jobs, move_job, &move);
	cgroup_joining_close(&move.joining);
	return r < 0 ? error_errno(err, -r, "joining control groups") : 0;
}

int libvirt_vm_start(struct hypervisor *hypervisor, const struct vm_config *config,
		     const struct vm_events *events, void *owner, struct vm **ret,
		     struct error *err)
{
	struct libvirt *l = container_of(hypervisor, struct libvirt, base);
	struct libvirt_vm *v = vm_alloc(l, config->run_dir, events, owner);
	struct start start = { .config = config, .console_fd = -1 };
	int r;

	if (!v)
		return error_nomem(err);
	r = make_uuid(v->uuid, err);
	start.uuid = v->uuid;
	start.run_dir = v->run_dir;
	if (r == 0)
		r = libvirt_run(l, start_job, &start, err);
	v->name = steal(start.name);
	v->pid = start.pid;
	if (r == 0) {
		if (l->flavour->open_console)
			watch_console(v, start.console_fd);
		r = take_process(v, config, err);
	}
	if (r < 0) {
		libvirt_vm_end(&v->vm);
		return error_prefix(err, r, "machine '%s'", config->name);
	}
	*ret = &v->vm;
	return 0;
}

/* ------------------------------------------------------------------ while it runs */

int libvirt_vm_channel(struct vm *vm, int *ret_fd, struct error *err)
{
	return run_socket_connect(libvirt_vm(vm)->run_dir, DOMAIN_AGENT_SOCKET, ret_fd, err);
}

pid_t libvirt_vm_pid(const struct vm *vm)
{
	return libvirt_vm(vm)->pid;
}

struct pause {
	const char *uuid;
	bool paused;
};

static int pause_job(struct libvirt_job *job, void *arg)
{
	const struct libvirt_library *lib = job->libvirt->lib;
	const struct pause *pause = arg;
	virDomainPtr domain;
	int r = libvirt_find_domain(job, pause->uuid, &domain), state = 0;

	if (r < 0)
		return r;
	/* Somebody may have done it already. */
	if (lib->virDomainGetState(domain, &state, NULL, 0) < 0)
		r = libvirt_error(lib, &job->error, "asking for its state");
	else if (pause->paused && state != VIR_DOMAIN_PAUSED && lib->virDomainSuspend(domain) < 0)
		r = libvirt_error(lib, &job->error, "suspending it");
	else if (!pause->paused && state != VIR_DOMAIN_RUNNING && lib->virDomainResume(domain) < 0)
		r = libvirt_error(lib, &job->error, "resuming it");
	lib->virDomainFree(domain);
	return r;
}

int libvirt_vm_pause(struct vm *vm, bool paused, struct error *err)
{
	struct libvirt_vm *v = libvirt_vm(vm);
	struct pause pause = { v->uuid, paused };
	int r = libvirt_run(libvirt_of(vm), pause_job, &pause, err);

	return r < 0 ? error_prefix(err, r, "domain '%s'", v->name) : 0;
}

/* ------------------------------------------------------------------ adoption */

json_t *libvirt_vm_record(const struct vm *vm)
{
	const struct libvirt_vm *v = libvirt_vm(vm);

	return json_pack("{s:s, s:s, s:i, s:I}", "uuid", v->uuid, "name", v->name, "pid",
			 (int)v->pid, "start_time", (json_int_t)v->start_time);
}

struct adoption {
	const char *uuid, *run_dir;
	int console_fd;
};

static int adopt_job(struct libvirt_job *job, void *arg)
{
	const struct libvirt_library *lib = job->libvirt->lib;
	struct adoption *adoption = arg;
	virDomainPtr domain;
	int r = libvirt_find_domain(job, adoption->uuid, &domain);

	if (r < 0)
		return r;
	if (lib->virDomainIsActive(domain) != 1)
		r = error_set(&job->error, ERROR_NOT_FOUND, "domain '%s' has ended",
			      lib->virDomainGetName(domain));
	else if (job->libvirt->flavour->open_console)
		adoption->console_fd =
			job->libvirt->flavour->open_console(job, domain, adoption->run_dir);
	lib->virDomainFree(domain);
	return r;
}

int libvirt_vm_adopt(struct hypervisor *hypervisor, const json_t *record,
		     const struct vm_config *config, const struct vm_events *events, void *owner,
		     struct vm **ret, struct error *err)
{
	struct libvirt *l = container_of(hypervisor, struct libvirt, base);
	struct libvirt_vm *v = vm_alloc(l, config->run_dir, events, owner);
	const char *uuid = json_string_value(json_object_get(record, "uuid"));
	const char *name = json_string_value(json_object_get(record, "name"));
	struct adoption adoption = { .console_fd = -1 };
	int r;

	if (!v)
		return error_nomem(err);
	snprintf(v->uuid, sizeof(v->uuid), "%s", uuid ? uuid : "");
	v->name = strdup(name ? name : "");
	v->pid = (pid_t)json_integer_value(json_object_get(record, "pid"));
	v->start_time =
		(unsigned long long)json_integer_value(json_object_get(record, "start_time"));
	adoption.uuid = v->uuid;
	adoption.run_dir = v->run_dir;
	r = libvirt_run(l, adopt_job, &adoption, err);
	if (r < 0) {
		vm_free(v);
		return error_prefix(err, r, "adopting machine '%s'", config->name);
	}
	if (l->flavour->open_console)
		watch_console(v, adoption.console_fd);
	*ret = &v->vm;
	return 0;
}

/* ------------------------------------------------------------------ after a loss, at the start */

/* The UUIDs of domains that are there and run. */
static int list_job(struct libvirt_job *job, void *arg)
{
	const struct libvirt_library *lib = job->libvirt->lib;
	virDomainPtr *domains = NULL;
	char ***ret = arg;
	int n = lib->virConnectListAllDomains(job->connection, &domains,
					      VIR_CONNECT_LIST_DOMAINS_ACTIVE),
	    r = 0;

	if (n < 0)
		return libvirt_error(lib, &job->error, "listing domains");
	for (int i = 0; i < n; i++) {
		char uuid[VIR_UUID_STRING_BUFLEN] = "";

		lib->virDomainGetUUIDString(domains[i], uuid);
		if (strv_add(ret, uuid) < 0)
			r = error_nomem(&job->error);
		lib->virDomainFree(domains[i]);
	}
	free(domains);
	return r;
}

static bool has(char *const *list, const char *text)
{
	strv_for_each(item, list)
		if (strcmp(*item, text) == 0)
			return true;
	return false;
}

int libvirt_vms_check(struct libvirt *l, struct error *err)
{
	autostrv char **running = NULL;
	struct libvirt_vm *v, *next;
	int r = libvirt_run(l, list_job, &running, err);

	if (r < 0)
		return r;
	list_for_each_entry_safe(v, next, &l->vms, node) {
		if (v->name && !has(running, v->uuid))
			libvirt_vm_ended_as(v, "has ended while libvirt was away");
	}
	return 0;
}

static int sweep_job(struct libvirt_job *job, void *arg)
{
	const struct libvirt_library *lib = job->libvirt->lib;
	char *const *known = arg;
	virDomainPtr *domains = NULL;
	int n = lib->virConnectListAllDomains(job->connection, &domains, 0), r = 0;

	if (n < 0)
		return libvirt_error(lib, &job->error, "listing domains");
	for (int i = 0; i < n; i++) {
		char uuid[VIR_UUID_STRING_BUFLEN] = "";

		lib->virDomainGetUUIDString(domains[i], uuid);
		if (!has(known, uuid) && libvirt_is_ours(job, domains[i]) &&
		    destroy_domain(job, domains[i]) < 0)
			r = -EIO;
		lib->virDomainFree(domains[i]);
	}
	free(domains);
	return r;
}

int libvirt_vm_sweep(struct hypervisor *hypervisor, struct error *err)
{
	struct libvirt *l = container_of(hypervisor, struct libvirt, base);
	autostrv char **known = NULL;
	struct libvirt_vm *v;

	list_for_each_entry(v, &l->vms, node) {
		if (strv_add(&known, v->uuid) < 0)
			return error_nomem(err);
	}
	return libvirt_run(l, sweep_job, known, err);
}
