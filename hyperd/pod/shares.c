/*
 * What of the host a pod's containers mount, while its sandbox runs: volumes are mounted by their
 * drivers, and each bind or volume becomes a detached mount that the sandbox gets as a descriptor.
 * Shares are named after container and position, so that both sides find them again.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "hyperd/pod/arena.h"
#include "hyperd/pod/internal.h"
#include "hyperd/volume/volume.h"

static void share_name(const struct container *c, size_t mount, char name[SHARE_NAME_BYTES])
{
	snprintf(name, SHARE_NAME_BYTES, "%.12s-%zu", c->id, mount);
}

static void mount_event(const struct container *c, const struct spec_mount *m,
			const struct volume *v)
{
	json_t *attributes =
		json_pack("{s:s, s:s, s:s, s:s}", "container", c->id, "destination", m->destination,
			  "propagation", "", "read/write", m->read_only ? "false" : "true");

	engine_volume_event(c->engine, v, "mount", attributes);
}

/* Where a mount's source is on the host. *ret_path is borrowed from mount or volume. */
static int source_path(const struct container *c, const struct spec_mount *m, const char **ret_path,
		       struct volume **ret_volume, struct error *err)
{
	int r;

	*ret_volume = NULL;
	if (m->type == MOUNT_BIND) {
		*ret_path = m->source;
		return 0;
	}
	if (!c->engine->volumes)
		return error_set(err, ERROR_UNSUPPORTED, "this daemon keeps no volumes");
	if (!volume_get_known(c->engine->volumes, m->source, ret_volume))
		return error_set(err, ERROR_NOT_FOUND, "get %s: no such volume", m->source);
	r = volume_mount(*ret_volume, c->pod->id, ret_path, err);
	if (r < 0)
		volume_unref(steal(*ret_volume));
	return r;
}

static int open_share(struct container *c, size_t i, struct pod_shares *shares, struct error *err)
{
	const struct spec_mount *m = &c->spec->mounts[i];
	bool vm = c->pod->spec->isolation == ISOLATION_VM;
	const struct host_tree_options options = {
		.read_only = m->read_only,
		.recursive = !m->non_recursive,
		.slave = m->propagation && strstr(m->propagation, "slave"),
		.inert = vm,
	};
	struct pod_share *share = &shares->items[shares->count];
	autoptr(volume_unref) struct volume *v = NULL;
	const char *path;
	int r = source_path(c, m, &path, &v, err);

	if (r == 0)
		r = host_tree_open(c->engine->jobs, path, m->subpath, &options, &share->fd,
				   &share->is_directory, err);
	if (r < 0)
		return error_prefix(err, r, "mount '%s'", m->destination);
	share_name(c, i, share->name);
	shares->count++;
	if (v)
		mount_event(c, m, v);
	return 0;
}

bool pod_has_shares(const struct pod *pod)
{
	struct container *c;

	list_for_each_entry(c, &pod->containers, pod_node) {
		for (size_t i = 0; i < c->spec->mount_count; i++)
			if (c->spec->mounts[i].type != MOUNT_TMPFS && !c->spec->mounts[i].disk)
				return true;
	}
	return false;
}

static bool has_share(const struct container *c, size_t i)
{
	char name[SHARE_NAME_BYTES];

	share_name(c, i, name);
	return c->pod->sandbox && sandbox_has_share(c->pod->sandbox, name);
}

/* ------------------------------------------------------------------ disks */

