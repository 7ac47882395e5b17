#include "hyperd/pod/names.h"

#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include "base/str.h"

static const char *const adjectives[] = {
	"amber",  "ancient", "autumn", "brave",  "bright",  "brisk",  "calm",  "cheerful",
	"clear",  "clever",  "cosy",   "crisp",  "curious", "daring", "deep",  "early",
	"eager",  "fair",    "fleet",  "gentle", "golden",  "grand",  "green", "happy",
	"hidden", "humble",  "icy",    "jolly",  "keen",    "kind",   "late",  "light",
	"lively", "lucky",   "mellow", "merry",  "misty",   "modest", "noble", "patient",
	"plain",  "polite",  "proud",  "quick",  "quiet",   "rapid",  "ready", "rustic",
	"serene", "sharp",   "silent", "silver", "simple",  "smooth", "solid", "spare",
	"steady", "still",   "sunny",  "swift",  "tidy",    "warm",   "wild",  "wise",
};

static const char *const nouns[] = {
	"acorn",  "anchor",  "badger",  "basin",  "beacon",  "birch",  "bridge", "brook",
	"canyon", "cedar",   "cliff",   "comet",  "coral",   "cove",   "crane",  "delta",
	"dune",   "ember",   "falcon",  "fern",   "field",   "finch",  "fjord",  "forest",
	"fox",    "garden",  "glacier", "grove",  "harbour", "hare",   "heron",  "hill",
	"island", "ivy",     "juniper", "lagoon", "lantern", "lark",   "maple",  "marsh",
	"meadow", "mill",    "moss",    "oak",    "orchard", "otter",  "owl",    "pebble",
	"pine",   "pond",    "quarry",  "raven",  "reef",    "ridge",  "river",  "robin",
	"sail",   "sparrow", "spring",  "stone",  "thistle", "valley", "willow", "wren",
};

int name_check(const char *what, const char *name, struct error *err)
{
	static const char alnum[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	static const char more[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789_.-";
	size_t len = strlen(name), least = strcmp(what, "container") == 0 ? 2 : 1;

	if (len < least || !strchr(alnum, name[0]) || strspn(name, more) != len)
		return error_set(err, ERROR_INVALID,
				 "Invalid %s name (%.300s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are "
				 "allowed",
				 what, name);
	if (len > NAME_MAX_BYTES)
		return error_set(err, ERROR_INVALID,
				 "Invalid %s name (%.40s…): longer than %d characters", what, name,
				 NAME_MAX_BYTES);
	return 0;
}

char *name_make(unsigned attempt)
{
	uint32_t random = 0;
	const char *a, *n;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random = attempt * 2654435761u;
	a = adjectives[random % ARRAY_SIZE(adjectives)];
	n = nouns[random / ARRAY_SIZE(adjectives) % ARRAY_SIZE(nouns)];
	return attempt ? strf("%s_%s%u", a, n, attempt) : strf("%s_%s", a, n);
}

int id_make(char id[ID_BYTES + 1], struct error *err)
{
	static const char hex[] = "0123456789abcdef";
	uint8_t random[ID_BYTES / 2];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return error_errno(err, errno, "getting random numbers");
	for (size_t i = 0; i < sizeof(random); i++) {
		id[2 * i] = hex[random[i] >> 4];
		id[2 * i + 1] = hex[random[i] & 15];
	}
	id[ID_BYTES] = '\0';
	return 0;
}

int id_match(const char *id, const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > ID_BYTES || strncmp(id, text, len) != 0)
		return 0;
	return len == ID_BYTES ? 2 : 1;
}
