#include "tests/unit/test.h"

#include "base/str.h"
#include "hyperd/image/digest.h"
#include "hyperd/image/manifest.h"

/* A layout in memory: names and contents. */
struct files {
	char *names[16], *texts[16];
	size_t count;
};

static void files_done(struct files *f)
{
	for (size_t i = 0; i < f->count; i++) {
		free(f->names[i]);
		free(f->texts[i]);
	}
}

static void put(struct files *f, const char *name, char *text)
{
	f->names[f->count] = strdup(name);
	f->texts[f->count++] = text;
}

/* Puts a blob and returns its descriptor. */
static char *put_blob(struct files *f, const char *type, char *text, const char *more)
{
	char digest[DIGEST_TEXT_BYTES];
	autofree char *name = NULL;

	assert_int_equal(digest_data(text, strlen(text), digest, NULL), 0);
	name = manifest_blob_name(digest);
	put(f, name, text);
	return strf("{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu%s}", type, digest,
		    strlen(text), more);
}

static int read_file(void *arg, const char *name, size_t max, char **ret, size_t *ret_len,
		     struct error *err)
{
	struct files *f = arg;

	for (size_t i = 0; i < f->count; i++) {
		if (strcmp(f->names[i], name) != 0)
			continue;
		if (strlen(f->texts[i]) > max)
			return error_set(err, ERROR_LIMIT, "larger than %zu bytes", max);
		*ret = strdup(f->texts[i]);
		*ret_len = strlen(*ret);
		return 0;
	}
	return error_set(err, ERROR_NOT_FOUND, "'%s' is not there", name);
}

#define MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define INDEX    "application/vnd.oci.image.index.v1+json"
#define LAYER    "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define CONFIG   "\"config\":{\"digest\":\"" LAYER "\",\"size\":3}"

static char *manifest_text(const char *layer_type)
{
	return strf("{\"mediaType\":\"" MANIFEST "\"," CONFIG
		    ",\"layers\":[{\"mediaType\":\"%s\",\"digest\":\"" LAYER "\",\"size\":9}]}",
		    layer_type);
}

static const char tar_gzip[] = "application/vnd.oci.image.layer.v1.tar+gzip";

static void check(struct files *f, struct manifest_list *list)
{
	struct manifest_source source = { read_file, f };
	struct error err = { 0 };

	assert_ok(manifest_list_read(&source, list, &err), err);
}

static void complains(struct files *f, const char *complaint)
{
	struct manifest_source source = { read_file, f };
	automanifest struct manifest_list list = { 0 };
	struct error err = { 0 };

	if (manifest_list_read(&source, &list, &err) == 0)
		fail_msg("accepted, expected '%s'", complaint);
	assert_contains(err.message, complaint);
	files_done(f);
	*f = (struct files){ 0 };
}

static void a_docker_archive(void **state)
{
	automanifest struct manifest_list list = { 0 };
	struct files f = { 0 };

	put(&f, "manifest.json",
	    strdup("[{\"Config\":\"c.json\",\"RepoTags\":[\"a:1\",\"b:2\"],\"Layers\":[\"x/"
		   "layer.tar\","
		   "\"blobs/sha256/"
		   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\""
		   "]},{\"Config\":\"d.json\",\"RepoTags\":null,\"Layers\":[]}]"));
	check(&f, &list);
	assert_int_equal(list.count, 2);
	assert_string_equal(list.images[0].config_name, "c.json");
	assert_null(list.images[0].config_digest);
	assert_int_equal(strv_len(list.images[0].references), 2);
	assert_int_equal(list.images[0].layer_count, 2);
	assert_null(list.images[0].layers[0].digest);
	assert_string_equal(list.images[0].layers[1].digest, LAYER);
	assert_int_equal(strv_len(list.images[1].references), 0);
	files_done(&f);
}

static void an_oci_layout_with_an_index_of_platforms(void **state)
{
	automanifest struct manifest_list list = { 0 };
	struct files f = { 0 };
	autofree char *arm =
		put_blob(&f, MANIFEST, strdup("{\"never\":\"read\"}"),
			 ",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\"}");
	autofree char *amd =
		put_blob(&f, MANIFEST, manifest_text(tar_gzip),
			 ",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}");
	autofree char *index =
		put_blob(&f, INDEX,
			 strf("{\"mediaType\":\"" INDEX "\",\"manifests\":[%s,%s]}", arm, amd),
			 ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"me/x:1\"}");

	put(&f, "index.json", strf("{\"manifests\":[%s]}", index));
	check(&f, &list);
	assert_int_equal(list.count, 1);
	assert_int_equal(list.images[0].layer_count, 1);
	assert_int_equal(list.images[0].layers[0].size_bytes, 9);
	assert_string_equal(list.images[0].references[0], "me/x:1");
	assert_non_null(list.images[0].manifest);
	files_done(&f);
}

