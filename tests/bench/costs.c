/*
 * What each operation of src/fs costs on persistent memory: transactions, cache lines made durable, fences. costs META:
 * a pool that `pinfs mkfs` has made, not mounted. libpmem's functions are stood in for and counted
 * (tests/crash/standin.h); so this is no measurement of time. Prints a table in Markdown, that of src/format/README.md.
 *
 * Each operation is done many times, of which a mean is taken: now and then one needs a page more.
 */
#include "../crash/standin.h"

#include "fs/pinning.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE 64u
#define TIMES 200u
#define MIB (1u << 20)

static struct {
	uint64_t transactions, lines, fences;
} counts;

void standin_flush(const void *address, size_t length)
{
	uintptr_t first = (uintptr_t)address / LINE, end = ((uintptr_t)address + length + LINE - 1) / LINE;

	if (length > 0)
		counts.lines += end - first;
}

void standin_fence(void)
{
	counts.fences++;
}

void standin_sync(const void *address, size_t length)
{
	standin_flush(address, length);
	standin_fence();
}

/* The linker's names (--wrap). */
int __real_meta_commit(struct meta_tx *tx);
int __wrap_meta_commit(struct meta_tx *tx);
int __wrap_meta_commit(struct meta_tx *tx)
{
	counts.transactions++;
	return __real_meta_commit(tx);
}

struct world {
	struct fs *fs;
	uint64_t folder;
	uint64_t file; /* of a MiB, all written */
	uint64_t growing; /* is appended to */
	uint64_t at; /* its size */
	struct fs_holder *holder;
	uint64_t pin[TIMES];
};

static unsigned char data[MIB];

static void check(ssize_t result, const char *what)
{
	if (result < 0)
		errx(1, "%s: %s", what, strerror((int)-result));
}

static uint64_t make(struct world *world, const char *name, mode_t mode)
{
	static const struct fs_cred cred = {.uid = 1000, .gid = 100};
	struct fs_make make = {.mode = mode, .target = "target"};
	struct fs_entry entry;

	check(fs_make(world->fs, world->folder, name, &make, &cred, &entry), name);
	return entry.ino;
}

static void make_and_forget(struct world *world, const char *kind, unsigned i, mode_t mode)
{
	char name[64];

	snprintf(name, sizeof(name), "%s-%u", kind, i);
	fs_forget(world->fs, make(world, name, mode), 1);
}

/* ---- Operations; those that come later find what earlier ones have made ---- */

static void op_create(struct world *world, unsigned i)
{
	make_and_forget(world, "file", i, S_IFREG | 0644);
}

static void op_mkdir(struct world *world, unsigned i)
{
	make_and_forget(world, "folder", i, S_IFDIR | 0755);
}

static void op_symlink(struct world *world, unsigned i)
{
	make_and_forget(world, "symlink", i, S_IFLNK | 0777);
}

static void op_link(struct world *world, unsigned i)
{
	struct fs_entry entry;
	char name[64];

	snprintf(name, sizeof(name), "link-%u", i);
	check(fs_link(world->fs, world->file, world->folder, name, &entry), name);
	fs_forget(world->fs, world->file, 1);
}

static void op_unlink_link(struct world *world, unsigned i)
{
	char name[64];

	snprintf(name, sizeof(name), "link-%u", i);
	check(fs_unlink(world->fs, world->folder, name), name);
}

static void op_rename(struct world *world, unsigned i)
{
	char from[64], to[64];

	snprintf(from, sizeof(from), "file-%u", i);
	snprintf(to, sizeof(to), "renamed-%u", i);
	check(fs_rename(world->fs, world->folder, from, world->folder, to, 0), from);
}

/* With the kernel's FORGET, which evicts. */
static void op_unlink(struct world *world, unsigned i)
{
	struct fs_entry entry;
	char name[64];

	snprintf(name, sizeof(name), "renamed-%u", i);
	check(fs_lookup(world->fs, world->folder, name, &entry), name);
	check(fs_unlink(world->fs, world->folder, name), name);
	fs_forget(world->fs, entry.ino, 1);
}

static void op_rmdir(struct world *world, unsigned i)
{
	struct fs_entry entry;
	char name[64];

	snprintf(name, sizeof(name), "folder-%u", i);
	check(fs_lookup(world->fs, world->folder, name, &entry), name);
	check(fs_rmdir(world->fs, world->folder, name), name);
	fs_forget(world->fs, entry.ino, 1);
}

static void op_chmod(struct world *world, unsigned i)
{
	struct fs_setattr changes = {.valid = FS_SET_MODE, .attr = {.st_mode = i % 2 != 0 ? 0600 : 0644}};
	struct stat attr;

	check(fs_setattr(world->fs, world->file, &changes, NULL, &attr), "chmod");
}

static void op_setxattr(struct world *world, unsigned i)
{
	check(fs_setxattr(world->fs, world->file, "user.bench", &i, sizeof(i), 0), "setxattr");
}

static void op_overwrite_4k(struct world *world, unsigned i)
{
	check(fs_write(world->fs, world->file, data, 4096, (off_t)(i * 37 % 256) * 4096, NULL), "write");
}

