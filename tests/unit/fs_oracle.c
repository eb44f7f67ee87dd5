/* Random operations on names against a model in memory: the same answer each time, the same tree at the end. */
#include "fs_pool.h"

#include <dirent.h>

#define NODES 4096
#define NAMES 6
#define OPERATIONS 30000
#define SLOTS 24 /* directories that operations choose from */

/* An inode of the model; number 0 is none, 1 the root. */
struct node {
	uint64_t ino;
	mode_t type;
	unsigned nlink;
	unsigned parent; /* of a directory */
	unsigned child[NAMES]; /* of a directory, by name */
};

struct model {
	struct pool *pool;
	struct node node[NODES];
	unsigned nodes;
	unsigned random;
};

static const char *const names[NAMES] = {
	"a", "b", "c", "name of more bytes than fit into one unit of a page of names", "ä", "....."};

static unsigned pick(struct model *m, unsigned below)
{
	/* xorshift: a failure comes again with the same seed. */
	m->random ^= m->random << 13;
	m->random ^= m->random >> 17;
	m->random ^= m->random << 5;
	return m->random % below;
}

/* A directory that exists, the root often. */
static unsigned pick_directory(struct model *m)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		unsigned n = 1 + pick(m, m->nodes - 1);

		if (S_ISDIR(m->node[n].type) && m->node[n].nlink > 0)
			return n;
	}
	return 1;
}

static bool is_empty(const struct node *node)
{
	for (unsigned i = 0; i < NAMES; i++) {
		if (node->child[i] != 0)
			return false;
	}
	return true;
}

static bool is_dir(const struct model *m, unsigned n)
{
	return S_ISDIR(m->node[n].type);
}

/* True if `n` is `ancestor` or lies below it. */
static bool is_below(const struct model *m, unsigned n, unsigned ancestor)
{
	while (n != ancestor && n != 1)
		n = m->node[n].parent;
	return n == ancestor;
}

static void drop_link(struct model *m, unsigned directory, unsigned n)
{
	if (is_dir(m, n)) {
		m->node[n].nlink = 0;
		m->node[directory].nlink--;
	} else {
		m->node[n].nlink--;
	}
}

static void do_make(struct model *m)
{
	static const mode_t types[] = {S_IFREG, S_IFDIR, S_IFDIR, S_IFLNK, S_IFIFO};
	unsigned directory = pick_directory(m), name = pick(m, NAMES), n = m->nodes;
	mode_t type = types[pick(m, ARRAY_SIZE(types))];
	int expect = m->node[directory].child[name] != 0 ? -EEXIST : 0;
	uint64_t ino = 0;

	if (n == NODES)
		return;
	assert_int_equal(make_kept(m->pool, m->node[directory].ino, names[name], type | 0644, &ino), expect);
	if (expect != 0)
		return;
	fs_forget(m->pool->fs, ino, 1);
	m->nodes++;
	m->node[n] = (struct node){.ino = ino, .type = type, .nlink = S_ISDIR(type) ? 2 : 1, .parent = directory};
	m->node[directory].child[name] = n;
	if (S_ISDIR(type))
		m->node[directory].nlink++;
}

static void do_link(struct model *m)
{
	unsigned directory = pick_directory(m), name = pick(m, NAMES), n = 1 + pick(m, m->nodes - 1);
	int expect = 0;

	if (m->node[n].nlink == 0)
		return; /* its number may have been given to another inode */
	if (is_dir(m, n))
		expect = -EPERM;
	else if (m->node[directory].child[name] != 0)
		expect = -EEXIST;
	assert_int_equal(link_to(m->pool, m->node[n].ino, m->node[directory].ino, names[name]), expect);
	if (expect != 0)
		return;
	m->node[n].nlink++;
	m->node[directory].child[name] = n;
}

static void do_unlink(struct model *m)
{
	unsigned directory = pick_directory(m), name = pick(m, NAMES), n = m->node[directory].child[name];
	int expect = n == 0 ? -ENOENT : is_dir(m, n) ? -EISDIR : 0;

	assert_int_equal(fs_unlink(m->pool->fs, m->node[directory].ino, names[name]), expect);
	if (expect != 0)
		return;
	m->node[directory].child[name] = 0;
	drop_link(m, directory, n);
}

static void do_rmdir(struct model *m)
{
	unsigned directory = pick_directory(m), name = pick(m, NAMES), n = m->node[directory].child[name];
	int expect = n == 0 ? -ENOENT : !is_dir(m, n) ? -ENOTDIR : !is_empty(&m->node[n]) ? -ENOTEMPTY : 0;

	assert_int_equal(fs_rmdir(m->pool->fs, m->node[directory].ino, names[name]), expect);
	if (expect != 0)
		return;
	m->node[directory].child[name] = 0;
	drop_link(m, directory, n);
}

