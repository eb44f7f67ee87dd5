/*
 * Messages between a client (libpinfs) and the daemon. Pure: no I/O. Little-endian, naturally aligned, sizes asserted.
 *
 * Transport: two AF_UNIX SOCK_SEQPACKET sockets, one message a packet; a packet that is cut (MSG_TRUNC, MSG_CTRUNC),
 * too short or too long ends the session. On the first the client asks and the daemon answers, each answer with the
 * number of its request, not in order. On the second, which WELCOME brings, the daemon tells events. A packet is at
 * most WIRE_MESSAGE_MAX bytes and carries at most WIRE_FDS_MAX descriptors.
 *
 *   client                             daemon
 *   HELLO  [page if it comes back] ->
 *                                   <- WELCOME [event socket, page]    or ERROR, and the end
 *   PIN [file]                     ->
 *                                   <- PART [part] ...                 parts that this session has not been given yet
 *                                   <- EXTENTS ... (all but the last piece)
 *                                   <- PINNED                          the last piece; or ERROR
 *   UNPIN, COMMIT, CANCEL, WORD    ->
 *                                   <- DONE                            error 0 or an errno
 *   BELL                           ->                                  no answer
 *   LIST                           ->
 *                                   <- LISTED ..., DONE
 *   MAP [file]                     ->
 *                                   <- FILE_MAP or POOL_MAP ..., DONE
 *   GOODBYE                        ->
 *                                   <- DONE, and the end: everything is unpinned
 *
 * Errors are positive errno values of Linux. Versions: the client names the lowest and the highest that it speaks, the
 * daemon chooses one; feature bits are what both know. Unknown types of requests get DONE with EOPNOTSUPP, unknown
 * events are skipped, bytes behind the fields that a reader knows are ignored.
 */
#ifndef PINFS_WIRE_H
#define PINFS_WIRE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_MAGIC 0x534e4950u /* "PINS" */
#define WIRE_VERSION_MIN 1u
#define WIRE_VERSION_MAX 1u
#define WIRE_FEATURES 0u /* none yet */

#define WIRE_MESSAGE_MAX 8192u
#define WIRE_FDS_MAX 4u
#define WIRE_COOKIE_BYTES 16u

enum wire_type {
	/* client to daemon */
	WIRE_HELLO = 1,
	WIRE_PIN = 2,
	WIRE_UNPIN = 3,
	WIRE_COMMIT = 4,
	WIRE_CANCEL = 5,
	WIRE_BELL = 6,
	WIRE_LIST = 7,
	WIRE_GOODBYE = 8,
	WIRE_WORD = 9,
	WIRE_MAP = 10,
	/* daemon to client */
	WIRE_WELCOME = 64,
	WIRE_PART = 65,
	WIRE_EXTENTS = 66,
	WIRE_PINNED = 67,
	WIRE_DONE = 68,
	WIRE_LISTED = 69,
	WIRE_FILE_MAP = 70,
	WIRE_POOL_MAP = 71,
	/* on the event socket */
	WIRE_EVENT = 128,
};

struct wire_header {
	uint32_t magic;
	uint16_t type; /* enum wire_type */
	uint16_t reserved;
	uint32_t length; /* of the whole message: what the packet has */
	int32_t error; /* DONE, PINNED: 0 or an errno; else 0 */
	uint64_t request; /* the client's number, not that of another one that is not answered yet; answers repeat it */
};
static_assert(sizeof(struct wire_header) == 24, "header layout");

/* ---- Requests ---- */

/* Descriptors: none, or (cookie not zero) the state page of the session that comes back. */
struct wire_hello {
	struct wire_header header;
	uint32_t version_min;
	uint32_t version_max;
	uint64_t features;
	uint64_t start_time; /* of the client's process, as /proc/self/stat says: a check against a number used again */
	uint8_t cookie[WIRE_COOKIE_BYTES]; /* of the session that comes back; zeros: a new one */
};
static_assert(sizeof(struct wire_hello) == 64, "hello layout");

/* wire_pin.flags: the public PINFS_ values (include/pinfs.h), and: */
#define WIRE_PIN_READ 1u
#define WIRE_PIN_WRITE 2u
#define WIRE_PIN_EXCLUSIVE 4u
#define WIRE_PIN_NONBLOCK 8u
#define WIRE_PIN_EXTEND 16u
#define WIRE_PIN_CONTIGUOUS 32u
#define WIRE_PIN_CACHED 64u
#define WIRE_PIN_FLAGS 127u

