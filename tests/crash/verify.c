#include "verify.h"

#include "base/arith.h"
#include "check/check.h"
#include "fs/data.h"
#include "fs/pinning.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BEYOND 9000u
#define PINS_MAX 16u

static __attribute__((format(printf, 2, 3))) int fail(const struct verify *verify, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(verify->run->why, WHY_BYTES, format, arguments);
	va_end(arguments);
	return 1;
}

/* ---- src/check ---- */

static void on_problem(void *arg, const struct check_problem *problem)
{
	const struct verify *verify = arg;

	if (problem->severity == CHECK_ERROR && verify->run->why[0] == '\0')
		(void)snprintf(verify->run->why, WHY_BYTES, "%s inode %llu %s: %s", problem->invariant,
			       (unsigned long long)problem->ino, problem->path != NULL ? problem->path : "",
			       problem->text);
}

static int check(const struct verify *verify, bool unmounted)
{
	struct check_options options = {.meta_path = verify->meta_path,
					.skip_probe = true,
					.in_process = true,
					.problem = on_problem,
					.arg = (void *)verify};
	struct check_report report;
	struct message message;
	int error = check_pool(&options, &report, &message);

	if (error != 0)
		return fail(verify, "check does not run: %s", message.text);
	if (report.errors > 0)
		return 1;
	if (unmounted && (!report.clean || report.orphans > 0 || report.intents > 0 || report.ledger_void > 0))
		return fail(verify, "unmounted: clean %d, %llu orphans, %llu intents, %llu void", report.clean,
			    (unsigned long long)report.orphans, (unsigned long long)report.intents,
			    (unsigned long long)report.ledger_void);
	return 0;
}

/* So does fsck: it says that this is no pool, or that it is damaged. */
static int check_refuses(const struct verify *verify)
{
	struct check_options options = {.meta_path = verify->meta_path};
	struct check_report report;
	struct message message = {.text = ""};
	int error = check_pool(&options, &report, &message);

	if (error == 0 && report.errors == 0)
		return fail(verify, "mount refuses what fsck finds sound");
	return error == 0 || message.text[0] != '\0' ? 0 : fail(verify, "fsck refuses without a word");
}

/* ---- The tree, and that all is accounted for ---- */

static int count_session(void *arg, const struct meta_session *session)
{
	(void)arg;
	(void)session;
	return 0;
}

static int count_pin(void *arg, const struct meta_pin *pin)
{
	(void)pin;
	++*(uint64_t *)arg;
	return 0;
}

uint64_t verify_ledger_pins(struct fs *fs)
{
	uint64_t pins = 0;

	return meta_ledger_visit(fs->meta, count_session, count_pin, &pins) == 0 ? pins : UINT64_MAX;
}

/* Of two operations: done is each that was answered, and any that was begun. A tree by its bits. */
static bool is_possible(const struct verify *verify, unsigned done)
{
	return (verify->answered & ~done) == 0 && (done & ~verify->begun) == 0;
}

static const char *compare_two(const struct verify *verify, const struct tree *tree)
{
	unsigned flying = verify->begun & ~verify->answered, tolerance = TREE_INO | TREE_GENERATION;
	const struct step *step = verify->run->step;
	const char *what = NULL;

	for (unsigned i = 1; i < 3; i++)
		tolerance |= (flying & i) != 0 ? step[i].tolerance : 0;
	for (unsigned i = 0; i < 16; i++) {
		unsigned old = i % 4, new = i / 4;

		if (!is_possible(verify, old) || !is_possible(verify, new) || (old & ~new) != 0)
			continue;
		what = tree_compare(tree, &step[old].tree, &step[new].tree, tolerance);
		if (what == NULL)
			break;
	}
	return what;
}

