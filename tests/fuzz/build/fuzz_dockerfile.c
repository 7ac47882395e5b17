#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/ignore.h"
#include "base/str.h"
#include "hyperd/build/dockerfile.h"
#include "hyperd/build/expand.h"

static void expand_all(const struct instruction *in, char escape)
{
	static const char *const env[] = { "a=1", "PATH=/bin:/usr/bin", "empty=", NULL };

	strv_for_each(arg, in->args) {
		autofree char *word = NULL;
		autostrv char **words = NULL;

		expand_word(*arg, (char *const *)env, escape, &word, NULL);
		expand_words(*arg, (char *const *)env, escape, &words, NULL);
	}
}

/* A Dockerfile; what was read can be read again. The same bytes as a .dockerignore. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoptr(ignore_free) struct ignore *ignore = NULL;
	autodockerfile struct dockerfile file = { 0 };
	struct error err = { 0 };

	if (size < 4096 && ignore_parse((const char *)data, size, &ignore, &err) == 0) {
		ignore_match(ignore, "a/b/Dockerfile");
		ignore_may_hold(ignore, "a/b");
	}
	if (dockerfile_parse((const char *)data, size, "Dockerfile", &file, &err) < 0)
		return 0;
	for (size_t i = 0; i < file.count; i++) {
		struct instruction again = { 0 };

		if (instruction_parse(file.instructions[i].text, file.escape, &again, &err) < 0)
			abort();
		if (again.kind != file.instructions[i].kind ||
		    strv_len(again.args) != strv_len(file.instructions[i].args))
			abort();
		expand_all(&file.instructions[i], file.escape);
		instruction_done(&again);
	}
	return 0;
}
