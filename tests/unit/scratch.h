/* A folder of a test's own: in $TMPDIR, or on tmpfs where there is one, as a pool on a disk pays for each flush. */
#ifndef PINFS_TEST_SCRATCH_H
#define PINFS_TEST_SCRATCH_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The test takes away what it puts there, and the folder. */
static inline void scratch_folder(char *folder, size_t size, const char *name)
{
	const char *base = getenv("TMPDIR");
	int length;

	if (base == NULL)
		base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	length = snprintf(folder, size, "%s/pinfs-%s-XXXXXX", base, name);
	if (length < 0 || (size_t)length >= size) {
		(void)fprintf(stderr, "%s: too long a path for a scratch folder\n", base);
		abort();
	}
	if (mkdtemp(folder) == NULL) {
		perror(folder);
		abort();
	}
}

#endif
