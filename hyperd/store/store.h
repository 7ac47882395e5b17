#pragma once
/*
 * Records: what hyperd remembers, one JSON file an object, `DATA-ROOT/KIND/ID.json`, written
 * atomically. Each record carries its format version in the member "v"; a newer one than this
 * program knows is refused, not guessed at. Loop thread only.
 */
#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

struct store;

/* Opens DATA_ROOT, making it (0700); holds a lock on it, so that two daemons never share one. */
int store_open(const char *data_root, struct store **ret, struct error *err);
void store_free(struct store *store);

/* The data root as a descriptor and as a path; borrowed. */
int store_dir_fd(const struct store *store);
const char *store_path(const struct store *store);

/* KIND and ID are names of [A-Za-z0-9_.-]; anything else is refused. RECORD is borrowed; "v" is set
 * by the store. */
int record_save(struct store *store, const char *kind, const char *id, int version, json_t *record,
		bool sync, struct error *err);
/* *ret belongs to the caller. ERROR_NOT_FOUND when there is none. */
int record_load(struct store *store, const char *kind, const char *id, int version, json_t **ret,
		struct error *err);
int record_delete(struct store *store, const char *kind, const char *id, struct error *err);

/*
 * Calls FN for each record of KIND. A damaged record does not stop the others: it is moved aside as
 * KIND/ID.json.damaged and told through DAMAGED (may be NULL).
 */
int record_each(struct store *store, const char *kind, int version,
		void (*fn)(const char *id, json_t *record, void *arg),
		void (*damaged)(const char *id, const struct error *why, void *arg), void *arg,
		struct error *err);
