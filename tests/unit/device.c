/*
 * What is below a path, who uses it, and where media errors are: the pure parts with made-up lists and devices, the
 * rest with what every machine has. Devices themselves: tests/guest.
 */
#include "device/device.h"
#include "device/media.h"

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
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- Lists ---- */

static void lines(void **state)
{
	static const char *const wrong[] = {"",
					    "\n",
					    "8\n",
					    "8 \n",
					    "8 0\n",
					    " \n",
					    "-8 1\n",
					    "8 -1\n",
					    "8 1 1\n",
					    "8,1\n",
					    "a b\n",
					    "8 1x\n",
					    "99999999999999999999 1\n",
					    "18446744073709551615 1\n",
					    "36028797018963968 1\n"};
	struct media_list list = {.count = 0};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_not_equal(media_add_line(&list, wrong[i]), 0);
	assert_int_equal(list.count, 0);
	assert_int_equal(media_add_line(&list, "8 16\n"), 0);
	assert_int_equal(media_add_line(&list, "  36028797018963966 1"), 0);
	assert_int_equal(list.count, 2);
	assert_true(list.range[0].start == 4096 && list.range[0].end == 12288);
	assert_true(list.range[1].end == UINT64_MAX - 511);
	media_fini(&list);
	assert_int_equal(list.count, 0);
}

static void many_lines(void **state)
{
	struct media_list list = {.count = 0};

	(void)state;
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(media_add(&list, i * 16, 8), 0);
	assert_int_equal(list.count, 1000);
	assert_true(list.range[999].start == 999 * 16 * 512);
	media_fini(&list);
}

struct seen {
	uint64_t offset[8];
	uint64_t length[8];
	unsigned count;
	int result;
};

static int see(void *arg, uint64_t offset, uint64_t length)
{
	struct seen *seen = arg;

	assert_true(seen->count < 8);
	seen->offset[seen->count] = offset;
	seen->length[seen->count++] = length;
	return seen->result;
}

/* Errors at sectors 0, 100 to 103, 200: an extent has what is in it, at the file's own offsets, cut at both ends. */
static void through_extents(void **state)
{
	struct media_extent extent = {.offset = 1 << 20, .place = 101 * 512, .length = 99 * 512 + 256};
	struct media_list list = {.count = 0};
	struct seen seen = {.count = 0};

	(void)state;
	assert_int_equal(media_add(&list, 0, 1), 0);
	assert_int_equal(media_add(&list, 100, 4), 0);
	assert_int_equal(media_add(&list, 200, 1), 0);
	assert_int_equal(media_visit(&list, &extent, UINT64_MAX, see, &seen), 0);
	assert_int_equal(seen.count, 2);
	assert_true(seen.offset[0] == 1 << 20 && seen.length[0] == 3 * 512);
	assert_true(seen.offset[1] == (1 << 20) + 99 * 512 && seen.length[1] == 256);

	/* What is behind the end of the file does not count, nor an extent that is. */
	seen.count = 0;
	assert_int_equal(media_visit(&list, &extent, (1 << 20) + 700, see, &seen), 0);
	assert_int_equal(seen.count, 1);
	assert_true(seen.length[0] == 700);
	assert_int_equal(media_visit(&list, &extent, 1 << 20, see, &seen), 0);
	assert_int_equal(media_visit(&list, &extent, 0, see, &seen), 0);
	assert_int_equal(seen.count, 1);

	seen = (struct seen){.result = -EINTR};
	assert_int_equal(media_visit(&list, &extent, UINT64_MAX, see, &seen), -EINTR);
	assert_int_equal(seen.count, 1);
	media_fini(&list);
}

/* ---- Words ---- */

static const struct device_facts devdax = {
	.kind = DEVICE_DEVDAX,
	.name = "dax1.0",
	.bytes = 100ull << 30,
	.alignment = 2 << 20,
	.numa_node = 1,
	.dax_region = 1,
	.namespace_name = "namespace1.0",
	.region = "region1",
	.mode = DEVICE_MODE_DEVDAX,
	.ways = 6,
};

static void assert_has(const struct message *message, const char *text)
{
	if (strstr(message->text, text) == NULL)
		fail_msg("'%s' is not in '%s'", text, message->text);
}

