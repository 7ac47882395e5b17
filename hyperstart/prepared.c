#include "hyperstart/prepared.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "hyperstart/agent.h"
#include "hyperstart/container.h"
#include "hyperstart/launch.h"

/* Long after a start, shorter than a person's next command. */
#define SETTLE_MS 500
/* More than this of a program is read when it runs. */
#define READ_MAX_BYTES  (16u << 20)
#define INTERPRETER_MAX 256
#define PIPE_BYTES      4096 /* what any pipe takes */

struct container *prepared_find(struct agent *agent, uint64_t key)
{
	struct container *c;

	if (!key)
		return NULL;
	list_for_each_entry(c, &agent->containers, node) {
		if (c->prepared && c->spec->prepared_key == key && c->main->running && !c->create)
			return c;
	}
	return NULL;
}

/* In place: the file is mounted in the container already. */
static int rewrite(int dir_fd, const char *name, const char *text, struct error *err)
{
	autoclose int fd = -1;
	int r;

	if (!*text)
		return 0;
	fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_errno(err, errno, "opening the prepared '%s'", name);
	/* It holds one character. */
	r = fd_write_all(fd, text, strlen(text));
	return r < 0 ? error_errno(err, -r, "writing '%s'", name) : 0;
}

static int rewrite_files(int dir_fd, const Hyper__ContainerCreate *spec, struct error *err)
{
	int r = rewrite(dir_fd, "resolv.conf", spec->resolv_conf, err);

	if (r == 0)
		r = rewrite(dir_fd, "hosts", spec->hosts, err);
	return r == 0 ? rewrite(dir_fd, "hostname", spec->hostname_file, err) : r;
}

void prepared_settle(struct agent *agent)
{
	struct container *c = steal(agent->prepared);
	autofree char *from = NULL, *to = NULL;

	loop_timer_cancel(&agent->prepared_timer);
	if (!c)
		return;
	from = strf("%s/containers/" PREPARED_ID, agent->disk_path);
	to = strf("%s/containers/%s", agent->disk_path, c->id);
	if (!from || !to || rename(from, to) < 0)
		log_error("naming the files of container '%s': %s", c->id, strerror(errno));
}

int prepared_recover(struct agent *agent, const char *owner, struct error *err)
{
	autofree char *from = strf("%s/containers/" PREPARED_ID, agent->disk_path);
	autofree char *to = strf("%s/containers/%s", agent->disk_path, owner);
	int r = container_name_check(owner, "container", err);

	if (r < 0)
		return r;
	if (!from || !to)
		return error_nomem(err);
	if (access(to, F_OK) < 0 && rename(from, to) < 0 && errno != ENOENT)
		return error_errno(err, errno, "naming the files of container '%s'", owner);
	return 0;
}

static void settle_later(struct loop_timer *timer)
{
	prepared_settle(container_of(timer, struct agent, prepared_timer));
}

