/*
 * Other files' throughput while many pins are held, and many truncates wait for some of them.
 * pins_crowd MOUNTPOINT PINS BREAKS: the mount has break_timeout=inf.
 *
 * Steps: read, write (4 KiB at random places of another file), create (and remove other files). System `quiet` before
 * and after (the mean of both), `pins` with PINS pins of as many files, `-` with BREAKS truncates parked besides. With
 * --direct (the first argument) the other file is read past the page cache. Exit status 0, 1 (failed), 2 (wrong use).
 */
#include "pins.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define FILE_BYTES (16ul << 20)
#define SMALL 4096u
#define LAP 16u

struct crowd {
	const char *mount;
	uint64_t pins, breaks;
	struct pinfs *fs;
	struct pinfs_pin **pin;
	pthread_t *threads;
	int other;
};

/* ---- What others do ---- */

struct rates {
	double read, write, create; /* operations a second */
};

static void path_of(const struct crowd *crowd, uint64_t i, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/crowd/%llu/%llu", crowd->mount, (unsigned long long)(i / 1000),
		 (unsigned long long)i);
}

static double small_rate(const struct crowd *crowd, bool is_write)
{
	static _Alignas(4096) char block[SMALL];
	static struct step step;
	uint64_t state = 1;

	step_start(&step);
	do {
		for (unsigned i = 0; i < LAP; i++) {
			off_t at = (off_t)(shuffle(&state) % (FILE_BYTES / SMALL) * SMALL);
			ssize_t got = is_write ? pwrite(crowd->other, block, SMALL, at)
					       : pread(crowd->other, block, SMALL, at);

			if (got != SMALL)
				err(1, "another file");
		}
		step_lap(&step, LAP);
	} while (step_goes_on(&step));
	return 1 / step_median(&step);
}

static double create_rate(const struct crowd *crowd)
{
	static struct step step;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/created", crowd->mount);
	step_start(&step);
	do {
		for (unsigned i = 0; i < LAP; i++) {
			int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

			if (fd < 0 || close(fd) != 0 || unlink(path) != 0)
				err(1, "%s", path);
		}
		step_lap(&step, LAP);
	} while (step_goes_on(&step));
	return 1 / step_median(&step);
}

static struct rates rates_now(const struct crowd *crowd)
{
	return (struct rates){
		.read = small_rate(crowd, false), .write = small_rate(crowd, true), .create = create_rate(crowd)};
}

static void rates_print(const char *system, const struct rates *rates)
{
	step_print("read", system, rates->read, 0, 1);
	step_print("write", system, rates->write, 0, 1);
	step_print("create", system, rates->create, 0, 1);
}

/* ---- The crowd ---- */

static void pin_all(struct crowd *crowd)
{
	char path[PATH_MAX];

	crowd->pin = calloc(crowd->pins, sizeof(*crowd->pin));
	snprintf(path, sizeof(path), "%s/crowd", crowd->mount);
	if (crowd->pin == NULL || mkdir(path, 0755) != 0)
		err(1, "%s", path);
	for (uint64_t i = 0; i < crowd->pins; i++) {
		int fd;

		path_of(crowd, i, path);
		if (i % 1000 == 0) {
			*strrchr(path, '/') = '\0';
			if (mkdir(path, 0755) != 0)
				err(1, "%s", path);
			path_of(crowd, i, path);
		}
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0 || write(fd, "x", 1) != 1)
			err(1, "%s", path);
		pins_check(pinfs_pin(crowd->fs, fd, 0, 1, PINFS_READ, &crowd->pin[i]), "pinfs_pin");
		close(fd);
	}
}

struct breaking {
	const struct crowd *crowd;
	uint64_t number;
};

static void *truncate_one(void *arg)
{
	struct breaking *breaking = arg;
	char path[PATH_MAX];

	path_of(breaking->crowd, breaking->number, path);
	if (truncate(path, 0) != 0)
		err(1, "truncate %s", path);
	free(breaking);
	return NULL;
}

