#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "base/task.h"
#include "hyperd/logdriver/file_log.h"

/* A log in a directory of its own; each test runs as a task. */
struct world {
	char root[64];
	struct loop *loop;
	struct job_pool *jobs;
	struct log *log;
	struct log_option options[8];
	struct log_option labels[3];
	char **env;
	void (*test)(struct world *w);
};

#define NAME "c0ffee-json.log"

static void open_log(struct world *w)
{
	const struct log_config config = {
		.loop = w->loop,
		.jobs = w->jobs,
		.directory = w->root,
		.container_id = "c0ffee",
		.container_name = "web",
		.image_name = "box",
		.options = w->options,
		.labels = w->labels,
		.env = w->env,
	};
	struct error err = { 0 };

	assert_ok(log_driver_open("json-file", &config, &w->log, &err), err);
}

static void reopen(struct world *w)
{
	log_close(w->log);
	open_log(w);
}

/* Without a word to the log, as after SIGKILL: what was gathered and not written is gone. */
static void crash(struct world *w)
{
	str_clear(&file_log(w->log)->batch);
	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		line_splitter_clear(&file_log(w->log)->streams[i].lines);
	w->log->driver->close(w->log);
	w->log->closed = true;
	log_unref(w->log);
	open_log(w);
}

static void task(void *arg)
{
	struct world *w = arg;

	w->test(w);
}

static void run(struct world *w, void (*test)(struct world *w))
{
	struct error err = { 0 };

	w->test = test;
	strcpy(w->root, "/tmp/hyper-test-XXXXXX");
	assert_non_null(mkdtemp(w->root));
	assert_ok(loop_new(&w->loop, &err), err);
	assert_ok(job_pool_new(w->loop, 1, &w->jobs, &err), err);
	assert_ok(task_run(w->loop, task, w, &err), err);
	log_close(w->log);
	job_pool_free(w->jobs);
	loop_free(w->loop);
	strv_free(w->env);
	file_remove_tree(AT_FDCWD, w->root, NULL);
}

static void put(struct world *w, enum log_stream stream, const char *text)
{
	log_write(w->log, stream, 1700000000123456789ull, text, strlen(text));
}

static void flush(struct world *w)
{
	struct error err = { 0 };

	assert_ok(log_flush(w->log, &err), err);
}

static char *content(struct world *w, const char *suffix)
{
	autofree char *path = strf("%s/%s%s", w->root, NAME, suffix);
	char *text = NULL;
	struct error err = { 0 };

	assert_ok(file_read(AT_FDCWD, path, 100 << 20, &text, NULL, &err), err);
	return text;
}

static bool exists(struct world *w, const char *suffix)
{
	autofree char *path = strf("%s/%s%s", w->root, NAME, suffix);

	return access(path, F_OK) == 0;
}

struct result {
	struct str text, details;
	unsigned records;
	unsigned stop_after;
};

static int collect(const struct log_record *record, void *arg)
{
	struct result *result = arg;

	str_add(&result->text, record->stream == LOG_STDERR ? "E:" : "");
	str_append(&result->text, record->data, record->len);
	str_add(&result->details, record->details);
	return ++result->records == result->stop_after;
}

static void expect(struct world *w, const struct log_query *query, const char *expected)
{
	struct result result = { 0 };
	struct error err = { 0 };

	assert_ok(log_read(w->log, query, collect, &result, &err), err);
	assert_string_equal(str_text(&result.text), expected);
	str_done(&result.text);
	str_done(&result.details);
}

static const struct log_query all = { .want = { true, true }, .tail = -1 };

/* ------------------------------------------------------------------ the format */

static void the_format_is_dockers(struct world *w)
{
	autofree char *text = NULL;

	open_log(w);
	put(w, LOG_STDOUT, "a \"b\" \\ \t<&>\x01 \xc3\xa4 \xff \xe2\x80\xa8\n");
	put(w, LOG_STDERR, "oops\n");
	flush(w);
	text = content(w, "");
	assert_string_equal(
		text,
		"{\"log\":\"a \\\"b\\\" \\\\ \\t\\u003c\\u0026\\u003e\\u0001 \xc3\xa4 \\ufffd "
		"\\u2028\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.123456789Z\"}\n"
		"{\"log\":\"oops\\n\",\"stream\":\"stderr\",\"time\":\"2023-11-14T22:13:20."
		"123456789Z\"}\n");
	expect(w, &all, "a \"b\" \\ \t<&>\x01 \xc3\xa4 \xef\xbf\xbd \xe2\x80\xa8\nE:oops\n");
}

