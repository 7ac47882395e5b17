/*
 * The requests that make a container: specification and defaults put into the agent's words.
 * Everything borrowed from the container stays put, because its pod's mutex is held.
 */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "hyperd/pod/arena.h"
#include "hyperd/pod/devices.h"
#include "hyperd/pod/internal.h"
#include "hyperd/pod/oci_defaults.h"

#define CPU_PERIOD_US    100000
#define RESOLV_CONF      "/etc/resolv.conf"
#define RESOLV_MAX_BYTES (64u * 1024)

static char *arena_printf(struct arena *arena, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static char *arena_printf(struct arena *arena, const char *fmt, ...)
{
	va_list ap;
	char text[512];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return arena_text(arena, text);
}

static char *arena_str(struct arena *arena, const struct str *s)
{
	return arena_text(arena, str_text(s));
}

static Hyper__KeyValue *key_value(struct arena *arena, const char *key, const char *value)
{
	Hyper__KeyValue *kv = arena_message(arena, Hyper__KeyValue, HYPER__KEY_VALUE__INIT);

	kv->key = (char *)key;
	kv->value = (char *)value;
	return kv;
}

/* ------------------------------------------------------------------ limits */

Hyper__Limits *limits_request(struct arena *arena, const struct spec_resources *res)
{
	Hyper__Limits *l = arena_message(arena, Hyper__Limits, HYPER__LIMITS__INIT);

	l->memory_bytes = res->memory_bytes;
	l->memory_swap_bytes = res->memory_swap_bytes;
	l->memory_reservation_bytes = res->memory_reservation_bytes;
	l->cpu_shares = res->cpu_shares;
	l->cpu_period_us = res->cpu_period_us;
	l->cpu_quota_us = res->cpu_quota_us;
	if (res->cpus > 0) {
		l->cpu_period_us = CPU_PERIOD_US;
		l->cpu_quota_us = (int64_t)llround(res->cpus * CPU_PERIOD_US);
		if (l->cpu_quota_us < 1000)
			l->cpu_quota_us = 1000; /* the kernel's least */
	}
	l->cpuset_cpus = arena_text(arena, res->cpuset_cpus);
	l->cpuset_mems = arena_text(arena, res->cpuset_mems);
	l->pids = res->pids;
	l->blkio_weight = res->blkio_weight;
	l->oom_kill_disable = res->oom_kill_disable;
	if (res->read_bps || res->write_bps || res->read_iops || res->write_iops) {
		Hyper__BlockLimit *block =
			arena_message(arena, Hyper__BlockLimit, HYPER__BLOCK_LIMIT__INIT);

		block->read_bps = res->read_bps;
		block->write_bps = res->write_bps;
		block->read_iops = res->read_iops;
		block->write_iops = res->write_iops;
		l->block_limits = arena_copy(arena, &block, sizeof(block));
		l->n_block_limits = 1;
	}
	return l;
}

/* ------------------------------------------------------------------ processes */

static void add_rlimits(struct arena *arena, Hyper__Process *p, const struct spec_ulimit *ulimits)
{
	size_t n = 0;

	while (ulimits && ulimits[n].name)
		n++;
	p->rlimits = arena_alloc(arena, n * sizeof(*p->rlimits));
	for (size_t i = 0; i < n; i++) {
		Hyper__Rlimit *rlimit = arena_message(arena, Hyper__Rlimit, HYPER__RLIMIT__INIT);

		rlimit->type = (char *)rlimit_name(ulimits[i].name);
		if (!rlimit->type)
			continue;
		rlimit->soft = (uint64_t)ulimits[i].soft; /* -1 is unlimited in both */
		rlimit->hard = (uint64_t)ulimits[i].hard;
		p->rlimits[p->n_rlimits++] = rlimit;
	}
}

Hyper__Process *process_request(struct arena *arena, const struct process_config *config,
				const struct container_spec *spec,
				const struct seccomp_filter *filter)
{
	Hyper__Process *p = arena_message(arena, Hyper__Process, HYPER__PROCESS__INIT);
	Hyper__Capabilities *caps =
		arena_message(arena, Hyper__Capabilities, HYPER__CAPABILITIES__INIT);

	p->args = arena_strv(arena, config->args);
	p->n_args = strv_len(config->args);
	p->env = arena_strv(arena, config->env);
	p->n_env = strv_len(config->env);
	p->cwd = arena_text(arena, *config->working_dir ? config->working_dir : "/");
	p->user = config->user;
	p->additional_groups = arena_strv(arena, spec->group_add);
	p->n_additional_groups = strv_len(spec->group_add);
	/* Nothing inheritable or ambient: a program gains by its file only what is permitted. */
	caps->bounding = caps->effective = caps->permitted = config->capabilities;
	p->capabilities = caps;
	add_rlimits(arena, p, spec->ulimits);
	p->no_new_privileges = spec->no_new_privileges;
	if (filter) {
		p->seccomp.data = (uint8_t *)filter->data;
		p->seccomp.len = filter->len;
	}
	p->terminal = spec->tty;
	p->oom_score_adj = spec->oom_score_adj;
	return p;
}

int container_seccomp(struct container *c, bool privileged, struct seccomp_filter **ret,
		      struct error *err)
{
	const char *profile = c->spec->seccomp;

	*ret = NULL;
	if (privileged || c->spec->privileged || (profile && strcmp(profile, "unconfined") == 0))
		return 0;
	return seccomp_get(c->engine->seccomp, profile, c->config.capabilities, ret, err);
}

/* ------------------------------------------------------------------ files */

static char *const *first_strv(char *const *a, char *const *b)
{
	return strv_len(a) ? a : b;
}

static const char *pod_hostname(const struct pod *pod, const struct container *c)
{
	if (c && c->spec->hostname && *c->spec->hostname && pod->solo)
		return c->spec->hostname;
	return pod->spec->hostname && *pod->spec->hostname ? pod->spec->hostname : pod->name;
}

/* The pod's host name: Docker's containers are called by their id's first digits. */
static char *hostname_of(struct arena *arena, const struct pod *pod)
{
	const struct container *c = NULL;

	if (!list_empty(&pod->containers))
		c = container_of(pod->containers.next, struct container, pod_node);
	if (pod->solo && c && (!c->spec->hostname || !*c->spec->hostname) &&
	    (!pod->spec->hostname || !*pod->spec->hostname))
		return arena_printf(arena, "%.12s", c->id);
	return arena_text(arena, pod_hostname(pod, c));
}

static const char *domainname_of(const struct pod *pod)
{
	const struct container *c;

	if (pod->spec->domainname && *pod->spec->domainname)
		return pod->spec->domainname;
	if (!pod->solo || list_empty(&pod->containers))
		return "";
	c = container_of(pod->containers.next, struct container, pod_node);
	return c->spec->domainname ? c->spec->domainname : "";
}

static void add_words(struct str *to, const char *keyword, char *const *words)
{
	if (!strv_len(words))
		return;
	str_add(to, keyword);
	strv_for_each(w, words)
		str_addf(to, " %s", *w);
	str_addc(to, '\n');
}

/*
 * What Docker makes of the host's file: its servers but those on the host's own loopback, which a
 * pod cannot reach. On a network with names its server is asked first; it asks the host's.
 */
static void resolv_write(const char *host, const struct ip *server, char *const *dns,
			 char *const *search, char *const *options, struct str *out)
{
	char ip[IP_TEXT_BYTES];

	if (server)
		str_addf(out, "nameserver %s\n", ip_text(server, ip));
	strv_for_each(s, dns)
		str_addf(out, "nameserver %s\n", *s);
	for (const char *line = host; *line;) {
		size_t len = strcspn(line, "\n");
		bool is_server = str_starts(line, "nameserver");
		bool is_search = str_starts(line, "search") || str_starts(line, "domain");
		bool is_options = str_starts(line, "options");
		const char *address = line + 10 + strspn(line + (len > 10 ? 10 : len), " \t");
		bool keep = (is_server && !server && !strv_len(dns) &&
			     !str_starts(address, "127.") && !str_starts(address, "::1")) ||
			    (is_search && !strv_len(search)) ||
			    (is_options && !strv_len(options) && !server);

		if (keep)
			str_addf(out, "%.*s\n", (int)len, line);
		line += len + (line[len] == '\n');
	}
	/* "." asks for none at all. */
	if (strv_len(search) && strcmp(search[0], ".") != 0)
		add_words(out, "search", search);
	if (strv_len(options))
		add_words(out, "options", options);
	else if (server)
		str_add(out, "options ndots:0\n");
}

/* Without servers of its own a container gets the host's file, as Docker's without a network. */
static char *resolv_conf(struct arena *arena, const struct container *c)
{
	const struct pod_spec *pod = c->pod->spec;
	char *const *dns = first_strv(c->spec->dns, pod->dns);
	char *const *search = first_strv(c->spec->dns_search, pod->dns_search);
	char *const *options = first_strv(c->spec->dns_options, pod->dns_options);
	autostr struct str text = STR_INIT;
	autofree char *host = NULL;

	if (c->pod->endpoint_count) {
		if (file_read(AT_FDCWD, RESOLV_CONF, RESOLV_MAX_BYTES, &host, NULL, NULL) < 0)
			host = NULL;
		resolv_write(host ? host : "", pod_name_server(c->pod), dns, search, options,
			     &text);
		return arena_str(arena, &text);
	}
	if (!strv_len(dns) && !strv_len(search) && !strv_len(options)) {
		if (file_read(AT_FDCWD, RESOLV_CONF, RESOLV_MAX_BYTES, &host, NULL, NULL) < 0)
			return arena_text(arena, "");
		return arena_text(arena, host);
	}
	add_words(&text, "search", search);
	strv_for_each(server, dns)
		str_addf(&text, "nameserver %s\n", *server);
	add_words(&text, "options", options);
	return arena_str(arena, &text);
}

static void add_links(struct str *text, const struct container *c)
{
	const struct pod_spec *pod = c->pod->spec;
	char ip[IP_TEXT_BYTES];

	for (size_t i = 0; i < pod->network_count; i++)
		strv_for_each(link, pod->networks[i].links) {
			const char *colon = strchr(*link, ':');
			autofree char *name =
				strndup(*link, colon ? (size_t)(colon - *link) : strlen(*link));
			autoptr(container_unref) struct container *to = NULL;
			const struct ip *address;

			if (!name || container_get(c->engine, name, &to, NULL) < 0 ||
			    !(address = pod_address(to->pod)))
				continue;
			str_addf(text, "%s\t%s %.12s %s\n", ip_text(address, ip),
				 colon ? colon + 1 : name, to->id, to->name);
		}
}

static char *hosts(struct arena *arena, const struct container *c, const char *hostname)
{
	const struct ip *address = pod_address(c->pod);
	char ip[IP_TEXT_BYTES];
	autostr struct str text = STR_INIT;

	str_add(&text, "127.0.0.1\tlocalhost\n"
		       "::1\tlocalhost ip6-localhost ip6-loopback\n"
		       "fe00::0\tip6-localnet\n"
		       "ff00::0\tip6-mcastprefix\n"
		       "ff02::1\tip6-allnodes\n"
		       "ff02::2\tip6-allrouters\n");
	/* "name:address", as Docker's --add-host has it. */
	strv_for_each(entry, c->spec->extra_hosts) {
		const char *colon = strchr(*entry, ':');

		if (colon)
			str_addf(&text, "%s\t%.*s\n", colon + 1, (int)(colon - *entry), *entry);
	}
	add_links(&text, c);
	if (*domainname_of(c->pod) && address)
		str_addf(&text, "%s\t%s.%s %s\n", ip_text(address, ip), hostname,
			 domainname_of(c->pod), hostname);
	else
		str_addf(&text, "%s\t%s\n", address ? ip_text(address, ip) : "127.0.0.1", hostname);
	return arena_str(arena, &text);
}

/* ------------------------------------------------------------------ mounts */

static Hyper__Mount *tmpfs_request(struct arena *arena, const struct spec_mount *m)
{
	Hyper__Mount *mount = arena_message(arena, Hyper__Mount, HYPER__MOUNT__INIT);
	size_t n = strv_len(m->options);

	mount->destination = m->destination;
	mount->type = (char *)"tmpfs";
	mount->source = (char *)"tmpfs";
	mount->options = arena_alloc(arena, (n + 6) * sizeof(char *));
	for (size_t i = 0; i < n; i++)
		mount->options[mount->n_options++] = m->options[i];
	/* Docker's defaults, where nothing else was asked for. */
	if (n == 0) {
		mount->options[mount->n_options++] = (char *)"nosuid";
		mount->options[mount->n_options++] = (char *)"nodev";
		mount->options[mount->n_options++] = (char *)"noexec";
	}
	if (m->read_only)
		mount->options[mount->n_options++] = (char *)"ro";
	if (m->size_bytes)
		mount->options[mount->n_options++] =
			arena_printf(arena, "size=%llu", (unsigned long long)m->size_bytes);
	if (m->mode)
		mount->options[mount->n_options++] = arena_printf(arena, "mode=%o", m->mode);
	return mount;
}

static void add_mounts(struct arena *arena, Hyper__ContainerCreate *create, struct container *c)
{
	const struct container_spec *spec = c->spec;

	create->mounts = arena_alloc(arena, spec->mount_count * sizeof(void *));
	for (size_t i = 0; i < spec->mount_count; i++) {
		struct spec_mount *m = &spec->mounts[i];

		create->mounts[create->n_mounts++] = m->type == MOUNT_TMPFS
							     ? tmpfs_request(arena, m)
							     : share_request(arena, c, i);
	}
}

/* ------------------------------------------------------------------ the whole */

static void add_hostname_env(struct arena *arena, Hyper__Process *p, const char *hostname)
{
	char **env;

	for (size_t i = 0; i < p->n_env; i++)
		if (str_starts(p->env[i], "HOSTNAME="))
			return;
	env = arena_alloc(arena, (p->n_env + 1) * sizeof(*env));
	/* After PATH, where Docker has it. */
	env[0] = p->n_env ? p->env[0] : NULL;
	env[p->n_env ? 1 : 0] = arena_printf(arena, "HOSTNAME=%s", hostname);
	for (size_t i = 1; i < p->n_env; i++)
		env[i + 1] = p->env[i];
	p->env = env;
	p->n_env++;
}

static void add_sysctls(struct arena *arena, Hyper__KeyValue ***list, size_t *count,
			const struct spec_pair *sysctls)
{
	size_t n = spec_pairs_len(sysctls);
	Hyper__KeyValue **grown = arena_alloc(arena, (*count + n) * sizeof(*grown));

	if (*count)
		memcpy(grown, *list, *count * sizeof(*grown));
	for (size_t i = 0; i < n; i++)
		grown[(*count)++] = key_value(arena, sysctls[i].key, sysctls[i].value);
	*list = grown;
}

static void add_layers(struct arena *arena, Hyper__ContainerCreate *create,
		       const struct image *image)
{
	size_t n = image_layer_count(image);

	create->layers = arena_alloc(arena, n * sizeof(char *));
	for (size_t i = 0; i < n; i++)
		create->layers[create->n_layers++] = (char *)image_layer(image, i)->diff_id;
}

static void add_paths(struct arena *arena, Hyper__ContainerCreate *create,
		      const struct container_spec *spec)
{
	char *const *masked = spec->masked_paths ? spec->masked_paths : oci_masked_paths;
	char *const *read_only =
		spec->read_only_paths ? spec->read_only_paths : oci_read_only_paths;

	if (spec->privileged)
		return;
	create->masked_paths = arena_strv(arena, masked);
	create->n_masked_paths = strv_len(masked);
	create->read_only_paths = arena_strv(arena, read_only);
	create->n_read_only_paths = strv_len(read_only);
}

Hyper__ContainerCreate *container_request(struct arena *arena, struct container *c,
					  const struct seccomp_filter *filter)
{
	Hyper__ContainerCreate *create =
		arena_message(arena, Hyper__ContainerCreate, HYPER__CONTAINER_CREATE__INIT);
	const struct container_spec *spec = c->spec;
	char *hostname = hostname_of(arena, c->pod);

	create->id = c->id;
	add_layers(arena, create, c->image);
	create->read_only_root = spec->read_only;
	add_mounts(arena, create, c);
	add_paths(arena, create, spec);
	oci_devices(arena, create, spec->privileged);
	devices_add(arena, create, c);
	create->limits = limits_request(arena, &spec->resources);
	add_sysctls(arena, &create->sysctls, &create->n_sysctls, spec->sysctls);
	create->resolv_conf = resolv_conf(arena, c);
	create->hosts = hosts(arena, c, hostname);
	create->hostname_file = arena_printf(arena, "%s\n", hostname);
	create->shm_bytes = spec->shm_bytes;
	create->process = process_request(arena, &c->config, spec, filter);
	add_hostname_env(arena, create->process, hostname);
	create->privileged = spec->privileged;
	create->init_process = spec->init;
	return create;
}

/* ------------------------------------------------------------------ made ahead */

/* FNV-1a: it keeps apart what one daemon asks for, and nobody gains by making two things equal. */
static uint64_t hash_bytes(const uint8_t *data, size_t len)
{
	uint64_t hash = 14695981039346656037u;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ data[i]) * 1099511628211u;
	return hash ? hash : 1;
}

