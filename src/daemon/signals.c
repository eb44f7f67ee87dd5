#include "daemon/signals.h"

#include "fs/pins.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The kernel's dirty pages are waited for this long; a second signal cuts it short. */
#define SYNC_STEPS 1500
#define SYNC_STEP_MS 20

static void set_of_signals(sigset_t *ret_set)
{
	sigemptyset(ret_set);
	sigaddset(ret_set, SIGTERM);
	sigaddset(ret_set, SIGINT);
	sigaddset(ret_set, SIGHUP);
}

int daemon_signals_block(void)
{
	const struct sigaction action = {.sa_handler = SIG_IGN};
	sigset_t set;
	int error;

	if (sigaction(SIGPIPE, &action, NULL) != 0)
		return -errno;
	set_of_signals(&set);
	error = pthread_sigmask(SIG_BLOCK, &set, NULL);
	return -error;
}

/*
 * Only async-signal-safe calls: the process has threads. No descriptor is kept, so that neither the session nor the
 * pool's lock outlives the daemon, should this process hang.
 */
static void __attribute__((noreturn)) sync_in_child(const char *mountpoint)
{
	int fd;

	(void)close_range(0, UINT_MAX, 0);
	fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || syncfs(fd) != 0)
		_exit(1);
	_exit(0);
}

/* Waits until done(); false if that takes more steps (of SYNC_STEP_MS) or another signal comes. */
static bool wait_until(bool (*done)(void *arg), void *arg, unsigned steps)
{
	const struct timespec step = {.tv_nsec = SYNC_STEP_MS * 1000000L};
	sigset_t set;

	set_of_signals(&set);
	for (unsigned i = 0; i < steps; i++) {
		if (done(arg))
			return true;
		if (sigtimedwait(&set, NULL, &step) > 0)
			return false;
	}
	return false;
}

static bool child_ended(void *arg)
{
	const pid_t *child = arg;

	return waitpid(*child, NULL, WNOHANG) != 0;
}

static bool written_back(void *arg)
{
	return front_written_back(arg);
}

/*
 * Has the kernel write back what it holds dirty (mmap, cache=writeback), while the mount still answers. syncfs(2)
 * starts all of it, and sends the times of files; by a child process, because the daemon must not wait for its own
 * mount. On a FUSE mount it may return early: then each file is waited for.
 */
static void sync_mount(struct front *front, const char *mountpoint)
{
	bool synced = false;
	pid_t child;

	child = fork();
	if (child == 0)
		sync_in_child(mountpoint);
	if (child > 0) {
		synced = wait_until(child_ended, &child, SYNC_STEPS);
		if (!synced) {
			(void)kill(child, SIGKILL);
			(void)waitpid(child, NULL, WNOHANG);
		}
	}
	if (synced && front_write_back(front) == 0)
		synced = wait_until(written_back, front, SYNC_STEPS);
	if (!synced)
		log_warning("%s: cached data could not be written back in time", mountpoint);
}

/* ---- Pins ---- */

/* Once, whoever is first: a signal and an umount(8) may come together. The other one waits for it. */
static void drain(struct daemon_signals *signals)
{
	uint64_t left = 0;

	pthread_mutex_lock(&signals->draining);
	if (!atomic_load(&signals->drained))
		left = fs_pins_drain(signals->fs);
	if (left > 0)
		log_warning("%s: %" PRIu64 " pins are still held: their blocks stay out of use until their holders end",
			    signals->mountpoint, left);
	atomic_store(&signals->drained, true);
	pthread_mutex_unlock(&signals->draining);
}

static void *drain_thread(void *arg)
{
	drain(arg);
	return NULL;
}

static bool is_drained(void *arg)
{
	const struct daemon_signals *signals = arg;

	return atomic_load(&signals->drained);
}

/* In another thread, so that this one hears the next signal. */
static void drain_interruptibly(struct daemon_signals *signals)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, drain_thread, signals) != 0) {
		drain(signals);
		return;
	}
	if (!wait_until(is_drained, signals, UINT_MAX))
		fs_pins_drain_end(signals->fs);
	(void)pthread_join(thread, NULL);
}

void daemon_signals_drain(struct daemon_signals *signals)
{
	atomic_store(&signals->served, true);
	drain(signals);
}

/* ---- The thread ---- */

static void unmount(struct daemon_signals *signals, int number)
{
	log_info("%s: unmounting: %s", signals->mountpoint, strsignal(number));
	drain_interruptibly(signals);
	sync_mount(signals->front, signals->mountpoint);
	front_stop(signals->front);
}

static void *wait_for_signals(void *arg)
{
	struct daemon_signals *signals = arg;
	bool stopped = false;
	sigset_t set;
	int number;

	set_of_signals(&set);
	/* Asked before each wait: the signal that tells of the end may have ended another wait, in unmount(). */
	while (!atomic_load(&signals->ended)) {
		(void)sigwait(&set, &number);
		if (atomic_load(&signals->ended))
			break;
		if (stopped || atomic_load(&signals->served))
			fs_pins_drain_end(signals->fs);
		else
			unmount(signals, number);
		stopped = true;
	}
	return NULL;
}

int daemon_signals_start(struct daemon_signals *signals, struct fs *fs, struct front *front, const char *mountpoint)
{
	signals->fs = fs;
	signals->front = front;
	signals->mountpoint = mountpoint;
	atomic_init(&signals->served, false);
	atomic_init(&signals->drained, false);
	atomic_init(&signals->ended, false);
	pthread_mutex_init(&signals->draining, NULL);
	return -pthread_create(&signals->thread, NULL, wait_for_signals, signals);
}

void daemon_signals_stop(struct daemon_signals *signals)
{
	atomic_store(&signals->served, true);
	atomic_store(&signals->ended, true);
	(void)pthread_kill(signals->thread, SIGTERM);
	(void)pthread_join(signals->thread, NULL);
	pthread_mutex_destroy(&signals->draining);
}
