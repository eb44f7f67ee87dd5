/*
 * Messages between pinfs-rdma and pinfs-rdma-serve, on their control connection (TCP). Pure: no I/O. Little-endian,
 * naturally aligned, sizes asserted.
 *
 *   peer                               server
 *   hello                           ->
 *                                   <- challenge       error: no common version, or too many peers; and the end
 *   proof                           ->
 *                                   <- welcome         error: the wrong secret; and the end
 *   ---- from here on sealed: each a message of the kinds below, see seal.h ----
 *                                   <- SETUP
 *   OPEN                           ->
 *                                   <- GRANT           the lease begins; or DONE with an error
 *        (the peer connects to the port of the GRANT by the fabric, with its token, and reads and writes remotely)
 *   COMMIT                         ->
 *                                   <- DONE            these bytes are durable, and visible to all
 *   CLOSE                          ->
 *                                   <- DONE            the lease is over
 *   PING                           ->
 *                                   <- PONG
 *                                   <- RECALL          somebody waits for the range: stop, and CLOSE
 *                                   <- ENDED           the lease is over, nothing of it can be reached any more
 *
 * One lease at a time. Who is silent for `lease_ms` of the SETUP has lost it. Errors are positive errno values of
 * Linux. Versions: the peer names the lowest and the highest that it speaks, the server chooses. These four have a
 * fixed size in every version; bytes behind the fields that a reader knows are ignored in the others.
 */
#ifndef PINFS_REMOTE_MESSAGE_H
#define PINFS_REMOTE_MESSAGE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REMOTE_MAGIC 0x4d445250u /* "PRDM" */
#define REMOTE_VERSION_MIN 1u
#define REMOTE_VERSION_MAX 1u
#define REMOTE_PORT 7436u

#define REMOTE_NONCE_BYTES 32u
#define REMOTE_PROOF_BYTES 32u
#define REMOTE_STREAM_BYTES 24u
#define REMOTE_TOKEN_BYTES 16u
#define REMOTE_NAME_MAX 255u
#define REMOTE_PIECES_MAX 512u

/* ---- Before the proof: fixed sizes, no lengths to believe ---- */

struct remote_hello {
	uint32_t magic;
	uint16_t version_min;
	uint16_t version_max;
	uint8_t nonce[REMOTE_NONCE_BYTES];
};
static_assert(sizeof(struct remote_hello) == 40, "hello layout");

struct remote_challenge {
	uint32_t magic;
	uint16_t version_min; /* of the server */
	uint16_t version_max;
	uint32_t version; /* the chosen one; 0: error */
	uint32_t error; /* EPROTONOSUPPORT, EBUSY */
	uint8_t nonce[REMOTE_NONCE_BYTES];
};
static_assert(sizeof(struct remote_challenge) == 48, "challenge layout");

/* proof and welcome */
struct remote_proof {
	uint32_t magic;
	uint32_t error; /* welcome: 0 or EACCES; proof: 0 */
	uint8_t proof[REMOTE_PROOF_BYTES];
	uint8_t stream[REMOTE_STREAM_BYTES]; /* of what its sender seals from now on */
};
static_assert(sizeof(struct remote_proof) == 64, "proof layout");

/* ---- After it ---- */

enum remote_type {
	REMOTE_OPEN = 1,
	REMOTE_COMMIT = 2,
	REMOTE_CLOSE = 3,
	REMOTE_PING = 4,
	REMOTE_SETUP = 64,
	REMOTE_GRANT = 65,
	REMOTE_DONE = 66,
	REMOTE_PONG = 67,
	REMOTE_RECALL = 68,
	REMOTE_ENDED = 69,
};

struct remote_header {
	uint32_t type;
	int32_t error; /* DONE, ENDED: 0 or an errno; else 0 */
	uint64_t lease; /* COMMIT, CLOSE, GRANT, RECALL, ENDED, and DONE of these; else 0 */
};
static_assert(sizeof(struct remote_header) == 16, "header layout");

struct remote_setup {
	struct remote_header header;
	uint32_t lease_ms;
	uint32_t reserved;
	uint64_t length_max; /* of a lease */
	char provider[16]; /* libfabric's, terminated */
};
static_assert(sizeof(struct remote_setup) == 48, "setup layout");

#define REMOTE_OPEN_WRITE 1u
#define REMOTE_OPEN_FLAGS 1u
struct remote_open {
	struct remote_header header;
	uint64_t offset; /* bytes of the file */
	uint64_t length; /* at least 1; of a lease for reading what lies behind the end is left out */
	uint32_t flags; /* REMOTE_OPEN_ */
	uint32_t name_length;
	char name[]; /* not terminated; no NUL in it */
};
static_assert(sizeof(struct remote_open) == 40, "open layout");

struct remote_piece {
	uint64_t offset; /* of the file, bytes */
	uint64_t length;
	uint64_t address; /* as the fabric's operations want it */
	uint64_t key;
};

struct remote_grant {
	struct remote_header header;
	uint64_t offset;
	uint64_t length; /* 0: the file ends before the offset; there is no lease then */
	uint64_t size; /* of the file */
	uint8_t token[REMOTE_TOKEN_BYTES];
	uint16_t port; /* at the address of the control connection */
	uint16_t reserved;
	uint32_t count;
	struct remote_piece piece[]; /* in file order, without gaps */
};
static_assert(sizeof(struct remote_grant) == 64, "grant layout");

/* COMMIT: these bytes of the file; CLOSE: with REMOTE_CLOSE_CUT, the file then ends at `offset`. */
#define REMOTE_CLOSE_CUT 1u
struct remote_range {
	struct remote_header header;
	uint64_t offset;
	uint64_t length;
	uint32_t flags;
	uint32_t reserved;
};
static_assert(sizeof(struct remote_range) == 40, "range layout");

struct remote_recall {
	struct remote_header header;
	uint32_t within_ms;
	uint32_t reserved;
};
static_assert(sizeof(struct remote_recall) == 24, "recall layout");

#define REMOTE_MESSAGE_MAX (sizeof(struct remote_grant) + REMOTE_PIECES_MAX * sizeof(struct remote_piece))

/* True if `size` bytes are a whole message that a peer, or a server, may send: counts and lengths within it. */
bool remote_request_valid(const void *message, size_t size);
bool remote_answer_valid(const void *message, size_t size);
/* The version that both speak; 0: none. */
unsigned remote_version_choose(const struct remote_hello *hello);
/* True if a GRANT of this length has pieces that cover exactly its range. */
bool remote_grant_whole(const struct remote_grant *grant);

#endif
