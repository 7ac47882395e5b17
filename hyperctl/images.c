#include <string.h>

#include "base/clock.h"
#include "hyperctl/command.h"
#include "hyperctl/format.h"
#include "hyperctl/query.h"
#include "hyperctl/units.h"

struct images_options {
	bool all, quiet, digests, no_trunc;
	const char *format;
	struct option_list filters;
};
#define OPT struct images_options
static const struct option options[] = {
	FLAG('a', "all", OPT, all, "Also intermediate images"),
	FLAG('q', "quiet", OPT, quiet, "Only ids"),
	FLAG(0, "digests", OPT, digests, "Show digests"),
	FLAG(0, "no-trunc", OPT, no_trunc, "Do not shorten ids"),
	LIST('f', "filter", OPT, filters, "KEY=VALUE",
	     "Only those: reference, label, dangling, before, since"),
	STRING(0, "format", OPT, format, "FORMAT", "json, a template, or 'table TEMPLATE'"),
	OPTIONS_END,
};
#undef OPT

static const struct column columns[] = {
	{ "Repository", "REPOSITORY" },
	{ "Tag", "TAG" },
	{ "Digest", "DIGEST" },
	{ "ID", "IMAGE ID" },
	{ "CreatedSince", "CREATED" },
	{ "CreatedAt", "CREATED AT" },
	{ "Size", "SIZE" },
	{ NULL, NULL },
};
static const char table[] = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
static const char table_digests[] =
	"{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";

#define ID_SHORT 12

static json_t *id_text(const struct images_options *o, const json_t *image)
{
	const char *id = json_string_value(json_object_get(image, "Id")) ?: "", *hex;

	if (o->no_trunc)
		return json_string(id);
	hex = strchr(id, ':') ? strchr(id, ':') + 1 : id;
	return json_stringn(hex, strnlen(hex, ID_SHORT));
}

/* The digest that REPOSITORY has in "name@sha256:…", or "<none>". */
static const char *digest_of(const json_t *image, const char *repository, size_t len)
{
	json_t *digest;
	size_t i;

	json_array_foreach(json_object_get(image, "RepoDigests"), i, digest) {
		const char *text = json_string_value(digest) ?: "";

		if (strncmp(text, repository, len) == 0 && text[len] == '@')
			return text + len + 1;
	}
	return "<none>";
}

static void add_row(const struct images_options *o, const json_t *image, const char *reference,
		    json_t *rows)
{
	int64_t created_ns =
		json_integer_value(json_object_get(image, "Created")) * (int64_t)NSEC_PER_SEC;
	const char *colon = strrchr(reference, ':');
	size_t name_len =
		colon && !strchr(colon, '/') ? (size_t)(colon - reference) : strlen(reference);
	json_t *row = json_object();
	time_t seconds = (time_t)(created_ns / (int64_t)NSEC_PER_SEC);
	char ago[40], size[24], when[64] = "";
	struct tm tm;

	if (localtime_r(&seconds, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S %z %Z", &tm);
	ago_human(created_ns, (int64_t)realtime_ns(), ago);
	size_human(json_number_value(json_object_get(image, "Size")), size);
	json_object_set_new(row, "Repository", json_stringn(reference, name_len));
	json_object_set_new(row, "Tag",
			    json_string(reference[name_len] ? reference + name_len + 1 : "<none>"));
	json_object_set_new(row, "Digest", json_string(digest_of(image, reference, name_len)));
	json_object_set_new(row, "ID", id_text(o, image));
	json_object_set_new(row, "CreatedSince", json_string(ago));
	json_object_set_new(row, "CreatedAt", json_string(when));
	json_object_set_new(row, "Size", json_string(size));
	json_array_append_new(rows, row);
}

static void add_image(const struct images_options *o, const json_t *image, json_t *rows)
{
	json_t *tags = json_object_get(image, "RepoTags"), *tag;
	json_t *digests = json_object_get(image, "RepoDigests");
	const char *digest;
	size_t i;

	json_array_foreach(tags, i, tag)
		add_row(o, image, json_string_value(tag) ?: "", rows);
	if (i)
		return;
	digest = json_string_value(json_array_get(digests, 0));
	if (digest) {
		autofree char *name = strndup(digest, strcspn(digest, "@"));

		add_row(o, image, name ?: "", rows);
	} else {
		add_row(o, image, "<none>", rows);
	}
}

static int print_ids(const json_t *rows)
{
	json_t *row, *earlier;
	size_t i, k;

	json_array_foreach(rows, i, row) {
		bool seen = false;

		json_array_foreach(rows, k, earlier) {
			if (k == i)
				break;
			seen |= json_equal(json_object_get(row, "ID"),
					   json_object_get(earlier, "ID"));
		}
		if (!seen)
			puts(json_string_value(json_object_get(row, "ID")));
	}
	return 0;
}

static int images_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct images_options *o = given;
	autojson json_t *images = NULL, *rows = json_array();
	autostr struct str query = STR_INIT, reference = STR_INIT;
	struct option_list filters = { 0 };
	json_t *image;
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < o->filters.count; i++)
		r = option_list_add(&filters, o->filters.items[i]);
	if (r == 0 && args[0]) {
		str_addf(&reference, "reference=%s", args[0]);
		r = option_list_add(&filters, str_text(&reference));
	}
	r = r < 0 ? error_nomem(err) : filters_add(&query, &filters, err);
	free(filters.items);
	query_add(&query, "all", o->all ? "1" : NULL);
	query_add(&query, "digests", o->digests ? "1" : NULL);
	if (r == 0)
		r = client_call(&ctl->client, "GET", "/images/json", str_text(&query), NULL,
				&images, err);
	if (r < 0)
		return r;
	json_array_foreach(images, i, image)
		add_image(o, image, rows);
	if (o->quiet && !o->format)
		return print_ids(rows);
	return rows_print(columns, o->digests ? table_digests : table, o->format, rows, err);
}

const struct command command_images = {
	.name = "images",
	.group = "Images",
	.usage = "[OPTIONS] [NAME[:TAG]]",
	.summary = "List images",
	.options = options,
	.options_size = sizeof(struct images_options),
	.mixed = true,
	.max_args = 1,
	.run = images_main,
};
