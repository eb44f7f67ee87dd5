/* A scratch pool for unit tests. */
#ifndef PINFS_TESTS_META_POOL_H
#define PINFS_TESTS_META_POOL_H

#include "scratch.h"

#include "meta/meta.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct scratch {
	char folder[256];
	char meta_path[300];
	struct meta *meta;
};

static inline void scratch_create(struct scratch *scratch, uint64_t size)
{
	struct meta_create_args args = {.size = size, .pool_uuid = "unit test pool", .root_mode = 0755};
	struct message message = {""};
	int error;

	scratch_folder(scratch->folder, sizeof(scratch->folder), "unit");
	snprintf(scratch->meta_path, sizeof(scratch->meta_path), "%s/meta", scratch->folder);
	error = meta_create(scratch->meta_path, &args, &scratch->meta, &message);
	if (error != 0)
		fail_msg("meta_create: %d: %s", error, message.text);
	assert_int_equal(meta_create_finish(scratch->meta), 0);
}

/* Opens the pool as a mount would. */
static inline void scratch_open(struct scratch *scratch)
{
	struct message message = {""};
	int error = meta_open(scratch->meta_path, 0, &scratch->meta, &message);

	if (error == 0)
		error = meta_scan(scratch->meta, NULL, &message);
	if (error != 0)
		fail_msg("open: %d: %s", error, message.text);
}

/* Closes and opens the pool as another mount would. */
static inline void scratch_reopen(struct scratch *scratch)
{
	meta_close(scratch->meta);
	scratch->meta = NULL;
	scratch_open(scratch);
}

static inline void scratch_destroy(struct scratch *scratch)
{
	meta_close(scratch->meta);
	assert_int_equal(unlink(scratch->meta_path), 0);
	assert_int_equal(rmdir(scratch->folder), 0);
}

#endif
