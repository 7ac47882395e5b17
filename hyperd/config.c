#include "hyperd/config.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "hyperd/http/listen.h"
#include "hyperd/hypervisor/hypervisor.h"
#include "hyperd/image/registry_endpoint.h"

#define CONFIG_FILE      "/etc/hyper/hyperd.json"
#define CONFIG_MAX_BYTES (1u << 20)

enum option_kind {
	OPTION_BOOL,
	OPTION_STRING,
	OPTION_LIST,
	OPTION_NUMBER,
	OPTION_SIZE,
	OPTION_PAIRS
};

struct option {
	const char *section; /* a heading that begins here, or NULL */
	const char *name;    /* of the flag and of the key in the file */
	const char *key;     /* another name in the file: dockerd's plurals */
	char letter;
	enum option_kind kind;
	size_t offset;
	const char *value, *help;
	bool flag_only;
};

#define AT(member) offsetof(struct config, member)

static const struct option options[] = {
	{ "Where", "host", "hosts", 'H', OPTION_LIST, AT(hosts), "ADDRESS",
	  "listen here: unix:///PATH, tcp://HOST:PORT or fd://; may be repeated\n"
	  "(default RUN-ROOT/hyper.sock and RUN-ROOT/docker.sock)" },
	{ NULL, "group", NULL, 'G', OPTION_STRING, AT(group), "GROUP",
	  "group that may use the Unix sockets (default: root only)" },
	{ NULL, "data-root", NULL, 0, OPTION_STRING, AT(data_root), "DIR",
	  "what lasts: images, containers, records (default /var/lib/hyper)" },
	{ NULL, "run-root", "exec-root", 0, OPTION_STRING, AT(run_root), "DIR",
	  "what lives as long as the machine: sockets, state of sandboxes (default /run/hyper)" },
	{ NULL, "pidfile", NULL, 'p', OPTION_STRING, AT(pidfile), "FILE",
	  "write the process id here (default RUN-ROOT/hyperd.pid)" },
	{ NULL, "config-file", NULL, 0, OPTION_STRING, AT(config_file), "FILE",
	  "settings, a JSON object with the names of these flags as keys; the command\n"
	  "line counts more (default " CONFIG_FILE ")",
	  true },

	{ "Pods", "isolation", NULL, 0, OPTION_STRING, AT(isolation), "vm|namespace",
	  "isolation of pods that do not say (default vm)" },
	{ NULL, "hypervisor", NULL, 0, OPTION_STRING, AT(hypervisor), "NAME",
	  "what runs the VMs of pods that do not say: auto, or a name in `hyperctl info`\n"
	  "(default auto: QEMU, driven directly)" },
	{ NULL, "libvirt-uri", NULL, 0, OPTION_STRING, AT(libvirt_uri), "URI",
	  "libvirt's QEMU, for the hypervisor libvirt-qemu (default qemu:///system where\n"
	  "libvirtd runs, else inside hyperd: qemu:///embed?root=RUN-ROOT/libvirt)" },
	{ NULL, "accel", NULL, 0, OPTION_STRING, AT(accel), "auto|kvm|tcg",
	  "how QEMU runs guests; auto uses KVM when a probe proves it good (default auto)" },
	{ NULL, "machine", NULL, 0, OPTION_STRING, AT(machine), "microvm|q35",
	  "QEMU's machine (default microvm)" },
	{ NULL, "network-backend", NULL, 0, OPTION_STRING, AT(network), "auto|bridge|user|none",
	  "how pods reach each other and the world (default auto: bridges, or where they cannot be "
	  "made "
	  "QEMU's own stack)" },
	{ NULL, "transport", NULL, 0, OPTION_STRING, AT(transport), "auto|serial|disk",
	  "how image layers reach a VM (default auto: by size)" },
	{ NULL, "warm", NULL, 0, OPTION_NUMBER, AT(warm), "N",
	  "ready clones kept for each template in recent use (default 0)" },
	{ NULL, "max-templates", NULL, 0, OPTION_NUMBER, AT(max_templates), "N",
	  "templates kept on disk" },
	{ NULL, "template-memory", NULL, 0, OPTION_SIZE, AT(template_memory_bytes), "SIZE",
	  "bytes that templates may take; K, M and G are understood" },
	{ NULL, "disk-size", NULL, 0, OPTION_SIZE, AT(disk_bytes), "SIZE",
	  "size of a pod's writable disk, allocated as it is written (default 10G)" },
	{ NULL, "live-restore", NULL, 0, OPTION_BOOL, AT(live_restore), NULL,
	  "leave pods running when the daemon stops" },
	{ NULL, "log-driver", NULL, 0, OPTION_STRING, AT(log_driver), "NAME",
	  "log driver of containers that do not say: fluentd, gelf, journald, json-file,\n"
	  "local, none or syslog (default json-file)" },
	{ NULL, "log-opt", "log-opts", 0, OPTION_PAIRS, AT(log_options), "KEY=VALUE",
	  "option of the log driver; may be repeated" },
	{ NULL, "seccomp-profile", NULL, 0, OPTION_STRING, AT(seccomp_profile), "FILE",
	  "seccomp profile of containers that do not say, in Docker's format" },
	{ NULL, "label", "labels", 0, OPTION_LIST, AT(labels), "KEY=VALUE",
	  "label of the daemon, shown by info; may be repeated" },

	{ "Volumes", "volume-plugin-dir", "volume-plugin-dirs", 0, OPTION_LIST,
	  AT(volume_plugin_dirs), "DIR",
	  "look here for volume plugins (NAME.sock, NAME.spec, NAME.json); may be repeated\n"
	  "(default /run/docker/plugins, /etc/docker/plugins, /usr/lib/docker/plugins)" },
	{ NULL, "volume-plugin-timeout", NULL, 0, OPTION_NUMBER, AT(volume_plugin_timeout_s),
	  "SECONDS", "how long a volume plugin may take for a call (default 60)" },

	{ "Registries", "insecure-registry", "insecure-registries", 0, OPTION_LIST,
	  AT(insecure_registries), "HOST",
	  "HOST[:PORT] or ADDRESS/BITS of registries that may lack a certificate, or TLS; may be\n"
	  "repeated (127.0.0.0/8 always may)" },
	{ NULL, "registry-mirror", "registry-mirrors", 0, OPTION_LIST, AT(registry_mirrors), "URL",
	  "ask here first for images of " REGISTRY_DEFAULT_DOMAIN "; may be repeated" },
	{ NULL, "registry-certs", NULL, 0, OPTION_STRING, AT(registry_certificates), "DIR",
	  "HOST[:PORT]/*.crt in it are CAs of that registry, *.cert and *.key what we show it\n"
	  "(default " REGISTRY_CERTIFICATES_DIR ")" },

	{ "Programs", "qemu", NULL, 0, OPTION_STRING, AT(qemu), "PROGRAM",
	  "(default qemu-system-" HYPER_ARCH ")" },
	{ NULL, "kernel", NULL, 0, OPTION_STRING, AT(kernel), "FILE",
	  "guest kernel, an ELF vmlinux (default " HYPER_LIBDIR "/vmlinux)" },
	{ NULL, "initramfs", NULL, 0, OPTION_STRING, AT(initramfs), "FILE",
	  "(default " HYPER_LIBDIR "/initramfs.cpio)" },
	{ NULL, "hyperstart", NULL, 0, OPTION_STRING, AT(hyperstart), "FILE",
	  "the pods' init, a static program (default " HYPER_LIBDIR "/hyperstart)" },
	{ NULL, "cgroup-parent", NULL, 0, OPTION_STRING, AT(cgroup_parent), "PATH",
	  "cgroup of all pods (default /hyper)" },

	{ "TLS, for tcp:// addresses", "tls", NULL, 0, OPTION_BOOL, AT(tls), NULL,
	  "serve TLS; clients need no certificate" },
	{ NULL, "tlsverify", NULL, 0, OPTION_BOOL, AT(tls_verify), NULL,
	  "serve TLS to clients whose certificate the CA has signed, and to nobody else" },
	{ NULL, "tlscacert", NULL, 0, OPTION_STRING, AT(tls_ca), "FILE", "the clients' CA, PEM" },
	{ NULL, "tlscert", NULL, 0, OPTION_STRING, AT(tls_certificate), "FILE",
	  "the server's certificate, PEM" },
	{ NULL, "tlskey", NULL, 0, OPTION_STRING, AT(tls_key), "FILE", "the server's key, PEM" },

	{ "Messages", "debug", NULL, 'D', OPTION_BOOL, AT(debug), NULL, "log everything" },
	{ NULL, "log-level", NULL, 'l', OPTION_STRING, AT(log_level), "LEVEL",
	  "debug, info, warn, error or fatal (default info)" },
	{ NULL, "validate", NULL, 0, OPTION_BOOL, AT(validate), NULL, "check the settings and end",
	  true },
	{ NULL, "version", NULL, 'v', OPTION_BOOL, AT(version), NULL,
	  "tell the version and what is compiled in, and end", true },
	{ NULL, "help", NULL, 'h', OPTION_BOOL, AT(help), NULL, "this text", true },
};

