#pragma once
/* The inside of a build, for hyperd/build alone. */
#include "hyperd/build/build.h"
#include "hyperd/build/build_args.h"
#include "hyperd/build/copy.h"
#include "hyperd/build/dockerfile.h"
#include "hyperd/build/run_config.h"
#include "hyperd/image/layer_store.h"

struct build_stage {
	const struct instruction *from; /* borrowed */
	char *name;                     /* owned, lower case; NULL: none */
	const struct instruction *first;
	size_t count;        /* of instructions after FROM */
	struct image *image; /* referenced: what it gave; NULL while unknown, or when empty */
	bool done;
};

struct build {
	struct engine *engine; /* these are borrowed */
	struct image_store *images;
	struct job_pool *jobs;
	const struct build_options *options;
	const struct build_events *events;
	void *arg;

	struct workdir *work; /* owned: the context and what is made on the way */
	struct tree *context; /* owned */
	struct dockerfile file;
	char *dockerfile_name;      /* owned: where it was found */
	struct instruction *labels; /* owned: made of the client's labels */
	size_t label_count;
	struct build_stage *stages; /* owned */
	size_t stage_count, stage;  /* the one at hand */
	struct build_args args;
	unsigned step, step_count;
	unsigned next_file; /* names in the work directory */

	/* The stage at hand. */
	struct image *image; /* referenced: of the last step; NULL: nothing yet */
	json_t *config;      /* owned */
	char *author;        /* owned, may be NULL */
	bool begun;          /* it has a FROM, be it of nothing */
	bool cmd_set;        /* by this stage */
	bool cache_missed;   /* once a step was not found, none of the later ones is looked for */
	struct container **containers; /* referenced: of the step at hand, to be removed */
	size_t container_count;
	char **imaginary; /* strv: ids of containers that needed not be made */
};

/* build.c. As printf, to the client. */
int build_say(struct build *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What words of an instruction are expanded with: strv of the caller's. */
int build_env(struct build *b, char ***ret, struct error *err);
/* A name for another file in the work directory. */
void build_file_name(struct build *b, char name[32]);

/* build_image.c */
/* The image NAME: of an earlier stage, else of the store, else pulled. *ret NULL: nothing in it. */
int build_find_image(struct build *b, const char *name, bool by_index, struct image **ret,
		     struct error *err);
/* Whether the step that CONTAINER_CONFIG describes was done before; then it is the stage's image.
 */
bool build_probe_cache(struct build *b, const json_t *container_config);
struct build_result {
	json_t *container_config; /* borrowed */
	const char *created_by, *container_id;
	const char *file; /* of the work directory: the layer's archive; NULL: none */
};
/* The stage's image is now what this step has made of it. */
int build_commit(struct build *b, const struct build_result *result, struct error *err);
/* A step that only changes the configuration: COMMENT is its line in the history. */
int build_commit_config(struct build *b, const char *comment, struct error *err);

/* build_step.c: one instruction of a stage. */
int build_step(struct build *b, const struct instruction *in, struct error *err);
/* build_copy.c */
int build_copy(struct build *b, const struct instruction *in, char *const *words, const char *chown,
	       struct error *err);
int build_workdir(struct build *b, const char *path, struct error *err);
/* build_decompress.c: what PROGRAM ("xz") makes of FROM is written to TO, by a confined child. */
int build_decompress(const char *program, int from, int to, struct error *err);
/* build_context.c: receives and unpacks it, and finds the Dockerfile in it. */
int build_read_context(struct build *b, int fd, struct error *err);
/* build_container.c */
int build_run_command(struct build *b, const struct instruction *in, struct error *err);
/* After a step: Docker's words and deeds about its containers. */
enum step_end { STEP_DONE, STEP_FAILED, STEP_CANCELED };
void build_remove_containers(struct build *b, enum step_end end);
