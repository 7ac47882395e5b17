#pragma once
/*
 * libvirt's client library, loaded when the first pod needs it: hyperd starts and runs where there
 * is none. Everything below calls libvirt through this table.
 *
 * libvirt's calls block and are for jobs (base/job.h); its events come from one thread of their
 * own, which waits in libvirt's event loop and lives as long as the process.
 */
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "base/error.h"

#define LIBVIRT_FUNCTIONS(F)                  \
	F(virInitialize)                      \
	F(virGetVersion)                      \
	F(virSetErrorFunc)                    \
	F(virGetLastError)                    \
	F(virResetLastError)                  \
	F(virEventRegisterDefaultImpl)        \
	F(virEventRunDefaultImpl)             \
	F(virConnectOpen)                     \
	F(virConnectClose)                    \
	F(virConnectRef)                      \
	F(virConnectIsAlive)                  \
	F(virConnectGetVersion)               \
	F(virConnectSetKeepAlive)             \
	F(virConnectRegisterCloseCallback)    \
	F(virConnectUnregisterCloseCallback)  \
	F(virConnectDomainEventRegisterAny)   \
	F(virConnectDomainEventDeregisterAny) \
	F(virConnectListAllDomains)           \
	F(virDomainDefineXML)                 \
	F(virDomainUndefine)                  \
	F(virDomainFDAssociate)               \
	F(virDomainCreateWithFlags)           \
	F(virDomainLookupByName)              \
	F(virDomainLookupByUUIDString)        \
	F(virDomainGetUUIDString)             \
	F(virDomainGetName)                   \
	F(virDomainGetMetadata)               \
	F(virDomainGetXMLDesc)                \
	F(virDomainGetState)                  \
	F(virDomainIsActive)                  \
	F(virDomainIsPersistent)              \
	F(virDomainSuspend)                   \
	F(virDomainResume)                    \
	F(virDomainDestroy)                   \
	F(virDomainFree)

struct libvirt_library {
#define LIBVIRT_MEMBER(name) __typeof__(name) *name;
	LIBVIRT_FUNCTIONS(LIBVIRT_MEMBER)
#undef LIBVIRT_MEMBER
};

/* Loads it and starts the thread of its events; later calls give the same table. Any thread, one at
 * a time. */
int libvirt_library_open(const struct libvirt_library **ret, struct error *err);

/* The calling thread's last error of libvirt's becomes ERR, after FMT; returns its errno. */
int libvirt_error(const struct libvirt_library *lib, struct error *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
