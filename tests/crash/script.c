#include "call.h"
#include "tree.h"

#include "fs/pinning.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define BYTES_MAX (512u << 10)

static const struct fs_cred cred = {.uid = 1000, .gid = 100};

uint64_t call_number(const struct call *call, unsigned i)
{
	return i < call->count ? strtoull(call->argument[i], NULL, 0) : 0;
}

const char *call_word(const struct call *call, unsigned i)
{
	return i < call->count ? call->argument[i] : "";
}

/* ---- Paths ---- */

/* "/d/x" gives d's number and "x"; "@0" what is held. */
static int find_parent(struct fs *fs, const char *path, uint64_t *ret_parent, const char **ret_name)
{
	uint64_t parent = FMT_INO_ROOT;
	const char *slash;

	for (path++; (slash = strchr(path, '/')) != NULL; path = slash + 1) {
		struct fs_entry entry;
		char name[64];
		int error;

		(void)snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
		error = fs_lookup(fs, parent, name, &entry);
		if (error != 0)
			return error;
		fs_forget(fs, entry.ino, 1);
		parent = entry.ino;
	}
	*ret_parent = parent;
	*ret_name = path;
	return 0;
}

/* The inode of argument `i`. */
int call_find(const struct call *call, unsigned i, uint64_t *ret_ino)
{
	struct script_world *world = call->world;
	const char *path = call_word(call, i), *name;
	struct fs_entry entry;
	uint64_t parent;
	int error;

	if (path[0] == '@') {
		*ret_ino = world->held[path[1] == '1'];
		return *ret_ino != 0 ? 0 : -ENOENT;
	}
	error = find_parent(world->fs, path, &parent, &name);
	if (error == 0 && name[0] == '\0') {
		*ret_ino = FMT_INO_ROOT;
		return 0;
	}
	if (error == 0)
		error = fs_lookup(world->fs, parent, name, &entry);
	if (error != 0)
		return error;
	fs_forget(world->fs, entry.ino, 1);
	*ret_ino = entry.ino;
	return 0;
}

/* ---- Names ---- */

static int make(const struct call *call, mode_t mode)
{
	struct fs_make make = {.mode = mode, .target = S_ISLNK(mode) ? call_word(call, 2) : NULL};
	struct fs *fs = call->world->fs;
	struct fs_entry entry;
	const char *name;
	uint64_t parent;
	int error = find_parent(fs, call_word(call, 1), &parent, &name);

	if (error == 0)
		error = fs_make(fs, parent, name, &make, &cred, &entry);
	if (error == 0)
		fs_forget(fs, entry.ino, 1);
	return error;
}

static int run_create(const struct call *call)
{
	return make(call, S_IFREG | 0644);
}

static int run_mkdir(const struct call *call)
{
	return make(call, S_IFDIR | 0755);
}

static int run_mkfifo(const struct call *call)
{
	return make(call, S_IFIFO | 0600);
}

static int run_symlink(const struct call *call)
{
	return make(call, S_IFLNK | 0777);
}

/* A target that needs a page of its own. */
static int run_longlink(const struct call *call)
{
	static char target[2000];
	struct call other = *call;

	memset(target, 't', sizeof(target) - 1);
	other.argument[2] = target;
	other.count = 3;
	return make(&other, S_IFLNK | 0777);
}

static int run_link(const struct call *call)
{
	struct fs *fs = call->world->fs;
	struct fs_entry entry;
	uint64_t ino, parent;
	const char *name;
	int error = call_find(call, 1, &ino);

	if (error == 0)
		error = find_parent(fs, call_word(call, 2), &parent, &name);
	if (error == 0)
		error = fs_link(fs, ino, parent, name, &entry);
	if (error == 0)
		fs_forget(fs, ino, 1);
	return error;
}

static int run_rename(const struct call *call)
{
	struct fs *fs = call->world->fs;
	const char *name, *new_name, *how = call_word(call, 3);
	unsigned flags = how[0] == 'x' ? RENAME_EXCHANGE : how[0] == 'n' ? RENAME_NOREPLACE : 0;
	uint64_t parent, new_parent;
	int error = find_parent(fs, call_word(call, 1), &parent, &name);

	if (error == 0)
		error = find_parent(fs, call_word(call, 2), &new_parent, &new_name);
	return error != 0 ? error : fs_rename(fs, parent, name, new_parent, new_name, flags);
}