static void times(void **state)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} cases[] = {
		{ 0, "1970-01-01T00:00:00Z" },
		{ 951782400ull * NSEC_PER_SEC, "2000-02-29T00:00:00Z" },
		{ 4102444799ull * NSEC_PER_SEC + 500000000, "2099-12-31T23:59:59.5Z" },
		{ 1709251199ull * NSEC_PER_SEC + 1, "2024-02-29T23:59:59.000000001Z" },
	};
	static const char *const bad[] = { "",
					   "2024",
					   "2024-13-01T00:00:00Z",
					   "2024-01-01T00:00:00",
					   "2024-01-01T00:00:00.Z",
					   "2024-01-01T00:00:00Zx",
					   "1960-01-01T00:00:00Z" };
	char text[LOG_TIME_BYTES];
	uint64_t ns;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		log_time_format(cases[i].ns, text);
		assert_string_equal(text, cases[i].text);
		assert_int_equal(log_time_parse(text, strlen(text), &ns), 0);
		assert_int_equal(ns, cases[i].ns);
	}
	assert_int_equal(log_time_parse("2023-11-15T00:13:20+02:00", 25, &ns), 0);
	assert_int_equal(ns, 1700000000ull * NSEC_PER_SEC);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(log_time_parse(bad[i], strlen(bad[i]), &ns), -EINVAL);
}

static void lines_are_put_together_and_long_ones_cut(struct world *w)
{
	autofree char *line = malloc(40002), *text = NULL;
	struct result result = { 0 };
	struct error err = { 0 };

	open_log(w);
	put(w, LOG_STDOUT, "one");
	put(w, LOG_STDERR, "other\n");
	put(w, LOG_STDOUT, " and");
	put(w, LOG_STDOUT, " two\nthree\nfo");
	flush(w);
	expect(w, &all, "E:other\none and two\nthree\n");
	assert_int_equal(log_stored(w->log, LOG_STDOUT), strlen("one and two\nthree\n"));
	put(w, LOG_STDOUT, "ur\n");

	/* 16 KiB pieces, as Docker. */
	memset(line, 'x', 40000);
	strcpy(line + 40000, "\n");
	log_write(w->log, LOG_STDOUT, 1, line, 10);
	log_write(w->log, LOG_STDOUT, 2, line + 10, 39991);
	flush(w);
	assert_ok(log_read(w->log, &all, collect, &result, &err), err);
	assert_int_equal(result.records, 4 + 3);
	assert_int_equal(result.text.len, strlen("E:other\none and two\nthree\nfour\n") + 40001);
	text = content(w, "");
	assert_contains(text, "x\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:00.000000001Z"
			      "\"}\n{\"log\":\"x");
	str_done(&result.text);
	str_done(&result.details);

	/* What has begun when the stream ends is a record without a newline. */
	put(w, LOG_STDOUT, "end");
	log_end(w->log, LOG_STDOUT, 3);
	flush(w);
	free(steal(text));
	text = content(w, "");
	assert_contains(text, "{\"log\":\"end\",");
}

static void a_character_is_not_cut_in_two(struct world *w)
{
	autofree char *line = malloc(20000), *text = NULL;

	open_log(w);
	memset(line, 'x', 20000);
	memcpy(line + 16383, "\xc3\xa4", 2);
	line[19999] = '\n';
	log_write(w->log, LOG_STDOUT, 1, line, 20000);
	flush(w);
	text = content(w, "");
	assert_null(strstr(text, "ufffd"));
	assert_contains(text, "\xc3\xa4");
}

/* ------------------------------------------------------------------ rotation */

static void put_lines(struct world *w, int from, int to)
{
	for (int i = from; i < to; i++) {
		char line[32];

		snprintf(line, sizeof(line), "line %04d\n", i);
		put(w, LOG_STDOUT, line);
	}
	flush(w);
}

static char *lines(int from, int to)
{
	struct str text = STR_INIT;

	for (int i = from; i < to; i++)
		str_addf(&text, "line %04d\n", i);
	return str_steal(&text);
}

