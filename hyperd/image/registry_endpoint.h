#pragma once
/*
 * Where a registry is: from the host in a reference, the daemon's settings (mirrors, insecure
 * registries, certificates) and Docker's rules to the URLs that are tried, in order. Settings are
 * made once and then only read. Blocking (names are resolved, certificates read): for jobs.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define REGISTRY_CERTIFICATES_DIR "/etc/hyper/certs.d"
#define REGISTRY_DEFAULT_DOMAIN   "docker.io"
#define REGISTRY_DEFAULT_HOST     "registry-1.docker.io"
/* What clients call the default registry when they log in. */
#define REGISTRY_DEFAULT_INDEX "https://index.docker.io/v1/"

/* All borrowed. */
struct registry_settings {
	char *const
		*insecure;    /* strv: "HOST[:PORT]" or "ADDRESS/BITS"; 127.0.0.0/8 always counts */
	char *const *mirrors; /* strv of URLs, for the default registry alone */
	const char *certificates_dir; /* NULL: REGISTRY_CERTIFICATES_DIR */
};

/* ERROR_INVALID naming the setting. Does not block. */
int registry_mirror_check(const char *mirror, struct error *err);
int registry_insecure_check(const char *insecure, struct error *err);

/* One place to try. All owned. */
struct registry_endpoint {
	char *host;         /* "localhost:5000": as in the reference */
	char *url;          /* "https://localhost:5000", without a slash at its end */
	bool plain_too;     /* when https is not spoken there, http may be */
	bool verify;        /* the server's certificate */
	bool mirror;        /* gets no credentials */
	bool loopback;      /* no proxy on the way */
	char *certificates; /* PEM of the CAs to trust beside the system's, or NULL */
	char *client_certificate, *client_key; /* paths, or NULL */
};

struct registry_endpoints {
	struct registry_endpoint *items; /* owned */
	size_t count;
};

#define autoendpoints __attribute__((cleanup(registry_endpoints_done)))

/* DOMAIN: of a reference. At least one endpoint. */
int registry_endpoints_find(const struct registry_settings *settings, const char *domain,
			    struct registry_endpoints *ret, struct error *err);
void registry_endpoints_done(struct registry_endpoints *endpoints);

/* The domain that a server address of a login means: "https://HOST[:PORT][/…]", "HOST[:PORT]"; NULL
 * and "" are the default registry. New string, or NULL when memory ran out. */
char *registry_domain_of_address(const char *address);
