/*
 * Sparse files as GNU tar writes them: old headers of type 'S', and pax formats 0.0, 0.1 and 1.0.
 * Source: "Storing Sparse Files" in the GNU tar manual.
 */
#include "hyperd/image/tar_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static int add_part(struct tar_reader *t, uint64_t offset, uint64_t len, struct error *err)
{
	struct tar_part *grown;

	if (t->part_count == TAR_MAX_SPARSE_PARTS)
		return error_set(err, ERROR_LIMIT, "a sparse file of more than %d parts",
				 TAR_MAX_SPARSE_PARTS);
	if ((t->part_count & (t->part_count - 1)) == 0) {
		size_t room = t->part_count ? t->part_count * 2 : 1;

		grown = reallocarray(t->parts, room, sizeof(*grown));
		if (!grown)
			return error_nomem(err);
		t->parts = grown;
	}
	t->parts[t->part_count++] = (struct tar_part){ offset, len };
	return 0;
}

/* GNU.sparse.map: "offset,length,offset,length". */
static int pax_sparse_map(struct tar_reader *t, const char *value, struct error *err)
{
	autostrv char **numbers = strv_split(value, ',');
	uint64_t offset = 0, len = 0;
	int r = 0;

	if (!numbers)
		return error_nomem(err);
	for (char **p = numbers; r == 0 && *p && **p; p += 2) {
		if (!p[1])
			return tar_malformed(err, "an uneven sparse map");
		r = tar_pax_number("GNU.sparse.map", p[0], &offset, err);
		if (r == 0)
			r = tar_pax_number("GNU.sparse.map", p[1], &len, err);
		if (r == 0)
			r = add_part(t, offset, len, err);
	}
	return r;
}

int tar_pax_sparse(struct tar_reader *t, const char *key, const char *value, size_t len,
		   struct error *err)
{
	struct tar_overrides *o = &t->over;
	uint64_t number = 0;
	int r = 0;

	o->has_sparse = true;
	if (strcmp(key, "name") == 0)
		return tar_set_text(&o->path, "name", value, len, err);
	if (strcmp(key, "map") == 0)
		return pax_sparse_map(t, value, err);
	r = tar_pax_number(key, value, &number, err);
	if (r < 0)
		return r;
	if (strcmp(key, "major") == 0) {
		o->sparse_major = number > 9 ? 9 : (unsigned)number;
	} else if (strcmp(key, "minor") == 0) {
		o->sparse_minor = number > 9 ? 9 : (unsigned)number;
	} else if (strcmp(key, "size") == 0 || strcmp(key, "realsize") == 0) {
		o->has_real_size = true;
		o->real_size_bytes = number;
	} else if (strcmp(key, "offset") == 0) {
		o->sparse_offset = number;
	} else if (strcmp(key, "numbytes") == 0) {
		r = add_part(t, o->sparse_offset, number, err);
	}
	return r; /* numblocks says nothing that the parts do not */
}

static int sparse_fields(struct tar_reader *t, const unsigned char *p, size_t count,
			 struct error *err)
{
	for (size_t i = 0; i < count; i++, p += 24) {
		int64_t offset, len;
		int r;

		if (!p[0])
			break;
		r = tar_number(p, 12, false, &offset, err);
		if (r == 0)
			r = tar_number(p + 12, 12, false, &len, err);
		if (r == 0)
			r = add_part(t, (uint64_t)offset, (uint64_t)len, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Type 'S': four parts in the header, 21 in each further block. */
static int old_gnu_sparse(struct tar_reader *t, const struct tar_block *h, struct error *err)
{
	struct tar_block more;
	int64_t real_size;
	bool extended = h->raw[482];
	int r = tar_number(h->raw + 483, 12, false, &real_size, err);

	if (r == 0)
		r = sparse_fields(t, h->raw + 386, 4, err);
	while (r == 0 && extended) {
		r = tar_take(t, more.raw, sizeof(more.raw), NULL, err);
		if (r == 0)
			r = sparse_fields(t, more.raw, 21, err);
		extended = more.raw[504];
	}
	t->over.has_real_size = true;
	t->over.real_size_bytes = (uint64_t)real_size;
	return r;
}

/* One decimal line of a GNU 1.0 sparse map, which stands before the data. */
static int sparse_line(struct tar_reader *t, uint64_t *ret, uint64_t *stored, struct error *err)
{
	char text[24];
	size_t len = 0;

	for (;;) {
		char c;
		int r;

		if (*stored == 0 || len + 1 == sizeof(text))
			return tar_malformed(err, "a sparse map");
		r = tar_take(t, &c, 1, NULL, err);
		if (r < 0)
			return r;
		(*stored)--;
		if (c == '\n')
			break;
		text[len++] = c;
	}
	text[len] = '\0';
	return tar_pax_number("sparse map", text, ret, err);
}

static int gnu_sparse_1_0(struct tar_reader *t, uint64_t *stored, struct error *err)
{
	uint64_t count = 0, offset = 0, len = 0, before = *stored, padding;
	int r = sparse_line(t, &count, stored, err);

	if (r == 0 && count > TAR_MAX_SPARSE_PARTS)
		return error_set(err, ERROR_LIMIT, "a sparse file of more than %d parts",
				 TAR_MAX_SPARSE_PARTS);
	while (r == 0 && count--) {
		r = sparse_line(t, &offset, stored, err);
		if (r == 0)
			r = sparse_line(t, &len, stored, err);
		if (r == 0)
			r = add_part(t, offset, len, err);
	}
	if (r < 0)
		return r;
	padding = tar_padding(before - *stored);
	if (padding > *stored)
		return tar_malformed(err, "a sparse map");
	*stored -= padding;
	return tar_take(t, NULL, padding, NULL, err);
}

/* The parts are in order, do not overlap, end inside the file and add up to what is stored. */
static int check_parts(const struct tar_reader *t, uint64_t stored, struct error *err)
{
	uint64_t end = 0, sum = 0;

	for (size_t i = 0; i < t->part_count; i++) {
		const struct tar_part *p = &t->parts[i];

		if (p->offset < end || p->len > INT64_MAX - p->offset ||
		    p->offset + p->len > t->over.real_size_bytes)
			return tar_malformed(err, "a sparse map");
		end = p->offset + p->len;
		sum += p->len;
	}
	return sum == stored ? 0 : tar_malformed(err, "a sparse map that does not fit its data");
}

int tar_set_sparse(struct tar_reader *t, const struct tar_block *h, uint64_t *stored,
		   struct error *err)
{
	struct tar_overrides *o = &t->over;
	int r = 0;

	if (h->raw[156] == 'S')
		r = old_gnu_sparse(t, h, err);
	else if (o->sparse_major == 1 && o->sparse_minor == 0)
		r = gnu_sparse_1_0(t, stored, err);
	else if (o->sparse_major > 0)
		r = error_set(err, ERROR_UNSUPPORTED, "sparse files of GNU tar's format %u.%u",
			      o->sparse_major, o->sparse_minor);
	if (r == 0 && !o->has_real_size)
		r = tar_malformed(err, "a sparse file without its size");
	if (r == 0)
		r = check_parts(t, *stored, err);
	if (r < 0)
		return r;
	if (!t->parts) /* all hole */
		return add_part(t, 0, 0, err);
	return 0;
}