void config_done(struct config *config)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		void *at = (char *)config + options[i].offset;

		if (options[i].kind == OPTION_STRING)
			free(*(char **)at);
		else if (options[i].kind == OPTION_LIST || options[i].kind == OPTION_PAIRS)
			strv_free(*(char ***)at);
	}
	memset(config, 0, sizeof(*config));
}

void config_print_help(void)
{
	printf("Usage: hyperd [OPTIONS]\n\n"
	       "Runs pods of containers, each in a microVM or in plain namespaces, and serves\n"
	       "Docker's API and its own (hyperctl, docs/api.md).\n");
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *o = &options[i];
		char left[64];
		const char *line = o->help;

		if (o->section)
			printf("\n%s:\n", o->section);
		snprintf(left, sizeof(left), "  %c%c%c --%s%s%s", o->letter ? '-' : ' ',
			 o->letter ? o->letter : ' ', o->letter ? ',' : ' ', o->name,
			 o->value ? " " : "", o->value ? o->value : "");
		printf("%-33s ", left);
		if (strlen(left) > 33)
			printf("\n%34s", "");
		for (;;) {
			size_t len = strcspn(line, "\n");

			printf("%.*s\n", (int)len, line);
			if (!line[len])
				break;
			line += len + 1;
			printf("%34s", "");
		}
	}
	printf("\nSIGTERM and SIGINT stop every pod in order (or leave them with --live-restore);\n"
	       "SIGHUP reads debug and log-level from the configuration file again.\n");
}

