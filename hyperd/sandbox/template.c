#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "hyperd/sandbox/factory.h"

/* Raised when what is stored, or what is done to a machine before it is saved, changes. */
#define TEMPLATE_FORMAT 4

#define MEMORY_FILE "memory"
#define STATE_FILE  "state"
#define DISK_FILE   "disk.img"
#define META_FILE   "meta.json"
#define META_MAX    (1u << 20)

#define SAVE_DEADLINE_MS 60000

/* ------------------------------------------------------------------ keys */

/* Everything that shapes a template, hashed; two templates of one key are interchangeable. */
static int template_key(struct sandbox_factory *factory, const struct shape *shape, char key[33],
			struct error *err)
{
	static const char hex[] = "0123456789abcdef";
	struct vm_disk disks[1 + shape->on_disk_count];
	char serials[1 + shape->on_disk_count][21];
	unsigned char digest[32];
	autostr struct str text = STR_INIT;
	struct vm_config config;
	int r;

	machine_config(shape, disks, serials, &config);
	r = shape->hypervisor->driver->fingerprint(shape->hypervisor, &config, &text, err);
	if (r < 0)
		return r;
	str_addf(&text, "format %d\nprotocol %d\ndisk %" PRIu64 " %d\n", TEMPLATE_FORMAT,
		 PROTOCOL_VERSION, factory->disk_bytes, shape->disk_mounted);
	/* Disks first: the order of layers in a machine means nothing, but which is where does. */
	for (size_t i = 0; i < shape->on_disk_count; i++)
		str_addf(&text, "on disk %s\n", shape->on_disk[i].diff_id);
	for (size_t i = 0; i < shape->streamed_count; i++)
		str_addf(&text, "streamed %s\n", shape->streamed[i].diff_id);
	if (text.failed || !EVP_Digest(text.data, text.len, digest, NULL, EVP_sha256(), NULL))
		return error_nomem(err);
	for (int i = 0; i < 16; i++) {
		key[2 * i] = hex[digest[i] >> 4];
		key[2 * i + 1] = hex[digest[i] & 15];
	}
	key[32] = '\0';
	return 0;
}

/* ------------------------------------------------------------------ life */

static struct template *template_alloc(struct sandbox_factory *factory, const char *key)
{
	struct template *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->factory = factory;
	t->memory_fd = -1;
	t->refs = 1;
	snprintf(t->key, sizeof(t->key), "%s", key);
	cond_init(&t->changed);
	list_init(&t->node);
	t->dir = strf("%s/templates/%s", factory->data_root, key);
	if (!t->dir) {
		free(t);
		return NULL;
	}
	return t;
}

void template_unref(struct template *t)
{
	if (!t || --t->refs)
		return;
	list_remove(&t->node);
	if (t->memory_fd >= 0)
		close(t->memory_fd);
	strv_free(t->layers);
	free(t->dir);
	free(t);
}

static void remove_files(struct template *t)
{
	struct error err = { 0 };

	if (file_remove_tree(AT_FDCWD, t->dir, &err) < 0)
		log_warn("template %s: %s", t->key, err.message);
}

/* Out of the list, off the disk; machines that run from it keep their memory. */
static void template_forget(struct template *t)
{
	if (t->forgotten)
		return;
	t->forgotten = true;
	list_remove(&t->node);
	remove_files(t);
	template_unref(t);
}

void template_discard(struct template *t)
{
	template_forget(t);
}

static struct template *template_find(struct sandbox_factory *factory, const char *key)
{
	struct template *t;

	list_for_each_entry(t, &factory->templates, node) {
		if (strcmp(t->key, key) == 0)
			return t;
	}
	return NULL;
}

/* What it costs: its memory when loaded, and the like on disk. */
static uint64_t template_bytes(const struct template *t)
{
	struct stat st;

	if (t->memory_fd >= 0 && fstat(t->memory_fd, &st) == 0)
		return (uint64_t)st.st_blocks * 512;
	return t->stored_bytes;
}

/* The least recently used go until number and bytes fit; what is being built or used stays. */
static void evict(struct sandbox_factory *factory)
{
	for (;;) {
		struct template *t, *oldest = NULL;
		uint64_t bytes = 0;
		unsigned count = 0;

		list_for_each_entry(t, &factory->templates, node) {
			count++;
			bytes += template_bytes(t);
			if (t->state == TEMPLATE_READY && t->refs == 1 &&
			    (!oldest || t->used_ns < oldest->used_ns))
				oldest = t;
		}
		if (!oldest ||
		    (count <= factory->max_templates && bytes <= factory->template_max_bytes))
			return;
		trace(sandbox, "evicting template %s", oldest->key);
		template_forget(oldest);
	}
}

