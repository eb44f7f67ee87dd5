/*
 * Pins: sessions of clients, grants, commits, the way down. For src/ctl, which speaks with the clients, and src/front.
 * The rules are in src/pin/README.md, the life of a pin in src/fs/pins.md.
 *
 * Functions return 0 or -errno. All are thread-safe; calls for one holder's same pin are the caller's to order.
 */
#ifndef PINFS_FS_PINS_H
#define PINFS_FS_PINS_H

#include "base/process.h"
#include "fs/fs.h"
#include "fs/wait.h"
#include "pin/pin.h"

/* What the filesystem asks of whoever talks to the kernel. Set once, before the first operation; NULL: nothing cached.
 */
struct fs_kernel {
	void *arg;
	/*
	 * Has the kernel write back and drop its pages of file bytes [offset, +length) (length 0: to the end), and its
	 * copy of the attributes, then calls done(done_arg) once, from any thread, with no lock held. Never blocks. One
	 * that is stuck holds up no other inode's. If it cannot be asked, done is called at once.
	 */
	void (*invalidate)(void *arg, uint64_t ino, uint64_t offset, uint64_t length, void (*done)(void *done_arg),
			   void *done_arg);
};
void fs_set_kernel(struct fs *fs, const struct fs_kernel *kernel);

struct fs_pin_policy {
	uint64_t break_timeout; /* ns; PIN_FOREVER: inf */
	bool break_detach; /* else fail */
	uint64_t pin_limit; /* bytes; 0: half of the data parts' */
	uint64_t grace; /* ns that a holder of an earlier daemon has for coming back */
};
/* Before fs_pins_start(), or later. */
void fs_set_pin_policy(struct fs *fs, const struct fs_pin_policy *policy);
/*
 * Starts the threads that resume, reap and watch; fs_open() starts none. stop: after fs_pins_drain(), and after the
 * last operation; before fs_close().
 */
int fs_pins_start(struct fs *fs);
void fs_pins_stop(struct fs *fs);
/*
 * Unmounting (rule 13): no new pins, holders are told, waits until all is unpinned, or for break_timeout (30 s if inf),
 * or until fs_pins_drain_end(). What is pinned then stays in the ledger. Returns the number of pins that are left.
 */
uint64_t fs_pins_drain(struct fs *fs);
void fs_pins_drain_end(struct fs *fs); /* any thread; async-signal-safe it is not */

/* ---- Sessions ---- */

#define FS_COOKIE_BYTES 16

struct fs_holder;

struct fs_holder_ops {
	/* As pin_ops.event: only queue, under a leaf lock. */
	void (*event)(void *data, const struct pin_event *event);
	/*
	 * Its process is dead, all of its pins are dropped and none of its state words is looked at any more, `data`
	 * will hear no more; only queue. The handle stays until fs_holder_close() or fs_holder_leave(), whichever was
	 * to come; until then its calls give -ESHUTDOWN. After fs_holder_leave() too, once, unless the holder was
	 * reclaimed.
	 */
	void (*dead)(void *data);
};

/*
 * A new session of the process, recorded durably. Takes the pidfd (also on failure), watches it. -ENOSPC, -ESHUTDOWN,
 * -EROFS (nothing can be recorded).
 */
int fs_holder_open(struct fs *fs, const struct process_identity *process, int pidfd, uid_t uid, gid_t gid,
		   const struct fs_holder_ops *ops, void *data, struct fs_holder **ret_holder);
/*
 * A session comes back: after a crash of the daemon, or of its socket. -ENOENT: no such cookie; -EPERM: another
 * process' or user's; -EBUSY: it is connected. Keeps the pins that it had.
 */
int fs_holder_reclaim(struct fs *fs, const uint8_t cookie[FS_COOKIE_BYTES], const struct process_identity *process,
		      int pidfd, uid_t uid, const struct fs_holder_ops *ops, void *data, struct fs_holder **ret_holder);