/* How many breaks the mount says are waiting. */
static uint64_t waiting(const struct crowd *crowd)
{
	static char text[XATTR_SIZE_MAX + 1];
	ssize_t length = getxattr(crowd->mount, "pinfs.stat", text, XATTR_SIZE_MAX);
	const char *found;

	if (length < 0)
		err(1, "%s", crowd->mount);
	text[length] = '\0';
	found = strstr(text, "\"waiting_breaks\":");
	return found == NULL ? 0 : strtoull(found + strlen("\"waiting_breaks\":"), NULL, 10);
}

static void break_some(struct crowd *crowd)
{
	const double end = timing_now() + 120;
	pthread_attr_t attr;

	crowd->threads = calloc(crowd->breaks, sizeof(*crowd->threads));
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 32768);
	for (uint64_t i = 0; i < crowd->breaks; i++) {
		struct breaking *breaking = malloc(sizeof(*breaking));

		*breaking = (struct breaking){.crowd = crowd, .number = i};
		if (pthread_create(&crowd->threads[i], &attr, truncate_one, breaking) != 0)
			errx(1, "no thread %llu", (unsigned long long)i);
	}
	while (waiting(crowd) < crowd->breaks) {
		if (timing_now() > end)
			errx(1, "%llu breaks wait of %llu", (unsigned long long)waiting(crowd),
			     (unsigned long long)crowd->breaks);
		usleep(10000);
	}
}

static void undo_all(struct crowd *crowd)
{
	char path[PATH_MAX];

	for (uint64_t i = 0; i < crowd->pins; i++)
		pins_check(pinfs_unpin(crowd->pin[i]), "pinfs_unpin");
	for (uint64_t i = 0; i < crowd->breaks; i++)
		pthread_join(crowd->threads[i], NULL);
	for (uint64_t i = 0; i < crowd->pins; i++) {
		path_of(crowd, i, path);
		if (unlink(path) != 0)
			err(1, "%s", path);
		*strrchr(path, '/') = '\0';
		if ((i % 1000 == 999 || i + 1 == crowd->pins) && rmdir(path) != 0)
			err(1, "%s", path);
	}
	*strrchr(path, '/') = '\0';
	if (rmdir(path) != 0)
		err(1, "%s", path);
	free(crowd->pin);
	free(crowd->threads);
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

int main(int argc, char **argv)
{
	struct crowd crowd = {0};
	struct rates before, after, pinned, parked;
	int at = argc > 1 && is(argv[1], "--direct") ? 2 : 1;

	if (argc - at != 3)
		errx(2, "usage: pins_crowd [--direct] MOUNTPOINT PINS BREAKS");
	crowd.mount = argv[at];
	crowd.pins = number_of(argv[at + 1]);
	crowd.breaks = number_of(argv[at + 2]);
	if (crowd.breaks > crowd.pins)
		errx(2, "more breaks than pins");
	pins_check(pinfs_connect(crowd.mount, &crowd.fs), "pinfs_connect");
	crowd.other = pins_file(crowd.mount, "other", FILE_BYTES);
	if (at == 2 && fcntl(crowd.other, F_SETFL, O_DIRECT) != 0)
		err(1, "O_DIRECT");
	rates_now(&crowd); /* warm-up */
	before = rates_now(&crowd);
	pin_all(&crowd);
	pinned = rates_now(&crowd);
	break_some(&crowd);
	parked = rates_now(&crowd);
	undo_all(&crowd);
	after = rates_now(&crowd);
	rates_print("-", &parked);
	rates_print("pins", &pinned);
	before = (struct rates){larger(before.read, after.read), larger(before.write, after.write),
				larger(before.create, after.create)};
	rates_print("quiet", &before);
	pins_remove(crowd.mount, "other", crowd.other);
	pinfs_disconnect(crowd.fs);
	return 0;
}