/* What the guest finds it by: the same for a name at each start, and at most 20 bytes. */
static void disk_serial(const char *volume, char serial[21])
{
	uint64_t hash = 14695981039346656037u;

	for (const char *p = volume; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 1099511628211u;
	snprintf(serial, 21, "vol-%016llx", (unsigned long long)hash);
}

/* Mounted writable by one container, it is writable; a file system has one opinion of itself. */
static bool wanted_writable(const struct pod *pod, const char *volume)
{
	struct container *c;

	list_for_each_entry(c, &pod->containers, pod_node) {
		for (size_t i = 0; i < c->spec->mount_count; i++)
			if (c->spec->mounts[i].disk && !c->spec->mounts[i].read_only &&
			    str_equal(c->spec->mounts[i].source, volume))
				return true;
	}
	return false;
}

static int open_disk(struct container *c, const struct spec_mount *m, struct pod_shares *shares,
		     struct error *err)
{
	struct pod_disk *disk = &shares->disks[shares->disk_count];
	autoptr(volume_unref) struct volume *v = NULL;
	struct volume_disk kind = { 0 };
	const char *path;
	struct stat st;
	int r;

	for (size_t i = 0; i < shares->disk_count; i++)
		if (str_equal(shares->disks[i].volume, m->source))
			return 0;
	disk_serial(m->source, disk->serial);
	if (c->pod->sandbox && sandbox_has_share(c->pod->sandbox, disk->serial))
		return 0;
	if (c->pod->sandbox)
		return error_set(
			err, ERROR_CONFLICT,
			"volume %s is a disk, and a VM gets disks only when it is started: "
			"stop the pod and start it again",
			m->source);
	r = source_path(c, m, &path, &v, err);
	if (r < 0)
		return r;
	volume_is_disk(v, &kind);
	disk->volume = m->source;
	disk->read_only = !wanted_writable(c->pod, m->source);
	disk->qcow2 = kind.qcow2;
	disk->fd = open(path, (disk->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (disk->fd < 0)
		return error_errno(err, errno, "volume %s: '%s'", m->source, path);
	shares->disk_count++;
	disk->device = fstat(disk->fd, &st) == 0 && S_ISBLK(st.st_mode);
	disk->path = strdup(path);
	mount_event(c, m, v);
	return disk->path ? 0 : error_nomem(err);
}

/* As the agent mounts it: the guest's kernel looks at the file system, nobody else. */
static Hyper__Mount *disk_request(struct arena *arena, const struct container *c,
				  const struct spec_mount *m)
{
	Hyper__Mount *mount = arena_message(arena, Hyper__Mount, HYPER__MOUNT__INIT);
	autoptr(volume_unref) struct volume *v = NULL;
	struct volume_disk kind = { .file_system = "ext4", .options = "" };
	autostrv char **words = NULL;
	char serial[21];

	if (c->engine->volumes && volume_get_known(c->engine->volumes, m->source, &v))
		volume_is_disk(v, &kind);
	disk_serial(m->source, serial);
	words = strv_split(kind.options, ',');
	mount->destination = m->destination;
	mount->type = arena_text(arena, kind.file_system);
	mount->source = arena_text(arena, serial);
	mount->options = arena_alloc(arena, (strv_len(words) + 2) * sizeof(char *));
	strv_for_each(word, words)
		if (**word)
			mount->options[mount->n_options++] = arena_text(arena, *word);
	if (m->read_only)
		mount->options[mount->n_options++] = (char *)"ro";
	return mount;
}

/* ------------------------------------------------------------------ all of a pod's */

int pod_shares_open(struct pod *pod, struct pod_shares *ret, struct error *err)
{
	struct container *c;
	size_t n = 0;
	int r = 0;

	*ret = (struct pod_shares){ 0 };
	list_for_each_entry(c, &pod->containers, pod_node)
		n += c->spec->mount_count;
	ret->items = calloc(n + 1, sizeof(*ret->items));
	ret->disks = calloc(n + 1, sizeof(*ret->disks));
	if (!ret->items || !ret->disks) {
		pod_shares_done(ret);
		return error_nomem(err);
	}
	list_for_each_entry(c, &pod->containers, pod_node) {
		for (size_t i = 0; i < c->spec->mount_count && r == 0; i++) {
			const struct spec_mount *m = &c->spec->mounts[i];

			if (m->type == MOUNT_TMPFS || c->removing)
				continue;
			if (m->disk)
				r = open_disk(c, m, ret, err);
			else if (!has_share(c, i))
				r = open_share(c, i, ret, err);
		}
	}
	if (r < 0)
		pod_shares_done(ret);
	return r;
}

void pod_shares_done(struct pod_shares *shares)
{
	for (size_t i = 0; i < shares->count; i++)
		close(shares->items[i].fd);
	for (size_t i = 0; i < shares->disk_count; i++) {
		close(shares->disks[i].fd);
		free(shares->disks[i].path);
	}
	free(shares->items);
	free(shares->disks);
	*shares = (struct pod_shares){ 0 };
}

/* Every volume that a container of the pod names; to one that was not mounted it means nothing. */
void pod_volumes_unmount(struct pod *pod)
{
	struct container *c;

	if (!pod->engine->volumes)
		return;
	list_for_each_entry(c, &pod->containers, pod_node) {
		for (size_t i = 0; i < c->spec->mount_count; i++) {
			autoptr(volume_unref) struct volume *v = NULL;

			if (c->spec->mounts[i].type == MOUNT_VOLUME &&
			    volume_get_known(pod->engine->volumes, c->spec->mounts[i].source, &v))
				volume_unmount(v, pod->id);
		}
	}
}

/* An adopted sandbox holds its mounts: they are counted again. */
void pod_volumes_adopt(struct pod *pod)
{
	struct container *c;

	list_for_each_entry(c, &pod->containers, pod_node) {
		for (size_t i = 0; i < c->spec->mount_count && pod->engine->volumes; i++) {
			autoptr(volume_unref) struct volume *v = NULL;

			if (c->spec->mounts[i].type == MOUNT_VOLUME &&
			    volume_get_known(pod->engine->volumes, c->spec->mounts[i].source, &v))
				volume_adopt(v, pod->id);
		}
	}
}

Hyper__Mount *share_request(struct arena *arena, const struct container *c, size_t i)
{
	Hyper__Mount *mount = arena_message(arena, Hyper__Mount, HYPER__MOUNT__INIT);
	const struct spec_mount *m = &c->spec->mounts[i];
	char name[SHARE_NAME_BYTES], source[sizeof(SHARES_DIR) + SHARE_NAME_BYTES + 1];

	if (m->disk)
		return disk_request(arena, c, m);
	share_name(c, i, name);
	snprintf(source, sizeof(source), SHARES_DIR "/%s", name);
	mount->destination = m->destination;
	mount->type = (char *)"bind";
	mount->source = arena_text(arena, source);
	mount->options = arena_alloc(arena, 3 * sizeof(char *));
	mount->options[mount->n_options++] = (char *)(m->non_recursive ? "bind" : "rbind");
	if (m->read_only)
		mount->options[mount->n_options++] = (char *)"ro";
	return mount;
}
