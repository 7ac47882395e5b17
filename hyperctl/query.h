#pragma once
/* What options say, as the API's queries take it. */
#include "hyperctl/client.h"
#include "hyperctl/options.h"

/* --filter KEY=VALUE, several: "filters={"KEY": {"VALUE": true}}". Nothing when there are none. */
int filters_add(struct str *query, const struct option_list *filters, struct error *err);
/* --since and --until (units.h, since_parse); KEY is the option's name too. TEXT NULL: nothing. */
int time_add(struct str *query, const char *key, const char *text, struct error *err);
