#include "hyperstart/cgroup_block.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/str.h"
#include "hyperstart/block.h"
#include "hyperstart/pod.h"

/* One figure of a limit: its key in v2's io.max, and its file in v1. */
static const struct figure {
	const char *key, *v1_file;
	size_t offset;
} figures[] = {
	{ "rbps", "blkio.throttle.read_bps_device", offsetof(Hyper__BlockLimit, read_bps) },
	{ "wbps", "blkio.throttle.write_bps_device", offsetof(Hyper__BlockLimit, write_bps) },
	{ "riops", "blkio.throttle.read_iops_device", offsetof(Hyper__BlockLimit, read_iops) },
	{ "wiops", "blkio.throttle.write_iops_device", offsetof(Hyper__BlockLimit, write_iops) },
};

static uint64_t value_of(const Hyper__BlockLimit *limit, const struct figure *figure)
{
	return *(const uint64_t *)((const char *)limit + figure->offset);
}

static int find_device(const char *serial, const char *disk_path, dev_t *ret, struct error *err)
{
	char path[BLOCK_PATH_MAX];
	struct stat st;
	int r = *serial ? block_find(serial, path, err) : 0;

	if (r < 0)
		return r;
	if (stat(*serial ? path : disk_path, &st) < 0)
		return error_errno(err, errno, "block limit");
	*ret = *serial ? st.st_rdev : st.st_dev;
	return 0;
}

static int write_limit(int fd, const char *file, const char *text, struct error *err)
{
	int r = fd < 0 ? -ENOENT : pod_write_file(fd, file, text);

	if (r == -ENOENT)
		return error_set(err, ERROR_UNSUPPORTED, "block limit: this kernel has no '%s'",
				 file);
	return r < 0 ? error_errno(err, -r, "block limit: writing '%s' to %s", text, file) : 0;
}

static int throttle(struct cgroup *g, const Hyper__BlockLimit *limit, const char *disk_path,
		    struct error *err)
{
	int fd = cgroup_dir_fd(g, g->unified ? "io" : "blkio");
	char device[32], line[256];
	size_t len;
	dev_t dev = 0;
	int r = find_device(limit->block_serial, disk_path, &dev, err);

	if (r < 0)
		return r;
	snprintf(device, sizeof(device), "%u:%u", major(dev), minor(dev));
	len = (size_t)snprintf(line, sizeof(line), "%s", device);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(figures); i++) {
		unsigned long long value = value_of(limit, &figures[i]);

		if (!value)
			continue;
		if (g->unified) {
			len += (size_t)snprintf(line + len, sizeof(line) - len, " %s=%llu",
						figures[i].key, value);
			continue;
		}
		snprintf(line, sizeof(line), "%s %llu", device, value);
		r = write_limit(fd, figures[i].v1_file, line, err);
	}
	return r == 0 && g->unified ? write_limit(fd, "io.max", line, err) : r;
}

/* A weight matters only between groups that contend under a scheduler that knows weights; where
 * there is none it is nobody's loss. */
static void set_weight(struct cgroup *g, uint32_t weight)
{
	static const char *const files[] = { "io.bfq.weight", "io.weight", "blkio.bfq.weight",
					     "blkio.weight" };
	int fd = cgroup_dir_fd(g, g->unified ? "io" : "blkio");
	char text[16];

	snprintf(text, sizeof(text), "%u", weight);
	for (size_t i = 0; fd >= 0 && i < ARRAY_SIZE(files); i++)
		if (pod_write_file(fd, files[i], text) == 0)
			return;
}

int cgroup_block_set(struct cgroup *g, const Hyper__Limits *limits, const char *disk_path,
		     struct error *err)
{
	int r = 0;

	if (!limits)
		return 0;
	if (limits->blkio_weight)
		set_weight(g, limits->blkio_weight);
	for (size_t i = 0; r == 0 && i < limits->n_block_limits; i++)
		r = throttle(g, limits->block_limits[i], disk_path, err);
	return r;
}
