#pragma once
/* --filter KEY=VALUE, as the API takes it: {"KEY": {"VALUE": true}}. */
#include "hyperctl/client.h"
#include "hyperctl/options.h"

/* Adds "filters=…" to QUERY when there are any. */
int filters_add(struct str *query, const struct option_list *filters, struct error *err);
