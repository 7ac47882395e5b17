#include "hyperd/build/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "base/file.h"
#include "base/str.h"

/* As the kernel. */
#define LINKS_MAX 40

struct tree {
	int fds[IMAGE_MAX_LAYERS]; /* owned, the lowest first */
	unsigned count;
};

int tree_of_image(const struct image *image, struct tree **ret, struct error *err)
{
	struct tree *tree = calloc(1, sizeof(*tree));

	if (!tree)
		return error_nomem(err);
	for (size_t i = 0; image && i < image_layer_count(image); i++) {
		const char *path = image_layer(image, i)->directory;
		int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (fd < 0) {
			int r = error_errno(err, errno, "opening layer %s", path);

			tree_free(tree);
			return r;
		}
		tree->fds[tree->count++] = fd;
	}
	*ret = tree;
	return 0;
}

int tree_of_directory(int directory_fd, struct tree **ret, struct error *err)
{
	struct tree *tree = calloc(1, sizeof(*tree));

	if (!tree)
		return error_nomem(err);
	tree->fds[0] = openat(directory_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (tree->fds[0] < 0) {
		free(tree);
		return error_errno(err, errno, "opening a directory");
	}
	tree->count = 1;
	*ret = tree;
	return 0;
}

void tree_free(struct tree *tree)
{
	if (!tree)
		return;
	for (unsigned i = 0; i < tree->count; i++)
		close(tree->fds[i]);
	free(tree);
}

/* PATH was found to have no links; that holds for the directories on its way too. */
static int open_in(const struct tree *tree, unsigned layer, const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
					   RESOLVE_NO_MAGICLINKS };
	int fd = (int)syscall(SYS_openat2, tree->fds[layer], *path ? path : ".", &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

static bool is_opaque(int fd)
{
	char value = 0;

	return fgetxattr(fd, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

/* What PATH is in LAYER: 0, -ENOENT; *ret_opaque for directories. */
static int look(const struct tree *tree, unsigned layer, const char *path, struct stat *ret,
		bool *ret_opaque)
{
	autoclose int fd = open_in(tree, layer, path, O_PATH | O_NOFOLLOW);

	*ret_opaque = false;
	/* A link in place of a directory: another layer's directory of that name was meant. */
	if (fd < 0)
		return fd == -ENOTDIR || fd == -ELOOP ? -ENOENT : fd;
	if (fstat(fd, ret) < 0)
		return -errno;
	if (S_ISDIR(ret->st_mode)) {
		autoclose int dir = open_in(tree, layer, path, O_RDONLY | O_DIRECTORY);

		*ret_opaque = dir >= 0 && is_opaque(dir);
	}
	return 0;
}

/* Fills in RET, whose path is set, from those LAYERS that its directory is seen in. */
static int merge(const struct tree *tree, const uint8_t *layers, unsigned count,
		 struct tree_node *ret)
{
	ret->layer_count = 0;
	for (unsigned i = 0; i < count; i++) {
		struct stat st;
		bool opaque;
		int r = look(tree, layers[i], ret->path, &st, &opaque);

		if (r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		if (is_whiteout(&st))
			break;
		if (ret->layer_count && !S_ISDIR(st.st_mode))
			break;
		if (!ret->layer_count)
			ret->st = st;
		ret->layers[ret->layer_count++] = layers[i];
		if (!S_ISDIR(st.st_mode) || opaque)
			break;
	}
	return ret->layer_count ? 0 : -ENOENT;
}

static int root_node(const struct tree *tree, struct tree_node *ret)
{
	uint8_t all[IMAGE_MAX_LAYERS];

	for (unsigned i = 0; i < tree->count; i++)
		all[i] = (uint8_t)(tree->count - 1 - i);
	ret->path[0] = '\0';
	if (tree->count)
		return merge(tree, all, tree->count, ret);
	ret->layer_count = 0;
	ret->st = (struct stat){ .st_mode = S_IFDIR | 0755, .st_nlink = 2 };
	return 0;
}

int tree_child(struct tree *tree, const struct tree_node *dir, const char *name,
	       struct tree_node *ret)
{
	int n;

	if (!S_ISDIR(dir->st.st_mode))
		return -ENOTDIR;
	n = snprintf(ret->path, sizeof(ret->path), "%s%s%s", dir->path, *dir->path ? "/" : "",
		     name);
	if (n < 0 || (size_t)n >= sizeof(ret->path))
		return -ENAMETOOLONG;
	return merge(tree, dir->layers, dir->layer_count, ret);
}

/* From the root down to a path without links. */
static int descend(struct tree *tree, const char *path, struct tree_node *ret)
{
	autofree struct tree_node *dir = malloc(sizeof(*dir));
	int r = root_node(tree, ret);

	if (!dir)
		return -ENOMEM;
	while (r == 0 && *path) {
		size_t len = strcspn(path, "/");
		char name[NAME_MAX + 1];

		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, path, len);
		name[len] = '\0';
		*dir = *ret;
		r = tree_child(tree, dir, name, ret);
		path += len + (path[len] == '/');
	}
	return r;
}

int tree_read_link(struct tree *tree, const struct tree_node *node, char target[PATH_MAX])
{
	autoclose int fd = open_in(tree, node->layers[0], node->path, O_PATH | O_NOFOLLOW);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = readlinkat(fd, "", target, PATH_MAX - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	return 0;
}

/* A walk over a path, links replaced by what they say. */
struct walk {
	char *rest; /* owned: what is still to be walked */
	unsigned links;
	struct tree_node *dir; /* owned: a copy of where the walk stands */
};

static int follow_link(struct tree *tree, struct walk *walk, const char *rest, struct tree_node *at)
{
	char target[PATH_MAX];
	char *joined;
	int r;

	if (++walk->links > LINKS_MAX)
		return -ELOOP;
	r = tree_read_link(tree, at, target);
	if (r < 0)
		return r;
	joined = strf("%s/%s", target, rest);
	if (!joined)
		return -ENOMEM;
	free(walk->rest);
	walk->rest = joined;
	/* An absolute one begins at the tree's root, another one where the link lies. */
	if (*target == '/')
		return root_node(tree, at);
	*at = *walk->dir;
	return 0;
}

/* One component from AT: NAME is no blank one. */
static int step(struct tree *tree, struct walk *walk, const char *name, const char *rest,
		bool follow, struct tree_node *at)
{
	int r;

	if (!S_ISDIR(at->st.st_mode))
		return -ENOTDIR;
	*walk->dir = *at;
	if (strcmp(name, "..") == 0) {
		char parent[PATH_MAX], *slash;

		strcpy(parent, at->path);
		slash = strrchr(parent, '/');
		*(slash ? slash : parent) = '\0';
		return descend(tree, parent, at);
	}
	r = tree_child(tree, walk->dir, name, at);
	if (r < 0 || !S_ISLNK(at->st.st_mode) || (!follow && !rest[strspn(rest, "/")]))
		return r;
	return follow_link(tree, walk, rest, at);
}

static int walk_path(struct tree *tree, struct walk *walk, bool follow, struct tree_node *ret)
{
	int r = root_node(tree, ret);

	while (r == 0) {
		autofree char *name = NULL, *rest = NULL;
		const char *p = walk->rest + strspn(walk->rest, "/");
		size_t len = strcspn(p, "/");

		if (!len)
			break;
		name = strndup(p, len);
		rest = strdup(p + len);
		if (!name || !rest)
			return -ENOMEM;
		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		free(walk->rest);
		walk->rest = strdup(rest);
		if (!walk->rest)
			return -ENOMEM;
		if (strcmp(name, ".") != 0)
			r = step(tree, walk, name, rest, follow, ret);
	}
	return r;
}

int tree_lookup(struct tree *tree, const char *path, bool follow, struct tree_node *ret)
{
	struct walk walk = { .rest = strdup(path), .dir = malloc(sizeof(*walk.dir)) };
	int r = walk.rest && walk.dir ? walk_path(tree, &walk, follow, ret) : -ENOMEM;

	free(walk.rest);
	free(walk.dir);
	return r;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_layer(const struct tree *tree, unsigned layer, const char *path, char ***names)
{
	autoclosedir DIR *dir = NULL;
	struct dirent *e;
	int fd = open_in(tree, layer, path, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -errno;
	}
	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
		    strv_add(names, e->d_name) < 0)
			return -ENOMEM;
	return 0;
}

int tree_list(struct tree *tree, const struct tree_node *dir, char ***ret)
{
	autofree struct tree_node *child = malloc(sizeof(*child));
	autostrv char **all = NULL;
	int r = child ? 0 : -ENOMEM;

	for (unsigned i = 0; r == 0 && i < dir->layer_count; i++)
		r = list_layer(tree, dir->layers[i], dir->path, &all);
	if (r < 0 || !all)
		return r;
	qsort(all, strv_len(all), sizeof(*all), by_bytes);
	strv_for_each(name, all) {
		if (name != all && strcmp(name[-1], *name) == 0)
			continue;
		/* One that a whiteout hides is not there. */
		r = tree_child(tree, dir, *name, child);
		if (r == -ENOENT)
			continue;
		if (r < 0 || strv_add(ret, *name) < 0)
			return r < 0 ? r : -ENOMEM;
	}
	return 0;
}

int tree_open(struct tree *tree, const struct tree_node *node)
{
	if (!S_ISREG(node->st.st_mode))
		return -EINVAL;
	return open_in(tree, node->layers[0], node->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
}

int tree_read_file(struct tree *tree, const char *path, size_t max, char **ret)
{
	autofree struct tree_node *node = malloc(sizeof(*node));
	autoclose int fd = -1;
	size_t len;
	int r = node ? tree_lookup(tree, path, true, node) : -ENOMEM;

	if (r < 0)
		return r;
	fd = tree_open(tree, node);
	return fd < 0 ? fd : file_read_fd(fd, max, ret, &len, NULL);
}

ssize_t tree_xattr(struct tree *tree, const struct tree_node *node, const char *name, void *value,
		   size_t size)
{
	autoclose int fd = tree_open(tree, node);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = fgetxattr(fd, name, value, size);
	return n < 0 ? -errno : n;
}
