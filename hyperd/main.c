/*
 * hyperd: one thread runs the event loop and owns all state. Start and stop are one task each, in
 * the order in which they are written here; between them the program only waits.
 */
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <malloc.h>
#include <netdb.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/task.h"
#include "base/tls.h"
#include "hyperd/api/api.h"
#include "hyperd/config.h"
#include "hyperd/http/listen.h"
#include "hyperd/image/registry.h"

/* Blocking work: unpacking, hashing, large files. */
#define JOB_THREADS 4
/* Allocations from here on are mappings of their own. */
#define LARGE_ALLOCATION_BYTES (128 << 10)
/* How long clients may take to fetch the last answers. */
#define LAST_ANSWERS_MS 2000

struct daemon {
	struct config config;
	struct loop *loop;
	struct job_pool *jobs;
	struct store *store;
	struct image_store *images;
	struct volume_store *volumes;
	struct registries *registries;
	struct sandbox_factory *sandboxes;
	struct engine *engine;
	struct networks *networks;
	struct spec_pair *log_options; /* owned */
	struct http_server *server;
	struct tls_context *tls;
	struct api api;
	struct http_server_config server_config;
	char **unix_paths; /* strv: sockets that we made */
	int signal_fd;
	struct loop_io signal_io;
	struct cond stop;
	int stop_signal;
	int result;
};

static void print_version(void)
{
	printf("hyperd " HYPER_VERSION " (API 1.%d, minimum 1.%d)\n"
	       "compiled in: llhttp, jansson " JANSSON_VERSION ", %s\n"
	       "sandboxes:   vm (QEMU: microvm, q35), namespace\n"
	       "files:       " HYPER_LIBDIR "\n",
	       API_VERSION_MAX, API_VERSION_MIN, OpenSSL_version(OPENSSL_VERSION));
#if defined(__SANITIZE_ADDRESS__)
	printf("sanitizers:  address\n");
#endif
}

/* ------------------------------------------------------------------ signals */

static void reload(struct daemon *daemon)
{
	struct error err = { 0 };
	struct config fresh;
	enum log_level level = LOG_LEVEL_INFO;

	if (config_reload(&daemon->config, &fresh, &err) < 0 ||
	    log_level_parse(fresh.log_level, &level) < 0) {
		log_error("SIGHUP: nothing is changed: %s", err.message);
		return;
	}
	daemon->api.debug = fresh.debug;
	log_set_level(fresh.debug ? LOG_LEVEL_DEBUG : level);
	log_info("SIGHUP: log level %s", fresh.debug ? "debug" : fresh.log_level);
	config_done(&fresh);
}

static void signaled(struct loop_io *io, uint32_t events)
{
	struct daemon *daemon = container_of(io, struct daemon, signal_io);
	struct signalfd_siginfo info;

	while (read(daemon->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP) {
			reload(daemon);
		} else if (!daemon->stop_signal) {
			daemon->stop_signal = (int)info.ssi_signo;
			cond_broadcast(&daemon->stop);
		} else if (info.ssi_signo == SIGINT) {
			log_warn("a second interrupt: ending at once; the next start cleans up");
			_exit(130);
		}
	}
}

static int watch_signals(struct daemon *daemon, struct error *err)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	daemon->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (daemon->signal_fd < 0)
		return error_errno(err, errno, "watching signals");
	r = loop_io_add(daemon->loop, &daemon->signal_io, daemon->signal_fd, EPOLLIN, signaled);
	return r < 0 ? error_errno(err, -r, "watching signals") : 0;
}

/* ------------------------------------------------------------------ start */

static void raise_limits(void)
{
	struct rlimit limit;

	/* Each pod takes some descriptors; each client one or two. */
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			log_warn("raising the limit of open files: %m");
	}
}

static int write_pidfile(struct daemon *daemon, struct error *err)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	int r = file_write_atomic(AT_FDCWD, daemon->config.pidfile, text, (size_t)len, 0644, false,
				  err);

	return r < 0 ? error_prefix(err, r, "pidfile") : 0;
}

