#include "hyperd/image/unpack.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "base/fd.h"
#include "base/process.h"
#include "base/task.h"
#include "hyperd/image/decompress.h"
#include "hyperd/image/image.h"

#define CHUNK_BYTES (256u << 10)
#define CHILD_STALL_SECONDS \
	600 /* longest time that the child may go without taking or saying anything */
#define REPORT_MAX_BYTES (sizeof(struct unpack_report) + (65u << 20))
/* A tar's headers come on top of what the files may have. */
#define STREAM_OVERHEAD_BYTES (2ull << 30)

/* The job: everything that touches blocks of the archive, on a thread of the pool. */
struct feed {
	int blob_fd, data_fd, report_fd, dir_fd; /* borrowed */
	uint64_t max_bytes;
	struct unpack_result *result;
	struct digest_stream *blob_digest, *diff_digest;
	uint64_t offset, stream_bytes;
	bool child_gone;
	struct error *err;
};

static ssize_t read_blob(void *arg, void *buf, size_t len, struct error *err)
{
	struct feed *feed = arg;
	ssize_t n;
	int r;

	do
		n = pread(feed->blob_fd, buf, len, (off_t)feed->offset);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_errno(err, errno, "reading the layer's archive");
	feed->offset += (uint64_t)n;
	r = digest_stream_update(feed->blob_digest, buf, (size_t)n, err);
	return r < 0 ? r : n;
}

/* A child that has gone has left a report; then what is left is of no interest. */
static int send_all(struct feed *feed, const char *data, size_t len, struct error *err)
{
	while (len > 0) {
		ssize_t n = send(feed->data_fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
			feed->child_gone = true;
			return 0;
		}
		if (n < 0)
			return error_errno(err, errno == EAGAIN ? ETIMEDOUT : errno,
					   "feeding the unpacker");
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int feed_stream(struct feed *feed, struct error *err)
{
	autoptr(decompressor_free) struct decompressor *d = NULL;
	autofree char *buf = malloc(CHUNK_BYTES);
	int r = decompressor_new(read_blob, feed, &d, err);

	if (!buf)
		return error_nomem(err);
	while (r == 0 && !feed->child_gone) {
		ssize_t n = decompressor_read(d, buf, CHUNK_BYTES, err);

		if (n <= 0)
			return (int)n;
		feed->stream_bytes += (uint64_t)n;
		if (feed->stream_bytes > feed->max_bytes + STREAM_OVERHEAD_BYTES)
			return error_set(err, ERROR_LIMIT, "the layer is larger than %llu bytes",
					 (unsigned long long)feed->max_bytes);
		r = digest_stream_update(feed->diff_digest, buf, (size_t)n, err);
		if (r == 0)
			r = send_all(feed, buf, (size_t)n, err);
	}
	return r;
}

static int read_report(struct feed *feed, struct str *report, struct error *err)
{
	char buf[4096];

	for (;;) {
		struct pollfd pollfd = { .fd = feed->report_fd, .events = POLLIN };
		int ready = poll(&pollfd, 1, CHILD_STALL_SECONDS * 1000);
		ssize_t n;

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return error_set(err, ERROR_TIMEOUT, "the unpacker does not end");
		n = fd_read(feed->report_fd, buf, sizeof(buf));
		if (n < 0)
			return error_errno(err, (int)-n, "reading the unpacker's report");
		if (n == 0)
			return report->failed ? error_nomem(err) : 0;
		str_append(report, buf, (size_t)n);
		if (report->len > REPORT_MAX_BYTES)
			return error_set(err, ERROR_LIMIT, "the unpacker's report is too long");
	}
}

/* The child has no right to do this itself; the path is only believed to lie beneath the tree. */
static int mark_opaque(struct feed *feed, const char *path, struct error *err)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
				.resolve =
					RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };
	autoclose int fd = (int)syscall(SYS_openat2, feed->dir_fd, path, &how, sizeof(how));

	/* A later entry may have put a file in its place. */
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0 || fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
		return error_errno(err, errno, "'%.200s': making the directory opaque", path);
	return 0;
}

static int take_report(struct feed *feed, const struct str *text, struct error *err)
{
	struct unpack_report report;
	const char *p, *end;
	int r = 0;

	if (text->len < sizeof(report))
		return error_set(err, ERROR_FAILED, "the unpacker died");
	memcpy(&report, text->data, sizeof(report));
	report.message[sizeof(report.message) - 1] = '\0';
	if (report.result != 0) {
		enum error_kind kind = report.kind > ERROR_NONE && report.kind < ERROR_KIND_COUNT
					       ? (enum error_kind)report.kind
					       : ERROR_FAILED;

		error_set(err, kind, "%s", report.message);
		return report.result < 0 ? report.result : -EIO;
	}
	feed->result->content_bytes = report.content_bytes;
	end = text->data + text->len;
	for (p = text->data + sizeof(report); r == 0 && p < end; p += strlen(p) + 1)
		r = mark_opaque(feed, p, err);
	return r;
}

