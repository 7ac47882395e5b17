#include "hyperd/image/tar_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "hyperd/image/image.h"

#define BUFFER_BYTES        (256u << 10)
#define MAX_SPECIAL_HEADERS 32 /* before one entry */
#define MAX_XATTRS          256

int tar_malformed(struct error *err, const char *what)
{
	return error_set(err, ERROR_INVALID, "malformed tar archive: %s", what);
}

static int cut_off(struct error *err)
{
	return error_set(err, ERROR_INVALID, "the tar archive is cut off");
}

int tar_reader_new(tar_source_fn *read, void *arg, struct tar_reader **ret, struct error *err)
{
	struct tar_reader *t = calloc(1, sizeof(*t));

	if (!t || !(t->buffer = malloc(BUFFER_BYTES))) {
		free(t);
		return error_nomem(err);
	}
	t->read = read;
	t->arg = arg;
	*ret = t;
	return 0;
}

static void clear_overrides(struct tar_reader *t)
{
	free(t->over.path);
	free(t->over.link);
	t->over = (struct tar_overrides){ 0 };
}

static void clear_entry(struct tar_reader *t)
{
	for (size_t i = 0; i < t->xattr_count; i++) {
		free(t->xattrs[i].name);
		free(t->xattrs[i].value);
	}
	free(t->xattrs);
	free(t->path);
	free(t->link);
	free(t->parts);
	t->xattrs = NULL;
	t->path = t->link = NULL;
	t->parts = NULL;
	t->xattr_count = t->part_count = t->part = 0;
	t->offset = 0;
	t->entry = (struct tar_entry){ 0 };
}

void tar_reader_free(struct tar_reader *t)
{
	if (!t)
		return;
	clear_overrides(t);
	clear_entry(t);
	free(t->buffer);
	free(t);
}

/* Makes at least one byte available; *ret is how many, 0 at the end of the stream. */
static int fill(struct tar_reader *t, size_t *ret, struct error *err)
{
	ssize_t n;

	if (t->start == t->end) {
		n = t->read(t->arg, t->buffer, BUFFER_BYTES, err);
		if (n < 0)
			return (int)n;
		t->start = 0;
		t->end = (size_t)n;
	}
	*ret = t->end - t->start;
	return 0;
}

int tar_take(struct tar_reader *t, void *out, uint64_t len, bool *ret_eof, struct error *err)
{
	unsigned char *p = out;
	bool first = true;

	if (ret_eof)
		*ret_eof = false;
	while (len > 0) {
		size_t have = 0;
		int r = fill(t, &have, err);

		if (r < 0)
			return r;
		if (have == 0 && first && ret_eof) {
			*ret_eof = true;
			return 0;
		}
		if (have == 0)
			return cut_off(err);
		first = false;
		if (have > len)
			have = (size_t)len;
		if (p) {
			memcpy(p, t->buffer + t->start, have);
			p += have;
		}
		t->start += have;
		len -= have;
	}
	return 0;
}

int tar_number(const unsigned char *field, size_t len, bool negative_allowed, int64_t *ret,
	       struct error *err)
{
	uint64_t value = 0;
	size_t i = 0;

	if (field[0] & 0x80) {
		bool negative = field[0] & 0x40;

		if (negative && !negative_allowed)
			return tar_malformed(err, "a negative number");
		value = negative ? ~0ull : 0;
		for (i = 0; i < len; i++) {
			unsigned char c = i == 0 && !negative ? field[0] & 0x7f : field[i];

			if ((value >> 55) != (negative ? 0x1ffu : 0))
				return tar_malformed(err, "a number out of range");
			value = value << 8 | c;
		}
		*ret = (int64_t)value;
		return !negative && *ret < 0 ? tar_malformed(err, "a number out of range") : 0;
	}
	while (i < len && field[i] == ' ')
		i++;
	for (; i < len && field[i] >= '0' && field[i] <= '7'; i++)
		value = value << 3 | (field[i] - '0');
	for (; i < len; i++)
		if (field[i] != ' ' && field[i] != '\0')
			return tar_malformed(err, "a header field that should be a number");
	*ret = (int64_t)value;
	return 0;
}

