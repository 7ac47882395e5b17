#pragma once
/*
 * The API's edge: thin translations between HTTP and the domain. One route table for both kinds of
 * paths (docs/api.md, docs/docker-api.md). Handlers are tasks of their connections; what they hold
 * of the domain they hold by reference.
 */
#include "hyperd/http/http.h"
#include "hyperd/pod/engine.h"

#define API_VERSION_MAX 44 /* of 1.x */
#define API_VERSION_MIN 20

/* What the handlers work on: the `context` of the HTTP server. All borrowed for its life. */
struct api {
	struct loop *loop;
	struct job_pool *jobs;
	struct engine *engine;
	struct registries *registries;
	const char *data_root;
	const char *log_driver;
	const char *isolation; /* default of new pods: "vm" or "namespace" */
	char *const *labels;   /* strv: the daemon's own */
	char *const *insecure_registries, *const *registry_mirrors; /* strv */
	bool debug, live_restore;
};

extern const struct http_route api_routes[];
extern const size_t api_route_count;

/* http_server_config.begin: API versions, standard header fields. */
int api_begin(struct http_request *request, struct error *err);

static inline struct api *api_of(struct http_request *request)
{
	return request->context;
}

static inline struct engine *api_engine(struct http_request *request)
{
	return api_of(request)->engine;
}

/* The minor API version that the client speaks, 1.x; the newest for paths without one. */
static inline unsigned api_version(const struct http_request *request)
{
	return request->tag;
}

/* ------------------------------------------------------------------ common.c */

/* RFC 3339 with nanoseconds, UTC; 0 is Go's zero time. */
#define API_TIME_BYTES 40
const char *api_time(uint64_t realtime_ns, char text[API_TIME_BYTES]);
json_t *api_json_time(uint64_t realtime_ns);
/*
 * A point in time as Docker's queries say it: seconds[.fraction] since 1970, RFC 3339 (with or
 * without zone and time), or a duration back from now ("10m", "1h30m"). NULL, "" and "0" are 0.
 */
int api_parse_time(const char *text, uint64_t *ret_ns, struct error *err);
/* "KILL", "SIGKILL", "9", "RTMIN+3"; ERROR_INVALID with Docker's text. */
int api_parse_signal(const char *text, int *ret, struct error *err);

/* A JSON string that is never NULL: bytes that are not UTF-8 are replaced. */
json_t *api_json_string(const char *text);
/* {"key": "value"} of spec pairs; never NULL but for want of memory. */
json_t *api_json_pairs(const struct spec_pair *pairs);
/* json_from_strv(); null for NULL. */
json_t *api_json_strv(char *const *v);
/* Docker's {"message": …} bodies are made by the server; this one is for text in a stream. */
int api_push_stream_error(struct http_request *request, const struct error *error);
/* Shell patterns as Go's path.Match knows them. */
bool api_glob(const char *pattern, const char *text);
/* LABELS ({"k": "v"}) against "k" or "k=v"; all VALUES must fit. */
bool api_labels_match(const json_t *labels, char *const *values);
/* Docker's "7 minutes", "About an hour". */
char *api_human_duration(uint64_t ns);

/* {name} as a container; {name} of images may hold slashes. */
int api_container(struct http_request *request, struct container **ret, struct error *err);

/* ------------------------------------------------------------------ translations that both use */

/* docker/containers_create.c. BODY (borrowed) is the create body. */
struct create_request {
	struct container_spec *spec; /* owned */
	struct pod_spec *options;    /* owned: what shapes the new pod */
	char *pod;                   /* owned: name of an existing pod, or NULL */
	char *joins;                 /* owned: a container whose pod this one goes into, or NULL */
	char *mac, **links;          /* owned: of the first network */
	char **warnings;             /* strv */
};
void create_request_done(struct create_request *create);
int create_request_parse(json_t *body, const char *name, struct create_request *ret,
			 struct error *err);
