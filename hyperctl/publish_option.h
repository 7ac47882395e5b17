#pragma once
/* `-p [ip:][host:]port[/protocol]` as Docker's PortBindings and ExposedPorts. */
#include <jansson.h>

#include "base/error.h"
#include "hyperctl/options.h"

/* New objects, owned by the caller. */
int publish_options(const struct option_list *list, json_t **ret_bindings, json_t **ret_exposed,
		    struct error *err);
/* One of them: adds what TEXT says. */
int publish_add(const char *text, json_t *bindings, json_t *exposed, struct error *err);