static int rename_expect(const struct model *m, unsigned from, unsigned source, unsigned to, unsigned victim,
			 unsigned flags)
{
	const bool exchange = (flags & RENAME_EXCHANGE) != 0;

	if (source == 0 || (exchange && victim == 0))
		return -ENOENT;
	if (victim != 0 && (flags & RENAME_NOREPLACE) != 0)
		return -EEXIST;
	if (source == victim)
		return 0;
	if (is_dir(m, source) && is_below(m, to, source))
		return -EINVAL;
	if (victim == 0)
		return 0;
	if (is_dir(m, victim) && is_below(m, from, victim))
		return exchange ? -EINVAL : -ENOTEMPTY;
	if (exchange)
		return 0;
	if (is_dir(m, source) != is_dir(m, victim))
		return is_dir(m, source) ? -ENOTDIR : -EISDIR;
	return is_dir(m, victim) && !is_empty(&m->node[victim]) ? -ENOTEMPTY : 0;
}

/* A child goes from one directory to another. */
static void move(struct model *m, unsigned n, unsigned from, unsigned to)
{
	if (!is_dir(m, n))
		return;
	m->node[from].nlink--;
	m->node[to].nlink++;
	m->node[n].parent = to;
}

static void do_rename(struct model *m)
{
	static const unsigned all_flags[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	unsigned from = pick_directory(m), to = pick(m, 3) == 0 ? from : pick_directory(m);
	unsigned name = pick(m, NAMES), new_name = pick(m, NAMES);
	unsigned source = m->node[from].child[name], victim = m->node[to].child[new_name];
	unsigned flags = all_flags[pick(m, ARRAY_SIZE(all_flags))];
	int expect = rename_expect(m, from, source, to, victim, flags);

	assert_int_equal(
		fs_rename(m->pool->fs, m->node[from].ino, names[name], m->node[to].ino, names[new_name], flags),
		expect);
	if (expect != 0 || source == victim)
		return;
	m->node[from].child[name] = 0;
	if ((flags & RENAME_EXCHANGE) != 0) {
		m->node[from].child[name] = victim;
		move(m, victim, to, from);
	} else if (victim != 0) {
		drop_link(m, to, victim);
	}
	m->node[to].child[new_name] = source;
	move(m, source, from, to);
}

static void do_lookup(struct model *m)
{
	unsigned directory = pick_directory(m), name = pick(m, NAMES), n = m->node[directory].child[name];

	if (n == 0)
		assert_int_equal(find_error(m->pool, m->node[directory].ino, names[name]), -ENOENT);
	else
		assert_int_equal(find(m->pool, m->node[directory].ino, names[name]), m->node[n].ino);
}

/* ---- The whole tree ---- */

struct listing {
	struct model *model;
	const struct node *directory;
	unsigned found;
};

static int compare_entry(void *arg, const struct fs_dirent *dirent)
{
	struct listing *listing = arg;

	if (strcmp(dirent->name, ".") == 0 || strcmp(dirent->name, "..") == 0)
		return 0;
	for (unsigned i = 0; i < NAMES; i++) {
		unsigned n = listing->directory->child[i];

		if (strcmp(dirent->name, names[i]) != 0)
			continue;
		assert_int_not_equal(n, 0);
		assert_int_equal(dirent->entry.attr.st_ino, listing->model->node[n].ino);
		assert_int_equal(dirent->entry.attr.st_mode, listing->model->node[n].type);
		listing->found++;
	}
	return 0;
}

static void compare(struct model *m)
{
	for (unsigned n = 1; n < m->nodes; n++) {
		const struct node *node = &m->node[n];
		struct listing listing = {.model = m, .directory = node};
		unsigned children = 0;
		struct stat attr;

		if (node->nlink == 0)
			continue;
		attr = attr_of(m->pool, node->ino);
		assert_int_equal(attr.st_mode & S_IFMT, node->type);
		assert_int_equal(attr.st_nlink, node->nlink);
		if (!S_ISDIR(node->type))
			continue;
		assert_int_equal(find(m->pool, node->ino, ".."), m->node[node->parent].ino);
		for (unsigned i = 0; i < NAMES; i++)
			children += node->child[i] != 0;
		assert_int_equal(attr.st_size, children * 64);
		assert_int_equal(fs_readdir(m->pool->fs, node->ino, 0, false, compare_entry, &listing), 0);
		assert_int_equal(listing.found, children);
	}
}

static void run(struct pool *pool, unsigned seed)
{
	struct model *m = test_calloc(1, sizeof(*m));
	struct fs_stats stats;

	m->pool = pool;
	m->random = seed;
	m->nodes = 2;
	m->node[1] = (struct node){.ino = ROOT, .type = S_IFDIR, .nlink = 2, .parent = 1};
	print_message("# seed %u\n", seed);
	for (unsigned i = 0; i < OPERATIONS; i++) {
		static void (*const operations[])(struct model * m) = {
			do_make, do_make, do_link, do_unlink, do_rmdir, do_rename, do_rename, do_rename, do_lookup,
		};

		operations[pick(m, ARRAY_SIZE(operations))](m);
		if (i % 5000 == 4999) {
			compare(m);
			pool_remount(pool);
			compare(m);
		}
	}
	fs_get_stats(pool->fs, &stats);
	assert_int_equal(stats.inodes_cached, 0);
	test_free(m);
}

static void test_oracle(void **state)
{
	run(*state, 1);
}

static void test_oracle_random(void **state)
{
	run(*state, (unsigned)getpid() | 1u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_oracle, pool_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_oracle_random, pool_setup, pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
