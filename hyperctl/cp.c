/*
 * Files between a container and here. The daemon speaks tar; what packs and unpacks it on this side
 * is tar(1), which knows how to unpack what strangers packed: no absolute names, no "..", no
 * writing through links that the archive brought.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/file.h"
#include "hyperctl/command.h"
#include "hyperctl/download.h"
#include "hyperctl/upload.h"

struct cp_options {
	bool archive, follow;
};
static const struct option options[] = {
	FLAG('a', "archive", struct cp_options, archive,
	     "Into a container: everything belongs to the container's user"),
	FLAG('L', "follow-link", struct cp_options, follow, "Copy what SOURCE links to"),
	OPTIONS_END,
};

/* ------------------------------------------------------------------ tar(1) */

struct tar {
	pid_t pid;
	int fd; /* owned: our end of its standard input (reads) or output */
};

static int tar_begin(char *const *args, bool reads, struct tar *ret, struct error *err)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_errno(err, errno, "starting tar");
	ret->pid = fork();
	if (ret->pid == 0) {
		/* Its own end, where its archive is. */
		dup2(fds[!reads], reads ? STDIN_FILENO : STDOUT_FILENO);
		execvp("tar", args);
		fprintf(stderr, "hyperctl: starting tar: %s\n", strerror(errno));
		_exit(127);
	}
	close(fds[!reads]);
	ret->fd = fds[reads];
	return ret->pid < 0 ? error_errno(err, errno, "starting tar") : 0;
}

