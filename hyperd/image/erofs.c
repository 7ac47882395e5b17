#include "hyperd/image/erofs.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/process.h"
#include "base/task.h"
#include "hyperd/image/digest.h"

#define BUILD_TIMEOUT_MS (30ull * 60 * 1000)

/* It only reads the tree: it needs no network, and no way to gain rights. It does not outlive us.
 */
static int set_up(void *arg, const char **ret_what)
{
	(void)arg;
	*ret_what = "restricting it";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return 0;
}

int erofs_build(const char *parent, const char *directory, const char *name, const char *diff_id,
		struct error *err)
{
	char uuid[40];
	const char *hex = digest_hex(diff_id);
	const char *argv[] = { "mkfs.erofs", "--quiet", "-d1", "-Eforce-inode-extended", "-U", uuid,
			       name,         directory, NULL };
	/*
	 * Without it the time of the build gets into the superblock. It also cuts off later times:
	 * at the end of the year 9999.
	 */
	const char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
			      "SOURCE_DATE_EPOCH=253402300799", NULL };
	struct process_options options = {
		.argv = argv,
		.env = env,
		.cwd = parent,
		.setup = set_up,
		.clone_flags = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID,
	};

	snprintf(uuid, sizeof(uuid), "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
		 hex + 20);
	return process_run(&options, NULL, deadline_in_ms(BUILD_TIMEOUT_MS), 1u << 20, NULL, err);
}