static bool checksum_matches(const struct tar_block *h)
{
	int64_t stated, with_sign = 0, without = 0;

	if (tar_number(h->raw + 148, 8, false, &stated, NULL) < 0)
		return false;
	for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
		unsigned char c = i >= 148 && i < 156 ? ' ' : h->raw[i];

		without += c;
		with_sign += (signed char)c;
	}
	return stated == without || stated == with_sign;
}

static bool is_zero(const struct tar_block *h)
{
	for (size_t i = 0; i < TAR_BLOCK_BYTES; i++)
		if (h->raw[i])
			return false;
	return true;
}

/* The next header; *ret_end at the end of the archive: zero blocks, or the end of the stream. */
static int read_header(struct tar_reader *t, struct tar_block *h, bool *ret_end, struct error *err)
{
	int r = tar_take(t, h->raw, sizeof(h->raw), ret_end, err);

	if (r < 0 || *ret_end)
		return r;
	if (is_zero(h)) {
		r = tar_take(t, h->raw, sizeof(h->raw), ret_end, err);
		if (r < 0)
			return r;
		if (!*ret_end && !is_zero(h))
			return tar_malformed(err, "a single zero block between entries");
		*ret_end = true;
		return 0;
	}
	if (!checksum_matches(h))
		return tar_malformed(err, "a header's checksum does not match");
	return 0;
}

/* The data of a special header, NUL-terminated. */
static int read_special(struct tar_reader *t, uint64_t size_bytes, char **ret, size_t *ret_len,
			struct error *err)
{
	autofree char *text = NULL;
	int r;

	if (size_bytes > LAYER_MAX_HEADER_BYTES)
		return error_set(err, ERROR_LIMIT, "a tar header of %llu bytes, more than %u",
				 (unsigned long long)size_bytes, LAYER_MAX_HEADER_BYTES);
	text = malloc((size_t)size_bytes + 1);
	if (!text)
		return error_nomem(err);
	r = tar_take(t, text, size_bytes, NULL, err);
	if (r == 0)
		r = tar_take(t, NULL, tar_padding(size_bytes), NULL, err);
	if (r < 0)
		return r;
	text[size_bytes] = '\0';
	*ret = steal(text);
	*ret_len = (size_t)size_bytes;
	return 0;
}

int tar_set_text(char **to, const char *what, const char *value, size_t len, struct error *err)
{
	if (memchr(value, '\0', len))
		return error_set(err, ERROR_INVALID, "malformed tar archive: a NUL in a %s", what);
	free(*to);
	*to = strndup(value, len);
	return *to ? 0 : error_nomem(err);
}

int tar_pax_number(const char *key, const char *value, uint64_t *ret, struct error *err)
{
	unsigned long long number;

	if (parse_u64(value, 0, INT64_MAX, &number) < 0)
		return error_set(err, ERROR_INVALID, "malformed tar archive: pax %s '%.40s'", key,
				 value);
	*ret = number;
	return 0;
}

/* Seconds with a fraction; digits after the ninth do not count. */
static int pax_time(struct tar_overrides *o, const char *value, struct error *err)
{
	char *end;
	long scale = 100000000;
	bool negative = value[0] == '-';

	errno = 0;
	o->mtime_s = strtoll(value, &end, 10);
	o->mtime_ns = 0;
	if (end == value || errno)
		return tar_malformed(err, "a pax time");
	if (*end == '.')
		for (end++; *end >= '0' && *end <= '9'; end++, scale /= 10)
			o->mtime_ns += (uint32_t)((*end - '0') * scale);
	if (*end)
		return tar_malformed(err, "a pax time");
	if (negative && o->mtime_ns) {
		o->mtime_s--;
		o->mtime_ns = (uint32_t)NSEC_PER_SEC - o->mtime_ns;
	}
	o->has_mtime = true;
	return 0;
}

