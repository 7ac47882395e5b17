#include "hyperd/hypervisor/hypervisor.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "hyperd/hypervisor/qemu/tsc.h"
#include "hyperd/hypervisor/qemu/vm.h"

#define VERSION_DEADLINE_MS 10000

/* Which program NAME is, by PATH as a shell would find it. */
static int find_program(const char *name, char **ret, struct error *err)
{
	const char *path = getenv("PATH");
	autostrv char **dirs = strv_split(path ? path : "/usr/bin:/bin", ':');

	if (strchr(name, '/')) {
		*ret = realpath(name, NULL);
		return *ret ? 0 : error_errno(err, errno, "QEMU '%s'", name);
	}
	strv_for_each(dir, dirs) {
		autofree char *candidate = strf("%s/%s", *dir, name);

		if (candidate && access(candidate, X_OK) == 0) {
			*ret = realpath(candidate, NULL);
			return *ret ? 0 : error_errno(err, errno, "QEMU '%s'", candidate);
		}
	}
	return error_set(err, ERROR_UNSUPPORTED,
			 "QEMU ('%s') is not installed; on Debian: apt install qemu-system-x86",
			 name);
}

static void qemu_close(struct hypervisor *hypervisor)
{
	struct qemu *qemu = hypervisor ? container_of(hypervisor, struct qemu, base) : NULL;

	if (!qemu)
		return;
	free(qemu->program);
	free(qemu->version);
	free(qemu->jail_dir);
	free(qemu->kernel);
	free(qemu->initramfs);
	free(qemu);
}

/* A confined QEMU reads the kernel through a descriptor that it opens anew: as somebody else. */
static int check_readable(const char *what, const char *path, struct error *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return error_errno(err, errno, "%s '%s'", what, path);
	if (!(st.st_mode & S_IROTH))
		return error_set(err, ERROR_DENIED,
				 "%s '%s': an unprivileged QEMU must be able to read it; chmod o+r",
				 what, path);
	return 0;
}

static int qemu_open(const struct hypervisor_config *config, struct hypervisor **ret,
		     struct error *err)
{
	struct qemu *qemu = calloc(1, sizeof(*qemu));
	const char *argv[] = { NULL, "--version", NULL };
	int r;

	if (!qemu)
		return error_nomem(err);
	qemu->base.driver = &qemu_driver;
	qemu->loop = config->loop;
	qemu->jobs = config->jobs;
	qemu->host.tb_cache_mib = config->tb_cache_mib;
	qemu->jail_dir = strdup(config->jail_dir);
	qemu->kernel = strdup(config->kernel);
	qemu->initramfs = strdup(config->initramfs);
	r = qemu->jail_dir && qemu->kernel && qemu->initramfs ? 0 : error_nomem(err);
	if (r == 0)
		r = find_program(config->program ? config->program : "qemu-system-x86_64",
				 &qemu->program, err);
	if (r == 0) {
		argv[0] = qemu->program;
		r = process_run(&(struct process_options){ .argv = argv }, NULL,
				deadline_in_ms(VERSION_DEADLINE_MS), 65536, &qemu->version, err);
	}
	if (r == 0)
		r = tsc_measure(config->state_dir, &qemu->host.tsc_khz, err);
	if (r == 0)
		r = check_readable("guest kernel", qemu->kernel, err);
	if (r == 0)
		r = check_readable("initramfs", qemu->initramfs, err);
	if (r < 0) {
		qemu_close(&qemu->base);
		return r;
	}
	qemu->version[strcspn(qemu->version, "\n")] = '\0';
	*ret = &qemu->base;
	return 0;
}

static json_t *qemu_info(struct hypervisor *hypervisor)
{
	struct qemu *qemu = container_of(hypervisor, struct qemu, base);

	return json_pack("{s:s, s:s, s:s}", "name", "qemu", "version", qemu->version, "program",
			 qemu->program);
}

/* ------------------------------------------------------------------ what shapes a template */

struct hash_files {
	const char *paths[QEMU_HASHED];
	char digests[QEMU_HASHED][65];
};

static int hash_file(const char *path, char out[65])
{
	static const char hex[] = "0123456789abcdef";
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char buf[65536], digest[32];
	ssize_t n = -EIO;
	int ok = ctx && fd >= 0 && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

	while (ok && (n = fd_read(fd, buf, sizeof(buf))) > 0)
		ok = EVP_DigestUpdate(ctx, buf, (size_t)n);
	ok = ok && n == 0 && EVP_DigestFinal_ex(ctx, digest, NULL);
	EVP_MD_CTX_free(ctx);
	for (int i = 0; ok && i < 32; i++) {
		out[2 * i] = hex[digest[i] >> 4];
		out[2 * i + 1] = hex[digest[i] & 15];
	}
	out[64] = '\0';
	return ok ? 0 : -EIO;
}

