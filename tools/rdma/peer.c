#include "peer.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_MAX (1u << 20) /* who reads nothing is not waited for */
#define RECALL_MS 1000u /* a peer that was told has so long to stop, or half of what is left */

struct peer {
	int fd;
	char who[64];
	struct remote_session session;
	struct remote_policy policy;
	struct lease lease;
	size_t queued, sent;
	uint8_t output[OUTPUT_MAX];
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t now_ms(void)
{
	return now_ns() / 1000000;
}

/* ---- Output ---- */

static int queue(void *data, const void *bytes, size_t length)
{
	struct peer *peer = data;

	if (length > sizeof(peer->output) - peer->queued)
		return -ENOBUFS;
	memcpy(peer->output + peer->queued, bytes, length);
	peer->queued += length;
	return 0;
}

/* False: the connection is gone. */
static bool flush(struct peer *peer)
{
	while (peer->sent < peer->queued) {
		ssize_t got = send(peer->fd, peer->output + peer->sent, peer->queued - peer->sent, MSG_NOSIGNAL);

		if (got < 0)
			return errno == EAGAIN || errno == EINTR;
		peer->sent += (size_t)got;
	}
	peer->sent = peer->queued = 0;
	return true;
}

/* ---- The session's calls ---- */

static int do_open(void *data, const struct remote_open *open, struct remote_grant *ret_grant)
{
	return lease_open(&((struct peer *)data)->lease, open, ret_grant);
}

static int do_commit(void *data, uint64_t offset, uint64_t length)
{
	return lease_commit(&((struct peer *)data)->lease, offset, length);
}

static void do_close(void *data)
{
	lease_close(&((struct peer *)data)->lease);
}

static int do_cut(void *data, uint64_t size)
{
	return lease_cut(&((struct peer *)data)->lease, size);
}

static const struct remote_session_ops ops = {
	.send = queue,
	.open = do_open,
	.commit = do_commit,
	.close = do_close,
	.cut = do_cut,
};

/* ---- What comes in ---- */

static void take_input(struct peer *peer)
{
	uint8_t room[16384];
	ssize_t got = recv(peer->fd, room, sizeof(room), 0);

	if (got > 0)
		(void)remote_session_input(&peer->session, room, (size_t)got, now_ms());
	else if (got == 0)
		remote_session_end(&peer->session, "it has hung up");
	else if (errno != EAGAIN && errno != EINTR)
		remote_session_end(&peer->session, strerror(errno));
}

/* How long the peer may take to stop: half of the time that is left, so that we end the lease in time if it does not.
 */
static uint32_t recall_time(const struct pinfs_event *event)
{
	uint64_t now = now_ns(), left;

	if (event->deadline == UINT64_MAX)
		return RECALL_MS;
	if (event->deadline <= now)
		return 0;
	left = (event->deadline - now) / 2000000;
	return left < RECALL_MS ? (uint32_t)left : RECALL_MS;
}

static void take_event(struct peer *peer, const struct pinfs_event *event)
{
	if (peer->lease.region == NULL ||
	    (event->pin != 0 && event->pin != pinfs_id(pinfs_rdma_pin(peer->lease.region))))
		return;
	switch (event->kind) {
	case PINFS_EVENT_RECALL:
		(void)remote_session_recall(&peer->session, recall_time(event), now_ms());
		break;
	case PINFS_EVENT_SHUTDOWN:
		(void)remote_session_recall(&peer->session, RECALL_MS, now_ms());
		break;
	case PINFS_EVENT_DETACHED:
		(void)remote_session_revoke(&peer->session, ESTALE);
		break;
	case PINFS_EVENT_POISON:
		(void)remote_session_revoke(&peer->session, EIO);
		break;
	default:
		break;
	}
}

static void take_events(struct peer *peer)
{
	struct pinfs_event event;

	while (peer->lease.fs != NULL && pinfs_next_event(peer->lease.fs, &event) == 0)
		take_event(peer, &event);
}

/* ---- The loop ---- */

static void wait_for_more(struct peer *peer, const sigset_t *mask)
{
	struct lease *lease = &peer->lease;
	uint64_t now = now_ms(), wakeup = remote_session_wakeup(&peer->session);
	struct timespec wait = {0};
	struct pollfd fds[] = {
		{.fd = peer->fd, .events = (short)(POLLIN | (peer->queued > peer->sent ? POLLOUT : 0))},
		{.fd = lease->fs != NULL ? pinfs_event_fd(lease->fs) : -1, .events = POLLIN},
		{.fd = lease->fabric.eq_fd, .events = POLLIN},
		{.fd = lease->fabric.cq_fd, .events = POLLIN},
	};

	if (wakeup > now && (lease->listener == NULL || fabric_idle(&lease->fabric))) {
		wait.tv_sec = (time_t)((wakeup - now) / 1000);
		wait.tv_nsec = (long)((wakeup - now) % 1000 * 1000000);
	}
	if (ppoll(fds, 4, &wait, mask) <= 0)
		return;
	if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
		take_input(peer);
}

static void serve(struct peer *peer, const sigset_t *mask, atomic_uchar *proven)
{
	while (remote_session_tick(&peer->session, now_ms())) {
		if (!flush(peer)) {
			remote_session_end(&peer->session, "it has hung up");
			return;
		}
		if (peer->session.state >= REMOTE_STATE_READY)
			atomic_store(proven, 1);
		/* What others want comes before what the peer wants. */
		take_events(peer);
		lease_progress(&peer->lease);
		if (peer->session.state == REMOTE_STATE_OVER)
			return;
		wait_for_more(peer, mask);
		if (ended)
			remote_session_end(&peer->session, "the server ends");
	}
}

/* Both ends of the connection, in numbers; a link-local address keeps its interface. */
static int name_ends(struct peer *peer, char *ret_node, size_t length)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);

	if (getpeername(peer->fd, (struct sockaddr *)&address, &size) != 0 ||
	    getnameinfo((struct sockaddr *)&address, size, peer->who, sizeof(peer->who), NULL, 0, NI_NUMERICHOST) != 0)
		return -ENOTCONN;
	size = sizeof(address);
	if (getsockname(peer->fd, (struct sockaddr *)&address, &size) != 0 ||
	    getnameinfo((struct sockaddr *)&address, size, ret_node, (socklen_t)length, NULL, 0, NI_NUMERICHOST) != 0)
		return -ENOTCONN;
	return 0;
}

void peer_serve(int fd, const struct remote_policy *policy, const struct lease_config *config, atomic_uchar *proven)
{
	static struct peer peer; /* one in a process: it is large */
	struct sigaction action = {.sa_handler = on_signal};
	const int one = 1;
	char node[64];
	sigset_t mask;

	/* Answers are small, and somebody waits for each. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	peer.fd = fd;
	peer.policy = *policy;
	peer.policy.ops = &ops;
	if (name_ends(&peer, node, sizeof(node)) != 0)
		return;
	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigprocmask(SIG_SETMASK, NULL, &mask);
	(void)sigdelset(&mask, SIGTERM);
	(void)sigdelset(&mask, SIGINT);
	lease_init(&peer.lease, config, peer.who, node);
	remote_session_init(&peer.session, &peer.policy, &peer, now_ms());
	serve(&peer, &mask, proven);
	(void)flush(&peer);
	lease_fini(&peer.lease);
	log_info("%s: %s", peer.who, peer.session.reason);
}
