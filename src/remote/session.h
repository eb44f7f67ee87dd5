/*
 * What pinfs-rdma-serve does with what a peer says: the handshake, one lease at a time, time-outs. Bytes and the time
 * come in, bytes and calls go out; no I/O of its own, so that tests and the fuzzer can say anything. Not thread-safe.
 *
 *   HELLO --hello--> PROOF --proof--> READY --OPEN--> LEASED --RECALL sent--> RECALLED
 *                                       ^                |                        |
 *                                       +---- CLOSE, or the lease was ended ------+
 *
 * From each state a wrong message, the end of the connection, or silence ends the session. S1: whatever ends it, a
 * lease is over before the session is.
 */
#ifndef PINFS_REMOTE_SESSION_H
#define PINFS_REMOTE_SESSION_H

#include "remote/seal.h"

#define REMOTE_PROOF_MS 5000u /* until which a connection must have proven itself */

enum remote_state {
	REMOTE_STATE_HELLO,
	REMOTE_STATE_PROOF,
	REMOTE_STATE_READY,
	REMOTE_STATE_LEASED,
	REMOTE_STATE_RECALLED,
	REMOTE_STATE_OVER,
};

struct remote_session_ops {
	/* Queues bytes for the peer. -ENOBUFS: it does not take them. */
	int (*send)(void *data, const void *bytes, size_t length);
	/*
	 * Begins a lease: ret_grant has room for REMOTE_PIECES_MAX pieces, and is filled but for its header. -errno.
	 * With length 0 nothing was begun.
	 */
	int (*open)(void *data, const struct remote_open *open, struct remote_grant *ret_grant);
	int (*commit)(void *data, uint64_t offset, uint64_t length);
	/* Ends access to it, then unpins. Does not fail: what cannot be ended ends with the process. */
	void (*close)(void *data);
	/* After close, of the same file: cuts it. */
	int (*cut)(void *data, uint64_t size);
};

struct remote_policy {
	const struct remote_secret *secret;
	const struct remote_session_ops *ops;
	const char *provider;
	uint64_t length_max;
	uint32_t lease_ms;
	bool busy; /* too many peers: it is told so */
};

struct remote_session {
	const struct remote_policy *policy;
	void *data; /* for ops */
	enum remote_state state;
	const char *reason; /* why it is over */
	struct remote_hello hello;
	struct remote_challenge challenge;
	struct remote_seal seal;
	uint64_t deadline_ms; /* of the peer's next message */
	uint64_t recall_ms; /* RECALLED: when the lease is ended without the peer */
	uint64_t lease; /* number of the current or last one */
	uint64_t offset, length; /* of the current one */
	bool write;
	size_t have; /* of input */
	uint8_t input[REMOTE_SEALED_MAX + 4];
	uint8_t output[REMOTE_SEALED_MAX + 4];
	_Alignas(8) uint8_t message[REMOTE_MESSAGE_MAX]; /* unsealed */
	_Alignas(8) uint8_t answer[REMOTE_MESSAGE_MAX];
};

/* `policy` outlives it. */
void remote_session_init(struct remote_session *session, const struct remote_policy *policy, void *data,
			 uint64_t now_ms);
/* Bytes from the peer. False: the session is over, when what is queued has been sent. */
bool remote_session_input(struct remote_session *session, const void *bytes, size_t length, uint64_t now_ms);
/* Called when remote_session_wakeup() has come. False: over. */
bool remote_session_tick(struct remote_session *session, uint64_t now_ms);
/* When tick is due; UINT64_MAX: never. */
uint64_t remote_session_wakeup(const struct remote_session *session);
/* Somebody waits for what is leased: the peer is told, and has so long. Nothing if there is no lease. */
bool remote_session_recall(struct remote_session *session, uint32_t within_ms, uint64_t now_ms);
/* Ends the lease at once, and tells the peer (error: an errno, or 0: recalled). */
bool remote_session_revoke(struct remote_session *session, int error);
/* The connection is gone, or the server ends. */
void remote_session_end(struct remote_session *session, const char *reason);

static inline bool remote_session_leased(const struct remote_session *session)
{
	return session->state == REMOTE_STATE_LEASED || session->state == REMOTE_STATE_RECALLED;
}

#endif
