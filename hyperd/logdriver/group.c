/* The logs that still send in the background. */
#include <stdlib.h>

#include "hyperd/logdriver/driver.h"
#include "hyperd/logdriver/remote.h"

/* Canceled senders end at once. */
#define CANCEL_MS 1000

struct log_group {
	struct list senders; /* of remote_log.node */
	struct cond left;
};

int log_group_new(struct log_group **ret, struct error *err)
{
	struct log_group *group = calloc(1, sizeof(*group));

	if (!group)
		return error_nomem(err);
	list_init(&group->senders);
	cond_init(&group->left);
	*ret = group;
	return 0;
}

void log_group_joined(struct log_group *group, struct list *node)
{
	if (group)
		list_append(&group->senders, node);
}

void log_group_left(struct log_group *group)
{
	if (group)
		cond_broadcast(&group->left);
}

static void wait_empty(struct log_group *group, uint64_t deadline_ns)
{
	while (!list_empty(&group->senders))
		if (cond_wait(&group->left, deadline_ns) < 0)
			return;
}

void log_group_end(struct log_group *group, uint64_t deadline_ns)
{
	struct remote_log *r;

	if (!group)
		return;
	wait_empty(group, deadline_ns);
	list_for_each_entry(r, &group->senders, node)
		task_cancel(r->sender);
	wait_empty(group, deadline_in_ms(CANCEL_MS));
	free(group);
}
