#include "hyperd/hypervisor/libvirt/library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/str.h"

#define LIBVIRT_SONAME "libvirt.so.0"
/* Disks are handed over as descriptors (virDomainFDAssociate): 9.0. */
#define LIBVIRT_MIN_VERSION 9000000ul

static struct libvirt_library library;
static bool is_open;

/* Its default is to print them. */
static void ignore_error(void *arg, virErrorPtr error)
{
}

static void *run_events(void *arg)
{
	pthread_setname_np(pthread_self(), "libvirt-events");
	for (;;)
		if (library.virEventRunDefaultImpl() < 0)
			library.virResetLastError();
	return NULL;
}

/* Signals are the loop's. */
static int start_events(struct error *err)
{
	sigset_t all, old;
	pthread_t thread;
	int r;

	if (library.virEventRegisterDefaultImpl() < 0)
		return libvirt_error(&library, err, "libvirt's event loop");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, NULL, run_events, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return error_errno(err, r, "starting the thread of libvirt's events");
	pthread_detach(thread);
	return 0;
}

int libvirt_library_open(const struct libvirt_library **ret, struct error *err)
{
	const char *missing = NULL;
	unsigned long version = 0;
	void *handle;
	int r;

	*ret = &library;
	if (is_open)
		return 0;
	/* Its drivers are loaded by itself and look for its symbols. */
	handle = dlopen(LIBVIRT_SONAME, RTLD_NOW | RTLD_GLOBAL);
	if (!handle)
		return error_set(err, ERROR_UNSUPPORTED,
				 "libvirt (" LIBVIRT_SONAME ") is not installed; on Debian: apt "
				 "install libvirt0 libvirt-daemon: %s",
				 dlerror());
#define LIBVIRT_FIND(name)                                             \
	library.name = (__typeof__(library.name))dlsym(handle, #name); \
	missing = library.name ? missing : #name;
	LIBVIRT_FUNCTIONS(LIBVIRT_FIND)
#undef LIBVIRT_FIND
	if (library.virGetVersion)
		library.virGetVersion(&version, NULL, NULL);
	if (missing || version < LIBVIRT_MIN_VERSION)
		return error_set(err, ERROR_UNSUPPORTED,
				 "libvirt is version %lu.%lu, needed is 9.0 or newer",
				 version / 1000000, version / 1000 % 1000);
	library.virSetErrorFunc(NULL, ignore_error);
	if (library.virInitialize() < 0)
		return libvirt_error(&library, err, "libvirt");
	r = start_events(err);
	is_open = r == 0;
	return r;
}

static enum error_kind kind_of(int code)
{
	switch (code) {
	case VIR_ERR_NO_DOMAIN:
		return ERROR_NOT_FOUND;
	case VIR_ERR_OPERATION_INVALID:
	case VIR_ERR_DOM_EXIST:
		return ERROR_CONFLICT;
	case VIR_ERR_AUTH_FAILED:
	case VIR_ERR_ACCESS_DENIED:
		return ERROR_DENIED;
	case VIR_ERR_NO_CONNECT:
	case VIR_ERR_RPC:
	case VIR_ERR_SYSTEM_ERROR:
	case VIR_ERR_INVALID_CONN:
		return ERROR_UNAVAILABLE;
	case VIR_ERR_NO_SUPPORT:
	case VIR_ERR_CONFIG_UNSUPPORTED:
		return ERROR_UNSUPPORTED;
	default:
		return ERROR_FAILED;
	}
}

int libvirt_error(const struct libvirt_library *lib, struct error *err, const char *fmt, ...)
{
	virErrorPtr error = lib->virGetLastError();
	autostr struct str doing = STR_INIT;
	va_list ap;
	int r;

	va_start(ap, fmt);
	str_addvf(&doing, fmt, ap);
	va_end(ap);
	r = error_set(err, kind_of(error ? error->code : VIR_ERR_INTERNAL_ERROR), "%s: %s",
		      str_text(&doing), error && error->message ? error->message : "failed");
	lib->virResetLastError();
	return r;
}
