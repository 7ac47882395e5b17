#include "wire/tree.h"

#include <endian.h>
#include <limits.h>
#include <string.h>

#define FIXED_BYTES      56
#define XATTR_HEAD_BYTES 6
#define XATTR_MAX_NAME   255u

static void put16(struct str *to, size_t v)
{
	uint16_t le = htole16((uint16_t)v);

	str_append(to, &le, sizeof(le));
}

static void put32(struct str *to, uint32_t v)
{
	v = htole32(v);
	str_append(to, &v, sizeof(v));
}

static void put64(struct str *to, uint64_t v)
{
	v = htole64(v);
	str_append(to, &v, sizeof(v));
}

static uint32_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

int tree_encode(const struct tree_entry *e, struct str *to, struct error *err)
{
	size_t path = strlen(e->path), link = e->link ? strlen(e->link) : 0;
	size_t len = FIXED_BYTES + path + link;

	for (size_t i = 0; i < e->xattr_count; i++)
		len += XATTR_HEAD_BYTES + strlen(e->xattrs[i].name) + e->xattrs[i].len;
	if (path > TREE_MAX_PATH_BYTES || link > TREE_MAX_PATH_BYTES ||
	    len > TREE_MAX_ENTRY_BYTES || e->xattr_count > TREE_MAX_XATTRS)
		return error_set(err, ERROR_LIMIT,
				 "'%.200s': its name or its attributes are too long", e->path);
	put32(to, (uint32_t)len);
	put32(to, (uint32_t)e->type);
	put32(to, e->mode);
	put32(to, e->uid);
	put32(to, e->gid);
	put32(to, e->major);
	put32(to, e->minor);
	put32(to, e->mtime_ns);
	put64(to, (uint64_t)e->mtime_s);
	put64(to, e->size_bytes);
	put16(to, path);
	put16(to, link);
	put32(to, (uint32_t)e->xattr_count);
	put32(to, e->flags);
	str_append(to, e->path, path);
	str_append(to, e->link ? e->link : "", link);
	for (size_t i = 0; i < e->xattr_count; i++) {
		put16(to, strlen(e->xattrs[i].name));
		put32(to, (uint32_t)e->xattrs[i].len);
		str_add(to, e->xattrs[i].name);
		str_append(to, e->xattrs[i].value, e->xattrs[i].len);
	}
	return to->failed ? error_nomem(err) : 0;
}

static int malformed(struct error *err, const char *what)
{
	return error_set(err, ERROR_INVALID, "tree of files: %s", what);
}

int tree_length(const uint8_t bytes[TREE_LENGTH_BYTES], uint32_t *ret, struct error *err)
{
	*ret = get32(bytes);
	if (*ret < FIXED_BYTES || *ret > TREE_MAX_ENTRY_BYTES)
		return malformed(err, "an entry of impossible length");
	return 0;
}

bool tree_path_ok(const char *path)
{
	if (!*path)
		return true;
	for (;;) {
		size_t n = strcspn(path, "/");

		if (!n || n > NAME_MAX || (n == 1 && path[0] == '.') ||
		    (n == 2 && path[0] == '.' && path[1] == '.'))
			return false;
		if (!path[n])
			return true;
		path += n + 1;
	}
}

/* What an entry of each type must and must not have. */
static const struct {
	bool link, size, named; /* a link; data; a path of its own */
} rules[TREE_TYPE_COUNT] = {
	[TREE_FILE] = { .size = true },
	[TREE_DIRECTORY] = { 0 },
	[TREE_SYMLINK] = { .link = true },
	[TREE_HARD_LINK] = { .link = true, .named = true },
	[TREE_CHARACTER] = { 0 },
	[TREE_BLOCK] = { 0 },
	[TREE_FIFO] = { 0 },
	[TREE_SOCKET] = { 0 },
	[TREE_DELETED] = { .named = true },
	[TREE_OPAQUE] = { 0 },
	[TREE_STAT] = { .size = true },
	[TREE_END] = { .size = true },
	[TREE_FAILED] = { 0 },
};