static int verify_tree(const struct verify *verify, struct fs *fs, struct tree *tree)
{
	struct step *old = &verify->run->step[verify->answered], *new = &verify->run->step[verify->begun];
	unsigned tolerance = verify->begun > verify->answered ? new->tolerance : 0;
	int error = tree_read(fs, tree);
	const char *what;

	if (error != 0)
		return fail(verify, "the tree cannot be read: %s", strerror(-error));
	/* What is found is put into a new folder. */
	if (verify->kind == SCENARIO_REPAIR)
		tolerance = TREE_TIMES | TREE_INO | TREE_GENERATION;
	what = verify->kind == SCENARIO_TWO ? compare_two(verify, tree)
					    : tree_compare(tree, &old->tree, &new->tree, tolerance);
	return what == NULL ? 0 : fail(verify, "%s", what);
}

/* Lost blocks that belong to nobody. */
static uint64_t count_retired(struct fs *fs, const struct tree *tree)
{
	uint64_t retired = 0, phys = 0, length;

	for (; fs_lost_find(fs, phys, UINT64_MAX - phys, &phys, &length); phys += length) {
		for (uint64_t i = 0; i < length; i++) {
			uint64_t start;
			uint32_t run;

			lock_mutex_take(&fs->limbo);
			retired += meta_limbo_find(fs->meta, phys + i, &start, &run) != 0 || start != phys + i;
			lock_mutex_drop(&fs->limbo);
		}
	}
	return retired - tree->lost;
}

/* What was found lost stays so; what is stored that needs a feature's word has it. */
static int verify_words(const struct verify *verify, struct fs *fs, const struct tree *tree)
{
	const struct step *old = &verify->run->step[verify->answered], *new = &verify->run->step[verify->begun];
	unsigned features = meta_features(fs->meta);
	uint64_t bad = meta_bad_blocks(fs->meta);

	if (bad < old->bad || bad > new->bad || bad != fs_poison_count(fs))
		return fail(verify, "%llu blocks are recorded as lost, %llu known; not %llu to %llu",
			    (unsigned long long)bad, (unsigned long long)fs_poison_count(fs),
			    (unsigned long long)old->bad, (unsigned long long)new->bad);
	if ((old->features & ~features) != 0 || (features & ~new->features) != 0)
		return fail(verify, "features %#x: not %#x, nor %#x", features, old->features, new->features);
	if ((tree->acls && (features >> FMT_FEATURE_ACL & 1) == 0) ||
	    (tree->flags && (features >> FMT_FEATURE_FLAGS & 1) == 0))
		return fail(verify, "what needs a feature's word is there, and the word is not");
	return 0;
}

static int verify_space(const struct verify *verify, struct fs *fs, const struct tree *tree)
{
	uint64_t retired = count_retired(fs, tree), limbo = meta_limbo_blocks(fs->meta),
		 free_blocks = script_blocks_free(fs);
	const struct run *run = verify->run;
	struct meta_space space;

	meta_space(fs->meta, &space);
	if (free_blocks + tree->blocks + limbo + retired != run->empty_blocks)
		return fail(verify, "blocks: %llu free, %llu of files, %llu in limbo, %llu lost, but %llu are there",
			    (unsigned long long)free_blocks, (unsigned long long)tree->blocks,
			    (unsigned long long)limbo, (unsigned long long)retired,
			    (unsigned long long)run->empty_blocks);
	if (verify->lives)
		return 0; /* the slot of what is unlinked and pinned stays */
	if (space.inodes_used != run->empty_inodes + tree->inodes - 1)
		return fail(verify, "inodes: %llu used, %u reachable, %llu in an empty pool",
			    (unsigned long long)space.inodes_used, tree->inodes, (unsigned long long)run->empty_inodes);
	return limbo == 0 ? 0 : fail(verify, "limbo: %llu blocks that nobody can hold", (unsigned long long)limbo);
}

/* ---- Pins ---- */

struct pinned {
	struct fs_holder *holder;
	uint64_t blocks; /* what all of it holds, before others work */
	unsigned char *bytes;
};

