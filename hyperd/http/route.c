/* The route table: the first row whose method and pattern fit. */
#include <string.h>

#include "hyperd/http/internal.h"

static void params_clear(struct http_request *request)
{
	for (unsigned i = 0; i < request->param_count; i++) {
		free(request->params[i].name);
		free(request->params[i].value);
	}
	request->param_count = 0;
}

/* NAME points behind '{'. */
static int param_add(struct http_request *request, const char *name, size_t name_len,
		     const char *value, size_t value_len)
{
	struct http_field *param;
	char *decoded, *copy;
	int r;

	if (request->param_count == HTTP_MAX_PARAMS)
		return -E2BIG;
	r = http_percent_decode(value, value_len, false, &decoded);
	if (r < 0)
		return r;
	copy = strndup(name, name_len);
	if (!copy) {
		free(decoded);
		return -ENOMEM;
	}
	param = &request->params[request->param_count++];
	param->name = copy;
	param->value = decoded;
	return 0;
}

/* 1: fits, 0: does not, -errno. Patterns are few and their segments fewer: no automaton is needed.
 */
static int match(struct http_request *request, const char *pattern, const char *path)
{
	while (*pattern) {
		const char *close;
		size_t len;
		int r;

		while (path[0] == '/' && path[1] == '/') /* "//" counts as "/" */
			path++;
		if (*pattern != '{') {
			if (*pattern++ != *path++)
				return 0;
			continue;
		}
		close = strchr(pattern, '}');
		if (close[-1] == '*') {
			/* One or more segments: the longest first, so that what follows is last. */
			for (len = strlen(path); len > 0; len--) {
				unsigned params = request->param_count;

				if (path[len] && path[len] != '/')
					continue;
				r = param_add(request, pattern + 1, (size_t)(close - pattern - 2),
					      path, len);
				if (r < 0)
					return r;
				r = match(request, close + 1, path + len);
				if (r != 0)
					return r;
				while (request->param_count > params) {
					request->param_count--;
					free(request->params[request->param_count].name);
					free(request->params[request->param_count].value);
				}
			}
			return 0;
		}
		len = strcspn(path, "/");
		if (!len)
			return 0;
		r = param_add(request, pattern + 1, (size_t)(close - pattern - 1), path, len);
		if (r < 0)
			return r;
		pattern = close + 1;
		path += len;
	}
	return !*path || !strcmp(path, "/");
}

const struct http_route *http_route_find(const struct http_server_config *config,
					 struct http_request *request, int *ret_error)
{
	*ret_error = 0;
	for (size_t i = 0; i < config->route_count; i++) {
		const struct http_route *route = &config->routes[i];
		int r;

		if (!(route->methods & request->method))
			continue;
		params_clear(request);
		r = match(request, route->pattern, request->path);
		if (r > 0)
			return route;
		if (r < 0) {
			*ret_error = r;
			return NULL;
		}
	}
	params_clear(request);
	return NULL;
}
