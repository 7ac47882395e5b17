#include "tests/unit/test.h"

#include "wire/frame.h"

static const struct frame_header sample = {
	.type = FRAME_DATA, .length = 4711, .stream = 12, .offset = 0x123456789abcull
};

static void headers_round_trip(void **state)
{
	uint8_t bytes[FRAME_HEADER], trailer[FRAME_TRAILER];
	struct frame_header back;

	frame_header_encode(&sample, bytes);
	frame_trailer_encode(&sample, trailer);
	assert_int_equal(frame_header_decode(bytes, &back), 0);
	assert_int_equal(back.type, sample.type);
	assert_int_equal(back.length, sample.length);
	assert_int_equal(back.stream, sample.stream);
	assert_true(back.offset == sample.offset);
	assert_int_equal(frame_trailer_check(&back, trailer), 0);
}

static void every_changed_bit_is_noticed(void **state)
{
	uint8_t bytes[FRAME_HEADER], trailer[FRAME_TRAILER];
	struct frame_header back;

	frame_header_encode(&sample, bytes);
	for (int bit = 0; bit < FRAME_HEADER * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(frame_header_decode(bytes, &back), -EBADMSG);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	frame_trailer_encode(&sample, trailer);
	for (int bit = 0; bit < FRAME_TRAILER * 8; bit++) {
		trailer[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(frame_trailer_check(&sample, trailer), -EBADMSG);
		trailer[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void refused(struct frame_header h)
{
	uint8_t bytes[FRAME_HEADER];
	struct frame_header back;

	frame_header_encode(&h, bytes);
	assert_int_equal(frame_header_decode(bytes, &back), -EBADMSG);
}

static void wrong_combinations_are_refused(void **state)
{
	refused((struct frame_header){ .type = FRAME_CONTROL, .stream = 1, .length = 1 });
	refused((struct frame_header){ .type = FRAME_DATA, .stream = 0, .length = 1 });
	refused((struct frame_header){
		.type = FRAME_DATA, .stream = 1, .length = FRAME_MAX_PAYLOAD + 1 });
	refused((struct frame_header){ .type = FRAME_DATA, .stream = 1, .length = UINT32_MAX });
	refused((struct frame_header){ .type = FRAME_ACK, .stream = 1, .length = 1 });
	refused((struct frame_header){ .type = FRAME_DATA, .stream = 1, .flags = FRAME_MORE });
	refused((struct frame_header){ .type = 0, .stream = 1 });
	refused((struct frame_header){ .type = FRAME_TYPE_END, .stream = 1 });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_round_trip),
		cmocka_unit_test(every_changed_bit_is_noticed),
		cmocka_unit_test(wrong_combinations_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
