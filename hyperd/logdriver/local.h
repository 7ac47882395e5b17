#pragma once
/* The driver local, and the cache that lets `docker logs` read what a remote driver sent away: the
 * same format. Private to hyperd/logdriver. */
#include "hyperd/logdriver/driver.h"

/* Takes the options `cache-…` of CONFIG. */
int local_open_cache(const struct log_config *config, struct log **ret, struct error *err);
int local_check_cache(const struct log_option *options, struct error *err);