/* Where a byte of a pin's range is in the parts; a detach cuts extents, and moves nothing. */
static uint64_t place_of(const struct fs_pin_extent *extent, size_t count, uint64_t offset)
{
	for (size_t i = 0; i < count; i++) {
		if (offset >= extent[i].offset && offset - extent[i].offset < extent[i].length)
			return extent[i].part_offset + (offset - extent[i].offset);
	}
	return UINT64_MAX;
}

static int verify_extents(const struct verify *verify, struct fs *fs, struct fs_holder *holder)
{
	for (unsigned i = 0; i < SCRIPT_PINS; i++) {
		const struct script_pin *pin = &verify->run->world.pin[i];
		struct fs_pin_extent extent[SCRIPT_EXTENTS];
		uint64_t start = pin->extent[0].offset, end;
		ssize_t count;
		size_t total;

		if (pin->id == 0)
			continue;
		end = pin->extent[pin->extents - 1].offset + pin->extent[pin->extents - 1].length;
		count = fs_pin_extents(fs, holder, pin->id, 0, extent, SCRIPT_EXTENTS, &total);
		for (; count >= 0 && start < end; start += FMT_BLOCK_SIZE) {
			uint64_t granted = place_of(pin->extent, pin->extents, start);

			if (place_of(extent, (size_t)count, start) != granted)
				return fail(verify, "byte %llu of pin %u is not where it was granted",
					    (unsigned long long)start, i);
		}
	}
	return 0;
}

static int verify_pins(const struct verify *verify, struct fs *fs, struct fs_holder **ret_holder)
{
	const struct run *run = verify->run;
	uint64_t old = run->step[verify->answered].pins, new = run->step[verify->begun].pins;
	struct process_identity process;
	struct pin_stats stats;
	int pidfd, error;

	fs_pin_stats(fs, &stats);
	*ret_holder = NULL;
	if (!verify->lives)
		return stats.pins == 0 && verify_ledger_pins(fs) == 0
			       ? 0
			       : fail(verify, "%llu pins of a dead process", (unsigned long long)stats.pins);
	/* A session's end drops its pins one by one. */
	if (stats.pins < min_u64(old, new) || stats.pins > max_u64(old, new))
		return fail(verify, "%llu pins, not %llu to %llu", (unsigned long long)stats.pins,
			    (unsigned long long)old, (unsigned long long)new);
	if (!run->world.session)
		return 0;
	error = process_identify(run->world.process, &process, &pidfd);
	if (error == 0)
		error = fs_holder_reclaim(fs, run->world.cookie, &process, pidfd, 1000, &script_holder_ops, NULL,
					  ret_holder);
	if (error == -ENOENT && stats.pins == 0)
		return 0;
	if (error != 0)
		return fail(verify, "the holder of %llu pins cannot come back: %s", (unsigned long long)stats.pins,
			    strerror(-error));
	return verify_extents(verify, fs, *ret_holder);
}

/* What is pinned, one after the other. */
static size_t pinned_bytes(const struct verify *verify, struct fs *fs, struct fs_holder *holder, unsigned char *bytes)
{
	size_t length = 0;

	for (unsigned i = 0; holder != NULL && i < SCRIPT_PINS; i++) {
		const struct script_pin *pin = &verify->run->world.pin[i];
		struct fs_pin_extent extent[SCRIPT_EXTENTS];
		size_t total;
		ssize_t count =
			pin->id == 0 ? 0 : fs_pin_extents(fs, holder, pin->id, 0, extent, SCRIPT_EXTENTS, &total);

		for (ssize_t j = 0; j < count; j++) {
			memcpy(bytes + length, fs->part[extent[j].part]->base + extent[j].part_offset,
			       extent[j].length);
			length += extent[j].length;
		}
	}
	return length;
}

/* ---- Work ---- */

static const char *const work[] = {
	"mkdir /zz",	      "create /zz/f",	   "write /zz/f 100 9000 77", "setxattr /zz/f user.work 300 1",
	"rename /zz/f /zz/g", "truncate /zz/g 50", "link /zz/g /zz/h",	      "unlink /zz/h",
	"unlink /zz/g",	      "rmdir /zz",
};

