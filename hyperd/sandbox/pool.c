#include "hyperd/sandbox/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "hyperd/sandbox/rehearsal.h"

/* Templates that ready clones are kept of; the one that rested longest makes room. */
#define MAX_KINDS 4
/* Clones in all, whatever was asked for. */
#define MAX_CLONES 64
/* A template whose clones keep dying is left alone. */
#define MAX_FAILURES 3

#define TAKE_DEADLINE_MS      5000
#define REHEARSAL_DEADLINE_MS 10000

#define REST_NS     (300 * NSEC_PER_MSEC)
#define REST_MAX_NS (1000 * NSEC_PER_MSEC)

struct pool {
	struct sandbox_factory *factory; /* borrowed */
	struct list kinds;               /* of kind.node, last used first */
	struct list dead;                /* of clone.node: to be ended by the filler */
	struct task *filler;             /* reference to the last one; NULL before the first */
	unsigned clones;
	/* When clones were asked for: the last time, and the first since the pool was full. */
	uint64_t taken_ns, taken_first_ns;
	bool filling, closing;
};

struct kind {
	struct list node;
	struct template *template; /* reference */
	struct shape shape;        /* its strings and layers are owned copies */
	struct list ready;         /* of clone.node */
	unsigned count, failures;
};

struct clone {
	struct list node;
	struct pool *pool; /* borrowed */
	struct kind *kind; /* borrowed; NULL once dead */
	struct machine machine;
	char *disk_path; /* owned */
	struct rehearsal rehearsal;
};

/* ------------------------------------------------------------------ copies of shapes */

static void shape_done(struct shape *shape)
{
	for (size_t i = 0; i < shape->on_disk_count; i++) {
		free((char *)shape->on_disk[i].diff_id);
		free((char *)shape->on_disk[i].erofs_path);
	}
	free((struct sandbox_layer *)shape->on_disk);
	free((char *)shape->machine);
	free((char *)shape->accel);
}

/* What is streamed is in the template's memory already. */
static int shape_copy(const struct shape *from, struct shape *to)
{
	struct sandbox_layer *layers =
		calloc(from->on_disk_count ? from->on_disk_count : 1, sizeof(*layers));

	*to = *from;
	to->prepare = NULL; /* the template has it */
	to->streamed = NULL;
	to->streamed_count = 0;
	to->on_disk = layers;
	to->on_disk_count = 0;
	to->machine = strdup(from->machine);
	to->accel = strdup(from->accel);
	if (!layers || !to->machine || !to->accel)
		return -ENOMEM;
	for (size_t i = 0; i < from->on_disk_count; i++) {
		layers[i].diff_id = strdup(from->on_disk[i].diff_id);
		layers[i].erofs_path = strdup(from->on_disk[i].erofs_path);
		layers[i].erofs_bytes = from->on_disk[i].erofs_bytes;
		to->on_disk_count++;
		if (!layers[i].diff_id || !layers[i].erofs_path)
			return -ENOMEM;
	}
	return 0;
}

/* ------------------------------------------------------------------ clones */

static void kick(struct pool *pool);

static void clone_free(struct clone *clone)
{
	if (clone->machine.place)
		machine_end(&clone->machine);
	if (clone->disk_path)
		unlink(clone->disk_path);
	free(clone->disk_path);
	free(clone);
}

/* From ready to dead; its end takes a task. */
static void clone_bury(struct clone *clone)
{
	struct pool *pool = clone->pool;

	if (!clone->kind)
		return;
	list_remove(&clone->node);
	list_append(&pool->dead, &clone->node);
	clone->kind->count--;
	clone->kind = NULL;
	kick(pool);
}

static void clone_exited(struct vm *vm, const struct error *why, void *owner)
{
	struct clone *clone = owner;

	if (clone->kind) {
		trace(sandbox, "a ready clone has ended: %s", why->message);
		clone->kind->failures++;
	}
	if (clone->machine.vm)
		clone_bury(clone);
}

static void clone_lost(struct agent *agent, const struct error *why, void *owner)
{
	struct clone *clone = owner;

	if (clone->machine.vm)
		clone_bury(clone);
}

static const struct vm_events clone_vm_events = { .exited = clone_exited };
static void clone_event(struct agent *agent, const Hyper__Event *event, void *owner)
{
	struct clone *clone = owner;

	rehearsal_event(&clone->rehearsal, event);
}

static const struct agent_events clone_agent_events = { .event = clone_event, .lost = clone_lost };

static int clone_start(struct clone *clone, struct template *t, const struct shape *shape,
		       struct error *err)
{
	struct sandbox_factory *factory = clone->pool->factory;
	autofree char *template_disk = template_disk_path(t);
	autofree char *name = strf("warm-%u", ++factory->counter);
	autoclose int disk = -1, state = -1;
	struct machine_options options = { .shape = shape,
					   .name = name,
					   .memory_fd = t->memory_fd,
					   .vm_events = &clone_vm_events,
					   .agent_events = &clone_agent_events,
					   .owner = clone,
					   .deadline_ms = CLONE_DEADLINE_MS };
	struct machine machine = { 0 };
	int r;