static char *one_character(const char *text)
{
	return (char *)(text && *text ? "\n" : "");
}

Hyper__ContainerCreate *container_prepare_request(struct arena *arena, const struct container *c,
						  Hyper__ContainerCreate *create)
{
	Hyper__ContainerCreate *like = arena_copy(arena, create, sizeof(*create));
	Hyper__Process *process = arena_copy(arena, create->process, sizeof(*create->process));
	uint8_t *packed;
	size_t len;

	/* A filter of one's own may forbid what a waiting process needs. */
	if (c->spec->seccomp)
		return NULL;
	/* Shares and disks are there only once the pod is. */
	like->mounts = arena_alloc(arena, create->n_mounts * sizeof(*like->mounts));
	like->n_mounts = 0;
	for (size_t i = 0; i < create->n_mounts; i++)
		if (strcmp(create->mounts[i]->type, "tmpfs") == 0)
			like->mounts[like->n_mounts++] = create->mounts[i];
	like->id = (char *)"";
	like->limits = NULL;
	like->resolv_conf = one_character(create->resolv_conf);
	like->hosts = one_character(create->hosts);
	like->hostname_file = one_character(create->hostname_file);
	like->process = process;
	process->args = NULL;
	process->env = NULL;
	process->n_args = process->n_env = 0;
	/* A terminal and an init are made by the process that runs: such a container leaves to
	 * others what it cannot take. */
	process->terminal = false;
	process->rows = process->columns = 0;
	like->init_process = false;
	len = hyper__container_create__get_packed_size(like);
	packed = arena_alloc(arena, len);
	hyper__container_create__pack(like, packed);
	like->prepared_key = hash_bytes(packed, len);
	/* Files that come before the start may say who the user is. */
	if (!create->init_process && !create->process->terminal && !c->spec->file_count &&
	    like->n_mounts == create->n_mounts)
		create->prepared_key = like->prepared_key;
	/* The program, so that it is read ahead; no other pod sees what else this one was told. */
	process->args = create->process->args;
	process->n_args = 1;
	for (size_t i = 0; i < create->process->n_env; i++) {
		if (!str_starts(create->process->env[i], "PATH="))
			continue;
		process->env = &create->process->env[i];
		process->n_env = 1;
	}
	return like;
}

Hyper__PodSetup *pod_setup_request(struct arena *arena, struct pod *pod)
{
	Hyper__PodSetup *setup = arena_message(arena, Hyper__PodSetup, HYPER__POD_SETUP__INIT);
	struct container *c;

	setup->hostname = hostname_of(arena, pod);
	setup->domainname = (char *)domainname_of(pod);
	setup->machine_id = arena_printf(arena, "%.32s", pod->id);
	setup->loopback = true;
	if (pod->spec->isolation == ISOLATION_VM && pod_has_shares(pod))
		setup->shares_tag = (char *)SHARES_TAG;
	add_sysctls(arena, &setup->sysctls, &setup->n_sysctls, pod->spec->sysctls);
	list_for_each_entry(c, &pod->containers, pod_node)
		add_sysctls(arena, &setup->sysctls, &setup->n_sysctls, c->spec->sysctls);
	return setup;
}
