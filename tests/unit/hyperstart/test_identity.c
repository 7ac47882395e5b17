#include "tests/unit/hyperstart/tree.h"

#include "hyperstart/identity.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "# a comment\n"
			     "\n"
			     "web:x:33:34:Web:/srv/web:/bin/false\n"
			     "1234:x:77:78::/home/number:/bin/sh\n"
			     "homeless:x:50:51\n"
			     "bad:x:notanumber:1::/:/bin/sh\n"
			     "negative:x:-1:1::/:/bin/sh\n"
			     "large:x:4294967295:1::/:/bin/sh\n"
			     "longer:x:42949672960:1::/:/bin/sh\n"
			     "last:x:60:61::/last:/bin/sh";
static const char group[] = "root:x:0:\n"
			    "www:x:34:\n"
			    "adm:x:4:web,last\n"
			    "audio:x:29:other,web\n"
			    "again:x:29:web\n"
			    "almost:x:30:webx,xweb\n"
			    "77:x:99:\n"
			    "bad:x:x:web\n";

static void fill(struct tree *t)
{
	put_text(t, "etc/passwd", passwd);
	put_text(t, "etc/group", group);
}

static void expect(struct tree *t, const char *user, uid_t uid, gid_t gid, const char *home)
{
	struct identity who = { 0 };
	struct error err = { 0 };

	assert_ok(identity_find(t->root_fd, user, NULL, 0, &who, &err), err);
	assert_int_equal(who.uid, uid);
	assert_int_equal(who.gid, gid);
	if (home)
		assert_string_equal(who.home, home);
	else
		assert_null(who.home);
	identity_done(&who);
}

static void refuse(struct tree *t, const char *user, const char *words)
{
	struct identity who = { 0 };
	struct error err = { 0 };

	assert_true(identity_find(t->root_fd, user, NULL, 0, &who, &err) < 0);
	assert_contains(err.message, words);
}

static void names_and_numbers(void **state)
{
	struct tree *t = *state;

	fill(t);
	expect(t, "", 0, 0, "/root");
	expect(t, "root", 0, 0, "/root");
	expect(t, "web", 33, 34, "/srv/web");
	expect(t, "33", 33, 34, "/srv/web");
	expect(t, "last", 60, 61, "/last");
	expect(t, "homeless", 50, 51, NULL);
	/* A name that is a number is a name first. */
	expect(t, "1234", 77, 78, "/home/number");
	/* A number that nobody has is taken as it is. */
	expect(t, "5000", 5000, 0, NULL);
	expect(t, "2147483647", 2147483647, 0, NULL);
}

static void groups(void **state)
{
	struct tree *t = *state;
	char *more[] = { (char *)"www", (char *)"1000", (char *)"29" };
	struct identity who = { 0 };
	struct error err = { 0 };

	fill(t);
	expect(t, "web:adm", 33, 4, "/srv/web");
	expect(t, "web:5000", 33, 5000, "/srv/web");
	expect(t, "web:77", 33, 99, "/srv/web");
	expect(t, "web:", 33, 34, "/srv/web");
	expect(t, "5000:5001", 5000, 5001, NULL);
	assert_ok(identity_find(t->root_fd, "web", more, 3, &who, &err), err);
	/* adm, audio (once, though two lines say it), www, 1000. */
	assert_int_equal(who.group_count, 4);
	assert_int_equal(who.groups[0], 4);
	assert_int_equal(who.groups[1], 29);
	assert_int_equal(who.groups[2], 34);
	assert_int_equal(who.groups[3], 1000);
	identity_done(&who);
	/* Who says a group gets none of the others. */
	assert_ok(identity_find(t->root_fd, "web:adm", NULL, 0, &who, &err), err);
	assert_int_equal(who.group_count, 0);
	identity_done(&who);
}

static void nobody(void **state)
{
	struct tree *t = *state;

	fill(t);
	refuse(t, "ghost", "unable to find user ghost");
	refuse(t, "web:ghosts", "unable to find group ghosts");
	refuse(t, "bad", "unable to find user bad");
	refuse(t, "negative", "unable to find user");
	refuse(t, "large", "unable to find user");
	refuse(t, "longer", "unable to find user");
	refuse(t, "4294967295", "unable to find user");
	refuse(t, "99999999999999999999", "unable to find user");
	refuse(t, "-1", "unable to find user");
	refuse(t, "web:-1", "unable to find group");
	refuse(t, "web:bad", "unable to find group");
}

static void missing_files(void **state)
{
	struct tree *t = *state;

	expect(t, "", 0, 0, NULL);
	expect(t, "1000:1001", 1000, 1001, NULL);
	refuse(t, "root", "unable to find user root");
	refuse(t, "0:root", "unable to find group root");
}

/* Files of an image that is nobody's friend. */
static void hostile_files(void **state)
{
	struct tree *t = *state;
	autofree char *big = malloc((1u << 20) + 2);
	struct error err = { 0 };

	/* Not followed out of the root: there is no such file in it. */
	put_text(t, "etc/group", group);
	put_link(t, "../../../../../../etc/passwd-of-the-host", "etc/passwd");
	refuse(t, "web", "unable to find user web");
	unlinkat(t->root_fd, "etc/passwd", 0);
	/* A pipe that nobody writes to does not hold it up. */
	assert_int_equal(mkfifoat(t->root_fd, "etc/passwd", 0644), 0);
	refuse(t, "web", "no regular file");
	unlinkat(t->root_fd, "etc/passwd", 0);
	assert_int_equal(mkdirat(t->root_fd, "etc/passwd", 0755), 0);
	refuse(t, "web", "no regular file");
	unlinkat(t->root_fd, "etc/passwd", AT_REMOVEDIR);
	memset(big, 'a', (1u << 20) + 1);
	put(t, "etc/passwd", big, (1u << 20) + 1);
	refuse(t, "web", "looking up the user");
	/* Lines that are long, empty, full of colons, or end in a NUL. */
	memset(big, ':', 100000);
	memcpy(big, "web:x:1:2", 9);
	strcpy(big + 100000, "\n::::::\nweb:x:33:34::/w:\n");
	put_text(t, "etc/passwd", big);
	expect(t, "web", 1, 2, NULL);
	put(t, "etc/passwd", "a:x:1:1::/:\n\0web:x:33:34::/w:\n", 31);
	refuse(t, "web", "unable to find user web");
	memset(big, 'n', 300);
	strcpy(big + 300, ":x:1:1::/:\n");
	put_text(t, "etc/passwd", big);
	big[300] = '\0';
	assert_true(identity_find(t->root_fd, big, NULL, 0, &(struct identity){ 0 }, &err) < 0);
}

static void names_of_numbers(void **state)
{
	char name[8];

	assert_true(identity_name(passwd, 33, name, sizeof(name)));
	assert_string_equal(name, "web");
	assert_false(identity_name(passwd, 34, name, sizeof(name)));
	/* One that does not fit is none. */
	assert_false(identity_name(passwd, 50, name, sizeof(name)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TREE_TEST(names_and_numbers), TREE_TEST(groups),        TREE_TEST(nobody),
		TREE_TEST(missing_files),     TREE_TEST(hostile_files), TREE_TEST(names_of_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
