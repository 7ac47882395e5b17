/* COPY, ADD and WORKDIR: steps that write a layer without running anything. */
#include "hyperd/build/build_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "hyperd/image/unpack.h"
#include "hyperd/pod/names.h"

struct copy_job {
	struct tree *source;   /* borrowed */
	struct tree *target;   /* owned */
	char *const *patterns; /* borrowed */
	struct copy_plan plan; /* owned */
	struct copy_options options;
	enum copy_archive *archives; /* owned: which sources are to be unpacked */
	int fd;                      /* of the layer's archive */
	struct error *err;
};

static int plan_job(void *arg)
{
	struct copy_job *job = arg;

	return copy_plan_make(job->source, job->patterns, &job->plan, job->err);
}

static int find_archives_job(void *arg)
{
	struct copy_job *job = arg;

	for (size_t i = 0; i < job->plan.count; i++)
		job->archives[i] = copy_source_archive(&job->plan.sources[i]);
	return 0;
}

static int write_job(void *arg)
{
	struct copy_job *job = arg;
	struct layer_tar tar;
	int r = layer_tar_init(&tar, job->target, job->fd, LAYER_MAX_BYTES_DEFAULT, job->err);

	if (r == 0)
		r = copy_write(&job->plan, &job->options, &tar, job->err);
	if (r == 0)
		r = layer_tar_finish(&tar, job->err);
	layer_tar_done(&tar);
	return r;
}

/* Replaces *FD by what was packed in it; *ret_tar: whether that is a tar, or a file like others. */
static int unpack_other(struct build *b, enum copy_archive kind, int *fd, bool *ret_tar,
			struct error *err)
{
	autoclose int out = -1;
	struct error why = { 0 };
	char name[32];
	int r;

	build_file_name(b, name);
	out = openat(b->work->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return error_errno(err, errno, "unpacking");
	unlinkat(b->work->fd, name, 0);
	r = build_decompress(kind == COPY_XZ ? "xz" : "bzip2", *fd, out, &why);
	if (r < 0 && why.kind != ERROR_INVALID) {
		error_copy(err, &why);
		return r;
	}
	if (lseek(out, 0, SEEK_SET) < 0)
		return error_errno(err, errno, "unpacking");
	*ret_tar = copy_is_tar(out);
	/* A broken file is one to be copied; a broken archive is an error. */
	if (r < 0 && *ret_tar) {
		error_copy(err, &why);
		return r;
	}
	close(*fd);
	*fd = steal_fd(&out);
	return 0;
}

/* Like a layer: by a child that can do nothing but make files in one directory. */
static int unpack(struct build *b, struct copy_source *source, enum copy_archive kind,
		  struct error *err)
{
	struct layer_limits limits = { BUILD_MAX_CONTEXT_BYTES, LAYER_MAX_ENTRIES };
	struct unpack_result result;
	autoclose int archive = -1, dir = -1;
	bool tar = true;
	char name[32];
	int r = 0;

