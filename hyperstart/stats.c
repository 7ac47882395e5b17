#include "hyperstart/stats.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "hyperstart/agent.h"
#include "hyperstart/container.h"
#include "hyperstart/layer.h"

#define FILE_MAX_BYTES (256u << 10)
#define INTERFACES_MAX 64

static char *read_proc(const char *path)
{
	char *text = NULL;

	return file_read(AT_FDCWD, path, FILE_MAX_BYTES, &text, NULL, NULL) < 0 ? NULL : text;
}

size_t numbers_read(const char *text, uint64_t *ret, size_t max)
{
	size_t n = 0;

	while (n < max) {
		char *end;

		ret[n] = strtoull(text, &end, 10);
		if (end == text)
			break;
		text = end;
		n++;
	}
	return n;
}

/* First line of /proc/stat: time of all CPUs, in ticks, without idling. */
static uint64_t system_cpu_ns(void)
{
	autofree char *text = read_proc("/proc/stat");
	uint64_t v[8] = { 0 }, tick_ns = NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK);

	if (!text || !str_starts(text, "cpu ") || numbers_read(text + 4, v, ARRAY_SIZE(v)) < 4)
		return 0;
	/* As Docker's system_cpu_usage: idling and waiting included. */
	return (v[0] + v[1] + v[2] + v[3] + v[4] + v[5] + v[6] + v[7]) * tick_ns;
}

int container_stats_handle(struct request *request, struct error *err)
{
	Hyper__ContainerStatsReply body = HYPER__CONTAINER_STATS_REPLY__INIT;
	Hyper__Reply reply = HYPER__REPLY__INIT;
	struct container *c;
	int r = container_get(request->agent, request->body->container_stats->id, &c, err);

	if (r < 0)
		return r;
	if (!c->cgroup)
		return error_set(err, ERROR_INVALID, "no container is named");
	cgroup_stats(c->cgroup, &body);
	body.cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
	body.system_cpu_ns = system_cpu_ns();
	reply.body_case = HYPER__REPLY__BODY_CONTAINER_STATS;
	reply.container_stats = &body;
	request_reply(request, &reply);
	return REQUEST_KEPT;
}

static uint64_t meminfo(const char *text, const char *key)
{
	const char *p = strstr(text, key);

	return p ? strtoull(p + strlen(key), NULL, 10) * 1024 : 0;
}

/* Inter-|   Receive … : two heading lines, then "name: 8 receive 8 transmit figures". */
static size_t interfaces(char *text, Hyper__InterfaceStats *stats, Hyper__InterfaceStats **pointers)
{
	size_t n = 0;
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line && n < INTERFACES_MAX;
	     line = strtok_r(NULL, "\n", &save)) {
		uint64_t v[12];
		char *colon = strchr(line, ':');
		Hyper__InterfaceStats *s = &stats[n];

		if (!colon || numbers_read(colon + 1, v, ARRAY_SIZE(v)) < ARRAY_SIZE(v))
			continue;
		*colon = '\0';
		*s = (Hyper__InterfaceStats)HYPER__INTERFACE_STATS__INIT;
		s->name = line + strspn(line, " ");
		s->rx_bytes = v[0];
		s->rx_packets = v[1];
		s->rx_errors = v[2];
		s->rx_dropped = v[3];
		s->tx_bytes = v[8];
		s->tx_packets = v[9];
		s->tx_errors = v[10];
		s->tx_dropped = v[11];
		pointers[n++] = s;
	}
	return n;
}

int pod_stats_handle(struct request *request, struct error *err)
{
	struct agent *agent = request->agent;
	autofree char *mem = read_proc("/proc/meminfo"), *net = read_proc("/proc/net/dev");
	autofree Hyper__InterfaceStats *stats = calloc(INTERFACES_MAX, sizeof(*stats));
	autofree Hyper__InterfaceStats **pointers = calloc(INTERFACES_MAX, sizeof(*pointers));
	Hyper__PodStatsReply body = HYPER__POD_STATS_REPLY__INIT;
	Hyper__Reply reply = HYPER__REPLY__INIT;
	struct statvfs disk;

	if (!stats || !pointers)
		return error_nomem(err);
	if (mem) {
		body.memory_total_bytes = meminfo(mem, "MemTotal:");
		body.memory_free_bytes = meminfo(mem, "MemFree:");
		body.memory_available_bytes = meminfo(mem, "MemAvailable:");
	}
	if (net)
		body.n_interfaces = interfaces(net, stats, pointers);
	body.interfaces = pointers;
	body.uptime_ns = clock_ns(CLOCK_BOOTTIME);
	body.cpu_ns = system_cpu_ns();
	body.cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
	if (agent->disk_ready && statvfs(agent->disk_path, &disk) == 0) {
		body.disk_total_bytes = (uint64_t)disk.f_blocks * disk.f_frsize;
		body.disk_free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
	}
	body.layers_bytes = layer_bytes(agent);
	reply.body_case = HYPER__REPLY__BODY_POD_STATS;
	reply.pod_stats = &body;
	request_reply(request, &reply);
	return REQUEST_KEPT;
}
