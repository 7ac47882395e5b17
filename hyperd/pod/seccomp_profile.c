#include "hyperd/pod/seccomp_profile.h"

#include <seccomp.h>
#include <stdio.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "base/file.h"
#include "base/json.h"
#include "base/list.h"
#include "base/str.h"
#include "base/task.h"
#include "hyperd/pod/oci_defaults.h"

#define PROFILE_MAX_BYTES (1u << 20)
#define FILTERS_KEPT      32

#if defined(__x86_64__)
#define NATIVE_ARCH "amd64"
#elif defined(__aarch64__)
#define NATIVE_ARCH "arm64"
#else
#error "seccomp: name this architecture as Docker's profiles do"
#endif

static void cleanup_seccomp(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

/* ------------------------------------------------------------------ words */

static int parse_action(const char *name, unsigned errnum, uint32_t *ret, struct error *err)
{
	const struct {
		const char *name;
		uint32_t action;
	} actions[] = {
		{ "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW },
		{ "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(errnum & 0xffff) },
		{ "SCMP_ACT_KILL", SCMP_ACT_KILL },
		{ "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD },
		{ "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS },
		{ "SCMP_ACT_LOG", SCMP_ACT_LOG },
		{ "SCMP_ACT_TRACE", SCMP_ACT_TRACE(errnum & 0xffff) },
		{ "SCMP_ACT_TRAP", SCMP_ACT_TRAP },
	};

	for (size_t i = 0; name && i < ARRAY_SIZE(actions); i++)
		if (strcmp(name, actions[i].name) == 0) {
			*ret = actions[i].action;
			return 0;
		}
	return error_set(err, ERROR_INVALID,
			 "action '%s': expected one of SCMP_ACT_ALLOW, ERRNO, "
			 "KILL, KILL_THREAD, KILL_PROCESS, LOG, TRACE, TRAP",
			 name ? name : "");
}

static int parse_operator(const char *name, enum scmp_compare *ret, struct error *err)
{
	static const struct {
		const char *name;
		enum scmp_compare op;
	} operators[] = {
		{ "SCMP_CMP_NE", SCMP_CMP_NE },
		{ "SCMP_CMP_LT", SCMP_CMP_LT },
		{ "SCMP_CMP_LE", SCMP_CMP_LE },
		{ "SCMP_CMP_EQ", SCMP_CMP_EQ },
		{ "SCMP_CMP_GE", SCMP_CMP_GE },
		{ "SCMP_CMP_GT", SCMP_CMP_GT },
		{ "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
	};

	for (size_t i = 0; name && i < ARRAY_SIZE(operators); i++)
		if (strcmp(name, operators[i].name) == 0) {
			*ret = operators[i].op;
			return 0;
		}
	return error_set(err, ERROR_INVALID,
			 "op '%s': expected SCMP_CMP_NE, LT, LE, EQ, GE, GT or "
			 "MASKED_EQ",
			 name ? name : "");
}

/* "SCMP_ARCH_X86_64" → libseccomp's "x86_64"; 0 for what this library does not know. */
static uint32_t parse_arch(const char *name)
{
	char lower[32];
	size_t n = 0;

	if (!name || !str_starts(name, "SCMP_ARCH_"))
		return 0;
	name += strlen("SCMP_ARCH_");
	for (; name[n] && n + 1 < sizeof(lower); n++)
		lower[n] = (char)(name[n] >= 'A' && name[n] <= 'Z' ? name[n] + 32 : name[n]);
	lower[n] = '\0';
	return seccomp_arch_resolve_name(lower);
}

/* ------------------------------------------------------------------ conditions */

static bool kernel_at_least(const char *text)
{
	unsigned major = 0, minor = 0, have_major = 0, have_minor = 0;
	struct utsname u;

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &have_major, &have_minor) != 2 ||
	    sscanf(text, "%u.%u", &major, &minor) != 2)
		return false;
	return have_major > major || (have_major == major && have_minor >= minor);
}

struct condition {
	bool caps, arch, kernel; /* each true when given and met */
	bool has_caps, has_arch, has_kernel;
};

static int read_condition(const json_t *rule, const char *key, uint64_t capabilities,
			  struct condition *ret, struct error *err)
{
	autostrv char **caps = NULL, **arches = NULL;
	const char *kernel;
	json_t *object;
	int r = json_get_object(rule, key, &object, err);

	*ret = (struct condition){ 0 };
	if (r < 0 || !object)
		return r;
	r = json_get_strv(object, "caps", &caps, err);
	if (r == 0)
		r = json_get_strv(object, "arches", &arches, err);
	if (r == 0)
		r = json_get_string(object, "minKernel", &kernel, err);
	if (r < 0)
		return error_prefix(err, r, "%s", key);
	ret->has_caps = strv_len(caps) > 0;
	ret->has_arch = strv_len(arches) > 0;
	ret->has_kernel = kernel;
	ret->caps = ret->arch = false;
	ret->kernel = kernel && kernel_at_least(kernel);
	strv_for_each(a, arches)
		ret->arch |= strcmp(*a, NATIVE_ARCH) == 0;
	/* All of the capabilities for an inclusion, any of them for an exclusion. */
	if (strcmp(key, "includes") == 0) {
		ret->caps = true;
		strv_for_each(c, caps) {
			int n = capability_number(*c);

			ret->caps &= n >= 0 && (capabilities >> n & 1);
		}
	} else {
		strv_for_each(c, caps) {
			int n = capability_number(*c);

			ret->caps |= n >= 0 && (capabilities >> n & 1);
		}
	}
	return 0;
}

/* 1: the rule counts here; 0: it does not. */
static int rule_applies(const json_t *rule, uint64_t capabilities, struct error *err)
{
	struct condition in, out;
	int r = read_condition(rule, "includes", capabilities, &in, err);

	if (r == 0)
		r = read_condition(rule, "excludes", capabilities, &out, err);
	if (r < 0)
		return r;
	if ((out.has_caps && out.caps) || (out.has_arch && out.arch) ||
	    (out.has_kernel && out.kernel))
		return 0;
	return !((in.has_caps && !in.caps) || (in.has_arch && !in.arch) ||
		 (in.has_kernel && !in.kernel));
}

/* ------------------------------------------------------------------ rules */

#define ARGS_MAX 6

static int parse_args(const json_t *rule, struct scmp_arg_cmp args[ARGS_MAX], unsigned *ret_count,
		      struct error *err)
{
	json_t *array, *item;
	size_t i;
	int r = json_get_array(rule, "args", &array, err);

	*ret_count = 0;
	if (r < 0 || !array)
		return r;
	if (json_array_size(array) > ARGS_MAX)
		return error_set(err, ERROR_INVALID, "args: at most %d are possible", ARGS_MAX);
	json_array_foreach(array, i, item) {
		int64_t index, value, value_two;
		enum scmp_compare op = SCMP_CMP_EQ;
		const char *op_name;

		if (!json_is_object(item))
			return error_set(err, ERROR_INVALID, "args[%zu]: expected an object", i);
		r = json_get_int(item, "index", &index, err);
		if (r == 0)
			r = json_get_int(item, "value", &value, err);
		if (r == 0)
			r = json_get_int(item, "valueTwo", &value_two, err);
		if (r == 0)
			r = json_get_string(item, "op", &op_name, err);
		if (r == 0)
			r = parse_operator(op_name, &op, err);
		if (r == 0 && (index < 0 || index > 5))
			r = error_set(err, ERROR_INVALID, "index: expected 0 to 5");
		if (r < 0)
			return error_prefix(err, r, "args[%zu]", i);
		args[i] = (struct scmp_arg_cmp){ .arg = (unsigned)index,
						 .op = op,
						 .datum_a = (scmp_datum_t)value,
						 .datum_b = (scmp_datum_t)value_two };
	}
	*ret_count = (unsigned)json_array_size(array);
	return 0;
}

static int add_one(scmp_filter_ctx ctx, uint32_t action, const char *name,
		   const struct scmp_arg_cmp *args, unsigned count, struct error *err)
{
	int number = seccomp_syscall_resolve_name(name), r;

	/* As runc: names this library does not know are those of other kernels. */
	if (number == __NR_SCMP_ERROR)
		return 0;
	r = seccomp_rule_add_array(ctx, action, number, count, args);
	if (r == -EEXIST)
		return 0;
	return r < 0 ? error_set(err, ERROR_INVALID, "%s: %s", name, strerror(-r)) : 0;
}

/* libseccomp wants one condition an argument; several on one argument are separate rules, as runc
 * has it. */
static int add_syscall(scmp_filter_ctx ctx, uint32_t action, const char *name,
		       const struct scmp_arg_cmp *args, unsigned count, struct error *err)
{
	unsigned seen[ARGS_MAX] = { 0 };
	bool repeated = false;
	int r = 0;

	for (unsigned i = 0; i < count; i++)
		repeated |= seen[args[i].arg]++ > 0;
	if (!repeated)
		return add_one(ctx, action, name, args, count, err);
	for (unsigned i = 0; i < count && r == 0; i++)
		r = add_one(ctx, action, name, &args[i], 1, err);
	return r;
}

static int add_rule(scmp_filter_ctx ctx, const json_t *rule, uint32_t default_action,
		    uint64_t capabilities, struct error *err)
{
	struct scmp_arg_cmp args[ARGS_MAX];
	autostrv char **names = NULL;
	const char *action_name, *name;
	uint32_t action;
	int64_t errnum;
	unsigned count;
	int r;

	if (!json_is_object(rule))
		return error_set(err, ERROR_INVALID, "expected an object");
	r = rule_applies(rule, capabilities, err);
	if (r <= 0)
		return r;
	r = json_get_string(rule, "action", &action_name, err);
	if (r == 0)
		r = json_get_int(rule, "errnoRet", &errnum, err);
	if (r == 0)
		r = parse_action(action_name,
				 json_object_get(rule, "errnoRet") ? (unsigned)errnum : EPERM,
				 &action, err);
	if (r == 0)
		r = json_get_strv(rule, "names", &names, err);
	if (r == 0)
		r = json_get_string(rule, "name", &name, err);
	if (r == 0)
		r = parse_args(rule, args, &count, err);
	if (r < 0)
		return r;
	if (name && strv_add(&names, name) < 0)
		return error_nomem(err);
	if (action == default_action)
		return 0;
	strv_for_each(n, names) {
		r = add_syscall(ctx, action, *n, args, count, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_arch_names(scmp_filter_ctx ctx, char *const *names, struct error *err)
{
	strv_for_each(name, names) {
		uint32_t arch = parse_arch(*name);
		int r = arch ? seccomp_arch_add(ctx, arch) : 0;

		if (r < 0 && r != -EEXIST)
			return error_set(err, ERROR_INVALID, "architecture %s: %s", *name,
					 strerror(-r));
	}
	return 0;
}

/* The native architecture is always in; with it those that the profile says go with it. */
static int add_arches(scmp_filter_ctx ctx, const json_t *profile, struct error *err)
{
	autostrv char **plain = NULL;
	json_t *map, *item;
	size_t i;
	int r = json_get_strv(profile, "architectures", &plain, err);

	if (r == 0)
		r = json_get_array(profile, "archMap", &map, err);
	if (r == 0)
		r = add_arch_names(ctx, plain, err);
	if (r < 0 || !map)
		return r;
	json_array_foreach(map, i, item) {
		autostrv char **subs = NULL;
		const char *name = NULL;

		r = json_is_object(item) ? json_get_string(item, "architecture", &name, err)
					 : error_set(err, ERROR_INVALID, "expected an object");
		if (r == 0)
			r = json_get_strv(item, "subArchitectures", &subs, err);
		if (r == 0 && name && parse_arch(name) == seccomp_arch_native())
			r = add_arch_names(ctx, subs, err);
		if (r < 0)
			return error_prefix(err, r, "archMap[%zu]", i);
	}
	return 0;
}

static int export_filter(scmp_filter_ctx ctx, struct seccomp_filter **ret, struct error *err)
{
	autoclose int fd = memfd_create("seccomp", MFD_CLOEXEC);
	struct seccomp_filter *filter;
	off_t len;
	int r;

	if (fd < 0)
		return error_errno(err, errno, "making a memory file");
	r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return error_errno(err, -r, "making the filter");
	len = lseek(fd, 0, SEEK_END);
	if (len <= 0)
		return error_set(err, ERROR_FAILED, "the filter is empty");
	filter = malloc(sizeof(*filter) + (size_t)len);
	if (!filter)
		return error_nomem(err);
	filter->refs = 1;
	filter->len = (size_t)len;
	if (pread(fd, filter->data, (size_t)len, 0) != len) {
		free(filter);
		return error_errno(err, EIO, "reading the filter");
	}
	*ret = filter;
	return 0;
}

static int compile(const json_t *profile, uint64_t capabilities, struct seccomp_filter **ret,
		   struct error *err)
{
	__attribute__((cleanup(cleanup_seccomp))) scmp_filter_ctx ctx = NULL;
	uint32_t default_action;
	const char *action_name;
	json_t *rules, *rule;
	int64_t errnum;
	size_t i;
	int r;

	if (!json_is_object(profile))
		return error_set(err, ERROR_INVALID, "expected an object");
	r = json_get_string(profile, "defaultAction", &action_name, err);
	if (r == 0)
		r = json_get_int(profile, "defaultErrnoRet", &errnum, err);
	if (r == 0)
		r = parse_action(action_name,
				 json_object_get(profile, "defaultErrnoRet") ? (unsigned)errnum
									     : EPERM,
				 &default_action, err);
	if (r < 0)
		return error_prefix(err, r, "defaultAction");
	r = json_get_array(profile, "syscalls", &rules, err);
	if (r < 0)
		return r;
	ctx = seccomp_init(default_action);
	if (!ctx)
		return error_nomem(err);
	/* A binary tree: a system call passes a dozen comparisons instead of hundreds. */
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	r = add_arches(ctx, profile, err);
	if (r < 0)
		return r;
	json_array_foreach(rules, i, rule) {
		r = add_rule(ctx, rule, default_action, capabilities, err);
		if (r < 0)
			return error_prefix(err, r, "syscalls[%zu]", i);
	}
	return export_filter(ctx, ret, err);
}

int seccomp_compile(const char *text, size_t len, uint64_t capabilities,
		    struct seccomp_filter **ret, struct error *err)
{
	autojson json_t *profile = NULL;
	int r;

	if (len > PROFILE_MAX_BYTES)
		return error_set(err, ERROR_LIMIT, "seccomp profile: larger than %u bytes",
				 PROFILE_MAX_BYTES);
	r = json_parse(text, len, &profile, err);
	if (r == 0)
		r = compile(profile, capabilities, ret, err);
	return r < 0 ? error_prefix(err, r, "seccomp profile") : 0;
}

void seccomp_filter_unref(struct seccomp_filter *filter)
{
	if (filter && --filter->refs == 0)
		free(filter);
}

/* ------------------------------------------------------------------ the cache */

struct cached {
	struct list node;
	char *profile; /* owned; NULL: the default */
	uint64_t capabilities;
	struct seccomp_filter *filter; /* referenced */
};

struct seccomp_cache {
	struct job_pool *jobs; /* borrowed */
	char *default_text;    /* owned */
	size_t default_len;
	struct list filters; /* the last used first */
	unsigned count;
	struct task_mutex
		mutex; /* one compilation at a time: the second wants the first's result */
};

int seccomp_cache_new(struct job_pool *jobs, const char *default_path, struct seccomp_cache **ret,
		      struct error *err)
{
	struct seccomp_cache *cache = calloc(1, sizeof(*cache));
	int r = 0;

	if (!cache)
		return error_nomem(err);
	cache->jobs = jobs;
	list_init(&cache->filters);
	task_mutex_init(&cache->mutex);
	if (default_path && *default_path)
		r = file_read(AT_FDCWD, default_path, PROFILE_MAX_BYTES, &cache->default_text,
			      &cache->default_len, err);
	if (r < 0) {
		free(cache);
		return error_prefix(err, r, "default seccomp profile");
	}
	*ret = cache;
	return 0;
}

static void cached_free(struct cached *cached)
{
	list_remove(&cached->node);
	seccomp_filter_unref(cached->filter);
	free(cached->profile);
	free(cached);
}

void seccomp_cache_free(struct seccomp_cache *cache)
{
	if (!cache)
		return;
	while (!list_empty(&cache->filters))
		cached_free(container_of(cache->filters.next, struct cached, node));
	free(cache->default_text);
	free(cache);
}

static struct seccomp_filter *find_cached(struct seccomp_cache *cache, const char *profile,
					  uint64_t capabilities)
{
	struct cached *c;

	list_for_each_entry(c, &cache->filters, node) {
		if (c->capabilities != capabilities || !str_equal(c->profile, profile))
			continue;
		list_remove(&c->node);
		list_append(cache->filters.next, &c->node); /* placed before the first */
		c->filter->refs++;
		return c->filter;
	}
	return NULL;
}

static void keep(struct seccomp_cache *cache, const char *profile, uint64_t capabilities,
		 struct seccomp_filter *filter)
{
	struct cached *c = calloc(1, sizeof(*c));

	if (!c)
		return;
	c->profile = profile ? strdup(profile) : NULL;
	if (profile && !c->profile) {
		free(c);
		return;
	}
	c->capabilities = capabilities;
	c->filter = filter;
	filter->refs++;
	list_append(cache->filters.next, &c->node);
	if (++cache->count > FILTERS_KEPT) {
		cached_free(container_of(cache->filters.prev, struct cached, node));
		cache->count--;
	}
}

struct compilation {
	const char *text; /* stays put: the task waits */
	size_t len;
	uint64_t capabilities;
	struct seccomp_filter *filter;
	struct error err;
};

static int compile_job(void *arg)
{
	struct compilation *c = arg;

	return seccomp_compile(c->text, c->len, c->capabilities, &c->filter, &c->err);
}

static int compile_locked(struct seccomp_cache *cache, const char *profile, uint64_t capabilities,
			  struct seccomp_filter **ret, struct error *err)
{
	autofree char *copy = profile ? strdup(profile) : NULL;
	struct compilation c = { .capabilities = capabilities };
	int r;

	*ret = find_cached(cache, profile, capabilities);
	if (*ret)
		return 0;
	if (profile && !copy)
		return error_nomem(err);
	c.text = profile ? copy : cache->default_text;
	c.len = profile ? strlen(copy) : cache->default_len;
	if (!c.text)
		return error_set(err, ERROR_FAILED, "there is no default seccomp profile");
	r = job_run(cache->jobs, compile_job, &c);
	if (r < 0) {
		error_copy(err, &c.err);
		return r;
	}
	keep(cache, copy, capabilities, c.filter);
	*ret = c.filter;
	return 0;
}

int seccomp_get(struct seccomp_cache *cache, const char *profile, uint64_t capabilities,
		struct seccomp_filter **ret, struct error *err)
{
	int r;

	*ret = find_cached(cache, profile, capabilities);
	if (*ret)
		return 0;
	r = task_mutex_lock(&cache->mutex, DEADLINE_NEVER);
	if (r < 0)
		return error_errno(err, -r, "waiting for a seccomp filter");
	r = compile_locked(cache, profile, capabilities, ret, err);
	task_mutex_unlock(&cache->mutex);
	return r;
}
