#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/str.h"
#include "hyperd/logdriver/json_file.h"

#define STATE_MAGIC 0x31676f6c72657068ull /* "hperlog1" */
#define STATE_BYTES 4096

/*
 * A page of the page cache: what is stored here survives the death of this process at once. Two
 * slots and a counter: the slot that is not current is filled, then one aligned store makes it so.
 */
struct json_state {
	uint64_t magic;
	uint64_t current; /* its lowest bit names the slot */
	struct json_slot {
		uint64_t inode; /* of the file that `size` is about */
		uint64_t size;
		uint64_t stored[LOG_STREAM_COUNT];
	} slots[2];
};

int json_state_open(struct json_log *j, bool *ret_known, struct error *err)
{
	autofree char *name = strf("%s.state", j->name);
	static const char zeros[STATE_BYTES];
	autoclose int fd = -1;
	struct stat st;
	void *p;

	if (!name)
		return error_nomem(err);
	fd = openat(j->dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, errno, "opening '%s'", name);
	/* Written, not only extended: a full disk must show here, not as a fault later. */
	if (st.st_size < STATE_BYTES && pwrite(fd, zeros, STATE_BYTES, 0) != STATE_BYTES)
		return error_errno(err, errno ? errno : ENOSPC, "writing '%s'", name);
	p = mmap(NULL, STATE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return error_errno(err, errno, "mapping '%s'", name);
	j->state = p;
	*ret_known = j->state->magic == STATE_MAGIC;
	return 0;
}

void json_state_close(struct json_log *j)
{
	if (j->state)
		munmap(j->state, STATE_BYTES);
	j->state = NULL;
}

int json_state_recover(struct json_log *j, struct error *err)
{
	const struct json_slot *slot = &j->state->slots[j->state->current & 1];

	/* Another inode: the crash came between a rotation and its first record. */
	if (slot->inode == j->inode && j->size > slot->size) {
		if (ftruncate(j->fd, (off_t)slot->size) < 0)
			return error_errno(err, errno, "truncating '%s'", j->path);
		j->size = slot->size;
	}
	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		j->streams[i].recorded = j->streams[i].stored = slot->stored[i];
	return 0;
}

void json_state_save(struct json_log *j)
{
	uint64_t next = j->state->current + 1;
	struct json_slot *slot = &j->state->slots[next & 1];

	slot->inode = j->inode;
	slot->size = j->size;
	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		slot->stored[i] = j->streams[i].stored;
	__atomic_store_n(&j->state->current, next, __ATOMIC_RELEASE);
	__atomic_store_n(&j->state->magic, STATE_MAGIC, __ATOMIC_RELEASE);
}
