/*
 * SIGTERM, SIGINT and SIGHUP end a mount cleanly. A thread of its own waits for them: a handler could not write back
 * what the kernel holds, and libfuse's own handler can be missed by its loop.
 *
 * The first one unmounts: pins are waited for (a bounded time, while the mount still serves their holders), the
 * kernel's dirty pages are written back, the loop is stopped. Each further one ends what is being waited for.
 */
#ifndef PINFS_DAEMON_SIGNALS_H
#define PINFS_DAEMON_SIGNALS_H

#include "fs/fs.h"
#include "front/front.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct daemon_signals {
	struct fs *fs;
	struct front *front;
	const char *mountpoint;
	pthread_t thread;
	atomic_bool served; /* front_serve() has returned */
	pthread_mutex_t draining; /* held while pins are waited for */
	atomic_bool drained; /* of pins, as far as they went */
	atomic_bool ended; /* daemon_signals_stop() */
};

/* Holds the signals back for the thread below. Before the mount exists. */
int daemon_signals_block(void);
/* Starts the thread; `signals` stays in place until daemon_signals_stop(). */
int daemon_signals_start(struct daemon_signals *signals, struct fs *fs, struct front *front, const char *mountpoint);
/* front_serve() has returned: waits for pins unless that was done; a signal ends the wait. */
void daemon_signals_drain(struct daemon_signals *signals);
/* Ends the thread. */
void daemon_signals_stop(struct daemon_signals *signals);

#endif
