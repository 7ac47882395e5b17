#include "hyperd/image/registry_endpoint.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/str.h"

#define CERTIFICATE_MAX_BYTES (1u << 20)

static void endpoint_done(struct registry_endpoint *e)
{
	free(e->host);
	free(e->url);
	free(e->certificates);
	free(e->client_certificate);
	free(e->client_key);
}

void registry_endpoints_done(struct registry_endpoints *endpoints)
{
	for (size_t i = 0; i < endpoints->count; i++)
		endpoint_done(&endpoints->items[i]);
	free(endpoints->items);
	*endpoints = (struct registry_endpoints){ 0 };
}

/* ------------------------------------------------------------------ settings */

struct network {
	int family;
	unsigned char address[16];
	unsigned bits;
};

/* "10.0.0.0/8"; false for what is none. */
static bool network_parse(const char *text, struct network *ret)
{
	const char *slash = strchr(text, '/');
	autofree char *address = slash ? strndup(text, (size_t)(slash - text)) : NULL;
	unsigned long long bits;

	if (!address)
		return false;
	*ret = (struct network){ .family = strchr(address, ':') ? AF_INET6 : AF_INET };
	if (inet_pton(ret->family, address, ret->address) != 1 ||
	    parse_u64(slash + 1, 0, ret->family == AF_INET ? 32 : 128, &bits) < 0)
		return false;
	ret->bits = (unsigned)bits;
	return true;
}

static bool network_has(const struct network *network, int family, const unsigned char *address)
{
	unsigned bytes = network->bits / 8, rest = network->bits % 8;

	if (family != network->family || memcmp(address, network->address, bytes) != 0)
		return false;
	return rest == 0 || (address[bytes] ^ network->address[bytes]) >> (8 - rest) == 0;
}

static bool host_is_valid(const char *host)
{
	for (const char *p = host; *p; p++)
		if ((*p < 'a' || *p > 'z') && (*p < 'A' || *p > 'Z') && (*p < '0' || *p > '9') &&
		    !strchr(".-_:[]", *p))
			return false;
	return *host && !strchr(".-:", *host);
}

int registry_insecure_check(const char *insecure, struct error *err)
{
	struct network network;

	if (network_parse(insecure, &network) || host_is_valid(insecure))
		return 0;
	return error_set(err, ERROR_INVALID,
			 "insecure registry '%.200s': expected HOST, HOST:PORT or ADDRESS/BITS",
			 insecure);
}

/* The authority of a URL of SCHEME ("https://"); NULL when it is none, or holds a user. */
static char *url_host(const char *url, const char *scheme)
{
	const char *host = url + strlen(scheme);
	autofree char *text = NULL;

	if (strncasecmp(url, scheme, strlen(scheme)) != 0)
		return NULL;
	text = strndup(host, strcspn(host, "/?#"));
	return text && host_is_valid(text) ? steal(text) : NULL;
}

int registry_mirror_check(const char *mirror, struct error *err)
{
	autofree char *secure = url_host(mirror, "https://"), *plain = url_host(mirror, "http://");

	if ((secure || plain) && !strpbrk(mirror, "?#"))
		return 0;
	return error_set(err, ERROR_INVALID,
			 "registry mirror '%.200s': expected http[s]://HOST[:PORT][/PATH] without "
			 "user, query or fragment",
			 mirror);
}

char *registry_domain_of_address(const char *address)
{
	const char *host = address ? address : "";
	autofree char *domain = NULL;

	if (strncasecmp(host, "https://", 8) == 0)
		host += 8;
	else if (strncasecmp(host, "http://", 7) == 0)
		host += 7;
	domain = strndup(host, strcspn(host, "/?#"));
	if (!domain)
		return NULL;
	if (!*domain || str_equal(domain, "index.docker.io") ||
	    str_equal(domain, REGISTRY_DEFAULT_HOST))
		return strdup(REGISTRY_DEFAULT_DOMAIN);
	return steal(domain);
}

/* ------------------------------------------------------------------ hosts */

/* "host:5000" or "[::1]:5000" without the port, and without brackets. */
static char *bare_host(const char *host)
{
	if (*host == '[')
		return strndup(host + 1, strcspn(host + 1, "]"));
	return strndup(host, strcspn(host, ":"));
}

static bool any_network_has(const struct registry_settings *settings, int family,
			    const unsigned char *address)
{
	struct network network;

	strv_for_each(text, settings->insecure)
		if (network_parse(*text, &network) && network_has(&network, family, address))
			return true;
	return false;
}

static bool is_loopback(int family, const unsigned char *address)
{
	static const unsigned char six[16] = { [15] = 1 };

	return family == AF_INET ? address[0] == 127 : memcmp(address, six, sizeof(six)) == 0;
}

struct trust {
	bool listed;   /* an administrator calls it insecure */
	bool loopback; /* all of its addresses are */
};

/* As Docker decides: by name, else by what the name resolves to. */
static void find_trust(const struct registry_settings *settings, const char *host,
		       struct trust *ret)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	autofree char *bare = bare_host(host);

	*ret = (struct trust){ 0 };
	strv_for_each(text, settings->insecure)
		if (strcasecmp(*text, host) == 0 || (bare && strcasecmp(*text, bare) == 0))
			ret->listed = true;
	if (!bare || getaddrinfo(bare, NULL, &hints, &list) != 0)
		return;
	ret->loopback = true;
	for (struct addrinfo *a = list; a; a = a->ai_next) {
		const unsigned char *address =
			a->ai_family == AF_INET
				? (void *)&((struct sockaddr_in *)a->ai_addr)->sin_addr
				: (void *)&((struct sockaddr_in6 *)a->ai_addr)->sin6_addr;

		if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
			continue;
		if (any_network_has(settings, a->ai_family, address))
			ret->listed = true;
		if (!is_loopback(a->ai_family, address))
			ret->loopback = false;
	}
	freeaddrinfo(list);
}

