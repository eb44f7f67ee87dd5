/*
 * Inside of libpinfs. README.md has the threads and the states.
 *
 * One mutex, pinfs.lock, protects what says so; it is never held while a thread waits for the daemon, sends to it, or
 * calls into a mount. pinfs_addr(), pinfs_persist(), and holds of cached pins need no lock: what they read is constant
 * while a pin lives.
 */
#ifndef PINFS_CLIENT_CLIENT_H
#define PINFS_CLIENT_CLIENT_H

#include <pinfs.h>
#include "wire/wire.h"
#include "wire/word.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

#define CLIENT_BLOCK 4096u

/* ---- message.c: packets ---- */

struct client_message {
	_Alignas(8) unsigned char bytes[WIRE_MESSAGE_MAX];
	size_t size;
	int fds[WIRE_FDS_MAX]; /* whoever keeps one puts -1 in its place */
	unsigned fd_count;
};

/* Sends one packet, with the descriptor `attached` unless it is -1. `flags`: 0 or MSG_DONTWAIT. -EINTR, -EAGAIN. */
int client_send(int socket, const void *message, size_t length, int attached, int flags);
/*
 * Receives one packet that `valid` likes. -EINTR, -EAGAIN, -ENOTCONN (the other side has ended), -EMFILE (descriptors
 * were lost), -EPROTO. On success the caller closes what it does not keep.
 */
int client_receive(int socket, bool (*valid)(const void *message, size_t size), int flags,
		   struct client_message *message);
void client_message_close(struct client_message *message);
const struct wire_header *client_message_header(const struct client_message *message);

/* ---- call.c: requests and their answers ---- */

/* A number that nobody waits for: its answer, if one comes, is thrown away. */
#define CLIENT_NOBODY UINT32_MAX

/* Connection to one daemon, from its WELCOME to its end. Lock: pinfs.lock, unless it says otherwise. */
struct client_link {
	unsigned refs;
	int error; /* 0: alive; else what its calls get */
	uint64_t session; /* constant; its number: pins of another one are gone */
	int socket; /* constant; any thread sends, the leader receives */
	int event_socket; /* constant */
	bool reading; /* a thread is receiving: the leader */
	struct client_message answer; /* the leader's */
	struct client_message event;
	struct client_call **calls; /* by slot, the low half of a request's number */
	uint32_t *free_slots;
	uint32_t free_count;
	uint32_t capacity;
	uint32_t sequence;
	struct client_call *followers; /* asleep until they are answered, or are to lead */
};

struct client_extents {
	struct wire_extent *extent;
	size_t count;
	size_t capacity;
};
/* Appends. -ENOMEM. */
int client_extents_add(struct client_extents *extents, const struct wire_extent *extent, size_t count);

/* A request that waits; on the stack of its thread. */
struct client_call {
	/* Set by the caller. */
	bool must; /* if it cannot be sent the link has failed: the next one settles it */
	bool interruptible;
	size_t most_extents; /* of a PIN; 0: extents are no answer to it */
	unsigned takes; /* LIST, MAP: also answers of this type go to `take`; 0: none */
	int (*take)(void *arg, const struct wire_header *answer); /* under pinfs.lock; not 0: ignores the rest */
	void *arg;
	/* The answer. */
	struct wire_pinned pinned; /* of a PIN, the last piece */
	bool granted; /* PINNED has come, without an error */
	struct client_extents extents; /* the caller frees extents.extent */
	/* call.c's. */
	uint64_t number;
	bool done;
	bool cancelled;
	bool asleep; /* in link->followers */
	int error;
	int trouble; /* the answer could not be kept, and why */
	_Atomic uint32_t wake; /* futex */
	struct client_call *next, *previous;
};

/* Takes both sockets, also on failure. refs is 1. -ENOMEM. */
int client_link_create(int socket, int event_socket, uint64_t session, struct client_link **ret_link);
/* Lock held. */
void client_link_put(struct client_link *link);
/* Lock held: the link is at its end. Its calls get `error`; if it is the session's, the session is away. */
void client_link_fail(struct pinfs *fs, struct client_link *link, int error);

/*
 * Sends the request and waits for its answer: that error, or -ENOTCONN: the link has ended, -EINTR: as asked for,
 * -EMFILE, -ENOMEM (the request may have succeeded: see `granted`), -EPROTO. The header is set here.
 */
int client_call(struct pinfs *fs, struct client_link *link, struct client_call *call, void *message, size_t length,
		unsigned type, int attached);
/* The same for an UNPIN or COMMIT. */
int client_call_range(struct pinfs *fs, struct client_link *link, unsigned type, uint64_t pin, uint64_t offset,
		      uint64_t length);
/* Sends a request that nobody waits for. */
void client_tell(struct pinfs *fs, struct client_link *link, void *message, size_t length, unsigned type);

/* ---- connect.c: finding the daemon and greeting it ---- */

