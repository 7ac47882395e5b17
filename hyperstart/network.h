#pragma once
/* The pod's interfaces, through netlink. */
#include "hyperstart/agent.h"

/* eth0 of a machine, up and without addresses: so it waits in a template for its clones. */
int network_prepare(struct error *err);
int network_setup_handle(struct request *request, struct error *err);
