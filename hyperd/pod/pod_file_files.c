/* Files and volumes of a pod file: the pod names them, its containers take them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/base64.h"
#include "base/file.h"
#include "hyperd/pod/pod_file_reader.h"
#include "hyperd/pod/spec_fields.h"

/* ------------------------------------------------------------------ files */

/* What both a pod's file and a container's say of a file. */
struct file_entry {
	char *name, *path, *encoding, *uri, *content, *user, *group;
	int mode; /* -1: not said */
	bool has_content;
};

static void file_entry_done(struct file_entry *e)
{
	free(e->name);
	free(e->path);
	free(e->encoding);
	free(e->uri);
	free(e->content);
	free(e->user);
	free(e->group);
}

static int read_encoding(struct pod_file_reader *rd, const json_t *value, void *target,
			 const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);

	if (!text || (strcmp(text, "raw") != 0 && strcmp(text, "base64") != 0))
		return pod_file_wrong(rd, value, "\"raw\" or \"base64\"");
	return pod_file_set_text(rd, pod_file_member(target, rule), text);
}

static int read_uri(struct pod_file_reader *rd, const json_t *value, void *target,
		    const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);

	if (!text || !str_starts(text, "file://"))
		return pod_file_wrong(rd, value, "file://PATH");
	return pod_file_set_text(rd, pod_file_member(target, rule), text);
}

/* "0644", an octal text as people write modes; a bare number would be taken for decimal. */
static int read_mode(struct pod_file_reader *rd, const json_t *value, void *target,
		     const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);

	if (!text || !*text || strlen(text) > 4 || strspn(text, "01234567") != strlen(text))
		return pod_file_wrong(rd, value, "an octal mode in quotes, as in \"0644\"");
	*(int *)pod_file_member(target, rule) = (int)strtol(text, NULL, 8);
	return 0;
}

#define F(field_name, fn, field)                                   \
	{                                                          \
		field_name, fn, offsetof(struct file_entry, field) \
	}

static const struct pod_file_rule pod_file_rules[] = {
	F("name", pod_file_read_filled_text, name),
	F("encoding", read_encoding, encoding),
	F("uri", read_uri, uri),
	F("content", pod_file_read_text, content),
	F("mode", read_mode, mode),
	F("perm", read_mode, mode),
	F("user", pod_file_read_text, user),
	F("group", pod_file_read_text, group),
	{ 0 },
};

static const struct pod_file_rule container_file_rules[] = {
	F("path", pod_file_read_absolute, path),
	F("filename", pod_file_read_filled_text, name),
	F("encoding", read_encoding, encoding),
	F("uri", read_uri, uri),
	F("content", pod_file_read_text, content),
	F("mode", read_mode, mode),
	F("perm", read_mode, mode),
	F("user", pod_file_read_text, user),
	F("group", pod_file_read_text, group),
	{ 0 },
};

static int read_uri_content(struct pod_file_reader *rd, const struct file_entry *e,
			    struct spec_file *file)
{
	const char *name = e->uri + strlen("file://");
	autofree char *path = NULL;
	int r;

	if (!rd->file_dir)
		return error_set(rd->err, ERROR_INVALID,
				 "pod file: %s: \"%.100s\": files are read by the client; expected "
				 "\"content\"",
				 str_text(&rd->path), e->uri);
	path = *name == '/' ? strdup(name) : strf("%s/%s", rd->file_dir, name);
	if (!path)
		return error_nomem(rd->err);
	r = file_read(AT_FDCWD, path, POD_FILE_CONTENT_MAX_BYTES, &file->content,
		      &file->content_bytes, rd->err);
	return r < 0 ? error_prefix(rd->err, r, "pod file: %s", str_text(&rd->path)) : 0;
}

static int decode_content(struct pod_file_reader *rd, const json_t *value,
			  const struct file_entry *e, struct spec_file *file)
{
	int r;

	if (!e->uri == !e->content)
		return pod_file_wrong(rd, value, "either \"content\" or \"uri\"");
	if (e->uri)
		return read_uri_content(rd, e, file);
	if (e->encoding && strcmp(e->encoding, "base64") == 0) {
		r = base64_decode(e->content, strlen(e->content), &file->content,
				  &file->content_bytes);
		if (r == -EINVAL)
			return pod_file_wrong(rd, json_object_get(value, "content"), "base64");
	} else {
		file->content = strdup(e->content);
		file->content_bytes = strlen(e->content);
		r = file->content ? 0 : -ENOMEM;
	}
	if (r < 0)
		return error_nomem(rd->err);
	return file->content_bytes > POD_FILE_CONTENT_MAX_BYTES
		       ? pod_file_wrong(rd, NULL, "at most 8 MiB")
		       : 0;
}

/* The pod's file of that name, whose own place in the tree errors shall name. */
static const json_t *find_file(const struct pod_file_reader *rd, const char *name)
{
	json_t *item;
	size_t i;

	json_array_foreach(rd->files, i, item) {
		if (str_equal(pod_file_text_of(json_object_get(item, "name")), name))
			return item;
	}
	return NULL;
}

