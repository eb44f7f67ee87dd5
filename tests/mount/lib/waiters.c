/* waiters FOLDER COUNT: a thread for each of the files 0 to COUNT-1 truncates it to nothing. Exit status 0 if all did.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *folder;

static void *work(void *arg)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%lu", folder, (unsigned long)arg);
	return truncate(path, 0) == 0 ? NULL : (void *)(long)errno;
}

int main(int argc, char **argv)
{
	unsigned long count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	pthread_t *threads = calloc(count + 1, sizeof(*threads));
	pthread_attr_t attr;
	int failed = 0;

	if (count == 0 || threads == NULL) {
		fprintf(stderr, "usage: waiters FOLDER COUNT\n");
		return 2;
	}
	folder = argv[1];
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN + 16384);
	for (unsigned long i = 0; i < count; i++) {
		int error = pthread_create(&threads[i], &attr, work, (void *)i);

		if (error != 0) {
			fprintf(stderr, "waiters: thread %lu: %s\n", i, strerror(error));
			return 1;
		}
	}
	for (unsigned long i = 0; i < count; i++) {
		void *result;

		pthread_join(threads[i], &result);
		if (result != NULL && failed++ < 5)
			fprintf(stderr, "waiters: %lu: %s\n", i, strerror((int)(long)result));
	}
	return failed != 0;
}
