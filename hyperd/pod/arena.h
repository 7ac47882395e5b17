#pragma once
/* Memory for the many small pieces of a request that live and go together. */
#include <stddef.h>

#include "base/list.h"

struct arena {
	struct list blocks;
};

void arena_init(struct arena *arena);
void arena_done(struct arena *arena);
static inline void cleanup_arena(struct arena *arena)
{
	arena_done(arena);
}
#define autoarena __attribute__((cleanup(cleanup_arena)))

/* Zeroed; never NULL: memory that runs out ends the program, as for every request this size. */
void *arena_alloc(struct arena *arena, size_t len);
char *arena_text(struct arena *arena, const char *text); /* NULL gives "" */
void *arena_copy(struct arena *arena, const void *data, size_t len);
/* A copy of the array's pointers, so that protobuf-c's non-const fields have one of their own. */
char **arena_strv(struct arena *arena, char *const *v);

/* A message of TYPE, initialised: arena_message(arena, Hyper__Limits, HYPER__LIMITS__INIT). */
#define arena_message(arena, type, init)                                \
	({                                                              \
		type message_ = init;                                   \
		(type *)arena_copy(arena, &message_, sizeof(message_)); \
	})
