#pragma once
/*
 * A machine as libvirt's domain XML (libvirt: formatdomain.html). Pure functions: they open and
 * look up nothing. Whatever comes from outside is escaped, and what XML cannot express is left out.
 */
#include "base/error.h"
#include "base/str.h"
#include "hyperd/hypervisor/hypervisor.h"

/* The element by which a later daemon knows its domains, and which keeps others' hands off them. */
#define DOMAIN_METADATA_URI "urn:hyper:sandbox:1"
#define DOMAIN_METADATA_KEY "hyper"

/* Of its sockets, in the machine's run directory. */
#define DOMAIN_AGENT_SOCKET   "agent"
#define DOMAIN_CONSOLE_SOCKET "console"

/* Beside the chip set's and the serial bus's. */
#define DOMAIN_QEMU_MAX_DISKS 17

struct domain_options {
	const char *name, *uuid;
	const char *owner;              /* which daemon's machine it is: hexadecimal digits */
	const char *kernel, *initramfs; /* absolute */
	const char *emulator;           /* QEMU; NULL: libvirt's own choice */
	unsigned tsc_khz;               /* of the host, for guests under TCG */
	unsigned tb_cache_mib;
};

/* TEXT as content of an element or attribute. Characters that XML 1.0 forbids become '?'. */
void xml_add_escaped(struct str *out, const char *text);

/* Disks are named by the descriptor groups "disk0", "disk1", … as well as by their paths. */
int domain_xml_qemu(const struct vm_config *config, const struct domain_options *options,
		    struct str *out, struct error *err);
/* What the metadata of a domain of OWNER's holds: <hyper:sandbox … owner="…"/>. */
void domain_metadata_add(struct str *out, const char *owner, const char *sandbox);