static int add_xattr(struct tar_reader *t, const char *name, size_t name_len, const char *value,
		     size_t len, struct error *err)
{
	struct tar_xattr *x, *grown;

	if (t->xattr_count == MAX_XATTRS)
		return error_set(err, ERROR_LIMIT, "more than %d extended attributes", MAX_XATTRS);
	if (memchr(name, '\0', name_len) || name_len == 0 || name_len > 255)
		return tar_malformed(err, "the name of an extended attribute");
	grown = reallocarray(t->xattrs, t->xattr_count + 1, sizeof(*grown));
	if (!grown)
		return error_nomem(err);
	t->xattrs = grown;
	x = &grown[t->xattr_count++];
	x->name = strndup(name, name_len);
	x->value = malloc(len + 1);
	x->len = len;
	if (!x->name || !x->value)
		return error_nomem(err);
	memcpy(x->value, value, len);
	return 0;
}

static int pax_record(struct tar_reader *t, const char *key, size_t key_len, const char *value,
		      size_t len, struct error *err)
{
	static const char xattr[] = "SCHILY.xattr.", sparse[] = "GNU.sparse.";
	struct tar_overrides *o = &t->over;

	if (memchr(key, '\0', key_len))
		return tar_malformed(err, "a NUL in a pax keyword");
	if (str_starts(key, xattr))
		return add_xattr(t, key + strlen(xattr), key_len - strlen(xattr), value, len, err);
	if (str_starts(key, sparse))
		return tar_pax_sparse(t, key + strlen(sparse), value, len, err);
	if (strcmp(key, "path") == 0)
		/* GNU.sparse.name is the real one; "path" beside it is made up. */
		return o->has_sparse && o->path ? 0
						: tar_set_text(&o->path, "name", value, len, err);
	if (strcmp(key, "linkpath") == 0)
		return tar_set_text(&o->link, "link name", value, len, err);
	if (strcmp(key, "mtime") == 0)
		return pax_time(o, value, err);
	if (strcmp(key, "size") == 0) {
		o->has_size = true;
		return tar_pax_number(key, value, &o->size_bytes, err);
	}
	if (strcmp(key, "uid") == 0) {
		o->has_uid = true;
		return tar_pax_number(key, value, &o->uid, err);
	}
	if (strcmp(key, "gid") == 0) {
		o->has_gid = true;
		return tar_pax_number(key, value, &o->gid, err);
	}
	return 0; /* times and names of users that we have no use for */
}

/* "LENGTH KEY=VALUE\n", the length counting all of it. The text is cut up in place. */
static int parse_pax(struct tar_reader *t, char *text, size_t size, struct error *err)
{
	char *p = text, *end = text + size;

	while (p < end) {
		size_t len = 0, left = (size_t)(end - p);
		char *key = p, *equals;
		int r;

		while (key < end && *key >= '0' && *key <= '9' && len <= size)
			len = len * 10 + (size_t)(*key++ - '0');
		if (key == p || key == end || *key != ' ' || len > left ||
		    len < (size_t)(key - p) + 3 || p[len - 1] != '\n')
			return tar_malformed(err, "a pax record");
		key++;
		equals = memchr(key, '=', (size_t)(p + len - 1 - key));
		if (!equals || equals == key)
			return tar_malformed(err, "a pax record without a keyword");
		*equals = '\0';
		p[len - 1] = '\0';
		r = pax_record(t, key, (size_t)(equals - key), equals + 1,
			       (size_t)(p + len - 1 - (equals + 1)), err);
		if (r < 0)
			return r;
		p += len;
	}
	return 0;
}

/* GNU's long names end with a NUL. */
static int set_long_name(char **to, char *text, size_t len, struct error *err)
{
	while (len > 0 && text[len - 1] == '\0')
		len--;
	return tar_set_text(to, "name", text, len, err);
}

