/*
 * What a container's process is to be: the image's defaults with the specification merged in, by
 * Docker's rules (moby image configuration merge, container environment).
 */
#include <signal.h>
#include <string.h>

#include "base/json.h"
#include "hyperd/pod/internal.h"
#include "hyperd/pod/oci_defaults.h"

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/* Docker refuses smaller limits. */
#define MEMORY_MIN_BYTES (6u << 20)

static char **find_env(char **env, const char *entry)
{
	size_t n = strcspn(entry, "=");

	for (char **e = env; e && *e; e++)
		if (strncmp(*e, entry, n) == 0 && ((*e)[n] == '=' || (*e)[n] == '\0'))
			return e;
	return NULL;
}

static void remove_env(char **at)
{
	free(*at);
	do
		at[0] = at[1];
	while (*at++);
}

int env_merge(char ***env, char *const *more)
{
	strv_for_each(entry, more) {
		char **old = find_env(*env, *entry);

		/* "NAME" alone takes the variable away, as Docker's create does. */
		if (!strchr(*entry, '=')) {
			if (old)
				remove_env(old);
			continue;
		}
		if (old) {
			char *copy = strdup(*entry);

			if (!copy)
				return -ENOMEM;
			free(*old);
			*old = copy;
		} else if (strv_add(env, *entry) < 0) {
			return -ENOMEM;
		}
	}
	return 0;
}

static int make_env(const struct container_spec *spec, const struct image_config *image,
		    char ***ret)
{
	int r = strv_add(ret, DEFAULT_PATH);

	if (r == 0 && spec->tty)
		r = strv_add(ret, "TERM=xterm");
	if (r == 0 && image)
		r = env_merge(ret, image->env);
	return r < 0 ? r : env_merge(ret, spec->env);
}

/* Docker: an entrypoint of one's own drops the image's command; {""} clears the image's. */
static int make_args(const struct container_spec *spec, const struct image_config *image,
		     char ***ret)
{
	char *const *entrypoint = spec->entrypoint, *const *cmd = spec->cmd;
	bool own_entrypoint = strv_len(spec->entrypoint) > 0;

	if (!own_entrypoint) {
		if (strv_len(cmd) == 0)
			cmd = image ? image->cmd : NULL;
		entrypoint = image ? image->entrypoint : NULL;
	} else if (strv_len(entrypoint) == 1 && !*entrypoint[0]) {
		entrypoint = NULL;
	}
	strv_for_each(s, entrypoint)
		if (strv_add(ret, *s) < 0)
			return -ENOMEM;
	strv_for_each(s, cmd)
		if (strv_add(ret, *s) < 0)
			return -ENOMEM;
	return 0;
}

static int make_labels(const struct container_spec *spec, const struct image_config *image,
		       struct spec_pair **ret)
{
	for (size_t i = 0; image && image->label_keys && image->label_keys[i]; i++)
		if (spec_pairs_set(ret, image->label_keys[i], image->label_values[i]) < 0)
			return -ENOMEM;
	for (const struct spec_pair *p = spec->labels; p && p->key; p++)
		if (spec_pairs_set(ret, p->key, p->value) < 0)
			return -ENOMEM;
	return 0;
}

/* An image's HEALTHCHECK, as in its configuration: {"Test": […], "Interval": ns, …}. */
static int image_health(const json_t *json, struct spec_health *ret)
{
	int64_t interval, timeout, start, retries;

	if (!json_is_object(json) || json_get_strv(json, "Test", &ret->test, NULL) < 0 ||
	    json_get_int(json, "Interval", &interval, NULL) < 0 ||
	    json_get_int(json, "Timeout", &timeout, NULL) < 0 ||
	    json_get_int(json, "StartPeriod", &start, NULL) < 0 ||
	    json_get_int(json, "Retries", &retries, NULL) < 0)
		return 0; /* an image's nonsense is no reason to refuse the container */
	ret->interval_ns = interval > 0 ? (uint64_t)interval : 0;
	ret->timeout_ns = timeout > 0 ? (uint64_t)timeout : 0;
	ret->start_period_ns = start > 0 ? (uint64_t)start : 0;
	ret->retries = retries > 0 && retries < INT32_MAX ? (unsigned)retries : 0;
	return 0;
}

static int make_health(const struct container_spec *spec, const struct image_config *image,
		       struct spec_health *ret)
{
	const struct spec_health *own = &spec->health;

	if (image && image->healthcheck && image_health(image->healthcheck, ret) < 0)
		return -ENOMEM;
	if (own->test && own->test[0]) {
		strv_free(ret->test);
		ret->test = strv_copy(own->test);
		if (!ret->test)
			return -ENOMEM;
	}
	ret->interval_ns = own->interval_ns ? own->interval_ns : ret->interval_ns;
	ret->timeout_ns = own->timeout_ns ? own->timeout_ns : ret->timeout_ns;
	ret->start_period_ns = own->start_period_ns ? own->start_period_ns : ret->start_period_ns;
	ret->retries = own->retries ? own->retries : ret->retries;
	if (ret->test && (!ret->test[0] || strcmp(ret->test[0], "NONE") == 0)) {
		strv_free(ret->test);
		ret->test = NULL;
	}
	return 0;
}

static const char *first_of(const char *a, const char *b)
{
	return a && *a ? a : b && *b ? b : "";
}

int process_config_make(const struct container_spec *spec, const struct image_config *image,
			struct process_config *ret, struct error *err)
{
	const char *signal = first_of(spec->stop_signal, image ? image->stop_signal : NULL);
	struct process_config config = { .stop_signal = SIGTERM };
	int r = 0;

