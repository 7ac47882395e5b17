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
	const char *data_root;
	const char *log_driver;
	const char *isolation; /* default of new pods: "vm" or "namespace" */
	char *const *labels;   /* strv: the daemon's own */
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
json_t *api_container_labels(struct container *container);
json_t *api_container_config(struct container *container);
json_t *api_container_host_config(struct container *container);
json_t *api_container_summary(struct container *container, unsigned version);
/* docker/images.c */
json_t *api_image_summary(struct image *image, unsigned version);
json_t *api_image_labels(struct image *image);

/* ------------------------------------------------------------------ handlers */

#define API_HANDLERS(X)                                                                            \
	/* docker/system.c */                                                                      \
	X(docker_ping)                                                                             \
	X(docker_version)                                                                          \
	X(docker_info)                                                                             \
	X(docker_df)                                                                               \
	X(docker_auth) X(docker_plugins) X(docker_not_swarm)                                       \
		X(docker_unsupported) /* docker/events.c */                                        \
		X(docker_events)      /* docker/containers_list.c, containers_create.c,            \
					 container_inspect.c */                                    \
		X(docker_container_list) X(docker_container_create)                                \
			X(docker_container_inspect) /* docker/containers.c */                      \
		X(docker_container_start) X(docker_container_stop) X(docker_container_restart)     \
			X(docker_container_kill) X(docker_container_pause)                         \
				X(docker_container_unpause) X(docker_container_rename) X(          \
					docker_container_update) X(docker_container_wait)          \
					X(docker_container_remove) X(docker_container_prune) X(    \
						docker_container_top)                              \
						X(docker_container_resize) /* docker/stats.c */    \
		X(docker_container_stats) /* docker/attach.c, logs.c, exec.c */                    \
		X(docker_container_attach) X(docker_container_attach_websocket)                    \
			X(docker_container_logs) X(docker_exec_create) X(docker_exec_start) X(     \
				docker_exec_resize)                                                \
				X(docker_exec_inspect) /* docker/images.c, images_transfer.c */    \
		X(docker_image_list) X(docker_image_inspect) X(docker_image_history)               \
			X(docker_image_tag) X(docker_image_remove) X(docker_image_prune)           \
				X(docker_image_search) X(docker_image_create) X(docker_image_load) \
					X(docker_image_save) /* docker/networks.c */               \
		X(docker_network_list) X(docker_network_inspect) X(docker_volume_list)             \
			X(docker_volume_inspect) /* native/info.c, pods.c */                       \
		X(native_info) X(native_pod_list) X(native_pod_create) X(native_pod_inspect)       \
			X(native_pod_start) X(native_pod_stop) X(native_pod_restart)               \
				X(native_pod_kill) X(native_pod_pause) X(native_pod_unpause) X(    \
					native_pod_rename) X(native_pod_remove) X(native_pod_wait) \
					X(native_pod_stats) X(native_pod_console)                  \
						X(native_pod_timing) X(native_pod_exec)            \
							X(native_pod_add_container)

#define API_DECLARE(name) http_handler name;
API_HANDLERS(API_DECLARE)
