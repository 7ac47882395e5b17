/* Pods as people and programs see them: inspection, figures, processes. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "hyperd/pod/internal.h"

/* RFC 3339 with nanoseconds, as Docker prints times; 0 is Go's zero time. */
static json_t *time_json(uint64_t ns)
{
	time_t seconds = (time_t)(ns / NSEC_PER_SEC);
	char date[32], text[64];
	struct tm tm;

	if (!ns || !gmtime_r(&seconds, &tm))
		return json_string("0001-01-01T00:00:00Z");
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%09uZ", date, (unsigned)(ns % NSEC_PER_SEC));
	return json_string(text);
}

static json_t *container_json(const struct container *c)
{
	struct container_status status;

	container_status(c, &status);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:i, s:s, s:o, s:o}", "Id",
			 c->id, "Name", c->name, "Image", c->spec->image ? c->spec->image : "",
			 "ImageID", c->image_id, "State", container_state_name(status.state),
			 "ExitCode", status.exit_code, "Pid", status.pid, "Error", status.error,
			 "RestartCount", (int)status.restart_count, "Health", status.health,
			 "StartedAt", time_json(status.started_ns), "FinishedAt",
			 time_json(status.finished_ns));
}

static const char *transport_name(enum sandbox_transport transport)
{
	static const char *const names[] = {
		[TRANSPORT_AUTO] = "auto",
		[TRANSPORT_SERIAL] = "serial",
		[TRANSPORT_DISK] = "disk",
	};

	return names[transport];
}

json_t *pod_inspect(struct pod *pod)
{
	autofree char *restart = restart_policy_text(&pod->spec->restart);
	json_t *containers = json_array();
	struct container *c;

	list_for_each_entry(c, &pod->containers, pod_node)
		json_array_append_new(containers, container_json(c));
	return json_pack(
		"{s:s, s:s, s:o, s:s, s:s, s:b, s:s, s:s, s:s, s:o, s:i, s:I, s:s, s:s, s:s, s:o, "
		"s:o, s:o}",
		"Id", pod->id, "Name", pod->name, "Created", time_json(pod->created_ns), "State",
		pod_state_name(pod->state), "Error",
		pod->state == POD_FAILED ? pod->failure.message : "", "Solo", pod->solo,
		"Isolation", sandbox_isolation_name(pod->spec->isolation), "Hypervisor",
		pod->spec->hypervisor ? pod->spec->hypervisor : "", "Hostname",
		pod->spec->hostname ? pod->spec->hostname : pod->name, "Labels",
		spec_pairs_to_json(pod->spec->labels), "VCPUs",
		(int)(pod->spec->vcpus ? pod->spec->vcpus : 1), "MemoryBytes",
		(json_int_t)pod->spec->memory_bytes, "Machine",
		pod->spec->machine ? pod->spec->machine : "", "Transport",
		transport_name(pod->spec->transport), "RestartPolicy", restart ? restart : "",
		"StartedAt", time_json(pod->started_ns), "FinishedAt", time_json(pod->finished_ns),
		"Containers", containers);
}

json_t *pod_timing(struct pod *pod)
{
	const struct sandbox_timing *t = &pod->timing;
	uint64_t first_output = 0;
	struct container *c;

	list_for_each_entry(c, &pod->containers, pod_node) {
		uint64_t at = c->io.first_output_ns;

		if (at > pod->asked_ns && (!first_output || at - pod->asked_ns < first_output))
			first_output = at - pod->asked_ns;
	}
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:s}", "TemplateNs",
			 (json_int_t)t->template_ns, "SpawnedNs", (json_int_t)t->spawned_ns,
			 "ConnectedNs", (json_int_t)t->connected_ns, "LayersNs",
			 (json_int_t)t->layers_ns, "StartedNs",
			 (json_int_t)(pod->started_mono_ns > pod->asked_ns
					      ? pod->started_mono_ns - pod->asked_ns
					      : 0),
			 "FirstOutputNs", (json_int_t)first_output, "TemplateBuilt",
			 t->template_built, "FromPool", t->from_pool, "RetriedWithTCG",
			 t->retried_with_tcg, "Accel", t->accel ? t->accel : "");
}

