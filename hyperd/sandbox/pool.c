#include "hyperd/sandbox/pool.h"

int pool_take(struct sandbox *s, struct template *t, const struct shape *shape)
{
	return 0;
}

void pool_refill(struct sandbox_factory *factory, struct template *t, const struct shape *shape)
{
}

int pool_new(struct sandbox_factory *factory, struct pool **ret, struct error *err)
{
	return 0;
}

void pool_free(struct pool *pool)
{
}
