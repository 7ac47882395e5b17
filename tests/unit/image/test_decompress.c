#include "tests/unit/test.h"

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "base/str.h"
#include "hyperd/image/decompress.h"

struct bytes {
	const struct str *data;
	size_t at, piece;
};

static ssize_t read_bytes(void *arg, void *buf, size_t len, struct error *err)
{
	struct bytes *b = arg;
	size_t left = b->data->len - b->at;

	len = len > left ? left : len;
	len = len > b->piece ? b->piece : len;
	memcpy(buf, str_text(b->data) + b->at, len);
	b->at += len;
	return (ssize_t)len;
}

static int decompress(const struct str *data, size_t piece, struct str *out, enum compression *kind,
		      struct error *err)
{
	struct bytes bytes = { data, 0, piece };
	autoptr(decompressor_free) struct decompressor *d = NULL;
	char buf[1000];
	ssize_t n;
	int r = decompressor_new(read_bytes, &bytes, &d, err);

	str_clear(out);
	if (r < 0)
		return r;
	while ((n = decompressor_read(d, buf, sizeof(buf), err)) > 0)
		str_append(out, buf, (size_t)n);
	*kind = decompressor_kind(d);
	return (int)n;
}

static void text_of(struct str *text)
{
	for (int i = 0; i < 5000; i++)
		str_addf(text, "line %d of the text\n", i * i);
}

static void add_gzip(const struct str *text, struct str *out)
{
	uLongf len = compressBound(text->len) + 32;
	autofree unsigned char *packed = malloc(len);
	z_stream z = { 0 };

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (unsigned char *)text->data;
	z.avail_in = (uInt)text->len;
	z.next_out = packed;
	z.avail_out = (uInt)len;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	str_append(out, packed, z.total_out);
	deflateEnd(&z);
}

static void add_zstd(const struct str *text, struct str *out)
{
	size_t len = ZSTD_compressBound(text->len);
	autofree char *packed = malloc(len);

	len = ZSTD_compress(packed, len, text->data, text->len, 3);
	assert_false(ZSTD_isError(len));
	str_append(out, packed, len);
}

static const struct {
	enum compression kind;
	void (*add)(const struct str *text, struct str *out);
} kinds[] = { { COMPRESSION_GZIP, add_gzip }, { COMPRESSION_ZSTD, add_zstd } };

static void streams_come_back(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		autostr struct str text = STR_INIT, packed = STR_INIT, out = STR_INIT;
		enum compression kind;
		struct error err = { 0 };

		text_of(&text);
		kinds[i].add(&text, &packed);
		for (size_t piece = 1; piece <= packed.len; piece = piece * 7 + 1) {
			assert_ok(decompress(&packed, piece, &out, &kind, &err), err);
			assert_int_equal(kind, kinds[i].kind);
			assert_int_equal(out.len, text.len);
			assert_memory_equal(out.data, text.data, text.len);
		}
		/* Two in a row are one stream. */
		kinds[i].add(&text, &packed);
		assert_ok(decompress(&packed, 1000, &out, &kind, &err), err);
		assert_int_equal(out.len, 2 * text.len);
	}
}

static void plain_bytes_pass(void **state)
{
	static const char *const texts[] = {
		"", "a", "ustar", "\x1f", "(\xb5/", "longer than eight"
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		autostr struct str text = STR_INIT, out = STR_INIT;
		enum compression kind;
		struct error err = { 0 };

		str_add(&text, texts[i]);
		assert_ok(decompress(&text, 2, &out, &kind, &err), err);
		assert_int_equal(kind, COMPRESSION_NONE);
		assert_string_equal(str_text(&out), texts[i]);
	}
}

static void every_cut_is_noticed(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		autostr struct str text = STR_INIT, packed = STR_INIT, out = STR_INIT;
		enum compression kind;
		struct error err = { 0 };
		size_t whole;

		str_add(&text, "a short text that is packed");
		kinds[i].add(&text, &packed);
		whole = packed.len;
		for (packed.len = 4; packed.len < whole; packed.len++)
			assert_true(decompress(&packed, 10, &out, &kind, &err) < 0);
		packed.len = whole;
	}
}

static void damage_and_garbage_are_noticed(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		autostr struct str text = STR_INIT, packed = STR_INIT, out = STR_INIT;
		enum compression kind;
		struct error err = { 0 };

		text_of(&text);
		kinds[i].add(&text, &packed);
		packed.data[packed.len / 2] ^= 0x55;
		assert_true(decompress(&packed, 1000, &out, &kind, &err) < 0 ||
			    memcmp(out.data, text.data, text.len) != 0);
		packed.data[packed.len / 2] ^= 0x55;
		str_add(&packed, "garbage");
		assert_true(decompress(&packed, 1000, &out, &kind, &err) < 0);
	}
}

static void others_are_named(void **state)
{
	static const char *const magics[] = { "BZh91AY&SY", "\xfd"
							    "7zXZ123" };

	for (size_t i = 0; i < ARRAY_SIZE(magics); i++) {
		autostr struct str text = STR_INIT, out = STR_INIT;
		enum compression kind;
		struct error err = { 0 };

		str_add(&text, magics[i]);
		assert_true(decompress(&text, 100, &out, &kind, &err) < 0);
		assert_int_equal(err.kind, ERROR_UNSUPPORTED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_come_back),
		cmocka_unit_test(plain_bytes_pass),
		cmocka_unit_test(every_cut_is_noticed),
		cmocka_unit_test(damage_and_garbage_are_noticed),
		cmocka_unit_test(others_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
