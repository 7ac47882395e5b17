/* The daemon itself: ping, version, info, disk usage; and what it is not. */
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"
#include "hyperd/hypervisor/hypervisor.h"
#include "hyperd/image/registry_endpoint.h"
#include "hyperd/logdriver/logdriver.h"

int docker_ping(struct http_request *request, struct error *err)
{
	http_add_header(request, "Builder-Version", "1");
	http_add_header(request, "Swarm", "inactive");
	http_add_header(request, "Cache-Control", "no-cache, no-store, must-revalidate");
	http_add_header(request, "Pragma", "no-cache");
	return http_respond(request, 200, "text/plain; charset=utf-8", "OK", 2);
}

/* As Docker, without "none". */
static json_t *log_drivers(void)
{
	json_t *names = json_array();
	const char *name;

	for (size_t i = 0; (name = log_driver_name(i)); i++)
		if (strcmp(name, "none") != 0)
			json_array_append_new(names, json_string(name));
	return names;
}

static const char *go_arch(const char *machine)
{
	static const struct {
		const char *machine, *arch;
	} arches[] = { { "x86_64", "amd64" },
		       { "aarch64", "arm64" },
		       { "riscv64", "riscv64" },
		       { "ppc64le", "ppc64le" },
		       { "s390x", "s390x" } };

	for (size_t i = 0; i < ARRAY_SIZE(arches); i++)
		if (!strcmp(arches[i].machine, machine))
			return arches[i].arch;
	return machine;
}

int docker_version(struct http_request *request, struct error *err)
{
	struct utsname un;
	const char *arch;
	json_t *details;

	uname(&un);
	arch = go_arch(un.machine);
	details = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "ApiVersion", "1.44", "Arch",
			    arch, "BuildTime", "", "Experimental", "false", "GitCommit", "",
			    "GoVersion", "", "KernelVersion", un.release, "MinAPIVersion", "1.20",
			    "Os", "linux");
	return http_respond_json(
		request, 200,
		json_pack("{s:{s:s},s:[{s:s,s:s,s:o}],s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}",
			  "Platform", "Name", "Hyper", "Components", "Name", "Engine", "Version",
			  HYPER_VERSION, "Details", details, "Version", HYPER_VERSION, "ApiVersion",
			  "1.44", "MinAPIVersion", "1.20", "GitCommit", "", "GoVersion", "", "Os",
			  "linux", "Arch", arch, "KernelVersion", un.release, "BuildTime", ""));
}

static char *os_release(const char *key)
{
	autofree char *text = NULL;
	char *line, *save = NULL;
	size_t len = strlen(key);

	if (file_read(-1, "/etc/os-release", 65536, &text, NULL, NULL) < 0)
		return strdup("Linux");
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value = line + len + 1;

		if (strncmp(line, key, len) || line[len] != '=')
			continue;
		if (*value == '"') {
			value++;
			value[strcspn(value, "\"")] = 0;
		}
		return strdup(value);
	}
	return strdup("");
}

struct counts {
	int containers, running, paused, images;
};

static void count_container(struct container *container, void *arg)
{
	struct counts *counts = arg;
	struct container_status status;

	container_status(container, &status);
	counts->containers++;
	counts->paused += status.paused;
	counts->running += status.running && !status.paused;
}

static void count_image(struct image *image, void *arg)
{
	struct counts *counts = arg;

	counts->images++;
}

static void set_bools(json_t *info, const char *const *names, bool value)
{
	for (; *names; names++)
		json_object_set_new(info, *names, json_boolean(value));
}

/* What `docker run --runtime` takes: the isolations, and the hypervisors by name. */
static json_t *runtimes(void)
{
	static const char *const plain[] = { "hyper", "vm", "namespace" };
	json_t *all = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
		json_object_set_new(all, plain[i], json_pack("{s:s}", "path", "hyperd"));
	for (size_t i = 0; i < HYPERVISOR_COUNT; i++) {
		autofree char *name = strf("hyper-%s", hypervisor_drivers[i]->name);

		if (name)
			json_object_set_new(all, name, json_pack("{s:s}", "path", "hyperd"));
	}
	return all;
}

