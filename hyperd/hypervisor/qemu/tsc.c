#include "hyperd/hypervisor/qemu/tsc.h"

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <x86intrin.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "base/task.h"

#define FILE_NAME  "tsc.json"
#define FILE_MAX   4096
#define MEASURE_MS 100
/* A kept figure this close to a new one is as good. */
#define TOLERANCE_PPM 20

struct sample {
	uint64_t ns, tsc;
};

/* The pair whose two readings were closest together: nothing came between. */
static struct sample take_sample(void)
{
	struct sample best = { 0 };
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 20; i++) {
		uint64_t before = __rdtsc(), ns = clock_ns(CLOCK_MONOTONIC_RAW), after = __rdtsc();

		if (after - before < least) {
			least = after - before;
			best = (struct sample){ ns, before + (after - before) / 2 };
		}
	}
	return best;
}

int tsc_measure(const char *state_dir, unsigned *ret_khz, struct error *err)
{
	autofree char *path = strf("%s/" FILE_NAME, state_dir);
	autojson json_t *kept = NULL;
	struct sample a, b;
	int64_t khz, old, difference;

	if (!path)
		return error_nomem(err);
	a = take_sample();
	if (task_sleep_until(deadline_in_ms(MEASURE_MS)) < 0)
		return error_set(err, ERROR_CANCELED, "canceled while measuring the TSC");
	b = take_sample();
	if (b.ns <= a.ns || b.tsc <= a.tsc)
		return error_set(err, ERROR_UNSUPPORTED, "this host's TSC does not count");
	khz = (int64_t)((double)(b.tsc - a.tsc) * 1e6 / (double)(b.ns - a.ns) + 0.5);

	if (json_read(AT_FDCWD, path, FILE_MAX, &kept, NULL) == 0 &&
	    json_get_int(kept, "khz", &old, NULL) == 0 && old > 0) {
		difference = llabs(old - khz);
		if (difference * 1000000 <= khz * TOLERANCE_PPM) {
			*ret_khz = (unsigned)old;
			return 0;
		}
	}
	json_decref(kept);
	kept = json_pack("{s:I}", "khz", (json_int_t)khz);
	if (!kept)
		return error_nomem(err);
	*ret_khz = (unsigned)khz;
	return json_write(AT_FDCWD, path, kept, false, err);
}