/* Consumes a header that only describes the next one; *ret_special tells whether it was one. */
static int special_header(struct tar_reader *t, const struct tar_block *h, bool *ret_special,
			  struct error *err)
{
	autofree char *text = NULL;
	int64_t size_bytes;
	size_t len = 0;
	char type = (char)h->raw[156];
	int r;

	*ret_special = type && strchr("xXgLK", type);
	if (!*ret_special)
		return 0;
	r = tar_number(h->raw + 124, 12, false, &size_bytes, err);
	if (r == 0)
		r = read_special(t, (uint64_t)size_bytes, &text, &len, err);
	if (r < 0)
		return r;
	switch (type) {
	case 'x':
	case 'X':
		return parse_pax(t, text, len, err);
	case 'L':
		return set_long_name(&t->over.path, text, len, err);
	case 'K':
		return set_long_name(&t->over.link, text, len, err);
	default:
		return 0; /* global headers say nothing that a layer needs; Docker skips them too */
	}
}

static char *header_path(const struct tar_block *h)
{
	const char *name = (const char *)h->raw, *prefix = (const char *)h->raw + 345;
	size_t prefix_len = 0;

	/* "ustar" NUL is POSIX; GNU's "ustar  " keeps other things where the prefix would be. */
	if (memcmp(h->raw + 257, "ustar", 6) == 0)
		prefix_len = memcmp(h->raw + 508, "tar", 4) == 0 ? strnlen(prefix, 131)
								 : strnlen(prefix, 155);
	return strf("%.*s%s%.*s", (int)prefix_len, prefix, prefix_len ? "/" : "",
		    (int)strnlen(name, 100), name);
}

static int header_numbers(struct tar_reader *t, const struct tar_block *h, uint64_t *ret_stored,
			  struct error *err)
{
	struct tar_overrides *o = &t->over;
	struct tar_entry *e = &t->entry;
	int64_t mode, uid, gid, size, mtime, major, minor;
	const struct {
		size_t at, len;
		int64_t *to;
		bool negative_allowed;
	} fields[] = {
		{ 100, 8, &mode, false },  { 108, 8, &uid, false },   { 116, 8, &gid, false },
		{ 124, 12, &size, false }, { 136, 12, &mtime, true }, { 329, 8, &major, false },
		{ 337, 8, &minor, false },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(fields); i++) {
		/* v7 headers have nothing there. */
		if (fields[i].at > 257 && memcmp(h->raw + 257, "ustar", 5) != 0)
			*fields[i].to = 0;
		else
			r = tar_number(h->raw + fields[i].at, fields[i].len,
				       fields[i].negative_allowed, fields[i].to, err);
	}
	if (r < 0)
		return r;
	if (o->has_uid)
		uid = (int64_t)o->uid;
	if (o->has_gid)
		gid = (int64_t)o->gid;
	if (uid >= UINT32_MAX || gid >= UINT32_MAX)
		return tar_malformed(err, "an owner out of range");
	if (major > 0xfff || minor > 0xfffff)
		return tar_malformed(err, "a device number out of range");
	e->mode = (uint32_t)mode & 07777;
	e->uid = (uint32_t)uid;
	e->gid = (uint32_t)gid;
	e->mtime_s = o->has_mtime ? o->mtime_s : mtime;
	e->mtime_ns = o->has_mtime ? o->mtime_ns : 0;
	e->major = (uint32_t)major;
	e->minor = (uint32_t)minor;
	*ret_stored = o->has_size ? o->size_bytes : (uint64_t)size;
	return 0;
}

static int set_type(struct tar_entry *e, const struct tar_block *h, const char *path,
		    struct error *err)
{
	unsigned char type = h->raw[156];
	size_t len = strlen(path);

