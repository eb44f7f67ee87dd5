/*
 * Threads that list a folder while others make, rename and remove names in it.
 *
 *   listing FOLDER SECONDS
 *
 * Names that stay during a listing must be in it exactly once, and no name may be in it twice. Each listing uses a
 * buffer of another size, so that it takes many calls. Exit status 0, 1 (said what was wrong), 2 (wrong use).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STAYING 1000
#define COMING 400 /* names of one changer */
#define CHANGERS 4
#define LISTERS 6
#define SEEN_MAX 16384

struct entry {
	uint64_t ino;
	int64_t off;
	unsigned short reclen;
	unsigned char type;
	char name[];
};

struct worker {
	pthread_t thread;
	unsigned number;
	unsigned long done;
};

static int folder;
static time_t end;
static atomic_uint wrong;

static bool over(void)
{
	return time(NULL) >= end || atomic_load(&wrong) != 0;
}

static void make(const char *name)
{
	int fd = openat(folder, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	if (fd < 0)
		err(1, "%s", name);
	close(fd);
}

static void *change(void *arg)
{
	struct worker *worker = arg;
	char name[64], other[64];

	for (unsigned i = 0; !over(); i++, worker->done++) {
		snprintf(name, sizeof(name), "c%u-%u", worker->number, i % COMING);
		snprintf(other, sizeof(other), "r%u-%u", worker->number, i % COMING);
		make(name);
		if (i % 3 == 0 && renameat(folder, name, folder, other) != 0)
			err(1, "%s to %s", name, other);
		if (unlinkat(folder, i % 3 == 0 ? other : name, 0) != 0)
			err(1, "%s", name);
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of one listing, sorted, to be released. */
static size_t list(unsigned size, char *seen[SEEN_MAX])
{
	_Alignas(8) char buffer[32768];
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t count = 0;
	long got;

	if (fd < 0)
		err(1, "open");
	while ((got = syscall(SYS_getdents64, fd, buffer, size)) > 0) {
		for (long at = 0; at < got; at += ((struct entry *)(buffer + at))->reclen) {
			if (count == SEEN_MAX)
				errx(1, "a listing without end");
			seen[count++] = strdup(((struct entry *)(buffer + at))->name);
		}
	}
	if (got < 0)
		err(1, "getdents");
	close(fd);
	qsort(seen, count, sizeof(*seen), compare);
	return count;
}

static void check(char *const seen[SEEN_MAX], size_t count)
{
	unsigned staying = 0;

	for (size_t i = 0; i < count; i++) {
		if (i > 0 && strcmp(seen[i], seen[i - 1]) == 0 && atomic_fetch_add(&wrong, 1) < 5)
			warnx("%s is listed twice", seen[i]);
		staying += seen[i][0] == 's';
	}
	if (staying != STAYING && atomic_fetch_add(&wrong, 1) < 5)
		warnx("%u of the %u names that stay are listed", staying, STAYING);
}

static void *look(void *arg)
{
	static const unsigned sizes[] = {512, 4096, 1000, 32768};
	struct worker *worker = arg;
	char **seen = calloc(SEEN_MAX, sizeof(*seen));

	if (seen == NULL)
		err(1, "memory");
	for (; !over(); worker->done++) {
		size_t count = list(sizes[(worker->number + worker->done) % 4], seen);

		check(seen, count);
		while (count > 0)
			free(seen[--count]);
	}
	free(seen);
	return NULL;
}

int main(int argc, char **argv)
{
	struct worker workers[CHANGERS + LISTERS] = {0};
	unsigned long listings = 0, changes = 0;
	char name[64];

	if (argc != 3) {
		fprintf(stderr, "usage: listing FOLDER SECONDS\n");
		return 2;
	}
	folder = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		err(2, "%s", argv[1]);
	for (unsigned i = 0; i < STAYING; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		make(name);
	}
	end = time(NULL) + strtol(argv[2], NULL, 10);
	for (unsigned i = 0; i < CHANGERS + LISTERS; i++) {
		workers[i].number = i;
		if (pthread_create(&workers[i].thread, NULL, i < CHANGERS ? change : look, &workers[i]) != 0)
			errx(1, "cannot start a thread");
	}
	for (unsigned i = 0; i < CHANGERS + LISTERS; i++) {
		pthread_join(workers[i].thread, NULL);
		*(i < CHANGERS ? &changes : &listings) += workers[i].done;
	}
	printf("%lu listings, %lu changes\n", listings, changes);
	return atomic_load(&wrong) != 0 || listings == 0;
}