static int set_owner(struct spec_file *file, const struct file_entry *e)
{
	if (!e->user && !e->group)
		return 0;
	free(file->user);
	file->user = e->group ? strf("%s:%s", e->user ? e->user : "0", e->group) : strdup(e->user);
	return file->user ? 0 : -ENOMEM;
}

/* One of a container's files: {"path", "filename"} for one of the pod's, or with its content. */
static int read_one_file(struct pod_file_reader *rd, const json_t *value, struct spec_file *file)
{
	__attribute__((cleanup(file_entry_done))) struct file_entry own = { .mode = -1 };
	__attribute__((cleanup(file_entry_done))) struct file_entry shared = { .mode = -1 };
	const json_t *content = value;
	int r = pod_file_read_fields(rd, value, &own, container_file_rules);

	if (r < 0)
		return r;
	if (!own.path)
		return pod_file_wrong(rd, value, "a \"path\"");
	if (own.name && !own.content && !own.uri) {
		autostr struct str here = STR_INIT;

		content = find_file(rd, own.name);
		if (!content)
			return pod_file_wrong(rd, json_object_get(value, "filename"),
					      "the name of one of the pod's \"files\"");
		here = rd->path;
		rd->path = (struct str)STR_INIT;
		str_add(&rd->path, "files");
		r = pod_file_read_fields(rd, content, &shared, pod_file_rules);
		if (r == 0)
			r = decode_content(rd, content, &shared, file);
		if (r < 0)
			return r;
		str_done(&rd->path);
		rd->path = here;
		here = (struct str)STR_INIT;
	} else {
		r = decode_content(rd, value, &own, file);
		if (r < 0)
			return r;
	}
	file->path = str_ends(own.path, "/") && own.name ? strf("%s%s", own.path, own.name)
							 : strdup(own.path);
	file->mode = (uint32_t)(own.mode >= 0 ? own.mode : shared.mode >= 0 ? shared.mode : 0644);
	if (!file->path || set_owner(file, &shared) < 0 || set_owner(file, &own) < 0)
		return error_nomem(rd->err);
	return 0;
}

int pod_file_read_container_files(struct pod_file_reader *rd, const json_t *value, void *target,
				  const struct pod_file_rule *rule)
{
	struct container_spec *spec = target;
	json_t *item;
	size_t i;

	if (!json_is_array(value))
		return pod_file_wrong(rd, value, "a list of {\"path\", \"filename\", …}");
	spec->files = calloc(json_array_size(value) + 1, sizeof(*spec->files));
	if (!spec->files)
		return error_nomem(rd->err);
	json_array_foreach(value, i, item) {
		size_t mark = pod_file_enter_item(rd, i);
		int r = read_one_file(rd, item, &spec->files[spec->file_count++]);

		if (r < 0)
			return r;
		pod_file_leave(rd, mark);
	}
	return 0;
}

/* The pod's files are checked here also when no container takes them. */
int pod_file_read_pod_files(struct pod_file_reader *rd, const json_t *value, void *target,
			    const struct pod_file_rule *rule)
{
	json_t *item, *other;
	size_t i, k;

	if (!json_is_array(value))
		return pod_file_wrong(rd, value, "a list of {\"name\", \"content\", …}");
	json_array_foreach(value, i, item) {
		__attribute__((cleanup(file_entry_done))) struct file_entry e = { .mode = -1 };
		struct spec_file file = { 0 };
		size_t mark = pod_file_enter_item(rd, i);
		int r = pod_file_read_fields(rd, item, &e, pod_file_rules);

		if (r == 0 && !e.name)
			r = pod_file_wrong(rd, item, "a \"name\"");
		if (r == 0)
			r = decode_content(rd, item, &e, &file);
		free(file.content);
		if (r < 0)
			return r;
		json_array_foreach(value, k, other) {
			if (k < i &&
			    str_equal(pod_file_text_of(json_object_get(other, "name")), e.name))
				return pod_file_wrong(rd, json_object_get(item, "name"),
						      "another name: this one is taken");
		}
		pod_file_leave(rd, mark);
	}
	return 0;
}

/* ------------------------------------------------------------------ volumes */

struct volume_entry {
	char *volume, *path, *source, *driver, *format, *file_system;
	struct spec_pair *options;
	bool read_only;
};

static void volume_entry_done(struct volume_entry *e)
{
	free(e->volume);
	free(e->path);
	free(e->source);
	free(e->driver);
	free(e->format);
	free(e->file_system);
	spec_pairs_free(e->options);
}

#define V(field_name, fn, field)                                     \
	{                                                            \
		field_name, fn, offsetof(struct volume_entry, field) \
	}

static const struct pod_file_rule pod_volume_rules[] = {
	V("name", pod_file_read_name, volume),
	V("source", pod_file_read_absolute, source),
	V("driver", pod_file_read_filled_text, driver),
	V("options", pod_file_read_pairs, options),
	V("format", pod_file_read_filled_text, format),
	V("fstype", pod_file_read_filled_text, file_system),
	{ 0 },
};

