#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

static const struct {
	int errnum;
	const char *name;
} kinds[ERROR_KIND_COUNT] = {
	[ERROR_NONE] = { 0, "none" },
	[ERROR_FAILED] = { EIO, "failed" },
	[ERROR_INVALID] = { EINVAL, "invalid" },
	[ERROR_UNAUTHORIZED] = { EACCES, "unauthorized" },
	[ERROR_DENIED] = { EPERM, "denied" },
	[ERROR_NOT_FOUND] = { ENOENT, "not-found" },
	[ERROR_CONFLICT] = { EBUSY, "conflict" },
	[ERROR_NOT_MODIFIED] = { EALREADY, "not-modified" },
	[ERROR_LIMIT] = { E2BIG, "limit" },
	[ERROR_TIMEOUT] = { ETIMEDOUT, "timeout" },
	[ERROR_CANCELED] = { ECANCELED, "canceled" },
	[ERROR_UNSUPPORTED] = { EOPNOTSUPP, "unsupported" },
	[ERROR_UNAVAILABLE] = { ENOTCONN, "unavailable" },
};

int error_kind_errno(enum error_kind kind)
{
	return kind < ERROR_KIND_COUNT ? -kinds[kind].errnum : -EIO;
}

/* Only what an errno says for certain; a failed open() of ours is no "not found" of the caller's.
 */
enum error_kind error_errno_kind(int errnum)
{
	switch (errnum) {
	case 0:
		return ERROR_NONE;
	case ETIMEDOUT:
		return ERROR_TIMEOUT;
	case ECANCELED:
		return ERROR_CANCELED;
	default:
		return ERROR_FAILED;
	}
}

const char *error_kind_name(enum error_kind kind)
{
	return kind < ERROR_KIND_COUNT ? kinds[kind].name : "unknown";
}

/* Cuts what did not fit, visibly, and never inside a UTF-8 sequence. */
static void mark_cut(struct error *err, int wanted)
{
	static const char mark[] = "…";
	size_t end = sizeof(err->message) - sizeof(mark);

	if (wanted < 0 || (size_t)wanted < sizeof(err->message))
		return;
	while (end > 0 && ((unsigned char)err->message[end] & 0xc0) == 0x80)
		end--;
	memcpy(err->message + end, mark, sizeof(mark));
}

int error_set(struct error *err, enum error_kind kind, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		err->kind = kind;
		err->exit_code = 0;
		va_start(ap, fmt);
		mark_cut(err, vsnprintf(err->message, sizeof(err->message), fmt, ap));
		va_end(ap);
	}
	return error_kind_errno(kind);
}

int error_errno(struct error *err, int errnum, const char *fmt, ...)
{
	va_list ap;
	int used;

	if (!err)
		return -errnum;

	err->kind = error_errno_kind(errnum);
	err->exit_code = 0;
	va_start(ap, fmt);
	used = vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	if (used < 0)
		used = 0;
	if ((size_t)used < sizeof(err->message))
		used += snprintf(err->message + used, sizeof(err->message) - (size_t)used, ": %s",
				 strerror(errnum));
	mark_cut(err, used);
	return -errnum;
}

int error_prefix(struct error *err, int r, const char *fmt, ...)
{
	char old[sizeof(err->message)];
	va_list ap;
	int used;

	if (!err)
		return r;

	memcpy(old, err->message, sizeof(old));
	va_start(ap, fmt);
	used = vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	if (used < 0)
		used = 0;
	if ((size_t)used < sizeof(err->message))
		used += snprintf(err->message + used, sizeof(err->message) - (size_t)used, ": %s",
				 old);
	mark_cut(err, used);
	if (err->kind == ERROR_NONE)
		err->kind = error_errno_kind(-r);
	return r;
}

int error_nomem(struct error *err)
{
	return error_set(err, ERROR_FAILED, "out of memory"), -ENOMEM;
}

void error_clear(struct error *err)
{
	if (err) {
		err->kind = ERROR_NONE;
		err->exit_code = 0;
		err->message[0] = '\0';
	}
}

void error_copy(struct error *to, const struct error *from)
{
	if (to && from && to != from)
		*to = *from;
}
