#pragma once
/*
 * Who we are at registries: Docker's own file, $DOCKER_CONFIG/config.json or ~/.docker/config.json,
 * so that both programs know what the other was told. Only its "auths" are read and written;
 * programs that keep passwords elsewhere (credsStore, credHelpers) are not started. Blocking.
 */
#include "base/error.h"
#include "base/json.h"

#define LOGIN_FILE_MAX_BYTES (4u << 20)

/* "127.0.0.1:5000" of "127.0.0.1:5000/a/b:1"; Docker's name of its own registry where none is
 * written. New string, NULL when memory ran out. */
char *login_registry_of(const char *image);
/* What the user calls a registry ("https://HOST/…", "HOST", NULL) as a key of the file. New
 * string. */
char *login_registry_key(const char *address);

/* X-Registry-Auth for the registry KEY; *ret is the caller's, NULL when nothing is known of it. */
int login_header(const char *key, char **ret, struct error *err);
/* Keeps USER and PASSWORD, or TOKEN (a refresh token) instead of the password. */
int login_save(const char *key, const char *user, const char *password, const char *token,
	       struct error *err);
/* *ret_found: whether there was something to forget. */
int login_remove(const char *key, bool *ret_found, struct error *err);