	build_file_name(b, name);
	archive = tree_open(source->tree, source->node);
	if (archive < 0)
		return error_errno(err, -archive, "'%.200s'", source->name);
	if (kind != COPY_TAR)
		r = unpack_other(b, kind, &archive, &tar, err);
	if (r < 0)
		return error_prefix(err, r, "'%.200s'", source->name);
	if (!tar)
		return 0;
	dir = file_open_dir(b->work->fd, name, 0755, err);
	if (dir < 0)
		return dir;
	r = layer_unpack(b->jobs, archive, dir, &limits, &result, err);
	if (r < 0)
		return error_prefix(err, r, "'%.200s'", source->name);
	return tree_of_directory(dir, &source->archive, err);
}

static int unpack_all(struct build *b, struct copy_job *job, struct error *err)
{
	int r;

	job->archives = calloc(job->plan.count, sizeof(*job->archives));
	if (!job->archives)
		return error_nomem(err);
	r = job_run(b->jobs, find_archives_job, job);
	for (size_t i = 0; r == 0 && i < job->plan.count; i++)
		if (job->archives[i])
			r = unpack(b, &job->plan.sources[i], job->archives[i], err);
	return r;
}

/* Relative ones are in the working directory; a slash at the end is kept, for it means something.
 */
static char *absolute(const json_t *config, const char *path)
{
	const char *dir = json_string_value(json_object_get(config, "WorkingDir"));

	if (*path == '/')
		return strdup(path);
	if (strcmp(path, ".") == 0)
		path = "";
	return strf("%s/%s%s", dir && *dir ? dir : "", path,
		    !*path || str_ends(path, "/.") ? "/" : "");
}

/* *ret_commit is false when an earlier build has done the same. */
static int find_in_cache(struct build *b, const struct instruction *in, const struct copy_job *job,
			 const char *destination, json_t **ret_config, char **ret_created_by,
			 bool *ret_found, struct error *err)
{
	autofree char *comment = NULL;

	comment = strf("%s %s%s%s in %s ", instruction_name(in->kind),
		       job->options.chown ? "--chown=" : "",
		       job->options.chown ? job->options.chown : "", job->plan.hash, destination);
	*ret_config =
		comment ? run_config_with_comment(b->config, comment, true, ret_created_by) : NULL;
	if (!*ret_config)
		return error_nomem(err);
	*ret_found = build_probe_cache(b, *ret_config);
	return 0;
}

static int write_layer(struct build *b, struct copy_job *job, char name[32], struct error *err)
{
	autoclose int fd = -1;
	int r;

	build_file_name(b, name);
	fd = openat(b->work->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, errno, "making the layer");
	job->fd = fd;
	r = tree_of_image(b->image, &job->target, err);
	return r < 0 ? r : job_run(b->jobs, write_job, job);
}

static int copy_from(struct build *b, const struct instruction *in, struct copy_job *job,
		     const char *destination, struct error *err)
{
	autofree char *created_by = NULL, *where = absolute(b->config, destination);
	autojson json_t *container_config = NULL;
	struct build_result result = { 0 };
	char file[32];
	bool found = false;
	int r;

	if (!where)
		return error_nomem(err);
	job->options.destination = where;
	r = job_run(b->jobs, plan_job, job);
	if (r < 0)
		return error_prefix(err, r, "%s failed%s", instruction_name(in->kind),
				    err->kind == ERROR_NOT_FOUND && job->source == b->context
					    ? ": file not found in build context or excluded by "
					      ".dockerignore"
					    : "");
	if (job->plan.count > 1 && !str_ends(destination, "/"))
		return error_set(err, ERROR_INVALID,
				 "When using %s with more than one source file, the destination "
				 "must be a directory and end with a /",
				 instruction_name(in->kind));
	r = find_in_cache(b, in, job, destination, &container_config, &created_by, &found, err);
	if (r < 0 || found)
		return r;
	if (in->kind == INSTRUCTION_ADD)
		r = unpack_all(b, job, err);
	if (r == 0)
		r = write_layer(b, job, file, err);
	if (r < 0)
		return r;
	result.container_config = container_config;
	result.created_by = created_by;
	result.file = file;
	return build_commit(b, &result, err);
}

static int check_urls(const struct instruction *in, char *const *words, size_t count,
		      struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		if (!str_starts(words[i], "http://") && !str_starts(words[i], "https://"))
			continue;
		if (in->kind == INSTRUCTION_COPY)
			return error_set(err, ERROR_INVALID,
					 "COPY failed: source can't be a URL for COPY");
		return error_set(err, ERROR_UNSUPPORTED,
				 "ADD failed: %.200s: files from the network are not supported; "
				 "get it with RUN, or put it into the context",
				 words[i]);
	}
	return 0;
}

/* Names that climb out of the context are told from those that are not in it. */
static int check_inside(const struct instruction *in, char *const *words, struct error *err)
{
	strv_for_each(word, words) {
		autostrv char **parts = strv_split(*word, '/');
		int depth = 0;

		strv_for_each(part, parts) {
			if (strcmp(*part, "..") == 0)
				depth--;
			else if (**part && strcmp(*part, ".") != 0)
				depth++;
			if (depth < 0)
				return error_set(err, ERROR_INVALID,
						 "%s failed: forbidden path outside the build "
						 "context: %.200s ()",
						 instruction_name(in->kind), *word);
		}
	}
	return 0;
}

