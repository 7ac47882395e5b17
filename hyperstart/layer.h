#pragma once
/*
 * Image layers, read-only and shared by the pod's containers. Each is at LAYERS_DIR/NUMBER: an
 * EROFS file received over a stream into memory, an EROFS disk, or a link to a directory the host
 * prepared. Several layers may be under way at once; a request that is carried out after LayerAdd
 * finds the layer complete.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct agent;
struct layer;
struct request;

int layer_add_arrive(struct request *request, struct error *err);
int layer_add_handle(struct request *request, struct error *err);
int layer_remove_handle(struct request *request, struct error *err);

/* A complete layer, or NULL. */
struct layer *layer_find(struct agent *agent, const char *digest);
unsigned layer_number(const struct layer *layer);
const char *layer_digest(const struct layer *layer);
void layer_use(struct layer *layer);
void layer_unuse(struct layer *layer);

/* The host that was sending has gone. */
void layer_abandon_unfinished(struct agent *agent);
void layer_free_all(struct agent *agent);

/* Digests of the complete layers, borrowed strings in an array owned by the caller. */
int layer_list(struct agent *agent, char ***ret, size_t *ret_count);
uint64_t layer_bytes(struct agent *agent);
