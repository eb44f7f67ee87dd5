#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH 30
#define REDRAW_MS 100

void progress_init(struct progress *progress, bool always)
{
	*progress = (struct progress){.on = always || isatty(STDERR_FILENO) == 1};
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void progress_show(struct progress *progress, const char *phase, uint64_t done, uint64_t total)
{
	static const char hashes[BAR_WIDTH + 1] = "##############################";
	int64_t now;
	double part;

	if (!progress->on)
		return;
	now = now_ms();
	/* A new phase is shown at once. */
	if (progress->phase == phase && now - progress->last < REDRAW_MS)
		return;
	progress->phase = phase;
	progress->last = now;
	progress->shown = true;
	if (total == 0) {
		fprintf(stderr, "\r%-20s %12" PRIu64 "\033[K", phase, done);
		return;
	}
	part = done < total ? (double)done / (double)total : 1.0;
	fprintf(stderr, "\r%-20s [%-*.*s] %3d %%\033[K", phase, BAR_WIDTH, (int)(part * BAR_WIDTH), hashes,
		(int)(part * 100));
}

void progress_clear(struct progress *progress)
{
	if (progress->shown)
		fprintf(stderr, "\r\033[K");
	progress->shown = false;
	progress->phase = NULL;
}
