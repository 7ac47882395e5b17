#include "hyperstart/resume.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <sys/ioctl.h>
#include <linux/random.h>

#include "base/clock.h"
#include "hyperstart/agent.h"

#define ENTROPY_MIN 32
#define ENTROPY_MAX 512

/* Credits the host's bytes and reseeds at once: clones of one template share the pool's state. */
static int add_entropy(int fd, const ProtobufCBinaryData *entropy, struct error *err)
{
	union {
		struct rand_pool_info info;
		char bytes[sizeof(struct rand_pool_info) + ENTROPY_MAX];
	} pool;

	if (entropy->len < ENTROPY_MIN || entropy->len > ENTROPY_MAX)
		return error_set(err, ERROR_INVALID, "entropy: expected %d to %d bytes, not %zu",
				 ENTROPY_MIN, ENTROPY_MAX, entropy->len);
	pool.info.entropy_count = (int)entropy->len * 8;
	pool.info.buf_size = (int)entropy->len;
	memcpy(pool.info.buf, entropy->data, entropy->len);
	if (ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		return error_errno(err, errno, "reseeding the random generator");
	return 0;
}

static int set_clock(uint64_t realtime, struct error *err)
{
	struct timespec now = {
		.tv_sec = (time_t)(realtime / NSEC_PER_SEC),
		.tv_nsec = (long)(realtime % NSEC_PER_SEC),
	};

	if (clock_settime(CLOCK_REALTIME, &now) < 0)
		return error_errno(err, errno, "setting the clock");
	return 0;
}

int resume_handle(struct request *request, struct error *err)
{
	const Hyper__Resume *resume = request->body->resume;
	int r;

	/* The clock and the generator of a namespace pod are the host's own. */
	if (request->agent->namespace_pod)
		return 0;
	r = add_entropy(request->agent->random_fd, &resume->entropy, err);
	if (r == 0 && resume->realtime_ns)
		r = set_clock(resume->realtime_ns, err);
	return r;
}
