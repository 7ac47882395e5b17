#include "hyperstart/identity.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "hyperstart/root.h"

#define FILE_MAX       (1u << 20)
#define FIELDS_MAX     7
#define FIELD_NAME_MAX 256
#define GROUPS_MAX     65536
#define ID_MAX         INT_MAX

/* One line's fields; borrowed pieces of the text. */
struct fields {
	const char *at[FIELDS_MAX];
	size_t len[FIELDS_MAX];
	unsigned count;
};

/* Takes the next line from *text; false at the end. */
static bool next_line(const char **text, struct fields *ret)
{
	const char *p = *text, *end;

	if (!*p)
		return false;
	end = strchrnul(p, '\n');
	*text = *end ? end + 1 : end;
	ret->count = 0;
	for (;;) {
		const char *colon = memchr(p, ':', (size_t)(end - p));
		/* The last field that we know takes the rest. */
		const char *stop = colon && ret->count < FIELDS_MAX - 1 ? colon : end;

		ret->at[ret->count] = p;
		ret->len[ret->count++] = (size_t)(stop - p);
		if (stop == end)
			return true;
		p = stop + 1;
	}
}

static bool field_is(const struct fields *f, unsigned i, const char *text)
{
	return i < f->count && strlen(text) == f->len[i] && memcmp(f->at[i], text, f->len[i]) == 0;
}

static bool parse_id(const char *text, size_t len, unsigned *ret)
{
	unsigned long long value = 0;

	if (!len || len > 10)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	if (value > ID_MAX)
		return false;
	*ret = (unsigned)value;
	return true;
}

static bool field_id(const struct fields *f, unsigned i, unsigned *ret)
{
	return i < f->count && parse_id(f->at[i], f->len[i], ret);
}

/* name:password:uid:gid:comment:home:shell; by name, or by number when NAME is one. */
static bool find_user(const char *passwd, const char *name, struct identity *who, char *found_name)
{
	unsigned wanted = 0, uid, gid;
	bool number = parse_id(name, strlen(name), &wanted);

	for (int by_number = 0; by_number <= number; by_number++) {
		const char *text = passwd;
		struct fields f;

		while (next_line(&text, &f)) {
			if (!field_id(&f, 2, &uid) || !field_id(&f, 3, &gid) ||
			    f.len[0] >= FIELD_NAME_MAX)
				continue;
			if (by_number ? uid != wanted : !field_is(&f, 0, name))
				continue;
			who->uid = uid;
			who->gid = gid;
			memcpy(found_name, f.at[0], f.len[0]);
			found_name[f.len[0]] = '\0';
			if (f.count > 5 && f.len[5] && f.len[5] < PATH_MAX)
				who->home = strndup(f.at[5], f.len[5]);
			return true;
		}
	}
	return false;
}

/* name:password:gid:members */
static bool find_group(const char *group, const char *name, gid_t *ret)
{
	const char *text = group;
	struct fields f;
	unsigned gid;

	while (next_line(&text, &f)) {
		if (field_is(&f, 0, name) && field_id(&f, 2, &gid)) {
			*ret = gid;
			return true;
		}
	}
	if (!parse_id(name, strlen(name), &gid))
		return false;
	*ret = gid;
	return true;
}

static bool has_member(const struct fields *f, const char *name)
{
	size_t want = strlen(name), len = f->count > 3 ? f->len[3] : 0;
	const char *p = len ? f->at[3] : NULL, *end = p + len;

	while (len && p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		const char *stop = comma ? comma : end;

		if ((size_t)(stop - p) == want && memcmp(p, name, want) == 0)
			return true;
		p = stop + 1;
	}
	return false;
}

static int add_group(struct identity *who, gid_t gid)
{
	gid_t *grown;

	for (size_t i = 0; i < who->group_count; i++)
		if (who->groups[i] == gid)
			return 0;
	if (who->group_count >= GROUPS_MAX)
		return -E2BIG;
	grown = reallocarray(who->groups, who->group_count + 1, sizeof(gid_t));
	if (!grown)
		return -ENOMEM;
	who->groups = grown;
	who->groups[who->group_count++] = gid;
	return 0;
}

static int add_memberships(struct identity *who, const char *group, const char *name)
{
	struct fields f;
	unsigned gid;
	int r = 0;

	while (r == 0 && next_line(&group, &f))
		if (has_member(&f, name) && field_id(&f, 2, &gid))
			r = add_group(who, gid);
	return r;
}

/* A missing file is an empty one; anything else that is wrong with it is an error. */
static int read_file(int root_fd, const char *path, char **ret, struct error *err)
{
	int r = root_read(root_fd, path, FILE_MAX, ret, NULL, err);

	if (r < 0 && err->kind != ERROR_NOT_FOUND)
		return error_prefix(err, r, "looking up the user");
	if (r < 0)
		*ret = strdup("");
	return *ret ? 0 : error_nomem(err);
}

static int find_all(const char *passwd, const char *group, char *user, char *group_name,
		    struct identity *who, struct error *err)
{
	char name[FIELD_NAME_MAX] = "";
	unsigned uid;

	if (!*user)
		user = "0";
	if (!find_user(passwd, user, who, name)) {
		if (!parse_id(user, strlen(user), &uid))
			return error_set(
				err, ERROR_INVALID,
				"unable to find user %s: no matching entries in passwd file", user);
		who->uid = uid;
		who->gid = 0;
	}
	if (group_name && *group_name) {
		if (!find_group(group, group_name, &who->gid))
			return error_set(
				err, ERROR_INVALID,
				"unable to find group %s: no matching entries in group file",
				group_name);
		return 0;
	}
	return *name ? add_memberships(who, group, name) : 0;
}

int identity_find(int root_fd, const char *user, char *const *additional_groups, size_t count,
		  struct identity *ret, struct error *err)
{
	autofree char *passwd = NULL, *group = NULL, *name = strdup(user);
	struct identity who = { 0 };
	char *colon;
	int r;

	if (!name)
		return error_nomem(err);
	colon = strchr(name, ':');
	if (colon)
		*colon++ = '\0';
	r = read_file(root_fd, "/etc/passwd", &passwd, err);
	if (r == 0)
		r = read_file(root_fd, "/etc/group", &group, err);
	if (r == 0)
		r = find_all(passwd, group, name, colon, &who, err);
	for (size_t i = 0; r == 0 && i < count; i++) {
		gid_t gid;

		if (!find_group(group, additional_groups[i], &gid))
			r = error_set(err, ERROR_INVALID,
				      "unable to find group %s: no matching entries in group file",
				      additional_groups[i]);
		else if ((r = add_group(&who, gid)) < 0)
			error_errno(err, -r, "group %s", additional_groups[i]);
	}
	if (r < 0) {
		identity_done(&who);
		return r;
	}
	*ret = who;
	return 0;
}

void identity_done(struct identity *identity)
{
	free(identity->groups);
	free(identity->home);
	identity->groups = NULL;
	identity->home = NULL;
}

bool identity_name(const char *passwd, uid_t uid, char *name, size_t size)
{
	struct fields f;
	unsigned id;

	while (next_line(&passwd, &f)) {
		if (!field_id(&f, 2, &id) || id != uid || f.len[0] >= size)
			continue;
		memcpy(name, f.at[0], f.len[0]);
		name[f.len[0]] = '\0';
		return true;
	}
	return false;
}

char *identity_passwd(int root_fd)
{
	char *text = NULL;

	return root_read(root_fd, "/etc/passwd", FILE_MAX, &text, NULL, NULL) < 0 ? NULL : text;
}
