#pragma once
/* What every unit test includes: cmocka and the headers it wants before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Asserts that a call returned 0, and shows its error otherwise. */
#define assert_ok(call, err)                                                        \
	do {                                                                        \
		int assert_ok_r_ = (call);                                          \
		if (assert_ok_r_ != 0)                                              \
			fail_msg("%s: %d: %s", #call, assert_ok_r_, (err).message); \
	} while (0)
#define assert_contains(text, part)                                         \
	do {                                                                \
		if (!strstr(text, part))                                    \
			fail_msg("'%s' does not contain '%s'", text, part); \
	} while (0)
