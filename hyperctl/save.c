#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "hyperctl/command.h"

struct save_options {
	const char *output;
};
static const struct option options[] = {
	STRING('o', "output", struct save_options, output, "FILE",
	       "Where to write the archive (default: standard output)"),
	OPTIONS_END,
};

static int copy(struct response *response, int fd, struct error *err)
{
	struct str *body = &response->reader.body;
	int r;

	do {
		r = fd_write_all(fd, str_text(body), body->len);
		if (r < 0)
			return error_errno(err, -r, "writing the archive");
		str_clear(body);
		r = response_fill(response, err);
	} while (r > 0);
	return r;
}

/* The file appears when it is whole: a broken save leaves what was there before. */
static int copy_to_file(struct response *response, const char *path, struct error *err)
{
	autofree char *temporary = strf("%s.XXXXXX", path);
	autoclose int fd = -1;
	mode_t mask;
	int r;

	if (!temporary)
		return error_nomem(err);
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "creating a file beside '%s'", path);
	mask = umask(0);
	umask(mask);
	fchmod(fd, 0666 & ~mask);
	r = copy(response, fd, err);
	if (r == 0 && rename(temporary, path) < 0)
		r = error_errno(err, errno, "renaming to '%s'", path);
	if (r < 0)
		unlink(temporary);
	return r;
}

static int save_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct save_options *o = given;
	autoptr(response_free) struct response *response = NULL;
	autostr struct str query = STR_INIT;
	struct request request = { .method = "GET", .path = "/images/get" };
	struct stat st;
	int r;

	if (!o->output && isatty(STDOUT_FILENO))
		return error_set(
			err, ERROR_INVALID,
			"an archive is nothing for a terminal: give -o FILE, or redirect it");
	strv_for_each(name, args)
		query_add(&query, "names", *name);
	request.query = str_text(&query);
	r = client_open(&ctl->client, &request, &response, err);
	if (r < 0)
		return r;
	/* Pipes and devices are written to, not replaced. */
	if (o->output && stat(o->output, &st) == 0 && !S_ISREG(st.st_mode)) {
		autoclose int fd = open(o->output, O_WRONLY | O_CLOEXEC);

		return fd < 0 ? error_errno(err, errno, "opening '%s'", o->output)
			      : copy(response, fd, err);
	}
	return o->output ? copy_to_file(response, o->output, err)
			 : copy(response, STDOUT_FILENO, err);
}

const struct command command_save = {
	.name = "save",
	.group = "Images",
	.usage = "[OPTIONS] IMAGE...",
	.summary = "Write images to an archive that load reads",
	.options = options,
	.options_size = sizeof(struct save_options),
	.mixed = true,
	.min_args = 1,
	.max_args = -1,
	.run = save_main,
};