	if (*signal && signal_parse(signal, &config.stop_signal, err) < 0) {
		/* Docker: an image's own nonsense means the default. */
		if (spec->stop_signal && *spec->stop_signal)
			return -EINVAL;
		config.stop_signal = SIGTERM;
		error_clear(err);
	}
	r = capabilities_make(spec->cap_add, spec->cap_drop, spec->privileged, &config.capabilities,
			      err);
	if (r < 0)
		return r;
	config.user = strdup(first_of(spec->user, image ? image->user : NULL));
	config.working_dir = strdup(first_of(spec->working_dir, image ? image->working_dir : NULL));
	if (!config.user || !config.working_dir || make_env(spec, image, &config.env) < 0 ||
	    make_args(spec, image, &config.args) < 0 ||
	    make_labels(spec, image, &config.labels) < 0 ||
	    make_health(spec, image, &config.health) < 0)
		r = error_nomem(err);
	if (r == 0 && !strv_len(config.args))
		r = error_set(err, ERROR_INVALID, "No command specified");
	if (r < 0) {
		process_config_done(&config);
		return r;
	}
	*ret = config;
	return 0;
}

void process_config_done(struct process_config *config)
{
	strv_free(config->args);
	strv_free(config->env);
	free(config->user);
	free(config->working_dir);
	spec_pairs_free(config->labels);
	strv_free(config->health.test);
	*config = (struct process_config){ 0 };
}

/* ------------------------------------------------------------------ what a specification may say
 */

static int check_resources(const struct spec_resources *res, struct error *err)
{
	if (res->memory_bytes && res->memory_bytes < MEMORY_MIN_BYTES)
		return error_set(err, ERROR_INVALID, "Minimum memory limit allowed is 6MB");
	if (res->memory_swap_bytes > 0 && !res->memory_bytes)
		return error_set(err, ERROR_INVALID,
				 "You should always set the Memory limit when using Memoryswap "
				 "limit, see usage");
	if (res->memory_swap_bytes > 0 && (uint64_t)res->memory_swap_bytes < res->memory_bytes)
		return error_set(err, ERROR_INVALID,
				 "Minimum memoryswap limit should be larger than memory limit, "
				 "see usage");
	if (res->memory_reservation_bytes && res->memory_reservation_bytes < MEMORY_MIN_BYTES)
		return error_set(err, ERROR_INVALID, "Minimum memory reservation allowed is 6MB");
	if (res->memory_bytes && res->memory_reservation_bytes > res->memory_bytes)
		return error_set(err, ERROR_INVALID,
				 "Minimum memory limit can not be less than memory reservation "
				 "limit, see usage");
	if (res->cpus < 0)
		return error_set(err, ERROR_INVALID, "NanoCPUs must not be negative");
	if (res->cpus > 0 && (res->cpu_period_us || res->cpu_quota_us))
		return error_set(err, ERROR_INVALID,
				 "Conflicting options: Nano CPUs and CPU "
				 "Period cannot both be set.");
	if (res->cpu_period_us && (res->cpu_period_us < 1000 || res->cpu_period_us > 1000000))
		return error_set(err, ERROR_INVALID,
				 "CPU cfs period can not be less than 1ms (i.e. 1000) or larger "
				 "than 1s (i.e. 1000000)");
	if (res->cpu_quota_us > 0 && res->cpu_quota_us < 1000)
		return error_set(err, ERROR_INVALID,
				 "CPU cfs quota can not be less than 1ms (i.e. 1000)");
	if (res->blkio_weight && (res->blkio_weight < 10 || res->blkio_weight > 1000))
		return error_set(err, ERROR_INVALID, "Range of blkio weight is from 10 to 1000");
	return 0;
}

int container_spec_check(const struct container_spec *spec, struct error *err)
{
	int r = check_resources(&spec->resources, err), number;

	for (const struct spec_ulimit *u = spec->ulimits; r == 0 && u && u->name; u++) {
		if (!rlimit_name(u->name))
			r = error_set(err, ERROR_INVALID, "invalid ulimit type: %s", u->name);
		else if (u->hard != -1 && (u->soft == -1 || u->soft > u->hard))
			r = error_set(err, ERROR_INVALID,
				      "ulimit soft limit must be less than or equal to hard "
				      "limit: %lld > %lld",
				      (long long)u->soft, (long long)u->hard);
	}
	for (const struct spec_pair *p = spec->sysctls; r == 0 && p && p->key; p++)
		r = sysctl_check(p->key, err);
	if (r == 0 && spec->stop_signal && *spec->stop_signal)
		r = signal_parse(spec->stop_signal, &number, err);
	if (r == 0 && spec->working_dir && *spec->working_dir && *spec->working_dir != '/')
		r = error_set(err, ERROR_INVALID,
			      "the working directory '%s' is invalid, it needs to be an absolute "
			      "path",
			      spec->working_dir);
	if (r == 0 && spec->auto_remove && spec->restart.kind != RESTART_NO)
		r = error_set(err, ERROR_INVALID,
			      "can't create 'AutoRemove' container with restart policy");
	for (size_t i = 0; r == 0 && i < spec->file_count; i++)
		if (!spec->files[i].path || *spec->files[i].path != '/')
			r = error_set(err, ERROR_INVALID, "file '%s': expected an absolute path",
				      spec->files[i].path ? spec->files[i].path : "");
	strv_for_each(env, spec->env) {
		if (r == 0 && (!**env || **env == '='))
			r = error_set(err, ERROR_INVALID, "invalid environment variable: %s", *env);
	}
	return r;
}
