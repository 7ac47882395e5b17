#include "hyperd/image/platform.h"

#include <string.h>

#include "base/json.h"
#include "base/str.h"

#if defined(__x86_64__)
#define MACHINE_ARCHITECTURE "amd64"
#elif defined(__aarch64__)
#define MACHINE_ARCHITECTURE "arm64"
#else
#error "what do registries call this architecture?"
#endif

/* What people and uname call some. */
static const char *architecture_name(const char *text)
{
	static const char *const names[][2] = {
		{ "x86_64", "amd64" }, { "x86-64", "amd64" }, { "aarch64", "arm64" },
		{ "armhf", "arm" },    { "armel", "arm" },    { "i386", "386" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_equal(text, names[i][0]))
			return names[i][1];
	return text;
}

int platform_parse(const char *text, struct platform *ret, struct error *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	autostrv char **parts = text && *text ? strv_split(text, '/') : NULL;
	const char *os = "linux", *architecture = MACHINE_ARCHITECTURE, *variant = "";
	size_t count = strv_len(parts);

	if (count > 3)
		count = 0;
	for (size_t i = 0; i < count; i++)
		if (!*parts[i] || strlen(parts[i]) >= PLATFORM_TEXT_BYTES ||
		    strspn(parts[i], allowed) != strlen(parts[i]))
			count = 0;
	if (text && *text && count == 0)
		return error_set(err, ERROR_INVALID,
				 "platform '%.100s': expected OS/ARCHITECTURE[/VARIANT]", text);
	if (count == 1 && (str_equal(parts[0], "linux") || str_equal(parts[0], "windows")))
		os = parts[0];
	else if (count == 1)
		architecture = architecture_name(parts[0]);
	if (count > 1) {
		os = parts[0];
		architecture = architecture_name(parts[1]);
	}
	if (count > 2)
		variant = parts[2];
	memset(ret, 0, sizeof(*ret));
	strcpy(ret->os, os);
	strcpy(ret->architecture, architecture);
	strcpy(ret->variant, variant);
	return 0;
}

int platform_match(const json_t *object, const struct platform *platform, bool *ret,
		   struct error *err)
{
	const char *os, *architecture, *variant;
	int r = json_get_string(object, "os", &os, err);

	if (r == 0)
		r = json_get_string(object, "architecture", &architecture, err);
	if (r == 0)
		r = json_get_string(object, "variant", &variant, err);
	if (r < 0)
		return error_prefix(err, r, "platform");
	*ret = str_equal(os, platform->os) && str_equal(architecture, platform->architecture) &&
	       (!*platform->variant || str_equal(variant, platform->variant));
	return 0;
}