static int parse_size(const char *text, uint64_t *ret)
{
	char *end;
	unsigned long long number = strtoull(text, &end, 10);
	unsigned shift = 0;

	if (end == text || *text == '-')
		return -EINVAL;
	if (*end == 'k' || *end == 'K')
		shift = 10;
	else if (*end == 'm' || *end == 'M')
		shift = 20;
	else if (*end == 'g' || *end == 'G')
		shift = 30;
	end += shift ? 1 : 0;
	if (!strcasecmp(end, "b") || !strcasecmp(end, "ib"))
		end += strlen(end);
	if (*end || number > UINT64_MAX >> shift)
		return -EINVAL;
	*ret = number << shift;
	return 0;
}

/* WHO is "--flag" or "key", for messages. */
static int set_text(struct config *config, const struct option *o, const char *who,
		    const char *text, struct error *err)
{
	void *at = (char *)config + o->offset;
	unsigned long long number;

	switch (o->kind) {
	case OPTION_BOOL:
		if (!strcmp(text, "true") || !strcmp(text, "1"))
			*(bool *)at = true;
		else if (!strcmp(text, "false") || !strcmp(text, "0"))
			*(bool *)at = false;
		else
			return error_set(err, ERROR_INVALID, "%s=%s: expected true or false", who,
					 text);
		return 0;
	case OPTION_STRING:
		free(*(char **)at);
		*(char **)at = strdup(text);
		return *(char **)at ? 0 : error_nomem(err);
	case OPTION_PAIRS:
		if (!strchr(text, '=') || *text == '=')
			return error_set(err, ERROR_INVALID, "%s %s: expected KEY=VALUE", who,
					 text);
		/* fall through */
	case OPTION_LIST:
		return strv_add(at, text) < 0 ? error_nomem(err) : 0;
	case OPTION_NUMBER:
		if (parse_u64(text, 0, 100000, &number) < 0)
			return error_set(err, ERROR_INVALID,
					 "%s %s: expected a number from 0 to 100000", who, text);
		*(unsigned *)at = (unsigned)number;
		return 0;
	case OPTION_SIZE:
		if (parse_size(text, at) < 0)
			return error_set(err, ERROR_INVALID,
					 "%s %s: expected a size such as 512M or 10G", who, text);
		return 0;
	}
	return 0;
}

