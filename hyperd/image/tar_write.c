#include "hyperd/image/tar.h"

#include <stdio.h>
#include <string.h>

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
