#pragma once
/*
 * Blocking work beside the loop: a small pool of threads. job_run() is called by a task, runs
 * FN(ARG) on a worker and returns its result when it is done; meanwhile other tasks run. ARG must
 * not be shared with the loop's thread, and FN must not touch loop, tasks or domain objects. It is
 * not interrupted by task_cancel(): what ARG points to may live on the task's stack.
 */
#include "base/error.h"
#include "base/loop.h"

struct job_pool;
typedef int job_fn(void *arg);

int job_pool_new(struct loop *loop, unsigned threads, struct job_pool **ret, struct error *err);
/* Waits for running jobs; there must be no task left waiting for one. */
void job_pool_free(struct job_pool *pool);

int job_run(struct job_pool *pool, job_fn *fn, void *arg);
