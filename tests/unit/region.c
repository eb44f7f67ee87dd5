/* Data parts: making, probing, refusing, locking and mapping them, and which flushes their stores get. */
#include "scratch.h"

#include "base/arith.h"
#include "region/region.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define BLOCKS 64u
#define SIZE (BLOCKS * FMT_BLOCK_SIZE)

static const struct region_expected expected = {
	.pool_uuid = "pool-uuid-16byte",
	.part_uuid = "part-uuid-16byte",
	.number = 3,
	.blocks = BLOCKS,
};

/* A folder of the test's own, with a path in it. */
struct place {
	char folder[64];
	char path[128];
	struct message message;
};

static int setup(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	if (place == NULL)
		return -1;
	scratch_folder(place->folder, sizeof(place->folder), "region");
	snprintf(place->path, sizeof(place->path), "%s/part", place->folder);
	*state = place;
	return 0;
}

static int teardown(void **state)
{
	struct place *place = *state;
	int err;

	unlink(place->path);
	err = rmdir(place->folder);
	free(place);
	return err;
}

static struct region_create_args create_args(const struct place *place, uint64_t size, bool force)
{
	struct region_create_args args = {.path = place->path, .size = size, .force = force, .number = expected.number};

	memcpy(args.pool_uuid, expected.pool_uuid, sizeof(args.pool_uuid));
	memcpy(args.part_uuid, expected.part_uuid, sizeof(args.part_uuid));
	return args;
}

static int create(struct place *place, uint64_t size, bool force)
{
	struct region_create_args args = create_args(place, size, force);
	uint64_t blocks = 12345;
	int err;

	place->message.text[0] = '\0';
	err = region_create(&args, &blocks, &place->message);
	if (err == 0) {
		assert_true(blocks >= REGION_PART_BLOCKS_MIN);
	} else {
		assert_int_equal(blocks, 12345);
		assert_string_not_equal(place->message.text, ""); /* failures come with words */
	}
	return err;
}

static int open_part(struct place *place, bool read_only, struct region_part **ret_part)
{
	place->message.text[0] = '\0';
	return region_open(place->path, read_only, &expected, NULL, ret_part, &place->message);
}

static void assert_opens(struct place *place, bool read_only, int want)
{
	struct region_part *part = NULL;
	int err = open_part(place, read_only, &part);

	assert_int_equal(err, want);
	if (err == 0) {
		region_close(part);
	} else {
		assert_null(part);
		assert_string_not_equal(place->message.text, "");
	}
}

static void assert_says(const struct place *place, const char *words)
{
	if (strstr(place->message.text, words) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", place->message.text, words);
}

static void write_at(const struct place *place, off_t offset, const void *bytes, size_t length)
{
	int fd = open(place->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, length, offset), length);
	assert_int_equal(close(fd), 0);
}

static void read_at(const struct place *place, off_t offset, void *bytes, size_t length)
{
	int fd = open(place->path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, bytes, length, offset), length);
	assert_int_equal(close(fd), 0);
}

/* ---- Probe ---- */