static void files_rotate(struct world *w)
{
	struct log_query query = all;
	autofree char *text = NULL, *tail = NULL;
	struct result result = { 0 };
	struct error err = { 0 };

	w->options[0] = (struct log_option){ "max-size", "1k" };
	w->options[1] = (struct log_option){ "max-file", "3" };
	open_log(w);
	put_lines(w, 0, 100);
	assert_true(exists(w, "") && exists(w, ".1") && exists(w, ".2"));
	assert_false(exists(w, ".3"));
	text = content(w, ".1");
	/* Full when it reached the limit, not a record more. */
	assert_true(strlen(text) >= 1000 && strlen(text) < 1000 + 90);
	assert_ok(log_read(w->log, &all, collect, &result, &err), err);
	assert_true(result.records > 24 && result.records < 50);
	assert_true(str_ends(str_text(&result.text), "line 0099\n"));
	str_done(&result.text);
	str_done(&result.details);

	/* A tail across files, and a later daemon sees the same. */
	query.tail = 20;
	tail = lines(80, 100);
	expect(w, &query, tail);
	reopen(w);
	expect(w, &query, tail);
	query.tail = 0;
	expect(w, &query, "");
	query.tail = 1;
	expect(w, &query, "line 0099\n");
	query.tail = 100000;
	result.records = 0;
	assert_ok(log_read(w->log, &query, collect, &result, &err), err);
	assert_true(result.records > 24 && result.records < 50);
	str_done(&result.text);
	str_done(&result.details);
}

static void one_file_begins_anew(struct world *w)
{
	w->options[0] = (struct log_option){ "max-size", "1000" };
	open_log(w);
	put_lines(w, 0, 100);
	assert_true(exists(w, ""));
	assert_false(exists(w, ".1"));
}

static void old_files_are_compressed(struct world *w)
{
	struct log_query query = all;
	autofree char *expected = NULL;
	int i = 0;

	w->options[0] = (struct log_option){ "max-size", "10k" };
	w->options[1] = (struct log_option){ "max-file", "4" };
	w->options[2] = (struct log_option){ "compress", "true" };
	open_log(w);
	for (; i < 300; i += 10) {
		put_lines(w, i, i + 10);
		while (file_log(w->log)->compressing)
			assert_int_equal(task_yield(), 0);
	}
	assert_true(exists(w, ".1.gz"));
	assert_false(exists(w, ".1"));
	expected = lines(0, 300);
	expect(w, &all, expected);
	free(steal(expected));
	query.tail = 250;
	expected = lines(50, 300);
	expect(w, &query, expected);
}

/* ------------------------------------------------------------------ reading */

static void since_until_and_streams(struct world *w)
{
	struct log_query query = all;

	open_log(w);
	for (int i = 1; i <= 5; i++) {
		char line[8];

		snprintf(line, sizeof(line), "%d\n", i);
		log_write(w->log, i % 2 ? LOG_STDOUT : LOG_STDERR, (uint64_t)i * NSEC_PER_SEC, line,
			  2);
	}
	flush(w);
	query.since_ns = 2 * NSEC_PER_SEC;
	query.until_ns = 4 * NSEC_PER_SEC;
	expect(w, &query, "E:2\n3\nE:4\n");
	query.want[LOG_STDERR] = false;
	expect(w, &query, "3\n");
}

static void damaged_lines_are_passed_over(struct world *w)
{
	autofree char *path = strf("%s/%s", w->root, NAME);
	static const char damage[] = "{\"log\":\"cut\n\nnot json\n{\"log\":1}\n"
				     "{\"log\":\"x\\n\",\"stream\":\"stdout\"}\n{\"log\":\"";
	int fd;

	open_log(w);
	put(w, LOG_STDOUT, "before\n");
	flush(w);
	log_close(w->log);
	w->log = NULL;
	/* The machine lost power: no state, half a record at the end. */
	free(steal(path));
	path = strf("%s/%s.state", w->root, NAME);
	assert_int_equal(unlink(path), 0);
	free(steal(path));
	path = strf("%s/%s", w->root, NAME);
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(write(fd, damage, sizeof(damage) - 1), sizeof(damage) - 1);
	close(fd);
	open_log(w);
	put(w, LOG_STDOUT, "after\n");
	flush(w);
	expect(w, &all, "before\nafter\n");
}

struct follower {
	struct world *w;
	struct log_query query;
	struct result result;
};

static void follow(void *arg)
{
	struct follower *f = arg;
	struct error err = { 0 };

	assert_ok(log_read(f->w->log, &f->query, collect, &f->result, &err), err);
}