static int check(const struct tree_entry *e, struct error *err)
{
	if (!tree_path_ok(e->path))
		return malformed(err, "a path that is not one in the tree");
	if (rules[e->type].link && !*e->link)
		return malformed(err, "a link to nothing");
	if (!rules[e->type].link && *e->link && e->type != TREE_STAT && e->type != TREE_FAILED)
		return malformed(err, "a link that is none");
	if (e->type == TREE_HARD_LINK && !tree_path_ok(e->link))
		return malformed(err, "a hard link out of the tree");
	if (rules[e->type].named && !*e->path)
		return malformed(err, "an entry without a path");
	if (!rules[e->type].size && e->size_bytes)
		return malformed(err, "a size where there is no data");
	if (e->size_bytes > INT64_MAX || e->mtime_ns >= 1000000000u)
		return malformed(err, "a number out of range");
	return 0;
}

/* Copies the texts with a NUL after each, so that they are ordinary strings. */
static int take_text(const uint8_t **p, const uint8_t *end, size_t len, char **to,
		     struct error *err)
{
	if ((size_t)(end - *p) < len)
		return malformed(err, "an entry that ends too early");
	if (memchr(*p, '\0', len))
		return malformed(err, "a name with a NUL in it");
	memcpy(*to, *p, len);
	(*to)[len] = '\0';
	*to += len + 1;
	*p += len;
	return 0;
}

static int take_xattrs(const uint8_t *p, const uint8_t *end, struct tree_xattr *xattrs,
		       size_t count, char *to, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		size_t name, value;

		if (end - p < XATTR_HEAD_BYTES)
			return malformed(err, "an entry that ends too early");
		name = get16(p);
		value = get32(p + 2);
		p += XATTR_HEAD_BYTES;
		if (!name || name > XATTR_MAX_NAME)
			return malformed(err, "an attribute without a name");
		xattrs[i].name = to;
		r = take_text(&p, end, name, &to, err);
		if (r == 0 && (size_t)(end - p) < value)
			r = malformed(err, "an entry that ends too early");
		if (r < 0)
			break;
		memcpy(to, p, value);
		xattrs[i].value = to;
		xattrs[i].len = value;
		to += value;
		p += value;
	}
	return r == 0 && p != end ? malformed(err, "an entry that is too long") : r;
}

int tree_decode(const uint8_t *data, size_t len, struct tree_entry *ret, struct error *err)
{
	const uint8_t *p = data + FIXED_BYTES, *end = data + len;
	struct tree_entry e = { 0 };
	struct tree_xattr *xattrs;
	size_t path, link;
	char *to;
	int r;

	if (len < FIXED_BYTES || len > TREE_MAX_ENTRY_BYTES)
		return malformed(err, "an entry of impossible length");
	e.type = (enum tree_type)get32(data);
	e.flags = get32(data + 52);
	if (e.type < TREE_FILE || e.type >= TREE_TYPE_COUNT || e.flags & ~TREE_CHANGED)
		return malformed(err, "an entry of unknown type");
	e.mode = get32(data + 4);
	e.uid = get32(data + 8);
	e.gid = get32(data + 12);
	e.major = get32(data + 16);
	e.minor = get32(data + 20);
	e.mtime_ns = get32(data + 24);
	e.mtime_s = (int64_t)get64(data + 28);
	e.size_bytes = get64(data + 36);
	path = get16(data + 44);
	link = get16(data + 46);
	e.xattr_count = get32(data + 48);
	if (path > TREE_MAX_PATH_BYTES || link > TREE_MAX_PATH_BYTES ||
	    e.xattr_count > TREE_MAX_XATTRS)
		return malformed(err, "a name or a list of attributes that is too long");
	/* The texts take one byte more each than they have here. */
	e.block = malloc(e.xattr_count * (sizeof(*xattrs) + 1) + len + 2);
	if (!e.block)
		return error_nomem(err);
	xattrs = (struct tree_xattr *)(void *)e.block;
	e.xattrs = xattrs;
	to = e.block + e.xattr_count * sizeof(*xattrs);
	e.path = to;
	r = take_text(&p, end, path, &to, err);
	if (r == 0) {
		e.link = to;
		r = take_text(&p, end, link, &to, err);
	}
	if (r == 0)
		r = take_xattrs(p, end, xattrs, e.xattr_count, to, err);
	if (r == 0)
		r = check(&e, err);
	if (r < 0)
		free(e.block);
	else
		*ret = e;
	return r;
}

void tree_entry_done(struct tree_entry *entry)
{
	free(steal(entry->block));
}
