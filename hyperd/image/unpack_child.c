/*
 * The layer unpacker: the process that reads hostile tar archives. It is hyperd's own program
 * started anew (so it holds nothing of hyperd's memory), and before it reads the first byte it has
 *
 *   descriptors  0 the tar stream (a socket), 1 and 2 /dev/null, 3 the target directory, 4 the
 * report; nothing else namespaces   mount, network, IPC, UTS and PID of its own: nobody to signal,
 * nowhere to connect root         the target directory, as a detached mount without set-id, devices
 * or execution: there is no path to anything else, not even by ".." capabilities CHOWN, FOWNER,
 * FSETID (owners, modes and times as the archive says), DAC_OVERRIDE (writing into directories that
 * are others' by then), MKNOD (whiteouts, devices), SETFCAP (security.capability) seccomp      the
 * calls that making files takes; any other ends it. No exec, no sockets, no mounts rlimits      CPU
 * time, file size, descriptors, memory, no core
 */
#include "hyperd/image/unpack.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fd.h"
#include "hyperd/image/image.h"

#define CPU_SECONDS  3600
#define MEMORY_BYTES (512ull << 20)
#define DESCRIPTOR_LIMIT                                                        \
	(2 * LAYER_MAX_DEPTH + 32) /* replacing a tree holds one for each level \
				    */
#define OPAQUE_MAX_BYTES (64u << 20)

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define SANITIZED 1 /* it maps terabytes and makes calls of its own */
#else
#define SANITIZED 0
#endif

const char unpack_child_name[] = "hyper-unpack-layer";

static int enter_target(struct error *err)
{
	if (fchdir(UNPACK_DIR_FD) < 0 || chroot(".") < 0)
		return error_errno(err, errno, "confining the unpacker: entering its directory");
	close(UNPACK_DIR_FD);
	umask(0);
	return 0;
}

static int set_limits(const struct layer_limits *limits, struct error *err)
{
	const struct {
		int resource;
		rlim_t value;
	} rlimits[] = {
		{ RLIMIT_CPU, CPU_SECONDS },
		{ RLIMIT_FSIZE, limits->max_bytes },
		{ RLIMIT_NOFILE, DESCRIPTOR_LIMIT },
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_AS, SANITIZED ? RLIM_INFINITY : MEMORY_BYTES },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rlimits); i++) {
		struct rlimit rl;

		getrlimit((__rlimit_resource_t)rlimits[i].resource, &rl);
		if (rl.rlim_max > rlimits[i].value)
			rl.rlim_max = rlimits[i].value;
		rl.rlim_cur = rl.rlim_max;
		if (setrlimit((__rlimit_resource_t)rlimits[i].resource, &rl) < 0)
			return error_errno(err, errno, "confining the unpacker: limits");
	}
	/* Too large a file is an error to report, no death. */
	signal(SIGXFSZ, SIG_IGN);
	return 0;
}

