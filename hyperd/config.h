#pragma once
/*
 * The daemon's settings: defaults, then the configuration file, then the command line; the later
 * counts. One table (config.c) is all of them: flags, keys of the file, the help text.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "hyperd/sandbox/sandbox.h"

struct spec_pair;

/* All owned. */
struct config {
	char *config_file, *data_root, *run_root, *pidfile, *group;
	char **hosts, **labels, **insecure_registries, **registry_mirrors;
	char *log_level, *log_driver;
	char **log_options; /* strv of "key=value" */
	bool debug, live_restore;
	char *isolation, *hypervisor, *libvirt_uri, *accel, *machine, *transport, *network;
	char *kernel, *initramfs, *hyperstart, *qemu, *seccomp_profile, *cgroup_parent,
		*registry_certificates;
	char **volume_plugin_dirs; /* strv */
	unsigned warm, max_templates, volume_plugin_timeout_s;
	uint64_t template_memory_bytes, disk_bytes;
	bool tls, tls_verify;
	char *tls_ca, *tls_certificate, *tls_key;
	/* What the command line asks for instead of serving. */
	bool help, version, validate;
};

/*
 * Reads the command line and the file it names (a missing default file is fine). Errors name the
 * flag or key. ARGV[0] is the program's name.
 */
int config_load(int argc, char **argv, struct config *ret, struct error *err);
/* Only the file: for SIGHUP. CONFIG is what was loaded before. */
int config_reload(const struct config *config, struct config *ret, struct error *err);
void config_done(struct config *config);
void config_print_help(void);
/* Words and files, as far as they can be checked without starting. */
int config_check(const struct config *config, struct error *err);
enum sandbox_isolation config_isolation(const struct config *config);
enum sandbox_transport config_transport(const struct config *config);