/* ------------------------------------------------------------------ the file */

static int set_json(struct config *config, const struct option *o, const char *key,
		    const json_t *value, struct error *err)
{
	char number[32];
	const json_t *item;
	const char *name;
	size_t i;
	int r = 0;

	if (json_is_boolean(value) && o->kind == OPTION_BOOL)
		return set_text(config, o, key, json_is_true(value) ? "true" : "false", err);
	if (json_is_integer(value) && (o->kind == OPTION_NUMBER || o->kind == OPTION_SIZE)) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
		return set_text(config, o, key, number, err);
	}
	if (json_is_string(value) && o->kind != OPTION_BOOL)
		return set_text(config, o, key, json_string_value(value), err);
	if (json_is_array(value) && o->kind == OPTION_LIST) {
		json_array_foreach((json_t *)value, i, item) {
			if (!json_is_string(item))
				return error_set(err, ERROR_INVALID, "%s[%zu]: expected a string",
						 key, i);
			r = set_text(config, o, key, json_string_value(item), err);
			if (r < 0)
				return r;
		}
		return 0;
	}
	if (json_is_object(value) && o->kind == OPTION_PAIRS) {
		json_object_foreach((json_t *)value, name, item) {
			autofree char *pair = NULL;

			if (!json_is_string(item))
				return error_set(err, ERROR_INVALID, "%s.%s: expected a string",
						 key, name);
			pair = strf("%s=%s", name, json_string_value(item));
			r = pair ? set_text(config, o, key, pair, err) : error_nomem(err);
			if (r < 0)
				return r;
		}
		return 0;
	}
	return error_set(err, ERROR_INVALID, "%s: expected %s", key,
			 o->kind == OPTION_BOOL     ? "true or false"
			 : o->kind == OPTION_LIST   ? "a list of strings"
			 : o->kind == OPTION_PAIRS  ? "an object of strings"
			 : o->kind == OPTION_STRING ? "a string"
						    : "a number");
}

/* Reads PATH into CONFIG; a missing one is an error only when REQUIRED. */
static int load_file(struct config *config, const char *path, bool required, struct error *err)
{
	autojson json_t *root = NULL;
	const char *key;
	json_t *value;
	int r = json_read(-100 /* AT_FDCWD */, path, CONFIG_MAX_BYTES, &root, err);

	if (r < 0 && !required && err->kind == ERROR_NOT_FOUND) {
		error_clear(err);
		return 0;
	}
	if (r < 0)
		return error_prefix(err, r, "configuration");
	if (!json_is_object(root))
		return error_set(err, ERROR_INVALID, "configuration '%s': expected an object",
				 path);
	json_object_foreach(root, key, value) {
		const struct option *found = NULL;

		for (size_t i = 0; i < ARRAY_SIZE(options); i++)
			if (!options[i].flag_only &&
			    (!strcmp(options[i].name, key) || str_equal(options[i].key, key)))
				found = &options[i];
		if (!found)
			return error_set(
				err, ERROR_INVALID,
				"configuration '%s': \"%s\" is not known; the keys are the "
				"flags of hyperd --help without their dashes",
				path, key);
		r = set_json(config, found, key, value, err);
		if (r < 0)
			return error_prefix(err, r, "configuration '%s'", path);
	}
	return 0;
}

/* ------------------------------------------------------------------ the command line */

struct given {
	const struct option *option;
	const char *value;
};

static const struct option *flag_find(const char *arg, const char **ret_value)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *o = &options[i];
		size_t len = strlen(o->name);

		*ret_value = NULL;
		if (arg[1] != '-') {
			if (o->letter != arg[1] || !arg[1])
				continue;
			if (arg[2])
				*ret_value = arg + 2 + (arg[2] == '=');
			return o;
		}
		if (!strncmp(arg + 2, o->name, len) && (!arg[2 + len] || arg[2 + len] == '=')) {
			if (arg[2 + len])
				*ret_value = arg + 3 + len;
			return o;
		}
		if (o->key && str_equal(o->key, "exec-root") && !strcmp(arg + 2, o->key))
			return o;
	}
	return NULL;
}

