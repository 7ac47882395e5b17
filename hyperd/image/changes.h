#pragma once
/*
 * Dockerfile instructions as `import --change` and `commit --change` take them: CMD, ENTRYPOINT,
 * ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR. Source: Dockerfile
 * reference. Any thread.
 */
#include <jansson.h>

#include "base/error.h"

/* Applies CHANGES (strv) to CONFIG, the "config" object of an image's configuration. ERROR_INVALID
 * names the change. */
int image_changes_apply(json_t *config, char *const *changes, struct error *err);
