#pragma once
/*
 * The channel to the host: any byte stream, found by name in a table of kinds. It reads into the
 * mux and writes what the mux has. A channel outlives its connections: hosts come and go (hyperd
 * restarted, a template cloned) and the mux finds the new one by its preamble.
 */
#include "base/error.h"

struct agent;
struct channel;

/* Accepts hosts on a listening unix socket, one at a time: a newer one replaces the older. Takes
 * listen_fd, even on failure. */
int channel_listen(struct agent *agent, int listen_fd, struct error *err);

/*
 * Opens the channel that the kernel command line names: "hyper.channel=vport" (the virtio port
 * "hyper.agent"; the default) or "hyper.channel=tty:hvc1" (a console or serial line of that name).
 * Waits for the device to appear.
 */
int channel_open(struct agent *agent, const char *name, struct error *err);

/* Takes NULL. */
void channel_free(struct channel *channel);

/* The mux has something to write. */
void channel_output_ready(struct channel *channel);

/* Writes all the mux has and waits until it is out; for the last words before the power goes. */
void channel_flush(struct channel *channel);
