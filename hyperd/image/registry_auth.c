#include "hyperd/image/registry_auth.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/str.h"

/* A bearer token goes into a header of ours: what could end that header is refused. */
#define TOKEN_MAX_BYTES (32u << 10)

void registry_credentials_done(struct registry_credentials *c)
{
	if (c->password)
		explicit_bzero(c->password, strlen(c->password));
	free(c->username);
	free(c->password);
	free(c->identity_token);
	free(c->registry_token);
	free(c->server_address);
	*c = (struct registry_credentials){ 0 };
}

static int copy_text(const char *text, char **ret, struct error *err)
{
	*ret = text && *text ? strdup(text) : NULL;
	return text && *text && !*ret ? error_nomem(err) : 0;
}

int registry_credentials_copy(const struct registry_credentials *from,
			      struct registry_credentials *ret, struct error *err)
{
	autocredentials struct registry_credentials c = { 0 };
	int r = 0;

	if (from) {
		r = copy_text(from->username, &c.username, err);
		if (r == 0)
			r = copy_text(from->password, &c.password, err);
		if (r == 0)
			r = copy_text(from->identity_token, &c.identity_token, err);
		if (r == 0)
			r = copy_text(from->registry_token, &c.registry_token, err);
		if (r == 0)
			r = copy_text(from->server_address, &c.server_address, err);
	}
	if (r < 0)
		return r;
	*ret = c;
	c = (struct registry_credentials){ 0 };
	return 0;
}

/* Docker's clients write the URL's alphabet, scripts the other. */
static int decode_either(const char *text, char **ret, size_t *ret_len)
{
	autofree char *plain = strdup(text);

	if (!plain)
		return -ENOMEM;
	for (char *p = plain; *p; p++)
		*p = *p == '-' ? '+' : *p == '_' ? '/' : *p;
	return base64_decode(plain, strlen(plain), ret, ret_len);
}

/* "auth" in a configuration file of Docker's: base64 of "user:password". */
static int take_auth(const char *auth, struct registry_credentials *c, struct error *err)
{
	autofree char *text = NULL;
	size_t len;
	char *colon;
	int r = decode_either(auth, &text, &len);

	if (r == -ENOMEM)
		return error_nomem(err);
	colon = r == 0 ? strchr(text, ':') : NULL;
	if (!colon || strlen(text) != len)
		return error_set(err, ERROR_INVALID, "auth: expected base64 of user:password");
	*colon = '\0';
	r = copy_text(text, &c->username, err);
	return r == 0 ? copy_text(colon + 1, &c->password, err) : r;
}

int registry_credentials_parse(const char *json, size_t len, struct registry_credentials *ret,
			       struct error *err)
{
	static const struct {
		const char *key;
		size_t offset;
	} members[] = {
		{ "username", offsetof(struct registry_credentials, username) },
		{ "password", offsetof(struct registry_credentials, password) },
		{ "identitytoken", offsetof(struct registry_credentials, identity_token) },
		{ "registrytoken", offsetof(struct registry_credentials, registry_token) },
		{ "serveraddress", offsetof(struct registry_credentials, server_address) },
	};
	autocredentials struct registry_credentials c = { 0 };
	autojson json_t *root = NULL;
	const char *text;
	int r = json_parse(json, len, &root, err);

	if (r == 0 && !json_is_object(root))
		r = error_set(err, ERROR_INVALID, "expected an object");
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(members); i++) {
		r = json_get_string(root, members[i].key, &text, err);
		if (r == 0)
			r = copy_text(text, (char **)((char *)&c + members[i].offset), err);
	}
	if (r == 0)
		r = json_get_string(root, "auth", &text, err);
	if (r == 0 && text && *text && !c.username)
		r = take_auth(text, &c, err);
	if (r == 0 && c.registry_token && strpbrk(c.registry_token, "\r\n"))
		r = error_set(err, ERROR_INVALID, "registrytoken: a line break in it");
	if (r < 0)
		return error_prefix(err, r, "registry credentials");
	*ret = c;
	c = (struct registry_credentials){ 0 };
	return 0;
}

