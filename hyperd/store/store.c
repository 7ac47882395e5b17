#include "hyperd/store/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#define RECORD_MAX_BYTES (16u << 20)
#define NAME_MAX_BYTES   200
#define LOCK_NAME        "lock"

struct store {
	char *path;
	int dir_fd;  /* owned */
	int lock_fd; /* owned: the lock lasts as long as it is open */
};

/* Names become file names: no way up, no hidden files, nothing a shell would trip over. */
static int check_name(const char *what, const char *name, struct error *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-";
	size_t len = name ? strlen(name) : 0;

	if (len == 0 || len > NAME_MAX_BYTES || name[0] == '.' || strspn(name, allowed) != len)
		return error_set(err, ERROR_INVALID,
				 "%s '%.80s': expected 1 to %d of [A-Za-z0-9_.-], not beginning "
				 "with a dot",
				 what, name ? name : "", NAME_MAX_BYTES);
	return 0;
}

static int record_path(const char *kind, const char *id, char *path, size_t size, struct error *err)
{
	int r = check_name("record kind", kind, err);

	if (r == 0)
		r = check_name("record id", id, err);
	if (r < 0)
		return r;
	snprintf(path, size, "%s/%s.json", kind, id);
	return 0;
}

int store_open(const char *data_root, struct store **ret, struct error *err)
{
	struct store *store = calloc(1, sizeof(*store));
	int r = 0;

	if (!store)
		return error_nomem(err);
	store->lock_fd = -1;
	store->dir_fd = file_open_dir(AT_FDCWD, data_root, 0700, err);
	if (store->dir_fd < 0) {
		r = error_prefix(err, store->dir_fd, "data root");
		goto fail;
	}
	store->path = realpath(data_root, NULL);
	if (!store->path) {
		r = error_errno(err, errno, "data root '%s'", data_root);
		goto fail;
	}
	store->lock_fd =
		openat(store->dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (store->lock_fd < 0)
		r = error_errno(err, errno, "opening the lock of '%s'", data_root);
	else if (flock(store->lock_fd, LOCK_EX | LOCK_NB) < 0)
		r = errno == EWOULDBLOCK
			    ? error_set(err, ERROR_CONFLICT,
					"data root '%s' is in use by another hyperd", data_root)
			    : error_errno(err, errno, "locking '%s'", data_root);
	if (r < 0)
		goto fail;
	*ret = store;
	return 0;
fail:
	store_free(store);
	return r;
}

void store_free(struct store *store)
{
	if (!store)
		return;
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	if (store->dir_fd >= 0)
		close(store->dir_fd);
	free(store->path);
	free(store);
}

int store_dir_fd(const struct store *store)
{
	return store->dir_fd;
}

const char *store_path(const struct store *store)
{
	return store->path;
}

int record_save(struct store *store, const char *kind, const char *id, int version, json_t *record,
		bool sync, struct error *err)
{
	autojson json_t *stamped = NULL;
	char path[PATH_MAX];
	int r = record_path(kind, id, path, sizeof(path), err);

	if (r < 0)
		return r;
	stamped = json_copy(record);
	if (!stamped || json_object_set_new(stamped, "v", json_integer(version)) < 0)
		return error_nomem(err);
	r = file_make_dirs(store->dir_fd, kind, 0700, err);
	if (r == 0)
		r = json_write(store->dir_fd, path, stamped, sync, err);
	return r < 0 ? error_prefix(err, r, "saving record %s/%s", kind, id) : 0;
}

int record_load(struct store *store, const char *kind, const char *id, int version, json_t **ret,
		struct error *err)
{
	autojson json_t *record = NULL;
	char path[PATH_MAX];
	int64_t found;
	int r = record_path(kind, id, path, sizeof(path), err);

	if (r == 0)
		r = json_read(store->dir_fd, path, RECORD_MAX_BYTES, &record, err);
	if (r < 0)
		return error_prefix(err, r, "record %s/%s", kind, id);
	if (!json_is_object(record))
		return error_set(err, ERROR_INVALID, "record %s/%s: expected an object", kind, id);
	r = json_get_int(record, "v", &found, err);
	if (r < 0)
		return error_prefix(err, r, "record %s/%s", kind, id);
	if (found < 1)
		return error_set(err, ERROR_INVALID, "record %s/%s: no format version", kind, id);
	if (found > version)
		return error_set(err, ERROR_UNSUPPORTED,
				 "record %s/%s: format %lld was written by a newer hyperd; this "
				 "one knows up to %d",
				 kind, id, (long long)found, version);
	*ret = steal(record);
	return 0;
}

int record_delete(struct store *store, const char *kind, const char *id, struct error *err)
{
	char path[PATH_MAX];
	int r = record_path(kind, id, path, sizeof(path), err);

	if (r < 0)
		return r;
	if (unlinkat(store->dir_fd, path, 0) < 0 && errno != ENOENT)
		return error_errno(err, errno, "deleting record %s/%s", kind, id);
	return 0;
}

/*
 * The ids are collected first: FN may save and delete records. What a crash in the middle of a
 * write left behind is removed on the way; nobody else writes here, the lock says so.
 */
static int list_ids(struct store *store, const char *kind, char ***ret_ids, struct error *err)
{
	autoclosedir DIR *dir = NULL;
	struct dirent *e;
	int fd;

	fd = openat(store->dir_fd, kind, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return error_errno(err, errno, "reading the records of kind '%s'", kind);
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return error_nomem(err);
	}
	while ((errno = 0, e = readdir(dir))) {
		size_t len = strlen(e->d_name);

		if (strstr(e->d_name, ".json.new-")) {
			unlinkat(dirfd(dir), e->d_name, 0);
			continue;
		}
		if (!str_ends(e->d_name, ".json") || e->d_name[0] == '.')
			continue;
		if (strv_take(ret_ids, strndup(e->d_name, len - strlen(".json"))) < 0)
			return error_nomem(err);
	}
	return errno ? error_errno(err, errno, "reading the records of kind '%s'", kind) : 0;
}

static void set_aside(struct store *store, const char *kind, const char *id)
{
	char from[PATH_MAX], to[PATH_MAX];

	snprintf(from, sizeof(from), "%s/%s.json", kind, id);
	snprintf(to, sizeof(to), "%s/%s.json.damaged", kind, id);
	renameat(store->dir_fd, from, store->dir_fd, to);
}

int record_each(struct store *store, const char *kind, int version,
		void (*fn)(const char *id, json_t *record, void *arg),
		void (*damaged)(const char *id, const struct error *why, void *arg), void *arg,
		struct error *err)
{
	autostrv char **ids = NULL;
	int r = check_name("record kind", kind, err);

	if (r == 0)
		r = list_ids(store, kind, &ids, err);
	if (r < 0)
		return r;
	strv_for_each(id, ids) {
		autojson json_t *record = NULL;
		struct error why = { 0 };

		r = record_load(store, kind, *id, version, &record, &why);
		if (r == 0) {
			fn(*id, record, arg);
			continue;
		}
		if (why.kind == ERROR_NOT_FOUND)
			continue; /* FN deleted it */
		/* A newer record is whole, and another hyperd's: it stays where it is. */
		if (why.kind != ERROR_UNSUPPORTED)
			set_aside(store, kind, *id);
		if (damaged)
			damaged(*id, &why, arg);
	}
	return 0;
}
