#include "hyperd/image/image_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/image/archive.h"
#include "hyperd/image/manifest.h"

/* One load: all its images are made ready first, then written down together. */
struct load {
	struct image_store *images;
	struct archive *archive;
	struct manifest_list list;
	const struct image_progress *progress;
	struct image **made; /* owned references, one for each of the list */
	bool *is_new;
};

/* A layer, by a task of its own. */
struct layer_task {
	struct load *load;
	const struct manifest_layer *source;
	const char *diff_id;
	char file[32];
	struct layer_entry *entry;
	struct task *task;
	struct error err;
	int result;
};

static void tell(const struct image_progress *progress, const char *id, const char *status,
		 uint64_t current, uint64_t total)
{
	if (progress && progress->update)
		progress->update(progress->arg, id, status, current, total);
}

static int find_file_job(void *arg)
{
	struct layer_task *t = arg;
	struct stat st;
	int r = archive_file(t->load->archive, t->source->name, t->file, &t->err);

	if (r < 0 || t->source->size_bytes < 0)
		return r;
	if (fstatat(archive_workdir(t->load->archive)->fd, t->file, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(&t->err, errno, "'%.200s'", t->source->name);
	if (st.st_size != t->source->size_bytes)
		return error_set(&t->err, ERROR_INVALID,
				 "'%.200s' has %lld bytes, its descriptor says %lld",
				 t->source->name, (long long)st.st_size,
				 (long long)t->source->size_bytes);
	return 0;
}

static void run_layer(void *arg)
{
	struct layer_task *t = arg;
	struct image_store *images = t->load->images;
	char id[13];

	snprintf(id, sizeof(id), "%s", digest_hex(t->diff_id));
	t->entry = layer_find(images->layers, t->diff_id);
	if (t->entry) {
		tell(t->load->progress, id, "Layer already exists", 0, 0);
		t->result = 0;
		return;
	}
	tell(t->load->progress, id, "Loading layer", 0, 0);
	t->result = job_run(images->jobs, find_file_job, t);
	if (t->result == 0)
		t->result =
			layer_make(images->layers, t->diff_id, archive_workdir(t->load->archive),
				   t->file, t->source->digest, &t->entry, &t->err);
	if (t->result == 0)
		tell(t->load->progress, id, "Loaded", t->entry->blob_bytes, t->entry->blob_bytes);
}

/* Waits for all; the first failure, or our own being cancelled, ends the others early. */
static int join_layers(struct layer_task *tasks, size_t count, struct error *err)
{
	int result = 0;

	for (size_t i = 0; i < count; i++) {
		int r = tasks[i].task ? task_join(tasks[i].task, DEADLINE_NEVER) : 0;

		if (r == -ECANCELED) {
			bool old = task_shield(true);

			for (size_t j = i; j < count; j++)
				if (tasks[j].task)
					task_cancel(tasks[j].task);
			task_join(tasks[i].task, DEADLINE_NEVER);
			task_shield(old);
		}
		task_unref(steal(tasks[i].task));
		if (tasks[i].result == 0 || result < 0)
			continue;
		result = error_prefix(&tasks[i].err, tasks[i].result, "layer %zu", i + 1);
		error_copy(err, &tasks[i].err);
		for (size_t j = i + 1; j < count; j++)
			if (tasks[j].task)
				task_cancel(tasks[j].task);
	}
	return result;
}

static int load_layers(struct load *load, const struct manifest_image *source, struct image *image,
		       struct error *err)
{
	struct layer_task *tasks = calloc(source->layer_count, sizeof(*tasks));
	size_t started = 0;
	int r = 0, joined;

	image->layers = calloc(source->layer_count, sizeof(*image->layers));
	if (!tasks || !image->layers) {
		free(tasks);
		return error_nomem(err);
	}
	while (r == 0 && started < source->layer_count) {
		struct layer_task *t = &tasks[started++];

		*t = (struct layer_task){ .load = load,
					  .source = &source->layers[started - 1],
					  .diff_id = image->file.diff_ids[started - 1],
					  .result = -ECANCELED };
		r = task_spawn(task_loop(), "layer", run_layer, t, &t->task, err);
		if (r < 0)
			started--;
	}
	joined = join_layers(tasks, started, r < 0 ? NULL : err);
	for (size_t i = 0; i < started; i++)
		if (tasks[i].entry)
			image->layers[image->layer_count++] = tasks[i].entry;
	free(tasks);
	return r < 0 ? r : joined;
}

struct config_job {
	struct load *load;
	const struct manifest_image *source;
	struct image *image;
	struct error *err;
};

static int config_job(void *arg)
{
	struct config_job *job = arg;
	struct image *image = job->image;
	int r = archive_read(job->load->archive, job->source->config_name, IMAGE_MAX_CONFIG_BYTES,
			     &image->config_text, &image->config_len, job->err);

	if (r == 0)
		r = digest_data(image->config_text, image->config_len, image->id, job->err);
	if (r < 0)
		return r;
	if (job->source->config_digest && strcmp(job->source->config_digest, image->id) != 0)
		return error_set(job->err, ERROR_INVALID,
				 "'%s' does not match its digest: it is %s",
				 job->source->config_name, image->id);
	r = config_file_parse(image->config_text, image->config_len, &image->file, job->err);
	if (r < 0)
		return r;
	if (strv_len(image->file.diff_ids) == 0)
		return error_set(job->err, ERROR_INVALID, "'%s': the image has no layers",
				 job->source->config_name);
	if (strv_len(image->file.diff_ids) != job->source->layer_count)
		return error_set(job->err, ERROR_INVALID,
				 "the manifest has %zu layers, the configuration %zu",
				 job->source->layer_count, strv_len(image->file.diff_ids));
	return 0;
}

static int prepare(struct load *load, size_t i, struct error *err)
{
	struct manifest_image *source = &load->list.images[i];
	autoptr(image_unref) struct image *image = NULL;
	struct config_job job = { .load = load, .source = source, .err = err };
	struct image *have;
	int r = image_new(&image, err);

	if (r < 0)
		return r;
	job.image = image;
	r = job_run(load->images->jobs, config_job, &job);
	if (r < 0)
		return r;
	have = image_by_id(load->images, image->id);
	if (have) {
		load->made[i] = image_ref(have);
		return 0;
	}
	for (size_t j = 0; j < i; j++)
		if (strcmp(load->made[j]->id, image->id) == 0) {
			load->made[i] = image_ref(load->made[j]);
			return 0;
		}
	r = load_layers(load, source, image, err);
	if (r < 0)
		return r;
	image->manifest = steal(source->manifest);
	image->manifest_len = source->manifest_len;
	load->made[i] = steal(image);
	load->is_new[i] = true;
	return 0;
}

/* *change gets the names, *ret_names what people are told. */
static int collect_names(struct load *load, json_t *change, char ***ret_names, struct error *err)
{
	for (size_t i = 0; i < load->list.count; i++) {
		const char *id = load->made[i]->id;
		bool named = false;

		strv_for_each(text, load->list.images[i].references) {
			autoreference struct reference reference = { 0 };
			autofree char *key = NULL;
			int r = reference_parse(*text, &reference, err);

			if (r < 0)
				return r;
			/* A digest in a name is what the archive claims, not what was pulled. */
			free(steal(reference.digest));
			r = reference_add_default_tag(&reference, err);
			if (r < 0)
				return r;
			key = reference_key(&reference);
			if (!key || json_object_set_new(change, key, json_string(id)) < 0 ||
			    strv_take(ret_names, reference_familiar(&reference)) < 0)
				return error_nomem(err);
			named = true;
		}
		if (!named && strv_add(ret_names, id) < 0)
			return error_nomem(err);
	}
	return 0;
}

/* Does not wait, so no other task sees one half of it. */
static int write_down(struct load *load, const json_t *change, struct error *err)
{
	size_t added = 0;
	int r = 0;

	for (; r == 0 && added < load->list.count; added++) {
		struct image *have = image_by_id(load->images, load->made[added]->id);

		if (!load->is_new[added])
			continue;
		if (have) { /* another task loaded the same meanwhile */
			load->is_new[added] = false;
			continue;
		}
		r = image_store_add(load->images, load->made[added], err);
		if (r < 0)
			load->is_new[added] = false;
	}
	if (r == 0 && json_object_size(change))
		r = references_change(load->images, change, err);
	if (r == 0)
		return 0;
	for (size_t i = 0; i < added; i++)
		if (load->is_new[i])
			image_store_drop(load->images, load->made[i]);
	return r;
}

struct list_job {
	struct load *load;
	struct error *err;
};

static int list_job(void *arg)
{
	struct list_job *job = arg;
	struct manifest_source source = { archive_read, job->load->archive };

	return manifest_list_read(&source, &job->load->list, job->err);
}

static int load_all(struct load *load, char ***ret_names, struct error *err)
{
	struct list_job job = { load, err };
	autostrv char **names = NULL;
	autojson json_t *change = json_object();
	int r = job_run(load->images->jobs, list_job, &job);

	if (r < 0)
		return r;
	load->made = calloc(load->list.count, sizeof(*load->made));
	load->is_new = calloc(load->list.count, sizeof(*load->is_new));
	if (!load->made || !load->is_new || !change)
		return error_nomem(err);
	for (size_t i = 0; r == 0 && i < load->list.count; i++)
		r = prepare(load, i, err);
	if (r == 0)
		r = collect_names(load, change, &names, err);
	if (r == 0)
		r = write_down(load, change, err);
	if (r == 0)
		*ret_names = steal(names);
	return r;
}

int image_load(struct image_store *images, int fd, const struct image_progress *progress,
	       char ***ret_names, struct error *err)
{
	struct load load = { .images = images, .progress = progress };
	bool old;
	int r = archive_open(images->layers, images->jobs, fd, images->limits.max_bytes,
			     &load.archive, err);

	if (r == 0)
		r = load_all(&load, ret_names, err);
	for (size_t i = 0; load.made && i < load.list.count; i++)
		image_unref(load.made[i]);
	free(load.made);
	free(load.is_new);
	manifest_list_done(&load.list);
	/* Cleaning up waits, and happens whether or not anybody still does. */
	old = task_shield(true);
	archive_free(load.archive);
	if (r < 0)
		layer_store_collect(images->layers, NULL);
	task_shield(old);
	return r < 0 ? error_prefix(err, r, "loading the image") : 0;
}
