#include "hyperd/pod/container_files.h"

#include <string.h>

#include "hyperd/image/decompress.h"
#include "hyperd/image/layer_writer.h"
#include "hyperd/pod/container_tar.h"
#include "hyperd/pod/internal.h"

/* ------------------------------------------------------------------ changes, export, sizes */

enum { KIND_CHANGED, KIND_ADDED, KIND_DELETED };

static int add_change(json_t *list, const struct tree_entry *e, struct error *err)
{
	int kind = e->type == TREE_DELETED   ? KIND_DELETED
		   : e->flags & TREE_CHANGED ? KIND_CHANGED
					     : KIND_ADDED;
	autofree char *path = strf("/%s", e->path);
	json_t *text = path ? json_string(path) : NULL;

	/* Names are bytes; JSON's texts are not. */
	for (char *p = path; p && !text && *p; p++)
		if (*p & 0x80)
			*p = '?';
	if (!text)
		text = path ? json_string(path) : NULL;
	return json_array_append_new(list, json_pack("{s:o, s:i}", "Path", text, "Kind", kind)) < 0
		       ? error_nomem(err)
		       : 0;
}

int container_changes(struct container *c, json_t **ret, struct error *err)
{
	const struct files_options options = { .task = HYPER__FILES_TASK__FILES_CHANGES };
	autoptr(files_close) struct files *files = NULL;
	autojson json_t *list = json_array();
	int r = files_open(c, &options, &files, err);

	while (r == 0) {
		autotree struct tree_entry e = { 0 };

		r = files_next(files, &e, err);
		if (r == 0 && e.type == TREE_END)
			break;
		if (r == 0 && json_array_size(list) >= LAYER_MAX_ENTRIES)
			r = error_set(err, ERROR_LIMIT, "more than %u changes", LAYER_MAX_ENTRIES);
		if (r == 0)
			r = add_change(list, &e, err);
	}
	if (r == 0)
		*ret = json_incref(list);
	return r;
}

int container_export(struct container *c, tar_sink_fn *write, void *arg, struct error *err)
{
	const struct files_options options = { .task = HYPER__FILES_TASK__FILES_EXPORT };
	struct tar_out out = { .write = write, .arg = arg, .top = "" };
	autoptr(files_close) struct files *files = NULL;
	int r = files_open(c, &options, &files, err);

	if (r == 0)
		r = tar_out_all(&out, files, err);
	if (r == 0)
		container_event(c, "export", NULL);
	return r;
}

static int ask_usage(struct container *c, uint64_t *ret, struct error *err)
{
	const struct files_options options = { .task = HYPER__FILES_TASK__FILES_USAGE };
	autoptr(files_close) struct files *files = NULL;
	autotree struct tree_entry e = { 0 };
	int r = files_open(c, &options, &files, err);

	if (r == 0)
		r = files_next(files, &e, err);
	if (r == 0 && e.type != TREE_STAT)
		r = error_set(err, ERROR_INVALID, "the agent did not say how much there is");
	*ret = e.size_bytes;
	return r;
}

int container_sizes(struct container *c, struct container_sizes *ret, struct error *err)
{
	bool live = container_is_live(c);
	uint64_t bytes = 0;
	int r = 0;

	/* A sandbox begins for it: once, until something can have changed. */
	if (!live && c->size_known)
		bytes = c->changed_bytes;
	/* One that has never had a sandbox has no files of its own. */
	else if (c->pod->storage_used || c->pod->sandbox)
		r = ask_usage(c, &bytes, err);
	if (r < 0)
		return r;
	c->size_known = !live && !container_is_live(c);
	c->changed_bytes = bytes;
	ret->changed_bytes = bytes;
	ret->root_bytes = bytes + (c->image ? image_size_bytes(c->image) : 0);
	return 0;
}

/* ------------------------------------------------------------------ paths */

void path_stat_done(struct path_stat *stat)
{
	free(steal(stat->name));
	free(steal(stat->link));
}

/*
 * Docker's: absolute, cleaned by its letters alone, and followed to the end when it ended in "/" or
 * "/.". *ret_name is its last part, "." included.
 */
static int clean_path(const char *path, char **ret, char **ret_name, bool *ret_follow,
		      struct error *err)
{
	autostrv char **parts = strv_split(path, '/');
	autostr struct str clean = STR_INIT;
	size_t len = strlen(path);
	bool dot;