static int feed_job(void *arg)
{
	struct feed *feed = arg;
	struct error why = { 0 };
	autostr struct str report = STR_INIT;
	int r, told;

	r = feed_stream(feed, feed->err);
	shutdown(feed->data_fd, SHUT_WR);
	/* Our own error is the cause; the child only sees a stream that ends early. */
	told = read_report(feed, &report, &why);
	if (told == 0 && r == 0)
		told = take_report(feed, &report, &why);
	if (r == 0 && told < 0) {
		error_copy(feed->err, &why);
		r = told;
	}
	if (r == 0 && feed->child_gone)
		r = error_set(feed->err, ERROR_FAILED, "the unpacker ended early");
	if (r == 0)
		r = digest_stream_final(feed->blob_digest, feed->result->blob_digest, feed->err);
	if (r == 0)
		r = digest_stream_final(feed->diff_digest, feed->result->diff_id, feed->err);
	feed->result->blob_bytes = feed->offset;
	return r;
}

/*
 * The directory as a mount of its own that hangs nowhere: its top has no "..", whoever is rooted in
 * it has nothing else.
 */
static int detach_dir(int dir_fd, struct error *err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
					       MOUNT_ATTR_NOEXEC };
	int tree = (int)syscall(SYS_open_tree, dir_fd, "",
				OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

	if (tree < 0)
		return error_errno(err, errno, "cloning the layer's directory");
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
		int r = error_errno(err, errno, "restricting the layer's directory");

		close(tree);
		return r;
	}
	return tree;
}

static int start_child(int data_fd, int dir_fd, int report_fd, const struct layer_limits *limits,
		       struct process *ret, struct error *err)
{
	char bytes[24], entries[24];
	const char *argv[] = { "/proc/self/exe", unpack_child_name, bytes, entries, NULL };
	const char *env[] = { NULL };
	const struct process_fd fds[] = { { data_fd, UNPACK_DATA_FD },
					  { dir_fd, UNPACK_DIR_FD },
					  { report_fd, UNPACK_REPORT_FD } };
	struct process_options options = {
		.argv = argv,
		.env = env,
		.fds = fds,
		.fd_count = ARRAY_SIZE(fds),
		.clone_flags =
			CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID,
	};

	snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)limits->max_bytes);
	snprintf(entries, sizeof(entries), "%llu", (unsigned long long)limits->max_entries);
	return process_spawn(&options, ret, err);
}

int layer_unpack(struct job_pool *jobs, int blob_fd, int dir_fd, const struct layer_limits *limits,
		 struct unpack_result *ret, struct error *err)
{
	autoptr(digest_stream_free) struct digest_stream *blob = NULL, *diff = NULL;
	autoclose int data = -1, data_child = -1, report = -1, report_child = -1, tree = -1;
	struct timeval stall = { .tv_sec = CHILD_STALL_SECONDS };
	struct process child = PROCESS_INIT;
	struct error own = { 0 };
	struct feed feed;
	int pair[2], code = 0, r;
	bool old;

	r = digest_stream_new(&blob, err);
	if (r == 0)
		r = digest_stream_new(&diff, err);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, errno, "starting the unpacker");
	data = pair[0];
	data_child = pair[1];
	if (pipe2(pair, O_CLOEXEC) < 0)
		return error_errno(err, errno, "starting the unpacker");
	report = pair[0];
	report_child = pair[1];
	setsockopt(data, SOL_SOCKET, SO_SNDTIMEO, &stall, sizeof(stall));
	tree = detach_dir(dir_fd, err);
	if (tree < 0)
		return error_prefix(err, tree, "starting the unpacker");
	r = start_child(data_child, tree, report_child, limits, &child, err);
	if (r < 0)
		return error_prefix(err, r, "starting the unpacker");
	close(steal_fd(&data_child));
	close(steal_fd(&report_child));

	feed = (struct feed){
		.blob_fd = blob_fd,
		.data_fd = data,
		.report_fd = report,
		.dir_fd = dir_fd,
		.max_bytes = limits->max_bytes,
		.result = ret,
		.blob_digest = blob,
		.diff_digest = diff,
		.err = &own,
	};
	*ret = (struct unpack_result){ 0 };
	r = job_run(jobs, feed_job, &feed);
	/* It has reported or been given up. */
	old = task_shield(true);
	if (r < 0)
		process_signal(&child, SIGKILL);
	process_wait(&child, DEADLINE_NEVER, &code, NULL);
	task_shield(old);
	process_done(&child);
	if (r < 0)
		error_copy(err, &own);
	return r;
}
