#pragma once
/*
 * What a name on the command line stands for. Verbs are shared: `stop web` stops the container web,
 * or, when there is no such container, the pod web. "pod/web" and "container/web" say which.
 */
#include "hyperctl/command.h"

enum object_kind { OBJECT_CONTAINER = 1, OBJECT_POD = 2, OBJECT_ANY = 3 };

struct object {
	enum object_kind kind;
	const char *id, *name; /* borrowed from inspect; the name without slash */
	char *path;            /* owned: "/containers/ID" or "/hyper/v1/pods/ID" */
	json_t *inspect;       /* owned */
};

/* Looks NAME up among KINDS, containers first. */
int object_find(const struct ctl *ctl, const char *name, enum object_kind kinds, struct object *ret,
		struct error *err);
void object_done(struct object *object);
#define autoobject __attribute__((cleanup(object_done)))

/*
 * Does "METHOD …/NAME/VERB?QUERY" to a container, or when there is none to a pod. VERB may be "".
 * "It is so already" is success. *ret (may be NULL) is the answer.
 */
int object_act(const struct ctl *ctl, const char *method, const char *name, const char *verb,
	       const char *query, json_t **ret, struct error *err);

/* A container: NAME itself, or the only container of the pod NAME. Errors name the choices. */
int object_find_container(const struct ctl *ctl, const char *name, struct object *ret,
			  struct error *err);
