#pragma once
/* Tells the host when the kernel's OOM killer strikes in a container. */
struct container;

/* Both may be called at any time; a kernel that cannot tell leaves it at the exit code. */
void oom_watch(struct container *container);
void oom_unwatch(struct container *container);
