/*
 * Timed steps of the programs of this folder, and how they tell them. A step is one line on standard output:
 *
 *   step<TAB>NAME<TAB>SYSTEM<TAB>OPERATIONS<TAB>BYTES<TAB>SECONDS
 *
 * SYSTEM is "-" for the filesystem that the program was pointed at, or names a peer that the program measures itself.
 * A step consists of laps of some operations each; SECONDS is the median lap's time for one operation, times
 * OPERATIONS: laps in which somebody else had the processor do not count. If BENCH_STATUS names a pinfs mount, lines
 * `before` and `after` with the JSON of its counters surround each step: they are taken outside of the time.
 */
#ifndef PINFS_BENCH_TIMING_H
#define PINFS_BENCH_TIMING_H

#include <err.h>
#include <linux/limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>

#define LAPS_MAX 8192u

struct step {
	const char *name;
	double start, lap_start;
	uint64_t operations;
	unsigned laps; /* the last one is written over when there are too many */
	double lap[LAPS_MAX]; /* seconds of an operation */
};

static inline double timing_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* How long a step that can be repeated goes on, in seconds: BENCH_SECONDS, or a fifth of one. */
static inline double timing_goal(void)
{
	static double goal;
	const char *text = getenv("BENCH_SECONDS");

	if (goal == 0)
		goal = text != NULL ? strtod(text, NULL) : 0.2;
	return goal;
}

/* Counters of the mount; the asking itself is one getxattr, which the reader of these lines takes off. */
static inline void timing_status(const char *when)
{
	static char text[XATTR_SIZE_MAX + 1];
	const char *mount = getenv("BENCH_STATUS");
	ssize_t length;

	if (mount == NULL)
		return;
	length = getxattr(mount, "pinfs.stat", text, XATTR_SIZE_MAX);
	if (length < 0)
		err(1, "%s: pinfs.stat", mount);
	text[length] = '\0';
	for (char *p = text; (p = strpbrk(p, "\n\t")) != NULL;)
		*p = ' ';
	printf("%s\t%s\n", when, text);
}

/* Starts the clock only. */
static inline void step_start(struct step *step)
{
	step->operations = 0;
	step->laps = 0;
	step->start = step->lap_start = timing_now();
}

static inline void step_begin(struct step *step, const char *name)
{
	step->name = name;
	timing_status("before");
	step_start(step);
}

/* So many operations were done since the last lap. */
static inline void step_lap(struct step *step, uint64_t operations)
{
	double now = timing_now();

	step->lap[step->laps] = (now - step->lap_start) / (double)operations;
	step->lap_start = now;
	step->operations += operations;
	if (step->laps < LAPS_MAX - 1)
		step->laps++;
}

static inline bool step_goes_on(const struct step *step)
{
	return step->lap_start - step->start < timing_goal();
}

static inline int timing_order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static inline double timing_median(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), timing_order);
	return values[count / 2];
}

/* Seconds of an operation. */
static inline double step_median(struct step *step)
{
	return timing_median(step->lap, step->laps);
}

static inline void step_print(const char *name, const char *system, double operations, double bytes, double seconds)
{
	printf("step\t%s\t%s\t%.0f\t%.0f\t%.9f\n", name, system, operations, bytes, seconds);
	fflush(stdout);
}

/* Each operation was of `size` bytes. */
static inline void step_end(struct step *step, uint64_t size)
{
	double operations = (double)step->operations;

	timing_status("after");
	step_print(step->name, "-", operations, operations * (double)size, operations * step_median(step));
}

static inline bool is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static inline uint64_t number_of(const char *text)
{
	char *end;
	uint64_t number = strtoull(text, &end, 10);

	if (number == 0 || *end != '\0')
		errx(2, "%s: not a number above 0", text);
	return number;
}

/* Numbers that look random and are the same in each run. */
static inline uint64_t shuffle(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

#endif
