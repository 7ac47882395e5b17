/* GET /containers/{name}/json: Docker's big picture of one container. */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"

/* What Docker shows of a member that nobody set. */
static const char host_config_defaults[] =
	"{\"Binds\":null,\"ContainerIDFile\":\"\",\"LogConfig\":{\"Type\":\"json-file\",\"Config\":"
	"{}},"
	"\"NetworkMode\":\"default\",\"PortBindings\":{},\"RestartPolicy\":{\"Name\":\"no\","
	"\"MaximumRetryCount\":0},\"AutoRemove\":false,\"VolumeDriver\":\"\",\"VolumesFrom\":null,"
	"\"CapAdd\":null,\"CapDrop\":null,\"CgroupnsMode\":\"private\",\"Dns\":[],\"DnsOptions\":[]"
	","
	"\"DnsSearch\":[],\"ExtraHosts\":null,\"GroupAdd\":null,\"IpcMode\":\"private\",\"Cgroup\":"
	"\"\","
	"\"Links\":null,\"OomScoreAdj\":0,\"PidMode\":\"\",\"Privileged\":false,"
	"\"PublishAllPorts\":false,"
	"\"ReadonlyRootfs\":false,\"SecurityOpt\":null,\"UTSMode\":\"\",\"UsernsMode\":\"\","
	"\"ShmSize\":67108864,\"Runtime\":\"hyper\",\"ConsoleSize\":[0,0],\"Isolation\":\"\","
	"\"CpuShares\":0,"
	"\"Memory\":0,\"NanoCpus\":0,\"CgroupParent\":\"\",\"BlkioWeight\":0,\"BlkioWeightDevice\":"
	"[],"
	"\"BlkioDeviceReadBps\":null,\"BlkioDeviceWriteBps\":null,\"BlkioDeviceReadIOps\":null,"
	"\"BlkioDeviceWriteIOps\":null,\"CpuPeriod\":0,\"CpuQuota\":0,\"CpuRealtimePeriod\":0,"
	"\"CpuRealtimeRuntime\":0,\"CpusetCpus\":\"\",\"CpusetMems\":\"\",\"Devices\":[],"
	"\"DeviceCgroupRules\":null,\"DeviceRequests\":null,\"KernelMemory\":0,\"KernelMemoryTCP\":"
	"0,"
	"\"MemoryReservation\":0,\"MemorySwap\":0,\"MemorySwappiness\":null,\"OomKillDisable\":"
	"false,"
	"\"PidsLimit\":null,\"Ulimits\":null,\"CpuCount\":0,\"CpuPercent\":0,\"IOMaximumIOps\":0,"
	"\"IOMaximumBandwidth\":0,"
	"\"MaskedPaths\":[\"/proc/asound\",\"/proc/acpi\",\"/proc/kcore\",\"/proc/keys\","
	"\"/proc/latency_stats\",\"/proc/timer_list\",\"/proc/timer_stats\",\"/proc/sched_debug\","
	"\"/proc/scsi\",\"/sys/firmware\"],"
	"\"ReadonlyPaths\":[\"/proc/bus\",\"/proc/fs\",\"/proc/irq\",\"/proc/sys\",\"/proc/"
	"sysrq-trigger\"]}";

static const char config_defaults[] =
	"{\"Hostname\":\"\",\"Domainname\":\"\",\"User\":\"\",\"AttachStdin\":false,"
	"\"AttachStdout\":false,\"AttachStderr\":false,\"Tty\":false,\"OpenStdin\":false,"
	"\"StdinOnce\":false,\"Env\":[],\"Cmd\":null,\"Image\":\"\",\"Volumes\":null,"
	"\"WorkingDir\":\"\","
	"\"Entrypoint\":null,\"OnBuild\":null,\"Labels\":{}}";

static json_t *defaults(const char *text)
{
	return json_loads(text, JSON_DECODE_ANY, NULL);
}

/* The members of FROM that TO knows, when they say something. */
static void overlay(json_t *to, const json_t *from)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)from, name, value) {
		json_t *known = json_object_get(to, name);

		if (!known || json_is_null(value))
			continue;
		if (json_is_string(value) && !json_string_length(value))
			continue;
		json_object_set(to, name, value);
	}
}

