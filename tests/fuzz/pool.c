/*
 * Target `pool`: a pool with patches is checked, mounted, used and unmounted, and checked again. Beyond what the
 * sanitizers see: what fsck calls clean can be mounted, is never called damaged, and is clean afterwards.
 *
 * Target `heap` (FUZZ_HEAP): what is libpmemobj's is patched, too, and the pool is tried in a child process first, as
 * the product does it. What goes on in the child is libpmemobj's affair; what the child accepts must work here.
 */
#include "check/check.h"
#include "fuzz.h"
#include "image.h"
#include "use.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct image pool_image;

#ifdef FUZZ_HEAP
/* A pool that makes libpmemobj loop is given up after a time that a fuzzer can wait for; the linker puts this in front.
 */
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
	int ready = __real_poll(fds, count, timeout > 2000 ? 2000 : timeout);

	return ready;
}
#endif

struct verdict {
	int error;
	struct check_report report;
	char why[256]; /* the first error */
};

static void on_problem(void *arg, const struct check_problem *problem)
{
	struct verdict *verdict = arg;

	if (problem->severity == CHECK_ERROR && verdict->why[0] == '\0')
		(void)snprintf(verdict->why, sizeof(verdict->why), "%s inode %llu %s: %s", problem->invariant,
			       (unsigned long long)problem->ino, problem->path != NULL ? problem->path : "",
			       problem->text);
}

static bool check(struct verdict *verdict, bool trusted)
{
	struct check_options options = {.meta_path = pool_image.path[0],
					.skip_probe = trusted,
					.in_process = trusted,
					.problem = on_problem,
					.arg = verdict};
	struct message message;

	memset(verdict, 0, sizeof(*verdict));
	verdict->error = check_pool(&options, &verdict->report, &message);
	return verdict->error == 0 && verdict->report.errors == 0;
}

static void __attribute__((noreturn)) broken(const char *what, const char *why)
{
	dprintf(STDERR_FILENO, "pool that fsck calls clean: %s: %s\n", what, why);
	abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet();
	image_make(&pool_image);
	return 0;
}

static int mount_and_use(bool trusted, bool read_only, struct message *message)
{
	const struct fs_options options = {
		.meta_path = pool_image.path[0], .read_only = read_only, .skip_probe = trusted, .inode_flags = true};
	struct fs *fs;
	int error = fs_open(&options, &fs, message);

	if (error != 0)
		return error;
	error = use_all(fs);
	if (error != 0)
		message_set(message, "%s in use", strerror(-error));
	fs_close(fs);
	return error;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct patch patch[PATCHES_MAX];
	size_t count = size / sizeof(patch[0]);
	struct message message = {.text = ""};
	struct verdict verdict;
	bool clean, heap;
	int error;

	if (count > PATCHES_MAX)
		count = PATCHES_MAX;
	memcpy(patch, data, count * sizeof(patch[0]));
	image_reset(&pool_image);
	heap = image_patch(&pool_image, patch, count);
#ifndef FUZZ_HEAP
	/* Not met without the child process. */
	if (heap)
		return -1;
#endif
	clean = check(&verdict, !heap) && !heap;
	/* A byte behind the patches: a read-only mount first, which changes nothing. */
	if (size % 2 == 1)
		(void)mount_and_use(!heap, true, &message);
	error = mount_and_use(!heap, false, &message);
	if (!clean)
		return 0;
	if (error == -EUCLEAN || error == -EIO)
		broken("mount or use", message.text);
	if (!check(&verdict, true))
		broken("errors after use", verdict.why);
	return 0;
}
