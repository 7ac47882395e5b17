#pragma once
/* Networks' records. Inside of hyperd/network. */
#include "hyperd/network/internal.h"

#define NETWORK_RECORD_VERSION 1

/* Registered, with an id of its own, and not saved. *ret is borrowed. */
int network_new(struct networks *networks, const char *name, const char *driver,
		struct network **ret, struct error *err);
int network_save(struct network *network, struct error *err);
int network_from_record(struct networks *networks, const json_t *record, struct error *err);
/* Reads NETWORK's options into its members; ERROR_INVALID names a wrong one. */
int network_read_options(struct network *network, struct error *err);
int network_family_set(struct network *network, const char *subnet, const char *range,
		       const char *gateway, json_t *auxiliary, struct error *err);
