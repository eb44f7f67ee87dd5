#ifndef PINFS_CRASH_SELFTEST_H
#define PINFS_CRASH_SELFTEST_H

/* Makes faults of each class on purpose, and expects them to be caught. An exit status. */
int selftest(const char *scratch);

#endif
