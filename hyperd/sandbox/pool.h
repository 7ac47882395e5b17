#pragma once
/*
 * Ready clones: machines that have been started from a template that was used recently, and wait
 * for their pod. Taking one costs no start at all. Kept per template, `warm` of them, within a
 * bound on their number.
 */
#include "hyperd/sandbox/factory.h"

/* Gives S a ready clone of T: 1, or 0 when there is none. SHAPE is what T was got for. */
int pool_take(struct sandbox *s, struct template *t, const struct shape *shape);
/* T was used: from now on, ready clones of it are kept. Works in the background. */
void pool_refill(struct sandbox_factory *factory, struct template *t, const struct shape *shape);
json_t *pool_info(const struct pool *pool);
