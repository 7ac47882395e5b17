#pragma once
/* A directory that plays a container's root, made and removed for each test. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"

struct tree {
	char top[64]; /* what a link must not lead to is in it, beside the root */
	int root_fd;
};

static int tree_setup(void **state)
{
	struct tree *t = calloc(1, sizeof(*t));
	char path[80];

	strcpy(t->top, "/tmp/hyper-root-XXXXXX");
	assert_non_null(mkdtemp(t->top));
	snprintf(path, sizeof(path), "%s/root", t->top);
	assert_int_equal(mkdir(path, 0755), 0);
	t->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(t->root_fd >= 0);
	*state = t;
	return 0;
}

static int tree_teardown(void **state)
{
	struct tree *t = *state;

	close(t->root_fd);
	file_remove_tree(AT_FDCWD, t->top, NULL);
	free(t);
	return 0;
}

static void put(const struct tree *t, const char *path, const char *text, size_t len)
{
	struct error err = { 0 };
	autofree char *dir = strdup(path);
	char *slash = strrchr(dir, '/');

	if (slash) {
		*slash = '\0';
		assert_ok(file_make_dirs(t->root_fd, dir, 0755, &err), err);
	}
	assert_ok(file_write_atomic(t->root_fd, path, text, len, 0644, false, &err), err);
}

static __attribute__((unused)) void put_text(const struct tree *t, const char *path,
					     const char *text)
{
	put(t, path, text, strlen(text));
}

static __attribute__((unused)) void put_link(const struct tree *t, const char *target,
					     const char *path)
{
	assert_int_equal(symlinkat(target, t->root_fd, path), 0);
}

#define TREE_TEST(name) cmocka_unit_test_setup_teardown(name, tree_setup, tree_teardown)
