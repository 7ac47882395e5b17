/* Published ports of a pod, while it runs or not: /hyper/v1/pods/{name}/ports. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"

static int find_pod(struct http_request *request, struct pod **ret, struct error *err)
{
	return pod_get(api_engine(request), http_param(request, "pod"), ret, err);
}

static json_t *ports_json(const struct pod *pod)
{
	json_t *list = json_array();
	struct published *const *published;
	char host[IP_TEXT_BYTES];
	size_t count;

	published = pod_published(pod, &count);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_pack("{s:s,s:i,s:s,s:i}", "Protocol",
						      published[i]->protocol, "Port",
						      (int)published[i]->port, "HostIp",
						      published[i]->host.family
							      ? ip_text(&published[i]->host, host)
							      : "0.0.0.0",
						      "HostPort", (int)published[i]->host_port));
	return list;
}

int native_pod_ports(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	int r = find_pod(request, &pod, err);

	return r < 0 ? r : http_respond_json(request, 200, ports_json(pod));
}

static int check_protocol(const char *protocol, struct error *err)
{
	if (strcmp(protocol, "tcp") && strcmp(protocol, "udp") && strcmp(protocol, "sctp"))
		return error_set(err, ERROR_INVALID, "Protocol: expected tcp, udp or sctp");
	return 0;
}

int native_pod_port_add(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	autojson json_t *body = NULL;
	const char *protocol = NULL, *host_ip = NULL;
	int64_t port = 0, first = 0, last = 0;
	struct spec_port spec = { 0 };
	int r = http_body_json(request, &body, err);

	if (r == 0)
		r = json_get_string(body, "Protocol", &protocol, err);
	if (r == 0)
		r = json_get_string(body, "HostIp", &host_ip, err);
	if (r == 0)
		r = json_get_int(body, "Port", &port, err);
	if (r == 0)
		r = json_get_int(body, "HostPort", &first, err);
	if (r == 0)
		r = json_get_int(body, "HostPortLast", &last, err);
	if (r < 0)
		return r;
	if (port < 1 || port > 65535 || first < 0 || first > 65535 || last < 0 || last > 65535)
		return error_set(err, ERROR_INVALID,
				 "Port, HostPort: expected numbers up to 65535");
	spec.protocol = (char *)(protocol && *protocol ? protocol : "tcp");
	spec.host_ip = (char *)host_ip;
	spec.port = (int)port;
	spec.host_first = (int)first;
	spec.host_last = (int)(last > first ? last : first);
	r = check_protocol(spec.protocol, err);
	if (r == 0)
		r = find_pod(request, &pod, err);
	if (r == 0)
		r = pod_port_add(pod, &spec, err);
	return r < 0 ? r : http_respond_json(request, 201, ports_json(pod));
}

int native_pod_port_remove(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	const char *protocol = http_query(request, "protocol");
	int64_t port = 0, host_port = 0;
	int r = http_query_int(request, "port", 1, 65535, &port, err);

	if (r == 0)
		r = http_query_int(request, "hostPort", 0, 65535, &host_port, err);
	if (r == 0 && !port)
		r = error_set(err, ERROR_INVALID, "port: expected a number from 1 to 65535");
	if (r < 0)
		return r;
	if (!protocol || !*protocol)
		protocol = "tcp";
	r = check_protocol(protocol, err);
	if (r == 0)
		r = find_pod(request, &pod, err);
	if (r == 0)
		r = pod_port_remove(pod, protocol, (int)port, (int)host_port, err);
	return r < 0 ? r : http_respond_empty(request, 204);
}
