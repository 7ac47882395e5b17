#include "hyperd/pod/arena.h"

#include <stdlib.h>
#include <string.h>

struct block {
	struct list node;
	max_align_t data[];
};

void arena_init(struct arena *arena)
{
	list_init(&arena->blocks);
}

void arena_done(struct arena *arena)
{
	struct list *node;

	while ((node = list_pop(&arena->blocks)))
		free(container_of(node, struct block, node));
}

void *arena_alloc(struct arena *arena, size_t len)
{
	struct block *block = calloc(1, sizeof(*block) + len + 1);

	if (!block)
		abort();
	list_append(&arena->blocks, &block->node);
	return block->data;
}

void *arena_copy(struct arena *arena, const void *data, size_t len)
{
	void *copy = arena_alloc(arena, len);

	if (len)
		memcpy(copy, data, len);
	return copy;
}

char *arena_text(struct arena *arena, const char *text)
{
	return arena_copy(arena, text ? text : "", text ? strlen(text) : 0);
}

char **arena_strv(struct arena *arena, char *const *v)
{
	size_t n = 0;

	while (v && v[n])
		n++;
	return arena_copy(arena, v, n * sizeof(*v));
}