static int parse_flags(int argc, char **argv, struct given *given, size_t *ret_count,
		       struct error *err)
{
	*ret_count = 0;
	for (int i = 1; i < argc; i++) {
		const char *value;
		const struct option *o;

		if (argv[i][0] != '-')
			return error_set(err, ERROR_INVALID,
					 "unexpected argument '%s'; try hyperd --help", argv[i]);
		o = flag_find(argv[i], &value);
		if (!o)
			return error_set(err, ERROR_INVALID, "unknown flag '%s'; try hyperd --help",
					 argv[i]);
		if (o->kind == OPTION_BOOL && !value)
			value = "true";
		else if (!value && ++i < argc)
			value = argv[i];
		if (!value)
			return error_set(err, ERROR_INVALID, "--%s: a value is missing", o->name);
		given[(*ret_count)++] = (struct given){ o, value };
	}
	return 0;
}

static int defaults(struct config *config, struct error *err)
{
	static const struct {
		size_t offset;
		const char *value;
	} texts[] = {
		{ AT(data_root), "/var/lib/hyper" },
		{ AT(run_root), "/run/hyper" },
		{ AT(log_level), "info" },
		{ AT(log_driver), "json-file" },
		{ AT(isolation), "vm" },
		{ AT(hypervisor), "auto" },
		{ AT(accel), "auto" },
		{ AT(machine), "microvm" },
		{ AT(network), "auto" },
		{ AT(transport), "auto" },
		{ AT(cgroup_parent), "/hyper" },
		{ AT(qemu), "qemu-system-" HYPER_ARCH },
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		char **at = (char **)((char *)config + texts[i].offset);

		if (!*at && !(*at = strdup(texts[i].value)))
			return error_nomem(err);
	}
	return 0;
}

/* FILE installed, or beside a build tree's hyperd (BUILD/hyperd/hyperd). */
static int default_file(char **to, const char *installed, const char *built, struct error *err)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	autofree char *beside = NULL;
	char *slash;

	if (*to)
		return 0;
	if (access(installed, R_OK) < 0 && n > 0) {
		self[n] = 0;
		slash = strrchr(self, '/');
		if (slash) {
			*slash = 0;
			beside = strf("%s/../%s", self, built);
		}
	}
	*to = beside && access(beside, R_OK) == 0 ? steal(beside) : strdup(installed);
	return *to ? 0 : error_nomem(err);
}

static int default_files(struct config *config, struct error *err)
{
	static const char *const profiles[] = { HYPER_LIBDIR "/seccomp.json",
						"/usr/share/containers/seccomp.json",
						"/etc/containers/seccomp.json" };
	int r = default_file(&config->kernel, HYPER_LIBDIR "/vmlinux", "vmlinux", err);

	if (r == 0)
		r = default_file(&config->initramfs, HYPER_LIBDIR "/initramfs.cpio",
				 "initramfs.cpio", err);
	if (r == 0)
		r = default_file(&config->hyperstart, HYPER_LIBDIR "/hyperstart",
				 "hyperstart/hyperstart", err);
	for (size_t i = 0; i < ARRAY_SIZE(profiles) && r == 0 && !config->seccomp_profile; i++)
		if (access(profiles[i], R_OK) == 0 || i + 1 == ARRAY_SIZE(profiles))
			config->seccomp_profile = strdup(profiles[i]);
	if (r == 0 && !config->pidfile) {
		config->pidfile = strf("%s/hyperd.pid", config->run_root);
		r = config->pidfile ? 0 : error_nomem(err);
	}
	if (r == 0 && !config->hosts) {
		if (strv_addf(&config->hosts, "unix://%s/hyper.sock", config->run_root) < 0 ||
		    strv_addf(&config->hosts, "unix://%s/docker.sock", config->run_root) < 0)
			r = error_nomem(err);
	}
	return r;
}

int config_load(int argc, char **argv, struct config *ret, struct error *err)
{
	autofree struct given *given = calloc((size_t)argc + 1, sizeof(*given));
	struct config config = { 0 };
	const char *file = NULL;
	size_t count = 0;
	int r = given ? parse_flags(argc, argv, given, &count, err) : error_nomem(err);

	for (size_t i = 0; i < count; i++)
		if (!strcmp(given[i].option->name, "config-file"))
			file = given[i].value;
	if (r == 0)
		r = load_file(&config, file ? file : CONFIG_FILE, file != NULL, err);
	/* A list on the command line replaces the file's. */
	for (size_t i = 0; i < count && r == 0; i++)
		if (given[i].option->kind == OPTION_LIST) {
			char ***list = (char ***)((char *)&config + given[i].option->offset);

			strv_free(*list);
			*list = NULL;
		}
	for (size_t i = 0; i < count && r == 0; i++) {
		autofree char *who = strf("--%s", given[i].option->name);

		r = set_text(&config, given[i].option, who ? who : "", given[i].value, err);
	}
	if (r == 0)
		r = defaults(&config, err);
	if (r == 0)
		r = default_files(&config, err);
	if (r == 0 && !config.config_file)
		config.config_file = strdup(CONFIG_FILE);
	if (r < 0) {
		config_done(&config);
		return r;
	}
	*ret = config;
	return 0;
}