/* 100 GiB / 32, at a multiple of 16 MiB on each of six DIMMs. */
static void carve_in_two(void **state)
{
	struct message message;

	(void)state;
	device_carve(&devdax, "/dev/dax1.0", &message);
	assert_has(&message, "/dev/dax1.0: is one device");
	assert_has(&message, "\n  ndctl destroy-namespace --force namespace1.0\n");
	assert_has(&message, "\n  ndctl create-namespace --region=region1 --mode=devdax --size=3264M\n");
	assert_has(&message, "\n  ndctl create-namespace --region=region1 --mode=devdax\n");
	assert_has(&message, "\n  pinfs mkfs --data /dev/dax1.0 FILE");
	assert_true(strlen(message.text) < sizeof(message.text) - 1);
}

static void carve_what_is_free(void **state)
{
	struct device_facts facts = devdax;
	struct message message;

	(void)state;
	facts.free_bytes = 3264ull << 20;
	device_carve(&facts, "/dev/dax1.0", &message);
	assert_null(strstr(message.text, "destroy"));
	assert_has(&message, "--size=3264M\n  pinfs mkfs --data /dev/dax1.0 /dev/daxX.Y");
	facts.free_bytes--;
	device_carve(&facts, "/dev/dax1.0", &message);
	assert_has(&message, "destroy-namespace");
}

static void carve_other_memory(void **state)
{
	struct device_facts facts = {
		.kind = DEVICE_DEVDAX, .name = "dax0.1", .bytes = 16ull << 30, .numa_node = -1, .dax_region = 7};
	struct message message;

	(void)state;
	device_carve(&facts, "/dev/dax0.1", &message);
	assert_has(&message, "\n  daxctl reconfigure-device --size=15872M dax0.1\n");
	assert_has(&message, "\n  daxctl create-device --region=7 --size=512M\n");
	facts.dax_region = -1;
	device_carve(&facts, "/dev/dax0.1", &message);
	assert_null(strstr(message.text, "daxctl"));
	assert_has(&message, "pinfs mkfs --data /dev/dax0.1 FILE");
}

/* Paths as long as they come: cut, never overrun, always terminated. */
static void words_are_bounded(void **state)
{
	static char path[5000];
	struct device_facts facts = devdax;
	struct message message;

	(void)state;
	memset(path, 'p', sizeof(path) - 1);
	device_carve(&devdax, path, &message);
	assert_int_equal(strlen(message.text), sizeof(message.text) - 1);
	facts.kind = DEVICE_PMEM;
	facts.mode = DEVICE_MODE_FSDAX;
	device_unfit(&facts, path, path, &message);
	assert_int_equal(strlen(message.text), sizeof(message.text) - 1);
	device_unfit(&facts, path, path, NULL);
	device_carve(&facts, path, NULL);
}

static void unfit(void **state)
{
	struct device_facts facts = devdax;
	struct message message;

	(void)state;
	facts.system_ram = true;
	device_unfit(&facts, "/dev/dax1.0", "", &message);
	assert_has(&message, "daxctl reconfigure-device --mode=devdax --force dax1.0");
	facts = (struct device_facts){.kind = DEVICE_NVDIMM, .name = "nmem0"};
	device_unfit(&facts, "/dev/nmem0", "", &message);
	assert_has(&message, "labels");
	facts = devdax;
	facts.kind = DEVICE_PMEM;
	facts.mode = DEVICE_MODE_FSDAX;
	device_unfit(&facts, "/dev/pmem1", "/srv", &message);
	assert_has(&message, "mounted on /srv");
	assert_has(&message, "pinfs mkfs /srv/pool");
	device_unfit(&facts, "/dev/pmem1", "", &message);
	assert_has(&message, "\n  mount -o dax /dev/pmem1 /mnt\n");
	assert_has(&message, "--reconfig=namespace1.0 --mode=devdax");
	facts.mode = DEVICE_MODE_SECTOR;
	device_unfit(&facts, "/dev/pmem1s", "", &message);
	assert_has(&message, "sector mode");
	assert_null(strstr(message.text, "mkfs.ext4"));
	facts = (struct device_facts){.kind = DEVICE_DISK, .name = "sda1"};
	device_unfit(&facts, "/dev/sda1", "", &message);
	assert_has(&message, "is a disk");
	assert_null(strstr(message.text, "ndctl"));
}

