#pragma once
/*
 * A pod for tests of the init, with one layer of busybox: either a namespace pod made with the real
 * launcher, or a microVM. Everything is removed again, also after a failed test.
 */
#include <sys/types.h>

#include "tests/hyperstart/client.h"

#define LAYER "sha256:busybox"

struct test_pod {
	char *dir;    /* owned: a tmpfs of its own */
	char *socket; /* owned */
	pid_t pid;
	struct client client;       /* the host */
	struct host_groups *groups; /* owned; namespace pods */
};

/* ------------------------------------------------------------------ of the two kinds (vm.c) */

/* Why there can be no VM, or NULL. */
const char *test_vm_init(const char *dir);
/* Starts QEMU, whose process is pod->pid, with LAYER and a disk. */
void test_vm_launch(struct test_pod *pod);
void test_vm_set_up(struct test_pod *pod);
void test_vm_add_layer(struct test_pod *pod, const char *name);

/*
 * Call first in main(): argv[1] is the init for namespace pods, or "vm:DIR", where DIR has vmlinux
 * and initramfs.cpio. Exits with 77, saying why, where such pods cannot be made.
 */
void test_pod_init(int argc, char **argv);
struct test_pod *test_pod_start(void);
/* Kills it and removes everything. Takes NULL. */
void test_pod_stop(struct test_pod *pod);
/* Waits for the init's own end; returns its exit code. */
int test_pod_wait(struct test_pod *pod);

/* Whether it is a VM: then the pod's disk is no directory of ours, and its init's process is QEMU.
 */
bool test_pod_is_vm(void);
/* In a test that looks at what only a namespace pod shows. */
#define NEEDS_NAMESPACE_POD(why)                                     \
	do {                                                         \
		if (test_pod_is_vm()) {                              \
			print_message("SKIPPED in a VM: %s\n", why); \
			skip();                                      \
		}                                                    \
	} while (0)

/* Setup and teardown of cmocka, for tests that each want a pod of their own, or a group's. */
int test_pod_setup(void **state);
int test_pod_teardown(void **state);

/* The path of a file in the pod's directory; owned by the caller. */
char *test_pod_path(const struct test_pod *pod, const char *name);
/* Makes another layer of DIR/layers/NAME, a directory filled before; its digest is NAME. */
void test_pod_add_layer(struct test_pod *pod, const char *name);

/* ------------------------------------------------------------------ containers */

/* A container that is to be: change what is to be different, then container_create(). */
struct spec {
	Hyper__ContainerCreate create;
	Hyper__Process process;
	Hyper__Capabilities capabilities;
	Hyper__Limits limits;
	char *args[16], *layers[4];
};

/* Runs `sh -c SCRIPT` with Docker's default capabilities. */
void spec_shell(struct spec *spec, const char *id, const char *script);
void spec_args(struct spec *spec, const char *id, const char *const *args);

/* A process of the pod, and its streams. */
struct running {
	struct test_pod *pod;
	const char *id, *exec;
	struct client_stream in, out, err;
};

void container_create(struct test_pod *pod, struct spec *spec);
void container_create_fails(struct test_pod *pod, struct spec *spec, enum error_kind kind,
			    const char *part);
void container_start(struct test_pod *pod, const char *id, struct running *ret);
/* Both. */
void container_run(struct test_pod *pod, struct spec *spec, struct running *ret);
void container_exec(struct test_pod *pod, const char *id, const char *exec,
		    const Hyper__Process *process, struct running *ret);
/* Waits for the end of process and output, closes the streams; *ret_out (may be NULL) is what it
 * wrote, both streams in one, owned by the caller. Returns the exit code. */
uint32_t running_finish(struct running *running, char **ret_out);
void running_close(struct running *running);
void container_delete(struct test_pod *pod, const char *id);
/* Creates, runs, deletes; returns the output, owned by the caller, and fails at another code. */
char *container_output(struct test_pod *pod, struct spec *spec, uint32_t code);
/* The same for a shell script in a plain container. */
char *shell_output(struct test_pod *pod, const char *id, const char *script);
void signal_process(struct test_pod *pod, const char *id, const char *exec, int signal, bool all);
