#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hyperd/image/tar.h"

struct input {
	const uint8_t *data;
	size_t left, piece;
};

static ssize_t read_input(void *arg, void *buf, size_t len, struct error *err)
{
	struct input *input = arg;

	if (len > input->left)
		len = input->left;
	if (len > input->piece)
		len = input->piece;
	memcpy(buf, input->data, len);
	input->data += len;
	input->left -= len;
	return (ssize_t)len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size, 700 };
	autoptr(tar_reader_free) struct tar_reader *reader = NULL;
	const struct tar_entry *e;
	struct error err = { 0 };
	uint64_t total = 0;

	if (tar_reader_new(read_input, &input, &reader, &err) < 0)
		return 0;
	while (tar_next(reader, &e, &err) == 0 && e) {
		const void *piece;
		uint64_t offset = 0, end = 0;
		size_t len;

		if (!e->path || !e->link)
			abort();
		while (tar_data(reader, &piece, &len, &offset, &err) == 0 && len) {
			if (offset < end || offset + len > e->size_bytes)
				abort();
			end = offset + len;
			total += len;
		}
	}
	if (total > size)
		abort();
	return 0;
}