static void a_tag_alone_is_no_name(void **state)
{
	automanifest struct manifest_list list = { 0 };
	struct files f = { 0 };
	autofree char *m =
		put_blob(&f, MANIFEST, manifest_text(tar_gzip),
			 ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"latest\"}");

	put(&f, "index.json", strf("{\"manifests\":[%s]}", m));
	check(&f, &list);
	assert_int_equal(strv_len(list.images[0].references), 0);
	files_done(&f);
}

static void lies_are_found(void **state)
{
	struct files f = { 0 };
	autofree char *good = put_blob(&f, MANIFEST, manifest_text(tar_gzip), "");
	char *text;

	complains(&f, "neither manifest.json");
	put(&f, "manifest.json", strdup("{}"));
	complains(&f, "expected an array");
	put(&f, "manifest.json", strdup("[]"));
	complains(&f, "expected an array");
	put(&f, "manifest.json", strdup("[1]"));
	complains(&f, "manifest.json[0]: expected an object");
	put(&f, "manifest.json", strdup("[{\"Layers\":[]}]"));
	complains(&f, "Config: missing");
	put(&f, "manifest.json", strdup("[{\"Config\":\"c\",\"Layers\":[{}]}]"));
	complains(&f, "Layers[0]");
	put(&f, "index.json", strdup("[]"));
	complains(&f, "expected an object");
	put(&f, "index.json", strdup("{\"manifests\":[]}"));
	complains(&f, "no images");
	put(&f, "index.json",
	    strdup("{\"manifests\":[{\"digest\":\"sha256:../../x\",\"size\":1}]}"));
	complains(&f, "manifests[0]: digest");
	put(&f, "index.json", strdup("{\"manifests\":[{\"digest\":\"" LAYER "\",\"size\":-1}]}"));
	complains(&f, "size");
	put(&f, "index.json",
	    strdup("{\"manifests\":[{\"digest\":\"" LAYER
		   "\",\"size\":1,\"platform\":{\"os\":\"linux\","
		   "\"architecture\":\"s390x\"}}]}"));
	complains(&f, "no image for linux/amd64");
	put(&f, "index.json", strf("{\"manifests\":[%s]}", good));
	complains(&f, "is not there");

	/* The same length, other bytes. */
	free(put_blob(&f, MANIFEST, manifest_text(tar_gzip), ""));
	text = strstr(f.texts[0], "\"size\":9");
	text[7] = '8';
	put(&f, "index.json", strf("{\"manifests\":[%s]}", good));
	complains(&f, "does not match its digest");
	free(put_blob(&f, MANIFEST, manifest_text(tar_gzip), ""));
	f.texts[0][strlen(f.texts[0]) - 1] = '\0';
	put(&f, "index.json", strf("{\"manifests\":[%s]}", good));
	complains(&f, "its descriptor says");
}

static void what_is_no_layer_is_refused(void **state)
{
	struct files f = { 0 };
	autofree char *foreign =
		put_blob(&f, MANIFEST,
			 manifest_text("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
			 "");

	put(&f, "index.json", strf("{\"manifests\":[%s]}", foreign));
	complains(&f, "no layer we know");
}

static void endless_indexes_are_refused(void **state)
{
	struct files f = { 0 };
	char *d = put_blob(&f, MANIFEST, manifest_text(tar_gzip), "");

	for (int i = 0; i < 6; i++) {
		char *next =
			put_blob(&f, INDEX,
				 strf("{\"mediaType\":\"" INDEX "\",\"manifests\":[%s]}", d), "");

		free(d);
		d = next;
	}
	put(&f, "index.json", strf("{\"manifests\":[%s]}", d));
	free(d);
	complains(&f, "nested deeper");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_docker_archive),
		cmocka_unit_test(an_oci_layout_with_an_index_of_platforms),
		cmocka_unit_test(a_tag_alone_is_no_name),
		cmocka_unit_test(lies_are_found),
		cmocka_unit_test(what_is_no_layer_is_refused),
		cmocka_unit_test(endless_indexes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