json_t *api_container_labels(struct container *container)
{
	const struct image_config *image = image_config(container_image(container));
	json_t *labels = json_object();

	for (size_t i = 0; image && image->label_keys && image->label_keys[i]; i++)
		json_object_set_new(labels, image->label_keys[i],
				    api_json_string(image->label_values[i]));
	for (const struct spec_pair *pair = container_spec(container)->labels; pair && pair->key;
	     pair++)
		json_object_set_new(labels, pair->key, api_json_string(pair->value));
	return labels;
}

static json_t *key_set(char *const *keys, char *const *more)
{
	json_t *object = json_object();

	strv_for_each(key, keys)
		json_object_set_new(object, *key, json_object());
	strv_for_each(key, more)
		json_object_set_new(object, *key, json_object());
	return object;
}

static void set_image_defaults(json_t *config, struct container *container)
{
	const struct container_spec *spec = container_spec(container);
	const struct image_config *image = image_config(container_image(container));
	char *const *cmd = spec->cmd_set ? spec->cmd : NULL;
	char *const *entrypoint = spec->entrypoint_set ? spec->entrypoint : NULL;

	if (image) {
		/* As Docker merges: an entrypoint of one's own drops the image's command. */
		if (!spec->entrypoint_set) {
			entrypoint = image->entrypoint;
			if (!spec->cmd_set)
				cmd = image->cmd;
		}
		if (!spec->user && image->user)
			json_object_set_new(config, "User", api_json_string(image->user));
		if (!spec->working_dir && image->working_dir)
			json_object_set_new(config, "WorkingDir",
					    api_json_string(image->working_dir));
		if (!spec->stop_signal && image->stop_signal)
			json_object_set_new(config, "StopSignal",
					    api_json_string(image->stop_signal));
		if (image->healthcheck && !spec->health.test)
			json_object_set(config, "Healthcheck", image->healthcheck);
	}
	json_object_set_new(config, "Cmd", api_json_strv(cmd));
	json_object_set_new(config, "Entrypoint", api_json_strv(entrypoint));
	if (spec->exposed_ports || (image && image->exposed_ports && image->exposed_ports[0]))
		json_object_set_new(config, "ExposedPorts",
				    key_set(spec->exposed_ports,
					    image ? image->exposed_ports : NULL));
	if (image && image->volumes && image->volumes[0]) {
		json_t *volumes = key_set(image->volumes, NULL);

		json_object_update(volumes, json_object_get(config, "Volumes"));
		json_object_set_new(config, "Volumes", volumes);
	}
}

json_t *api_container_config(struct container *container)
{
	const struct container_spec *spec = container_spec(container);
	json_t *config = defaults(config_defaults);

	overlay(config, spec->docker);
	if (!spec->docker) {
		json_object_set_new(config, "User", api_json_string(spec->user));
		json_object_set_new(config, "Tty", json_boolean(spec->tty));
		json_object_set_new(config, "OpenStdin", json_boolean(spec->open_stdin));
		json_object_set_new(config, "StdinOnce", json_boolean(spec->stdin_once));
		json_object_set_new(config, "WorkingDir", api_json_string(spec->working_dir));
		json_object_set_new(config, "Domainname", api_json_string(spec->domainname));
	}
	for (size_t i = 0; i < 3 && spec->docker; i++) {
		static const char *const optional[] = { "StopTimeout", "Healthcheck", "Shell" };
		json_t *value = json_object_get(spec->docker, optional[i]);

		if (value && !json_is_null(value))
			json_object_set(config, optional[i], value);
	}
	if (spec->stop_signal)
		json_object_set_new(config, "StopSignal", api_json_string(spec->stop_signal));
	json_object_set_new(config, "Image", api_json_string(spec->image));
	json_object_set_new(config, "Env", json_from_strv(container_env(container)));
	json_object_set_new(config, "Labels", api_container_labels(container));
	if (spec->hostname)
		json_object_set_new(config, "Hostname", api_json_string(spec->hostname));
	else if (pod_spec(container_pod(container))->hostname)
		json_object_set_new(config, "Hostname",
				    api_json_string(pod_spec(container_pod(container))->hostname));
	else
		json_object_set_new(config, "Hostname", json_stringn(container_id(container), 12));
	set_image_defaults(config, container);
	return config;
}