/* ------------------------------------------------------------------ memory and files */

struct memory_copy {
	int from_fd, to_fd;
	struct error error;
};

static int memory_copy_job(void *arg)
{
	struct memory_copy *c = arg;

	return file_copy_sparse(c->from_fd, c->to_fd, &c->error);
}

static int copy_memory(struct sandbox_factory *factory, int from_fd, int to_fd, struct error *err)
{
	struct memory_copy copy = { from_fd, to_fd };
	int r = job_run(factory->jobs, memory_copy_job, &copy);

	if (r < 0) {
		error_copy(err, &copy.error);
		return error_prefix(err, r, "copying guest memory");
	}
	return 0;
}

static int new_memory(uint64_t bytes, int *ret_fd, struct error *err)
{
	autoclose int fd = memfd_create("hyper-template", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return error_errno(err, errno, "making %" PRIu64 " bytes of guest memory", bytes);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* From here on the kernel itself refuses every write, whoever holds a descriptor. */
static int seal_memory(int fd, struct error *err)
{
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return error_errno(err, errno, "sealing a template's memory");
	return 0;
}

static int open_in(const char *dir, const char *name, int flags, int *ret_fd, struct error *err)
{
	autofree char *path = strf("%s/%s", dir, name);

	if (!path)
		return error_nomem(err);
	*ret_fd = open(path, flags | O_CLOEXEC, 0600);
	return *ret_fd < 0 ? error_errno(err, errno, "opening '%s'", path) : 0;
}

int template_open_state(struct template *t, int *ret_fd, struct error *err)
{
	return open_in(t->dir, STATE_FILE, O_RDONLY, ret_fd, err);
}

char *template_disk_path(const struct template *t)
{
	return strf("%s/%s", t->dir, DISK_FILE);
}

/* Kept templates come into memory when they are first needed. */
static int template_load(struct template *t, struct error *err)
{
	autoclose int file = -1, memory = -1;
	struct stat st;
	int r;

	if (t->memory_fd >= 0)
		return 0;
	r = open_in(t->dir, MEMORY_FILE, O_RDONLY, &file, err);
	if (r < 0)
		return r;
	if (fstat(file, &st) < 0 || (uint64_t)st.st_size != t->memory_bytes)
		return error_set(err, ERROR_FAILED, "template %s: its memory has another size",
				 t->key);
	r = new_memory(t->memory_bytes, &memory, err);
	if (r == 0)
		r = copy_memory(t->factory, file, memory, err);
	if (r == 0)
		r = seal_memory(memory, err);
	if (r == 0 && t->memory_fd < 0) /* another task may have been quicker */
		t->memory_fd = steal_fd(&memory);
	return r;
}

static int write_meta(struct template *t, const char *dir, struct error *err)
{
	autojson json_t *meta = NULL;
	autofree char *path = strf("%s/" META_FILE, dir);

	meta = json_pack("{s:i, s:I, s:b, s:o}", "v", TEMPLATE_FORMAT, "memory_bytes",
			 (json_int_t)t->memory_bytes, "disk_mounted", t->disk_mounted, "layers",
			 json_from_strv(t->layers));
	if (!meta || !path)
		return error_nomem(err);
	return json_write(AT_FDCWD, path, meta, false, err);
}

static int read_meta(struct template *t, struct error *err)
{
	autojson json_t *meta = NULL;
	autofree char *path = strf("%s/" META_FILE, t->dir);
	int64_t version, bytes;
	int r = path ? json_read(AT_FDCWD, path, META_MAX, &meta, err) : error_nomem(err);

	if (r == 0)
		r = json_get_int(meta, "v", &version, err);
	if (r == 0 && version != TEMPLATE_FORMAT)
		r = error_set(err, ERROR_UNSUPPORTED, "format %" PRId64, version);
	if (r == 0)
		r = json_get_int(meta, "memory_bytes", &bytes, err);
	if (r == 0)
		r = json_get_bool(meta, "disk_mounted", &t->disk_mounted, err);
	if (r == 0)
		r = json_get_strv(meta, "layers", &t->layers, err);
	if (r == 0)
		t->memory_bytes = (uint64_t)bytes;
	return r;
}

/* ------------------------------------------------------------------ building */

struct build {
	struct sandbox_factory *factory; /* borrowed */
	struct template *t;
	const struct shape *shape;
	char *dir; /* owned: where files are until they are all there */
	int memory_fd, disk_fd;
	struct machine machine;
	bool came_up;
};

static int trim_memory(struct agent *agent, uint64_t deadline_ns, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__MemoryTrim trim = HYPER__MEMORY_TRIM__INIT;

	request.body_case = HYPER__REQUEST__BODY_MEMORY_TRIM;
	request.memory_trim = &trim;
	return agent_call(agent, &request, deadline_ns, NULL, err);
}

/*
 * Layers that are streamed, and the mounted disk, go on top of a base template, so that a new image
 * costs no boot. Layers on disks are devices, which are there from the boot on.
 */
static bool has_base(const struct shape *shape)
{
	return !shape->on_disk_count && (shape->streamed_count || shape->disk_mounted);
}

/*
 * What every pod needs and no pod has of its own: control groups mounted, loopback up. Under
 * emulation it costs each clone 60 ms otherwise. The pod's own PodSetup, with its name, comes on
 * top.
 */
static int set_up_pod(struct agent *agent, bool network, uint64_t deadline_ns, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__PodSetup setup = HYPER__POD_SETUP__INIT;

	setup.loopback = true;
	setup.network = network;
	/* A pod's own is written over it, where a prepared container has it mounted. */
	setup.machine_id = "00000000000000000000000000000000";
	request.body_case = HYPER__REQUEST__BODY_POD_SETUP;
	request.pod_setup = &setup;
	return agent_call(agent, &request, deadline_ns, NULL, err);
}

/*
 * A container that waits to be somebody's. A pod that has no use for it makes its own, so this may
 * fail.
 */
static void prepare_container(struct build *b, uint64_t deadline_ns)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ContainerCreate create = *b->shape->prepare;
	struct error err = { 0 };

	create.prepare = true;
	request.body_case = HYPER__REQUEST__BODY_CONTAINER_CREATE;
	request.container_create = &create;
	if (agent_call(b->machine.agent, &request, deadline_ns, NULL, &err) < 0)
		log_warn("template %s: preparing a container: %s", b->t->key, err.message);
}

/* What the machine is to hold when it is saved. */
static int fill(struct build *b, struct error *err)
{
	const struct shape *shape = b->shape;
	uint64_t deadline_ns = deadline_in_ms(BOOT_DEADLINE_MS);
	char serials[1 + shape->on_disk_count][21];
	char *serial_list[1 + shape->on_disk_count];
	int r = 0;

	for (size_t i = 0; i < shape->on_disk_count; i++) {
		layer_serial(&shape->on_disk[i], serials[i]);
		serial_list[i] = serials[i];
	}
	if (!has_base(shape))
		r = set_up_pod(b->machine.agent, shape->network != VM_NETWORK_NONE, deadline_ns,
			       err);
	if (r == 0 && shape->on_disk_count)
		r = layers_add(b->factory, b->machine.agent, shape->on_disk, shape->on_disk_count,
			       serial_list, false, deadline_ns, err);
	if (r == 0 && shape->streamed_count)
		r = layers_add(b->factory, b->machine.agent, shape->streamed, shape->streamed_count,
			       NULL, false, deadline_ns, err);
	if (r == 0 && shape->disk_mounted)
		r = machine_setup_disk(b->machine.agent, false, NULL, deadline_ns, err);
	if (r == 0)
		r = trim_memory(b->machine.agent, deadline_ns, err);
	if (r == 0 && shape->disk_mounted && shape->prepare)
		prepare_container(b, deadline_ns);
	return r;
}

static int save(struct build *b, struct error *err)
{
	const struct hypervisor_driver *driver = b->shape->hypervisor->driver;
	autoclose int state = -1, memory = -1;
	int r = open_in(b->dir, STATE_FILE, O_RDWR | O_CREAT | O_TRUNC, &state, err);

	if (r == 0)
		r = driver->save(b->machine.vm, state, deadline_in_ms(SAVE_DEADLINE_MS), err);
	/* A shared mapping must be gone before memory can be sealed. */
	machine_end(&b->machine);
	if (r == 0)
		r = seal_memory(b->memory_fd, err);
	if (r == 0)
		r = open_in(b->dir, MEMORY_FILE, O_RDWR | O_CREAT | O_TRUNC, &memory, err);
	if (r == 0)
		r = copy_memory(b->factory, b->memory_fd, memory, err);
	if (r == 0)
		r = write_meta(b->t, b->dir, err);
	if (r == 0 && rename(b->dir, b->t->dir) < 0)
		r = error_errno(err, errno, "making '%s'", b->t->dir);
	return r;
}

static int run_builder(struct build *b, struct template *base, struct error *err)
{
	struct sandbox_factory *factory = b->factory;
	autofree char *blank = NULL, *disk = strf("%s/" DISK_FILE, b->dir);
	autofree char *name = strf("template-%.12s-%u", b->t->key, ++factory->counter);
	autoclose int state = -1;
	struct machine_options options = {
		.shape = b->shape, .name = name, .memory_shared = true, .state_fd = -1
	};
	int r = disk && name ? 0 : error_nomem(err);

	options.deadline_ms =
		strcmp(b->shape->accel, "kvm") == 0 ? KVM_BOOT_DEADLINE_MS : BOOT_DEADLINE_MS;
	if (r == 0)
		r = disk_blank(factory, &blank, err);
	if (r == 0)
		r = disk_copy(factory, blank, disk, &b->disk_fd, err);
	if (r == 0)
		r = new_memory(b->shape->memory_bytes, &b->memory_fd, err);
	if (r == 0 && base) {
		r = copy_memory(factory, base->memory_fd, b->memory_fd, err);
		if (r == 0)
			r = template_open_state(base, &state, err);
		options.state_fd = state;
	}
	if (r < 0)
		return r;
	options.disk_fd = b->disk_fd;
	options.disk_path = disk;
	options.memory_fd = b->memory_fd;
	r = machine_start(factory, &options, &b->machine, err);
	b->came_up = r == 0;
	if (r == 0)
		r = fill(b, err);
	if (r == 0)
		r = save(b, err);
	machine_end(&b->machine);
	return r;
}

static int get_base(struct sandbox_factory *factory, const struct shape *shape,
		    struct template **ret, struct error *err)
{
	struct shape base = *shape;

	base.streamed_count = 0;
	base.disk_mounted = false;
	return template_get(factory, &base, ret, NULL, err);
}

static int remember_layers(struct template *t, const struct shape *shape, struct error *err)
{
	t->layers = calloc(1, sizeof(*t->layers));
	if (!t->layers)
		return error_nomem(err);
	for (size_t i = 0; i < shape->on_disk_count; i++)
		if (strv_add(&t->layers, shape->on_disk[i].diff_id) < 0)
			return error_nomem(err);
	for (size_t i = 0; i < shape->streamed_count; i++)
		if (strv_add(&t->layers, shape->streamed[i].diff_id) < 0)
			return error_nomem(err);
	return 0;
}

static int template_build(struct template *t, const struct shape *shape, struct error *err)
{
	struct sandbox_factory *factory = t->factory;
	struct build b = { factory, t, shape, NULL, -1, -1 };
	struct template *base = NULL;
	int r;

	trace(sandbox, "building template %s", t->key);
	t->memory_bytes = shape->memory_bytes;
	t->disk_mounted = shape->disk_mounted;
	r = remember_layers(t, shape, err);
	if (r == 0 && has_base(shape))
		r = get_base(factory, shape, &base, err);
	if (r < 0)
		return r;
	b.dir = strf("%s/templates/%s.new-%u", factory->data_root, t->key, ++factory->counter);
	if (!b.dir)
		r = error_nomem(err);
	else if (mkdir(b.dir, 0700) < 0)
		r = error_errno(err, errno, "making '%s'", b.dir);
	if (r == 0)
		r = run_builder(&b, base, err);
	/* A base that its clones do not come up from would fail every image. */
	if (r < 0 && r != -ECANCELED && base && !b.came_up)
		template_discard(base);
	template_unref(base);
	if (r == 0) {
		t->memory_fd = steal_fd(&b.memory_fd);
	} else if (b.dir) {
		file_remove_tree(AT_FDCWD, b.dir, NULL);
		error_prefix(err, r, "template");
	}
	if (b.memory_fd >= 0)
		close(b.memory_fd);
	if (b.disk_fd >= 0)
		close(b.disk_fd);
	free(b.dir);
	return r;
}

/* The builder's task may be canceled by whoever asked; those who wait then build it themselves. */
static int build_and_tell(struct template *t, const struct shape *shape, struct error *err)
{
	struct error why = { 0 };
	int r = template_build(t, shape, &why);

	t->state = r < 0 ? TEMPLATE_FAILED : TEMPLATE_READY;
	t->why = why;
	t->used_ns = now_ns();
	cond_broadcast(&t->changed);
	if (r < 0) {
		template_forget(t);
		error_copy(err, &why);
		return r;
	}
	evict(t->factory);
	return 0;
}

int template_get(struct sandbox_factory *factory, const struct shape *shape, struct template **ret,
		 bool *ret_built, struct error *err)
{
	struct template *t;
	char key[33];
	int r = template_key(factory, shape, key, err);

	if (ret_built)
		*ret_built = false;
	if (r < 0)
		return r;
	for (;;) {
		t = template_find(factory, key);
		if (!t)
			break;
		t->refs++;
		while (t->state == TEMPLATE_BUILDING && r == 0)
			r = cond_wait(&t->changed, DEADLINE_NEVER);
		if (r < 0) {
			template_unref(t);
			return error_set(err, ERROR_CANCELED, "canceled");
		}
		if (t->state == TEMPLATE_READY) {
			r = template_load(t, err);
			if (r == 0) {
				t->used_ns = now_ns();
				*ret = t;
				return 0;
			}
			log_warn("template %s is damaged and is built anew: %s", key, err->message);
			template_discard(t);
			error_clear(err);
		} else if (t->why.kind != ERROR_CANCELED) {
			error_copy(err, &t->why);
			r = error_kind_errno(t->why.kind);
			template_unref(t);
			return r;
		}
		template_unref(t);
		r = 0;
	}
	t = template_alloc(factory, key);
	if (!t)
		return error_nomem(err);
	list_append(&factory->templates, &t->node);
	t->refs++; /* ours, beside the list's */
	if (ret_built)
		*ret_built = true;
	r = build_and_tell(t, shape, err);
	if (r < 0) {
		template_unref(t);
		return r;
	}
	*ret = t;
	return 0;
}

/* ------------------------------------------------------------------ all of them */

void template_forget_layer(struct sandbox_factory *factory, const char *diff_id)
{
	struct template *t, *next;

	list_for_each_entry_safe(t, next, &factory->templates, node) {
		bool has = !diff_id;

		strv_for_each(layer, t->layers)
			has |= strcmp(*layer, diff_id) == 0;
		if (has && t->state == TEMPLATE_READY)
			template_forget(t);
	}
}

static int load_one(struct sandbox_factory *factory, const char *key, struct error *err)
{
	struct template *t = template_alloc(factory, key);
	struct stat st;
	autofree char *memory = t ? strf("%s/" MEMORY_FILE, t->dir) : NULL;
	int r = memory ? read_meta(t, err) : error_nomem(err);

	if (r == 0 && stat(memory, &st) < 0)
		r = error_errno(err, errno, "'%s'", memory);
	if (r < 0) {
		if (t)
			remove_files(t);
		template_unref(t);
		return r;
	}
	t->stored_bytes = (uint64_t)st.st_blocks * 512;
	/* Order of use is not kept: the older file goes first. */
	t->used_ns = 0;
	t->state = TEMPLATE_READY;
	list_append(&factory->templates, &t->node);
	return 0;
}

int template_load_all(struct sandbox_factory *factory, struct error *err)
{
	autofree char *path = strf("%s/templates", factory->data_root);
	autostrv char **names = NULL;
	autoclosedir DIR *dir = NULL;
	struct dirent *entry;
	int r;

	if (!path)
		return error_nomem(err);
	r = file_make_dirs(AT_FDCWD, path, 0700, err);
	if (r < 0)
		return r;
	dir = opendir(path);
	if (!dir)
		return error_errno(err, errno, "opening '%s'", path);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' && strv_add(&names, entry->d_name) < 0)
			return error_nomem(err);
	strv_for_each(name, names) {
		struct error one = { 0 };

		if (str_starts(*name, "blank-") && str_ends(*name, ".img"))
			continue;
		if (strlen(*name) != 32 || load_one(factory, *name, &one) < 0) {
			trace(sandbox, "removing '%s' from the templates: %s", *name, one.message);
			file_remove_tree(dirfd(dir), *name, NULL);
		}
	}
	evict(factory);
	return 0;
}

void template_free_all(struct sandbox_factory *factory)
{
	while (!list_empty(&factory->templates)) {
		struct template *t = container_of(factory->templates.next, struct template, node);

		list_remove(&t->node);
		template_unref(t);
	}
}

json_t *template_info(struct sandbox_factory *factory)
{
	json_t *array = json_array();
	struct template *t;

	list_for_each_entry(t, &factory->templates, node) {
		static const char *const states[] = { "building", "ready", "failed" };

		json_array_append_new(array,
				      json_pack("{s:s, s:s, s:I, s:b, s:b, s:o}", "key", t->key,
						"state", states[t->state], "bytes",
						(json_int_t)template_bytes(t), "loaded",
						t->memory_fd >= 0, "disk_mounted", t->disk_mounted,
						"layers", json_from_strv(t->layers)));
	}
	return array;
}