static const struct pod_file_rule container_volume_rules[] = {
	V("volume", pod_file_read_name, volume),
	V("path", pod_file_read_absolute, path),
	V("readOnly", pod_file_read_bool, read_only),
	{ 0 },
};

int pod_file_read_pod_volumes(struct pod_file_reader *rd, const json_t *value, void *target,
			      const struct pod_file_rule *rule)
{
	json_t *item, *other;
	size_t i, k;

	if (!json_is_array(value))
		return pod_file_wrong(rd, value, "a list of {\"name\", \"source\"}");
	json_array_foreach(value, i, item) {
		__attribute__((cleanup(volume_entry_done))) struct volume_entry e = { 0 };
		size_t mark = pod_file_enter_item(rd, i);
		int r = pod_file_read_fields(rd, item, &e, pod_volume_rules);

		if (r == 0 && !e.volume)
			r = pod_file_wrong(rd, item, "a \"name\"");
		if (r < 0)
			return r;
		json_array_foreach(value, k, other) {
			if (k < i &&
			    str_equal(pod_file_text_of(json_object_get(other, "name")), e.volume))
				return pod_file_wrong(rd, json_object_get(item, "name"),
						      "another name: this one is taken");
		}
		pod_file_leave(rd, mark);
	}
	return 0;
}

static const json_t *find_volume(const struct pod_file_reader *rd, const char *name)
{
	json_t *item;
	size_t i;

	json_array_foreach(rd->volumes, i, item) {
		if (str_equal(pod_file_text_of(json_object_get(item, "name")), name))
			return item;
	}
	return NULL;
}

static int set_option(struct pod_file_reader *rd, struct spec_mount *mount, const char *key,
		      const char *value)
{
	return value && spec_pairs_set(&mount->driver_options, key, value) < 0
		       ? error_nomem(rd->err)
		       : 0;
}

/* What the pod says of the volume NAME. With a format its source is a disk's image, else a file or
 * directory of the host. */
static int volume_of(struct pod_file_reader *rd, const json_t *volume, const char *name,
		     struct spec_mount *mount)
{
	const char *source = pod_file_text_of(json_object_get(volume, "source"));
	const char *format = pod_file_text_of(json_object_get(volume, "format"));
	const char *driver = pod_file_text_of(json_object_get(volume, "driver")), *key;
	json_t *value;
	int r = 0;

	mount->type = source && !format ? MOUNT_BIND : MOUNT_VOLUME;
	mount->source = strdup(mount->type == MOUNT_BIND ? source : name);
	if (!mount->source)
		return error_nomem(rd->err);
	if (mount->type == MOUNT_BIND)
		return 0;
	if (driver) {
		mount->driver = strdup(driver);
		if (!mount->driver)
			return error_nomem(rd->err);
	}
	json_object_foreach(json_object_get(volume, "options"), key, value)
		if (r == 0)
			r = set_option(rd, mount, key, json_string_value(value));
	if (r == 0)
		r = set_option(rd, mount, "format", format);
	if (r == 0)
		r = set_option(rd, mount, "device", source);
	if (r == 0)
		r = set_option(rd, mount, "type",
			       pod_file_text_of(json_object_get(volume, "fstype")));
	return r;
}

static int read_one_volume(struct pod_file_reader *rd, const json_t *value,
			   struct spec_mount *mount)
{
	__attribute__((cleanup(volume_entry_done))) struct volume_entry e = { 0 };
	const json_t *volume;
	int r = pod_file_read_fields(rd, value, &e, container_volume_rules);

	if (r < 0)
		return r;
	if (!e.volume || !e.path)
		return pod_file_wrong(rd, value, "a \"volume\" and a \"path\"");
	volume = find_volume(rd, e.volume);
	if (!volume)
		return pod_file_wrong(rd, json_object_get(value, "volume"),
				      "the name of one of the pod's \"volumes\"");
	mount->destination = steal(e.path);
	mount->read_only = e.read_only;
	return volume_of(rd, volume, e.volume, mount);
}

int pod_file_read_container_volumes(struct pod_file_reader *rd, const json_t *value, void *target,
				    const struct pod_file_rule *rule)
{
	struct container_spec *spec = target;
	json_t *item;
	size_t i;

	if (!json_is_array(value))
		return pod_file_wrong(rd, value, "a list of {\"volume\", \"path\"}");
	spec->mounts = calloc(json_array_size(value) + 1, sizeof(*spec->mounts));
	if (!spec->mounts)
		return error_nomem(rd->err);
	json_array_foreach(value, i, item) {
		size_t mark = pod_file_enter_item(rd, i);
		int r = read_one_volume(rd, item, &spec->mounts[spec->mount_count++]);

		if (r < 0)
			return r;
		pod_file_leave(rd, mark);
	}
	return 0;
}
