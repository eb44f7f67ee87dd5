/*
 * SIGTERM, SIGINT and SIGHUP end a mount cleanly. A thread of its own waits for them: a handler could not write back
 * what the kernel holds, and libfuse's own handler can be missed by its loop.
 */
#ifndef PINFS_DAEMON_SIGNALS_H
#define PINFS_DAEMON_SIGNALS_H

#include "front/front.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct daemon_signals {
	struct front *front;
	const char *mountpoint;
	pthread_t server; /* the thread that calls front_serve(): the one that called daemon_signals_start() */
	pthread_t thread;
	atomic_bool served; /* front_serve() has returned */
};

/* Holds the signals back for the thread below. Before the mount exists. */
int daemon_signals_block(void);
/* Starts the thread; `signals` stays in place until daemon_signals_stop(). */
int daemon_signals_start(struct daemon_signals *signals, struct front *front, const char *mountpoint);
/* front_serve() has returned: ends the thread. */
void daemon_signals_stop(struct daemon_signals *signals);

#endif
