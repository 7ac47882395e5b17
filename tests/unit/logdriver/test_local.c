#include "tests/unit/test.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/task.h"
#include "hyperd/logdriver/attributes.h"
#include "hyperd/logdriver/file_log.h"
#include "hyperd/logdriver/local_record.h"
#include "hyperd/logdriver/options.h"

#define TIME_NS   1700000000123456789ull
#define FILE_NAME "local-logs/container.log"

struct world {
	char root[64];
	struct loop *loop;
	struct job_pool *jobs;
	struct log *log;
	struct log_option options[4], labels[2];
	void (*test)(struct world *w);
};

static void open_log(struct world *w)
{
	const struct log_config config = {
		.loop = w->loop,
		.jobs = w->jobs,
		.directory = w->root,
		.container_id = "c0ffee",
		.container_name = "web",
		.options = w->options,
		.labels = w->labels,
	};
	struct error err = { 0 };

	assert_ok(log_driver_open("local", &config, &w->log, &err), err);
}

static void task(void *arg)
{
	struct world *w = arg;

	w->test(w);
}

static void run(void (*test)(struct world *w), struct log_option option)
{
	struct world w = { .test = test, .root = "/tmp/hyper-test-XXXXXX", .options = { option } };
	struct error err = { 0 };

	assert_non_null(mkdtemp(w.root));
	assert_ok(loop_new(&w.loop, &err), err);
	assert_ok(job_pool_new(w.loop, 1, &w.jobs, &err), err);
	assert_ok(task_run(w.loop, task, &w, &err), err);
	log_close(w.log);
	job_pool_free(w.jobs);
	loop_free(w.loop);
	file_remove_tree(AT_FDCWD, w.root, NULL);
}

static void put(struct world *w, enum log_stream stream, const char *text)
{
	log_write(w->log, stream, TIME_NS, text, strlen(text));
}

static void flush(struct world *w)
{
	struct error err = { 0 };

	assert_ok(log_flush(w->log, &err), err);
}

static int collect(const struct log_record *record, void *arg)
{
	struct str *text = arg;

	assert_int_equal(record->time_ns, TIME_NS);
	str_add(text, record->stream == LOG_STDERR ? "E:" : "");
	str_append(text, record->data, record->len);
	str_add(text, record->details);
	return 0;
}

static char *text_of(struct world *w, int64_t tail, bool details)
{
	const struct log_query query = { .want = { true, true }, .tail = tail, .details = details };
	struct str text = STR_INIT;
	struct error err = { 0 };

	assert_ok(log_read(w->log, &query, collect, &text, &err), err);
	return str_steal(&text);
}

static void expect(struct world *w, int64_t tail, const char *expected)
{
	autofree char *text = text_of(w, tail, false);

	assert_string_equal(text, expected);
}

static char *path(struct world *w)
{
	return strf("%s/" FILE_NAME, w->root);
}

/* ------------------------------------------------------------------ the format */

static void the_format_is_dockers(struct world *w)
{
	/* As protoc --encode gives it for Docker's entry.proto. */
	static const char expected[] = "\0\0\0\x16"
				       "\x0a\x06stderr\x10\x95\x9a\x97\xec\xe3\x9f\xe7\xcb\x17"
				       "\x1a\x02hi"
				       "\0\0\0\x16";
	autofree char *name = path(w), *text = NULL;
	struct error err = { 0 };
	size_t len;

	open_log(w);
	put(w, LOG_STDERR, "hi\n");
	flush(w);
	assert_ok(file_read(AT_FDCWD, name, 1 << 20, &text, &len, &err), err);
	assert_int_equal(len, sizeof(expected) - 1);
	assert_memory_equal(text, expected, len);
	assert_null(log_path(w->log));
	expect(w, -1, "E:hi\n");
}

