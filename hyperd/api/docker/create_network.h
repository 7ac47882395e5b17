#pragma once
/* The network members of Docker's create body. */
#include <jansson.h>

#include "base/error.h"

struct create_request;
struct spec_network;

int create_network_mode(struct create_request *create, const char *mode, struct error *err);
int create_port_bindings(struct create_request *create, json_t *bindings, struct error *err);
int create_mac_address(struct create_request *create, const char *mac, struct error *err);
/* NetworkingConfig, last: it is about what the others named. */
int create_networking(struct create_request *create, json_t *networking, struct error *err);
/* Docker's EndpointSettings as far as they ask for something. */
int endpoint_config_read(const json_t *config, struct spec_network *network, struct error *err);
