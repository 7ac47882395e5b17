/*
 * Docker's many ways to ask for a mount: Config.Volumes, HostConfig.Binds, Mounts and Tmpfs become
 * spec_mounts. What they then mean together the engine settles (hyperd/pod/mounts.c).
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"
#include "hyperd/api/docker/create_fields.h"

#define CALL(name)                                                                           \
	int name(const char *section, const struct create_field *field, const json_t *value, \
		 struct create_request *create, struct error *err)

static int expected(const char *section, const struct create_field *field, const char *what,
		    struct error *err)
{
	return error_set(err, ERROR_INVALID, "%s.%s: expected %s", section, field->name, what);
}

static int set_text(char **to, const char *text, struct error *err)
{
	free(*to);
	*to = text && *text ? strdup(text) : NULL;
	return !text || !*text || *to ? 0 : error_nomem(err);
}

static int add_mount(struct create_request *create, struct spec_mount **ret, struct error *err)
{
	*ret = container_spec_add_mount(create->spec);
	return *ret ? 0 : error_nomem(err);
}

static int check_destination(const char *section, const struct create_field *field,
			     const char *path, struct error *err)
{
	if (!path || *path != '/' || !path[strspn(path, "/")])
		return error_set(err, ERROR_INVALID,
				 "%s.%s: invalid mount path: '%.256s' mount path must be absolute "
				 "and not '/'",
				 section, field->name, path ? path : "");
	return 0;
}

static int set_destination(const char *section, const struct create_field *field,
			   struct spec_mount *mount, const char *path, struct error *err)
{
	int r;

	/* Never NULL, so that a half-filled one can be looked at. */
	mount->destination = strdup(path ? path : "");
	r = mount->destination ? 0 : error_nomem(err);
	return r < 0 ? r : check_destination(section, field, path, err);
}

/* Anonymous volumes, unless something else is mounted there. */
CALL(create_take_volumes)
{
	const char *path;
	json_t *item;

	if (!json_is_object(value))
		return expected(section, field, "an object", err);
	json_object_foreach((json_t *)value, path, item) {
		struct spec_mount *mount;
		int r = add_mount(create, &mount, err);

		if (r == 0)
			r = set_destination(section, field, mount, path, err);
		if (r < 0)
			return r;
		mount->type = MOUNT_VOLUME;
		mount->image_path = true;
	}
	return 0;
}

/* ------------------------------------------------------------------ Binds */

static const char *const propagations[] = { "private", "rprivate", "shared",
					    "rshared", "slave",    "rslave" };
/* SELinux labels, and words for file sharing on a Mac: nothing to do for them here. */
static const char *const ignored_modes[] = { "z", "Z", "cached", "delegated", "consistent" };

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(text, words[i]) == 0)
			return true;
	return false;
}

static int take_mode(struct spec_mount *mount, const char *mode, struct error *err)
{
	autostrv char **words = strv_split(mode, ',');

	strv_for_each(word, words) {
		if (strcmp(*word, "ro") == 0 || strcmp(*word, "rw") == 0)
			mount->read_only = **word == 'r' && (*word)[1] == 'o';
		else if (mount->type == MOUNT_VOLUME && strcmp(*word, "nocopy") == 0)
			mount->no_copy = true;
		else if (mount->type == MOUNT_BIND &&
			 is_one_of(*word, propagations, ARRAY_SIZE(propagations))) {
			if (set_text(&mount->propagation, *word, err) < 0)
				return -ENOMEM;
		} else if (!is_one_of(*word, ignored_modes, ARRAY_SIZE(ignored_modes)))
			return error_set(err, ERROR_INVALID, "invalid mode: %.64s", mode);
	}
	return set_text(&mount->mode_text, mode, err);
}

/* "SOURCE:DESTINATION[:MODE]"; a source with a slash at its begin is a path of the host. */
static int take_bind(const char *section, const struct create_field *field, const char *text,
		     struct create_request *create, struct error *err)
{
	autostrv char **parts = strv_split(text, ':');
	size_t n = strv_len(parts);
	struct spec_mount *mount;
	const char *source = n > 1 ? parts[0] : NULL;
	int r;

