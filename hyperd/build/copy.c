#include "hyperd/build/copy.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "hyperd/image/decompress.h"

#define CHUNK_BYTES      (256u << 10)
#define ACCOUNTS_MAX     (4u << 20) /* of /etc/passwd */
#define XATTR_MAX_BYTES  1024
#define COPY_MAX_SOURCES 10000

void copy_plan_done(struct copy_plan *plan)
{
	for (size_t i = 0; i < plan->count; i++) {
		free(plan->sources[i].name);
		free(plan->sources[i].node);
		tree_free(plan->sources[i].archive);
	}
	free(plan->sources);
	free(plan->hash);
	*plan = (struct copy_plan){ 0 };
}

static int fail(int r, const char *path, struct error *err)
{
	return error_errno(err, -r, "'%.200s'", path);
}

/* ------------------------------------------------------------------ hashing */

/* All that a copy takes over, but the time. */
static int hash_head(struct digest_stream *digest, struct tree *tree, const struct tree_node *node,
		     const char *name, struct error *err)
{
	autostr struct str head = STR_INIT;
	char target[PATH_MAX] = "";
	int r = 0;

	if (S_ISLNK(node->st.st_mode))
		r = tree_read_link(tree, node, target);
	if (r < 0)
		return fail(r, node->path, err);
	str_addf(&head, "%s%c%o %u %u %llu %u:%u %s%c", name, 0, node->st.st_mode, node->st.st_uid,
		 node->st.st_gid,
		 S_ISREG(node->st.st_mode) ? (unsigned long long)node->st.st_size : 0,
		 major(node->st.st_rdev), minor(node->st.st_rdev), target, 0);
	return digest_stream_update(digest, str_text(&head), head.len, err);
}

static int hash_content(struct digest_stream *digest, struct tree *tree,
			const struct tree_node *node, char *buf, struct error *err)
{
	autoclose int fd = tree_open(tree, node);

	if (fd < 0)
		return fail(fd, node->path, err);
	for (;;) {
		ssize_t n = fd_read(fd, buf, CHUNK_BYTES);
		int r;

		if (n <= 0)
			return n < 0 ? fail((int)n, node->path, err) : 0;
		r = digest_stream_update(digest, buf, (size_t)n, err);
		if (r < 0)
			return r;
	}
}