static void test_probe(void **state)
{
	struct place *place = *state;
	struct region_probe probe;
	const char byte = 1;

	assert_int_equal(region_probe(place->path, &probe, NULL), 0);
	assert_false(probe.exists);

	write_at(place, 0, "", 0);
	assert_int_equal(region_probe(place->path, &probe, NULL), 0);
	assert_true(probe.exists && probe.blank && !probe.has_header && !probe.devdax);
	assert_int_equal(probe.size, 0);
	assert_int_equal(probe.alignment, 4096);

	assert_int_equal(truncate(place->path, SIZE + 100), 0);
	assert_int_equal(region_probe(place->path, &probe, NULL), 0);
	assert_true(probe.blank);
	assert_int_equal(probe.size, SIZE + 100);
	const off_t spots[] = {0, 4095, SIZE - 4096, SIZE - 1, SIZE + 99};

	for (size_t i = 0; i < ARRAY_SIZE(spots); i++) {
		write_at(place, spots[i], &byte, 1);
		assert_int_equal(region_probe(place->path, &probe, NULL), 0);
		assert_false(probe.blank);
		write_at(place, spots[i], "", 1);
	}
	write_at(place, 8192, &byte, 1); /* neither first nor last */
	assert_int_equal(region_probe(place->path, &probe, NULL), 0);
	assert_true(probe.blank);

	assert_int_equal(create(place, SIZE, true), 0);
	assert_int_equal(region_probe(place->path, &probe, NULL), 0);
	assert_true(probe.has_header && !probe.blank);
	assert_int_equal(probe.header.number, 3);
	assert_int_equal(probe.header.blocks, BLOCKS);
	write_at(place, 100, &byte, 1); /* the copy is found too */
	assert_int_equal(region_probe(place->path, &probe, NULL), 0);
	assert_true(probe.has_header);
}

static void test_refused_kinds(void **state)
{
	struct place *place = *state;
	struct region_probe probe;
	struct region_part *part;
	struct message message = {.text = ""};

	assert_int_equal(region_probe(place->folder, &probe, &message), -EINVAL);
	assert_non_null(strstr(message.text, "neither a regular file nor a devdax node"));
	assert_int_equal(region_probe("/dev/null", &probe, &message), -EINVAL);
	assert_int_equal(region_open("/dev/zero", false, &expected, NULL, &part, &message), -EINVAL);
	assert_int_equal(mkfifo(place->path, 0600), 0);
	assert_int_equal(region_probe(place->path, &probe, &message), -EINVAL);
	assert_int_equal(create(place, 0, true), -EINVAL);
	assert_int_equal(create(place, SIZE, true), -EINVAL);
}

/* ---- Create ---- */

