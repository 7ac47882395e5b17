#include "hyperd/build/layer_tar.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "base/fd.h"
#include "base/str.h"

#define CHUNK_BYTES (256u << 10)
#define LINKS_MAX   40

int layer_tar_init(struct layer_tar *tar, struct tree *base, int fd, uint64_t max_bytes,
		   struct error *err)
{
	*tar = (struct layer_tar){
		.base = base, .fd = fd, .max_bytes = max_bytes, .made = json_object()
	};
	return tar->made ? 0 : error_nomem(err);
}

void layer_tar_done(struct layer_tar *tar)
{
	json_decref(tar->made);
	tar->made = NULL;
}

/* ------------------------------------------------------------------ names */

/* What this layer or the image has at PATH, whose directories are no links: "d", "f", "l<target>",
 * NULL for nothing. */
static int kind_at(struct layer_tar *tar, const char *path, char **ret, struct tree_node *node)
{
	const char *made = json_string_value(json_object_get(tar->made, path));
	int r;

	*ret = NULL;
	if (!made) {
		r = tree_lookup(tar->base, path, false, node);
		if (r == -ENOENT || r == -ENOTDIR)
			return 0;
		if (r < 0)
			return r;
		if (S_ISLNK(node->st.st_mode)) {
			char target[PATH_MAX];

			r = tree_read_link(tar->base, node, target);
			if (r == 0)
				*ret = strf("l%s", target);
			return r < 0 ? r : *ret ? 0 : -ENOMEM;
		}
		made = S_ISDIR(node->st.st_mode) ? "d" : "f";
	}
	*ret = strdup(made);
	return *ret ? 0 : -ENOMEM;
}

static void cut_last(char *path)
{
	char *slash = strrchr(path, '/');

	*(slash ? slash : path) = '\0';
}

struct resolving {
	char *rest; /* owned */
	char at[PATH_MAX];
	unsigned links;
	bool missing; /* AT does not exist: nothing below it can be a link */
	enum layer_path_kind kind;
};

static int resolve_one(struct layer_tar *tar, struct resolving *x, const char *name, size_t len,
		       struct tree_node *node)
{
	autofree char *kind = NULL, *joined = NULL;
	size_t have = strlen(x->at);
	char before[PATH_MAX];
	int r;

	strcpy(before, x->at);
	if (have + len + 2 > sizeof(x->at))
		return -ENAMETOOLONG;
	snprintf(x->at + have, sizeof(x->at) - have, "%s%.*s", have ? "/" : "", (int)len, name);
	if (x->missing)
		return 0;
	r = kind_at(tar, x->at, &kind, node);
	if (r < 0)
		return r;
	x->kind = !kind ? LAYER_PATH_NONE : *kind == 'd' ? LAYER_PATH_DIRECTORY : LAYER_PATH_OTHER;
	x->missing = !kind;
	if (!kind || *kind != 'l')
		return 0;
	if (++x->links > LINKS_MAX)
		return -ELOOP;
	joined = strf("%s/%s", kind + 1, name + len);
	if (!joined)
		return -ENOMEM;
	strcpy(x->at, kind[1] == '/' ? "" : before);
	x->kind = LAYER_PATH_DIRECTORY;
	free(x->rest);
	x->rest = steal(joined);
	return 1;
}

static int resolve(struct layer_tar *tar, struct resolving *x, struct tree_node *node)
{
	const char *p = x->rest;

	while (*p) {
		size_t len = strcspn(p, "/");
		int r = 0;

		if (len == 2 && p[0] == '.' && p[1] == '.') {
			cut_last(x->at);
			x->missing = false;
			x->kind = LAYER_PATH_DIRECTORY;
		} else if (len && !(len == 1 && *p == '.')) {
			r = resolve_one(tar, x, p, len, node);
		}
		if (r < 0)
			return r;
		p = r ? x->rest : p + len + (p[len] == '/');
	}
	return 0;
}

int layer_tar_resolve(struct layer_tar *tar, const char *path, char ret[PATH_MAX],
		      enum layer_path_kind *ret_kind, struct error *err)
{
	autofree struct resolving *x = calloc(1, sizeof(*x));
	autofree struct tree_node *node = malloc(sizeof(*node));
	int r;

	if (!x || !node || !(x->rest = strdup(path)))
		return error_nomem(err);
	x->kind = LAYER_PATH_DIRECTORY;
	r = resolve(tar, x, node);
	free(x->rest);
	if (r < 0)
		return error_errno(err, -r, "'%.200s'", path);
	strcpy(ret, x->at);
	*ret_kind = x->kind;
	return 0;
}

/* ------------------------------------------------------------------ writing */