static void following_goes_through_rotations(struct world *w)
{
	struct follower f = { .w = w, .query = all };
	struct task *reader;
	autofree char *expected = lines(0, 200);
	struct error err = { 0 };

	w->options[0] = (struct log_option){ "max-size", "2k" };
	w->options[1] = (struct log_option){ "max-file", "5" };
	open_log(w);
	f.query.follow = true;
	assert_ok(task_spawn(w->loop, "reader", follow, &f, &reader, &err), err);
	for (int i = 0; i < 200; i += 5) {
		put_lines(w, i, i + 5);
		for (int k = 0; k < 5; k++)
			assert_int_equal(task_yield(), 0);
	}
	log_finish(w->log);
	assert_int_equal(task_join(reader, DEADLINE_NEVER), 0);
	assert_string_equal(str_text(&f.result.text), expected);
	task_unref(reader);
	str_done(&f.result.text);
	str_done(&f.result.details);
}

static void a_reader_outlives_the_log(struct world *w)
{
	struct follower f = { .w = w, .query = all };
	struct task *reader;
	struct error err = { 0 };

	open_log(w);
	put_lines(w, 0, 3);
	f.query.follow = true;
	assert_ok(task_spawn(w->loop, "reader", follow, &f, &reader, &err), err);
	for (int k = 0; k < 5; k++)
		assert_int_equal(task_yield(), 0);
	log_close(w->log);
	w->log = NULL;
	assert_int_equal(task_join(reader, DEADLINE_NEVER), 0);
	assert_int_equal(f.result.records, 3);
	task_unref(reader);
	str_done(&f.result.text);
	str_done(&f.result.details);
}

static void details_come_from_labels_and_environment(struct world *w)
{
	struct log_query query = all;
	struct result result = { 0 };
	struct error err = { 0 };
	autofree char *text = NULL;

	w->options[0] = (struct log_option){ "labels", "tier,absent" };
	w->options[1] = (struct log_option){ "env-regex", "^(A|B)$" };
	w->options[2] = (struct log_option){ "tag", "{{.Name}}/{{.ID}}" };
	w->labels[0] = (struct log_option){ "tier", "front end" };
	w->labels[1] = (struct log_option){ "other", "x" };
	strv_add(&w->env, "A=1");
	strv_add(&w->env, "C=3");
	open_log(w);
	put(w, LOG_STDOUT, "x\n");
	flush(w);
	text = content(w, "");
	assert_contains(text, "\"attrs\":{\"A\":\"1\",\"tag\":\"web/c0ffee\","
			      "\"tier\":\"front end\"},\"time\"");
	query.details = true;
	assert_ok(log_read(w->log, &query, collect, &result, &err), err);
	assert_string_equal(str_text(&result.details), "A=1,tag=web%2Fc0ffee,tier=front+end");
	str_done(&result.text);
	str_done(&result.details);
}

/* ------------------------------------------------------------------ crashes */

static void a_crash_loses_and_doubles_nothing(struct world *w)
{
	autofree char *path = NULL;
	int fd;

	open_log(w);
	put(w, LOG_STDOUT, "one\ntwo\nth");
	flush(w);
	put(w, LOG_STDOUT, "ree\n"); /* gathered, not written */
	crash(w);
	/* The agent is asked to send again from here. */
	assert_int_equal(log_stored(w->log, LOG_STDOUT), strlen("one\ntwo\n"));
	put(w, LOG_STDOUT, "three\n");
	flush(w);

	/* Written, but the crash came before it was on record: it will come again. */
	path = strf("%s/%s", w->root, NAME);
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(write(fd, "{\"log\":\"fo", 10), 10);
	close(fd);
	crash(w);
	assert_int_equal(log_stored(w->log, LOG_STDOUT), strlen("one\ntwo\nthree\n"));
	put(w, LOG_STDOUT, "four\n");
	flush(w);
	expect(w, &all, "one\ntwo\nthree\nfour\n");

	/* A new process counts from 0. */
	assert_int_equal(log_begin(w->log, NULL), 0);
	assert_int_equal(log_stored(w->log, LOG_STDOUT), 0);
	crash(w);
	assert_int_equal(log_stored(w->log, LOG_STDOUT), 0);
	expect(w, &all, "one\ntwo\nthree\nfour\n");
}

