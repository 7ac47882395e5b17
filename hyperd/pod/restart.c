#include "hyperd/pod/internal.h"

bool restart_wanted(const struct restart_policy *policy, int exit_code, bool manually_stopped,
		    bool canceled, bool daemon_started, unsigned restart_count)
{
	/* A stop or kill by hand ends the container under every policy, until the daemon starts. */
	if (canceled && !daemon_started)
		return false;
	switch (policy->kind) {
	case RESTART_NO:
		return false;
	case RESTART_ALWAYS:
		return true;
	case RESTART_UNLESS_STOPPED:
		return !manually_stopped;
	case RESTART_ON_FAILURE:
		return exit_code != 0 && !(daemon_started && manually_stopped) &&
		       (!policy->max_retries || restart_count < policy->max_retries);
	}
	return false;
}

uint64_t restart_backoff(uint64_t last_ns, uint64_t ran_ns)
{
	if (!last_ns || ran_ns >= RESTART_STEADY_NS)
		return RESTART_BACKOFF_FIRST_NS;
	return last_ns >= RESTART_BACKOFF_MAX_NS / 2 ? RESTART_BACKOFF_MAX_NS : last_ns * 2;
}