static void op_overwrite_1m(struct world *world, unsigned i)
{
	(void)i;
	check(fs_write(world->fs, world->file, data, MIB, 0, NULL), "write");
}

static void append(struct world *world, size_t size)
{
	check(fs_write(world->fs, world->growing, data, size, (off_t)world->at, NULL), "append");
	world->at += size;
}

static void op_append_4k(struct world *world, unsigned i)
{
	(void)i;
	append(world, 4096);
}

static void op_append_100(struct world *world, unsigned i)
{
	(void)i;
	append(world, 100);
}

static void op_append_1m(struct world *world, unsigned i)
{
	if (i < TIMES / 4)
		append(world, MIB);
}

static void op_truncate(struct world *world, unsigned i)
{
	struct fs_setattr changes = {.valid = FS_SET_SIZE};
	struct stat attr;

	(void)i;
	world->at -= 4096;
	changes.attr.st_size = (off_t)world->at;
	check(fs_setattr(world->fs, world->growing, &changes, NULL, &attr), "truncate");
}

/* ---- Pins ---- */

static void no_event(void *arg, const struct pin_event *event)
{
	(void)arg;
	(void)event;
}

static void no_death(void *arg)
{
	(void)arg;
}

static void never_resumed(struct fs_wait *wait)
{
	(void)wait;
	errx(1, "a pin had to wait");
}

static void op_pin(struct world *world, unsigned i)
{
	static struct fs_pin_request request;
	struct fs_inode *inode;

	request =
		(struct fs_pin_request){.holder = world->holder, .path = "a file", .ino = world->file, .length = 4096};
	request.offset = (i % 256) * 4096;
	check(fs_inode_get(world->fs, world->file, &inode), "inode");
	request.generation = inode->media->generation;
	fs_inode_put(world->fs, inode);
	fs_wait_init(world->fs, &request.wait, 0, never_resumed);
	check(fs_pin(world->fs, &request), "pin");
	world->pin[i] = request.ret_id;
}

/* With the reaper, which erases the record. */
static void op_unpin(struct world *world, unsigned i)
{
	check(fs_unpin(world->fs, world->holder, world->pin[i]), "unpin");
	(void)fs_reaper_flush(world->fs);
}

static const struct operation {
	const char *name;
	void (*run)(struct world *world, unsigned i);
	unsigned times;
} operations[] = {
	{"create", op_create, TIMES},
	{"mkdir", op_mkdir, TIMES},
	{"symlink", op_symlink, TIMES},
	{"link", op_link, TIMES},
	{"unlink of one of several links", op_unlink_link, TIMES},
	{"rename in a folder", op_rename, TIMES},
	{"unlink of the last, with eviction", op_unlink, TIMES},
	{"rmdir, with eviction", op_rmdir, TIMES},
	{"chmod", op_chmod, TIMES},
	{"setxattr, replacing", op_setxattr, TIMES},
	{"overwrite of 4 KiB", op_overwrite_4k, TIMES},
	{"overwrite of 1 MiB", op_overwrite_1m, TIMES},
	{"append of 4 KiB", op_append_4k, TIMES},
	{"append of 1 MiB", op_append_1m, TIMES / 4},
	{"truncate by 4 KiB", op_truncate, TIMES},
	{"append of 100 bytes", op_append_100, TIMES},
	{"pin of 4 KiB", op_pin, TIMES},
	{"unpin, with its record", op_unpin, TIMES},
};

static void print_row(const struct operation *operation)
{
	const double times = operation->times;

	printf("| %s | %.3g | %.1f | %.1f |\n", operation->name, (double)counts.transactions / times,
	       (double)counts.lines / times, (double)counts.fences / times);
}

static void prepare(struct world *world)
{
	struct process_identity process;
	int pidfd;

	world->folder = FMT_INO_ROOT;
	world->folder = make(world, "bench", S_IFDIR | 0755);
	world->file = make(world, "file", S_IFREG | 0644);
	world->growing = make(world, "growing", S_IFREG | 0644);
	check(fs_write(world->fs, world->file, data, MIB, 0, NULL), "write");
	check(process_identify(getpid(), &process, &pidfd), "process");
	check(fs_holder_open(world->fs, &process, pidfd, 1000, 100,
			     &(const struct fs_holder_ops){.event = no_event, .dead = no_death}, world, &world->holder),
	      "session");
}

int main(int argc, char **argv)
{
	static struct world world;
	struct message message;

	if (argc != 2)
		errx(2, "usage: costs META");
	if (fs_open(&(struct fs_options){.meta_path = argv[1], .skip_probe = true}, &world.fs, &message) != 0)
		errx(1, "%s", message.text);
	prepare(&world);
	puts("| operation | transactions | cache lines | fences |\n| --- | --- | --- | --- |");
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		memset(&counts, 0, sizeof(counts));
		for (unsigned k = 0; k < operations[i].times; k++)
			operations[i].run(&world, k);
		print_row(&operations[i]);
	}
	fs_holder_close(world.fs, world.holder);
	fs_forget(world.fs, world.file, 1);
	fs_forget(world.fs, world.growing, 1);
	fs_forget(world.fs, world.folder, 1);
	fs_close(world.fs);
	return 0;
}