static void any_bytes_come_back_as_they_were(struct world *w)
{
	autofree char *big = malloc(40001), *text = NULL;
	struct log_query query = { .want = { true, true }, .tail = -1 };
	autostr struct str all = STR_INIT;
	struct error err = { 0 };

	memset(big, 0xff, 40000);
	big[40000] = '\n';
	open_log(w);
	log_write(w->log, LOG_STDOUT, TIME_NS, big, 40001);
	put(w, LOG_STDOUT, "\n");
	put(w, LOG_STDOUT, "no end");
	log_end(w->log, LOG_STDOUT, TIME_NS);
	flush(w);
	assert_ok(log_read(w->log, &query, collect, &all, &err), err);
	assert_int_equal(all.len, 40001 + 1 + 6);
	assert_memory_equal(all.data, big, 40001);
	assert_int_equal(log_stored(w->log, LOG_STDOUT), all.len);
	expect(w, 2, "\nno end");
}

static void details_are_kept(struct world *w)
{
	autofree char *text = NULL;

	w->labels[0] = (struct log_option){ "tier", "a b" };
	open_log(w);
	put(w, LOG_STDOUT, "x\n");
	flush(w);
	text = text_of(w, -1, true);
	assert_string_equal(text, "x\ntier=a+b");
}

static void files_rotate_and_a_tail_goes_back(struct world *w)
{
	autofree char *all = NULL, *older = strf("%s/" FILE_NAME ".1", w->root);
	autostr struct str last = STR_INIT;

	w->options[1] = (struct log_option){ "max-file", "3" };
	w->options[2] = (struct log_option){ "compress", "false" };
	open_log(w);
	for (int i = 0; i < 100; i++) {
		char line[32];

		snprintf(line, sizeof(line), "line %04d\n", i);
		put(w, LOG_STDOUT, line);
		if (i >= 60)
			str_add(&last, line);
	}
	flush(w);
	assert_int_equal(access(older, F_OK), 0);
	expect(w, 40, str_text(&last));
	expect(w, 1, "line 0099\n");
	all = text_of(w, -1, false);
	assert_true(str_ends(all, str_text(&last)));
	log_close(steal(w->log));
	open_log(w);
	expect(w, 40, str_text(&last));
}

/* ------------------------------------------------------------------ faults */

static void damage(struct world *w, off_t at, bool cut)
{
	autofree char *name = path(w), *state = strf("%s.state", name);
	autoclose int fd = open(name, O_RDWR | O_CLOEXEC);

	log_close(steal(w->log));
	assert_int_equal(unlink(state), 0); /* as on a machine that lost its power */
	if (cut)
		assert_int_equal(ftruncate(fd, at), 0);
	else
		assert_int_equal(pwrite(fd, "\xff\xff\xff\xff", 4, at), 4);
	open_log(w);
}

static void half_a_record_is_cut_off(struct world *w)
{
	open_log(w);
	put(w, LOG_STDOUT, "one\n");
	put(w, LOG_STDOUT, "two\n");
	flush(w);
	damage(w, (off_t)file_log(w->log)->size - 3, true);
	expect(w, -1, "one\n");
	put(w, LOG_STDOUT, "three\n");
	flush(w);
	expect(w, -1, "one\nthree\n");
	expect(w, 5, "one\nthree\n");
}

static void a_damaged_record_ends_its_file(struct world *w)
{
	open_log(w);
	put(w, LOG_STDOUT, "one\n");
	put(w, LOG_STDOUT, "two\n");
	put(w, LOG_STDOUT, "three\n");
	flush(w);
	damage(w, (off_t)file_log(w->log)->size / 3, false);
	expect(w, -1, "one\n");
	expect(w, 1, "three\n");
}

static void cutting(void **state)
{
	autostr struct str text = STR_INIT, none = STR_INIT;
	const struct log_line line = { .data = "abc\n", .len = 4, .time_ns = 5 };
	struct file_record record = { 0 };

	local_record_add(&text, &line, &none);
	for (size_t i = 0; i < text.len; i++)
		assert_int_equal(local_record_cut(text.data, i), 0);
	assert_int_equal(local_record_cut(text.data, text.len), text.len);
	assert_int_equal(local_record_parse(text.data, text.len, &record), 0);
	assert_string_equal(str_text(&record.text), "abc\n");
	text.data[text.len - 1]++;
	assert_int_equal(local_record_cut(text.data, text.len), -EINVAL);
	assert_int_equal(local_record_cut("\x7f\0\0\0", 4), -EINVAL);
	assert_int_equal(local_record_cut("\0\0\0\0", 4), -EINVAL);
	file_record_done(&record);
}