int config_reload(const struct config *config, struct config *ret, struct error *err)
{
	int r;

	*ret = (struct config){ 0 };
	r = load_file(ret, config->config_file, false, err);
	if (r == 0 && !ret->log_level)
		r = (ret->log_level = strdup("info")) ? 0 : error_nomem(err);
	if (r < 0)
		config_done(ret);
	return r;
}

/* ------------------------------------------------------------------ checks */

static int check_word(const char *name, const char *value, const char *const *words,
		      struct error *err)
{
	autostr struct str list = STR_INIT;

	for (const char *const *word = words; *word; word++) {
		if (!strcmp(*word, value))
			return 0;
		str_addf(&list, "%s%s", word == words ? "" : word[1] ? ", " : " or ", *word);
	}
	return error_set(err, ERROR_INVALID, "--%s %s: expected %s", name, value, str_text(&list));
}

static int check_absolute(const char *name, const char *path, struct error *err)
{
	if (*path == '/' && path[1])
		return 0;
	return error_set(err, ERROR_INVALID, "--%s %s: expected an absolute path", name, path);
}

int config_check(const struct config *config, struct error *err)
{
	static const char *const isolations[] = { "vm", "namespace", NULL };
	static const char *const accels[] = { "auto", "kvm", "tcg", NULL };
	static const char *const machines[] = { "microvm", "q35", NULL };
	static const char *const backends[] = { "auto", "bridge", "user", "none", NULL };
	static const char *const transports[] = { "auto", "serial", "disk", NULL };
	enum log_level level;
	int r = check_word("isolation", config->isolation, isolations, err);

	if (r == 0)
		r = hypervisor_check_name(config->hypervisor, err);
	if (r == 0)
		r = check_word("accel", config->accel, accels, err);
	if (r == 0)
		r = check_word("machine", config->machine, machines, err);
	if (r == 0)
		r = check_word("network-backend", config->network, backends, err);
	if (r == 0)
		r = check_word("transport", config->transport, transports, err);
	if (r == 0)
		r = check_absolute("data-root", config->data_root, err);
	if (r == 0)
		r = check_absolute("run-root", config->run_root, err);
	if (r == 0 && log_level_parse(config->log_level, &level) < 0)
		r = error_set(err, ERROR_INVALID,
			      "--log-level %s: expected debug, info, warn, error or fatal",
			      config->log_level);
	strv_for_each(insecure, config->insecure_registries)
		if (r == 0)
			r = registry_insecure_check(*insecure, err);
	strv_for_each(mirror, config->registry_mirrors)
		if (r == 0)
			r = registry_mirror_check(*mirror, err);
	strv_for_each(host, config->hosts) {
		struct http_address address = { 0 };

		if (r == 0)
			r = http_address_parse(*host, &address, err);
		http_address_done(&address);
	}
	if (r == 0 && (config->tls || config->tls_verify) &&
	    (!config->tls_certificate || !config->tls_key))
		r = error_set(err, ERROR_INVALID, "--tls: --tlscert and --tlskey are needed");
	if (r == 0 && config->tls_verify && !config->tls_ca)
		r = error_set(err, ERROR_INVALID, "--tlsverify: --tlscacert is needed");
	return r;
}

enum sandbox_isolation config_isolation(const struct config *config)
{
	return strcmp(config->isolation, "namespace") ? ISOLATION_VM : ISOLATION_NAMESPACE;
}

enum sandbox_transport config_transport(const struct config *config)
{
	if (!strcmp(config->transport, "serial"))
		return TRANSPORT_SERIAL;
	return strcmp(config->transport, "disk") ? TRANSPORT_AUTO : TRANSPORT_DISK;
}
