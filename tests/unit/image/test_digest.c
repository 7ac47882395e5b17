#include "tests/unit/test.h"

#include <unistd.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "hyperd/image/digest.h"

#define ABC "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void known_answers(void **state)
{
	autoptr(digest_stream_free) struct digest_stream *stream = NULL;
	autoclose int fd = memfd_create("digest", MFD_CLOEXEC);
	char text[DIGEST_TEXT_BYTES];
	struct error err = { 0 };
	uint64_t bytes;

	assert_ok(digest_data("abc", 3, text, &err), err);
	assert_string_equal(text, ABC);
	assert_ok(digest_stream_new(&stream, &err), err);
	for (const char *p = "abc"; *p; p++)
		assert_ok(digest_stream_update(stream, p, 1, &err), err);
	assert_ok(digest_stream_final(stream, text, &err), err);
	assert_string_equal(text, ABC);
	assert_int_equal(fd_write_all(fd, "xabc", 4), 0);
	assert_int_equal(lseek(fd, 1, SEEK_SET), 1);
	assert_ok(digest_fd(fd, text, &bytes, &err), err);
	assert_string_equal(text, ABC);
	assert_int_equal(bytes, 3);
}

static void only_whole_lower_case_sha256_is_valid(void **state)
{
	static const char *const bad[] = {
		NULL,
		"",
		"sha256:",
		"sha512:ba7816bf8f01cfea414140de5dae2223",
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"sha256:BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a",
		"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad0",
		"sha256:../../../../../../../../../../../../../../../../../../../../x/y",
	};
	struct error err = { 0 };

	assert_true(digest_is_valid(ABC));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_false(digest_is_valid(bad[i]));
		assert_int_equal(digest_check("x", bad[i], &err), -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers),
		cmocka_unit_test(only_whole_lower_case_sha256_is_valid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
