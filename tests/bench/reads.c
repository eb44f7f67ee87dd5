/*
 * Reads a file of BYTES, which is made if it is not there. reads [--direct] FILE BYTES STEP...
 *
 *   random      4 KiB at random places, one thread
 *   random2     the same by two threads, with descriptors of their own
 *   sequential  1 MiB each from the beginning to the end
 *   cold        the same; the kernel drops its pages of the file before each pass, outside of the time
 *
 * With --direct the file is opened with O_DIRECT: what a peer without `cache=none` has instead. Each block that is read
 * is checked. Exit status 0, 1 (a call failed, or gave wrong bytes), 2 (wrong use).
 */
#include "block.h"

#include <pthread.h>

#define SMALL 4096u
#define LAP 32u
#define CHUNKS 4u /* a lap of large reads */

struct file {
	const char *path;
	uint64_t bytes;
	int flags;
	int fd;
};

static void read_random(const struct file *file, int fd, uint64_t seed, struct step *step)
{
	unsigned char *block = block_memory(SMALL);
	uint64_t state = seed;

	do {
		for (unsigned i = 0; i < LAP; i++)
			block_read(fd, block, SMALL, shuffle(&state) % (file->bytes / SMALL) * SMALL);
		step_lap(step, LAP);
	} while (step_goes_on(step));
	free(block);
}

static void read_all(const struct file *file, unsigned char *chunk, struct step *step)
{
	for (uint64_t at = 0; at < file->bytes; at += CHUNK) {
		block_read(file->fd, chunk, CHUNK, at);
		if (step != NULL && (at / CHUNK + 1) % CHUNKS == 0)
			step_lap(step, CHUNKS);
	}
}

/* Three times: what is read for the second time the kernel moves to its list of active pages, which costs. */
static void warm_up(const struct file *file)
{
	unsigned char *chunk = block_memory(CHUNK);

	for (unsigned i = 0; i < 3; i++)
		read_all(file, chunk, NULL);
	free(chunk);
}

static void random_one(const struct file *file)
{
	static struct step step;

	step_begin(&step, "random");
	read_random(file, file->fd, 1, &step);
	step_end(&step, SMALL);
}

/* ---- Two threads ---- */

struct reader {
	const struct file *file;
	pthread_barrier_t *barrier;
	uint64_t seed;
	struct step step;
};

static void *reader_run(void *arg)
{
	struct reader *reader = arg;
	int fd = open(reader->file->path, O_RDONLY | O_CLOEXEC | reader->file->flags);

	if (fd < 0)
		err(1, "%s", reader->file->path);
	pthread_barrier_wait(reader->barrier); /* both are ready */
	pthread_barrier_wait(reader->barrier); /* counters were read */
	step_start(&reader->step);
	read_random(reader->file, fd, reader->seed, &reader->step);
	close(fd);
	return NULL;
}

static void random_two(const struct file *file)
{
	static struct reader readers[2];
	pthread_barrier_t barrier;
	pthread_t threads[2];
	double operations = 0, rate = 0;

	pthread_barrier_init(&barrier, NULL, 3);
	for (unsigned i = 0; i < 2; i++) {
		readers[i].file = file;
		readers[i].barrier = &barrier;
		readers[i].seed = i + 1;
		if (pthread_create(&threads[i], NULL, reader_run, &readers[i]) != 0)
			errx(1, "no thread");
	}
	pthread_barrier_wait(&barrier);
	timing_status("before");
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		operations += (double)readers[i].step.operations;
		rate += 1 / step_median(&readers[i].step);
	}
	timing_status("after");
	step_print("random2", "-", operations, operations * SMALL, operations / rate);
	pthread_barrier_destroy(&barrier);
}

/* ---- From the beginning to the end ---- */

static void sequential(const struct file *file)
{
	unsigned char *chunk = block_memory(CHUNK);
	static struct step step;

	step_begin(&step, "sequential");
	do {
		read_all(file, chunk, &step);
	} while (step_goes_on(&step));
	step_end(&step, CHUNK);
	free(chunk);
}

/* One pass is a step: no time to drop pages in between. */
static void cold(const struct file *file)
{
	unsigned char *chunk = block_memory(CHUNK);
	static struct step step;
	int error = posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);

	if (error != 0)
		errx(1, "fadvise: %s", strerror(error));
	step_begin(&step, "cold");
	read_all(file, chunk, &step);
	step_end(&step, CHUNK);
	free(chunk);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(const struct file *file);
	} steps[] = {{"random", random_one}, {"random2", random_two}, {"sequential", sequential}, {"cold", cold}};
	struct file file = {0};
	int at = 1;

	if (argc > at && is(argv[at], "--direct")) {
		file.flags = O_DIRECT;
		at++;
	}
	if (argc < at + 3)
		errx(2, "usage: reads [--direct] FILE BYTES STEP...");
	file.path = argv[at++];
	file.bytes = number_of(argv[at++]);
	if (file.bytes % (CHUNKS * CHUNK) != 0)
		errx(2, "BYTES must be a multiple of 4 MiB");
	file.fd = block_file(file.path, file.bytes, file.flags);
	warm_up(&file);
	for (; at < argc; at++) {
		size_t i = 0;

		while (i < sizeof(steps) / sizeof(steps[0]) && !is(steps[i].name, argv[at]))
			i++;
		if (i == sizeof(steps) / sizeof(steps[0]))
			errx(2, "%s: no such step", argv[at]);
		steps[i].run(&file);
	}
	close(file.fd);
	return 0;
}
