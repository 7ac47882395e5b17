#include "base/job.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/task.h"

struct job_pool {
	struct loop *loop; /* borrowed */
	struct loop_io io;
	int event_fd; /* owned: a worker has put something into done */
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	struct list queue, done; /* of struct job, which live on their tasks' stacks */
	bool closing;
	unsigned thread_count;
	pthread_t threads[];
};

struct job {
	struct list node;
	job_fn *fn;
	void *arg;
	int result;
	bool finished;
	struct cond finished_cond;
};

static void *worker(void *arg)
{
	struct job_pool *pool = arg;
	struct list *node;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct job *job;
		uint64_t one = 1;

		while (!(node = list_pop(&pool->queue)) && !pool->closing)
			pthread_cond_wait(&pool->wanted, &pool->lock);
		if (!node)
			break;
		job = container_of(node, struct job, node);
		pthread_mutex_unlock(&pool->lock);
		job->result = job->fn(job->arg);
		pthread_mutex_lock(&pool->lock);
		list_append(&pool->done, &job->node);
		fd_write_all(pool->event_fd, &one, sizeof(one));
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static void jobs_done(struct loop_io *io, uint32_t events)
{
	struct job_pool *pool = container_of(io, struct job_pool, io);
	struct list *node;
	uint64_t count;

	(void)events;
	(void)fd_read(pool->event_fd, &count, sizeof(count));
	pthread_mutex_lock(&pool->lock);
	while ((node = list_pop(&pool->done))) {
		struct job *job = container_of(node, struct job, node);

		job->finished = true;
		cond_broadcast(&job->finished_cond);
	}
	pthread_mutex_unlock(&pool->lock);
}

int job_pool_new(struct loop *loop, unsigned threads, struct job_pool **ret, struct error *err)
{
	struct job_pool *pool = calloc(1, sizeof(*pool) + threads * sizeof(pool->threads[0]));
	sigset_t all, old;
	int r = 0;

	if (!pool)
		return error_nomem(err);
	pool->loop = loop;
	list_init(&pool->queue);
	list_init(&pool->done);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wanted, NULL);
	pool->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->event_fd < 0)
		r = error_errno(err, errno, "creating the job pool");
	else
		r = loop_io_add(loop, &pool->io, pool->event_fd, EPOLLIN, jobs_done);

	/* Signals belong to the loop's thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (r == 0 && pool->thread_count < threads) {
		r = -pthread_create(&pool->threads[pool->thread_count], NULL, worker, pool);
		if (r == 0)
			pool->thread_count++;
		else
			error_errno(err, -r, "creating a worker thread");
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);

	if (r < 0) {
		job_pool_free(pool);
		return r;
	}
	*ret = pool;
	return 0;
}

void job_pool_free(struct job_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->closing = true;
	pthread_cond_broadcast(&pool->wanted);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->thread_count; i++)
		pthread_join(pool->threads[i], NULL);
	loop_io_remove(&pool->io);
	if (pool->event_fd >= 0)
		close(pool->event_fd);
	pthread_cond_destroy(&pool->wanted);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

int job_run(struct job_pool *pool, job_fn *fn, void *arg)
{
	struct job job = { .fn = fn, .arg = arg };
	bool old;

	cond_init(&job.finished_cond);
	pthread_mutex_lock(&pool->lock);
	list_append(&pool->queue, &job.node);
	pthread_cond_signal(&pool->wanted);
	pthread_mutex_unlock(&pool->lock);

	old = task_shield(true);
	while (!job.finished)
		cond_wait(&job.finished_cond, DEADLINE_NEVER);
	task_shield(old);
	return job.result;
}
