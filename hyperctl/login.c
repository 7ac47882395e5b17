#include <fcntl.h>
#include <string.h>
#include <termios.h>

#include "base/file.h"
#include "hyperctl/command.h"
#include "hyperctl/login_file.h"

#define PASSWORD_MAX_BYTES (64u << 10)

struct login_options {
	const char *user, *password;
	bool password_stdin;
};
static const struct option options[] = {
	STRING('u', "username", struct login_options, user, "NAME", "User name"),
	STRING('p', "password", struct login_options, password, "TEXT",
	       "Password; others on this machine can see it"),
	FLAG(0, "password-stdin", struct login_options, password_stdin,
	     "Read the password from standard input"),
	OPTIONS_END,
};

static void strip_line_end(char *text)
{
	size_t len = strlen(text);

	while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		text[--len] = '\0';
}

/* Asks on the terminal; a SECRET is not echoed. */
static int ask(const char *what, bool secret, char **ret, struct error *err)
{
	autofclose FILE *terminal = fopen("/dev/tty", "r+e");
	struct termios old, quiet;
	size_t size = 0;
	ssize_t n;

	if (!terminal || tcgetattr(fileno(terminal), &old) < 0)
		return error_set(err, ERROR_INVALID,
				 "no terminal to ask for the %s on: use --username and "
				 "--password-stdin",
				 what);
	fprintf(terminal, "%s: ", what);
	fflush(terminal);
	quiet = old;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	if (secret)
		tcsetattr(fileno(terminal), TCSAFLUSH, &quiet);
	n = getline(ret, &size, terminal);
	if (secret) {
		tcsetattr(fileno(terminal), TCSAFLUSH, &old);
		fputc('\n', terminal);
	}
	if (n < 0)
		return error_set(err, ERROR_INVALID, "no %s was given", what);
	strip_line_end(*ret);
	return 0;
}

static int find_credentials(const struct login_options *o, char **user, char **password,
			    struct error *err)
{
	int r = 0;

	if (o->password && o->password_stdin)
		return error_set(err, ERROR_INVALID,
				 "--password and --password-stdin are one too many");
	if (o->password_stdin && !o->user)
		return error_set(err, ERROR_INVALID, "--password-stdin needs --username");
	if (o->user)
		*user = strdup(o->user);
	else
		r = ask("Username", false, user, err);
	if (r == 0 && o->password_stdin) {
		r = file_read_fd(STDIN_FILENO, PASSWORD_MAX_BYTES, password, NULL, err);
		if (r == 0)
			strip_line_end(*password);
	} else if (r == 0 && o->password) {
		*password = strdup(o->password);
	} else if (r == 0) {
		r = ask("Password", true, password, err);
	}
	if (r == 0 && (!*user || !*password))
		r = error_nomem(err);
	if (r == 0 && (!**user || !**password))
		r = error_set(err, ERROR_INVALID, "user name and password are needed");
	return r;
}

static int login_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	autofree char *key = login_registry_key(args[0]), *user = NULL, *password = NULL;
	autojson json_t *body = NULL, *answer = NULL;
	const char *token;
	int r;

	if (!key)
		return error_nomem(err);
	r = find_credentials(given, &user, &password, err);
	if (r < 0)
		return r;
	body = json_pack("{s:s, s:s, s:s}", "username", user, "password", password, "serveraddress",
			 key);
	if (!body)
		return error_set(err, ERROR_INVALID, "user name or password is no UTF-8");
	r = client_call(&ctl->client, "POST", "/auth", NULL, body, &answer, err);
	if (r < 0)
		return r;
	token = json_string_value(json_object_get(answer, "IdentityToken"));
	r = login_save(key, user, password, token && *token ? token : NULL, err);
	if (r == 0)
		puts(json_string_value(json_object_get(answer, "Status")) ?: "Login Succeeded");
	return r;
}

const struct command command_login = {
	.name = "login",
	.group = "Images",
	.usage = "[OPTIONS] [REGISTRY]",
	.summary = "Prove to a registry who you are, and remember it",
	.details = "What is remembered stands in $DOCKER_CONFIG/config.json (default\n"
		   "~/.docker/config.json), which docker reads and writes too.",
	.options = options,
	.options_size = sizeof(struct login_options),
	.mixed = true,
	.max_args = 1,
	.run = login_main,
};
