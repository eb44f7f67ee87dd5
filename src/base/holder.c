#include "base/holder.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

int holder_pid(int fd)
{
	char line[256];
	struct stat st;
	int found = 0;
	FILE *locks;

	if (fstat(fd, &st) != 0)
		return 0;
	locks = fopen("/proc/locks", "re");
	if (locks == NULL)
		return 0;
	/* `1: FLOCK  ADVISORY  WRITE 1234 fd:01:56789 0 EOF`; waiters carry `->` behind the number and are skipped. */
	while (found == 0 && fgets(line, sizeof(line), locks) != NULL) {
		unsigned dev_major, dev_minor;
		uint64_t number;
		int pid;

		if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%" SCNu64, &pid, &dev_major, &dev_minor, &number) == 4 &&
		    dev_major == major(st.st_dev) && dev_minor == minor(st.st_dev) && number == st.st_ino)
			found = pid;
	}
	fclose(locks);
	return found;
}
