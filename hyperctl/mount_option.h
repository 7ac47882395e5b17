#pragma once
/* --mount type=bind,src=/a,dst=/b,readonly: one line of comma-separated words, as Docker's API
 * wants it. */
#include "base/error.h"
#include "base/json.h"
#include "hyperctl/options.h"

/* *ret: an array for HostConfig.Mounts, the caller's. */
int mounts_of(const struct option_list *list, json_t **ret, struct error *err);
/* --volume: those with a colon are HostConfig.Binds, others are paths of anonymous volumes
 * (Config.Volumes). Relative sources ("./data") become absolute. */
int volumes_of(const struct option_list *list, json_t **ret_binds, json_t **ret_paths,
	       struct error *err);