/* ---- This machine ---- */

struct place {
	char path[64];
	int fd;
};

static int setup(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	if (place == NULL)
		return -1;
	snprintf(place->path, sizeof(place->path), "/tmp/pinfs-device-XXXXXX");
	place->fd = mkstemp(place->path);
	*state = place;
	return place->fd >= 0 && ftruncate(place->fd, 1 << 20) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	struct place *place = *state;

	close(place->fd);
	unlink(place->path);
	free(place);
	return 0;
}

static void learn(void **state)
{
	struct place *place = *state;
	struct device_facts facts;
	struct devices *devices;

	assert_int_equal(devices_open(&devices), 0);
	assert_int_equal(device_learn(devices, place->path, &facts), 0);
	assert_int_equal(facts.system_ram, false);
	assert_int_equal(device_learn(devices, "/dev/null", &facts), 0);
	assert_int_equal(facts.kind, DEVICE_NONE);
	assert_string_equal(facts.name, "null");
	assert_int_equal(facts.numa_node, -1);
	assert_int_equal(device_learn(devices, "/proc/self/status", &facts), 0);
	assert_int_equal(facts.kind, DEVICE_NONE);
	assert_string_equal(facts.name, "");
	assert_int_equal(device_learn(devices, "/tmp/pinfs-device-none", &facts), -ENOENT);
	assert_int_equal(device_media_errors(devices, "/tmp/pinfs-device-none", see, NULL), -ENOENT);
	devices_close(devices);
	devices_close(NULL);
}

static void no_errors(void **state)
{
	struct place *place = *state;
	struct seen seen = {.count = 0};
	struct devices *devices;

	assert_int_equal(devices_open(&devices), 0);
	assert_int_equal(device_media_errors(devices, place->path, see, &seen), 0);
	assert_int_equal(device_media_errors(devices, "/proc/self/status", see, &seen), 0);
	assert_int_equal(device_media_errors(devices, "/dev/null", see, &seen), 0);
	assert_int_equal(seen.count, 0);
	devices_close(devices);
}

/* A process that has the file mapped, and is there until it is killed. */
static pid_t mapper(struct place *place, int protection, int flags)
{
	int ready[2];
	pid_t child;
	char byte;

	assert_int_equal(pipe(ready), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (mmap(NULL, 4096, protection, flags, place->fd, 0) == MAP_FAILED)
			_exit(1);
		(void)!write(ready[1], "", 1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return child;
}

static void end(pid_t child)
{
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static void mapped(void **state)
{
	struct place *place = *state;
	struct message message = {.text = ""};
	char number[32];
	pid_t child;

	assert_int_equal(device_check_users(place->path, &message), 0);
	child = mapper(place, PROT_READ | PROT_WRITE, MAP_SHARED);
	assert_int_equal(device_check_users(place->path, &message), -EBUSY);
	snprintf(number, sizeof(number), "process %d (", (int)child);
	assert_has(&message, number);
	end(child);
	assert_int_equal(device_check_users(place->path, NULL), 0);
	/* Who reads, or has a copy, is not harmed more than by any write. */
	child = mapper(place, PROT_READ, MAP_SHARED);
	assert_int_equal(device_check_users(place->path, NULL), 0);
	end(child);
	child = mapper(place, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	assert_int_equal(device_check_users(place->path, NULL), 0);
	end(child);
	assert_int_equal(device_check_users("/tmp/pinfs-device-none", NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(many_lines),
		cmocka_unit_test(through_extents),
		cmocka_unit_test(carve_in_two),
		cmocka_unit_test(carve_what_is_free),
		cmocka_unit_test(carve_other_memory),
		cmocka_unit_test(words_are_bounded),
		cmocka_unit_test(unfit),
		cmocka_unit_test_setup_teardown(learn, setup, teardown),
		cmocka_unit_test_setup_teardown(no_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(mapped, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