int pod_console(struct pod *pod, char **ret, size_t *ret_len, struct error *err)
{
	if (!pod->sandbox)
		return error_set(err, ERROR_CONFLICT, "pod %s is not running", pod->name);
	return sandbox_console(pod->sandbox, ret, ret_len, err);
}

/* ------------------------------------------------------------------ figures */

static json_t *guest_figures(const Hyper__PodStatsReply *s)
{
	json_t *interfaces = json_array();

	for (size_t i = 0; i < s->n_interfaces; i++) {
		const Hyper__InterfaceStats *f = s->interfaces[i];

		json_array_append_new(interfaces,
				      json_pack("{s:s, s:I, s:I, s:I, s:I}", "Name", f->name,
						"RxBytes", (json_int_t)f->rx_bytes, "RxPackets",
						(json_int_t)f->rx_packets, "TxBytes",
						(json_int_t)f->tx_bytes, "TxPackets",
						(json_int_t)f->tx_packets));
	}
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:i, s:I, s:I, s:I, s:o}", "MemoryTotalBytes",
			 (json_int_t)s->memory_total_bytes, "MemoryFreeBytes",
			 (json_int_t)s->memory_free_bytes, "MemoryAvailableBytes",
			 (json_int_t)s->memory_available_bytes, "UptimeNs",
			 (json_int_t)s->uptime_ns, "CpuNs", (json_int_t)s->cpu_ns, "Cpus",
			 (int)s->cpus, "DiskTotalBytes", (json_int_t)s->disk_total_bytes,
			 "DiskFreeBytes", (json_int_t)s->disk_free_bytes, "LayersBytes",
			 (json_int_t)s->layers_bytes, "Interfaces", interfaces);
}

int pod_stats(struct pod *pod, json_t **ret, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__PodStats body = HYPER__POD_STATS__INIT;
	struct agent *agent = pod_agent(pod, err);
	autojson json_t *guest = NULL, *host = NULL;
	Hyper__Reply *reply = NULL;
	int r;

	if (!agent)
		return -EBUSY;
	if (pod->state == POD_PAUSED) {
		guest = json_object();
	} else {
		request.body_case = HYPER__REQUEST__BODY_POD_STATS;
		request.pod_stats = &body;
		r = agent_call(agent, &request, deadline_in_ms(AGENT_CALL_MS), &reply, err);
		if (r < 0)
			return r;
		if (reply->body_case == HYPER__REPLY__BODY_POD_STATS)
			guest = guest_figures(reply->pod_stats);
		hyper__reply__free_unpacked(reply, NULL);
	}
	if (!pod->sandbox)
		return error_set(err, ERROR_CONFLICT, "pod %s is not running", pod->name);
	r = sandbox_host_stats(pod->sandbox, &host, err);
	if (r < 0)
		return r;
	*ret = json_pack("{s:O, s:O}", "Guest", guest ? guest : json_null(), "Host", host);
	return *ret ? 0 : error_nomem(err);
}

int container_stats(struct container *c, Hyper__Reply **ret, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ContainerStats body = HYPER__CONTAINER_STATS__INIT;
	struct agent *agent;
	int r;

	if (!container_is_running(c))
		return error_set(err, ERROR_CONFLICT, "Container %s is not running", c->id);
	agent = pod_agent(c->pod, err);
	if (!agent)
		return -EBUSY;
	body.id = c->id;
	request.body_case = HYPER__REQUEST__BODY_CONTAINER_STATS;
	request.container_stats = &body;
	r = agent_call(agent, &request, deadline_in_ms(AGENT_CALL_MS), ret, err);
	if (r == 0 && (*ret)->body_case != HYPER__REPLY__BODY_CONTAINER_STATS) {
		hyper__reply__free_unpacked(steal(*ret), NULL);
		r = error_set(err, ERROR_FAILED, "the agent answered something else");
	}
	return r;
}