int registry_credentials_decode(const char *header, struct registry_credentials *ret,
				struct error *err)
{
	autofree char *json = NULL;
	size_t len;
	int r;

	*ret = (struct registry_credentials){ 0 };
	if (!header || !*header)
		return 0;
	if (strlen(header) > REGISTRY_AUTH_MAX_BYTES)
		return error_set(err, ERROR_LIMIT, "X-Registry-Auth: longer than %u bytes",
				 REGISTRY_AUTH_MAX_BYTES);
	r = decode_either(header, &json, &len);
	if (r == -ENOMEM)
		return error_nomem(err);
	if (r < 0)
		return error_set(err, ERROR_INVALID, "X-Registry-Auth: not base64");
	if (len == 0)
		return 0;
	r = registry_credentials_parse(json, len, ret, err);
	explicit_bzero(json, len);
	return r < 0 ? error_prefix(err, r, "X-Registry-Auth") : 0;
}

char *registry_credentials_basic(const struct registry_credentials *c)
{
	autofree char *pair = NULL, *encoded = NULL;
	size_t len;

	if (!c || !c->username)
		return NULL;
	pair = strf("%s:%s", c->username, c->password ?: "");
	if (!pair)
		return NULL;
	len = strlen(pair);
	encoded = base64_encode(pair, len);
	explicit_bzero(pair, len);
	return encoded ? strf("Basic %s", encoded) : NULL;
}

/* ------------------------------------------------------------------ challenges */

void registry_challenge_done(struct registry_challenge *c)
{
	free(c->realm);
	free(c->service);
	free(c->scope);
	free(c->error);
	*c = (struct registry_challenge){ 0 };
}

