#pragma once
/*
 * Devices that a container asked for (--device). A namespace pod's kernel is the host's: it gets
 * the host's device under the name it wants. A VM has none of the host's devices; only what every
 * kernel has under the same number (null, zero, random…) is there too.
 */
#include "base/error.h"
#include "hyperd/pod/arena.h"
#include "wire/hyper.pb-c.h"

struct container;

/* Before a start: every device is there, is one, and can be given. */
int devices_check(const struct container *container, struct error *err);
/* Node and rule of each; what has vanished since the check is left out. */
void devices_add(struct arena *arena, Hyper__ContainerCreate *create,
		 const struct container *container);
