#pragma once
/* Inside of hyperd/network. */
#include "base/str.h"
#include "hyperd/network/network.h"

/* "hy", five letters of this daemon's own, one for the kind; then up to seven hexadecimal digits.
 */
#define TAG_BYTES 7

struct networks {
	struct loop *loop; /* these are borrowed */
	struct job_pool *jobs;
	struct store *store;
	char *run_root; /* owned */
	char tag[TAG_BYTES + 1], tap_prefix[TAG_BYTES + 2];
	enum network_backend backend;
	bool forced; /* the backend was asked for */
	char reason[256];
	struct list list;      /* of network.node, in order of creation */
	struct list published; /* of published.node */
	struct list services;  /* of service.node */
	unsigned counter;      /* makes interface names */
	/* Rules and names are applied as a whole: whoever comes while one goes on waits for the
	 * next. */
	struct task_mutex apply_mutex;
	struct task_mutex subnet_mutex; /* one subnet is chosen at a time */
	uint64_t changed, applied;
	bool rules_present;
	struct nft_ctx *nft; /* owned; used in one job at a time */
};

/* Something that rules and names are made of is not as it was. */
static inline void networks_changed(struct networks *networks)
{
	networks->changed++;
}

/* ------------------------------------------------------------------ network.c */

struct network *networks_find(struct networks *networks, const char *name); /* by name; borrowed */
int network_bring_up(struct network *network, struct error *err);           /* task */
/* A subnet for one that has no bridge to bring up. */
int network_need_subnet(struct network *network, struct error *err);
void network_take_down(struct network *network); /* task */
int random_id(char id[NETWORK_ID_BYTES + 1], struct error *err);
void interface_name(struct networks *networks, char kind, char out[LINK_NAME_BYTES]);

/* ------------------------------------------------------------------ subnet.c */

/* Free of the host's routes and the other networks' subnets. */
int subnet_choose(struct networks *networks, int family, const struct network *own,
		  struct subnet *ret, struct error *err);
int subnet_check_free(struct networks *networks, const struct subnet *subnet,
		      const struct network *own, struct error *err);

/* ------------------------------------------------------------------ rules.c */

/* The whole of our tables, to be applied as one transaction. REMOVE: only their removal. */
void rules_text(const struct networks *networks, bool remove, struct str *out);
int rules_apply(struct networks *networks, struct error *err); /* task */
int rules_remove(struct networks *networks, struct error *err);

/* ------------------------------------------------------------------ publish.c */

/* Task: until connections that were passed on, and whose port is withdrawn, have ended. */
void relays_wait(void);

/* ------------------------------------------------------------------ names.c */

/* Task: starts the network's name server where it should have one and has none. */
int names_start(struct network *network, struct error *err);
/* Task. */
void names_stop(struct network *network);
/* Writes what changed and tells the server. */
int names_update(struct network *network, struct error *err);
/* Ends the servers that an earlier daemon left. */
void names_sweep(struct networks *networks);
/* Whether the pods of this network ask the gateway for names. */
bool network_has_names(const struct network *network);
/* KEEP: the server goes on. */
void names_free(struct names *names, bool keep);
