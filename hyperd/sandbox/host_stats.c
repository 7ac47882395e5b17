#include "hyperd/sandbox/host_stats.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

struct rollup {
	pid_t *pids;
	size_t count;
	uint64_t pss, private, rss;
};

static uint64_t field(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoull(at + strlen(name), NULL, 10) * 1024 : 0;
}

/* proc_pid_smaps(5). The kernel walks page tables for it: not on the loop's thread. */
static int read_rollups(void *arg)
{
	struct rollup *rollup = arg;

	for (size_t i = 0; i < rollup->count; i++) {
		autofree char *text = NULL;
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)rollup->pids[i]);
		/* Ended meanwhile: it costs nothing any more. */
		if (file_read(AT_FDCWD, path, 65536, &text, NULL, NULL) < 0)
			continue;
		rollup->rss += field(text, "\nRss:");
		rollup->pss += field(text, "\nPss:");
		rollup->private +=
			field(text, "\nPrivate_Clean:") + field(text, "\nPrivate_Dirty:");
	}
	return 0;
}

int host_stats(struct sandbox_factory *factory, struct cgroup *cgroup, pid_t pid, json_t **ret,
	       struct error *err)
{
	struct rollup rollup = { 0 };
	struct cgroup_usage usage;
	int r = cgroup_pids(cgroup, &rollup.pids, &rollup.count, err);

	if (r < 0)
		return r;
	/* A machine that somebody else's daemon has put elsewhere. */
	if (!rollup.count && pid > 0) {
		free(rollup.pids);
		rollup.pids = &pid;
		rollup.count = 1;
	}
	job_run(factory->jobs, read_rollups, &rollup);
	if (rollup.pids != &pid)
		free(rollup.pids);
	cgroup_usage(cgroup, &usage);
	*ret = json_pack("{s:I, s:I, s:I, s:I, s:I, s:i, s:i}", "pss_bytes", (json_int_t)rollup.pss,
			 "private_bytes", (json_int_t)rollup.private, "rss_bytes",
			 (json_int_t)rollup.rss, "cpu_ns", (json_int_t)usage.cpu_ns, "memory_bytes",
			 (json_int_t)usage.memory_bytes, "pid", (int)pid, "processes",
			 (int)rollup.count);
	return *ret ? 0 : error_nomem(err);
}