/* ------------------------------------------------------------------ certificates */

static int add_certificate(int dir_fd, const char *name, struct str *pem, struct error *err)
{
	autofree char *text = NULL;
	size_t len;
	int r = file_read(dir_fd, name, CERTIFICATE_MAX_BYTES, &text, &len, err);

	if (r < 0)
		return error_prefix(err, r, "certificate '%s'", name);
	str_append(pem, text, len);
	str_addc(pem, '\n');
	return 0;
}

/* NAME.cert goes with NAME.key. */
static int add_client_pair(int dir_fd, const char *dir, const char *name,
			   struct registry_endpoint *e, struct error *err)
{
	autofree char *key = strf("%.*s.key", (int)(strlen(name) - strlen(".cert")), name);

	if (!key)
		return error_nomem(err);
	if (e->client_certificate)
		return 0;
	if (faccessat(dir_fd, key, R_OK, 0) < 0)
		return error_set(err, ERROR_INVALID, "certificate '%s': its key '%s' is missing",
				 name, key);
	e->client_certificate = strf("%s/%s", dir, name);
	e->client_key = strf("%s/%s", dir, key);
	return e->client_certificate && e->client_key ? 0 : error_nomem(err);
}

/* Docker's layout: *.crt are CAs, *.cert and *.key a client's pair. */
static int read_certificates(const struct registry_settings *settings, struct registry_endpoint *e,
			     struct error *err)
{
	autofree char *dir =
		strf("%s/%s", settings->certificates_dir ?: REGISTRY_CERTIFICATES_DIR, e->host);
	autostr struct str pem = STR_INIT;
	autoclosedir DIR *stream = NULL;
	struct dirent *entry;
	int fd, r = 0;

	if (!dir)
		return error_nomem(err);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	stream = fd < 0 ? NULL : fdopendir(fd);
	if (!stream)
		return error_errno(err, errno, "opening '%s'", dir);
	while (r == 0 && (entry = readdir(stream))) {
		if (str_ends(entry->d_name, ".crt"))
			r = add_certificate(fd, entry->d_name, &pem, err);
		else if (str_ends(entry->d_name, ".cert"))
			r = add_client_pair(fd, dir, entry->d_name, e, err);
	}
	if (r < 0)
		return error_prefix(err, r, "'%s'", dir);
	if (pem.len && !(e->certificates = str_steal(&pem)))
		return error_nomem(err);
	return 0;
}

/* ------------------------------------------------------------------ endpoints */

static struct registry_endpoint *endpoint_add(struct registry_endpoints *endpoints)
{
	struct registry_endpoint *grown =
		reallocarray(endpoints->items, endpoints->count + 1, sizeof(*grown));

	if (!grown)
		return NULL;
	endpoints->items = grown;
	grown[endpoints->count] = (struct registry_endpoint){ 0 };
	return &grown[endpoints->count++];
}

/*
 * Loopback is trusted without certificates, as Docker does; but where an administrator has put a CA
 * for it, that CA counts.
 */
static int endpoint_settle(const struct registry_settings *settings, struct registry_endpoint *e,
			   struct error *err)
{
	struct trust trust;
	int r;

	if (!e->host || !e->url)
		return error_nomem(err);
	r = read_certificates(settings, e, err);
	if (r < 0)
		return r;
	find_trust(settings, e->host, &trust);
	e->loopback = trust.loopback;
	e->verify = !trust.listed && !(trust.loopback && !e->certificates);
	e->plain_too = trust.listed || (trust.loopback && !e->certificates);
	return 0;
}

static int add_mirror(const struct registry_settings *settings, const char *mirror,
		      struct registry_endpoints *endpoints, struct error *err)
{
	struct registry_endpoint *e = endpoint_add(endpoints);
	size_t len = strlen(mirror);
	bool plain = strncasecmp(mirror, "http://", 7) == 0;
	int r;

	if (!e)
		return error_nomem(err);
	while (len && mirror[len - 1] == '/')
		len--;
	e->url = strndup(mirror, len);
	e->host = url_host(mirror, plain ? "http://" : "https://");
	e->mirror = true;
	r = endpoint_settle(settings, e, err);
	/* Its scheme was chosen by who configured it. */
	e->plain_too = false;
	return r;
}

int registry_endpoints_find(const struct registry_settings *settings, const char *domain,
			    struct registry_endpoints *ret, struct error *err)
{
	autoendpoints struct registry_endpoints endpoints = { 0 };
	bool standard = str_equal(domain, REGISTRY_DEFAULT_DOMAIN);
	struct registry_endpoint *e;
	int r = 0;

	if (!host_is_valid(domain))
		return error_set(err, ERROR_INVALID, "registry '%.200s': no host name", domain);
	if (standard)
		strv_for_each(mirror, settings->mirrors)
			if (r == 0)
				r = add_mirror(settings, *mirror, &endpoints, err);
	if (r == 0) {
		e = endpoint_add(&endpoints);
		if (!e)
			return error_nomem(err);
		e->host = strdup(standard ? REGISTRY_DEFAULT_HOST : domain);
		e->url = strf("https://%s", standard ? REGISTRY_DEFAULT_HOST : domain);
		r = endpoint_settle(settings, e, err);
	}
	if (r < 0)
		return error_prefix(err, r, "registry %s", domain);
	*ret = endpoints;
	endpoints = (struct registry_endpoints){ 0 };
	return 0;
}