	if (!parts)
		return error_nomem(err);
	if (len > TREE_MAX_PATH_BYTES)
		return error_set(err, ERROR_INVALID, "a path of more than %u bytes",
				 TREE_MAX_PATH_BYTES);
	strv_for_each(part, parts) {
		if (!**part || strcmp(*part, ".") == 0)
			continue;
		if (strcmp(*part, "..") == 0) {
			while (clean.len && clean.data[--clean.len] != '/')
				;
			if (clean.data)
				clean.data[clean.len] = '\0';
			continue;
		}
		str_addf(&clean, "/%s", *part);
	}
	dot = strcmp(path, ".") == 0 || str_ends(path, "/.");
	*ret_follow = dot || (len && path[len - 1] == '/');
	if (!clean.len)
		str_addc(&clean, '/');
	if (clean.failed)
		return error_nomem(err);
	*ret_name = strdup(dot ? "." : clean.len == 1 ? "/" : strrchr(clean.data, '/') + 1);
	*ret = str_steal(&clean);
	return *ret && *ret_name ? 0 : error_nomem(err);
}

/* The entry that begins a STAT or a READ. */
static int read_stat(struct files *files, char **name, struct path_stat *ret, struct error *err)
{
	autotree struct tree_entry e = { 0 };
	int r = files_next(files, &e, err);

	if (r == 0 && e.type != TREE_STAT)
		r = error_set(err, ERROR_INVALID, "the agent did not say what is there");
	if (r < 0)
		return r;
	*ret = (struct path_stat){
		.name = steal(*name),
		.link = strdup(e.link),
		.mode = e.mode,
		.size_bytes = e.size_bytes,
		.mtime_s = e.mtime_s,
		.mtime_ns = e.mtime_ns,
	};
	return ret->link ? 0 : error_nomem(err);
}

/* Docker's words for a path that does not lead anywhere. */
static int not_found(struct container *c, const char *path, int r, struct error *err)
{
	if (r < 0 && err && err->kind == ERROR_NOT_FOUND && !c->removed)
		return error_set(err, ERROR_NOT_FOUND, "Could not find the file %s in container %s",
				 path, c->id);
	return r;
}

static int open_path(struct container *c, Hyper__FilesTask task, const char *path,
		     struct files **ret, struct path_stat *ret_stat, struct error *err)
{
	struct files_options options = { .task = task };
	autoptr(files_close) struct files *files = NULL;
	autofree char *clean = NULL, *name = NULL;
	int r = clean_path(path, &clean, &name, &options.follow, err);

	options.path = clean;
	if (r == 0)
		r = not_found(c, path, files_open(c, &options, &files, err), err);
	if (r == 0)
		r = read_stat(files, &name, ret_stat, err);
	if (r == 0)
		*ret = steal(files);
	return r;
}

int container_path_stat(struct container *c, const char *path, struct path_stat *ret,
			struct error *err)
{
	autoptr(files_close) struct files *files = NULL;

	return open_path(c, HYPER__FILES_TASK__FILES_STAT, path, &files, ret, err);
}

int container_archive_get(struct container *c, const char *path,
			  const struct archive_events *events, struct error *err)
{
	struct tar_out out = { .write = events->write, .arg = events->arg };
	autoptr(files_close) struct files *files = NULL;
	struct path_stat stat = { 0 };
	int r = open_path(c, HYPER__FILES_TASK__FILES_READ, path, &files, &stat, err);

	if (r < 0)
		return r;
	r = events->begin(events->arg, &stat, err);
	out.top = stat.name;
	if (r == 0)
		r = tar_out_all(&out, files, err);
	if (r == 0)
		container_event(c, "archive-path", NULL);
	path_stat_done(&stat);
	return r;
}

/* ------------------------------------------------------------------ unpacking */

struct unpacking {
	struct files *files;
	struct tar_reader *reader;
};

/* Holes become zeros: the agent takes as many bytes as the entry says. */
static int put_data(struct unpacking *u, uint64_t size, struct error *err)
{
	static const char zeros[65536];
	uint64_t at = 0, offset;
	const void *data;
	size_t len;
	int r;

	for (;;) {
		r = tar_data(u->reader, &data, &len, &offset, err);
		if (r < 0)
			return r;
		if (!len)
			offset = size;
		while (at < offset) {
			size_t n =
				offset - at < sizeof(zeros) ? (size_t)(offset - at) : sizeof(zeros);

			r = files_put(u->files, zeros, n, err);
			if (r < 0)
				return r;
			at += n;
		}
		if (!len)
			return 0;
		r = files_put(u->files, data, len, err);
		if (r < 0)
			return r;
		at += len;
	}
}