static int verify_work(const struct verify *verify, struct script_world *world)
{
	for (size_t i = 0; i < sizeof(work) / sizeof(work[0]); i++) {
		int error = script_run(world, work[i]);

		if (error != 0)
			return fail(verify, "afterwards, %s: %s", work[i], strerror(-error));
	}
	return 0;
}

/* Somebody takes all free blocks: whatever is still somebody's must not be among them. */
static int verify_others(const struct verify *verify, struct script_world *world, struct fs_holder *holder,
			 const struct tree *before)
{
	static unsigned char pinned[2][4u << 20];
	static struct tree after;
	size_t length = pinned_bytes(verify, world->fs, holder, pinned[0]);
	int error = script_run(world, "soil");

	if (error == 0)
		error = tree_read(world->fs, &after);
	if (error != 0)
		return fail(verify, "afterwards, taking all blocks: %s", strerror(-error));
	if (tree_compare(&after, before, before, TREE_ROOT) != NULL)
		return fail(verify, "others took what was a file's: %s",
			    tree_compare(&after, before, before, TREE_ROOT));
	if (pinned_bytes(verify, world->fs, holder, pinned[1]) != length || memcmp(pinned[0], pinned[1], length) != 0)
		return fail(verify, "others took what was pinned");
	return 0;
}

struct extend {
	const struct verify *verify;
	struct script_world *world;
};

static bool reads_zero(struct fs *fs, uint64_t ino, off_t offset, size_t length)
{
	static struct fs_read read;
	bool zero = true;
	int error = fs_read_begin(fs, ino, offset, length, &read);

	/* Behind the end of what was lost there is nothing, either. */
	if (error == -EIO && fs_poison_count(fs) > 0) {
		uint64_t rest = FMT_BLOCK_SIZE - (uint64_t)offset % FMT_BLOCK_SIZE;

		offset += (off_t)rest;
		length -= rest;
		error = fs_read_begin(fs, ino, offset, length, &read);
	}
	if (error != 0)
		return false;
	for (int i = 0; i < read.count; i++) {
		const unsigned char *bytes = read.iov[i].iov_base;

		for (size_t j = 0; j < read.iov[i].iov_len; j++)
			zero = zero && bytes[j] == 0;
	}
	zero = zero && read.length == length;
	fs_read_end(fs, &read);
	return zero;
}

/* Nothing shows behind the end. */
static int extend_file(void *arg, const char *path, mode_t mode, uint64_t ino)
{
	struct extend *extend = arg;
	struct stat attr;
	char words[160];
	int error;

	if (!S_ISREG(mode))
		return 0;
	error = fs_getattr(extend->world->fs, ino, &attr);
	if (error == 0) {
		(void)snprintf(words, sizeof(words), "truncate %s %llu", path,
			       (unsigned long long)attr.st_size + BEYOND);
		error = script_run(extend->world, words);
	}
	if (error != 0)
		return fail(extend->verify, "afterwards, extending %s: %s", path, strerror(-error));
	return reads_zero(extend->world->fs, ino, attr.st_size, BEYOND)
		       ? 0
		       : fail(extend->verify, "%s: bytes behind the end show when it grows", path);
}

static int remove_path(void *arg, const char *path, mode_t mode, uint64_t ino)
{
	struct extend *extend = arg;
	char words[160];
	int error;

	(void)ino;
	(void)snprintf(words, sizeof(words), "%s %s", S_ISDIR(mode) ? "rmdir" : "unlink", path);
	error = script_run(extend->world, words);
	return error == 0 ? 0 : fail(extend->verify, "afterwards, %s: %s", words, strerror(-error));
}

