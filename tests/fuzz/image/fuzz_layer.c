#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "hyperd/image/layer_writer.h"

/*
 * The layer writer in this process, without the confinement that it has in life: what it makes must
 * lie in its directory. Beside that lies a file that must never change, whichever way a name finds
 * to it.
 */
struct input {
	const uint8_t *data;
	size_t left;
};

static char base[] = "/tmp/hyper-fuzz-XXXXXX";
static int base_fd = -1;

static ssize_t read_input(void *arg, void *buf, size_t len, struct error *err)
{
	struct input *input = arg;

	if (len > input->left)
		len = input->left;
	memcpy(buf, input->data, len);
	input->data += len;
	input->left -= len;
	return (ssize_t)len;
}

static void clean_up(void)
{
	file_remove_tree(AT_FDCWD, base, NULL);
}

static void set_up(void)
{
	struct error err = { 0 };

	if (base_fd >= 0)
		return;
	if (!mkdtemp(base))
		abort();
	atexit(clean_up);
	base_fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (file_write_atomic(base_fd, "victim", "x", 1, 0600, false, &err) < 0)
		abort();
}

static void check_outside(void)
{
	struct stat st;

	if (fstatat(base_fd, "victim", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
	    st.st_size != 1 || st.st_nlink != 1 || (st.st_mode & 07777) != 0600)
		abort();
	/* "victim" and "layer", nothing else */
	if (fstat(base_fd, &st) < 0 || st.st_nlink > 3)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct layer_limits limits = { 1 << 20, 200 };
	struct input input = { data, size };
	struct tar_reader *reader = NULL;
	struct layer_writer *writer = NULL;
	const struct tar_entry *e;
	struct error err = { 0 };
	autoclose int dir = -1;
	int r = 0;

	set_up();
	dir = file_open_dir(base_fd, "layer", 0700, &err);
	if (dir < 0 || layer_writer_new(dir, &limits, &writer, &err) < 0 ||
	    tar_reader_new(read_input, &input, &reader, &err) < 0)
		abort();
	while (r == 0 && tar_next(reader, &e, &err) == 0 && e)
		r = layer_writer_add(writer, e, reader, &err);
	layer_writer_finish(writer, &err);
	if (layer_writer_bytes(writer) > limits.max_bytes)
		abort();
	tar_reader_free(reader);
	layer_writer_free(writer);
	check_outside();
	if (file_remove_tree(base_fd, "layer", &err) < 0)
		abort();
	return 0;
}
