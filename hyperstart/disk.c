#include "hyperstart/disk.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/clock.h"
#include "base/str.h"
#include "hyperstart/agent.h"
#include "hyperstart/block.h"
#include "hyperstart/prepared.h"
#include "hyperstart/process.h"

static int mount_block(struct agent *agent, const Hyper__DiskSetup *setup, struct error *err)
{
	char device[BLOCK_PATH_MAX];
	int r = block_find(setup->block_serial, device, err);

	if (r == 0 && setup->existing)
		r = block_flush(device, err);
	if (r < 0)
		return r;
	if (mount(device, DISK_DIR, "ext4", MS_NOATIME, NULL) < 0)
		return error_errno(err, errno, "mounting disk '%s' as ext4", setup->block_serial);
	agent->disk_mounted = true;
	return 0;
}

static int use_directory(struct agent *agent, const char *directory, struct error *err)
{
	struct stat st;
	char *copy;

	if (directory[0] != '/')
		return error_set(err, ERROR_INVALID, "directory '%s': not an absolute path",
				 directory);
	if (strpbrk(directory, ",:\\"))
		return error_set(err, ERROR_INVALID,
				 "directory '%s': overlayfs cannot name it: it holds , : or \\",
				 directory);
	if (stat(directory, &st) < 0)
		return error_errno(err, errno, "directory '%s'", directory);
	if (!S_ISDIR(st.st_mode))
		return error_set(err, ERROR_INVALID, "'%s' is no directory", directory);
	copy = strdup(directory);
	if (!copy)
		return error_nomem(err);
	free(agent->disk_path);
	agent->disk_path = copy;
	return 0;
}

/* Removes PATH in a child that nobody waits for. */
static void remove_later(const char *path)
{
	pid_t pid = fork();

	if (pid == 0) {
		process_child_begin();
		_exit(file_remove_tree(AT_FDCWD, path, NULL) < 0);
	}
	if (pid < 0)
		file_remove_tree(AT_FDCWD, path, NULL);
}

static int make_dirs(struct agent *agent, struct error *err)
{
	static const char *const names[] = { "containers", "trash" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(names); i++) {
		autofree char *path = strf("%s/%s", agent->disk_path, names[i]);

		if (!path)
			return error_nomem(err);
		r = file_make_dirs(AT_FDCWD, path, 0711, err);
	}
	return r;
}

/* What an earlier boot did not get round to. */
static void empty_trash(struct agent *agent)
{
	autofree char *trash = strf("%s/trash", agent->disk_path);
	autoclosedir DIR *dir = trash ? opendir(trash) : NULL;
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		autofree char *path = NULL;

		if (e->d_name[0] == '.')
			continue;
		path = strf("%s/%s", trash, e->d_name);
		if (path)
			remove_later(path);
	}
}

int disk_setup_handle(struct request *request, struct error *err)
{
	const Hyper__DiskSetup *setup = request->body->disk_setup;
	struct agent *agent = request->agent;
	int r;

	if (agent->disk_ready)
		return error_set(err, ERROR_CONFLICT, "the pod's disk is set up already");
	if (!list_empty(&agent->containers))
		return error_set(err, ERROR_CONFLICT,
				 "the pod's disk must be set up before its containers");
	if (!*setup->block_serial == !*setup->directory)
		return error_set(err, ERROR_INVALID,
				 "one of block_serial and directory must be given");
	if (*setup->block_serial)
		r = mount_block(agent, setup, err);
	else
		r = use_directory(agent, setup->directory, err);
	if (r == 0)
		r = make_dirs(agent, err);
	if (r == 0 && setup->existing && *setup->prepared_owner)
		r = prepared_recover(agent, setup->prepared_owner, err);
	if (r < 0) {
		if (agent->disk_mounted)
			umount2(DISK_DIR, MNT_DETACH);
		agent->disk_mounted = false;
		return r;
	}
	agent->disk_ready = true;
	if (setup->existing)
		empty_trash(agent);
	return 0;
}

int disk_container_dir(struct agent *agent, const char *id, char **ret_path, struct error *err)
{
	autofree char *path = strf("%s/containers/%s", agent->disk_path, id);
	int r;

	if (!path)
		return error_nomem(err);
	r = file_make_dirs(AT_FDCWD, path, 0711, err);
	if (r < 0)
		return r;
	*ret_path = steal(path);
	return 0;
}

int disk_container_remove(struct agent *agent, const char *id, struct error *err)
{
	static unsigned counter;
	autofree char *path = strf("%s/containers/%s", agent->disk_path, id);
	autofree char *trash = strf("%s/trash/%llx-%u", agent->disk_path,
				    (unsigned long long)realtime_ns(), counter++);
	int r;

	if (!path || !trash)
		return error_nomem(err);
	r = make_dirs(agent, err);
	if (r < 0)
		return r;
	if (rename(path, trash) < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "removing '%s'", path);
	remove_later(trash);
	return 0;
}

int disk_close(struct agent *agent, struct error *err)
{
	if (!agent->disk_mounted)
		return 0;
	sync();
	if (umount2(DISK_DIR, 0) < 0) {
		int r = error_errno(err, errno, "unmounting the pod's disk");

		/* Something holds it: what is written is safe, and the journal does the rest. */
		mount(NULL, DISK_DIR, NULL, MS_REMOUNT | MS_RDONLY, NULL);
		umount2(DISK_DIR, MNT_DETACH);
		agent->disk_mounted = false;
		return r;
	}
	agent->disk_mounted = false;
	return 0;
}
