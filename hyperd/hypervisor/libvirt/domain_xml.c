#include "hyperd/hypervisor/libvirt/domain_xml.h"

#include <inttypes.h>
#include <string.h>

#include "hyperd/hypervisor/qemu/command_line.h"

void xml_add_escaped(struct str *out, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		switch (*p) {
		case '<':
			str_add(out, "&lt;");
			break;
		case '>':
			str_add(out, "&gt;");
			break;
		case '&':
			str_add(out, "&amp;");
			break;
		case '"':
			str_add(out, "&quot;");
			break;
		case '\'':
			str_add(out, "&apos;");
			break;
		default:
			/* Tab and line ends are legal, and would be folded in an attribute. */
			if (*p < 0x20 || *p == 0x7f)
				str_add(out, *p == '\t' || *p == '\n' || *p == '\r' ? " " : "?");
			else
				str_addc(out, (char)*p);
		}
	}
}

/* <NAME>TEXT</NAME> */
static void element(struct str *out, const char *name, const char *text)
{
	str_addf(out, "<%s>", name);
	xml_add_escaped(out, text);
	str_addf(out, "</%s>\n", name);
}

/* " NAME='TEXT'" */
static void attribute(struct str *out, const char *name, const char *text)
{
	str_addf(out, " %s='", name);
	xml_add_escaped(out, text);
	str_addc(out, '\'');
}

void domain_metadata_add(struct str *out, const char *owner, const char *sandbox)
{
	str_add(out, "<" DOMAIN_METADATA_KEY ":sandbox xmlns:" DOMAIN_METADATA_KEY
		     "='" DOMAIN_METADATA_URI "'");
	attribute(out, "owner", owner);
	attribute(out, "name", sandbox);
	str_add(out, "/>");
}

static void add_head(struct str *out, const struct vm_config *c, const struct domain_options *o)
{
	element(out, "name", o->name);
	element(out, "uuid", o->uuid);
	str_add(out, "<title>Hyper sandbox ");
	xml_add_escaped(out, c->name);
	str_add(out, "</title>\n<metadata>");
	domain_metadata_add(out, o->owner, c->name);
	str_addf(out, "</metadata>\n<memory unit='b'>%" PRIu64 "</memory>\n<vcpu>%u</vcpu>\n",
		 c->memory_bytes, c->vcpus);
}

/* A guest that powers off, reboots or panics is a pod that has ended. */
static void add_ends(struct str *out)
{
	str_add(out, "<on_poweroff>destroy</on_poweroff>\n<on_reboot>destroy</on_reboot>\n"
		     "<on_crash>destroy</on_crash>\n");
}

static void add_socket(struct str *out, const struct vm_config *c, const char *name)
{
	autofree char *path = strf("%s/%s", c->run_dir, name);

	str_add(out, "<source mode='bind'");
	attribute(out, "path", path ? path : "");
	str_add(out, "/>");
}

/* On the root bus, where the direct driver has them too; slot 31 is the chip set's. */
static void add_slot(struct str *out, unsigned slot)
{
	str_addf(out,
		 "<address type='pci' domain='0x0000' bus='0x00' slot='0x%02x' function='0x0'/>",
		 slot);
}

#define FIRST_DISK_SLOT 3

static void add_disk(struct str *out, const struct vm_disk *disk, size_t i)
{
	str_add(out, "<disk type='file' device='disk'><driver name='qemu' type='raw' "
		     "cache='writeback' discard='unmap'/><source");
	attribute(out, "file", disk->path);
	str_addf(out, " fdgroup='disk%zu'/><target dev='vd%c' bus='virtio'/>", i, (char)('a' + i));
	if (disk->read_only)
		str_add(out, "<readonly/>");
	element(out, "serial", disk->serial);
	add_slot(out, FIRST_DISK_SLOT + (unsigned)i);
	str_add(out, "</disk>\n");
}

static void add_cpu(struct str *out, bool tcg)
{
	/* What the direct driver gives, and why: qemu/command_line.c. */
	if (tcg)
		str_add(out, "<cpu mode='maximum' check='none'><feature policy='disable' "
			     "name='erms'/><feature policy='disable' name='la57'/></cpu>\n");
	else
		str_add(out, "<cpu mode='host-passthrough' check='none'/>\n");
}

int domain_xml_qemu(const struct vm_config *c, const struct domain_options *o, struct str *out,
		    struct error *err)
{
	bool tcg = strcmp(c->accel, "tcg") == 0;

	if (c->disk_count > DOMAIN_QEMU_MAX_DISKS)
		return error_set(err, ERROR_LIMIT, "%zu disks are too many", c->disk_count);
	str_addf(out, "<domain type='%s'>\n", tcg ? "qemu" : "kvm");
	add_head(out, c, o);
	str_add(out, "<os><type arch='x86_64' machine='q35'>hvm</type>");
	element(out, "kernel", o->kernel);
	element(out, "initrd", o->initramfs);
	str_add(out, "<cmdline>" QEMU_KERNEL_CMDLINE);
	if (tcg)
		str_addf(out, QEMU_KERNEL_CMDLINE_TCG, o->tsc_khz);
	str_add(out, "</cmdline></os>\n<features><acpi/><apic/><vmport state='off'/>"
		     "<smm state='off'/>");
	if (tcg)
		str_addf(out, "<tcg><tb-cache unit='MiB'>%u</tb-cache></tcg>",
			 o->tb_cache_mib ? o->tb_cache_mib : QEMU_TB_CACHE_MIB);
	str_add(out, "</features>\n");
	add_cpu(out, tcg);
	str_add(out, "<clock offset='utc'><timer name='hpet' present='no'/></clock>\n");
	add_ends(out);
	str_add(out, "<devices>\n");
	if (o->emulator)
		element(out, "emulator", o->emulator);
	for (size_t i = 0; i < c->disk_count; i++)
		add_disk(out, &c->disks[i], i);
	str_add(out, "<controller type='usb' model='none'/>\n"
		     "<controller type='virtio-serial' index='0' ports='2'>");
	add_slot(out, 2);
	str_add(out, "</controller>\n<serial type='unix'>");
	add_socket(out, c, DOMAIN_CONSOLE_SOCKET);
	str_add(out, "<target type='isa-serial' port='0'/></serial>\n<channel type='unix'>");
	add_socket(out, c, DOMAIN_AGENT_SOCKET);
	str_add(out, "<target type='virtio' name='hyper.agent'/></channel>\n"
		     "<memballoon model='none'/>\n</devices>\n");
	/* Its files are descriptors, so that nothing has to change hands. */
	str_addf(out,
		 "<seclabel type='static' model='dac' relabel='no'><label>+%u:+%u</label>"
		 "</seclabel>\n</domain>\n",
		 (unsigned)c->uid, (unsigned)c->uid);
	return out->failed ? error_nomem(err) : 0;
}
