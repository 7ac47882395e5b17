/*
 * The local driver: DATA-ROOT/volumes/NAME/_data. With options (type, device, o: those of mount(8))
 * a file system is mounted there while somebody uses the volume.
 */
#include <fcntl.h>
#include <linux/stat.h>
#include <netdb.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mount_options.h"
#include "base/str.h"
#include "hyperd/volume/driver.h"

static const char *const known_options[] = { "type", "device", "o", "format", "size" };

char *local_mountpoint(const struct volume_store *volumes, const char *name)
{
	return strf("%s/%s/_data", volumes->root, name);
}

static const char *option(const struct volume *v, const char *key)
{
	const char *text = json_string_value(json_object_get(v->options, key));

	return text ? text : "";
}

static bool has_mount(const struct volume *v)
{
	return !volume_is_disk(v, NULL) &&
	       (*option(v, "type") || *option(v, "device") || *option(v, "o"));
}

int local_mounted(const struct volume *v)
{
	struct statx st;

	/* By its path, not followed: it is our own directory. */
	if (statx(AT_FDCWD, v->mountpoint, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &st) <
	    0)
		return 0;
	return (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

/* ------------------------------------------------------------------ what to mount */

struct local_mount {
	struct mount_options options;
	char *type, *device, *data; /* owned */
	const char *target;         /* borrowed */
	struct error error;
};

static void local_mount_done(struct local_mount *m)
{
	mount_options_done(&m->options);
	free(m->type);
	free(m->device);
	free(m->data);
}

static int local_mount_init(const struct volume *v, struct local_mount *m, struct error *err)
{
	autostrv char **words = strv_split(option(v, "o"), ',');
	char **kept = NULL;
	int r = 0;

	*m = (struct local_mount){ .target = v->mountpoint };
	if (!words)
		return error_nomem(err);
	strv_for_each(word, words)
		if (r == 0 && **word && strv_add(&kept, *word) < 0)
			r = error_nomem(err);
	if (r == 0)
		r = mount_options_parse(kept, strv_len(kept), &m->options, err);
	strv_free(kept);
	if (r < 0)
		return r;
	m->type = strdup(option(v, "type"));
	m->device = strdup(option(v, "device"));
	m->data = m->options.data ? strdup(m->options.data) : NULL;
	if (!m->type || !m->device || (m->options.data && !m->data)) {
		local_mount_done(m);
		return error_nomem(err);
	}
	return 0;
}

static int check_options(const struct volume *v, struct error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach(v->options, key, value) {
		bool known = false;

		for (size_t i = 0; i < ARRAY_SIZE(known_options); i++)
			known |= strcmp(key, known_options[i]) == 0;
		if (strcmp(key, "size") == 0 && !volume_is_disk(v, NULL))
			return error_set(err, ERROR_UNSUPPORTED,
					 "create %s: option \"size\" needs a file system with "
					 "quotas, which the local driver does not use",
					 v->name);
		if (!known)
			return error_set(err, ERROR_INVALID,
					 "create %s: invalid option: \"%.64s\" (the local driver "
					 "knows type, device, o; format and size)",
					 v->name, key);
	}
	if (has_mount(v) && !*option(v, "device"))
		return error_set(err, ERROR_INVALID, "create %s: missing device in volume options",
				 v->name);
	if (has_mount(v) && !*option(v, "type"))
		return error_set(err, ERROR_INVALID, "create %s: missing type in volume options",
				 v->name);
	return 0;
}

/* "addr=name" of a network file system: the kernel wants a number. */
static int resolve_address(struct local_mount *m)
{
	autostrv char **words = NULL;
	autostr struct str data = STR_INIT;

	if (!m->data || (!str_starts(m->type, "nfs") && strcmp(m->type, "cifs") != 0))
		return 0;
	words = strv_split(m->data, ',');
	if (!words)
		return error_nomem(&m->error);
	strv_for_each(word, words) {
		struct addrinfo *found = NULL, hints = { .ai_socktype = SOCK_STREAM };
		char number[64];
		int r;

		if (data.len)
			str_addc(&data, ',');
		if (!str_starts(*word, "addr=")) {
			str_add(&data, *word);
			continue;
		}
		r = getaddrinfo(*word + 5, NULL, &hints, &found);
		if (r == 0)
			r = getnameinfo(found->ai_addr, found->ai_addrlen, number, sizeof(number),
					NULL, 0, NI_NUMERICHOST);
		if (found)
			freeaddrinfo(found);
		if (r != 0)
			return error_set(&m->error, ERROR_FAILED,
					 "error resolving passed in network volume address: %s: %s",
					 *word + 5, gai_strerror(r));
		str_addf(&data, "addr=%s", number);
	}
	if (data.failed)
		return error_nomem(&m->error);
	free(m->data);
	m->data = str_steal(&data);
	return 0;
}

static int mount_job(void *arg)
{
	struct local_mount *m = arg;
	const struct mount_options *o = &m->options;
	unsigned long flags = o->flags | (o->bind ? MS_BIND | (o->recursive ? MS_REC : 0) : 0);
	int r = resolve_address(m);

	if (r < 0)
		return r;
	if (mount(m->device, m->target, strcmp(m->type, "none") == 0 ? NULL : m->type, flags,
		  m->data) < 0)
		return error_errno(
			&m->error, errno,
			"error while mounting volume '%s': failed to mount local volume: "
			"mount %s:%s, type: %s, data: %s",
			m->target, m->device, m->target, m->type, m->data ? m->data : "");
	/* A bind takes its options in a second step. */
	if (o->bind && o->flags &&
	    mount(NULL, m->target, NULL, MS_REMOUNT | MS_BIND | o->flags, NULL) < 0) {
		r = error_errno(&m->error, errno, "mounting '%s'", m->target);
		umount2(m->target, MNT_DETACH);
		return r;
	}
	/* Who has the volume mounted shall not hear of what is mounted in it later. */
	mount(NULL, m->target, NULL, MS_PRIVATE | (o->recursive ? MS_REC : 0), NULL);
	return 0;
}

static int unmount_job(void *arg)
{
	return umount2(arg, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
}

/* ------------------------------------------------------------------ the driver */

static int local_create(struct volume *v, struct error *err)
{
	autofree char *dir = strf("%s/%s", v->store->root, v->name);
	struct local_mount m;
	int r = check_options(v, err);

	if (r == 0)
		r = dir ? local_mount_init(v, &m, err) : error_nomem(err);
	if (r < 0)
		return r;
	local_mount_done(&m);
	r = file_make_dirs(AT_FDCWD, dir, 0711, err);
	if (r == 0 && volume_is_disk(v, NULL)) {
		r = volume_disk_create(v, err);
		/* Only when nothing is in it. */
		if (r < 0)
			rmdir(dir);
		return r;
	}
	/* For whoever finds the way to it: what is in it has owners and modes of its own. */
	return r < 0 ? r : file_make_dirs(AT_FDCWD, v->mountpoint, 0755, err);
}

struct remove_job {
	const char *path;
	struct error error;
};

static int remove_job(void *arg)
{
	struct remove_job *job = arg;

	return file_remove_tree(AT_FDCWD, job->path, &job->error);
}

static int local_remove(struct volume *v, struct error *err)
{
	autofree char *dir = strf("%s/%s", v->store->root, v->name);
	struct remove_job job = { .path = dir };
	int r = dir ? 0 : error_nomem(err);

	/* What is mounted there is not ours to delete. */
	if (r == 0 && local_mounted(v)) {
		r = job_run(v->store->jobs, unmount_job, v->mountpoint);
		if (r < 0)
			return error_errno(err, -r, "unmounting volume %s", v->name);
	}
	if (r == 0)
		r = job_run(v->store->jobs, remove_job, &job);
	if (r < 0)
		error_copy(err, &job.error);
	return r;
}

static int local_mount(struct volume *v, const char *user, bool first, struct error *err)
{
	struct local_mount m;
	int r;

	if (volume_is_disk(v, NULL) && !first)
		return error_set(err, ERROR_CONFLICT,
				 "volume %s is a disk, and another pod has it: only one can",
				 v->name);
	if (volume_is_disk(v, NULL))
		return 0;
	/* Somebody may have deleted it by hand. */
	if (!local_mounted(v)) {
		r = local_create(v, err);
		if (r < 0)
			return r;
	}
	if (!has_mount(v) || local_mounted(v))
		return 0;
	r = local_mount_init(v, &m, err);
	if (r < 0)
		return r;
	r = job_run(v->store->jobs, mount_job, &m);
	if (r < 0)
		error_copy(err, &m.error);
	local_mount_done(&m);
	return r;
}

static int local_unmount(struct volume *v, const char *user, bool last, struct error *err)
{
	int r;

	if (!last || !has_mount(v) || !local_mounted(v))
		return 0;
	r = job_run(v->store->jobs, unmount_job, v->mountpoint);
	return r < 0 ? error_errno(err, -r, "unmounting '%s'", v->mountpoint) : 0;
}

const struct volume_driver local_driver = {
	.create = local_create,
	.remove = local_remove,
	.mount = local_mount,
	.unmount = local_unmount,
};
