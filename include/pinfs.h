/*
 * libpinfs: pins. A program pins a range of a file on a pinfs mount and then loads, stores and lets devices do DMA
 * straight in the persistent memory behind it. While a range is pinned its blocks stay exactly these blocks: who wants
 * to truncate, punch or free them waits, until it is unpinned or the mount's break_timeout is over.
 *
 * READ THIS FIRST
 * - A pin is a promise in both directions. Answer RECALL by pinfs_unpin() soon. If you do not, the file loses the
 * blocks (DETACHED) and you keep them: your address stays valid, nobody else gets the memory, but it is no longer the
 * file.
 * - Stores are durable after pinfs_persist(), and others see them after pinfs_commit(). Nothing else promises either.
 * - A write pin is trust: who has one can store anywhere in that data part.
 * - A page of the file that somebody stores to through the mount's mmap(2) or cache=writeback while you hold a write
 * pin of it is written back as a whole page, over your stores. PINFS_EXCLUSIVE protects against that. A read pin shows
 * what has been written back: fsync(2) such a file before.
 * - pinfs_commit() of a detached range gives -ESTALE: write(2) the data to where it belongs now.
 *
 * RETURN VALUES: 0 or a negative errno. Any function may return -ENOMEM, -EMFILE, -ENOTCONN (the daemon is gone and has
 * not come back yet: pins that you hold stay mapped and valid), -ETIMEDOUT (it is there, and does not answer), -EPROTO
 * (the other side is no pinfs).
 *
 * THREADS: every function may be called from any thread at any time, but for one rule: nobody uses a pin while, or
 * after, it is unpinned for the last time (a CACHED one: forgotten). The library starts no thread. Not for signal
 * handlers.
 *
 * FORK: a pin belongs to the process that took it. In the child its address is not mapped, pinfs_addr() gives NULL, and
 * functions on it give -EPERM; connect anew. There pinfs_disconnect() only frees what was inherited. Descriptors are
 * close-on-exec.
 *
 * A DAEMON THAT DIES: pins survive it. The library reconnects by itself, on the next call or when pinfs_event_fd()
 * wakes, and claims its pins; one that could not be kept is told by DETACHED.
 *
 * COST: pinfs_pin() and pinfs_commit() are a round trip to the daemon, and a durable record there of the pin.
 * pinfs_persist() is CPU flushes, no system call (msync(2) where the part is no persistent memory). A CACHED pin that
 * is there already: pinfs_pin() is two cheap system calls, pinfs_repin() and pinfs_unpin() are one atomic instruction.
 * A pin of one extent maps nothing: a data part is mapped once. Each extent of a fragmented pin is a mapping (see
 * vm.max_map_count): PINFS_CONTIGUOUS, or large writes, avoid that.
 */
#ifndef PINFS_H
#define PINFS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pinfs;
struct pinfs_pin;

/* ---- Connecting ---- */

/*
 * Opens a session with the daemon of the mount that `path` is on (the mountpoint, or anything below it). Blocks for a
 * round trip. -ENODEV: no pinfs mount; -EACCES: the mount's pin_access does not let you; -EPERM: the daemon cannot see
 * this process (another pid namespace); -EPROTONOSUPPORT: no common version of the protocol; -ESHUTDOWN: it is being
 * unmounted.
 */
int pinfs_connect(const char *path, struct pinfs **fsp);
/* Unpins everything, ends the session, frees it. NULL is fine. No other thread uses it or its pins any more. */
void pinfs_disconnect(struct pinfs *fs);

/* ---- Pinning ---- */

#define PINFS_READ 1u /* load only; the mapping cannot be stored to. The default */
#define PINFS_WRITE 2u /* load and store; holes are allocated and zeroed. The descriptor: O_RDWR, not O_APPEND */
#define PINFS_EXCLUSIVE 4u /* with WRITE: nobody else writes, or pins for writing; they recall you first */
#define PINFS_NONBLOCK 8u /* -EAGAIN rather than wait for others */
#define PINFS_EXTEND 16u /* with WRITE: past the end, too; the size grows at pinfs_commit() */
#define PINFS_CONTIGUOUS 32u /* one extent: the blocks are moved together first if they are not */
/* Keep it after the last pinfs_unpin(), idle, for pinfs_repin(); idle ones go when others want. 4096 of a session. */
#define PINFS_CACHED 64u

/*
 * Pins bytes [offset, offset + length) of the open regular file `fd`; `fd` may be closed at once. Any offset and
 * length; whole 4 KiB blocks are pinned. Blocks while a break of the range waits, and for zeroing of holes. With
 * CACHED, if this session has that pin of that file, range and flags, held or idle, it is that one again, held once
 * more.
 *
 * -EINVAL: length 0, unknown flags, or flags that do not go together; -ERANGE: past the end of the file (without
 * EXTEND); -EBADF: not open, O_PATH, or not in the right mode; -ENODEV: not of this mount; -EISDIR, -EINVAL: no regular
 * file; -EPERM: to write to what is immutable or append-only; -EROFS; -EAGAIN: NONBLOCK, and it would wait; -EDEADLK:
 * what it would wait for waits for a pin of yours; -EINTR: a signal came while it waited (its handler without
 * SA_RESTART), and nothing is pinned; -EBUSY: EXCLUSIVE, and others' write pins stayed, or the mount's break_policy is
 * fail; -ENOSPC; -ENOMEM: also, over the mount's pin_limit, too many mappings, or no room for one more CACHED pin;
 * -EMFILE: also, no number for the descriptor of a data part; -ESHUTDOWN; -ESTALE: the file is gone; -EIO: some of the
 * range is lost to a memory error (read(2) tells which: pin around it, or overwrite those blocks whole).
 */