/* RFC 9110 5.6.2 */
static bool is_token_char(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static const char *skip_space(const char *p)
{
	return p + strspn(p, " \t");
}

static size_t token_length(const char *p)
{
	size_t n = 0;

	while (is_token_char(p[n]))
		n++;
	return n;
}

/* A token or a quoted string at *P; *ret is the caller's. */
static int take_value(const char **p, char **ret, struct error *err)
{
	autostr struct str value = STR_INIT;
	size_t n;

	if (**p != '"') {
		n = token_length(*p);
		/* What unquoted URLs need, though no grammar allows it. */
		while ((*p)[n] && strchr(":/?=@%", (*p)[n]))
			n += 1 + token_length(*p + n + 1);
		*ret = strndup(*p, n);
		*p += n;
		return *ret ? 0 : error_nomem(err);
	}
	for ((*p)++; **p != '"'; (*p)++) {
		if (**p == '\\')
			(*p)++;
		if (!**p)
			return error_set(err, ERROR_INVALID, "a quoted string has no end");
		str_addc(&value, **p);
	}
	(*p)++;
	*ret = value.len ? str_steal(&value) : strdup("");
	return *ret ? 0 : error_nomem(err);
}

/* The first value counts: a repeated parameter is not allowed, and may not change anything. */
static void set_param(struct registry_challenge *c, const char *name, size_t len, char *value)
{
	static const struct {
		const char *name;
		size_t offset;
	} params[] = {
		{ "realm", offsetof(struct registry_challenge, realm) },
		{ "service", offsetof(struct registry_challenge, service) },
		{ "scope", offsetof(struct registry_challenge, scope) },
		{ "error", offsetof(struct registry_challenge, error) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(params); i++) {
		char **at = (char **)((char *)c + params[i].offset);

		if (strlen(params[i].name) == len && strncasecmp(params[i].name, name, len) == 0 &&
		    !*at) {
			*at = value;
			return;
		}
	}
	free(value);
}

/* The parameters after a scheme, or its token68; ends before the next scheme. */
static int take_params(const char **p, struct registry_challenge *c, struct error *err)
{
	for (;;) {
		const char *name = *p = skip_space(*p + strspn(*p, ", \t")), *after;
		size_t len = token_length(name);
		char *value;
		int r;

		after = skip_space(name + len);
		if (len == 0 || *after != '=')
			return 0;
		*p = skip_space(after + 1);
		if (**p == '=' || **p == ',' || !**p) { /* token68: padding, no value */
			*p += strspn(*p, "=");
			continue;
		}
		r = take_value(p, &value, err);
		if (r < 0)
			return r;
		set_param(c, name, len, value);
		*p = skip_space(*p);
		if (**p && **p != ',')
			return error_set(err, ERROR_INVALID, "expected a comma at '%.32s'", *p);
	}
}

static int take_challenges(const char *p, struct registry_challenge *best, struct error *err)
{
	for (;;) {
		autochallenge struct registry_challenge c = { 0 };
		const char *name = p = skip_space(p + strspn(p, ", \t"));
		size_t len = token_length(name);
		int r;

		if (!*p)
			return 0;
		if (len == 0)
			return error_set(err, ERROR_INVALID, "expected a scheme at '%.32s'", p);
		p += len;
		if (*p && *p != ' ' && *p != '\t' && *p != ',')
			return error_set(err, ERROR_INVALID, "expected a scheme at '%.32s'", name);
		if (len == 6 && strncasecmp(name, "bearer", len) == 0)
			c.scheme = REGISTRY_SCHEME_BEARER;
		else if (len == 5 && strncasecmp(name, "basic", len) == 0)
			c.scheme = REGISTRY_SCHEME_BASIC;
		/* A token68 that is not followed by '=' has to be told from the next scheme. */
		p = skip_space(p);
		len = token_length(p);
		if (len && (p[len] == ',' || !p[len] || p[len] == '/'))
			p += strcspn(p, ",");
		r = take_params(&p, &c, err);
		if (r < 0)
			return r;
		if (c.scheme > best->scheme) {
			registry_challenge_done(best);
			*best = c;
			c = (struct registry_challenge){ 0 };
		}
	}
}

int registry_challenge_parse(char *const *headers, struct registry_challenge *ret,
			     struct error *err)
{
	autochallenge struct registry_challenge best = { 0 };

	strv_for_each(header, headers) {
		int r = strlen(*header) > REGISTRY_AUTH_MAX_BYTES
				? error_set(err, ERROR_LIMIT, "longer than %u bytes",
					    REGISTRY_AUTH_MAX_BYTES)
				: take_challenges(*header, &best, err);

		if (r < 0)
			return error_prefix(err, r, "WWW-Authenticate");
	}
	*ret = best;
	best = (struct registry_challenge){ 0 };
	return 0;
}

/* ------------------------------------------------------------------ tokens */

static bool token_is_usable(const char *token)
{
	size_t len = strlen(token);

	for (size_t i = 0; i < len; i++)
		if (token[i] <= ' ' || token[i] == 0x7f)
			return false;
	return len > 0 && len <= TOKEN_MAX_BYTES;
}

int registry_token_parse(const char *json, size_t len, char **ret_token, char **ret_refresh,
			 struct error *err)
{
	autojson json_t *root = NULL;
	const char *token, *other, *refresh;
	int r = json_parse(json, len, &root, err);

	*ret_token = *ret_refresh = NULL;
	if (r == 0 && !json_is_object(root))
		r = error_set(err, ERROR_INVALID, "expected an object");
	if (r == 0)
		r = json_get_string(root, "token", &token, err);
	if (r == 0)
		r = json_get_string(root, "access_token", &other, err);
	if (r == 0)
		r = json_get_string(root, "refresh_token", &refresh, err);
	if (r == 0) {
		token = token && *token ? token : other;
		if (!token || !token_is_usable(token))
			r = error_set(err, ERROR_INVALID, "it holds no usable token");
	}
	if (r == 0)
		r = copy_text(token, ret_token, err);
	if (r == 0)
		r = copy_text(refresh, ret_refresh, err);
	if (r < 0) {
		free(steal(*ret_token));
		return error_prefix(err, r, "the token server's answer");
	}
	return 0;
}
