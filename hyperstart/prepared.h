#pragma once
/*
 * Containers made ahead (ContainerCreate.prepare). A clone of a template begins with a cold
 * translator: each instruction that it runs for the first time costs more than a thousand that it
 * repeats. What stands when the template is saved costs its clones nothing, so a container is made
 * there as far as it can be without knowing whose it will be: its first process has its root, user,
 * privileges and filter, and waits for arguments. A later ContainerCreate with the same key takes
 * it.
 */
#include "base/error.h"
#include "hyperstart/proto.h"

struct agent;
struct container;

/* The directory of its files on the disk until it is named; no name of a host's begins so. */
#define PREPARED_ID ".prepared"
/* Where its resolv.conf, hosts and hostname are: in memory, where writing them is cheap. */
#define PREPARED_DIR CONTAINERS_DIR "/prepared"

/* One that waits with that key, or NULL. */
struct container *prepared_find(struct agent *agent, uint64_t key);
/* It becomes SPEC's container; takes SPEC when it succeeds. Else it is as it was, and another one
 * can be made. */
int prepared_take(struct container *container, Hyper__ContainerCreate *spec, struct error *err);
/*
 * Its files get its name on the disk: some time after the start, because a rename is dear in a
 * clone, and at the latest when something else is to happen to the disk.
 */
void prepared_settle(struct agent *agent);
/* Gives OWNER, of an earlier boot that ended too early for it, its files. */
int prepared_recover(struct agent *agent, const char *owner, struct error *err);
/* In its process: the program and its interpreter are read, so that they are in the template's
 * memory. */
void prepared_read_program(const Hyper__Process *process);

/* What its process is told at the start; and in the process, what it was told. */
int prepared_tell(const Hyper__Process *process, int *ret_fd, struct error *err);
int prepared_hear(int fd, Hyper__Process **ret, struct error *err);