	clone->disk_path = name ? strf("%s/warm/%s.img", factory->data_root, name) : NULL;
	if (!template_disk || !clone->disk_path)
		return error_nomem(err);
	r = disk_copy(factory, template_disk, clone->disk_path, &disk, err);
	if (r == 0)
		r = template_open_state(t, &state, err);
	if (r < 0)
		return r;
	options.disk_fd = disk;
	options.disk_path = clone->disk_path;
	options.state_fd = state;
	r = machine_start(factory, &options, &machine, err);
	clone->machine = machine;
	/* One that does not play is one that does not work. */
	return r < 0 ? r
		     : rehearse(machine.agent, &clone->rehearsal,
				deadline_in_ms(REHEARSAL_DEADLINE_MS), err);
}

/* ------------------------------------------------------------------ kinds */

static void kind_drop(struct kind *kind)
{
	while (!list_empty(&kind->ready))
		clone_bury(container_of(kind->ready.next, struct clone, node));
	list_remove(&kind->node);
	template_unref(kind->template);
	shape_done(&kind->shape);
	free(kind);
}

static struct kind *kind_find(struct pool *pool, const struct template *t)
{
	struct kind *kind;

	list_for_each_entry(kind, &pool->kinds, node) {
		if (kind->template == t)
			return kind;
	}
	return NULL;
}

static void to_front(struct pool *pool, struct kind *kind)
{
	list_remove(&kind->node);
	/* Behind the head: the front. */
	list_append(pool->kinds.next, &kind->node);
}

static struct kind *kind_new(struct pool *pool, struct template *t, const struct shape *shape)
{
	struct kind *kind = calloc(1, sizeof(*kind));

	if (!kind)
		return NULL;
	if (shape_copy(shape, &kind->shape) < 0) {
		shape_done(&kind->shape);
		free(kind);
		return NULL;
	}
	list_init(&kind->node);
	list_init(&kind->ready);
	kind->template = t;
	t->refs++;
	return kind;
}

/* What is not to be kept: templates that are gone, that do not work, that rested longest. */
static void drop_some(struct pool *pool)
{
	struct kind *kind, *next;
	unsigned n = 0;

	list_for_each_entry_safe(kind, next, &pool->kinds, node) {
		if (kind->template->forgotten || kind->failures >= MAX_FAILURES || n++ >= MAX_KINDS)
			kind_drop(kind);
	}
}

/* ------------------------------------------------------------------ the filler */

static struct kind *next_to_fill(struct pool *pool)
{
	struct kind *kind;

	if (pool->clones >= MAX_CLONES)
		return NULL;
	list_for_each_entry(kind, &pool->kinds, node) {
		if (kind->count < pool->factory->warm)
			return kind;
	}
	return NULL;
}

/* Whatever happened to the kind while its clone was starting, the template was held. */
static void fill_one(struct pool *pool, struct kind *kind)
{
	struct template *t = kind->template;
	struct clone *clone = calloc(1, sizeof(*clone));
	struct shape shape;
	struct error err = { 0 };
	int r;

	if (!clone || shape_copy(&kind->shape, &shape) < 0) {
		free(clone);
		kind->failures = MAX_FAILURES;
		return;
	}
	clone->pool = pool;
	list_init(&clone->node);
	t->refs++;
	r = clone_start(clone, t, &shape, &err);
	kind = kind_find(pool, t);
	if (r == 0 && kind && !agent_is_lost(clone->machine.agent)) {
		clone->kind = kind;
		list_append(&kind->ready, &clone->node);
		kind->count++;
		pool->clones++;
	} else {
		if (r < 0)
			log_warn("a ready clone of template %s: %s", t->key, err.message);
		if (kind && r < 0)
			kind->failures++;
		clone_free(clone);
	}
	shape_done(&shape);
	template_unref(t);
}

/* The processors are for the pod that was just served; not for ever, when they keep coming. */
static int rest(const struct pool *pool)
{
	uint64_t until;

	for (;;) {
		until = pool->taken_ns + REST_NS;
		if (until > pool->taken_first_ns + REST_MAX_NS)
			until = pool->taken_first_ns + REST_MAX_NS;
		if (pool->closing || now_ns() >= until)
			return 0;
		if (task_sleep_until(until) == -ECANCELED)
			return -ECANCELED;
	}
}

static void fill(void *arg)
{
	struct pool *pool = arg;
	struct kind *kind;
	struct list *node;

	while (!task_canceled()) {
		if (rest(pool) < 0)
			break;
		drop_some(pool);
		node = list_pop(&pool->dead);
		if (node) {
			pool->clones--;
			clone_free(container_of(node, struct clone, node));
			continue;
		}
		kind = next_to_fill(pool);
		if (!kind || pool->closing)
			break;
		fill_one(pool, kind);
	}
	pool->filling = false;
}