static json_t *restart_policy_json(const struct restart_policy *policy)
{
	static const char *const names[] = {
		[RESTART_NO] = "no",
		[RESTART_ALWAYS] = "always",
		[RESTART_ON_FAILURE] = "on-failure",
		[RESTART_UNLESS_STOPPED] = "unless-stopped",
	};

	return json_pack("{s:s,s:i}", "Name", names[policy->kind], "MaximumRetryCount",
			 (int)policy->max_retries);
}

json_t *api_container_host_config(struct container *container)
{
	const struct container_spec *spec = container_spec(container);
	const struct pod_spec *pod = pod_spec(container_pod(container));
	const struct spec_resources *res = &spec->resources;
	json_t *host = defaults(host_config_defaults), *given;

	given = json_object_get(spec->docker, "HostConfig");
	overlay(host, given);
	if (json_object_get(given, "Annotations"))
		json_object_set(host, "Annotations", json_object_get(given, "Annotations"));
	if (json_object_get(given, "Mounts"))
		json_object_set(host, "Mounts", json_object_get(given, "Mounts"));
	if (json_object_get(given, "Tmpfs"))
		json_object_set(host, "Tmpfs", json_object_get(given, "Tmpfs"));
	if (json_object_get(given, "Sysctls"))
		json_object_set(host, "Sysctls", json_object_get(given, "Sysctls"));
	if (json_object_get(given, "Init"))
		json_object_set(host, "Init", json_object_get(given, "Init"));
	/* What an update may have changed since. */
	json_object_set_new(host, "RestartPolicy", restart_policy_json(&spec->restart));
	json_object_set_new(host, "Memory", json_integer((json_int_t)res->memory_bytes));
	json_object_set_new(host, "MemoryReservation",
			    json_integer((json_int_t)res->memory_reservation_bytes));
	json_object_set_new(host, "MemorySwap", json_integer(res->memory_swap_bytes));
	json_object_set_new(host, "CpuShares", json_integer((json_int_t)res->cpu_shares));
	json_object_set_new(host, "CpuPeriod", json_integer((json_int_t)res->cpu_period_us));
	json_object_set_new(host, "CpuQuota", json_integer(res->cpu_quota_us));
	json_object_set_new(host, "NanoCpus", json_integer((json_int_t)(res->cpus * 1e9 + 0.5)));
	json_object_set_new(host, "CpusetCpus", api_json_string(res->cpuset_cpus));
	if (res->pids)
		json_object_set_new(host, "PidsLimit", json_integer(res->pids));
	json_object_set_new(host, "ReadonlyRootfs", json_boolean(spec->read_only));
	json_object_set_new(host, "Privileged", json_boolean(spec->privileged));
	if (spec->log_driver)
		json_object_set_new(host, "LogConfig",
				    json_pack("{s:s,s:o}", "Type", spec->log_driver, "Config",
					      api_json_pairs(spec->log_options)));
	if (pod->isolation_set)
		json_object_set_new(host, "Isolation",
				    json_string(sandbox_isolation_name(pod->isolation)));
	return host;
}

static json_t *state_json(struct container *container)
{
	struct container_status status;
	json_t *state;

	container_status(container, &status);
	state = json_pack("{s:s,s:b,s:b,s:b,s:b,s:b,s:i,s:i,s:o,s:o,s:o}", "Status",
			  container_state_name(status.state), "Running", (int)status.running,
			  "Paused", (int)status.paused, "Restarting", (int)status.restarting,
			  "OOMKilled", (int)status.oom_killed, "Dead", (int)status.dead, "Pid",
			  status.pid, "ExitCode", status.exit_code, "Error",
			  api_json_string(status.error), "StartedAt",
			  api_json_time(status.started_ns), "FinishedAt",
			  api_json_time(status.finished_ns));
	if (status.health && strcmp(status.health, "none"))
		json_object_set_new(state, "Health",
				    json_pack("{s:s,s:i,s:[]}", "Status", status.health,
					      "FailingStreak", 0, "Log"));
	return state;
}

