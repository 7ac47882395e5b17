#include "hyperctl/mount_option.h"

#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/str.h"
#include "hyperctl/units.h"

struct mount {
	json_t *json;                    /* borrowed: being filled */
	json_t *bind, *volume, *tmpfs;   /* owned: its options */
	json_t *labels, *driver_options; /* owned */
	const char *driver;
};

static bool is_true(const char *value)
{
	return !*value || strcmp(value, "1") == 0 || strcasecmp(value, "true") == 0;
}

static int set_text(json_t *object, const char *key, const char *value)
{
	return json_object_set_new(object, key, json_string(value)) < 0 ? -ENOMEM : 0;
}

static int add_pair(json_t *object, const char *value)
{
	const char *equals = strchr(value, '=');
	autofree char *key = strndup(value, equals ? (size_t)(equals - value) : strlen(value));

	return key ? set_text(object, key, equals ? equals + 1 : "") : -ENOMEM;
}

static int set_size(struct mount *m, const char *value, struct error *err)
{
	uint64_t bytes;
	int r = size_parse(value, &bytes, err);

	if (r == 0)
		json_object_set_new(m->tmpfs, "SizeBytes", json_integer((json_int_t)bytes));
	return r;
}

static int set_mode(struct mount *m, const char *value, struct error *err)
{
	char *end;
	unsigned long mode = strtoul(value, &end, 8);

	if (end == value || *end || mode > 07777)
		return error_set(err, ERROR_INVALID, "tmpfs-mode '%s': expected an octal number",
				 value);
	json_object_set_new(m->tmpfs, "Mode", json_integer((json_int_t)mode));
	return 0;
}

/* Docker's words, with their other spellings. */
enum mount_word {
	WORD_TYPE,
	WORD_SOURCE,
	WORD_TARGET,
	WORD_READ_ONLY,
	WORD_PROPAGATION,
	WORD_NON_RECURSIVE,
	WORD_NO_COPY,
	WORD_SUBPATH,
	WORD_LABEL,
	WORD_DRIVER,
	WORD_DRIVER_OPTION,
	WORD_SIZE,
	WORD_MODE,
	WORD_IGNORED,
};

static const struct {
	const char *name;
	enum mount_word word;
	bool needs_value;
} words[] = {
	{ "type", WORD_TYPE, true },
	{ "source", WORD_SOURCE, true },
	{ "src", WORD_SOURCE, true },
	{ "target", WORD_TARGET, true },
	{ "destination", WORD_TARGET, true },
	{ "dst", WORD_TARGET, true },
	{ "readonly", WORD_READ_ONLY },
	{ "ro", WORD_READ_ONLY },
	{ "consistency", WORD_IGNORED },
	{ "bind-propagation", WORD_PROPAGATION, true },
	{ "bind-nonrecursive", WORD_NON_RECURSIVE },
	{ "volume-nocopy", WORD_NO_COPY },
	{ "volume-subpath", WORD_SUBPATH, true },
	{ "volume-label", WORD_LABEL, true },
	{ "volume-driver", WORD_DRIVER, true },
	{ "volume-opt", WORD_DRIVER_OPTION, true },
	{ "tmpfs-size", WORD_SIZE, true },
	{ "tmpfs-mode", WORD_MODE, true },
};