/* A name of the archive's as one in the tree: absolute ones begin at its top. */
static int put_name(const char *name, char path[LAYER_MAX_PATH_BYTES + 1], struct error *err)
{
	while (*name == '/')
		name++;
	if (!*name)
		name = ".";
	return layer_path_clean(name, path, LAYER_MAX_PATH_BYTES + 1, err);
}

static size_t put_xattrs(const struct tar_entry *t, struct tree_xattr *xattrs)
{
	size_t n = 0;

	for (size_t i = 0; i < t->xattr_count && n < TREE_MAX_XATTRS; i++) {
		const struct tar_xattr *x = &t->xattrs[i];

		/* The others belong to the machine that they come from. */
		if (strcmp(x->name, "security.capability") == 0 ||
		    (str_starts(x->name, "user.") && !str_starts(x->name, "user.overlay.")))
			xattrs[n++] = (struct tree_xattr){ x->name, x->value, x->len };
	}
	return n;
}

static int put_one(struct unpacking *u, const struct tar_entry *t, struct error *err)
{
	static const struct {
		enum tar_type from;
		enum tree_type to;
	} types[] = {
		{ TAR_FILE, TREE_FILE },           { TAR_DIRECTORY, TREE_DIRECTORY },
		{ TAR_SYMLINK, TREE_SYMLINK },     { TAR_HARD_LINK, TREE_HARD_LINK },
		{ TAR_CHARACTER, TREE_CHARACTER }, { TAR_BLOCK, TREE_BLOCK },
		{ TAR_FIFO, TREE_FIFO },
	};
	struct tree_xattr xattrs[TREE_MAX_XATTRS];
	char path[LAYER_MAX_PATH_BYTES + 1], link[LAYER_MAX_PATH_BYTES + 1];
	struct tree_entry e = {
		.mode = t->mode & 07777,
		.uid = t->uid,
		.gid = t->gid,
		.major = t->major,
		.minor = t->minor,
		.mtime_s = t->mtime_s,
		.mtime_ns = t->mtime_ns,
		.path = path,
		.link = "",
		.xattrs = xattrs,
		.xattr_count = put_xattrs(t, xattrs),
	};
	int r = put_name(t->path, path, err);

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (t->type == types[i].from)
			e.type = types[i].to;
	if (r == 0 && e.type == TREE_HARD_LINK) {
		r = put_name(t->link, link, err);
		e.link = link;
	} else if (e.type == TREE_SYMLINK) {
		e.link = t->link;
	}
	if (r < 0)
		return r;
	e.size_bytes = e.type == TREE_FILE ? t->size_bytes : 0;
	r = files_put_entry(u->files, &e, err);
	return r == 0 && e.size_bytes ? put_data(u, e.size_bytes, err) : r;
}

static int put_all(struct unpacking *u, struct error *err)
{
	for (;;) {
		const struct tar_entry *entry;
		int r = tar_next(u->reader, &entry, err);

		if (r < 0)
			return r;
		if (!entry)
			return files_finish(u->files, err);
		r = put_one(u, entry, err);
		if (r < 0)
			return r;
	}
}

struct plain {
	struct decompressor *decompressor;
};

static ssize_t read_plain(void *arg, void *buf, size_t len, struct error *err)
{
	struct plain *plain = arg;

	return decompressor_read(plain->decompressor, buf, len, err);
}

int container_archive_put(struct container *c, const struct archive_put *put, tar_source_fn *read,
			  void *arg, struct error *err)
{
	struct files_options options = {
		.task = HYPER__FILES_TASK__FILES_WRITE,
		.keep_kinds = put->keep_kinds,
		/* As Docker: without a user of its own the archive's owners stay. */
		.own = put->own && *c->config.user,
		.user = c->config.user,
	};
	autoptr(decompressor_free) struct decompressor *decompressor = NULL;
	autoptr(tar_reader_free) struct tar_reader *reader = NULL;
	autoptr(files_close) struct files *files = NULL;
	autofree char *clean = NULL, *name = NULL;
	struct plain plain;
	struct unpacking u;
	int r = clean_path(put->path, &clean, &name, &options.follow, err);

	options.path = clean;
	if (r == 0)
		r = not_found(c, put->path, files_open(c, &options, &files, err), err);
	if (r == 0)
		r = decompressor_new(read, arg, &decompressor, err);
	plain.decompressor = decompressor;
	if (r == 0)
		r = tar_reader_new(read_plain, &plain, &reader, err);
	u = (struct unpacking){ files, reader };
	c->size_known = false;
	if (r == 0)
		r = put_all(&u, err);
	if (r == 0)
		container_event(c, "extract-to-dir", NULL);
	return r;
}
