#include "hyperctl/command.h"
#include "hyperctl/format.h"

struct version_options {
	const char *format;
};
static const struct option options[] = {
	STRING('f', "format", struct version_options, format, "FORMAT", "json or a template"),
	OPTIONS_END,
};

static void line(const char *name, const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	if (value && *value)
		printf(" %-18s%s\n", name, value);
}

static int version_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct version_options *o = given;
	autojson json_t *server = NULL, *all = NULL;
	int r = client_call(&ctl->client, "GET", "/version", NULL, NULL, &server, err);

	all = json_pack("{s:{s:s}, s:O?}", "Client", "Version", HYPER_VERSION, "Server", server);
	if (o->format) {
		int printed = value_print(o->format, all, r < 0 ? NULL : err);

		return r < 0 ? r : printed;
	}
	puts("Client:");
	printf(" %-18s%s\n", "Version:", HYPER_VERSION);
	if (r < 0)
		return r;
	puts("\nServer:");
	line("Version:", server, "Version");
	line("API version:", server, "ApiVersion");
	line("Minimum API:", server, "MinAPIVersion");
	line("Built:", server, "BuildTime");
	line("OS/Arch:", server, "Os");
	line("Kernel:", server, "KernelVersion");
	return 0;
}

const struct command command_version = {
	.name = "version",
	.group = "The daemon and this program",
	.usage = "[OPTIONS]",
	.summary = "Show the versions of hyperctl and hyperd",
	.options = options,
	.options_size = sizeof(struct version_options),
	.mixed = true,
	.max_args = 0,
	.run = version_main,
};
