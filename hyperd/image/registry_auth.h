#pragma once
/*
 * What registries and their clients say about who is asking: the challenges of a WWW-Authenticate
 * header (RFC 9110 section 11, and the Bearer scheme of distribution's token specification), the
 * answer of a token server, and the credentials in Docker's X-Registry-Auth header. All of it comes
 * from strangers; nothing in here talks to anybody. Any thread.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define REGISTRY_AUTH_MAX_BYTES (64u << 10) /* of a header of either kind */

/* All owned, NULL when missing. */
struct registry_credentials {
	char *username, *password;
	char *identity_token; /* an OAuth2 refresh token, as logging in gives it out */
	char *registry_token; /* a bearer token to be used as it is */
	char *server_address;
};

#define autocredentials __attribute__((cleanup(registry_credentials_done)))

void registry_credentials_done(struct registry_credentials *credentials);
int registry_credentials_copy(const struct registry_credentials *from,
			      struct registry_credentials *ret, struct error *err);
/*
 * X-Registry-Auth: base64 (of either alphabet, padded or not) of a JSON object with username,
 * password, auth, identitytoken, registrytoken, serveraddress. NULL and "" are no credentials.
 */
int registry_credentials_decode(const char *header, struct registry_credentials *ret,
				struct error *err);
/* The same from the JSON itself: the body of POST /auth. */
int registry_credentials_parse(const char *json, size_t len, struct registry_credentials *ret,
			       struct error *err);
/* "Basic …" of user and password, new string; NULL when there are none (or no memory). */
char *registry_credentials_basic(const struct registry_credentials *credentials);

enum registry_scheme { REGISTRY_SCHEME_NONE, REGISTRY_SCHEME_BASIC, REGISTRY_SCHEME_BEARER };

/* The best challenge among those offered: Bearer, else Basic. Strings owned, NULL when missing. */
struct registry_challenge {
	enum registry_scheme scheme;
	char *realm, *service, *scope, *error;
};

#define autochallenge __attribute__((cleanup(registry_challenge_done)))

void registry_challenge_done(struct registry_challenge *challenge);
/* HEADERS: strv of the header's values. Schemes that we do not know are skipped; none at all leaves
 * REGISTRY_SCHEME_NONE. ERROR_INVALID for what is no list of challenges. */
int registry_challenge_parse(char *const *headers, struct registry_challenge *ret,
			     struct error *err);

/* A token server's answer. *ret_refresh (owned, may become NULL) is a refresh token, if it gave
 * one. */
int registry_token_parse(const char *json, size_t len, char **ret_token, char **ret_refresh,
			 struct error *err);
