/* The QMP client against a scripted QEMU. */
#include "tests/unit/test.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/task.h"
#include "hyperd/hypervisor/qemu/qmp.h"

struct world {
	struct loop *loop;
	struct qmp *qmp;
	int peer;
	unsigned events;
	char last_event[64];
	struct error err;
};

static void on_event(struct qmp *qmp, const char *name, const json_t *data, void *owner)
{
	struct world *w = owner;

	w->events++;
	snprintf(w->last_event, sizeof(w->last_event), "%s", name);
}

static const struct qmp_events events = { .event = on_event };

static void run(task_fn *fn)
{
	struct world w = { 0 };
	struct error err = { 0 };
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_ok(loop_new(&w.loop, &err), err);
	w.peer = fds[1];
	assert_ok(qmp_new(w.loop, fds[0], &events, &w, &w.qmp, &err), err);
	assert_ok(task_run(w.loop, fn, &w, &err), err);
	qmp_free(w.qmp);
	if (w.peer >= 0)
		close(w.peer);
	loop_free(w.loop);
}

static void say(struct world *w, const char *text)
{
	assert_int_equal(fd_write_all(w->peer, text, strlen(text)), 0);
}

static void heard(struct world *w, const char *part)
{
	char buf[4096];
	ssize_t n = read(w->peer, buf, sizeof(buf) - 1);

	assert_true(n > 0);
	buf[n] = '\0';
	assert_contains(buf, part);
}