/* Makes the container and answers 201. POD may be NULL. */
int api_container_create(struct http_request *request, struct pod *pod, struct error *err);
/* Docker's exec create body. */
int exec_request_parse(json_t *body, struct exec_spec **ret, struct error *err);
/* {"CpuShares", "Memory", …, "RestartPolicy"} of an update. */
struct restart_policy;
int update_request_parse(json_t *body, struct spec_resources *resources, bool *ret_any,
			 struct restart_policy *restart, bool *ret_restart, struct error *err);

/* docker/container_inspect.c, docker/containers_list.c */
json_t *api_container_inspect(struct container *container, bool size, unsigned version);
json_t *api_container_hyper(struct container *container);
/* docker/network_settings.c */
json_t *api_network_settings(struct container *container);
json_t *api_container_networks(struct container *container);
json_t *api_container_ports(struct container *container);
json_t *api_container_port_list(struct container *container);
json_t *api_container_labels(struct container *container);
json_t *api_container_config(struct container *container);
json_t *api_container_host_config(struct container *container);
json_t *api_container_mounts(struct container *container);
/* docker/volumes.c */
json_t *api_volume_json(struct volume *volume);
json_t *api_volumes_df(struct http_request *request); /* task */
json_t *api_container_summary(struct container *container, unsigned version);
/* docker/container_files.c. Task: SizeRw and SizeRootFs; what cannot be had is 0. */
void api_add_sizes(json_t *object, struct container *container);
/* docker/images.c */
json_t *api_image_summary(struct image_store *images, struct image *image, unsigned version);
json_t *api_image_labels(struct image *image);
/* docker/registry.c: an image_progress.update whose argument is the request. */
void api_pull_progress(void *arg, const char *id, const char *status, uint64_t current,
		       uint64_t total);
/* docker/registry.c: what info tells of registries. */
json_t *api_registry_config(const struct api *api);

/* ------------------------------------------------------------------ handlers */

/* docker/system.c */
http_handler docker_ping, docker_version, docker_info, docker_df, docker_plugins, docker_not_swarm,
	docker_unsupported;
/* docker/events.c */
http_handler docker_events;
/* docker/containers_list.c, containers_create.c, container_inspect.c */
http_handler docker_container_list, docker_container_create, docker_container_inspect;
/* docker/stats.c */
http_handler docker_container_stats;
/* docker/attach.c, logs.c, exec.c */
http_handler docker_container_attach, docker_container_attach_websocket, docker_container_logs,
	docker_exec_create, docker_exec_start, docker_exec_inspect, docker_exec_resize;
/* docker/containers.c, containers_list.c (prune) */
http_handler docker_container_start, docker_container_stop, docker_container_restart,
	docker_container_kill, docker_container_pause, docker_container_unpause,
	docker_container_rename, docker_container_wait, docker_container_remove,
	docker_container_prune, docker_container_resize, docker_container_update,
	docker_container_top;
/* docker/container_files.c */
http_handler docker_container_changes, docker_container_export, docker_container_archive,
	docker_commit;
/* docker/images.c, images_transfer.c */
http_handler docker_image_list, docker_image_inspect, docker_image_history, docker_image_tag,
	docker_image_remove, docker_image_prune, docker_image_search, docker_image_create,
	docker_image_load, docker_image_save;
/* docker/registry.c */
http_handler docker_image_pull, docker_image_push, docker_auth, docker_distribution;
/* docker/build.c */
http_handler docker_build, docker_build_prune;
/* docker/networks.c */
http_handler docker_network_list, docker_network_inspect, docker_network_create,
	docker_network_remove, docker_network_prune, docker_network_connect,
	docker_network_disconnect;
/* docker/volumes.c */
http_handler docker_volume_list, docker_volume_create, docker_volume_inspect, docker_volume_remove,
	docker_volume_prune;
/* native/info.c, pods.c */
http_handler native_info, native_pod_list, native_pod_create, native_pod_inspect, native_pod_start,
	native_pod_stop, native_pod_restart, native_pod_kill, native_pod_pause, native_pod_unpause,
	native_pod_ports, native_pod_port_add, native_pod_port_remove, native_pod_remove,
	native_pod_wait, native_pod_stats, native_pod_console, native_pod_timing, native_pod_exec,
	native_pod_add_container, native_pod_rename;