/* Where the mount that `path` is on begins. *ret_root is the caller's to free. */
int client_mount_root(const char *path, char **ret_root);
/* The socket of the mount that `path` is on. -ENODEV: no pinfs mount. */
int client_socket_path(const char *path, char *ret_path, size_t size);
int client_start_time(uint64_t *ret_ticks);

/* What WELCOME brought. */
struct client_welcome {
	struct wire_welcome fields;
	int event_socket;
	int page;
};
/*
 * Connects to the socket at `path` and says HELLO; `cookie` NULL: a new session, else `page` is that session's. What
 * follows WELCOME is not read. -ENOTCONN: nobody there; -ETIMEDOUT; or the daemon's refusal.
 */
int client_greet(const char *path, uint64_t start_time, const uint8_t *cookie, int page, int *ret_socket,
		 struct client_welcome *ret_welcome);
/* From now on receiving blocks for as long as it takes. */
int client_greeted(int socket);

/* ---- part.c: data parts ---- */

enum client_access { CLIENT_READ, CLIENT_WRITE };

/* Lives until the session ends. */
struct client_part {
	struct client_part *next; /* constant once listed */
	uint32_t number;
	bool map_sync;
	_Atomic uint32_t durability; /* WIRE_DURABILITY_ */
	uint64_t bytes;
	_Atomic uint64_t present; /* of these; fewer if its file was cut short */
	uint64_t granule; /* mappings of it start and end at multiples of this */
	dev_t dev; /* what it is: the daemon's next part of that number may be another file */
	ino_t ino;
	/* By access. Lock. */
	int fd[2]; /* -1: not given yet */
	void *map[2]; /* of the whole part; NULL: not mapped yet */
};

/* Lock held. Takes the descriptor, also on failure. -EPROTO, -ENOMEM. */
int client_part_add(struct pinfs *fs, const struct wire_part *message, int fd);
/* Lock held: the part of that number that the session has been given with that access; NULL: none. */
struct client_part *client_part_find(struct pinfs *fs, uint32_t number, enum client_access access);
/* Lock not held: the whole part, mapped. */
int client_part_map(struct pinfs *fs, struct client_part *part, enum client_access access, void **ret_base);
/*
 * Closes and frees all, and unmaps them if they are `mapped` (not in a child). The list is as it should be at any time;
 * the tree need not be in a child whose parent was changing it: then `whole` is false.
 */
void client_parts_close(struct pinfs *fs, bool whole, bool mapped);
/* Room for `length` bytes at an address that is `remainder` modulo `alignment` (a power of two). */
int client_reserve(size_t length, size_t alignment, size_t remainder, void **ret_room);
/* Maps part bytes [offset, +length) at `address`, without access yet: see client_open_room(). */
int client_map_at(void *address, size_t length, const struct client_part *part, enum client_access access, int fd,
		  uint64_t offset);
/* Gives access to what is mapped, after it is sure that no child inherits it. */
int client_open_room(void *address, size_t length, enum client_access access);
#define CLIENT_HUGE ((size_t)2 << 20)

/* ---- map.c: the pieces of a pin ---- */

/* Of a pin; constant while it lives. */
struct client_pieces {
	size_t count;
	struct pinfs_extent *extent; /* cut to the range of the pin, neighbours joined */
	struct client_part **part; /* of each; NULL: zeros */
	void *addr; /* of the first byte; NULL: not in one piece */
	void *map; /* own mapping; NULL: it uses those of the parts */
	size_t map_length;
};

/*
 * The pieces of [offset, +length) as the daemon tells them, not mapped yet. Lock held. -EPROTO: they do not cover it,
 * or name what was not given.
 */
int client_pieces_init(struct pinfs *fs, const struct wire_extent *extent, size_t count, uint64_t offset,
		       uint64_t length, enum client_access access, struct client_pieces *ret_pieces);
/* Lock not held. -ENOMEM: also, too many mappings (vm.max_map_count). */
int client_pieces_map(struct pinfs *fs, struct client_pieces *pieces, enum client_access access);
bool client_pieces_equal(const struct client_pieces *a, const struct client_pieces *b);
void client_pieces_fini(struct client_pieces *pieces);

/* ---- cached.c: state words ---- */

/* Pins of one session have their words in one page; it lives as long as they do. Lock. */
struct client_page {
	unsigned refs;
	int fd;
	void *map; /* NULL: in a child, where it is not mapped */
	uint32_t *free_words;
	uint32_t free_count;
	uint32_t words;
};
/* Takes the descriptor, also on failure. */
int client_page_open(int fd, uint32_t words, struct client_page **ret_page);
void client_page_put(struct client_page *page);
/* Lock held. -ENOMEM: all are in use. A word's reference keeps its page; its count is 1. */
int client_word_get(struct client_page *page, uint32_t *ret_index);
void client_word_put(struct client_page *page, uint32_t index);