/* Descriptors: one, the open file. */
struct wire_pin {
	struct wire_header header;
	uint64_t offset;
	uint64_t length;
	uint32_t flags;
	uint32_t word; /* CACHED: index in the page, chosen by the client, whose count it has set to 1; else
			  WIRE_WORD_NONE */
};
static_assert(sizeof(struct wire_pin) == 48, "pin layout");

/*
 * UNPIN and BELL (offset and length 0), COMMIT, and WORD: a cached pin that a new daemon has kept without its state
 * word gets it again; offset is its index in the page.
 */
struct wire_range {
	struct wire_header header;
	uint64_t pin;
	uint64_t offset; /* bytes of the file */
	uint64_t length;
};
static_assert(sizeof(struct wire_range) == 48, "range layout");

/* CANCEL: a PIN or COMMIT that waits ends with EINTR; if it does not wait, nothing happens. Answered by DONE. */
struct wire_cancel {
	struct wire_header header;
	uint64_t target; /* its request number */
};
static_assert(sizeof(struct wire_cancel) == 32, "cancel layout");

/* LIST. Descriptors: none, for all files; or one, an open file or an O_PATH one. */
struct wire_list {
	struct wire_header header;
};

/* MAP. Descriptors: none, for the whole pool; or one, an open file or an O_PATH one. */
struct wire_map {
	struct wire_header header;
	uint64_t offset; /* a file: extents that end behind it, as many as one message takes; bytes */
	uint64_t cells; /* the pool: in about so many pieces, 1 to WIRE_CELLS_MAX */
};
static_assert(sizeof(struct wire_map) == 40, "map layout");
#define WIRE_CELLS_MAX 65536u

/* ---- Answers ---- */

/* Descriptors: the event socket, and the state page (both new; for a session that came back: its page again). */
struct wire_welcome {
	struct wire_header header;
	uint32_t version;
	uint32_t flags; /* WIRE_WELCOME_ */
	uint64_t features;
	uint64_t session;
	uint8_t cookie[WIRE_COOKIE_BYTES];
	uint8_t pool_uuid[16];
	uint32_t page_words;
	uint32_t pins; /* that it has kept (coming back): each follows as PART..., EXTENTS..., PINNED with request 0 */
};
static_assert(sizeof(struct wire_welcome) == 88, "welcome layout");
#define WIRE_WELCOME_RECLAIMED 1u
#define WIRE_WELCOME_WRITEBACK 2u /* cache=writeback: commit through the kernel, too */
#define WIRE_WELCOME_READ_ONLY 4u

/* Descriptors: one, the part; a session is given it once for reading and, when it first pins for writing, for writing.
 */
struct wire_part {
	struct wire_header header;
	uint32_t part;
	uint32_t durability; /* WIRE_DURABILITY_ */
	uint64_t bytes;
	uint64_t alignment; /* of mappings of it: 4096, or a devdax node's */
	uint32_t flags; /* WIRE_PART_ */
	uint32_t reserved;
};
static_assert(sizeof(struct wire_part) == 56, "part layout");
#define WIRE_PART_WRITE 1u
#define WIRE_PART_MAP_SYNC 2u /* map it with MAP_SYNC */

#define WIRE_DURABILITY_MSYNC 1u
#define WIRE_DURABILITY_CPU_FLUSH 2u
#define WIRE_DURABILITY_EADR 3u

struct wire_extent {
	uint64_t offset; /* of the file, bytes */
	uint64_t length;
	uint64_t part_offset; /* bytes */
	uint32_t part; /* UINT32_MAX: zeros */
	uint32_t flags; /* WIRE_EXTENT_ */
};
static_assert(sizeof(struct wire_extent) == 32, "extent layout");
#define WIRE_EXTENT_DETACHED 1u
/* Of a FILE_MAP: */
#define WIRE_EXTENT_UNWRITTEN 2u /* allocated, and reads as zeros */
#define WIRE_EXTENT_PINNED 4u /* some of it */
#define WIRE_EXTENT_LOST 8u /* some of it */