/* It says itself what went wrong. */
static int tar_end(struct tar *tar, struct error *err)
{
	int status = 0;

	if (tar->fd >= 0)
		close(steal_fd(&tar->fd));
	while (waitpid(tar->pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0
		       ? 0
		       : error_set(err, ERROR_FAILED, "tar has failed");
}

/* ------------------------------------------------------------------ names */

/* "CONTAINER:PATH" as Docker tells it from a file of ours; the path, or NULL. */
static const char *container_path(const char *arg, char **ret_name)
{
	const char *colon = strchr(arg, ':');

	if (!colon || arg[0] == '/' || arg[0] == '.')
		return NULL;
	*ret_name = strndup(arg, (size_t)(colon - arg));
	return *ret_name ? colon + 1 : NULL;
}

static bool is_content(const char *path)
{
	return strcmp(path, ".") == 0 || str_ends(path, "/.");
}

/* The last part of a path, new string: "/" for the root. */
static char *base_name(const char *path)
{
	autofree char *copy = strdup(path);
	size_t len = copy ? strlen(copy) : 0;
	const char *slash;

	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	slash = copy ? strrchr(copy, '/') : NULL;
	if (!copy)
		return NULL;
	return strdup(slash && slash[1] ? slash + 1 : copy);
}

static char *dir_name(const char *path)
{
	autofree char *copy = strdup(path);
	size_t len = copy ? strlen(copy) : 0;
	char *slash;

	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	slash = copy ? strrchr(copy, '/') : NULL;
	if (!slash)
		return strdup(".");
	slash[slash == copy] = '\0';
	return steal(copy);
}

/* ------------------------------------------------------------------ what the container has */

struct there {
	bool found, directory, link;
	char *target; /* owned: where a link ends */
};

#define GO_MODE_DIRECTORY (1u << 31)
#define GO_MODE_LINK      (1u << 27)

static int open_archive(struct ctl *ctl, const char *name, const char *where, struct response **ret,
			struct error *err)
{
	autofree char *encoded = path_encode(name);
	autofree char *path = encoded ? strf("/containers/%s/archive", encoded) : NULL;
	autostr struct str query = STR_INIT;
	struct request request = { .method = "GET", .path = path };

	query_add(&query, "path", *where ? where : "/");
	request.query = str_text(&query);
	return path ? client_open(&ctl->client, &request, ret, err) : error_nomem(err);
}

/* A missing path is no error; a missing container is. */
static int look(struct ctl *ctl, const char *name, const char *where, struct there *ret,
		struct error *err)
{
	autoptr(response_free) struct response *response = NULL;
	autojson json_t *stat = NULL;
	struct error why = { 0 };
	const char *target = NULL;
	int64_t mode = 0;
	int r = open_archive(ctl, name, where, &response, &why);

	*ret = (struct there){ 0 };
	if (r < 0 && why.kind == ERROR_NOT_FOUND && strstr(why.message, "Could not find the file"))
		return 0;
	if (r < 0) {
		error_copy(err, &why);
		return r;
	}
	r = http_reader_path_stat(&response->reader, &stat, err);
	if (r == 0)
		r = json_get_int(stat, "mode", &mode, err);
	if (r == 0)
		r = json_get_string(stat, "linkTarget", &target, err);
	if (r < 0)
		return r;
	ret->found = true;
	ret->directory = mode & GO_MODE_DIRECTORY;
	ret->link = mode & GO_MODE_LINK;
	ret->target = strdup(target ? target : "");
	return ret->target ? 0 : error_nomem(err);
}

/* The same for what PATH leads to in the end. */
static int look_through(struct ctl *ctl, const char *name, char **path, struct there *ret,
			struct error *err)
{
	int r = look(ctl, name, *path, ret, err);

	if (r == 0 && ret->link && *ret->target) {
		free(*path);
		*path = steal(ret->target);
		r = look(ctl, name, *path, ret, err);
	}
	return r;
}

/* ------------------------------------------------------------------ out of a container */

static int unpack(struct response *response, const char *dir, struct error *err)
{
	char *args[] = { "tar", "-x", "-p", "--no-same-owner", "-f", "-", "-C", (char *)dir, NULL };
	struct tar tar;
	int r = tar_begin(args, true, &tar, err), ended;

	if (r < 0)
		return r;
	r = download_to(response, tar.fd, err);
	ended = tar_end(&tar, r < 0 ? NULL : err);
	return r < 0 ? r : ended;
}

/* Beside its place, and then put there under its new name: nothing half copied is ever seen. */
static int unpack_as(struct response *response, const char *source, const char *to,
		     struct error *err)
{
	autofree char *parent = dir_name(to), *name = base_name(source);
	autofree char *temporary = parent ? strf("%s/.hyperctl-XXXXXX", parent) : NULL;
	autofree char *made = NULL;
	struct stat st, old;
	int r;

	if (!temporary || !name)
		return error_nomem(err);
	if (!mkdtemp(temporary))
		return error_errno(err, errno, "making a directory beside '%s'", to);
	r = unpack(response, temporary, err);
	made = strf("%s/%s", temporary, is_content(source) || strcmp(name, "/") == 0 ? "." : name);
	if (r == 0 && (!made || lstat(made, &st) < 0))
		r = error_set(err, ERROR_FAILED, "'%s' was not in the archive", name);
	if (r == 0 && S_ISDIR(st.st_mode) && stat(to, &old) == 0)
		r = error_set(err, ERROR_INVALID, "cannot copy a directory over the file '%s'", to);
	if (r == 0 && !S_ISDIR(st.st_mode) && str_ends(to, "/"))
		r = error_set(err, ERROR_INVALID, "no such directory: '%s'", to);
	if (r == 0 && rename(str_ends(made, "/.") ? temporary : made, to) < 0)
		r = error_errno(err, errno, "making '%s'", to);
	file_remove_tree(AT_FDCWD, temporary, NULL);
	return r;
}

static int copy_out(struct ctl *ctl, const struct cp_options *o, const char *name,
		    const char *source, const char *to, struct error *err)
{
	autoptr(response_free) struct response *response = NULL;
	autofree char *path = strdup(source);
	struct there there = { 0 };
	struct stat st;
	int r = path ? 0 : error_nomem(err);

	if (r == 0 && o->follow)
		r = look_through(ctl, name, &path, &there, err);
	free(there.target);
	if (r == 0 && strcmp(to, "-") == 0)
		r = download_check(NULL, err);
	if (r == 0)
		r = open_archive(ctl, name, path, &response, err);
	if (r < 0)
		return r;
	if (strcmp(to, "-") == 0)
		return download_to(response, STDOUT_FILENO, err);
	if (stat(to, &st) == 0 && S_ISDIR(st.st_mode)) {
		/* What a link leads to keeps the link's name. */
		autofree char *base = base_name(source), *under = NULL;

		if (strcmp(path, source) == 0)
			return unpack(response, to, err);
		under = base ? strf("%s/%s", to, base) : NULL;
		return under ? unpack_as(response, path, under, err) : error_nomem(err);
	}
	return unpack_as(response, path, to, err);
}

/* ------------------------------------------------------------------ into a container */

static void add_escaped(struct str *to, const char *text, const char *special)
{
	for (; *text; text++) {
		if (strchr(special, *text))
			str_addc(to, '\\');
		str_addc(to, *text);
	}
}

/* tar's option that gives FROM, which every name begins with, another name. */
static char *rename_option(const char *from, const char *to)
{
	autostr struct str text = STR_INIT;

	str_add(&text, "--transform=flags=rhS;s,^");
	add_escaped(&text, from, ".*[]^$\\,");
	str_add(&text, "\\(/\\|$\\),");
	add_escaped(&text, to, "&\\,");
	str_add(&text, "\\1,");
	return str_steal(&text);
}

/* Where it goes and how it is called there, by what is there already; Docker's rules. */
static int choose_place(const char *source, bool directory, const char *path,
			const struct there *there, char **ret_dir, char **ret_name,
			struct error *err)
{
	if (there->found && there->directory) {
		*ret_dir = strdup(path);
		*ret_name = is_content(source) ? strdup(".") : base_name(source);
	} else if (there->found && directory) {
		return error_set(err, ERROR_INVALID, "cannot copy a directory over the file '%s'",
				 path);
	} else if (!directory && (str_ends(path, "/") || is_content(path))) {
		return error_set(err, ERROR_INVALID, "no such directory: '%s'", path);
	} else {
		*ret_dir = dir_name(path);
		*ret_name = base_name(path);
	}
	return *ret_dir && *ret_name ? 0 : error_nomem(err);
}

static int send_archive(struct ctl *ctl, const struct cp_options *o, const char *name,
			const char *dir, int *fd, struct error *err)
{
	autoptr(response_free) struct response *response = NULL;
	autofree char *encoded = path_encode(name);
	autofree char *path = encoded ? strf("/containers/%s/archive", encoded) : NULL;
	autostr struct str query = STR_INIT;
	struct request request = {
		.method = "PUT",
		.path = path,
		.content_type = "application/x-tar",
		.body_read = upload_read,
		.body_arg = fd,
	};

	query_add(&query, "path", dir);
	query_add(&query, "noOverwriteDirNonDir", "true");
	query_add(&query, "copyUIDGID", o->archive ? "true" : NULL);
	request.query = str_text(&query);
	return path ? client_open(&ctl->client, &request, &response, err) : error_nomem(err);
}

static int pack_and_send(struct ctl *ctl, const struct cp_options *o, const char *source,
			 const char *name, const char *dir, const char *as, struct error *err)
{
	autofree char *parent = is_content(source) ? strdup(source) : dir_name(source);
	autofree char *own = is_content(source) ? strdup(".") : base_name(source);
	autofree char *renaming = own ? rename_option(own, as) : NULL;
	char *args[] = { "tar", "-c", "--numeric-owner", "-f", "-", renaming, "-C", parent, "--",
			 own,   NULL };
	struct tar tar;
	int r, ended;

	if (!parent || !renaming)
		return error_nomem(err);
	r = tar_begin(args, false, &tar, err);
	if (r < 0)
		return r;
	r = send_archive(ctl, o, name, dir, &tar.fd, err);
	/* One that nobody reads from ends by the pipe. */
	ended = tar_end(&tar, r < 0 ? NULL : err);
	return r < 0 ? r : ended;
}

static int copy_in(struct ctl *ctl, const struct cp_options *o, const char *given, const char *name,
		   const char *to, struct error *err)
{
	autofree char *path = strdup(*to ? to : "/"), *dir = NULL, *as = NULL;
	autofree char *source =
		o->follow && strcmp(given, "-") ? realpath(given, NULL) : strdup(given);
	struct there there = { 0 };
	struct stat st;
	int r;

	if (!source)
		return error_errno(err, errno, "'%s'", given);
	if (strcmp(given, "-") == 0) {
		autoclose int fd = -1;

		r = upload_open(given, &fd, err);
		return r < 0 ? r : send_archive(ctl, o, name, path, &fd, err);
	}
	if (!path || lstat(source, &st) < 0)
		return error_errno(err, errno, "'%s'", source);
	if (is_content(source) && stat(source, &st) < 0)
		return error_errno(err, errno, "'%s'", source);
	r = look_through(ctl, name, &path, &there, err);
	free(steal(there.target));
	if (r == 0)
		r = choose_place(given, S_ISDIR(st.st_mode), path, &there, &dir, &as, err);
	return r < 0 ? r : pack_and_send(ctl, o, source, name, dir, as, err);
}

static int cp_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	autofree char *from_name = NULL, *to_name = NULL;
	const char *from = container_path(args[0], &from_name);
	const char *to = container_path(args[1], &to_name);

	signal(SIGPIPE, SIG_IGN);
	if (from && to)
		return error_set(err, ERROR_INVALID, "copying between containers is not supported");
	if (!from && !to)
		return error_set(err, ERROR_INVALID,
				 "one of both must be in a container: CONTAINER:PATH");
	return from ? copy_out(ctl, given, from_name, from, args[1], err)
		    : copy_in(ctl, given, args[0], to_name, to, err);
}

const struct command command_cp = {
	.name = "cp",
	.group = "Files",
	.usage = "[OPTIONS] CONTAINER:SOURCE DESTINATION|-\n"
		 "[OPTIONS] SOURCE|- CONTAINER:DESTINATION",
	.summary = "Copy files and directories out of a container or into it",
	.details = "Containers need not run. With - it is a tar archive on standard output or "
		   "input.\nA SOURCE that ends in /. is a directory's content.",
	.options = options,
	.options_size = sizeof(struct cp_options),
	.mixed = true,
	.min_args = 2,
	.max_args = 2,
	.run = cp_main,
};