int prepared_take(struct container *c, Hyper__ContainerCreate *spec, struct error *err)
{
	autofree char *to = strf("%s/containers/%s", c->agent->disk_path, spec->id);
	autofree char *id = strdup(spec->id);
	autoclose int dir_fd = -1;
	int r;

	if (!to || !id)
		return error_nomem(err);
	if (access(to, F_OK) == 0)
		return error_set(err, ERROR_CONFLICT, "'%s' has files of an earlier run", spec->id);
	r = container_set_limits(c, spec->limits, err);
	if (r < 0)
		return r;
	dir_fd = open(PREPARED_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return error_errno(err, errno, "opening '%s'", PREPARED_DIR);
	r = rewrite_files(dir_fd, spec, err);
	if (r < 0)
		return r;
	c->agent->prepared = c;
	loop_timer_set(c->agent->loop, &c->agent->prepared_timer, deadline_in_ms(SETTLE_MS),
		       settle_later);
	free(c->id);
	c->id = steal(id);
	/* Freeing it now would give memory back to the kernel, which is code that a clone has not
	 * run yet. */
	c->old_spec = c->spec;
	c->spec = spec;
	c->prepared = false;
	c->was_prepared = true;
	return 0;
}

/* ------------------------------------------------------------------ the program */

/* Whose ELF header names an interpreter: its path, else "". */
static void find_interpreter(int fd, char path[INTERPRETER_MAX])
{
	Elf64_Ehdr elf;

	path[0] = '\0';
	if (pread(fd, &elf, sizeof(elf), 0) != sizeof(elf) ||
	    memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 || elf.e_ident[EI_CLASS] != ELFCLASS64)
		return;
	for (unsigned i = 0; i < elf.e_phnum && i < 64; i++) {
		Elf64_Phdr program;
		ssize_t n;

		if (pread(fd, &program, sizeof(program),
			  (off_t)(elf.e_phoff + i * sizeof(program))) != sizeof(program))
			return;
		if (program.p_type != PT_INTERP || program.p_filesz >= INTERPRETER_MAX)
			continue;
		n = pread(fd, path, program.p_filesz, (off_t)program.p_offset);
		path[n > 0 ? n : 0] = '\0';
		return;
	}
}

static void read_file(const char *path, char interpreter[INTERPRETER_MAX])
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	static char page[65536];
	struct stat st;
	size_t total = 0;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	while (total < READ_MAX_BYTES && (n = read(fd, page, sizeof(page))) > 0)
		total += (size_t)n;
	if (interpreter)
		find_interpreter(fd, interpreter);
}

void prepared_read_program(const Hyper__Process *process)
{
	char program[PATH_MAX], interpreter[INTERPRETER_MAX] = "";

	if (launch_find_program(process, program, NULL) < 0)
		return;
	read_file(program, interpreter);
	if (*interpreter)
		read_file(interpreter, NULL);
}

/* ------------------------------------------------------------------ what it is told */

int prepared_tell(const Hyper__Process *process, int *ret_fd, struct error *err)
{
	/* Only what differs: the rest has been done. */
	Hyper__Process message = HYPER__PROCESS__INIT;
	autofree uint8_t *packed = NULL;
	autoclose int fd = -1;
	size_t len;
	int r;

	message.args = process->args;
	message.n_args = process->n_args;
	message.env = process->env;
	message.n_env = process->n_env;
	len = hyper__process__get_packed_size(&message);
	packed = malloc(len);
	if (!packed)
		return error_nomem(err);
	hyper__process__pack(&message, packed);
	/* What fits into a pipe costs a clone less than a file does. */
	if (len <= PIPE_BYTES) {
		int pipe_fds[2];

		if (pipe2(pipe_fds, O_CLOEXEC) < 0)
			return error_errno(err, errno, "telling the process what to run");
		fd = pipe_fds[0];
		r = fd_write_all(pipe_fds[1], packed, len);
		close(pipe_fds[1]);
	} else {
		fd = memfd_create("process", MFD_CLOEXEC);
		r = fd < 0 ? -errno : fd_write_all(fd, packed, len);
		if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
			r = -errno;
	}
	if (r < 0)
		return error_errno(err, -r, "telling the process what to run");
	*ret_fd = steal_fd(&fd);
	return 0;
}

int prepared_hear(int fd, Hyper__Process **ret, struct error *err)
{
	autostr struct str packed = STR_INIT;
	char piece[PIPE_BYTES];
	ssize_t n;

	while ((n = read(fd, piece, sizeof(piece))) > 0)
		str_append(&packed, piece, (size_t)n);
	if (n < 0)
		return error_errno(err, errno, "hearing what to run");
	if (packed.failed)
		return error_nomem(err);
	*ret = hyper__process__unpack(NULL, packed.len, (const uint8_t *)str_text(&packed));
	return *ret ? 0 : error_set(err, ERROR_INVALID, "what to run is no message");
}
