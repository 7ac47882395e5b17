#include "tests/unit/image/world.h"

#include "hyperd/image/layer_store.h"

/* A layer's archive as the file "in" of *ret_work. */
static void make_archive(struct world *w, const char *name, struct workdir **ret_work)
{
	autostr struct str tar = STR_INIT;
	struct error err = { 0 };

	tar_file(&tar, name, "content");
	tar_end(&tar);
	assert_ok(workdir_new(image_store_layers(w->images), ret_work, &err), err);
	assert_ok(file_write_atomic((*ret_work)->fd, "in", tar.data, tar.len, 0600, false, &err),
		  err);
}

static struct image *derive(struct world *w, struct image *parent, const char *file,
			    const char *created_by)
{
	autojson json_t *config = json_pack("{s:[s]}", "Cmd", "sh");
	struct image_derivation from = {
		.parent = parent, .config = config, .author = "me", .created_by = created_by
	};
	struct workdir *work = NULL;
	struct image *image = NULL;
	struct error err = { 0 };

	if (file) {
		make_archive(w, file, &work);
		from.work = work;
		from.file = "in";
	}
	assert_ok(image_derive(w->images, &from, &image, &err), err);
	workdir_free(work);
	return image;
}

static const char *history(const struct image *image, size_t i, const char *key)
{
	return json_string_value(json_object_get(
		json_array_get(json_object_get(image_config_json(image), "history"), i), key));
}

struct search {
	const char *created_by;
	struct image *found; /* borrowed */
};

static void look(struct image *image, void *arg)
{
	struct search *search = arg;
	size_t last = json_array_size(json_object_get(image_config_json(image), "history")) - 1;

	if (str_equal(history(image, last, "created_by"), search->created_by))
		search->found = image;
}

static struct image *image_by_history(struct world *w, const char *created_by)
{
	struct search search = { created_by, NULL };

	image_each(w->images, look, &search);
	return search.found;
}

static void chain_main(struct world *w)
{
	struct image *base = derive(w, NULL, NULL, "from nothing");
	struct image *one = derive(w, base, "a", "adds a"), *two = derive(w, one, NULL, "says so");
	struct image *other = derive(w, one, "b", "adds b"), *found;
	autojson json_t *report = NULL;
	char id[DIGEST_TEXT_BYTES];
	struct error err = { 0 };

	assert_int_equal(image_layer_count(base), 0);
	assert_int_equal(image_layer_count(two), 1);
	assert_int_equal(image_layer_count(other), 2);
	assert_string_equal(image_layer(other, 0)->diff_id, image_layer(two, 0)->diff_id);
	assert_string_equal(history(two, 1, "created_by"), "adds a");
	assert_string_equal(history(two, 2, "author"), "me");
	assert_ptr_equal(image_parent(w->images, two), one);
	assert_ptr_equal(image_parent(w->images, base), NULL);
	assert_true(image_has_children(w->images, one));
	assert_false(image_has_children(w->images, two));

	/* The parents are remembered. */
	strcpy(id, image_id(two));
	image_unref(base);
	image_unref(one);
	image_unref(two);
	image_unref(other);
	close_images(w);
	open_images(w);
	assert_ok(image_get(w->images, id, &found, &err), err);
	one = image_parent(w->images, found);
	assert_non_null(one);
	image_unref(found);

	/* What others are built on stays, and keeps what it was built on. */
	assert_int_equal(image_remove(w->images, image_id(one), true, true, NULL, NULL, NULL, &err),
			 -EBUSY);
	assert_contains(err.message, "dependent child images");
	assert_ok(image_remove(w->images, id, false, true, NULL, NULL, NULL, &err), err);
	assert_false(image_get(w->images, id, &found, NULL) == 0);
	assert_non_null(image_by_history(w, "adds b"));
	strcpy(id, image_id(image_by_history(w, "adds b")));
	assert_ok(image_remove(w->images, id, false, true, NULL, NULL, &report, &err), err);
	assert_int_equal(json_array_size(report), 5); /* three images and two layers */
	assert_nothing_stored(w);
}

static void an_image_is_made_of_another(void **state)
{
	in_world(chain_main);
}

static void named_main(struct world *w)
{
	struct image *one = derive(w, NULL, "a", ""), *two = derive(w, one, NULL, "");
	char id[2][DIGEST_TEXT_BYTES];
	struct image *found;
	struct error err = { 0 };

	strcpy(id[0], image_id(one));
	strcpy(id[1], image_id(two));
	image_unref(one);
	image_unref(two);
	assert_ok(image_tag(w->images, id[0], "base:1", &err), err);
	/* A name goes, the image stays for its child; the other way round, the named one stays. */
	assert_ok(image_remove(w->images, "base:1", false, true, NULL, NULL, NULL, &err), err);
	assert_ok(image_get(w->images, id[0], &found, &err), err);
	image_unref(found);
	assert_ok(image_tag(w->images, id[0], "base:1", &err), err);
	assert_ok(image_remove(w->images, id[1], false, true, NULL, NULL, NULL, &err), err);
	assert_ok(image_remove(w->images, "base:1", false, true, NULL, NULL, NULL, &err), err);
	assert_nothing_stored(w);
}

static void a_name_keeps_an_image(void **state)
{
	in_world(named_main);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_image_is_made_of_another),
		cmocka_unit_test(a_name_keeps_an_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
