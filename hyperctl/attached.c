#include "hyperctl/attached.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#define EXIT_NOT_RUN   126
#define EXIT_NOT_FOUND 127

void attached_done(struct attached *attached)
{
	response_free(attached->stream);
	response_free(attached->wait);
	attached->stream = attached->wait = NULL;
}

int attached_check_terminal(bool tty, bool input, struct error *err)
{
	int r;

	if (!tty || !input || isatty(STDIN_FILENO))
		return 0;
	r = error_set(err, ERROR_INVALID,
		      "the input device is not a TTY: leave out -t, or run in a terminal");
	err->exit_code = 1;
	return r;
}

int attached_open(struct attached *attached, const char *detach_keys, struct error *err)
{
	autofree char *path = strf("%s/attach", attached->path);
	autostr struct str query = STR_INIT;
	struct request request = { .method = "POST", .path = path, .hijack = true };
	int r;

	if (!path)
		return error_nomem(err);
	r = detach_keys_parse(detach_keys, &attached->keys, err);
	if (r < 0)
		return r;
	query_add(&query, "stream", "1");
	query_add(&query, "stdin", attached->input ? "1" : "0");
	query_add(&query, "stdout", "1");
	query_add(&query, "stderr", "1");
	query_add(&query, "detachKeys", detach_keys);
	request.query = str_text(&query);
	r = client_open(attached->client, &request, &attached->stream, err);
	return r < 0 ? error_prefix(err, r, "attaching") : 0;
}

int attached_open_wait(struct attached *attached, const char *condition, struct error *err)
{
	autofree char *path = strf("%s/wait", attached->path);
	autostr struct str query = STR_INIT;
	struct request request = { .method = "POST", .path = path };

	if (!path)
		return error_nomem(err);
	query_add(&query, "condition", condition);
	request.query = str_text(&query);
	return client_open(attached->client, &request, &attached->wait, err);
}

void process_resize(const struct client *client, const char *path, unsigned rows, unsigned columns)
{
	autofree char *resize = strf("%s/resize", path);
	autostr struct str query = STR_INIT;

	query_addf(&query, "h", "%u", rows);
	query_addf(&query, "w", "%u", columns);
	if (resize)
		client_call(client, "POST", resize, str_text(&query), NULL, NULL, NULL);
}

void process_signal(const struct client *client, const char *path, int signal)
{
	autofree char *kill = strf("%s/kill", path);
	autostr struct str query = STR_INIT;

	query_add(&query, "signal", sigabbrev_np(signal) ?: "TERM");
	if (kill)
		client_call(client, "POST", kill, str_text(&query), NULL, NULL, NULL);
}

static void resized(unsigned rows, unsigned columns, void *arg)
{
	struct attached *attached = arg;

	process_resize(attached->client, attached->path, rows, columns);
}

static void signaled(int signal, void *arg)
{
	struct attached *attached = arg;

	process_signal(attached->client, attached->path, signal);
}

static void first_output(void *arg)
{
	struct attached *attached = arg;

	if (attached->first_output)
		attached->first_output(attached->arg);
}

int attached_run(struct attached *attached, struct error *err)
{
	struct stream stream = { .response = attached->stream, .framed = !attached->tty };
	struct session session = {
		.streams = &stream,
		.stream_count = 1,
		.wait = attached->wait,
		.input_fd = attached->input ? STDIN_FILENO : -1,
		.raw = attached->tty && attached->input && isatty(STDIN_FILENO),
		.keys = attached->keys,
		.resized = attached->tty ? resized : NULL,
		.signaled = attached->pass_signals && !attached->tty ? signaled : NULL,
		.first_output = first_output,
		.arg = attached,
	};
	enum session_end end;
	int r = session_run(&session, &end, err);

	stream_done(&stream);
	if (r < 0)
		return r;
	if (end == SESSION_DETACHED) {
		fprintf(stderr, "detached\n");
		return 0;
	}
	return attached->wait ? wait_result(attached->wait, err) : 0;
}

int wait_result(struct response *wait, struct error *err)
{
	autojson json_t *answer = NULL;
	const char *message;
	json_t *code;
	int r = response_json(wait, &answer, err);

	if (r < 0)
		return r;
	message = json_string_value(json_object_get(json_object_get(answer, "Error"), "Message"));
	if (message && *message) {
		r = error_set(err, ERROR_FAILED, "%s", message);
		start_failure_code(err, EXIT_DAEMON_FAILED);
		return r;
	}
	code = json_object_get(answer, "StatusCode");
	if (!json_is_integer(code))
		return error_set(err, ERROR_FAILED, "the daemon told no exit code");
	return (int)(json_integer_value(code) & 0xff);
}

void start_failure_code(struct error *err, int otherwise)
{
	static const struct {
		const char *text;
		int code;
	} texts[] = {
		{ "executable file not found", EXIT_NOT_FOUND },
		{ "no such file or directory", EXIT_NOT_FOUND },
		{ "No such file or directory", EXIT_NOT_FOUND },
		{ "not found in $PATH", EXIT_NOT_FOUND },
		{ "permission denied", EXIT_NOT_RUN },
		{ "Permission denied", EXIT_NOT_RUN },
		{ "is a directory", EXIT_NOT_RUN },
		{ "Is a directory", EXIT_NOT_RUN },
		{ "exec format error", EXIT_NOT_RUN },
		{ "Exec format error", EXIT_NOT_RUN },
	};

	err->exit_code = otherwise;
	if (err->kind == ERROR_DENIED || err->kind == ERROR_UNAVAILABLE)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (strstr(err->message, texts[i].text)) {
			err->exit_code = texts[i].code;
			return;
		}
	}
}
