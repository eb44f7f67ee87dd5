/*
 * Writes a file. writes FILE BYTES BLOCK STEP...
 *
 *   overwrite  BLOCK bytes each at random places of a file of BYTES that is there
 *   append     BLOCK bytes each at the end of a new file, until it has BYTES; several files, each removed outside of
 * the time
 *
 * Nothing is synced: what pinfs has answered is durable, unless it is mounted with cache=writeback; what a peer has
 * answered is not. After each step what was written is read again and checked. Exit status 0, 1 (a call failed, or
 * wrong bytes), 2 (wrong use).
 */
#include "block.h"

#define LAP_BYTES (64u << 10) /* one operation at least */

struct work {
	const char *path;
	uint64_t bytes;
	size_t block;
	unsigned char *buffer;
};

static void check_file(const struct work *work, int fd)
{
	for (uint64_t at = 0; at < work->bytes; at += work->block)
		block_read(fd, work->buffer, work->block, at);
}

static uint64_t lap_of(const struct work *work)
{
	return work->block < LAP_BYTES ? LAP_BYTES / work->block : 1;
}

static void overwrite(const struct work *work)
{
	const uint64_t blocks = work->bytes / work->block;
	int fd = block_file(work->path, work->bytes, 0);
	uint64_t state = 1;
	static struct step step;

	for (uint64_t i = 0; i < blocks && i < 64; i++)
		block_write(fd, work->buffer, work->block, i * work->block);
	step_begin(&step, "overwrite");
	do {
		for (uint64_t i = 0; i < lap_of(work); i++)
			block_write(fd, work->buffer, work->block, shuffle(&state) % blocks * work->block);
		step_lap(&step, lap_of(work));
	} while (step_goes_on(&step));
	step_end(&step, work->block);
	check_file(work, fd);
	if (close(fd) != 0)
		err(1, "close");
}

static void append(const struct work *work)
{
	static struct step step;
	uint64_t done = 0;
	int fd;

	if (unlink(work->path) != 0 && access(work->path, F_OK) == 0)
		err(1, "unlink %s", work->path);
	fd = open(work->path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		err(1, "%s", work->path);
	step_begin(&step, "append");
	for (uint64_t at = 0; at < work->bytes; at += work->block) {
		block_fill(work->buffer, work->block, at);
		if (write(fd, work->buffer, work->block) != (ssize_t)work->block)
			err(1, "write");
		if (++done % lap_of(work) == 0)
			step_lap(&step, lap_of(work));
	}
	step_end(&step, work->block);
	check_file(work, fd);
	if (close(fd) != 0 || unlink(work->path) != 0)
		err(1, "%s", work->path);
}

int main(int argc, char **argv)
{
	struct work work = {0};

	if (argc < 5)
		errx(2, "usage: writes FILE BYTES BLOCK STEP...");
	work.path = argv[1];
	work.bytes = number_of(argv[2]);
	work.block = number_of(argv[3]);
	if (work.block % 4096 != 0 || work.bytes % work.block != 0 || work.bytes % CHUNK != 0)
		errx(2, "BLOCK must be a multiple of 4 KiB; BYTES one of BLOCK and of 1 MiB");
	work.buffer = block_memory(work.block);
	for (int i = 4; i < argc; i++) {
		if (is(argv[i], "overwrite"))
			overwrite(&work);
		else if (is(argv[i], "append"))
			append(&work);
		else
			errx(2, "%s: no such step", argv[i]);
	}
	free(work.buffer);
	return 0;
}