/* Nothing is left over when all is removed. */
static int verify_end(const struct verify *verify, struct script_world *world, const struct tree *tree)
{
	struct extend extend = {.verify = verify, .world = world};
	struct meta_space space;

	if (tree_visit(tree, extend_file, &extend) != 0 || tree_visit(tree, remove_path, &extend) != 0)
		return 1;
	(void)fs_reaper_flush(world->fs);
	fs_pool_drain(world->fs);
	meta_space(world->fs->meta, &space);
	if (script_blocks_free(world->fs) + meta_bad_blocks(world->fs->meta) != verify->run->empty_blocks ||
	    space.inodes_used != verify->run->empty_inodes || meta_limbo_blocks(world->fs->meta) != 0)
		return fail(verify, "all removed: %llu of %llu blocks free, %llu of %llu inodes used, %llu in limbo",
			    (unsigned long long)script_blocks_free(world->fs),
			    (unsigned long long)verify->run->empty_blocks, (unsigned long long)space.inodes_used,
			    (unsigned long long)verify->run->empty_inodes,
			    (unsigned long long)meta_limbo_blocks(world->fs->meta));
	return 0;
}

/* Removing is all that has to work on a full pool; what comes after it wants some space. */
static int make_space(const struct verify *verify, struct script_world *world, struct tree *tree)
{
	int error = script_run(world, "unlink " TREE_FULL);

	if (error == -ENOENT)
		return 0;
	if (error == 0)
		error = tree_read(world->fs, tree);
	return error == 0 ? 0 : fail(verify, "removing from a full pool: %s", strerror(-error));
}

static int verify_mounted(const struct verify *verify, struct script_world *world)
{
	static struct tree tree;
	struct fs_holder *holder = NULL;
	int failed = verify_tree(verify, world->fs, &tree);

	if (failed == 0)
		failed = verify_words(verify, world->fs, &tree);
	if (failed == 0)
		failed = verify_space(verify, world->fs, &tree);
	if (failed == 0)
		failed = verify_pins(verify, world->fs, &holder);
	if (failed == 0)
		failed = make_space(verify, world, &tree);
	if (failed == 0)
		failed = verify_others(verify, world, holder, &tree);
	if (holder != NULL)
		fs_holder_close(world->fs, holder);
	/* No threads are started: what the reaper leaves to the pool is done here. */
	(void)fs_reaper_flush(world->fs);
	fs_pool_drain(world->fs);
	if (failed == 0)
		failed = verify_work(verify, world);
	return failed != 0 ? failed : verify_end(verify, world, &tree);
}

/* *ret_refused: it is no pool, and that is as it should be. */
static int open_image(const struct verify *verify, struct script_world *world, bool *ret_refused)
{
	struct message message = {.text = ""};
	int error = 0;

	*ret_refused = false;
	world->distrust = verify->kind == SCENARIO_MKFS;
	if (verify->kind == SCENARIO_REPAIR) {
		error = script_run(world, "repair");
		if (error != 0)
			return fail(verify, "a repair: %s: %s", strerror(-error), world->message.text);
	}
	error = script_mount(world, &message);
	if (error == 0)
		return 0;
	*ret_refused = verify->kind == SCENARIO_MKFS && verify->begun > verify->answered && message.text[0] != '\0';
	return *ret_refused ? 0 : fail(verify, "it does not mount: %s", message.text);
}

/* Before it is repaired it is damaged; what mkfs has not finished, check does not take for sound. */
static int check_before(const struct verify *verify)
{
	return (verify->kind == SCENARIO_WORK || verify->kind == SCENARIO_TWO) && verify->check_first
		       ? check(verify, false)
		       : 0;
}

int verify(const struct verify *verify)
{
	struct script_world world = {.meta_path = verify->meta_path, .process = verify->run->world.process};
	bool refused;

	verify->run->why[0] = '\0';
	if (check_before(verify) != 0)
		return 1;
	if (open_image(verify, &world, &refused) != 0)
		return 1;
	if (refused)
		return check_refuses(verify);
	if (verify_mounted(verify, &world) != 0)
		return 1;
	fs_close(world.fs);
	return check(verify, true);
}