/* Strings "key=value" as pairs. */
static int make_log_options(struct daemon *daemon, struct error *err)
{
	size_t n = 0;

	daemon->log_options =
		calloc(strv_len(daemon->config.log_options) + 1, sizeof(*daemon->log_options));
	if (!daemon->log_options)
		return error_nomem(err);
	strv_for_each(option, daemon->config.log_options) {
		const char *equals = strchr(*option, '=');

		daemon->log_options[n].key = strndup(*option, (size_t)(equals - *option));
		daemon->log_options[n].value = strdup(equals + 1);
		if (!daemon->log_options[n].key || !daemon->log_options[n].value)
			return error_nomem(err);
		n++;
	}
	return 0;
}

static int start_domain(struct daemon *daemon, struct error *err)
{
	const struct config *config = &daemon->config;
	struct sandbox_factory_config factory = {
		.data_root = config->data_root,
		.run_root = config->run_root,
		.kernel = config->kernel,
		.initramfs = config->initramfs,
		.hyperstart = config->hyperstart,
		.qemu = config->qemu,
		.accel = config->accel,
		.hypervisor = config->hypervisor,
		.libvirt_uri = config->libvirt_uri,
		.machine = config->machine,
		.warm = config->warm,
		.max_templates = config->max_templates,
		.template_max_bytes = config->template_memory_bytes,
		.disk_bytes = config->disk_bytes,
		.transport = config_transport(config),
		.cgroup_parent = config->cgroup_parent,
	};
	struct networks_config networks = {
		.loop = daemon->loop,
		.jobs = daemon->jobs,
		.run_root = config->run_root,
		.backend = config->network,
	};
	struct engine_config engine = {
		.run_root = config->run_root,
		.isolation = config_isolation(config),
		.log_driver = config->log_driver,
		.log_options = daemon->log_options,
		.seccomp_profile = config->seccomp_profile,
		.live_restore = config->live_restore,
	};
	const struct volume_store_config volumes = {
		.plugin_dirs = config->volume_plugin_dirs,
		.plugin_timeout_s = (unsigned)config->volume_plugin_timeout_s,
	};
	const struct registry_settings registries = {
		.insecure = config->insecure_registries,
		.mirrors = config->registry_mirrors,
		.certificates_dir = config->registry_certificates,
	};
	int r = file_make_dirs(AT_FDCWD, config->run_root, 0755, err);

	if (r == 0)
		r = store_open(config->data_root, &daemon->store, err);
	if (r == 0)
		r = write_pidfile(daemon, err);
	if (r == 0)
		r = image_store_open(daemon->store, daemon->jobs, &daemon->images, err);
	if (r == 0)
		r = volume_store_open(daemon->loop, daemon->store, daemon->jobs, &volumes,
				      &daemon->volumes, err);
	engine.volumes = daemon->volumes;
	if (r == 0)
		r = registries_new(&registries, &daemon->registries, err);
	networks.store = daemon->store;
	if (r == 0)
		r = networks_open(&networks, &daemon->networks, err);
	if (r == 0) {
		engine.networks = daemon->networks;
		factory.tap_prefix = networks_tap_prefix(daemon->networks);
		factory.user_network = networks_backend(daemon->networks) == NETWORK_BACKEND_USER;
		if (factory.user_network)
			log_warn("pods have QEMU's user-mode network: %s",
				 networks_backend_reason(daemon->networks));
	}
	if (r == 0)
		r = sandbox_factory_new(daemon->loop, daemon->jobs, &factory, &daemon->sandboxes,
					err);
	if (r == 0)
		r = engine_new(daemon->loop, daemon->jobs, daemon->store, daemon->images,
			       daemon->sandboxes, &engine, &daemon->engine, err);
	if (r == 0)
		r = engine_restore(daemon->engine, err);
	if (r == 0)
		volume_store_sweep(daemon->volumes);
	return r;
}

static int socket_group(const struct config *config, gid_t *ret, struct error *err)
{
	struct group *group;
	unsigned long long number;

	*ret = 0;
	if (!config->group || !*config->group)
		return 0;
	group = getgrnam(config->group);
	if (group)
		*ret = group->gr_gid;
	else if (parse_u64(config->group, 0, UINT32_MAX - 1, &number) == 0)
		*ret = (gid_t)number;
	else
		return error_set(err, ERROR_INVALID, "--group %s: there is no such group",
				 config->group);
	return 0;
}

