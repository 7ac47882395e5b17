#pragma once
/* Values of log options, with the texts that Docker refuses wrong ones with. Private to
 * hyperd/logdriver. */
#include "hyperd/logdriver/logdriver.h"

const char *log_option_get(const struct log_option *options, const char *key);
/* The same; NULL also for "". */
const char *log_option_filled(const struct log_option *options, const char *key);

/* Whether KEY is one of NAMES (NULL ends), or one that every driver takes. */
bool log_option_known(const char *const *names, const char *key);

/* Go's strconv.ParseBool, units.FromHumanSize (decimal) and units.RAMInBytes (binary),
 * time.ParseDuration, strconv.Atoi: 0 or -EINVAL. */
int log_parse_bool(const char *text, bool *ret, struct error *err);
int log_parse_size(const char *text, uint64_t *ret, struct error *err);
int log_parse_ram(const char *text, uint64_t *ret, struct error *err);
int log_parse_duration(const char *text, int64_t *ret_ns, struct error *err);
int log_parse_int(const char *text, long long *ret, struct error *err);

/* What `mode`, `max-buffer-size` and `cache-…` say, for every driver. */
int log_options_check_common(const struct log_option *options, struct error *err);
