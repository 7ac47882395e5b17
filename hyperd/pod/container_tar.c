#include "hyperd/pod/container_tar.h"

#include <string.h>
#include <sys/stat.h>

#include "base/str.h"

#define PIECE_BYTES (64u << 10)

/* "top/a/b"; a directory's ends in "/", as tar has it. */
static char *make_name(const struct tar_out *out, const struct tree_entry *e)
{
	const char *end = e->type == TREE_DIRECTORY ? "/" : "";
	const char *slash = strrchr(e->path, '/');
	size_t dir = slash ? (size_t)(slash - e->path) + 1 : 0;

	if (e->type == TREE_DELETED)
		return strf("%.*s.wh.%s", (int)dir, e->path, e->path + dir);
	if (e->type == TREE_OPAQUE)
		return strf("%s%s.wh..wh..opq", e->path, *e->path ? "/" : "");
	if (!*out->top)
		return strf("%s%s", e->path, end);
	/* The root's own name is "/", and then comes no other slash. */
	if (strcmp(out->top, "/") == 0)
		return strf("/%s%s", e->path, *e->path ? end : "");
	return strf("%s%s%s%s", out->top, *e->path ? "/" : "", e->path, end);
}

static int make_link(const struct tar_out *out, const struct tree_entry *e, char **ret,
		     struct error *err)
{
	if (e->type != TREE_HARD_LINK || !*out->top)
		*ret = strdup(e->link);
	else if (strcmp(out->top, "/") == 0)
		*ret = strf("/%s", e->link);
	else
		*ret = strf("%s/%s", out->top, e->link);
	return *ret ? 0 : error_nomem(err);
}

/* Docker's archives have the type in the mode too. */
static const uint32_t formats[TREE_TYPE_COUNT] = {
	[TREE_FILE] = S_IFREG,      [TREE_DIRECTORY] = S_IFDIR, [TREE_SYMLINK] = S_IFLNK,
	[TREE_HARD_LINK] = S_IFREG, [TREE_CHARACTER] = S_IFCHR, [TREE_BLOCK] = S_IFBLK,
	[TREE_FIFO] = S_IFIFO,      [TREE_DELETED] = S_IFREG,   [TREE_OPAQUE] = S_IFREG,
};

static const char tar_types[TREE_TYPE_COUNT] = {
	[TREE_FILE] = TAR_FILE,           [TREE_DIRECTORY] = TAR_DIRECTORY,
	[TREE_SYMLINK] = TAR_SYMLINK,     [TREE_HARD_LINK] = TAR_HARD_LINK,
	[TREE_CHARACTER] = TAR_CHARACTER, [TREE_BLOCK] = TAR_BLOCK,
	[TREE_FIFO] = TAR_FIFO,           [TREE_DELETED] = TAR_FILE,
	[TREE_OPAQUE] = TAR_FILE,
};

static int copy_data(struct tar_out *out, struct files *files, uint64_t size, struct error *err)
{
	autofree char *buf = malloc(PIECE_BYTES);
	ssize_t n;
	int r;

	if (!buf)
		return error_nomem(err);
	while ((n = files_data(files, buf, PIECE_BYTES, err)) > 0) {
		r = out->write(out->arg, buf, (size_t)n, err);
		if (r < 0)
			return r;
	}
	return n < 0 ? (int)n : tar_write_padding(out->write, out->arg, size, err);
}

static int write_one(struct tar_out *out, struct files *files, const struct tree_entry *e,
		     struct error *err)
{
	struct tar_xattr xattrs[TREE_MAX_XATTRS];
	autofree char *name = make_name(out, e), *link = NULL;
	struct tar_entry entry = {
		.type = (enum tar_type)tar_types[e->type],
		.mode = (e->mode & 07777) | formats[e->type],
		.uid = e->uid,
		.gid = e->gid,
		.mtime_s = e->mtime_s,
		.major = e->major,
		.minor = e->minor,
		.size_bytes = e->size_bytes,
		.xattrs = xattrs,
		.xattr_count = e->xattr_count,
	};
	int r = name ? make_link(out, e, &link, err) : error_nomem(err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < e->xattr_count; i++)
		xattrs[i] = (struct tar_xattr){ (char *)e->xattrs[i].name,
						(char *)e->xattrs[i].value, e->xattrs[i].len };
	entry.path = name;
	entry.link = link;
	r = tar_write_entry(out->write, out->arg, &entry, err);
	out->entries++;
	return r == 0 && e->type == TREE_FILE ? copy_data(out, files, e->size_bytes, err) : r;
}

int tar_out_all(struct tar_out *out, struct files *files, struct error *err)
{
	for (;;) {
		autotree struct tree_entry e = { 0 };
		bool gone;
		int r = files_next(files, &e, err);

		if (r < 0)
			return r;
		if (e.type == TREE_END)
			return tar_write_end(out->write, out->arg, err);
		gone = e.type == TREE_DELETED || e.type == TREE_OPAQUE;
		/* A guest that says what nobody asked for. */
		if (!tar_types[e.type] || (gone && !out->layer) ||
		    (!*e.path && !*out->top && !gone))
			return error_set(err, ERROR_INVALID,
					 "the agent sent an entry that does not belong there");
		r = write_one(out, files, &e, err);
		if (r < 0)
			return r;
	}
}