static void test_create_new(void **state)
{
	struct place *place = *state;
	struct fmt_part_header first, last;
	struct stat st;

	assert_int_equal(create(place, SIZE + 4095, false), 0);
	assert_int_equal(stat(place->path, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_true(st.st_blocks * 512 >= SIZE); /* not sparse */
	assert_int_equal(st.st_mode & 0777, 0600);
	read_at(place, 0, &first, sizeof(first));
	read_at(place, SIZE - FMT_BLOCK_SIZE, &last, sizeof(last));
	assert_memory_equal(&first, &last, sizeof(first));
	assert_true(fmt_part_header_valid(&first));
	assert_int_equal(first.version, FMT_VERSION);
	assert_int_equal(first.blocks, BLOCKS);
	assert_opens(place, false, 0);

	assert_int_equal(create(place, SIZE, false), -EEXIST);
	assert_opens(place, false, 0);
	assert_int_equal(create(place, 2 * SIZE, true), 0);
	assert_opens(place, false, -EUCLEAN); /* another size than the pool's */
	assert_says(place, "128 blocks, the pool 64");
}

static void test_create_sizes(void **state)
{
	struct place *place = *state;
	struct region_create_args args = create_args(place, SIZE, false);
	uint64_t blocks;

	assert_int_equal(create(place, 1, false), -EINVAL);
	assert_int_equal(create(place, REGION_PART_BLOCKS_MIN * FMT_BLOCK_SIZE - 1, false), -EINVAL);
	assert_says(place, "too small");
	assert_int_equal(create(place, UINT64_MAX, false), -EINVAL);
	assert_says(place, "too large");
	args.number = FMT_PART_MAX + 1;
	assert_int_equal(region_create(&args, &blocks, NULL), -EINVAL);
	assert_int_equal(access(place->path, F_OK), -1);
	assert_int_equal(create(place, 0, false), -ENOENT);
	assert_says(place, "give a size");
	assert_int_equal(create(place, REGION_PART_BLOCKS_MIN * FMT_BLOCK_SIZE, false), 0);
}

static void test_create_no_space(void **state)
{
	struct place *place = *state;
	struct stat st;
	int err = create(place, 1ull << 50, false);

	assert_true(err == -ENOSPC || err == -EFBIG);
	assert_says(place, "1125899906842624 bytes");
	assert_int_equal(access(place->path, F_OK), -1);

	write_at(place, 0, "x", 1);
	assert_int_equal(create(place, 1ull << 50, true), err);
	assert_int_equal(stat(place->path, &st), 0); /* not ours: stays, and takes no space */
	assert_int_equal(st.st_size, 0);
}

static void test_create_whole(void **state)
{
	struct place *place = *state;
	const char byte = 7;
	char seen = 0;

	write_at(place, 0, "", 0);
	assert_int_equal(create(place, 0, false), -EINVAL); /* empty */
	assert_int_equal(truncate(place->path, SIZE + 4000), 0);
	write_at(place, 5 * FMT_BLOCK_SIZE, &byte, 1);
	assert_int_equal(create(place, 0, false), 0);
	assert_opens(place, false, 0);
	read_at(place, 5 * FMT_BLOCK_SIZE, &seen, 1);
	assert_int_equal(seen, 7); /* nothing but the headers is written */

	assert_int_equal(create(place, 0, false), -EEXIST);
	assert_says(place, "a data part of a pool");
	assert_int_equal(create(place, 0, true), 0);
	assert_opens(place, false, 0);
	assert_int_equal(truncate(place->path, 0), 0);
	write_at(place, SIZE - 1, &byte, 1);
	assert_int_equal(create(place, 0, false), -EEXIST);
	assert_says(place, "other data");
	assert_int_equal(create(place, 0, true), 0);
}

/* ---- Open ---- */

static void test_header_bytes(void **state)
{
	struct place *place = *state;
	struct fmt_part_header header;
	unsigned char *bytes = (unsigned char *)&header;

	assert_int_equal(create(place, SIZE, false), 0);
	read_at(place, 0, &header, sizeof(header));
	for (size_t i = 0; i < sizeof(header); i++) {
		unsigned char flipped = bytes[i] ^ (unsigned char)(1u << i % 8);

		write_at(place, (off_t)i, &flipped, 1);
		assert_opens(place, i % 2 == 0, -EUCLEAN);
		assert_says(place, "fsck --repair");
		write_at(place, (off_t)i, &bytes[i], 1);
	}
	assert_opens(place, false, 0);
	write_at(place, SIZE - FMT_BLOCK_SIZE, "bad", 3); /* the copy is for rescue only */
	assert_opens(place, false, 0);
	write_at(place, 0, "bad", 3);
	assert_opens(place, false, -EUCLEAN);
	assert_says(place, "right file");
}

/* Opens with one field of a sound header set. */
static void assert_field(struct place *place, size_t offset, const void *value, size_t length, bool read_only, int want)
{
	struct fmt_part_header original, header;

	read_at(place, 0, &original, sizeof(original));
	header = original;
	memcpy((char *)&header + offset, value, length);
	fmt_part_header_seal(&header);
	write_at(place, 0, &header, sizeof(header));
	assert_opens(place, read_only, want);
	write_at(place, 0, &original, sizeof(original));
}

#define ASSERT_FIELD(place, field, value, read_only, want)                                                             \
	assert_field(place, offsetof(struct fmt_part_header, field), &(const uint32_t){value}, 4, read_only, want)

static void test_versions(void **state)
{
	struct place *place = *state;

	assert_int_equal(create(place, SIZE, false), 0);
	ASSERT_FIELD(place, version, FMT_VERSION + 1, true, -EPROTONOSUPPORT);
	assert_says(place, "version");
	ASSERT_FIELD(place, version, 0, false, -EUCLEAN);
	ASSERT_FIELD(place, incompat, 0x80000000u, true, -EPROTONOSUPPORT);
	assert_says(place, "incompat bit 31; use a newer pinfs");
	ASSERT_FIELD(place, ro_compat, 1, false, -EPROTONOSUPPORT);
	assert_says(place, "ro_compat bit 0; mount it with -o ro, or use a newer pinfs");
	ASSERT_FIELD(place, ro_compat, 1, true, 0);
	ASSERT_FIELD(place, compat, 0xffffffffu, false, 0);
}

static void test_identity(void **state)
{
	struct place *place = *state;

	assert_opens(place, false, -ENOENT);
	assert_says(place, "data=PATH");
	assert_int_equal(create(place, SIZE, false), 0);
	assert_field(place, offsetof(struct fmt_part_header, pool_uuid), "x", 1, false, -EUCLEAN);
	assert_says(place, "another pool");
	assert_field(place, offsetof(struct fmt_part_header, part_uuid), "x", 1, false, -EUCLEAN);
	assert_says(place, "another part");
	ASSERT_FIELD(place, number, 2, false, -EUCLEAN);
	assert_says(place, "another part");
	ASSERT_FIELD(place, blocks, BLOCKS - 1, false, -EUCLEAN);

	assert_int_equal(truncate(place->path, SIZE - 1), 0);
	assert_opens(place, true, -EUCLEAN);
	assert_says(place, "truncated: 63 of 64 blocks are there; restore the file or its size");
	assert_int_equal(truncate(place->path, 0), 0);
	assert_opens(place, true, -EUCLEAN);
	assert_says(place, "truncated: 0 of 64");
	assert_int_equal(create(place, SIZE, true), 0);
	assert_int_equal(truncate(place->path, 2 * SIZE), 0); /* larger does no harm */
	assert_opens(place, false, 0);
}

static void test_long_path(void **state)
{
	struct region_part *part;
	char *path = malloc(5001);

	(void)state;
	assert_non_null(path);
	memset(path, 'a', 5000);
	path[5000] = '\0';
	assert_int_equal(region_open(path, true, &expected, NULL, &part, NULL), -ENAMETOOLONG);
	free(path);
}

/* ---- Locks ---- */

static void test_locks(void **state)
{
	struct place *place = *state;
	struct region_part *part, *other;
	char words[32];

	assert_int_equal(create(place, SIZE, false), 0);
	assert_int_equal(open_part(place, false, &part), 0);
	assert_opens(place, false, -EBUSY);
	snprintf(words, sizeof(words), "process %d;", (int)getpid());
	assert_says(place, words);
	assert_opens(place, true, -EBUSY);
	assert_int_equal(create(place, 0, true), -EBUSY);
	assert_int_equal(create(place, SIZE, true), -EBUSY); /* and leaves it as it is */
	region_close(part);
	assert_opens(place, false, 0);

	assert_int_equal(open_part(place, true, &part), 0);
	assert_int_equal(open_part(place, true, &other), 0); /* readers share */
	assert_opens(place, false, -EBUSY);
	region_close(part);
	region_close(other);
	assert_opens(place, false, 0);
}

/* A holder that is killed leaves no lock. */
static void test_lock_of_other(void **state)
{
	struct place *place = *state;
	struct region_part *part;
	char words[32];
	int ready[2];
	pid_t child;
	char byte;

	assert_int_equal(create(place, SIZE, false), 0);
	assert_int_equal(pipe(ready), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (open_part(place, false, &part) != 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_opens(place, false, -EBUSY);
	snprintf(words, sizeof(words), "process %d;", (int)child);
	assert_says(place, words);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_opens(place, false, 0);
	close(ready[0]);
	close(ready[1]);
}

/* ---- Stores ---- */

static void test_stores(void **state)
{
	struct place *place = *state;
	struct region_part *part;
	unsigned char data[3000], seen[3000];
	const size_t lengths[] = {1, 7, 64, 255, 256, 257, 3000};

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 7 + 1);
	assert_int_equal(create(place, SIZE, false), 0);
	assert_int_equal(open_part(place, false, &part), 0);
	assert_int_equal(part->blocks, BLOCKS);
	assert_int_equal(part->number, 3);
	assert_string_equal(part->path, place->path);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		off_t offset = (off_t)(5 * FMT_BLOCK_SIZE + 13 + i);
		unsigned char *dest = (unsigned char *)region_block(part, 5) + 13 + i;

		region_copy(part, dest, data, lengths[i]);
		assert_int_equal(region_persist(part, dest, lengths[i]), 0);
		read_at(place, offset, seen, lengths[i]);
		assert_memory_equal(seen, data, lengths[i]);
		region_zero(part, dest, lengths[i]);
		assert_int_equal(region_persist(part, dest, lengths[i]), 0);
		read_at(place, offset, seen, lengths[i]);
		for (size_t j = 0; j < lengths[i]; j++)
			assert_int_equal(seen[j], 0);
	}
	assert_int_equal(region_persist(part, region_block(part, 0), 0), 0);
	region_close(part);
	region_close(NULL);

	assert_int_equal(open_part(place, true, &part), 0);
	assert_true(part->read_only);
	assert_int_equal(*(unsigned char *)region_block(part, 5), 0);
	region_close(part);
}

/* What a test's operations saw, in order: c z f d. The tests run one after another, and an ops vector has no argument.
 */
static char seen_ops[16];
static int flush_answer;

static void see(char op)
{
	size_t length = strlen(seen_ops);

	assert_true(length + 1 < sizeof(seen_ops));
	seen_ops[length] = op;
	seen_ops[length + 1] = '\0';
}

static void seen_copy(void *dest, const void *source, size_t length)
{
	memcpy(dest, source, length);
	see('c');
}

static void seen_zero(void *dest, size_t length)
{
	memset(dest, 0, length);
	see('z');
}

static int seen_flush(const void *address, size_t length, enum region_durability durability)
{
	(void)address;
	(void)length;
	assert_int_equal(durability, REGION_MSYNC);
	see('f');
	return flush_answer;
}

static void seen_drain(enum region_durability durability)
{
	(void)durability;
	see('d');
}

static void test_ops(void **state)
{
	const struct region_ops ops = {seen_copy, seen_zero, seen_flush, seen_drain};
	struct place *place = *state;
	struct region_part *part;
	unsigned char *block;

	assert_int_equal(create(place, SIZE, false), 0);
	assert_int_equal(region_open(place->path, false, &expected, &ops, &part, NULL), 0);
	block = region_block(part, 9);
	seen_ops[0] = '\0';
	part->durability = REGION_MSYNC;
	region_copy(part, block, "abc", 3);
	region_zero(part, block + 1, 1);
	assert_int_equal(region_persist(part, block, 3), 0);
	assert_string_equal(seen_ops, "czfd");
	flush_answer = -EIO;
	assert_int_equal(region_persist(part, block, 3), -EIO);
	assert_int_equal(region_flush(part, block, 3), -EIO);
	flush_answer = 0;
	/* On persistent memory what region_copy leaves needs a fence only. */
	seen_ops[0] = '\0';
	part->durability = REGION_CPU_FLUSH;
	region_copy(part, block, "abc", 3);
	assert_int_equal(region_flush(part, block, 3), 0);
	region_drain(part);
	assert_string_equal(seen_ops, "cd");
	region_close(part);
}

/* libpmem reads PMEM_IS_PMEM_FORCE when it is loaded: another run of this program tells. */
static int durability_under(const char *path, const char *force)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		if (force != NULL)
			setenv("PMEM_IS_PMEM_FORCE", force, 1);
		else
			unsetenv("PMEM_IS_PMEM_FORCE");
		execl("/proc/self/exe", "region", path, (char *)NULL);
		_exit(100);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int tell_durability(const char *path)
{
	struct region_part *part;
	int durability;

	if (region_open(path, false, &expected, NULL, &part, NULL) != 0)
		return 99;
	durability = (int)part->durability;
	region_close(part);
	return durability;
}

static void test_durability(void **state)
{
	struct place *place = *state;
	struct region_probe probe;
	int forced;

	assert_int_equal(create(place, SIZE, false), 0);
	assert_int_equal(region_probe(place->path, &probe, NULL), 0);
	if (!probe.fsdax)
		assert_int_equal(durability_under(place->path, NULL), REGION_MSYNC);
	forced = durability_under(place->path, "1");
	assert_true(forced == REGION_CPU_FLUSH || forced == REGION_EADR);
	assert_string_equal(region_durability_name(REGION_MSYNC), "msync");
	assert_string_equal(region_durability_name(REGION_CPU_FLUSH), "cpu-flush");
	assert_string_equal(region_durability_name(REGION_EADR), "eADR");
}

/* Block 0 of a part of 2 MiB or more is where huge pages can begin. */
static void test_alignment(void **state)
{
	struct place *place = *state;
	struct region_expected large = expected;
	struct region_part *part;

	large.blocks = 1024;
	assert_int_equal(create(place, 4ull << 20, false), 0);
	assert_int_equal(region_open(place->path, false, &large, NULL, &part, NULL), 0);
	assert_int_equal((uintptr_t)part->base % (2u << 20), 0);
	region_close(part);
}

/* A stretch is prefaulted once, by the first store that covers all of it; bytes come out as with none. */
static void test_prefault(void **state)
{
	const size_t stretch = 64 << 10, length = 5 * stretch;
	struct place *place = *state;
	struct region_expected large = expected;
	unsigned char *data = malloc(length), *seen = malloc(length);
	struct region_part *part;

	assert_non_null(data);
	assert_non_null(seen);
	for (size_t i = 0; i < length; i++)
		data[i] = (unsigned char)(i * 13 + i / 256);
	large.blocks = 1024;
	assert_int_equal(create(place, 4ull << 20, false), 0);
	assert_int_equal(region_open(place->path, false, &large, NULL, &part, NULL), 0);
	assert_non_null(part->mapped);
	/* From the middle of stretch 2 to that of stretch 7: four are covered. */
	region_copy(part, part->base + 2 * stretch + stretch / 2, data, length);
	assert_int_equal(part->mapped[0], 0x78);
	region_zero(part, part->base + 3 * stretch, stretch - 1);
	region_zero(part, part->base + 7 * stretch, stretch);
	assert_int_equal(part->mapped[0], 0xf8);
	/* The last stretch of a part is like the others. */
	region_copy(part, part->base + part->length - stretch, data, stretch);
	assert_int_equal(part->mapped[0], 1ull << 63 | 0xf8);
	assert_int_equal(region_persist(part, part->base, part->length), 0);
	read_at(place, (off_t)(2 * stretch + stretch / 2), seen, length);
	memset(data + stretch / 2, 0, stretch - 1);
	memset(data + length - stretch / 2, 0, stretch / 2);
	assert_memory_equal(seen, data, length);
	region_close(part);
	assert_int_equal(region_open(place->path, true, &large, NULL, &part, NULL), 0);
	assert_null(part->mapped);
	region_close(part);
	free(data);
	free(seen);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_probe),	    TEST(test_refused_kinds), TEST(test_create_new),   TEST(test_create_sizes),
		TEST(test_create_no_space), TEST(test_create_whole),  TEST(test_header_bytes), TEST(test_versions),
		TEST(test_identity),	    TEST(test_long_path),     TEST(test_locks),	       TEST(test_lock_of_other),
		TEST(test_stores),	    TEST(test_ops),	      TEST(test_durability),   TEST(test_alignment),
		TEST(test_prefault),
	};

	if (argc == 2)
		return tell_durability(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