static int hash_node(struct digest_stream *digest, struct tree *tree, const struct tree_node *node,
		     const char *name, char *buf, struct error *err)
{
	autostrv char **names = NULL;
	autofree struct tree_node *child = NULL;
	int r = hash_head(digest, tree, node, name, err);

	if (r == 0 && S_ISREG(node->st.st_mode))
		r = hash_content(digest, tree, node, buf, err);
	if (r < 0 || !S_ISDIR(node->st.st_mode))
		return r;
	child = malloc(sizeof(*child));
	r = child ? tree_list(tree, node, &names) : -ENOMEM;
	if (r < 0)
		return fail(r, node->path, err);
	strv_for_each(entry, names) {
		r = tree_child(tree, node, *entry, child);
		if (r < 0)
			return fail(r, node->path, err);
		r = hash_node(digest, tree, child, *entry, buf, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int hash_source(struct copy_source *source, struct error *err)
{
	autoptr(digest_stream_free) struct digest_stream *digest = NULL;
	autofree char *buf = malloc(CHUNK_BYTES);
	char text[DIGEST_TEXT_BYTES];
	int r = digest_stream_new(&digest, err);

	if (!buf)
		return error_nomem(err);
	if (r == 0)
		r = hash_node(digest, source->tree, source->node, source->name, buf, err);
	if (r == 0)
		r = digest_stream_final(digest, text, err);
	if (r == 0)
		memcpy(source->hash, digest_hex(text), DIGEST_HEX_BYTES);
	return r;
}

/* ------------------------------------------------------------------ finding sources */

static int add_source(struct copy_plan *plan, struct tree *tree, const char *name,
		      struct error *err)
{
	struct copy_source *grown, *source;
	int r;

	if (plan->count >= COPY_MAX_SOURCES)
		return error_set(err, ERROR_LIMIT, "more than %d sources", COPY_MAX_SOURCES);
	grown = reallocarray(plan->sources, plan->count + 1, sizeof(*grown));
	if (!grown)
		return error_nomem(err);
	plan->sources = grown;
	source = &grown[plan->count++];
	*source = (struct copy_source){ .tree = tree,
					.name = strdup(name),
					.node = malloc(sizeof(*source->node)) };
	if (!source->name || !source->node)
		return error_nomem(err);
	/* A link that is named itself stands for what it leads to. */
	r = tree_lookup(tree, name, true, source->node);
	if (r == -ENOENT || r == -ENOTDIR)
		return error_set(err, ERROR_NOT_FOUND, "stat %.300s: file does not exist", name);
	return r < 0 ? fail(r, name, err) : hash_source(source, err);
}

static bool has_wildcards(const char *name)
{
	for (; *name; name++) {
		if (*name == '\\' && name[1])
			name++;
		else if (strchr("*?[", *name))
			return true;
	}
	return false;
}

/* "*" stays within a component, so that names with as many slashes as the pattern can fit. */
static int add_matching(struct copy_plan *plan, struct tree *tree, const char *pattern,
			unsigned depth, const struct tree_node *dir, struct error *err)
{
	autofree struct tree_node *child = malloc(sizeof(*child));
	autostrv char **names = NULL;
	int r = child ? tree_list(tree, dir, &names) : -ENOMEM;

	if (r < 0)
		return fail(r, dir->path, err);
	strv_for_each(name, names) {
		r = tree_child(tree, dir, *name, child);
		if (r < 0)
			return fail(r, dir->path, err);
		if (depth == 0 && fnmatch(pattern, child->path, FNM_PATHNAME) == 0)
			r = add_source(plan, tree, child->path, err);
		else if (depth > 0 && S_ISDIR(child->st.st_mode))
			r = add_matching(plan, tree, pattern, depth - 1, child, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_pattern(struct copy_plan *plan, struct tree *tree, const char *pattern,
		       struct error *err)
{
	autofree struct tree_node *root = NULL;
	unsigned slashes = 0;
	int r;

	if (*pattern == '/')
		pattern++;
	if (str_starts(pattern, "./"))
		pattern += 2;
	if (!has_wildcards(pattern))
		return add_source(plan, tree, pattern, err);
	for (const char *p = pattern; *p; p++)
		slashes += *p == '/';
	root = malloc(sizeof(*root));
	r = root ? tree_lookup(tree, "", true, root) : -ENOMEM;
	return r < 0 ? fail(r, pattern, err)
		     : add_matching(plan, tree, pattern, slashes, root, err);
}

static int combine(struct copy_plan *plan, struct error *err)
{
	autostr struct str all = STR_INIT;
	char text[DIGEST_TEXT_BYTES];
	int r;

	for (size_t i = 0; i < plan->count; i++) {
		const struct copy_source *source = &plan->sources[i];

		str_addf(&all, "%s%s:%s", i ? "," : "",
			 S_ISDIR(source->node->st.st_mode) ? "dir" : "file", source->hash);
	}
	if (plan->count > 1) {
		r = digest_data(str_text(&all), all.len, text, err);
		if (r < 0)
			return r;
		str_clear(&all);
		str_addf(&all, "multi:%s", digest_hex(text));
	}
	plan->hash = str_steal(&all);
	return plan->hash ? 0 : error_nomem(err);
}

int copy_plan_make(struct tree *tree, char *const *patterns, struct copy_plan *ret,
		   struct error *err)
{
	struct copy_plan plan = { 0 };
	int r = 0;

	strv_for_each(pattern, patterns)
		if (r == 0)
			r = add_pattern(&plan, tree, *pattern, err);
	if (r == 0 && !plan.count)
		r = error_set(err, ERROR_INVALID, "no source files were specified");
	if (r == 0)
		r = combine(&plan, err);
	if (r < 0) {
		copy_plan_done(&plan);
		return r;
	}
	*ret = plan;
	return 0;
}

static ssize_t read_some(void *arg, void *buf, size_t len, struct error *err)
{
	ssize_t n = fd_read(*(int *)arg, buf, len);

	return n < 0 ? error_errno(err, (int)-n, "reading an archive") : n;
}

bool copy_is_tar(int fd)
{
	autoptr(decompressor_free) struct decompressor *d = NULL;
	unsigned char block[TAR_BLOCK_BYTES];
	unsigned sum = 0, have = 0;

	if (decompressor_new(read_some, &fd, &d, NULL) < 0)
		return false;
	while (have < sizeof(block)) {
		ssize_t n = decompressor_read(d, block + have, sizeof(block) - have, NULL);

		if (n <= 0)
			return false;
		have += (unsigned)n;
	}
	for (size_t i = 0; i < sizeof(block); i++)
		sum += i >= 148 && i < 156 ? ' ' : block[i];
	block[156] = 0;
	/* An empty archive is one of zeros. */
	return sum == 8 * ' ' ? false : strtoul((char *)block + 148, NULL, 8) == sum;
}

enum copy_archive copy_source_archive(const struct copy_source *source)
{
	static const struct {
		enum copy_archive kind;
		const char *magic;
		size_t len;
	} packings[] = { { COPY_XZ,
			   "\xfd"
			   "7zXZ\0",
			   6 },
			 { COPY_BZIP2, "BZh", 3 } };
	autoclose int fd = -1;
	char magic[8];
	ssize_t n;

	if (!S_ISREG(source->node->st.st_mode))
		return COPY_NO_ARCHIVE;
	fd = tree_open(source->tree, source->node);
	n = fd < 0 ? -1 : pread(fd, magic, sizeof(magic), 0);
	for (size_t i = 0; i < ARRAY_SIZE(packings); i++)
		if (n == sizeof(magic) && memcmp(magic, packings[i].magic, packings[i].len) == 0)
			return packings[i].kind;
	return fd >= 0 && copy_is_tar(fd) ? COPY_TAR : COPY_NO_ARCHIVE;
}

/* ------------------------------------------------------------------ owners */

/* Field WANTED (2 or 3) of the line of NAME in a file of lines with colons; -1 when it is missing.
 */
static long account_field(const char *text, const char *name, unsigned wanted)
{
	size_t len = strlen(name);

	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		const char *p = line += *line == '\n';
		char *end;
		long id;

		if (strncmp(line, name, len) != 0 || line[len] != ':')
			continue;
		for (unsigned i = 0; p && i < wanted; i++) {
			p = strpbrk(p, ":\n");
			p = p && *p == ':' ? p + 1 : NULL;
		}
		id = p ? strtol(p, &end, 10) : -1;
		if (p && end != p && (*end == ':' || *end == '\n' || !*end))
			return id;
	}
	return -1;
}

static int find_id(struct tree *image, const char *name, const char *file, const char *what,
		   const char *kind, uint32_t *ret, struct error *err)
{
	autofree char *text = NULL;
	unsigned long long number;
	long id;

	if (parse_u64(name, 0, UINT32_MAX - 1, &number) == 0) {
		*ret = (uint32_t)number;
		return 0;
	}
	id = tree_read_file(image, file, ACCOUNTS_MAX, &text) < 0 ? -1
								  : account_field(text, name, 2);
	if (id < 0 || id >= UINT32_MAX)
		return error_set(err, ERROR_INVALID,
				 "unable to convert uid/gid chown string to host mapping: can't "
				 "find %s for %s %.100s: no such %s: %.100s",
				 what, kind, name, kind, name);
	*ret = (uint32_t)id;
	return 0;
}

int copy_find_owner(struct tree *image, const char *text, struct layer_owner *ret,
		    struct error *err)
{
	autofree char *user = strdup(text);
	const char *group = user;
	char *colon;
	int r;

	if (!user)
		return error_nomem(err);
	colon = strchr(user, ':');
	if (colon) {
		*colon = '\0';
		group = colon + 1;
		if (!*user || !*group || strchr(group, ':'))
			return error_set(err, ERROR_INVALID, "invalid chown string format: %.100s",
					 text);
	}
	r = find_id(image, user, "etc/passwd", "uid", "user", &ret->uid, err);
	return r < 0 ? r : find_id(image, group, "etc/group", "gid", "group", &ret->gid, err);
}

/* ------------------------------------------------------------------ writing */

struct copying {
	struct layer_tar *tar;
	struct tree *tree;
	struct layer_owner owner;
	bool keep_owners;
	json_t *inodes; /* owned: "layer:inode" → path, of files with several names */
};

static char *child_path(const char *dir, const char *name)
{
	return strf("%s%s%s", dir, *dir ? "/" : "", name);
}

/* The name that the same file has got before, or NULL; else remembers PATH. */
static const char *earlier_name(struct copying *c, const struct tree_node *node, const char *path)
{
	char key[64];
	const char *found;

	if (node->st.st_nlink < 2)
		return NULL;
	snprintf(key, sizeof(key), "%u:%llu", node->layers[0], (unsigned long long)node->st.st_ino);
	found = json_string_value(json_object_get(c->inodes, key));
	if (!found)
		json_object_set_new_nocheck(c->inodes, key, json_string_nocheck(path));
	return found;
}

static enum tar_type type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return TAR_DIRECTORY;
	case S_IFLNK:
		return TAR_SYMLINK;
	case S_IFCHR:
		return TAR_CHARACTER;
	case S_IFBLK:
		return TAR_BLOCK;
	case S_IFIFO:
		return TAR_FIFO;
	default:
		return TAR_FILE;
	}
}

/* A change of owner takes the set-id bits of a file away, as it does on disk. */
static uint32_t mode_of(const struct copying *c, const struct tree_node *node)
{
	uint32_t mode = node->st.st_mode & 07777;

	if (!S_ISREG(node->st.st_mode) || c->keep_owners)
		return mode;
	mode &= ~(uint32_t)S_ISUID;
	return mode & S_IXGRP ? mode & ~(uint32_t)S_ISGID : mode;
}

static int put_node(struct copying *c, const struct tree_node *node, const char *path,
		    struct error *err)
{
	char target[PATH_MAX] = "", capability[XATTR_MAX_BYTES];
	struct tar_xattr xattr = { .name = (char *)"security.capability", .value = capability };
	struct tar_entry entry = {
		.type = type_of(node->st.st_mode),
		.path = path,
		.link = target,
		.mode = mode_of(c, node),
		.uid = c->keep_owners ? node->st.st_uid : c->owner.uid,
		.gid = c->keep_owners ? node->st.st_gid : c->owner.gid,
		.mtime_s = node->st.st_mtime,
		.major = major(node->st.st_rdev),
		.minor = minor(node->st.st_rdev),
	};
	autoclose int fd = -1;
	const char *earlier;
	ssize_t n;
	int r = 0;

	if (S_ISSOCK(node->st.st_mode))
		return 0;
	if (entry.type == TAR_SYMLINK)
		r = tree_read_link(c->tree, node, target);
	if (r < 0)
		return fail(r, node->path, err);
	if (entry.type != TAR_FILE)
		return layer_tar_put(c->tar, &entry, -1, err);
	earlier = earlier_name(c, node, path);
	if (earlier) {
		entry.type = TAR_HARD_LINK;
		entry.link = earlier;
		return layer_tar_put(c->tar, &entry, -1, err);
	}
	entry.size_bytes = (uint64_t)node->st.st_size;
	n = c->keep_owners ? tree_xattr(c->tree, node, xattr.name, capability, sizeof(capability))
			   : 0;
	if (n > 0) {
		xattr.len = (size_t)n;
		entry.xattrs = &xattr;
		entry.xattr_count = 1;
	}
	fd = tree_open(c->tree, node);
	return fd < 0 ? fail(fd, node->path, err) : layer_tar_put(c->tar, &entry, fd, err);
}

/* What DIR holds goes into PATH, which is there. */
static int copy_inside(struct copying *c, const struct tree_node *dir, const char *path,
		       struct error *err)
{
	autofree struct tree_node *child = malloc(sizeof(*child));
	autostrv char **names = NULL;
	int r = child ? tree_list(c->tree, dir, &names) : -ENOMEM;

	if (r < 0)
		return fail(r, dir->path, err);
	strv_for_each(name, names) {
		autofree char *to = child_path(path, *name);

		r = to ? tree_child(c->tree, dir, *name, child) : -ENOMEM;
		if (r < 0)
			return fail(r, dir->path, err);
		r = put_node(c, child, to, err);
		if (r == 0 && S_ISDIR(child->st.st_mode))
			r = copy_inside(c, child, to, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int copy_directory(struct copying *c, const struct tree_node *dir, const char *path,
			  enum layer_path_kind kind, struct error *err)
{
	static const struct layer_owner root = { 0, 0 };
	autofree char *parent = strdup(path);
	char *slash;
	int r;

	if (!parent)
		return error_nomem(err);
	slash = strrchr(parent, '/');
	*(slash ? slash : parent) = '\0';
	r = layer_tar_make_dirs(c->tar, parent, &root, err);
	/* One that is made for it belongs to whom its content does; one that is there stays. */
	if (r == 0)
		r = layer_tar_make_dirs(c->tar, path, kind == LAYER_PATH_NONE ? &c->owner : &root,
					err);
	return r == 0 ? copy_inside(c, dir, path, err) : r;
}

static int copy_file(struct copying *c, const struct copy_source *source, const char *destination,
		     char path[PATH_MAX], enum layer_path_kind kind, struct error *err)
{
	const char *slash = strrchr(source->name, '/');
	const char *base = slash ? slash + 1 : source->name;
	autofree char *to = NULL, *parent = NULL;
	char *end;
	int r;

	if (str_ends(destination, "/") || kind == LAYER_PATH_DIRECTORY)
		to = child_path(path, base);
	else
		to = strdup(path);
	parent = to ? strdup(to) : NULL;
	if (!parent)
		return error_nomem(err);
	end = strrchr(parent, '/');
	*(end ? end : parent) = '\0';
	r = layer_tar_make_dirs(c->tar, parent, &c->owner, err);
	return r == 0 ? put_node(c, source->node, to, err) : r;
}

static int copy_archive(struct copying *c, struct copy_source *source, const char *path,
			enum layer_path_kind kind, struct error *err)
{
	struct copying inner = *c;
	autofree struct tree_node *root = malloc(sizeof(*root));
	int r = root ? tree_lookup(source->archive, "", true, root) : -ENOMEM;

	if (r < 0)
		return fail(r, source->name, err);
	inner.tree = source->archive;
	inner.keep_owners = true;
	inner.owner = (struct layer_owner){ 0, 0 };
	return copy_directory(&inner, root, path, kind, err);
}

int copy_write(const struct copy_plan *plan, const struct copy_options *options,
	       struct layer_tar *tar, struct error *err)
{
	struct copying c = { .tar = tar, .keep_owners = options->keep_owners };
	int r = 0;

	if (options->chown)
		r = copy_find_owner(tar->base, options->chown, &c.owner, err);
	for (size_t i = 0; r == 0 && i < plan->count; i++) {
		struct copy_source *source = &plan->sources[i];
		char path[PATH_MAX];
		enum layer_path_kind kind;

		c.tree = source->tree;
		c.inodes = json_object();
		/* Anew each time: the one before may have changed what is there. */
		r = layer_tar_resolve(tar, options->destination, path, &kind, err);
		if (r == 0 && S_ISDIR(source->node->st.st_mode))
			r = copy_directory(&c, source->node, path, kind, err);
		else if (r == 0 && source->archive)
			r = copy_archive(&c, source, path, kind, err);
		else if (r == 0)
			r = copy_file(&c, source, options->destination, path, kind, err);
		json_decref(c.inodes);
	}
	return r;
}