static int hash_all(void *arg)
{
	struct hash_files *h = arg;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(h->paths) && r == 0; i++)
		r = hash_file(h->paths[i], h->digests[i]);
	return r;
}

/* Programs are hashed when they have changed, which their inodes tell. */
static int update_digests(struct qemu *qemu, struct error *err)
{
	struct hash_files files = { { qemu->program, qemu->kernel, qemu->initramfs } };
	struct stat now[QEMU_HASHED];
	bool changed = false;
	int r;

	for (size_t i = 0; i < QEMU_HASHED; i++) {
		const struct stat *old = &qemu->hashed[i];

		if (stat(files.paths[i], &now[i]) < 0)
			return error_errno(err, errno, "'%s'", files.paths[i]);
		changed |= old->st_ino != now[i].st_ino || old->st_dev != now[i].st_dev ||
			   old->st_size != now[i].st_size ||
			   old->st_mtim.tv_sec != now[i].st_mtim.tv_sec ||
			   old->st_mtim.tv_nsec != now[i].st_mtim.tv_nsec;
	}
	if (!changed)
		return 0;
	r = job_run(qemu->jobs, hash_all, &files);
	if (r < 0)
		return error_errno(err, -r, "hashing QEMU, kernel and initramfs");
	memcpy(qemu->hashed, now, sizeof(now));
	memcpy(qemu->digests, files.digests, sizeof(files.digests));
	return 0;
}

/* With KVM the guest sees the host's processor. */
static void add_host_cpu(struct str *out)
{
	autofclose FILE *f = fopen("/proc/cpuinfo", "re");
	char line[4096];

	while (f && fgets(line, sizeof(line), f) && line[0] != '\n')
		if (str_starts(line, "model") || str_starts(line, "stepping") ||
		    str_starts(line, "microcode") || str_starts(line, "flags"))
			str_add(out, line);
}

static int qemu_fingerprint(struct hypervisor *hypervisor, const struct vm_config *config,
			    struct str *out, struct error *err)
{
	struct qemu *qemu = container_of(hypervisor, struct qemu, base);
	struct vm_config shape = *config;
	autostrv char **argv = NULL;
	int disks[32] = { 0 }, r;
	struct qemu_fds fds = { .disks = disks };

	if (config->disk_count > ARRAY_SIZE(disks))
		return error_set(err, ERROR_LIMIT, "%zu disks are too many", config->disk_count);
	r = update_digests(qemu, err);
	if (r < 0)
		return r;
	/* The same for the template and its clones: a clone's line differs in how memory is shared
	 * only. */
	shape.memory_fd = 0;
	shape.memory_shared = false;
	shape.state_fd = -1;
	shape.user_network = NULL;
	r = qemu_command_line(qemu->program, &shape, &fds, &qemu->host, &argv, err);
	if (r < 0)
		return r;
	str_addf(out, "version %s\n", qemu->version);
	for (size_t i = 0; i < QEMU_HASHED; i++)
		str_addf(out, "file %s\n", qemu->digests[i]);
	strv_for_each(arg, argv)
		str_addf(out, "arg %s\n", *arg);
	if (strcmp(config->accel, "kvm") == 0)
		add_host_cpu(out);
	return out->failed ? error_nomem(err) : 0;
}

static const char *const qemu_machines[] = { "microvm", "q35", NULL };

const struct hypervisor_driver qemu_driver = {
	.name = "qemu",
	.summary = "QEMU, driven directly: confined machines, cloned from templates",
	.features = {
		[HYPERVISOR_TEMPLATES] = true,
		[HYPERVISOR_PAUSE] = true,
		[HYPERVISOR_CONSOLE] = true,
		[HYPERVISOR_DISKS] = true,
		[HYPERVISOR_NETWORK] = true,
		[HYPERVISOR_QCOW2] = true,
		[HYPERVISOR_FILE_SHARING] = true,
		[HYPERVISOR_CONFINED] = true,
	},
	.machines = qemu_machines,
	.max_disks = qemu_max_disks,
	.open = qemu_open,
	.close = qemu_close,
	.info = qemu_info,
	.fingerprint = qemu_fingerprint,
	.start = qemu_vm_start,
	.loaded = qemu_vm_loaded,
	.channel = qemu_vm_channel,
	.pause = qemu_vm_pause,
	.save = qemu_vm_save,
	.console = qemu_vm_console,
	.pid = qemu_vm_pid,
	.ended = qemu_vm_ended,
	.end = qemu_vm_end,
	.record = qemu_vm_record,
	.adopt = qemu_vm_adopt,
	.detach = qemu_vm_detach,
};