static void kick(struct pool *pool)
{
	struct error err = { 0 };

	if (pool->filling || pool->closing)
		return;
	task_unref(steal(pool->filler));
	pool->filling = true;
	if (task_spawn(pool->factory->loop, "pool", fill, pool, &pool->filler, &err) < 0) {
		pool->filling = false;
		log_warn("filling the pool: %s", err.message);
	}
}

/* ------------------------------------------------------------------ the interface */

void pool_refill(struct sandbox_factory *factory, struct template *t, const struct shape *shape)
{
	struct pool *pool = factory->pool;
	struct kind *kind;

	/* A pod that has a disk already brings it along: its machine cannot be started ahead. */
	if (!factory->warm || pool->closing || !t->disk_mounted || t->forgotten)
		return;
	kind = kind_find(pool, t);
	if (!kind && !(kind = kind_new(pool, t, shape)))
		return;
	to_front(pool, kind);
	pool->taken_ns = now_ns();
	if (!pool->filling)
		pool->taken_first_ns = pool->taken_ns;
	kick(pool);
}

/* From now on it is the sandbox's. */
static int hand_over(struct sandbox *s, struct clone *clone)
{
	autofree char *disk = strf("%s/disk.img", s->storage);
	struct agent_ticket resume;
	struct error err = { 0 };
	int r = disk && rename(clone->disk_path, disk) == 0 ? 0 : -EXDEV;

	if (r == 0) {
		free(steal(clone->disk_path));
		r = machine_post_resume(clone->machine.agent, true, &resume, &err);
		if (r == 0)
			r = agent_wait(clone->machine.agent, &resume,
				       deadline_in_ms(TAKE_DEADLINE_MS), NULL, &err);
	}
	if (r < 0) {
		trace(sandbox, "a ready clone was of no use: %s", err.message);
		return r;
	}
	s->machine = clone->machine;
	s->machine.vm->events = &sandbox_vm_events;
	s->machine.vm->owner = s;
	agent_set_events(s->machine.agent, &sandbox_agent_events, s);
	free(clone);
	return 0;
}

int pool_take(struct sandbox *s, struct template *t, const struct shape *shape)
{
	struct pool *pool = s->factory->pool;
	struct kind *kind = s->factory->warm ? kind_find(pool, t) : NULL;
	struct clone *clone;

	if (!kind || list_empty(&kind->ready))
		return 0;
	clone = container_of(list_pop(&kind->ready), struct clone, node);
	clone->kind = NULL;
	kind->count--;
	pool->clones--;
	if (hand_over(s, clone) < 0) {
		clone_free(clone);
		return 0;
	}
	s->timing.from_pool = true;
	s->timing.spawned_ns = s->timing.connected_ns = s->timing.layers_ns = sandbox_since(s);
	return 1;
}

int pool_new(struct sandbox_factory *factory, struct pool **ret, struct error *err)
{
	autofree char *dir = strf("%s/warm", factory->data_root);
	struct pool *pool = calloc(1, sizeof(*pool));
	/* Disks of clones that an earlier daemon left. */
	int r = dir && pool ? file_remove_tree(AT_FDCWD, dir, err) : error_nomem(err);

	if (r == 0)
		r = file_make_dirs(AT_FDCWD, dir, 0700, err);
	if (r < 0) {
		free(pool);
		return r;
	}
	pool->factory = factory;
	list_init(&pool->kinds);
	list_init(&pool->dead);
	*ret = pool;
	return 0;
}

static void end_clone(void *arg)
{
	clone_free(arg);
}

/* All at a time: each spends most of its end waiting for the kernel. */
static void end_dead(struct pool *pool)
{
	autofree struct task **tasks = calloc(pool->clones + 1, sizeof(*tasks));
	size_t count = 0;
	struct list *node;

	while ((node = list_pop(&pool->dead))) {
		struct clone *clone = container_of(node, struct clone, node);

		if (tasks && count < pool->clones &&
		    task_spawn(pool->factory->loop, "pool-end", end_clone, clone, &tasks[count],
			       NULL) == 0)
			count++;
		else
			clone_free(clone);
	}
	for (size_t i = 0; i < count; i++) {
		task_join(tasks[i], DEADLINE_NEVER);
		task_unref(tasks[i]);
	}
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	pool->closing = true;
	if (pool->filler) {
		task_cancel(pool->filler);
		task_join(pool->filler, DEADLINE_NEVER);
		task_unref(pool->filler);
	}
	while (!list_empty(&pool->kinds))
		kind_drop(container_of(pool->kinds.next, struct kind, node));
	end_dead(pool);
	free(pool);
}

json_t *pool_info(const struct pool *pool)
{
	json_t *array = json_array();
	const struct kind *kind;

	list_for_each_entry(kind, &pool->kinds, node) {
		json_array_append_new(array,
				      json_pack("{s:s, s:i}", "template", kind->template->key,
						"ready", (int)kind->count));
	}
	return array;
}