static int take_away(const struct call *call, int (*function)(struct fs *fs, uint64_t parent, const char *name))
{
	const char *name;
	uint64_t parent;
	int error = find_parent(call->world->fs, call_word(call, 1), &parent, &name);

	return error != 0 ? error : function(call->world->fs, parent, name);
}

static int run_unlink(const struct call *call)
{
	return take_away(call, fs_unlink);
}

static int run_rmdir(const struct call *call)
{
	return take_away(call, fs_rmdir);
}

/* Held, without a name. */
static int run_tmpfile(const struct call *call)
{
	struct fs_entry entry;
	int error = fs_tmpfile(call->world->fs, FMT_INO_ROOT, 0644, 0, &cred, &entry);

	if (error == 0)
		call->world->held[call_number(call, 1) != 0] = entry.ino;
	return error;
}

static int run_hold(const struct call *call)
{
	struct fs *fs = call->world->fs;
	struct fs_entry entry;
	const char *name;
	uint64_t parent;
	int error = find_parent(fs, call_word(call, 1), &parent, &name);

	if (error == 0)
		error = fs_lookup(fs, parent, name, &entry);
	if (error == 0)
		call->world->held[call_number(call, 2) != 0] = entry.ino;
	return error;
}

static int run_drop(const struct call *call)
{
	uint64_t *held = &call->world->held[call_number(call, 1) != 0];

	fs_forget(call->world->fs, *held, 1);
	*held = 0;
	return 0;
}

/* ---- Data ---- */

unsigned char script_byte(unsigned seed, uint64_t at)
{
	return (unsigned char)(1 + (at * 7 + at / 251 + (uint64_t)seed * 37) % 255);
}

static unsigned char *bytes_of(unsigned seed, uint64_t offset, uint64_t length)
{
	static _Thread_local unsigned char bytes[BYTES_MAX];

	for (uint64_t i = 0; i < length && i < BYTES_MAX; i++)
		bytes[i] = script_byte(seed, offset + i);
	return bytes;
}

/* Whatever is in the way of a pin, the policy decides at once: nothing is parked. */
void call_never_resumed(struct fs_wait *wait)
{
	(void)wait;
	abort();
}

static struct fs_wait *wait_of(struct fs *fs)
{
	static _Thread_local struct fs_wait wait;

	fs_wait_init(fs, &wait, 0, call_never_resumed);
	fs_wait_never(&wait);
	return &wait;
}

static int run_write(const struct call *call)
{
	struct fs *fs = call->world->fs;
	uint64_t ino, offset = call_number(call, 2), length = call_number(call, 3);
	int error = call_find(call, 1, &ino);
	ssize_t done;

	if (error != 0)
		return error;
	done = fs_write(fs, ino, bytes_of((unsigned)call_number(call, 4), offset, length), length, (off_t)offset,
			wait_of(fs));
	return done < 0 ? (int)done : (uint64_t)done == length ? 0 : -ENOSPC;
}

/*
 * At the time of another one: the times are what they shall be, so nothing but the data is stored. Of blocks that are
 * lost and preallocated, these are gone first.
 */
static int run_rewrite(const struct call *call)
{
	struct fs *fs = call->world->fs;
	uint64_t ino;
	int error = call_find(call, 1, &ino);

	if (error == 0) {
		ssize_t done = fs_write(fs, ino, bytes_of((unsigned)call_number(call, 4), 0, 8), 8, 0, wait_of(fs));

		error = done < 0 ? (int)done : done == 8 ? 0 : -ENOSPC;
	}
	return error != 0 ? error : run_write(call);
}

static int run_append(const struct call *call)
{
	struct stat attr;
	uint64_t ino, length = call_number(call, 2);
	struct fs *fs = call->world->fs;
	int error = call_find(call, 1, &ino);
	ssize_t done;

	if (error == 0)
		error = fs_getattr(fs, ino, &attr);
	if (error != 0)
		return error;
	done = fs_write(fs, ino, bytes_of(9, (uint64_t)attr.st_size, length), length, attr.st_size, wait_of(fs));
	return done < 0 ? (int)done : (uint64_t)done == length ? 0 : -ENOSPC;
}

static int run_truncate(const struct call *call)
{
	struct fs_setattr changes = {.valid = FS_SET_SIZE, .attr.st_size = (off_t)call_number(call, 2)};
	struct stat attr;
	uint64_t ino;
	int error = call_find(call, 1, &ino);

	return error != 0 ? error : fs_setattr(call->world->fs, ino, &changes, wait_of(call->world->fs), &attr);
}