/* With the port that the kernel chose when 0 was asked for. */
static void log_tcp(int fd, const char *host)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	char port[16];

	if (getsockname(fd, (struct sockaddr *)&address, &len) == 0 &&
	    getnameinfo((struct sockaddr *)&address, len, NULL, 0, port, sizeof(port),
			NI_NUMERICSERV) == 0)
		log_info("listening on %s, port %s", host, port);
}

static int listen_at(struct daemon *daemon, const char *host, gid_t gid, struct error *err)
{
	struct http_address address;
	int fd = -1, first, count, r = http_address_parse(host, &address, err);

	if (r < 0)
		return r;
	switch (address.kind) {
	case HTTP_ADDRESS_UNIX:
		r = http_listen_unix(address.path, gid, &fd, err);
		if (r == 0)
			strv_add(&daemon->unix_paths, address.path);
		break;
	case HTTP_ADDRESS_TCP:
		r = http_listen_tcp(address.host, address.port, &fd, err);
		if (r == 0 && !daemon->tls)
			log_warn("%s: without --tlsverify, everybody who can reach this port is "
				 "root on this machine",
				 host);
		break;
	case HTTP_ADDRESS_FD:
		count = http_listen_activated(&first);
		if (count == 0)
			r = error_set(
				err, ERROR_INVALID,
				"-H fd://: no sockets were passed (is hyperd.socket active?)");
		for (int i = 0; i < count && r == 0; i++)
			r = http_server_listen(daemon->server, first + i, host, NULL, err);
		break;
	}
	if (r == 0 && address.kind == HTTP_ADDRESS_TCP)
		log_tcp(fd, host);
	else if (r == 0)
		log_info("listening on %s", host);
	if (r == 0 && fd >= 0)
		r = http_server_listen(daemon->server, fd, host,
				       address.kind == HTTP_ADDRESS_TCP ? daemon->tls : NULL, err);
	http_address_done(&address);
	return r;
}

static int start_api(struct daemon *daemon, struct error *err)
{
	const struct config *config = &daemon->config;
	gid_t gid;
	int r;

	daemon->api = (struct api){
		.loop = daemon->loop,
		.jobs = daemon->jobs,
		.engine = daemon->engine,
		.registries = daemon->registries,
		.data_root = config->data_root,
		.log_driver = config->log_driver,
		.isolation = config->isolation,
		.labels = config->labels,
		.insecure_registries = config->insecure_registries,
		.registry_mirrors = config->registry_mirrors,
		.debug = config->debug,
		.live_restore = config->live_restore,
	};
	daemon->server_config = (struct http_server_config){
		.routes = api_routes,
		.route_count = api_route_count,
		.context = &daemon->api,
		.begin = api_begin,
	};
	r = socket_group(config, &gid, err);
	if (r == 0 && (config->tls || config->tls_verify))
		r = tls_server_new(config->tls_certificate, config->tls_key, config->tls_ca,
				   config->tls_verify, &daemon->tls, err);
	if (r == 0)
		r = http_server_new(daemon->loop, &daemon->server_config, &daemon->server, err);
	strv_for_each(host, config->hosts)
		if (r == 0)
			r = listen_at(daemon, *host, gid, err);
	return r;
}

/* sd_notify(3) without its library. */
static void notify_systemd(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	autoclose int fd = -1;
	size_t len = path ? strlen(path) : 0;

	if (!len || len >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, len);
	if (*path == '@')
		address.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address,
		       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
}

/* ------------------------------------------------------------------ stop */

