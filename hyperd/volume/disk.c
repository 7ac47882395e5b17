/*
 * Volumes that are disks: `format` (raw or qcow2) with `device`, an image or a block device that is
 * there, or with `size`, an image that is made and formatted once. `type` is the file system in it.
 */
#include <endian.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"
#include "hyperd/volume/driver.h"

#define FORMAT_DEADLINE_MS 120000
#define SIZE_MIN           (4ull << 20)

static const char *option(const struct volume *v, const char *key)
{
	const char *text = json_string_value(json_object_get(v->options, key));

	return text ? text : "";
}

bool volume_is_disk(const struct volume *v, struct volume_disk *ret)
{
	if (v->driver != &local_driver || !*option(v, "format"))
		return false;
	if (ret)
		*ret = (struct volume_disk){ .qcow2 = strcmp(option(v, "format"), "qcow2") == 0,
					     .file_system = *option(v, "type") ? option(v, "type")
									       : "ext4",
					     .options = option(v, "o") };
	return true;
}

/*
 * QEMU's docs/interop/qcow2.txt, "Header". An image that leads to other files would be read with
 * them missing, or from wherever its author points: it is refused.
 */
struct qcow2_header {
	uint32_t magic, version;
	uint64_t backing_offset;
	uint32_t backing_bytes, cluster_bits;
	uint64_t bytes;
	uint32_t crypt_method, l1_entries;
	uint64_t l1_offset, refcount_offset;
	uint32_t refcount_clusters, snapshot_count;
	uint64_t snapshots_offset;
	uint64_t incompatible; /* from version 3 on */
};
#define QCOW2_MAGIC         0x514649fb
#define QCOW2_EXTERNAL_DATA (1ull << 2)

static int check_qcow2(int fd, const char *path, struct error *err)
{
	struct qcow2_header h = { 0 };
	uint32_t version;

	if (pread(fd, &h, sizeof(h), 0) != sizeof(h) || be32toh(h.magic) != QCOW2_MAGIC)
		return error_set(err, ERROR_INVALID, "'%s' is no qcow2 image", path);
	version = be32toh(h.version);
	if (version != 2 && version != 3)
		return error_set(err, ERROR_UNSUPPORTED, "'%s': qcow2 version %u", path, version);
	if (h.backing_offset || (version == 3 && be64toh(h.incompatible) & QCOW2_EXTERNAL_DATA))
		return error_set(err, ERROR_UNSUPPORTED,
				 "'%s' is built on another file: make one image of them (qemu-img "
				 "convert)",
				 path);
	if (h.crypt_method)
		return error_set(err, ERROR_UNSUPPORTED, "'%s' is encrypted", path);
	return 0;
}

static int check_device(const struct volume *v, bool qcow2, struct error *err)
{
	const char *path = option(v, "device");
	autoclose int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (*path != '/')
		return error_set(err, ERROR_INVALID, "device '%s': expected an absolute path",
				 path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(err, ERROR_INVALID, "device '%s': %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return error_set(err, ERROR_INVALID, "device '%s': neither file nor block device",
				 path);
	return qcow2 ? check_qcow2(fd, path, err) : 0;
}

/* "512m", "10G": powers of 1024. */
static int parse_size(const char *text, uint64_t *ret, struct error *err)
{
	static const char units[] = "bkmgt";
	char *end;
	unsigned long long number = strtoull(text, &end, 10);
	const char *unit = *end ? strchr(units, *end | 0x20) : units;
	unsigned shift = unit ? 10 * (unsigned)(unit - units) : 0;

	if (end == text || !unit || (*end && end[1]) || number > UINT64_MAX >> 1 >> shift)
		return error_set(err, ERROR_INVALID, "size '%.64s': expected a size such as 10g",
				 text);
	*ret = number << shift;
	if (*ret < SIZE_MIN)
		return error_set(err, ERROR_INVALID, "size '%.64s': a disk has at least 4m", text);
	return 0;
}

static int format(const char *path, uint64_t bytes, struct error *err)
{
	const char *argv[] = { "mkfs.ext4", "-q", "-F", "-m", "0", path, NULL };
	const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
	autoclose int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r;

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return error_errno(err, errno, "making '%s'", path);
	r = process_run(&(struct process_options){ .argv = argv, .env = env }, NULL,
			deadline_in_ms(FORMAT_DEADLINE_MS), 65536, NULL, err);
	if (r < 0)
		unlink(path);
	return r;
}

static int make_image(struct volume *v, const char *path, struct error *err)
{
	uint64_t bytes = 0;
	int r = parse_size(option(v, "size"), &bytes, err);

	if (r == 0 && strcmp(option(v, "format"), "raw") != 0)
		r = error_set(err, ERROR_UNSUPPORTED,
			      "a new disk is raw: make a qcow2 image with qemu-img, and name it as "
			      "\"device\"");
	if (r == 0 && *option(v, "type") && strcmp(option(v, "type"), "ext4") != 0)
		r = error_set(err, ERROR_UNSUPPORTED, "a new disk is formatted with ext4");
	return r < 0 ? r : format(path, bytes, err);
}

char *volume_disk_path(const struct volume *v)
{
	const char *device = option(v, "device");

	return *device ? strdup(device) : strf("%s/%s/_disk.img", v->store->root, v->name);
}

int volume_disk_create(struct volume *v, struct error *err)
{
	const char *kind = option(v, "format");
	bool qcow2 = strcmp(kind, "qcow2") == 0;
	int r;

	if (!qcow2 && strcmp(kind, "raw") != 0)
		return error_set(err, ERROR_INVALID,
				 "create %s: format '%.32s': expected raw or qcow2", v->name, kind);
	if (*option(v, "device"))
		r = check_device(v, qcow2, err);
	else
		r = access(v->mountpoint, F_OK) == 0 ? 0 : make_image(v, v->mountpoint, err);
	return r < 0 ? error_prefix(err, r, "create %s", v->name) : 0;
}