static int run_fallocate(const struct call *call)
{
	static const struct {
		const char *name;
		int mode;
	} modes[] = {
		{"alloc", 0},
		{"keep", FALLOC_FL_KEEP_SIZE},
		{"punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE},
		{"zero", FALLOC_FL_ZERO_RANGE},
		{"zerokeep", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE},
	};
	struct fs *fs = call->world->fs;
	uint64_t ino;
	int error = call_find(call, 1, &ino);

	for (size_t i = 0; error == 0 && i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(call_word(call, 2), modes[i].name) == 0)
			return fs_fallocate(fs, ino, modes[i].mode, (off_t)call_number(call, 3),
					    (off_t)call_number(call, 4), wait_of(fs));
	}
	return error != 0 ? error : -ENOSYS;
}

static int run_copy(const struct call *call)
{
	struct fs *fs = call->world->fs;
	uint64_t from, to;
	int error = call_find(call, 1, &from);
	ssize_t done;

	if (error == 0)
		error = call_find(call, 3, &to);
	if (error != 0)
		return error;
	done = fs_copy_range(fs, from, (off_t)call_number(call, 2), to, (off_t)call_number(call, 4),
			     call_number(call, 5), wait_of(fs));
	return done < 0 ? (int)done : (uint64_t)done == call_number(call, 5) ? 0 : -ENOSPC;
}

/* A file whose every block is an extent of its own: so that freeing it takes more than one transaction. */
static int run_fragment(const struct call *call)
{
	static const struct call other_call = {.text = ""};
	struct call other = other_call;
	uint64_t blocks = call_number(call, 2);
	struct fs *fs = call->world->fs;
	uint64_t ino, other_ino;
	int error = run_create(call);

	other.world = call->world;
	other.argument[1] = "/fragment";
	other.count = 2;
	if (error == 0)
		error = run_create(&other);
	if (error == 0)
		error = call_find(call, 1, &ino);
	if (error == 0)
		error = call_find(&other, 1, &other_ino);
	for (uint64_t i = 0; error == 0 && i < blocks; i++) {
		off_t at = (off_t)(i * FMT_BLOCK_SIZE);

		if (fs_write(fs, ino, bytes_of(5, (uint64_t)at, FMT_BLOCK_SIZE), FMT_BLOCK_SIZE, at, NULL) < 0 ||
		    fs_write(fs, other_ino, bytes_of(6, 0, FMT_BLOCK_SIZE), FMT_BLOCK_SIZE, at, NULL) < 0)
			error = -ENOSPC;
	}
	return error != 0 ? error : run_unlink(&other);
}

/* Leaves bytes in all free blocks, so that what shows them is seen. */
static int run_soil(const struct call *call)
{
	struct fs *fs = call->world->fs;
	struct call file = *call;
	unsigned char *bytes = malloc(FMT_BLOCK_SIZE);
	uint64_t ino;
	int error;

	file.argument[1] = "/soil";
	file.count = 2;
	if (bytes == NULL)
		return -ENOMEM;
	memset(bytes, 0xee, FMT_BLOCK_SIZE);
	error = run_create(&file);
	if (error == 0)
		error = call_find(&file, 1, &ino);
	for (off_t at = 0; error == 0 && fs_write(fs, ino, bytes, FMT_BLOCK_SIZE, at, NULL) == FMT_BLOCK_SIZE;
	     at += FMT_BLOCK_SIZE)
		;
	free(bytes);
	return error != 0 ? error : run_unlink(&file);
}

/* ---- Attributes ---- */

static int run_chmod(const struct call *call)
{
	struct fs_setattr changes = {.valid = FS_SET_MODE | FS_SET_CTIME, .attr.st_mode = (mode_t)call_number(call, 2)};
	struct stat attr;
	uint64_t ino;
	int error = call_find(call, 1, &ino);

	if (error == 0)
		error = fs_getattr(call->world->fs, ino, &attr);
	if (error != 0)
		return error;
	changes.attr.st_mode |= attr.st_mode & S_IFMT;
	changes.attr.st_ctime = attr.st_ctime + 1;
	return fs_setattr(call->world->fs, ino, &changes, NULL, &attr);
}