/* ------------------------------------------------------------------ options */

static void options_have_dockers_words(void **state)
{
	static const struct {
		struct log_option options[3];
		const char *message;
	} cases[] = {
		{ { { "color", "red" } }, "unknown log opt 'color' for log driver local" },
		{ { { "max-size", "x" } }, "invalid value for max-size: x: invalid size: 'x'" },
		{ { { "max-file", "-1" } }, "max-file must not be negative" },
		{ { { "max-file", "1" } },
		  "compression cannot be enabled when max file count is 1" },
		{ { { "tag", "{{.ID" } }, "log-tag:" },
		{ { { "env-regex", "(" } }, "env-regex '(': expected a regular expression" },
		{ { { "mode", "non-blocking" }, { "max-buffer-size", "x" } },
		  "error parsing option max-buffer-size: invalid size: 'x'" },
		{ { { "cache-disabled", "perhaps" } },
		  "invalid value for option cache-disabled: perhaps" },
	};
	struct error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(log_driver_check("local", cases[i].options, &err) < 0);
		assert_contains(err.message, cases[i].message);
	}
}

static void durations(void **state)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = { { "0", 0 },
		     { "1s", 1000000000 },
		     { "1.5ms", 1500000 },
		     { "-2m", -120000000000 },
		     { "1h30m", 5400000000000 },
		     { "100us", 100000 } };
	static const char *const bad[] = { "", "1", "s", "1x", "1s2", "1..5s", "- 1s" };
	struct error err = { 0 };
	int64_t ns;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_ok(log_parse_duration(good[i].text, &ns, &err), err);
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (log_parse_duration(bad[i], &ns, &err) != -EINVAL)
			fail_msg("'%s' gave %lld", bad[i], (long long)ns);
}

static void tags(void **state)
{
	static const struct {
		const char *template, *expected;
	} cases[] = {
		{ NULL, "c0ffee000000" },
		{ "", "c0ffee000000" },
		{ "{{.Name}}/{{.FullID}}", "web/c0ffee000000beef" },
		{ "{{.ImageName}} {{.ImageID}} {{.ImageFullID}}",
		  "box:1 0123456789ab 0123456789abcdef" },
		{ "{{upper .Name}}{{.DaemonName}}{{.ContainerName}}", "WEBdocker/web" },
		{ "{{index .ContainerLabels \"tier\"}}", "front" },
		{ "{{.Command}}", "sh -c x" },
	};
	static const struct log_option labels[] = { { "tier", "front" }, { 0 } };
	struct error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct log_option options[] = { { "tag", cases[i].template }, { 0 } };
		const struct log_config config = {
			.container_id = "c0ffee000000beef",
			.container_name = "web",
			.image_name = "box:1",
			.image_id = "sha256:0123456789abcdef",
			.command = "sh -c x",
			.labels = labels,
			.options = cases[i].template ? options : NULL,
		};
		autofree char *tag = NULL;

		assert_ok(log_tag(&config, "{{.ID}}", &tag, &err), err);
		assert_string_equal(tag, cases[i].expected);
	}
}

static void run_the_format(void **state)
{
	run(the_format_is_dockers, (struct log_option){ 0 });
}

static void run_bytes(void **state)
{
	run(any_bytes_come_back_as_they_were, (struct log_option){ 0 });
}

static void run_details(void **state)
{
	run(details_are_kept, (struct log_option){ "labels", "tier" });
}

static void run_rotation(void **state)
{
	run(files_rotate_and_a_tail_goes_back, (struct log_option){ "max-size", "1k" });
}

static void run_half(void **state)
{
	run(half_a_record_is_cut_off, (struct log_option){ 0 });
}

static void run_damaged(void **state)
{
	run(a_damaged_record_ends_its_file, (struct log_option){ 0 });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run_the_format), cmocka_unit_test(run_bytes),
		cmocka_unit_test(run_details),    cmocka_unit_test(run_rotation),
		cmocka_unit_test(run_half),       cmocka_unit_test(run_damaged),
		cmocka_unit_test(cutting),        cmocka_unit_test(options_have_dockers_words),
		cmocka_unit_test(durations),      cmocka_unit_test(tags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
