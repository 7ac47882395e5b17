#include "hyperd/image/image_private.h"

#include <string.h>

#include "base/json.h"
#include "base/str.h"

struct removal {
	struct image_store *images;
	struct image *image; /* held */
	char **keys;         /* owned: the names that go */
	bool last;           /* and the image with them */
	bool prune;          /* and what it was built on, when nothing else needs it */
	const char *(*in_use)(const char *image_id, void *arg);
	void *arg;
};

/* Docker's rule: the last tag of a repository takes the repository's digests along. */
static int add_digests(struct removal *removal, const struct reference *reference, char *const *all,
		       struct error *err)
{
	autofree char *name = reference_name(reference);
	size_t len = name ? strlen(name) : 0;
	unsigned tags = 0;

	if (!name)
		return error_nomem(err);
	strv_for_each(key, all)
		if (strncmp(*key, name, len) == 0 && (*key)[len] == ':')
			tags++;
	if (reference->digest || tags > 1)
		return 0;
	strv_for_each(key, all)
		if (strncmp(*key, name, len) == 0 && (*key)[len] == '@' &&
		    strv_add(&removal->keys, *key) < 0)
			return error_nomem(err);
	return 0;
}

/* Whether NAME is a reference of an image, and which. */
static int by_reference(struct removal *removal, const char *name, bool *ret, struct error *err)
{
	autoreference struct reference reference = { 0 };
	autostrv char **all = NULL;
	struct image *image;
	int r;

	*ret = false;
	if (reference_parse(name, &reference, NULL) < 0)
		return 0;
	r = reference_add_default_tag(&reference, err);
	image = r == 0 ? image_by_reference(removal->images, &reference) : NULL;
	if (!image)
		return r;
	*ret = true;
	removal->image = image_ref(image);
	all = references_of(removal->images, image->id);
	if (strv_take(&removal->keys, reference_key(&reference)) < 0)
		return error_nomem(err);
	r = add_digests(removal, &reference, all, err);
	/* What others were built on only loses its name. */
	removal->last = strv_len(removal->keys) == strv_len(all) &&
			!image_has_children(removal->images, image);
	return r;
}

static int by_id(struct removal *removal, const char *name, bool force, struct error *err)
{
	int r = image_get(removal->images, name, &removal->image, err);

	if (r < 0)
		return r;
	removal->keys = references_of(removal->images, removal->image->id);
	removal->last = true;
	if (image_has_children(removal->images, removal->image))
		return error_set(err, ERROR_CONFLICT,
				 "conflict: unable to delete %.12s (cannot be forced) - image has "
				 "dependent child images",
				 digest_hex(removal->image->id));
	if (strv_len(removal->image->tags) > 1 && !force)
		return error_set(err, ERROR_CONFLICT,
				 "unable to delete %.12s (must be forced) - image is referenced by "
				 "%zu tags",
				 digest_hex(removal->image->id), strv_len(removal->image->tags));
	return 0;
}

static int untag(struct removal *removal, json_t *report, struct error *err)
{
	autojson json_t *change = json_object();

	strv_for_each(key, removal->keys) {
		autoreference struct reference reference = { 0 };
		autofree char *familiar = NULL;

		json_object_set_new(change, *key, json_null());
		if (reference_parse(*key, &reference, NULL) == 0)
			familiar = reference_familiar(&reference);
		json_array_append_new(report,
				      json_pack("{s:s}", "Untagged", familiar ? familiar : *key));
	}
	return json_object_size(change) ? references_change(removal->images, change, err) : 0;
}

static bool is_needed(const struct removal *removal, struct image *image)
{
	autostrv char **names = references_of(removal->images, image->id);

	return names || image_has_children(removal->images, image) ||
	       (removal->in_use && removal->in_use(image->id, removal->arg));
}

/* One image: *ret_parent is what it was built on, when that goes too. */
static int delete_one(struct removal *removal, struct image *image, json_t *report,
		      struct image **ret_parent, struct error *err)
{
	autostrv char **diff_ids = strv_copy(image->file.diff_ids);
	struct image *parent = image_parent(removal->images, image);

	if (image->file.diff_ids && !diff_ids)
		return error_nomem(err);
	*ret_parent = parent ? image_ref(parent) : NULL;
	json_array_append_new(report, json_pack("{s:s}", "Deleted", image->id));
	image_store_drop(removal->images, image);
	image_unref(image);
	for (size_t i = strv_len(diff_ids); i-- > 0;) {
		struct layer_entry *left = layer_find(removal->images->layers, diff_ids[i]);

		if (left)
			layer_unref(
				left); /* it has other users, or this would have been the last */
		else
			json_array_append_new(report, json_pack("{s:s}", "Deleted", diff_ids[i]));
	}
	return 0;
}

static int delete_image(struct removal *removal, json_t *report, struct error *err)
{
	struct image *image = steal(removal->image), *parent = NULL;
	int r = 0;

	while (r == 0 && image) {
		r = delete_one(removal, image, report, &parent, err);
		image = r == 0 ? parent : NULL;
		if (image && (!removal->prune || is_needed(removal, image))) {
			image_unref(image);
			image = NULL;
		}
	}
	return r < 0 ? r : layer_store_collect(removal->images->layers, err);
}

int image_remove(struct image_store *images, const char *name, bool force, bool prune,
		 const char *(*in_use)(const char *image_id, void *arg), void *arg,
		 json_t **ret_report, struct error *err)
{
	struct removal removal = { .images = images, .prune = prune, .in_use = in_use, .arg = arg };
	autojson json_t *report = json_array();
	const char *user = NULL;
	bool found;
	int r = by_reference(&removal, name, &found, err);

	if (r == 0 && !found)
		r = by_id(&removal, name, force, err);
	if (r == 0 && removal.last && in_use)
		user = in_use(removal.image->id, arg);
	if (user)
		r = error_set(err, ERROR_CONFLICT,
			      "conflict: unable to %s %s (%s) - container %.64s is using its "
			      "referenced image %.12s",
			      found ? "remove repository reference" : "delete", name,
			      force ? "cannot be forced" : "must force", user,
			      removal.image->id + strlen("sha256:"));
	if (r == 0)
		r = untag(&removal, report, err);
	if (r == 0 && removal.last)
		r = delete_image(&removal, report, err);
	image_unref(removal.image);
	strv_free(removal.keys);
	if (r == 0 && ret_report)
		*ret_report = steal(report);
	return r;
}
