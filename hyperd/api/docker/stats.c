/* GET /containers/{name}/stats: the guest's figures in Docker's shape. */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/task.h"
#include "hyperd/api/api.h"

#define STATS_INTERVAL_MS 1000

static json_t *cpu_json(const Hyper__ContainerStatsReply *stats)
{
	return json_pack("{s:{s:I,s:I,s:I},s:I,s:i,s:{s:I,s:I,s:I}}", "cpu_usage", "total_usage",
			 (json_int_t)stats->cpu_ns, "usage_in_kernelmode",
			 (json_int_t)stats->cpu_system_ns, "usage_in_usermode",
			 (json_int_t)stats->cpu_user_ns, "system_cpu_usage",
			 (json_int_t)stats->system_cpu_ns, "online_cpus", (int)stats->cpus,
			 "throttling_data", "periods", (json_int_t)stats->periods,
			 "throttled_periods", (json_int_t)stats->throttled_periods,
			 "throttled_time", (json_int_t)stats->throttled_ns);
}

static json_t *empty_cpu_json(void)
{
	return json_pack("{s:{s:i,s:i,s:i},s:{s:i,s:i,s:i}}", "cpu_usage", "total_usage", 0,
			 "usage_in_kernelmode", 0, "usage_in_usermode", 0, "throttling_data",
			 "periods", 0, "throttled_periods", 0, "throttled_time", 0);
}

static json_t *memory_json(const Hyper__ContainerStatsReply *stats)
{
	return json_pack("{s:I,s:I,s:I,s:{s:I,s:I,s:I}}", "usage", (json_int_t)stats->memory_bytes,
			 "max_usage", (json_int_t)stats->memory_peak_bytes, "limit",
			 (json_int_t)stats->memory_limit_bytes, "stats", "cache",
			 (json_int_t)stats->memory_cache_bytes, "inactive_file",
			 (json_int_t)stats->memory_inactive_file_bytes, "total_inactive_file",
			 (json_int_t)stats->memory_inactive_file_bytes);
}

/* The pod's disk has no number on the host: Docker's clients only add the values up. */
static json_t *block_json(const Hyper__ContainerStatsReply *stats)
{
	return json_pack("{s:[{s:i,s:i,s:s,s:I},{s:i,s:i,s:s,s:I}],s:[{s:i,s:i,s:s,s:I},{s:i,s:i,s:"
			 "s,s:I}]}",
			 "io_service_bytes_recursive", "major", 254, "minor", 0, "op", "read",
			 "value", (json_int_t)stats->block_read_bytes, "major", 254, "minor", 0,
			 "op", "write", "value", (json_int_t)stats->block_write_bytes,
			 "io_serviced_recursive", "major", 254, "minor", 0, "op", "read", "value",
			 (json_int_t)stats->block_reads, "major", 254, "minor", 0, "op", "write",
			 "value", (json_int_t)stats->block_writes);
}

static json_t *pids_json(const Hyper__ContainerStatsReply *stats)
{
	json_t *pids = json_pack("{s:I}", "current", (json_int_t)stats->pids);

	/* Clients read unsigned numbers: no limit is no member. */
	if (stats->pids_limit && stats->pids_limit <= INT64_MAX)
		json_object_set_new(pids, "limit", json_integer((json_int_t)stats->pids_limit));
	return pids;
}

struct sample {
	uint64_t time_ns;
	json_t *cpu; /* owned */
};

/* One object; PREVIOUS is replaced by this sample. */
static json_t *sample_json(struct container *container, struct sample *previous)
{
	autofree char *name = strf("/%s", container_name(container));
	const Hyper__ContainerStatsReply *stats = NULL;
	Hyper__Reply *reply = NULL;
	uint64_t now = realtime_ns();
	json_t *root, *cpu;

	/* One that does not run has no figures, and that is no error. */
	if (container_stats(container, &reply, NULL) == 0 &&
	    reply->body_case == HYPER__REPLY__BODY_CONTAINER_STATS)
		stats = reply->container_stats;
	cpu = stats ? cpu_json(stats) : empty_cpu_json();
	root = json_pack("{s:o,s:o,s:o,s:i,s:{},s:O,s:o,s:o,s:o,s:s}", "read",
			 api_json_time(stats ? now : 0), "preread",
			 api_json_time(previous->time_ns), "blkio_stats",
			 stats ? block_json(stats) : json_object(), "num_procs", 0, "storage_stats",
			 "cpu_stats", cpu, "precpu_stats",
			 previous->cpu ? previous->cpu : empty_cpu_json(), "memory_stats",
			 stats ? memory_json(stats) : json_object(), "name", api_json_string(name),
			 "id", container_id(container));
	json_object_set_new(root, "pids_stats", stats ? pids_json(stats) : json_object());
	if (stats)
		json_object_set_new(root, "networks", json_object());
	previous->cpu = cpu;
	previous->time_ns = stats ? now : 0;
	if (reply)
		hyper__reply__free_unpacked(reply, NULL);
	return root;
}

int docker_container_stats(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	bool stream = http_query_bool(request, "stream", true);
	bool one_shot = http_query_bool(request, "one-shot", false);
	struct sample previous = { 0 };
	int r = api_container(request, &container, err);

	if (r < 0)
		return r;
	if (stream && one_shot)
		return error_set(err, ERROR_INVALID, "cannot have stream=true and one-shot=true");
	if (stream)
		r = http_stream_begin(request, 200, "application/json");
	/* A single answer needs two samples for its percentages. */
	if (!stream && !one_shot && container_state(container) == CONTAINER_RUNNING) {
		json_decref(sample_json(container, &previous));
		r = task_sleep_until(deadline_in_ms(STATS_INTERVAL_MS));
	}
	while (r == 0) {
		autojson json_t *sample = sample_json(container, &previous);

		if (!stream) {
			r = http_respond_json(request, 200, steal(sample));
			break;
		}
		r = http_stream_push_json(request, sample, "\n");
		if (r == 0)
			r = http_output_flush(request, DEADLINE_NEVER);
		if (r == 0 && container_state(container) == CONTAINER_REMOVING)
			break;
		if (r == 0)
			r = task_sleep_until(deadline_in_ms(STATS_INTERVAL_MS));
	}
	json_decref(previous.cpu);
	return r;
}
