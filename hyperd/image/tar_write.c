#include "hyperd/image/tar.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

static void put_number(unsigned char *field, size_t len, uint64_t value)
{
	char text[32];

	if (value < 1ull << (3 * (len - 1))) {
		snprintf(text, sizeof(text), "%0*llo", (int)(len - 1), (unsigned long long)value);
		memcpy(field, text, len);
		return;
	}
	for (size_t i = len; i-- > 1; value >>= 8)
		field[i] = (unsigned char)value;
	field[0] = 0x80;
}

int tar_header(unsigned char block[TAR_BLOCK_BYTES], const struct tar_entry *e, struct error *err)
{
	unsigned sum = 0;
	char text[8];

	if (strlen(e->path) > 100 || (e->link && strlen(e->link) > 100))
		return error_set(err, ERROR_LIMIT, "'%.200s': too long a name for a tar header",
				 e->path);
	memset(block, 0, TAR_BLOCK_BYTES);
	memcpy(block, e->path, strlen(e->path));
	put_number(block + 100, 8, e->mode);
	put_number(block + 108, 8, e->uid);
	put_number(block + 116, 8, e->gid);
	put_number(block + 124, 12, e->type == TAR_FILE ? e->size_bytes : 0);
	put_number(block + 136, 12, e->mtime_s > 0 ? (uint64_t)e->mtime_s : 0);
	memset(block + 148, ' ', 8);
	block[156] = (unsigned char)e->type;
	if (e->link)
		memcpy(block + 157, e->link, strlen(e->link));
	memcpy(block + 257, "ustar\00000", 8);
	put_number(block + 329, 8, e->major);
	put_number(block + 337, 8, e->minor);
	for (size_t i = 0; i < TAR_BLOCK_BYTES; i++)
		sum += block[i];
	snprintf(text, sizeof(text), "%06o", sum & 0777777);
	memcpy(block + 148, text, 7);
	return 0;
}

size_t tar_padding(uint64_t size_bytes)
{
	return (size_t)(-size_bytes & (TAR_BLOCK_BYTES - 1));
}

/* "LENGTH KEY=VALUE\n", the length counting itself. */
static void add_record(struct str *to, const char *key, const char *value, size_t len)
{
	size_t rest = strlen(key) + len + 3, digits = 1, total;

	for (;;) {
		size_t n = (size_t)snprintf(NULL, 0, "%zu", rest + digits);

		if (n == digits)
			break;
		digits = n;
	}
	total = rest + digits;
	str_addf(to, "%zu %s=", total, key);
	str_append(to, value, len);
	str_addc(to, '\n');
}

static int write_pax(tar_sink_fn *write, void *arg, const struct str *records, struct error *err)
{
	const struct tar_entry entry = {
		.type = TAR_FILE,
		.path = "PaxHeaders.0/x",
		.mode = 0644,
		.size_bytes = records->len,
	};
	unsigned char block[TAR_BLOCK_BYTES];
	unsigned sum = 0;
	char text[8];
	int r = tar_header(block, &entry, err);

	if (r < 0)
		return r;
	/* The type is no entry's. */
	block[156] = 'x';
	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK_BYTES; i++)
		sum += block[i];
	snprintf(text, sizeof(text), "%06o", sum & 0777777);
	memcpy(block + 148, text, 7);
	r = write(arg, block, sizeof(block), err);
	if (r == 0)
		r = write(arg, records->data, records->len, err);
	return r < 0 ? r : tar_write_padding(write, arg, records->len, err);
}

int tar_write_entry(tar_sink_fn *write, void *arg, const struct tar_entry *entry, struct error *err)
{
	static const char xattr_prefix[] = "SCHILY.xattr.";
	autostr struct str records = STR_INIT;
	unsigned char block[TAR_BLOCK_BYTES];
	struct tar_entry e = *entry;
	char path[101], link[101];
	int r = 0;

	if (strlen(e.path) > 100) {
		add_record(&records, "path", e.path, strlen(e.path));
		snprintf(path, sizeof(path), "%.100s", e.path);
		e.path = path;
	}
	if (e.link && strlen(e.link) > 100) {
		add_record(&records, "linkpath", e.link, strlen(e.link));
		snprintf(link, sizeof(link), "%.100s", e.link);
		e.link = link;
	}
	for (size_t i = 0; i < e.xattr_count; i++) {
		autofree char *key = strf("%s%s", xattr_prefix, e.xattrs[i].name);

		if (!key)
			return error_nomem(err);
		add_record(&records, key, e.xattrs[i].value, e.xattrs[i].len);
	}
	if (records.failed)
		return error_nomem(err);
	if (records.len)
		r = write_pax(write, arg, &records, err);
	if (r == 0)
		r = tar_header(block, &e, err);
	return r < 0 ? r : write(arg, block, sizeof(block), err);
}

static const unsigned char zeros[2 * TAR_BLOCK_BYTES];

int tar_write_padding(tar_sink_fn *write, void *arg, uint64_t size_bytes, struct error *err)
{
	size_t len = tar_padding(size_bytes);

	return len ? write(arg, zeros, len, err) : 0;
}

int tar_write_end(tar_sink_fn *write, void *arg, struct error *err)
{
	return write(arg, zeros, sizeof(zeros), err);
}