static int write_bytes(struct layer_tar *tar, const void *data, size_t len, struct error *err)
{
	int r;

	if (len > tar->max_bytes - tar->bytes)
		return error_set(err, ERROR_LIMIT, "the layer is larger than %llu bytes",
				 (unsigned long long)tar->max_bytes);
	r = fd_write_all(tar->fd, data, len);
	if (r < 0)
		return error_errno(err, -r, "writing the layer");
	tar->bytes += len;
	return 0;
}

static int sink(void *arg, const void *data, size_t len, struct error *err)
{
	return write_bytes(arg, data, len, err);
}

static int write_header(struct layer_tar *tar, const struct tar_entry *e, struct error *err)
{
	autofree char *path = strf("%s%s", e->path, e->type == TAR_DIRECTORY ? "/" : "");
	struct tar_entry named = *e;

	if (!path)
		return error_nomem(err);
	named.path = path;
	named.link = e->link ? e->link : "";
	return tar_write_entry(sink, tar, &named, err);
}

static int write_content(struct layer_tar *tar, const struct tar_entry *e, int content,
			 struct error *err)
{
	autofree char *buf = malloc(CHUNK_BYTES);
	uint64_t left = e->size_bytes;
	int r = 0;

	if (!buf)
		return error_nomem(err);
	while (r == 0 && left) {
		size_t want = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
		ssize_t n = fd_read(content, buf, want);

		if (n <= 0)
			return error_errno(err, n < 0 ? (int)-n : EIO, "reading '%.200s'", e->path);
		left -= (uint64_t)n;
		r = write_bytes(tar, buf, (size_t)n, err);
	}
	return r == 0 ? tar_write_padding(sink, tar, e->size_bytes, err) : r;
}

static int remember(struct layer_tar *tar, const struct tar_entry *e, struct error *err)
{
	autofree char *what = e->type == TAR_SYMLINK ? strf("l%s", e->link)
						     : strdup(e->type == TAR_DIRECTORY ? "d" : "f");

	if (!what || json_object_set_new_nocheck(tar->made, e->path, json_string_nocheck(what)) < 0)
		return error_nomem(err);
	return 0;
}

static int put(struct layer_tar *tar, const struct tar_entry *e, int content, struct error *err)
{
	int r;

	if (++tar->entries > LAYER_MAX_ENTRIES)
		return error_set(err, ERROR_LIMIT, "the layer has more than %u entries",
				 LAYER_MAX_ENTRIES);
	r = write_header(tar, e, err);
	if (r == 0 && e->type == TAR_FILE)
		r = write_content(tar, e, content, err);
	return r == 0 ? remember(tar, e, err) : r;
}

/* One directory that leads to an entry: as the image has it, or OWNER's and new. */
static int put_dir(struct layer_tar *tar, const char *path, const struct layer_owner *owner,
		   struct tree_node *node, struct error *err)
{
	struct tar_entry entry = {
		.type = TAR_DIRECTORY,
		.path = path,
		.mode = 0755,
		.uid = owner->uid,
		.gid = owner->gid,
		.mtime_s = time(NULL),
	};
	const char *made = json_string_value(json_object_get(tar->made, path));
	int r;

	if (made && *made == 'd')
		return 0;
	if (made)
		return error_set(err, ERROR_INVALID, "mkdir /%.200s: not a directory", path);
	r = tree_lookup(tar->base, path, false, node);
	if (r == 0) {
		if (!S_ISDIR(node->st.st_mode))
			return error_set(err, ERROR_INVALID, "mkdir /%.200s: not a directory",
					 path);
		entry.mode = node->st.st_mode & 07777;
		entry.uid = node->st.st_uid;
		entry.gid = node->st.st_gid;
		entry.mtime_s = node->st.st_mtime;
	} else if (r != -ENOENT && r != -ENOTDIR) {
		return error_errno(err, -r, "'%.200s'", path);
	}
	return put(tar, &entry, -1, err);
}

int layer_tar_make_dirs(struct layer_tar *tar, const char *path, const struct layer_owner *owner,
			struct error *err)
{
	autofree struct tree_node *node = malloc(sizeof(*node));
	autofree char *copy = strdup(path);
	int r = 0;

	if (!node || !copy)
		return error_nomem(err);
	for (char *p = copy; r == 0 && *p;) {
		char *end = strchrnul(p, '/'), was = *end;

		*end = '\0';
		r = put_dir(tar, copy, owner, node, err);
		*end = was;
		p = was ? end + 1 : end;
	}
	return r;
}

int layer_tar_put(struct layer_tar *tar, const struct tar_entry *entry, int content,
		  struct error *err)
{
	static const struct layer_owner root = { 0, 0 };
	autofree char *parent = strdup(entry->path);
	int r;

	if (!parent)
		return error_nomem(err);
	cut_last(parent);
	r = layer_tar_make_dirs(tar, parent, &root, err);
	return r == 0 ? put(tar, entry, content, err) : r;
}

int layer_tar_finish(struct layer_tar *tar, struct error *err)
{
	return tar_write_end(sink, tar, err);
}