	if (type == '\0' || type == '7' || type == 'S')
		type = TAR_FILE;
	if (type < '0' || type > '6')
		return error_set(err, ERROR_UNSUPPORTED, "'%.200s': a tar entry of type 0x%02x",
				 path, type);
	if (type == TAR_FILE && len && path[len - 1] == '/')
		type = TAR_DIRECTORY;
	e->type = (enum tar_type)type;
	return 0;
}

static int set_entry(struct tar_reader *t, const struct tar_block *h, struct error *err)
{
	struct tar_overrides *o = &t->over;
	struct tar_entry *e = &t->entry;
	uint64_t stored = 0, before;
	int r;

	t->path = o->path ? steal(o->path) : header_path(h);
	t->link = o->link ? steal(o->link) : strndup((const char *)h->raw + 157, 100);
	if (!t->path || !t->link)
		return error_nomem(err);
	r = set_type(e, h, t->path, err);
	if (r == 0)
		r = header_numbers(t, h, &stored, err);
	if (r < 0)
		return r;
	if (e->type != TAR_FILE)
		stored =
			0; /* whatever the size says, other types have no data (as Go reads them) */
	e->size_bytes = before = stored;
	t->padding = tar_padding(before);
	if (e->type == TAR_FILE && (h->raw[156] == 'S' || o->has_sparse)) {
		r = tar_set_sparse(t, h, &stored, err);
		if (r < 0)
			return r;
		e->size_bytes = o->real_size_bytes;
	}
	t->stored_left = stored;
	e->path = t->path;
	e->link = t->link;
	e->xattrs = t->xattrs;
	e->xattr_count = t->xattr_count;
	return 0;
}

int tar_next(struct tar_reader *t, const struct tar_entry **ret, struct error *err)
{
	struct tar_block h;
	bool special = true, end = false;
	int r;

	*ret = NULL;
	if (t->finished)
		return 0;
	r = tar_take(t, NULL, t->stored_left, NULL, err);
	/* The docker CLI leaves the last one out, and with it the end's two blocks. */
	if (r == 0)
		r = tar_take(t, NULL, t->padding, &end, err);
	t->stored_left = t->padding = 0;
	t->finished = end;
	clear_entry(t);
	clear_overrides(t);
	for (unsigned i = 0; r == 0 && special && !end; i++) {
		if (i == MAX_SPECIAL_HEADERS)
			return error_set(err, ERROR_LIMIT,
					 "more than %d tar headers before one entry",
					 MAX_SPECIAL_HEADERS);
		r = read_header(t, &h, &end, err);
		if (r == 0 && !end)
			r = special_header(t, &h, &special, err);
	}
	if (r == 0 && !end)
		r = set_entry(t, &h, err);
	if (r < 0)
		return r;
	t->finished = end;
	*ret = end ? NULL : &t->entry;
	return 0;
}

int tar_data(struct tar_reader *t, const void **ret_data, size_t *ret_len, uint64_t *ret_offset,
	     struct error *err)
{
	uint64_t want = t->stored_left;
	size_t have = 0;
	int r;

	*ret_len = 0;
	if (t->stored_left == 0)
		return 0;
	if (t->parts) {
		while (t->offset == t->parts[t->part].len) {
			t->part++;
			t->offset = 0;
		}
		want = t->parts[t->part].len - t->offset;
		*ret_offset = t->parts[t->part].offset + t->offset;
	} else {
		*ret_offset = t->offset;
	}
	r = fill(t, &have, err);
	if (r < 0)
		return r;
	if (have == 0)
		return cut_off(err);
	if (have > want)
		have = (size_t)want;
	*ret_data = t->buffer + t->start;
	*ret_len = have;
	t->start += have;
	t->offset += have;
	t->stored_left -= have;
	return 0;
}

int tar_drain(struct tar_reader *t, struct error *err)
{
	size_t have = 1;
	int r = 0;

	while (r == 0 && have) {
		t->start = t->end;
		r = fill(t, &have, err);
	}
	return r;
}