static int take_word(struct mount *m, const char *text, struct error *err)
{
	const char *equals = strchr(text, '='), *value = equals ? equals + 1 : "";
	size_t len = equals ? (size_t)(equals - text) : strlen(text), i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (strlen(words[i].name) == len && strncasecmp(words[i].name, text, len) == 0)
			break;
	if (i == ARRAY_SIZE(words))
		return error_set(err, ERROR_INVALID, "unexpected key '%.*s'", (int)len, text);
	if (words[i].needs_value && !*value)
		return error_set(err, ERROR_INVALID, "'%.*s': expected a value", (int)len, text);
	switch (words[i].word) {
	case WORD_TYPE:
		return set_text(m->json, "Type", value);
	case WORD_SOURCE:
		return set_text(m->json, "Source", value);
	case WORD_TARGET:
		return set_text(m->json, "Target", value);
	case WORD_READ_ONLY:
		return json_object_set_new(m->json, "ReadOnly", json_boolean(is_true(value)));
	case WORD_PROPAGATION:
		return set_text(m->bind, "Propagation", value);
	case WORD_NON_RECURSIVE:
		return json_object_set_new(m->bind, "NonRecursive", json_boolean(is_true(value)));
	case WORD_NO_COPY:
		return json_object_set_new(m->volume, "NoCopy", json_boolean(is_true(value)));
	case WORD_SUBPATH:
		return set_text(m->volume, "Subpath", value);
	case WORD_LABEL:
		return add_pair(m->labels, value);
	case WORD_DRIVER:
		m->driver = value;
		return 0;
	case WORD_DRIVER_OPTION:
		return add_pair(m->driver_options, value);
	case WORD_SIZE:
		return set_size(m, value, err);
	case WORD_MODE:
		return set_mode(m, value, err);
	case WORD_IGNORED:
		return 0;
	}
	return 0;
}

static void set_object(json_t *to, const char *key, json_t *object)
{
	if (json_object_size(object))
		json_object_set(to, key, object);
}

static int mount_of(const char *text, json_t *json, struct error *err)
{
	autojson json_t *bind = json_object(), *volume = json_object(), *tmpfs = json_object();
	autojson json_t *labels = json_object(), *options = json_object();
	struct mount m = { json, bind, volume, tmpfs, labels, options, NULL };
	autostrv char **parts = strv_split(text, ',');
	int r = 0;

	strv_for_each(part, parts)
		if (r == 0)
			r = take_word(&m, *part, err);
	if (r == 0 && !json_object_get(json, "Target"))
		r = error_set(err, ERROR_INVALID, "target is required");
	if (r < 0)
		return error_prefix(err, r, "--mount '%s'", text);
	if (!json_object_get(json, "Type"))
		set_text(json, "Type", "volume");
	if (m.driver || json_object_size(options)) {
		json_t *driver = json_object();

		set_text(driver, "Name", m.driver ?: "");
		set_object(driver, "Options", options);
		json_object_set_new(volume, "DriverConfig", driver);
	}
	set_object(volume, "Labels", labels);
	set_object(json, "BindOptions", bind);
	set_object(json, "VolumeOptions", volume);
	set_object(json, "TmpfsOptions", tmpfs);
	return 0;
}

int mounts_of(const struct option_list *list, json_t **ret, struct error *err)
{
	autojson json_t *array = json_array();

	for (size_t i = 0; i < list->count; i++) {
		json_t *json = json_object();
		int r;

		json_array_append_new(array, json);
		r = mount_of(list->items[i], json, err);
		if (r < 0)
			return r;
	}
	*ret = steal(array);
	return 0;
}

int volumes_of(const struct option_list *list, json_t **ret_binds, json_t **ret_paths,
	       struct error *err)
{
	autojson json_t *binds = json_array(), *paths = json_object();

	for (size_t i = 0; i < list->count; i++) {
		const char *text = list->items[i], *colon = strchr(text, ':');
		autofree char *cwd = NULL, *absolute = NULL;

		if (!colon) {
			json_object_set_new(paths, text, json_object());
			continue;
		}
		if (*text != '.') {
			json_array_append_new(binds, json_string(text));
			continue;
		}
		cwd = getcwd(NULL, 0);
		if (!cwd)
			return error_errno(err, errno, "the current directory");
		absolute = strf("%s/%s", cwd, text);
		if (!absolute)
			return error_nomem(err);
		json_array_append_new(binds, json_string(absolute));
	}
	*ret_binds = steal(binds);
	*ret_paths = steal(paths);
	return 0;
}