static void a_crash_in_a_rotation(struct world *w)
{
	autofree char *from = strf("%s/%s", w->root, NAME), *to = strf("%s/%s.1", w->root, NAME);
	autofree char *expected = lines(0, 12);

	w->options[0] = (struct log_option){ "max-size", "10k" };
	w->options[1] = (struct log_option){ "max-file", "3" };
	open_log(w);
	put_lines(w, 0, 10);
	/* Renamed, and nothing else done. */
	assert_int_equal(rename(from, to), 0);
	crash(w);
	assert_int_equal(log_stored(w->log, LOG_STDOUT), 100);
	put_lines(w, 10, 12);
	expect(w, &all, expected);
}

/* ------------------------------------------------------------------ options */

static void options_are_checked_with_dockers_words(void **state)
{
	static const struct {
		struct log_option options[3];
		const char *message;
	} cases[] = {
		{ { { "color", "red" } }, "unknown log opt 'color' for json-file log driver" },
		{ { { "max-size", "x" } }, "invalid size: 'x'" },
		{ { { "max-size", "0" } }, "max-size must be a positive number" },
		{ { { "max-size", "-1" } }, "max-size must be a positive number" },
		{ { { "max-file", "0" } }, "max-file cannot be less than 1" },
		{ { { "max-file", "many" } }, "strconv.Atoi: parsing \"many\": invalid syntax" },
		{ { { "compress", "true" } },
		  "compress cannot be true when max-file is less than 2 or max-size is not set" },
		{ { { "mode", "fast" } }, "logger: logging mode not supported: fast" },
		{ { { "max-buffer-size", "1m" } },
		  "logger: max-buffer-size option is only supported with 'mode=non-blocking'" },
	};
	static const struct log_option good[] = { { "max-size", "10m" },
						  { "max-file", "2" },
						  { "compress", "1" },
						  { "mode", "blocking" },
						  { 0 } };
	struct error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(log_driver_check("json-file", cases[i].options, &err) < 0);
		assert_string_equal(err.message, cases[i].message);
		assert_int_equal(err.kind, ERROR_INVALID);
	}
	assert_ok(log_driver_check("json-file", good, &err), err);
	assert_ok(log_driver_check("none", NULL, &err), err);
	assert_true(log_driver_check("carrier-pigeon", NULL, &err) < 0);
	assert_string_equal(err.message,
			    "logger: no log driver named 'carrier-pigeon' is registered");
}

static void none_keeps_nothing(struct world *w)
{
	const struct log_config config = { .loop = w->loop };
	struct error err = { 0 };

	assert_ok(log_driver_open("none", &config, &w->log, &err), err);
	put(w, LOG_STDOUT, "gone");
	assert_int_equal(log_stored(w->log, LOG_STDOUT), 4);
	assert_false(log_can_read(w->log));
	assert_true(log_read(w->log, &all, collect, NULL, &err) < 0);
	assert_string_equal(err.message, "configured logging driver does not support reading");
}

#define RUN(name)                            \
	static void run_##name(void **state) \
	{                                    \
		struct world w = { 0 };      \
                                             \
		run(&w, name);               \
	}
RUN(the_format_is_dockers)
RUN(lines_are_put_together_and_long_ones_cut)
RUN(a_character_is_not_cut_in_two)
RUN(files_rotate)
RUN(one_file_begins_anew)
RUN(old_files_are_compressed)
RUN(since_until_and_streams)
RUN(damaged_lines_are_passed_over)
RUN(following_goes_through_rotations)
RUN(a_reader_outlives_the_log)
RUN(details_come_from_labels_and_environment)
RUN(a_crash_loses_and_doubles_nothing)
RUN(a_crash_in_a_rotation)
RUN(none_keeps_nothing)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times),
		cmocka_unit_test(options_are_checked_with_dockers_words),
		cmocka_unit_test(run_the_format_is_dockers),
		cmocka_unit_test(run_lines_are_put_together_and_long_ones_cut),
		cmocka_unit_test(run_a_character_is_not_cut_in_two),
		cmocka_unit_test(run_files_rotate),
		cmocka_unit_test(run_one_file_begins_anew),
		cmocka_unit_test(run_old_files_are_compressed),
		cmocka_unit_test(run_since_until_and_streams),
		cmocka_unit_test(run_damaged_lines_are_passed_over),
		cmocka_unit_test(run_following_goes_through_rotations),
		cmocka_unit_test(run_a_reader_outlives_the_log),
		cmocka_unit_test(run_details_come_from_labels_and_environment),
		cmocka_unit_test(run_a_crash_loses_and_doubles_nothing),
		cmocka_unit_test(run_a_crash_in_a_rotation),
		cmocka_unit_test(run_none_keeps_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