/* Which cached pin is the same one. */
struct client_key {
	uint64_t dev;
	uint64_t ino;
	uint64_t offset;
	uint64_t length;
	uint32_t flags;
};
int client_key_init(int fd, uint64_t offset, uint64_t length, uint32_t flags, struct client_key *ret_key);
/* Lock held. A pin of that key that is held once more now, or NULL. */
struct pinfs_pin *client_cached_hold(struct pinfs *fs, const struct client_key *key);
/* Lock held. */
void client_cached_insert(struct pinfs *fs, struct pinfs_pin *pin);
void client_cached_remove(struct pinfs *fs, struct pinfs_pin *pin);
/* Ends one hold. -EINVAL: there was none. */
int client_word_release(struct pinfs_pin *pin);
void client_ring(struct pinfs *fs, struct client_link *link, uint64_t id);

/* ---- pin.c ---- */

struct pinfs_pin {
	/* Constant. */
	struct pinfs *fs;
	uint64_t session;
	uint64_t id;
	uint64_t ino;
	uint64_t offset;
	uint64_t length;
	enum client_access access;
	bool extend;
	int fd; /* own descriptor of the file, for commits through the kernel's cache; -1: none */
	struct client_pieces pieces;
	wire_word *word; /* NULL: not CACHED */
	struct client_page *page;
	uint32_t word_index;
	struct client_key key;
	/* Lock. */
	uint32_t flags; /* WIRE_PIN_; EXCLUSIVE goes when that is lost */
	bool known; /* in fs->cached */
	bool lost; /* the daemon that came back does not have it, or has it otherwise: nothing is committed */
	bool unknown; /* lost, and not even its number is the daemon's: nothing is sent about it */
	bool announced; /* in fs->news */
	struct pinfs_event news[2]; /* that the library tells of it itself, by reason - 1; kind 0: nothing */
	struct pinfs_pin *next_news, *previous_news;
	struct pinfs_pin *next, *previous; /* in fs->pins */
};

/* Lock held: takes it out of all lists. */
void client_pin_detach(struct pinfs *fs, struct pinfs_pin *pin);
/* Lock not held, detached: unmaps, tells the daemon, frees. -ENOTCONN: the daemon has not heard. */
int client_pin_end(struct pinfs *fs, struct pinfs_pin *pin);
/* Lock held (or nobody else is there), detached. Unmaps and frees, without a word to the daemon. */
void client_pin_free(struct pinfs_pin *pin);

/* ---- event.c ---- */

int client_poller_open(struct pinfs *fs);
void client_poller_close(struct pinfs *fs);
/* Lock held. */
int client_poller_watch(struct pinfs *fs, const struct client_link *link);
/* Lock held. Whoever polls is woken now and then while the session is away, to look for the daemon. */
void client_poller_away(struct pinfs *fs, bool away);
/* Lock held. An event of the library's own: the daemon that should have told it is gone. */
void client_announce(struct pinfs *fs, struct pinfs_pin *pin, uint32_t reason, uint64_t offset, uint64_t length);
void client_announce_cancel(struct pinfs *fs, struct pinfs_pin *pin);

/* ---- session.c ---- */

struct pinfs {
	/* Constant. */
	const uint32_t *owner; /* in a page that is wiped in a child: 1, or 0 there */
	char *root; /* of the mount: where to ask for the next daemon */
	uint64_t start_time;
	uint8_t pool_uuid[16];
	int epoll_fd;
	int news_fd; /* eventfd: there are news */
	int timer_fd; /* ticks while away */
	pthread_mutex_t lock;
	pthread_cond_t returned; /* reconnecting has become false */
	/* Lock. While `reconnecting` one thread owns cookie and socket_path. */
	char socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	uint8_t cookie[WIRE_COOKIE_BYTES];
	bool writeback; /* the kernel owns sizes and times */
	bool reconnecting;
	struct client_link *link; /* NULL: away */
	struct client_page *page;
	struct client_part *parts; /* all */
	void *newest_parts; /* tsearch(3) tree by number */
	struct pinfs_pin *pins;
	struct pinfs_pin *first_news, *last_news;
	void *cached; /* tsearch(3) tree of pins by key */
};

static inline bool client_owns(const struct pinfs *fs)
{
	return *fs->owner != 0;
}

/*
 * The link, connecting again if the session is away; the caller puts it. -ENOTCONN: the daemon is not back. With
 * `wait` false: -EAGAIN if another thread is at it.
 */
int client_link_get(struct pinfs *fs, bool wait, struct client_link **ret_link);
void client_link_return(struct pinfs *fs, struct client_link *link);

/* ---- restore.c: what the next daemon has kept ---- */

struct client_kept;
/* Reads the pins that follow WELCOME. Lock not held. */
int client_kept_read(struct pinfs *fs, int socket, uint32_t count, struct client_kept **ret_kept);
/* Lock held: compares with what the session has; pins that are not kept as they were are lost, and announced. */
void client_kept_compare(struct pinfs *fs, struct client_kept *kept);
/* Lock not held: gives back what the session has no more, and rings for what was wanted. */
void client_kept_settle(struct pinfs *fs, struct client_link *link, struct client_kept *kept);
void client_kept_free(struct client_kept *kept);
/* Lock held: the session is gone; all of its pins are lost. */
void client_lose_all(struct pinfs *fs);

#endif