int pinfs_pin(struct pinfs *fs, int fd, off_t offset, size_t length, unsigned flags, struct pinfs_pin **pinp);
/*
 * Ends the pin; the handle is gone, and the address is no longer yours, though something may stay mapped there. A
 * CACHED pin that nobody holds any more stays, idle, with its handle and its address. Blocks for a round trip; of a
 * CACHED pin: one atomic instruction, and a message if others want it. Always ends it; the return value says whether
 * the daemon has heard: 0, or -ENOTCONN (it will when it is back). -EINVAL: a CACHED pin that nobody holds.
 */
int pinfs_unpin(struct pinfs_pin *pin);
/*
 * Pins an idle, or held, CACHED pin once more: one atomic instruction, no system call. -ESTALE: it was taken away
 * (then pinfs_forget() it and pin anew); -EINVAL: not CACHED; -EOVERFLOW: held half a billion times. Each success needs
 * its pinfs_unpin().
 */
int pinfs_repin(struct pinfs_pin *pin);
/*
 * Gives an idle CACHED pin back, or one that was taken away: its handle is gone. A round trip. -EBUSY: it is held;
 * -EINVAL: not CACHED; -ENOTCONN: gone, and the daemon has not heard yet.
 */
int pinfs_forget(struct pinfs_pin *pin);

/* ---- Using it ---- */

/*
 * The memory behind the first byte, readable (and writable, by PINFS_WRITE) for pinfs_length() bytes, or NULL if the
 * part cannot be mapped as one piece (see pinfs_extents()). It is page-aligned where the offset is. Stays valid until
 * unpinned, also after DETACHED and when the daemon dies; a load or store never gets SIGBUS because the file was
 * truncated. But memory can fail: a load (or pinfs_persist()) of what is lost is a SIGBUS of this process, as with any
 * mapping, maybe before any event tells of it; who must survive that has a handler of its own.
 */
void *pinfs_addr(const struct pinfs_pin *pin);
size_t pinfs_length(const struct pinfs_pin *pin);
uint64_t pinfs_id(const struct pinfs_pin *pin); /* as events name it */

struct pinfs_extent {
	void *addr; /* of its first byte; never NULL */
	off_t offset; /* of the file, bytes */
	size_t length; /* bytes */
	uint32_t part; /* number of the data part; UINT32_MAX: zeros (holes of a read-only mount) */
	uint32_t flags; /* 0 */
	uint64_t part_offset; /* bytes */
};
/* The pieces, in file order, cut to the bytes that were asked for. They live as long as the pin. */
int pinfs_extents(const struct pinfs_pin *pin, const struct pinfs_extent **extents, size_t *count);

/*
 * Makes stores to bytes [offset, offset + length) of the pin durable (offsets from the pin's start; length 0: to its
 * end). No round trip: CPU flushes, or msync(2) where the part is no persistent memory. -ERANGE; -EBADF: a read pin;
 * -EIO.
 */
int pinfs_persist(struct pinfs_pin *pin, size_t offset, size_t length);
/*
 * pinfs_persist(), and then everybody sees it: read(2), mmap, stat(2) with new mtime and ctime; of an EXTEND pin the
 * size grows to the end of the range. setuid, setgid and file capabilities are cleared as write(2) would. Blocks for a
 * round trip and while the kernel drops its pages. -ESTALE: detached, nothing was changed; -EAGAIN: durable, but the
 * kernel's caches could not be told yet because a break waits on the file: unpin, or try again; -ENOSPC; and as
 * pinfs_persist().
 */
int pinfs_commit(struct pinfs_pin *pin, size_t offset, size_t length);

/* ---- Events ---- */

enum {
	PINFS_EVENT_RECALL = 1, /* somebody waits for this range until the deadline: unpin it, or lose it */
	PINFS_EVENT_DETACHED =
		2, /* REASON_UNMAP: the range is no longer the file's; REASON_WRITE: no longer exclusive */
	PINFS_EVENT_CONFLICT = 3, /* somebody stored through mmap(2) into your exclusive range: that was refused */
	/* These bytes are lost, by an uncorrectable memory error: do not touch them, unpin them. Told again on return.
	 */
	PINFS_EVENT_POISON = 4,
	PINFS_EVENT_SHUTDOWN = 5, /* the filesystem is being unmounted: unpin everything */
};
enum {
	PINFS_REASON_UNMAP = 1, /* truncate, punch, zero, unlink, move */
	PINFS_REASON_WRITE = 2, /* write(2), or a write pin, of somebody else */
};

struct pinfs_event {
	uint32_t kind;
	uint32_t reason; /* RECALL and DETACHED; else 0 */
	uint64_t pin; /* pinfs_id(); 0: all of them (SHUTDOWN, or too many events to be told apart) */
	uint64_t file; /* inode number, as st_ino */
	uint64_t offset; /* bytes of the file */
	uint64_t length;
	uint64_t deadline; /* ns, CLOCK_MONOTONIC; 0: none, UINT64_MAX: never */
};

/* A descriptor to poll(2) for input; it stays the same for the life of `fs`, across daemons. Never read or close it. */
int pinfs_event_fd(struct pinfs *fs);
/*
 * The next event; does not wait for one. -EAGAIN: there is none; -ENOTCONN: nor is there a daemon: poll on. Events of
 * one pin and kind may have been joined into one that covers all. A pin may be named that pinfs_pin() has not returned
 * yet, or that was just unpinned: events and answers come by different ways.
 */
int pinfs_next_event(struct pinfs *fs, struct pinfs_event *event);

#ifdef __cplusplus
}
#endif

#endif