static int drop_capabilities(struct error *err)
{
	static const int kept[] = { CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,
				    CAP_FSETID, CAP_MKNOD,        CAP_SETFCAP };
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	uint64_t keep = 0;

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		keep |= 1ull << kept[i];
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(keep & 1ull << cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return error_errno(err, errno, "confining the unpacker: capabilities");
	data[0].permitted = data[0].effective = (uint32_t)keep;
	data[1].permitted = data[1].effective = (uint32_t)(keep >> 32);
	if (syscall(SYS_capset, &header, data) < 0)
		return error_errno(err, errno, "confining the unpacker: capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_errno(err, errno, "confining the unpacker: no_new_privs");
	return 0;
}

static int filter_calls(struct error *err)
{
	static const int allowed[] = {
		SCMP_SYS(read),       SCMP_SYS(write),      SCMP_SYS(pwrite64),
		SCMP_SYS(close),      SCMP_SYS(openat2),    SCMP_SYS(openat),
		SCMP_SYS(fstat),      SCMP_SYS(newfstatat), SCMP_SYS(lseek),
		SCMP_SYS(ftruncate),  SCMP_SYS(fchown),     SCMP_SYS(fchownat),
		SCMP_SYS(fchmod),     SCMP_SYS(fchmodat),   SCMP_SYS(utimensat),
		SCMP_SYS(fsetxattr),  SCMP_SYS(mkdirat),    SCMP_SYS(mknodat),
		SCMP_SYS(symlinkat),  SCMP_SYS(linkat),     SCMP_SYS(unlinkat),
		SCMP_SYS(getdents64), SCMP_SYS(fcntl),      SCMP_SYS(brk),
		SCMP_SYS(munmap),     SCMP_SYS(mremap),     SCMP_SYS(madvise),
		SCMP_SYS(getrandom),  SCMP_SYS(futex),      SCMP_SYS(rt_sigreturn),
		SCMP_SYS(exit_group), SCMP_SYS(exit),
	};
	scmp_filter_ctx filter;
	int r = 0;

	if (SANITIZED)
		return 0;
	filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!filter)
		return error_nomem(err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(allowed); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r < 0 ? error_errno(err, -r, "confining the unpacker: seccomp") : 0;
}

static ssize_t read_stream(void *arg, void *buf, size_t len, struct error *err)
{
	ssize_t n = fd_read(UNPACK_DATA_FD, buf, len);

	(void)arg;
	return n < 0 ? error_errno(err, (int)-n, "reading the layer") : n;
}

static int unpack(struct layer_writer *writer, struct tar_reader *reader, struct error *err)
{
	const struct tar_entry *entry;
	int r;

	for (;;) {
		r = tar_next(reader, &entry, err);
		if (r < 0 || !entry)
			break;
		r = layer_writer_add(writer, entry, reader, err);
		if (r < 0)
			return r;
	}
	if (r == 0)
		r = layer_writer_finish(writer, err);
	/* What follows the end of the archive belongs to the digest too. */
	if (r == 0)
		r = tar_drain(reader, err);
	if (r == 0 && layer_writer_opaque(writer)->len > OPAQUE_MAX_BYTES)
		r = error_set(err, ERROR_LIMIT, "too many opaque directories");
	return r;
}

static int confine(const struct layer_limits *limits, struct error *err)
{
	int r = enter_target(err);

	if (r == 0)
		r = set_limits(limits, err);
	if (r == 0)
		r = drop_capabilities(err);
	if (r == 0)
		r = filter_calls(err);
	return r;
}

static void child_main(char **argv)
{
	struct layer_limits limits = { strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10) };
	struct layer_writer *writer = NULL;
	struct tar_reader *reader = NULL;
	struct unpack_report report = { 0 };
	struct error err = { 0 };
	int r, root;

	r = confine(&limits, &err);
	root = r == 0 ? open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (r == 0 && root < 0)
		r = error_errno(&err, errno, "opening the layer's directory");
	if (r == 0)
		r = layer_writer_new(root, &limits, &writer, &err);
	if (r == 0)
		r = tar_reader_new(read_stream, NULL, &reader, &err);
	if (r == 0)
		r = unpack(writer, reader, &err);
	report.result = r;
	report.kind = (int32_t)err.kind;
	memcpy(report.message, err.message, sizeof(report.message));
	if (r == 0)
		report.content_bytes = layer_writer_bytes(writer);
	fd_write_all(UNPACK_REPORT_FD, &report, sizeof(report));
	if (r == 0)
		fd_write_all(UNPACK_REPORT_FD, str_text(layer_writer_opaque(writer)),
			     layer_writer_opaque(writer)->len);
	_exit(0);
}

/* Before main(), so that every program that unpacks layers, the tests too, can be its own unpacker.
 */
__attribute__((constructor)) static void become_child(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], unpack_child_name) == 0)
		child_main(argv);
}