	if (!parts)
		return error_nomem(err);
	if (n > 3 || !*parts[0] || (n > 1 && !*parts[1]))
		return error_set(err, ERROR_INVALID, "invalid volume specification: '%.256s'",
				 text);
	if (source && (strcmp(source, ".") == 0 || strcmp(source, "..") == 0 ||
		       str_starts(source, "./") || str_starts(source, "../")))
		return error_set(err, ERROR_INVALID,
				 "invalid volume specification: '%.256s': invalid mount config for "
				 "type \"volume\": a host directory is named by its absolute path",
				 text);
	r = add_mount(create, &mount, err);
	if (r == 0)
		r = set_destination(section, field, mount, n > 1 ? parts[1] : parts[0], err);
	if (r < 0)
		return error_prefix(err, r, "invalid volume specification: '%.256s'", text);
	mount->type = source && *source == '/' ? MOUNT_BIND : MOUNT_VOLUME;
	mount->create_source = mount->type == MOUNT_BIND;
	if (source && mount->type == MOUNT_VOLUME && n < 3)
		r = set_text(&mount->mode_text, "z", err);
	if (r == 0)
		r = set_text(&mount->source, source, err);
	return r == 0 && n == 3 ? take_mode(mount, parts[2], err) : r;
}

CALL(create_take_binds)
{
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		return expected(section, field, "a list of strings", err);
	json_array_foreach((json_t *)value, i, item) {
		const char *text = json_string_value(item);
		int r;

		if (!text || strlen(text) != json_string_length(item))
			return expected(section, field, "a list of strings", err);
		r = take_bind(section, field, text, create, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ------------------------------------------------------------------ Tmpfs */

static int tmpfs_size(const char *text, uint64_t *ret, struct error *err)
{
	char *end;
	unsigned long long number = strtoull(text, &end, 10);
	static const char units[] = "bkmgt";
	const char *unit = *end ? strchr(units, *end | 0x20) : units;

	if (end == text || !unit || (*end && end[1]))
		return error_set(err, ERROR_INVALID, "invalid tmpfs option \"size=%.64s\"", text);
	*ret = number << 10 * (unit - units);
	return 0;
}

static int tmpfs_options(struct spec_mount *mount, const char *options, struct error *err)
{
	autostrv char **words = strv_split(options, ',');

	strv_for_each(word, words) {
		int r = 0;

		if (str_starts(*word, "size="))
			r = tmpfs_size(*word + 5, &mount->size_bytes, err);
		else if (str_starts(*word, "mode="))
			mount->mode = (uint32_t)strtoul(*word + 5, NULL, 8);
		else if (str_equal(*word, "ro"))
			mount->read_only = true;
		else if (**word && strv_add(&mount->options, *word) < 0)
			r = error_nomem(err);
		if (r < 0)
			return r;
	}
	return 0;
}

CALL(create_take_tmpfs)
{
	const char *path;
	json_t *item;

	if (!json_is_object(value))
		return expected(section, field, "an object of strings", err);
	json_object_foreach((json_t *)value, path, item) {
		struct spec_mount *mount;
		int r;

		if (!json_is_string(item))
			return expected(section, field, "an object of strings", err);
		r = add_mount(create, &mount, err);
		if (r == 0)
			r = set_destination(section, field, mount, path, err);
		if (r < 0)
			return r;
		mount->type = MOUNT_TMPFS;
		r = tmpfs_options(mount, json_string_value(item), err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ------------------------------------------------------------------ Mounts */

static int pairs_of(const json_t *object, struct spec_pair **ret, struct error *err)
{
	size_t n = 0;
	const char *key;
	json_t *item;

	if (!json_object_size(object))
		return 0;
	*ret = calloc(json_object_size(object) + 1, sizeof(**ret));
	if (!*ret)
		return error_nomem(err);
	json_object_foreach((json_t *)object, key, item) {
		if (!json_is_string(item))
			return error_set(err, ERROR_INVALID,
					 "HostConfig.Mounts: \"%.64s\": expected a string", key);
		(*ret)[n].key = strdup(key);
		(*ret)[n].value = strdup(json_string_value(item));
		if (!(*ret)[n].key || !(*ret)[n].value)
			return error_nomem(err);
		n++;
	}
	return 0;
}

static int take_bind_mount(struct spec_mount *mount, const json_t *item, struct error *err)
{
	json_t *options;
	const char *propagation;
	int r = json_get_object(item, "BindOptions", &options, err);

	if (r == 0)
		r = json_get_string(options, "Propagation", &propagation, err);
	if (r == 0)
		r = json_get_bool(options, "NonRecursive", &mount->non_recursive, err);
	if (r == 0)
		r = json_get_bool(options, "CreateMountpoint", &mount->create_source, err);
	if (r < 0)
		return r;
	if (!mount->source)
		return error_set(err, ERROR_INVALID,
				 "invalid mount config for type \"bind\": field Source must not be "
				 "empty");
	if (propagation && *propagation &&
	    !is_one_of(propagation, propagations, ARRAY_SIZE(propagations)))
		return error_set(err, ERROR_INVALID, "invalid propagation mode: %.32s",
				 propagation);
	return set_text(&mount->propagation, propagation, err);
}

static int take_volume_mount(struct spec_mount *mount, const json_t *item, struct error *err)
{
	json_t *options, *labels, *driver, *driver_options;
	const char *name, *subpath;
	int r = json_get_object(item, "VolumeOptions", &options, err);

	if (r == 0)
		r = json_get_bool(options, "NoCopy", &mount->no_copy, err);
	if (r == 0)
		r = json_get_object(options, "Labels", &labels, err);
	if (r == 0)
		r = json_get_string(options, "Subpath", &subpath, err);
	if (r == 0)
		r = json_get_object(options, "DriverConfig", &driver, err);
	if (r == 0)
		r = json_get_string(driver, "Name", &name, err);
	if (r == 0)
		r = json_get_object(driver, "Options", &driver_options, err);
	if (r == 0)
		r = pairs_of(labels, &mount->labels, err);
	if (r == 0)
		r = pairs_of(driver_options, &mount->driver_options, err);
	if (r == 0)
		r = set_text(&mount->driver, name, err);
	return r == 0 ? set_text(&mount->subpath, subpath, err) : r;
}

static int take_tmpfs_mount(struct spec_mount *mount, const json_t *item, struct error *err)
{
	json_t *options;
	int64_t size = 0, mode = 0;
	int r = json_get_object(item, "TmpfsOptions", &options, err);

	if (r == 0)
		r = json_get_int(options, "SizeBytes", &size, err);
	if (r == 0)
		r = json_get_int(options, "Mode", &mode, err);
	if (r < 0)
		return r;
	if (size < 0 || mode < 0 || mode > 07777)
		return error_set(err, ERROR_INVALID,
				 "HostConfig.Mounts: expected a size and a mode in TmpfsOptions");
	if (mount->source)
		return error_set(
			err, ERROR_INVALID,
			"invalid mount config for type \"tmpfs\": field Source must not be "
			"specified");
	mount->size_bytes = (uint64_t)size;
	mount->mode = (uint32_t)mode;
	mount->through_mounts = true;
	return 0;
}

static const struct mount_type {
	const char *name;
	int type;
	int (*take)(struct spec_mount *mount, const json_t *item, struct error *err);
} mount_types[] = {
	{ "bind", MOUNT_BIND, take_bind_mount },
	{ "volume", MOUNT_VOLUME, take_volume_mount },
	{ "tmpfs", MOUNT_TMPFS, take_tmpfs_mount },
};

static int take_mount(const char *section, const struct create_field *field, const json_t *item,
		      struct create_request *create, struct error *err)
{
	const struct mount_type *known = NULL;
	const char *type, *target, *source;
	struct spec_mount *mount;
	bool read_only;
	int r = json_get_string(item, "Type", &type, err);

	if (r == 0)
		r = json_get_string(item, "Target", &target, err);
	if (r == 0)
		r = json_get_string(item, "Source", &source, err);
	if (r == 0)
		r = json_get_bool(item, "ReadOnly", &read_only, err);
	if (r < 0)
		return error_prefix(err, r, "HostConfig.Mounts");
	for (size_t i = 0; type && i < ARRAY_SIZE(mount_types); i++)
		if (strcmp(mount_types[i].name, type) == 0)
			known = &mount_types[i];
	if (!known)
		return error_set(err, ERROR_INVALID,
				 "HostConfig.Mounts: mount type \"%.32s\" unknown: expected bind, "
				 "volume or tmpfs",
				 type ? type : "");
	r = add_mount(create, &mount, err);
	if (r == 0)
		r = set_destination(section, field, mount, target, err);
	if (r < 0)
		return r;
	mount->type = known->type;
	mount->read_only = read_only;
	r = set_text(&mount->source, source, err);
	return r < 0 ? r : known->take(mount, item, err);
}

CALL(create_take_mounts)
{
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		return expected(section, field, "a list", err);
	json_array_foreach((json_t *)value, i, item) {
		int r;

		if (!json_is_object(item))
			return expected(section, field, "a list of objects", err);
		r = take_mount(section, field, item, create, err);
		if (r < 0)
			return r;
	}
	return 0;
}