/* EXTENTS and PINNED: pieces of the list, in file order; PINNED is the last one. On an error: no extents. */
struct wire_pinned {
	struct wire_header header;
	uint64_t pin;
	uint64_t ino;
	uint64_t offset;
	uint64_t length;
	uint32_t flags; /* WIRE_PIN_, as held */
	uint32_t word;
	uint32_t generation;
	uint32_t count; /* of extents in this message */
	struct wire_extent extent[];
};
static_assert(sizeof(struct wire_pinned) == 72, "pinned layout");
#define WIRE_EXTENTS_MAX ((WIRE_MESSAGE_MAX - sizeof(struct wire_pinned)) / sizeof(struct wire_extent))

struct wire_done {
	struct wire_header header;
};

/* One pin or one waiter, for `pinfs pins`. Who may not see a user's pins is not told of them. */
struct wire_listed {
	struct wire_header header;
	uint64_t pin; /* 0: this is a waiter */
	uint64_t ino;
	uint64_t offset; /* bytes */
	uint64_t length;
	uint64_t age; /* ns */
	uint64_t deadline; /* waiter: ns from now, UINT64_MAX: none */
	uint64_t detached; /* bytes in limbo */
	uint32_t pid;
	uint32_t uid;
	uint32_t flags; /* WIRE_PIN_ */
	uint32_t state; /* WIRE_STATE_ */
	uint32_t reason; /* waiter: 1 unmap, 2 write, 0 a pin that waits */
	uint32_t path_length;
	char command[16];
	char path[]; /* not terminated; where the file was when it was pinned */
};
static_assert(sizeof(struct wire_listed) == 120, "listed layout");
#define WIRE_STATE_IDLE 1u /* cached, and not in use */
#define WIRE_STATE_AWAY 2u /* its session is not connected */

/* Extents of a file, in order. None: there are no more. */
struct wire_file_map {
	struct wire_header header;
	uint64_t ino;
	uint64_t size;
	uint32_t count; /* of extents in this message */
	uint32_t reserved;
	struct wire_extent extent[];
};
static_assert(sizeof(struct wire_file_map) == 48, "file map layout");
#define WIRE_FILE_MAP_MAX ((WIRE_MESSAGE_MAX - sizeof(struct wire_file_map)) / sizeof(struct wire_extent))

/* Blocks of 4 KiB. What is none of these is in use by files, or the part's own. */
struct wire_cell {
	uint32_t free;
	uint32_t pinned; /* without those in limbo */
	uint32_t limbo;
	uint32_t lost; /* may be pinned, too */
};

/* Cells of a part, in order; parts in order. */
struct wire_pool_map {
	struct wire_header header;
	uint64_t cell_bytes; /* of each but the last of a part */
	uint64_t part_bytes;
	uint64_t first; /* number of the first cell in this message */
	uint32_t part;
	uint32_t count; /* of cells in this message */
	struct wire_cell cell[];
};
static_assert(sizeof(struct wire_pool_map) == 56, "pool map layout");
#define WIRE_POOL_MAP_MAX ((WIRE_MESSAGE_MAX - sizeof(struct wire_pool_map)) / sizeof(struct wire_cell))

/* kind and reason: the values of enum pin_event_kind and enum pin_reason, which are PINFS_EVENT_ and PINFS_REASON_. */
struct wire_event {
	struct wire_header header;
	uint32_t kind;
	uint32_t reason;
	uint64_t pin;
	uint64_t ino;
	uint64_t offset;
	uint64_t length;
	uint64_t deadline; /* ns from now; UINT64_MAX: none */
};
static_assert(sizeof(struct wire_event) == 72, "event layout");

/* ---- Checks: everything that the other side says ---- */

/* True if `size` bytes begin with a header that says so of itself: magic, length, nothing reserved. */
bool wire_header_valid(const void *message, size_t size);
/* True if requests of this type are known; of others only the header is. */
bool wire_request_known(unsigned type);
/* True if `size` bytes are a whole message of a known type, long enough for its fields, counts and lengths within it.
 */
bool wire_request_valid(const void *message, size_t size);
bool wire_answer_valid(const void *message, size_t size);
bool wire_event_valid(const void *message, size_t size);
/* Descriptors that a message of this type may bring: least and most. */
void wire_fds_expected(unsigned type, unsigned *ret_least, unsigned *ret_most);
void wire_header_set(struct wire_header *header, unsigned type, size_t length, uint64_t request, int error);

#endif
