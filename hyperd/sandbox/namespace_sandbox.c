#include "hyperd/sandbox/factory.h"
static int start(struct sandbox *s, const struct sandbox_config *config, struct error *err)
{
	return error_set(err, ERROR_UNSUPPORTED, "not yet");
}
static void end(struct sandbox *s)
{
	place_remove(steal(s->machine.place));
}
const struct sandbox_backend namespace_backend = { .isolation = ISOLATION_NAMESPACE,
						   .start = start,
						   .end = end };
