#include "base/mount_options.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "base/str.h"

/* mount(8); OCI runtime spec, config.md, mounts. */
static const struct option_word {
	const char *word;
	unsigned long set, clear, propagation;
	bool recursive, bind;
} words_known[] = {
	{ "defaults" },
	{ "rw", 0, MS_RDONLY },
	{ "ro", MS_RDONLY },
	{ "nosuid", MS_NOSUID },
	{ "suid", 0, MS_NOSUID },
	{ "nodev", MS_NODEV },
	{ "dev", 0, MS_NODEV },
	{ "noexec", MS_NOEXEC },
	{ "exec", 0, MS_NOEXEC },
	{ "noatime", MS_NOATIME },
	{ "atime", 0, MS_NOATIME },
	{ "nodiratime", MS_NODIRATIME },
	{ "diratime", 0, MS_NODIRATIME },
	{ "relatime", MS_RELATIME },
	{ "norelatime", 0, MS_RELATIME },
	{ "strictatime", MS_STRICTATIME },
	{ "sync", MS_SYNCHRONOUS },
	{ "async", 0, MS_SYNCHRONOUS },
	{ "dirsync", MS_DIRSYNC },
	{ "bind", .bind = true },
	{ "rbind", .recursive = true, .bind = true },
	{ "private", .propagation = MS_PRIVATE },
	{ "rprivate", .propagation = MS_PRIVATE | MS_REC },
	{ "shared", .propagation = MS_SHARED },
	{ "rshared", .propagation = MS_SHARED | MS_REC },
	{ "slave", .propagation = MS_SLAVE },
	{ "rslave", .propagation = MS_SLAVE | MS_REC },
};

static const struct option_word *find_word(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(words_known); i++)
		if (strcmp(words_known[i].word, word) == 0)
			return &words_known[i];
	return NULL;
}

int mount_options_parse(char *const *words, size_t count, struct mount_options *ret,
			struct error *err)
{
	struct mount_options options = { 0 };
	autostr struct str data = STR_INIT;

	for (size_t i = 0; i < count; i++) {
		const struct option_word *known = find_word(words[i]);

		if (!known) {
			if (data.len)
				str_addc(&data, ',');
			str_add(&data, words[i]);
			continue;
		}
		options.flags = (options.flags | known->set) & ~known->clear;
		options.recursive |= known->recursive;
		options.bind |= known->bind;
		if (known->propagation)
			options.propagation = known->propagation;
	}
	if (data.failed)
		return error_nomem(err);
	if (data.len)
		options.data = str_steal(&data);
	*ret = options;
	return 0;
}

void mount_options_done(struct mount_options *options)
{
	free(options->data);
	options->data = NULL;
}
