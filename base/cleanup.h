#pragma once
/*
 * Cleanup attributes: what a function holds is let go when its variable leaves scope. steal() hands
 * a pointer on and leaves NULL behind, so that the success path and the failure paths share one
 * exit.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <dirent.h>

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void cleanup_closedir(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define autofree     __attribute__((cleanup(cleanup_free)))
#define autoclose    __attribute__((cleanup(cleanup_close)))
#define autofclose   __attribute__((cleanup(cleanup_fclose)))
#define autoclosedir __attribute__((cleanup(cleanup_closedir)))

/* Returns the pointer in VAR and leaves NULL there. */
#define steal(var)                                    \
	({                                            \
		__typeof__(var) steal_value_ = (var); \
		(var) = NULL;                         \
		steal_value_;                         \
	})

/* Returns the descriptor in *fd and leaves -1 there. */
static inline int steal_fd(int *fd)
{
	int value = *fd;

	*fd = -1;
	return value;
}

/*
 * DEFINE_CLEANUP(image_unref, struct image *) defines cleanup_image_unref for
 * `autoptr(image_unref) struct image *image = NULL;`. The function must take NULL.
 */
#define DEFINE_CLEANUP(fn, type)                 \
	static inline void cleanup_##fn(type *p) \
	{                                        \
		if (*p)                          \
			fn(*p);                  \
	}                                        \
	struct cleanup_##fn##_semicolon_
#define autoptr(fn) __attribute__((cleanup(cleanup_##fn)))

#define ARRAY_SIZE(a)                 (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