static int run_setxattr(const struct call *call)
{
	uint64_t ino, length = call_number(call, 3);
	int error = call_find(call, 1, &ino);

	return error != 0 ? error
			  : fs_setxattr(call->world->fs, ino, call_word(call, 2),
					bytes_of((unsigned)call_number(call, 4), 0, length), length, 0);
}

static int run_removexattr(const struct call *call)
{
	uint64_t ino;
	int error = call_find(call, 1, &ino);

	return error != 0 ? error : fs_removexattr(call->world->fs, ino, call_word(call, 2));
}

/* ---- The pool ---- */

int script_mount(struct script_world *world, struct message *message)
{
	struct fs_options options = {
		.meta_path = world->meta_path, .skip_probe = !world->distrust, .inode_flags = true};
	struct fs_pin_policy policy = {
		.break_timeout = 0, .break_detach = true, .pin_limit = UINT64_MAX, .grace = 10 * FS_NS_PER_S};
	int error = fs_open(&options, &world->fs, message);

	if (error == 0)
		fs_set_pin_policy(world->fs, &policy);
	return error;
}

static int run_mount(const struct call *call)
{
	call->world->message.text[0] = '\0';
	return script_mount(call->world, &call->world->message);
}

static int run_unmount(const struct call *call)
{
	fs_close(call->world->fs);
	call->world->fs = NULL;
	call->world->holder = NULL; /* of that mount */
	return 0;
}

uint64_t script_blocks_free(struct fs *fs)
{
	struct fs_stats stats;

	fs_get_stats(fs, &stats);
	return stats.blocks_free;
}

/* ---- All of them ---- */

static const struct verb {
	const char *name;
	int (*run)(const struct call *call);
	unsigned tolerance;
} verbs[] = {
	{"create", run_create, 0},
	{"mkdir", run_mkdir, 0},
	{"mkfifo", run_mkfifo, 0},
	{"symlink", run_symlink, 0},
	{"longlink", run_longlink, 0},
	{"link", run_link, 0},
	{"rename", run_rename, 0},
	{"unlink", run_unlink, 0},
	{"rmdir", run_rmdir, 0},
	{"tmpfile", run_tmpfile, 0},
	{"hold", run_hold, 0},
	{"drop", run_drop, 0},
	{"write", run_write, TREE_MIXED},
	{"rewrite", run_rewrite, TREE_MIXED | TREE_TIMES | TREE_BLOCKS},
	{"append", run_append, TREE_MIXED},
	{"copy", run_copy, TREE_MIXED},
	{"truncate", run_truncate, 0},
	{"fallocate", run_fallocate, TREE_BLOCKS},
	{"chmod", run_chmod, 0},
	{"setxattr", run_setxattr, 0},
	{"removexattr", run_removexattr, 0},
	{"mount", run_mount, 0},
	{"unmount", run_unmount, 0},
	{"fragment", run_fragment, TREE_MIXED},
	{"soil", run_soil, TREE_MIXED},
	{"session", run_session, 0},
	{"pin", run_pin, TREE_BLOCKS},
	{"store", run_store, TREE_MIXED},
	{"commit", run_commit, TREE_MIXED},
	{"unpin", run_unpin, 0},
	{"goodbye", run_goodbye, 0},
	{"reap", run_reap, 0},
	{"mend", run_mend, 0},
	{"acl", run_acl, 0},
	{"flags", run_flags, 0},
	{"lose", run_lose, 0},
	{"fill", run_fill, TREE_MIXED},
	{"damage", run_damage, 0},
	{"repair", run_repair, 0},
};

static const struct verb *verb_of(const char *words)
{
	size_t length = strcspn(words, " ");

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strlen(verbs[i].name) == length && strncmp(words, verbs[i].name, length) == 0)
			return &verbs[i];
	}
	return NULL;
}

unsigned script_tolerance(const char *words)
{
	const struct verb *verb = verb_of(words);

	return verb != NULL ? verb->tolerance : 0;
}

int script_run(struct script_world *world, const char *words)
{
	const struct verb *verb = verb_of(words);
	struct call call = {.world = world};
	char *rest = NULL;

	if (verb == NULL)
		return -ENOSYS;
	(void)snprintf(call.text, sizeof(call.text), "%s", words);
	for (char *at = strtok_r(call.text, " ", &rest); at != NULL && call.count < ARGUMENTS;
	     at = strtok_r(NULL, " ", &rest))
		call.argument[call.count++] = at;
	return verb->run(&call);
}