static void stop(struct daemon *daemon)
{
	if (daemon->server)
		http_server_close(daemon->server);
	strv_for_each(path, daemon->unix_paths)
		unlink(*path);
	/* Whoever is attached or waits hears how its container ends. */
	if (daemon->engine)
		engine_stop(daemon->engine);
	if (daemon->server && !daemon->config.live_restore)
		http_server_finish(daemon->server, deadline_in_ms(LAST_ANSWERS_MS));
	/* The handlers hold references into the domain: they go first. */
	http_server_free(daemon->server);
	if (daemon->engine)
		engine_shutdown(daemon->engine);
	if (daemon->sandboxes)
		sandbox_factory_free(daemon->sandboxes);
	networks_free(daemon->networks, daemon->config.live_restore);
	registries_free(daemon->registries);
	volume_store_free(daemon->volumes);
	image_store_free(daemon->images);
	if (daemon->store && daemon->config.pidfile)
		unlink(daemon->config.pidfile);
	if (daemon->store)
		store_free(daemon->store);
	tls_context_free(daemon->tls);
}

static void daemon_main(void *arg)
{
	struct daemon *daemon = arg;
	struct error err = { 0 };
	int r = start_domain(daemon, &err);

	if (r == 0)
		r = start_api(daemon, &err);
	if (r == 0) {
		log_info("hyperd " HYPER_VERSION " is ready");
		notify_systemd("READY=1");
		while (!daemon->stop_signal)
			cond_wait(&daemon->stop, DEADLINE_NEVER);
		log_info("stopping (%s)", strsignal(daemon->stop_signal));
		notify_systemd("STOPPING=1");
	} else {
		log_error("%s", err.message);
	}
	stop(daemon);
	daemon->result = r;
}

static void pairs_free(struct spec_pair *pairs)
{
	for (struct spec_pair *pair = pairs; pair && pair->key; pair++) {
		free(pair->key);
		free(pair->value);
	}
	free(pairs);
}

static int serve(struct daemon *daemon, struct error *err)
{
	int r = loop_new(&daemon->loop, err);

	if (r == 0)
		r = watch_signals(daemon, err);
	if (r == 0)
		r = job_pool_new(daemon->loop, JOB_THREADS, &daemon->jobs, err);
	if (r == 0)
		r = make_log_options(daemon, err);
	if (r == 0)
		r = task_run(daemon->loop, daemon_main, daemon, err);
	if (r < 0)
		log_error("%s", err->message);
	job_pool_free(daemon->jobs);
	loop_io_remove(&daemon->signal_io);
	if (daemon->signal_fd >= 0)
		close(daemon->signal_fd);
	loop_free(daemon->loop);
	pairs_free(daemon->log_options);
	strv_free(daemon->unix_paths);
	return r < 0 ? r : daemon->result;
}

int main(int argc, char **argv)
{
	struct daemon daemon = { .signal_fd = -1 };
	struct error err = { 0 };
	enum log_level level = LOG_LEVEL_INFO;
	int r;

	log_open("hyperd", LOG_LEVEL_INFO);
	cond_init(&daemon.stop);
	r = config_load(argc, argv, &daemon.config, &err);
	if (r == 0 && daemon.config.help) {
		config_print_help();
		config_done(&daemon.config);
		return 0;
	}
	if (r == 0 && daemon.config.version) {
		print_version();
		config_done(&daemon.config);
		return 0;
	}
	if (r == 0)
		r = config_check(&daemon.config, &err);
	if (r < 0) {
		fprintf(stderr, "hyperd: %s\n", err.message);
		config_done(&daemon.config);
		return 2;
	}
	if (daemon.config.validate) {
		printf("configuration OK\n");
		config_done(&daemon.config);
		return 0;
	}
	if (geteuid() != 0) {
		fprintf(stderr,
			"hyperd: needs root: it gives every sandbox users, namespaces, cgroups and "
			"mounts of its own\n");
		config_done(&daemon.config);
		return 1;
	}
	log_level_parse(daemon.config.log_level, &level);
	log_set_level(daemon.config.debug ? LOG_LEVEL_DEBUG : level);
	umask(022);
	/* A few threads do no more than one arena bears; and what large work has used goes back at
	 * once. */
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_MMAP_THRESHOLD, LARGE_ALLOCATION_BYTES);
	raise_limits();
	r = serve(&daemon, &err);
	config_done(&daemon.config);
	return r < 0 ? 1 : 0;
}