int build_copy(struct build *b, const struct instruction *in, char *const *words, const char *chown,
	       struct error *err)
{
	const char *from = instruction_flag(in, "from");
	autoptr(tree_free) struct tree *image_tree = NULL;
	autoptr(image_unref) struct image *image = NULL;
	autostrv char **patterns = strv_copy(words);
	struct copy_job job = { .source = b->context, .err = err };
	size_t count = strv_len(words) - 1;
	int r;

	if (!patterns)
		return error_nomem(err);
	free(steal(patterns[count]));
	r = check_urls(in, patterns, count, err);
	if (r == 0 && !from)
		r = check_inside(in, patterns, err);
	if (r == 0 && from) {
		r = build_find_image(b, from, true, &image, err);
		if (r < 0)
			error_prefix(err, r, "invalid from flag value %.200s", from);
	}
	if (r == 0 && from)
		r = tree_of_image(image, &image_tree, err);
	if (r < 0)
		return r;
	if (from)
		job.source = image_tree;
	job.patterns = patterns;
	job.options.chown = chown && *chown ? chown : NULL;
	job.options.keep_owners = from && !job.options.chown;
	r = copy_from(b, in, &job, words[count], err);
	copy_plan_done(&job.plan);
	tree_free(job.target);
	free(job.archives);
	return r;
}

/* ------------------------------------------------------------------ WORKDIR */

struct workdir_job {
	struct tree *target;
	const char *path;
	int fd;
	bool made;
	struct error *err;
};

static int workdir_job(void *arg)
{
	static const struct layer_owner root = { 0, 0 };
	struct workdir_job *job = arg;
	enum layer_path_kind kind;
	char path[PATH_MAX];
	struct layer_tar tar;
	int r = layer_tar_init(&tar, job->target, job->fd, LAYER_MAX_BYTES_DEFAULT, job->err);

	if (r == 0)
		r = layer_tar_resolve(&tar, job->path, path, &kind, job->err);
	if (r == 0 && kind == LAYER_PATH_OTHER)
		r = error_set(job->err, ERROR_FAILED, "Cannot mkdir: %.200s is not a directory",
			      job->path);
	job->made = r == 0 && kind == LAYER_PATH_NONE;
	if (job->made)
		r = layer_tar_make_dirs(&tar, path, &root, job->err);
	if (r == 0)
		r = layer_tar_finish(&tar, job->err);
	layer_tar_done(&tar);
	return r;
}

int build_workdir(struct build *b, const char *path, struct error *err)
{
	autofree char *comment = strf("WORKDIR %s", path), *created_by = NULL;
	autoptr(tree_free) struct tree *target = NULL;
	autojson json_t *container_config = NULL;
	struct workdir_job job = { .path = path, .err = err };
	struct build_result result = { 0 };
	char file[32], id[ID_BYTES + 1];
	autoclose int fd = -1;
	int r;

	if (comment)
		container_config = run_config_with_comment(b->config, comment, true, &created_by);
	if (!container_config)
		return error_nomem(err);
	if (build_probe_cache(b, container_config))
		return 0;
	build_file_name(b, file);
	fd = openat(b->work->fd, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, errno, "making the layer");
	r = tree_of_image(b->image, &target, err);
	if (r == 0)
		r = id_make(id, err);
	job.target = target;
	job.fd = fd;
	if (r == 0)
		r = job_run(b->jobs, workdir_job, &job);
	if (r < 0)
		return r;
	if (strv_add(&b->imaginary, id) < 0)
		return error_nomem(err);
	build_say(b, " ---> Running in %.12s\n", id);
	result.container_config = container_config;
	result.created_by = created_by;
	result.container_id = id;
	result.file = job.made ? file : NULL;
	return build_commit(b, &result, err);
}
