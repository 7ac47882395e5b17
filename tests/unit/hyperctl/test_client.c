#include "tests/unit/test.h"

#include <stdlib.h>

#include "hyperctl/client.h"

static struct error err;

static void hosts(void **state)
{
	struct client client;

	unsetenv("HYPER_HOST");
	assert_ok(client_init(&client, NULL, &err), err);
	assert_string_equal(client.path, "/run/hyper/hyper.sock");
	client_done(&client);
	setenv("HYPER_HOST", "unix:///x/y.sock", 1);
	assert_ok(client_init(&client, NULL, &err), err);
	assert_string_equal(client.path, "/x/y.sock");
	client_done(&client);
	assert_ok(client_init(&client, "/z.sock", &err), err);
	assert_string_equal(client.path, "/z.sock");
	client_done(&client);
	assert_ok(client_init(&client, "tcp://a.example:99", &err), err);
	assert_string_equal(client.address, "a.example");
	assert_string_equal(client.port, "99");
	client_done(&client);
	assert_ok(client_init(&client, "tcp://[::1]:99/", &err), err);
	assert_string_equal(client.address, "::1");
	assert_string_equal(client.port, "99");
	client_done(&client);
	assert_ok(client_init(&client, "tcp://a", &err), err);
	assert_string_equal(client.port, "2375");
	client_done(&client);
	assert_ok(client_init(&client, "tcp://:99", &err), err);
	assert_string_equal(client.address, "127.0.0.1");
	client_done(&client);
	assert_int_equal(client_init(&client, "ftp://x", &err), -EINVAL);
	assert_contains(err.message, "ftp://x");
	client_done(&client);
	assert_int_equal(client_init(&client, "unix://relative", &err), -EINVAL);
	client_done(&client);
	assert_int_equal(client_init(&client, "tcp://[::1", &err), -EINVAL);
	client_done(&client);
}

static void encodes(void **state)
{
	autostr struct str query = STR_INIT;
	autofree char *path = path_encode("host:5/a b?c#d%e/ü@sha256:1");

	assert_string_equal(path, "host:5/a%20b%3Fc%23d%25e/%C3%BC@sha256:1");
	query_add(&query, "a", "1 2&3=4");
	query_add(&query, "left out", NULL);
	query_addf(&query, "b", "%d", 7);
	query_add(&query, "c", "");
	assert_string_equal(str_text(&query), "a=1%202%263%3D4&b=7&c=");
}

/* Lines of JSON in one body, cut anywhere. */
static void takes_json_lines(void **state)
{
	static const char text[] = "{\"a\":1}\r\n\n  \r\n{\"a\":2}\n{\"a\":3}";

	for (size_t cut = 0; cut < sizeof(text); cut++) {
		struct response response = { .fd = -1 };
		json_t *value;
		int sum = 0;

		http_reader_init(&response.reader, false);
		str_append(&response.reader.body, text, cut);
		while (response_take_json(&response, &value, &err) > 0) {
			sum += (int)json_integer_value(json_object_get(value, "a"));
			json_decref(value);
		}
		str_append(&response.reader.body, text + cut, sizeof(text) - 1 - cut);
		response.reader.ended = true;
		while (response_take_json(&response, &value, &err) > 0) {
			sum += (int)json_integer_value(json_object_get(value, "a"));
			json_decref(value);
		}
		assert_int_equal(sum, 6);
		http_reader_done(&response.reader);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts),
		cmocka_unit_test(encodes),
		cmocka_unit_test(takes_json_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