static json_t *volume_plugins(struct engine *engine)
{
	autostrv char **names =
		engine_volumes(engine) ? volume_drivers(engine_volumes(engine)) : NULL;

	return names ? json_from_strv(names) : json_array();
}

int docker_info(struct http_request *request, struct error *err)
{
	static const char *const trues[] = { "MemoryLimit",    "CpuCfsPeriod",   "CpuCfsQuota",
					     "CPUShares",      "CPUSet",         "PidsLimit",
					     "OomKillDisable", "IPv4Forwarding", NULL };
	static const char *const falses[] = { "SwapLimit",
					      "KernelMemory",
					      "KernelMemoryTCP",
					      "BridgeNfIptables",
					      "BridgeNfIp6tables",
					      "ExperimentalBuild",
					      NULL };
	struct api *api = api_of(request);
	autofree char *os = os_release("PRETTY_NAME"), *os_version = os_release("VERSION_ID");
	char time[API_TIME_BYTES], host[256] = "";
	struct counts counts = { 0 };
	struct sysinfo si = { 0 };
	struct utsname un;
	json_t *info;

	uname(&un);
	sysinfo(&si);
	gethostname(host, sizeof(host) - 1);
	container_each(api->engine, count_container, &counts);
	image_each(engine_images(api->engine), count_image, &counts);
	info = json_pack("{s:s,s:i,s:i,s:i,s:i,s:i,s:s,s:[[s,s]],s:[],s:{s:o,s:[s,s,s],s:n,s:o}}",
			 "ID", host, "Containers", counts.containers, "ContainersRunning",
			 counts.running, "ContainersPaused", counts.paused, "ContainersStopped",
			 counts.containers - counts.running - counts.paused, "Images",
			 counts.images, "Driver", "overlay", "DriverStatus", "Layer Format",
			 "erofs", "SystemStatus", "Plugins", "Volume", volume_plugins(api->engine),
			 "Network", "bridge", "host", "none", "Authorization", "Log",
			 log_drivers());
	set_bools(info, trues, true);
	set_bools(info, falses, false);
	json_object_set_new(info, "Debug", json_boolean(api->debug));
	json_object_set_new(info, "LiveRestoreEnabled", json_boolean(api->live_restore));
	json_object_set_new(info, "NFd", json_integer(0));
	json_object_set_new(info, "NGoroutines", json_integer(0));
	json_object_set_new(info, "NEventsListener", json_integer(0));
	json_object_set_new(info, "SystemTime", json_string(api_time(realtime_ns(), time)));
	json_object_set_new(info, "LoggingDriver", json_string(api->log_driver));
	json_object_set_new(info, "CgroupDriver", json_string("cgroupfs"));
	json_object_set_new(info, "CgroupVersion",
			    json_string(access("/sys/fs/cgroup/cgroup.controllers", F_OK) ? "1"
											  : "2"));
	json_object_set_new(info, "KernelVersion", json_string(un.release));
	json_object_set_new(info, "OperatingSystem", api_json_string(os));
	json_object_set_new(info, "OSVersion", api_json_string(os_version));
	json_object_set_new(info, "OSType", json_string("linux"));
	json_object_set_new(info, "Architecture", json_string(un.machine));
	json_object_set_new(info, "NCPU", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
	json_object_set_new(info, "MemTotal",
			    json_integer((json_int_t)si.totalram * (json_int_t)si.mem_unit));
	json_object_set_new(info, "IndexServerAddress", json_string(REGISTRY_DEFAULT_INDEX));
	json_object_set_new(info, "RegistryConfig", api_registry_config(api));
	json_object_set_new(info, "GenericResources", json_null());
	json_object_set_new(info, "DockerRootDir", api_json_string(api->data_root));
	json_object_set_new(info, "HttpProxy", json_string(""));
	json_object_set_new(info, "HttpsProxy", json_string(""));
	json_object_set_new(info, "NoProxy", json_string(""));
	json_object_set_new(info, "Name", api_json_string(host));
	json_object_set_new(info, "Labels",
			    api->labels ? json_from_strv(api->labels) : json_array());
	json_object_set_new(info, "ServerVersion", json_string(HYPER_VERSION));
	json_object_set_new(info, "Runtimes", runtimes());
	json_object_set_new(info, "DefaultRuntime", json_string("hyper"));
	json_object_set_new(info, "Swarm",
			    json_pack("{s:s,s:s,s:s,s:b,s:s,s:n}", "NodeID", "", "NodeAddr", "",
				      "LocalNodeState", "inactive", "ControlAvailable", 0, "Error",
				      "", "RemoteManagers"));
	json_object_set_new(info, "Isolation", json_string(api->isolation));
	json_object_set_new(info, "InitBinary", json_string("hyperstart"));
	json_object_set_new(info, "ContainerdCommit",
			    json_pack("{s:s,s:s}", "ID", "", "Expected", ""));
	json_object_set_new(info, "RuncCommit", json_pack("{s:s,s:s}", "ID", "", "Expected", ""));
	json_object_set_new(info, "InitCommit", json_pack("{s:s,s:s}", "ID", "", "Expected", ""));
	json_object_set_new(info, "SecurityOptions",
			    json_pack("[s]", "name=seccomp,profile=default"));
	json_object_set_new(info, "Warnings", json_array());
	json_object_set_new(info, "Hyper",
			    json_pack("{s:s,s:o,s:o}", "Version", HYPER_VERSION, "Engine",
				      engine_info(api->engine), "Sandbox",
				      sandbox_factory_info(engine_sandboxes(api->engine))));
	return http_respond_json(request, 200, info);
}

struct df {
	struct http_request *request;
	json_t *images, *containers;
	json_t *layers; /* {"sha256:…": true}: each counts once */
	uint64_t layers_bytes;
};

static void df_image(struct image *image, void *arg)
{
	struct df *df = arg;
	struct image_store *images = engine_images(api_engine(df->request));
	bool named = image_tags(image) && image_tags(image)[0];

	for (size_t i = 0; i < image_layer_count(image); i++) {
		const struct layer *layer = image_layer(image, i);

		if (json_object_get(df->layers, layer->diff_id))
			continue;
		json_object_set_new(df->layers, layer->diff_id, json_true());
		df->layers_bytes += layer->size_bytes;
	}
	/* What others were built on is not shown for itself. */
	if (named || !image_has_children(images, image))
		json_array_append_new(df->images,
				      api_image_summary(images, image, api_version(df->request)));
}

static void df_container(struct container *container, void *arg)
{
	struct df *df = arg;
	json_t *summary = api_container_summary(container, api_version(df->request));

	api_add_sizes(summary, container);
	json_array_append_new(df->containers, summary);
}

int docker_df(struct http_request *request, struct error *err)
{
	struct df df = { request, json_array(), json_array(), json_object(), 0 };

	image_each(engine_images(api_engine(request)), df_image, &df);
	json_decref(df.layers);
	container_each(api_engine(request), df_container, &df);
	return http_respond_json(request, 200,
				 json_pack("{s:I,s:o,s:o,s:o,s:[],s:i}", "LayersSize",
					   (json_int_t)df.layers_bytes, "Images", df.images,
					   "Containers", df.containers, "Volumes",
					   api_volumes_df(request), "BuildCache", "BuilderSize",
					   0));
}

int docker_plugins(struct http_request *request, struct error *err)
{
	return http_respond_json(request, 200, json_array());
}

int docker_not_swarm(struct http_request *request, struct error *err)
{
	return error_set(err, ERROR_UNAVAILABLE,
			 "This node is not a swarm manager. Use \"docker swarm init\" or \"docker "
			 "swarm join\" to connect this node to swarm and try again.");
}

int docker_unsupported(struct http_request *request, struct error *err)
{
	return error_set(err, ERROR_UNSUPPORTED, "%s %.128s is not supported by this daemon",
			 request->method_name, request->path);
}
