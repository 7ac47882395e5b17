/* Docker's API versions, and the header fields that every answer carries. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "hyperd/api/api.h"

/* Reads "/vN.NN" in front of a path; 0 when there is none. */
static size_t version_prefix(const char *path, unsigned long *ret_major, unsigned long *ret_minor)
{
	char *end;

	if (path[0] != '/' || path[1] != 'v' || path[2] < '0' || path[2] > '9')
		return 0;
	*ret_major = strtoul(path + 2, &end, 10);
	if (*end != '.' || end[1] < '0' || end[1] > '9')
		return 0;
	*ret_minor = strtoul(end + 1, &end, 10);
	return *end == '/' ? (size_t)(end - path) : 0;
}

int api_begin(struct http_request *request, struct error *err)
{
	unsigned long major = 1, minor = API_VERSION_MAX;
	size_t prefix = version_prefix(request->path, &major, &minor);

	request->tag = API_VERSION_MAX;
	http_add_header(request, "Api-Version", "1.%d", API_VERSION_MAX);
	http_add_header(request, "Docker-Experimental", "false");
	http_add_header(request, "Ostype", "linux");
	http_add_header(request, "Server", "Hyper/" HYPER_VERSION " (linux)");
	if (!prefix)
		return 0;
	if (major > 1 || minor > API_VERSION_MAX)
		return error_set(err, ERROR_INVALID,
				 "client version %lu.%lu is too new. Maximum supported API version "
				 "is 1.%d",
				 major, minor, API_VERSION_MAX);
	if (major < 1 || minor < API_VERSION_MIN)
		return error_set(err, ERROR_INVALID,
				 "client version %lu.%lu is too old. Minimum supported API version "
				 "is 1.%d, please upgrade your client to a newer version",
				 major, minor, API_VERSION_MIN);
	request->path += prefix;
	request->tag = (unsigned)minor;
	return 0;
}