static json_t *mount_json(struct container *container, const struct spec_mount *mount)
{
	struct volume_store *volumes = engine_volumes(pod_engine(container_pod(container)));
	autoptr(volume_unref) struct volume *volume = NULL;
	json_t *json;

	json = json_pack("{s:s,s:o,s:s,s:o,s:b,s:s}", "Type",
			 mount->type == MOUNT_BIND    ? "bind"
			 : mount->type == MOUNT_TMPFS ? "tmpfs"
						      : "volume",
			 "Source", api_json_string(mount->source), "Destination",
			 mount->destination, "Mode", api_json_string(mount->mode_text), "RW",
			 (int)!mount->read_only, "Propagation",
			 mount->type != MOUNT_BIND ? ""
			 : mount->propagation      ? mount->propagation
						   : "rprivate");
	if (json && mount->type == MOUNT_VOLUME) {
		json_object_set_new(json, "Name", api_json_string(mount->source));
		json_object_set_new(json, "Driver", json_string("local"));
		if (volumes && volume_get_known(volumes, mount->source, &volume)) {
			json_object_set_new(json, "Source",
					    api_json_string(volume_mountpoint(volume)));
			json_object_set_new(json, "Driver",
					    json_string(volume_driver_name(volume)));
		}
	}
	return json;
}

json_t *api_container_mounts(struct container *container)
{
	const struct container_spec *spec = container_spec(container);
	json_t *mounts = json_array();

	for (size_t i = 0; i < spec->mount_count; i++) {
		const struct spec_mount *mount = &spec->mounts[i];

		/* Docker lists tmpfs here only when it came through Mounts. */
		if (mount->type != MOUNT_TMPFS || mount->through_mounts)
			json_array_append_new(mounts, mount_json(container, mount));
	}
	return mounts;
}

json_t *api_container_hyper(struct container *container)
{
	struct pod *pod = container_pod(container);

	return json_pack("{s:s,s:s,s:b,s:s}", "Pod", pod_id(pod), "PodName", pod_name(pod), "Solo",
			 (int)pod_is_solo(pod), "Isolation",
			 sandbox_isolation_name(pod_spec(pod)->isolation));
}

json_t *api_container_inspect(struct container *container, bool size, unsigned version)
{
	char *const *args = container_args(container);
	struct container_status status;
	autofree char *name = strf("/%s", container_name(container));
	json_t *root = json_object();

	container_status(container, &status);
	json_object_set_new(root, "Id", json_string(container_id(container)));
	json_object_set_new(root, "Created", api_json_time(container_created_ns(container)));
	json_object_set_new(root, "Path", api_json_string(args && args[0] ? args[0] : ""));
	json_object_set_new(root, "Args",
			    args && args[0] ? json_from_strv(args + 1) : json_array());
	json_object_set_new(root, "State", state_json(container));
	json_object_set_new(root, "Image", json_string(image_id(container_image(container))));
	json_object_set_new(root, "ResolvConfPath", json_string(""));
	json_object_set_new(root, "HostnamePath", json_string(""));
	json_object_set_new(root, "HostsPath", json_string(""));
	json_object_set_new(root, "LogPath", json_string(""));
	json_object_set_new(root, "Name", json_string(name));
	json_object_set_new(root, "RestartCount", json_integer(status.restart_count));
	json_object_set_new(root, "Driver", json_string("overlay"));
	json_object_set_new(root, "Platform", json_string("linux"));
	json_object_set_new(root, "MountLabel", json_string(""));
	json_object_set_new(root, "ProcessLabel", json_string(""));
	json_object_set_new(root, "AppArmorProfile", json_string(""));
	json_object_set_new(root, "ExecIDs", json_null());
	json_object_set_new(root, "HostConfig", api_container_host_config(container));
	json_object_set_new(root, "GraphDriver",
			    json_pack("{s:s,s:{}}", "Name", "overlay", "Data"));
	if (size) {
		api_add_sizes(root, container);
	}
	json_object_set_new(root, "Mounts", api_container_mounts(container));
	json_object_set_new(root, "Config", api_container_config(container));
	json_object_set_new(root, "NetworkSettings", api_network_settings(container));
	json_object_set_new(root, "Hyper", api_container_hyper(container));
	return root;
}

int docker_container_inspect(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	int r = api_container(request, &container, err);

	if (r < 0)
		return r;
	return http_respond_json(request, 200,
				 api_container_inspect(container,
						       http_query_bool(request, "size", false),
						       api_version(request)));
}