const uint8_t *fs_holder_cookie(const struct fs_holder *holder);
uint64_t fs_holder_session(const struct fs_holder *holder);
/* Goodbye: all pins are dropped. The holder is gone for the caller; no event comes after it returns. */
void fs_holder_close(struct fs *fs, struct fs_holder *holder);
/*
 * The socket ended without a goodbye: pins stay until the process dies (ops->dead tells) or comes back. As close
 * otherwise; the memory of the state words stays in use until then.
 */
void fs_holder_leave(struct fs *fs, struct fs_holder *holder);
/* One more reference of a handle, for a request that may outlast close and leave; good for fs_pin() and fs_commit(). */
void fs_holder_get(struct fs_holder *holder);
void fs_holder_put(struct fs_holder *holder);
/* Its pins, for reclaim; no lock is held in visit. As pin_visit(). */
int fs_holder_visit(struct fs *fs, struct fs_holder *holder, int (*visit)(void *arg, const struct pin_info *info),
		    void *arg);

/* ---- Pins ---- */

/* A piece of persistent memory behind a file range, for the client. */
struct fs_pin_extent {
	uint64_t offset; /* of the file, bytes */
	uint64_t length;
	uint32_t part; /* UINT32_MAX: zeros, of no part (ro mounts) */
	bool detached;
	uint64_t part_offset; /* bytes */
};

#define FS_PIN_NONBLOCK 0x100u /* beside PIN_FLAG_: -EAGAIN rather than wait */
#define FS_PIN_CONTIGUOUS 0x200u /* one extent: blocks are moved together first if they are not */

/* A pin that is asked for; lives until its last answer, as the wait in it. */
struct fs_pin_request {
	struct fs_wait wait; /* fs_wait_init() by the caller; `resume` calls fs_pin() again */
	struct fs_holder *holder;
	uint64_t ino;
	uint32_t generation; /* of the file handle; another: -ESTALE */
	uint32_t flags;
	uint64_t offset;
	uint64_t length;
	wire_word *word;
	const char *path;
	bool hurried; /* rather -ERESTART than wait for a lock; for this call, not for those that resume it */
	uint64_t ret_id; /* the pin, once it is granted */
	/* private: how far it has come */
	unsigned stage;
	uint64_t connection; /* of the holder, when it was asked */
	struct pin *pin;
	uint64_t lost; /* what fs_poison_count() said when it was taken */
	bool moving; /* it waits as a break, to move blocks together */
	bool written_back; /* the kernel has: the size is not behind its cache */
};
/*
 * 0: granted, durable; request->ret_id is it. A pin has no address outside of the filesystem: it may be dropped at any
 * time, by its process' death or (cached) by a break. -EINPROGRESS: `resume` will be called. -EAGAIN (NONBLOCK),
 * -EDEADLK, -EINTR, -EBUSY, -ESHUTDOWN, -ERANGE (past the end, without EXTEND), -EINVAL (length 0, or flags), -EFBIG,
 * -ENOSPC, -ENOMEM (also the user's limit), -ESTALE (no such file), -EROFS, -EPERM (to write
 * to what is immutable or append-only). -ERESTART (hurried): it takes more than looking up a few extents that are there
 * and recording them, or somebody has the locks; nothing has happened, to be called again by who has the time.
 */
int fs_pin(struct fs *fs, struct fs_pin_request *request);
/* -ENOENT: the holder has no such pin. */
int fs_unpin(struct fs *fs, struct fs_holder *holder, uint64_t id);
/* A cached pin that was restored gets its state word. -ENOENT; -EINVAL: not cached, or it has one. */
int fs_pin_set_word(struct fs *fs, struct fs_holder *holder, uint64_t id, wire_word *word);
int fs_pin_bell(struct fs *fs, struct fs_holder *holder, uint64_t id);
/*
 * Copies extents [start, ...) of a pin, whole blocks, at most `capacity` of them; returns how many. *ret_total is how
 * many there are. -ENOENT: no such pin (any more).
 */
