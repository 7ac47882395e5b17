#include "hyperd/logdriver/log_state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"

#define STATE_MAGIC 0x31676f6c72657068ull /* "hperlog1" */
#define STATE_BYTES 4096

/* Two slots and a counter: the slot that is not current is filled, then one aligned store makes it
 * so. */
struct log_state {
	uint64_t magic;
	uint64_t current; /* its lowest bit names the slot */
	struct log_progress slots[2];
};

int log_state_open(int dir_fd, const char *name, struct log_state **ret, bool *ret_known,
		   struct error *err)
{
	static const char zeros[STATE_BYTES];
	autoclose int fd = -1;
	struct stat st;
	void *p;

	fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, errno, "opening '%s'", name);
	/* Written, not only extended: a full disk must show here, not as a fault later. */
	if (st.st_size < STATE_BYTES && pwrite(fd, zeros, STATE_BYTES, 0) != STATE_BYTES)
		return error_errno(err, errno ? errno : ENOSPC, "writing '%s'", name);
	p = mmap(NULL, STATE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return error_errno(err, errno, "mapping '%s'", name);
	*ret = p;
	*ret_known = (*ret)->magic == STATE_MAGIC;
	return 0;
}

void log_state_close(struct log_state *state)
{
	if (state)
		munmap(state, STATE_BYTES);
}

const struct log_progress *log_state_get(const struct log_state *state)
{
	return &state->slots[state->current & 1];
}

void log_state_save(struct log_state *state, const struct log_progress *progress)
{
	uint64_t next = state->current + 1;

	state->slots[next & 1] = *progress;
	__atomic_store_n(&state->current, next, __ATOMIC_RELEASE);
	__atomic_store_n(&state->magic, STATE_MAGIC, __ATOMIC_RELEASE);
}
