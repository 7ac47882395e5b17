#include "hyperctl/command.h"
#include "hyperctl/login_file.h"

static int logout_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	autofree char *key = login_registry_key(args[0]);
	bool found;
	int r = key ? login_remove(key, &found, err) : error_nomem(err);

	if (r < 0)
		return r;
	if (found)
		printf("Removing login credentials for %s\n", key);
	else
		printf("Not logged in to %s\n", key);
	return 0;
}

const struct command command_logout = {
	.name = "logout",
	.group = "Images",
	.usage = "[REGISTRY]",
	.summary = "Forget who you are at a registry",
	.mixed = true,
	.max_args = 1,
	.run = logout_main,
};