ssize_t fs_pin_extents(struct fs *fs, struct fs_holder *holder, uint64_t id, size_t start,
		       struct fs_pin_extent *extents, size_t capacity, size_t *ret_total);

/*
 * Stores of the holder in file bytes [offset, +length), which it has made durable, become the file's: size, mtime,
 * ctime, setuid and capabilities; then the kernel drops what it has cached. Takes as long as that: at most 100 ms while
 * a break waits on the file.
 */
struct fs_commit_request {
	struct fs_wait wait; /* as above; `resume` calls fs_commit() again */
	struct fs_holder *holder;
	uint64_t pin;
	uint64_t offset;
	uint64_t length; /* 0: to the end of the pin */
	unsigned stage; /* private */
	uint64_t ino; /* private */
};
/* 0; -EINPROGRESS; -EAGAIN: durable, but a break waits on the file and the kernel could not be told yet; -ESTALE:
 * detached, or the file is gone; -ENOENT: no such pin; -EBADF: a read pin; -ERANGE: outside of the pin; -ENOSPC. */
int fs_commit(struct fs *fs, struct fs_commit_request *request);

/* Part `number` for a client: a new descriptor (of an open file of its own), read-only unless `write`. -ENOENT. */
int fs_part_client_fd(struct fs *fs, unsigned number, bool write, int *ret_fd);
struct fs_part_facts {
	uint64_t bytes;
	uint64_t alignment; /* of mappings */
	uint32_t durability; /* enum region_durability */
	bool map_sync;
};
int fs_part_facts(struct fs *fs, unsigned number, struct fs_part_facts *ret_facts);

/* ---- Where the blocks are (survey.c) ---- */

/* Whole blocks, in file order; all in bytes. */
struct fs_file_extent {
	uint64_t offset;
	uint64_t length;
	uint32_t part;
	uint64_t part_offset;
	bool unwritten; /* allocated, and reads as zeros */
	bool pinned; /* some of it */
	bool lost; /* some of it, to memory errors */
};
/* Extents of a regular file that end behind `offset`; returns how many, at most `capacity`. -EINVAL: no regular file.
 */
ssize_t fs_file_extents(struct fs *fs, uint64_t ino, uint64_t offset, struct fs_file_extent *extents, size_t capacity,
			uint64_t *ret_size);

/* What is not counted as one of these is in use by files, or the part's own; lost blocks may be pinned, too. */
enum fs_cell_kind {
	FS_CELL_FREE,
	FS_CELL_PINNED, /* not those in limbo */
	FS_CELL_LIMBO,
	FS_CELL_LOST,
	FS_CELL_KINDS,
};
struct fs_cell {
	uint32_t blocks[FS_CELL_KINDS];
};
struct fs_survey_part {
	uint64_t blocks;
	uint64_t cells;
	struct fs_cell *cell;
};
struct fs_survey {
	uint64_t cell_blocks; /* of all cells but the last of a part */
	unsigned parts;
	struct fs_survey_part part[];
};
/* All of the pool in about `cells` cells, and at most one more for each part. To be freed with free(3). -ENOMEM. */
int fs_survey(struct fs *fs, uint64_t cells, struct fs_survey **ret_survey);

void fs_pin_stats(struct fs *fs, struct pin_stats *ret_stats);
/* Blocks of limbo on media. */
uint64_t fs_limbo_blocks(struct fs *fs);
uint64_t fs_pinned_bytes(struct fs *fs, uint64_t ino);
/* As pin_visit(). */
int fs_pin_list(struct fs *fs, uint64_t ino, int (*visit_pin)(void *arg, const struct pin_info *info),
		int (*visit_waiter)(void *arg, const struct pin_wait_info *info), void *arg);
/* What the ledger of a pool that is not mounted says of living (or unseen) holders: mkfs --force asks. */
int fs_living_holders(const char *meta_path, int (*visit)(void *arg, const struct process_identity *process), void *arg,
		      struct message *message);

#endif