static void answers(void *arg)
{
	struct world *w = arg;
	struct qmp_ticket a, b;
	json_t *result;

	assert_ok(qmp_post(w->qmp, "query-a", NULL, -1, &a, &w->err), w->err);
	assert_ok(qmp_post(w->qmp, "query-b", json_pack("{s:i}", "n", 7), -1, &b, &w->err), w->err);
	heard(w, "\"execute\":\"qmp_capabilities\"");
	/* A greeting, events between, replies out of order, and cut in the middle. */
	say(w, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n{\"return\": {}, \"id\": "
	       "1}\r\n");
	say(w, "{\"event\": \"STOP\", \"timestamp\": {}}\r\n{\"return\": {\"b\": 2}, \"id\": "
	       "3}\r\n{\"ret");
	assert_ok(qmp_wait(w->qmp, &b, deadline_in_ms(5000), &result, &w->err), w->err);
	assert_int_equal(json_integer_value(json_object_get(result, "b")), 2);
	json_decref(result);
	say(w, "urn\": {\"a\": 1}, \"id\": 2}\r\n");
	assert_ok(qmp_wait(w->qmp, &a, deadline_in_ms(5000), &result, &w->err), w->err);
	assert_int_equal(json_integer_value(json_object_get(result, "a")), 1);
	json_decref(result);
	assert_int_equal(w->events, 1);
	assert_string_equal(w->last_event, "STOP");
}

static void replies_find_their_commands(void **state)
{
	run(answers);
}

static void refuses(void *arg)
{
	struct world *w = arg;

	say(w,
	    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such thing\"}, \"id\": 2}\n");
	assert_true(qmp_call(w->qmp, "device_add", NULL, deadline_in_ms(5000), NULL, &w->err) < 0);
	assert_string_equal(w->err.message, "device_add: QEMU: no such thing");
}

static void an_error_carries_its_text(void **state)
{
	run(refuses);
}

static void lies(void *arg)
{
	struct world *w = arg;
	struct qmp_ticket ticket;

	assert_ok(qmp_post(w->qmp, "stop", NULL, -1, &ticket, &w->err), w->err);
	say(w,
	    "{\"return\": {}, \"id\": 77}\n{\"return\": 5}\n{\"id\": \"x\", \"return\": []}\n{}\n\n"
	    "{\"event\": 4}\n{\"error\": 3, \"id\": 2}\n{\"return\": {}, \"id\": 2}\n");
	assert_true(qmp_wait(w->qmp, &ticket, deadline_in_ms(5000), NULL, &w->err) < 0);
	assert_contains(w->err.message, "refused");
	assert_false(qmp_is_closed(w->qmp));
}

static void odd_replies_are_harmless(void **state)
{
	run(lies);
}

static void breaks_with(struct world *w, const char *text, const char *message)
{
	say(w, text);
	assert_true(qmp_call(w->qmp, "stop", NULL, deadline_in_ms(5000), NULL, &w->err) < 0);
	assert_contains(w->err.message, message);
	assert_true(qmp_is_closed(w->qmp));
	/* And stays closed. */
	assert_true(qmp_call(w->qmp, "stop", NULL, deadline_in_ms(5000), NULL, &w->err) < 0);
}

static void not_json(void *arg)
{
	breaks_with(arg, "HTTP/1.1 200 OK\r\n", "QMP");
}

static void what_is_no_json_closes_it(void **state)
{
	run(not_json);
}

static void endless(void *arg)
{
	struct world *w = arg;
	struct error err = { 0 };
	static char line[65536];
	int r = 0;
	unsigned i;

	memset(line, ' ', sizeof(line));
	for (i = 0; i < 64 && r == 0; i++)
		r = qmp_input(w->qmp, line, sizeof(line), &err);
	assert_true(r < 0);
	assert_int_equal(err.kind, ERROR_LIMIT);
	assert_int_equal(i, QMP_MAX_LINE / sizeof(line) + 1);
}

static void a_line_without_end_is_refused(void **state)
{
	run(endless);
}

static void ends(void *arg)
{
	struct world *w = arg;

	close(w->peer);
	w->peer = -1;
	assert_true(qmp_call(w->qmp, "stop", NULL, deadline_in_ms(5000), NULL, &w->err) < 0);
	assert_true(qmp_is_closed(w->qmp));
}

static void its_end_fails_what_waits(void **state)
{
	run(ends);
}

static void silent(void *arg)
{
	struct world *w = arg;

	assert_int_equal(qmp_call(w->qmp, "stop", NULL, deadline_in_ms(10), NULL, &w->err),
			 -ETIMEDOUT);
	/* Its late reply goes to nobody, the next command's to its own. */
	say(w, "{\"return\": {}, \"id\": 2}\n{\"return\": {}, \"id\": 3}\n");
	assert_ok(qmp_call(w->qmp, "cont", NULL, deadline_in_ms(5000), NULL, &w->err), w->err);
}

static void silence_ends_with_the_deadline(void **state)
{
	run(silent);
}

static void passes(void *arg)
{
	struct world *w = arg;
	struct qmp_ticket ticket;
	char control[CMSG_SPACE(sizeof(int))], text[1024];
	struct iovec iov = { text, sizeof(text) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	int pipes[2], got;

	heard(w, "qmp_capabilities");
	assert_int_equal(pipe(pipes), 0);
	assert_ok(qmp_post(w->qmp, "getfd", json_pack("{s:s}", "fdname", "x"), pipes[1], &ticket,
			   &w->err),
		  w->err);
	assert_true(recvmsg(w->peer, &msg, MSG_CMSG_CLOEXEC) > 0);
	assert_non_null(CMSG_FIRSTHDR(&msg));
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(got));
	assert_int_equal(write(got, "!", 1), 1);
	assert_int_equal(read(pipes[0], text, 1), 1);
	qmp_forget(&ticket);
	close(got);
	close(pipes[0]);
	close(pipes[1]);
}

static void a_descriptor_travels_with_its_command(void **state)
{
	run(passes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_find_their_commands),
		cmocka_unit_test(an_error_carries_its_text),
		cmocka_unit_test(odd_replies_are_harmless),
		cmocka_unit_test(what_is_no_json_closes_it),
		cmocka_unit_test(a_line_without_end_is_refused),
		cmocka_unit_test(its_end_fails_what_waits),
		cmocka_unit_test(silence_ends_with_the_deadline),
		cmocka_unit_test(a_descriptor_travels_with_its_command),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
