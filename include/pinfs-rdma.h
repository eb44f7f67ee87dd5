/*
 * libpinfs-rdma: pins that other machines reach. It keeps a pin (pinfs.h) and its registration with libfabric together,
 * so that no device and no provider can touch a block that has been given up. Needs libfabric; libpinfs does not.
 *
 * READ THIS FIRST
 * - The order is: pin, register, let peers in; then: no peer can reach it any more, deregister, unpin. A region does
 * the first half when it is made and the second in pinfs_rdma_end(). Answer RECALL by pinfs_rdma_end(), not by
 * pinfs_unpin().
 * - Closing a registration is not enough. A provider that copies with the CPU (tcp) looks at the key when a transfer
 * begins, and goes on copying after the registration was closed, and libpinfs' mapping stays where it was: these bytes
 * would be another file's. So endpoints by which peers reach a region are attached to it, and pinfs_rdma_end() closes
 * them first. An endpoint that is not attached must be closed by you before.
 * - A remote write is in a file when the TARGET has called pinfs_commit() for it, and by then durable. What the
 * initiator does before it asks for that is what pinfs_rdma_arrival() says.
 * - To keep a registration for the next time, keep the region. PINFS_CACHED is refused: an idle cached pin is taken
 * away without its holder's help, and its blocks would still be registered.
 *
 * PROVIDERS: verbs and tcp. shm is refused: with it the initiator stores in the target's memory by itself
 * (process_vm_writev(2), no key is looked at), so the target cannot end that; programs on one machine pin for
 * themselves.
 *
 * RETURN VALUES and FORK as in pinfs.h. THREADS: different regions from different threads; one region from one at a
 * time.
 */
#ifndef PINFS_RDMA_H
#define PINFS_RDMA_H

#include <pinfs.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pinfs_rdma;

/* Providers that a region can be used with: 0, or -EOPNOTSUPP. */
int pinfs_rdma_usable(const struct fi_info *info);

/* What an initiator does after its writes have completed and before it asks the target to commit. */
enum pinfs_rdma_arrival {
	/*
	 * Nothing: writes posted with FI_DELIVERY_COMPLETE complete when they are in the target's memory, where its
	 * CPU sees them (tcp).
	 */
	PINFS_RDMA_ARRIVAL_DELIVERY = 1,
	/*
	 * Reads one byte of what it wrote last, on the same endpoint: the read pushes what the adapters and the bus
	 * still have into memory, or the target's cache, in front of it (verbs: its completions say that the other
	 * adapter has it, no more).
	 */
	PINFS_RDMA_ARRIVAL_READ = 2,
};
enum pinfs_rdma_arrival pinfs_rdma_arrival(const struct fi_info *info);

/* With PINFS_WRITE: peers may read only, all the same. For kernels that register no memory that cannot be written. */
#define PINFS_RDMA_PEERS_READ 0x80000000u
/*
 * Pins bytes [offset, offset + length) of `fd` and registers them with `domain`, which was opened with `info`: to be
 * read by peers, and with PINFS_WRITE to be written. flags: PINFS_READ, WRITE, EXCLUSIVE, NONBLOCK, EXTEND, CONTIGUOUS,
 * and PINFS_RDMA_PEERS_READ. As pinfs_pin(); and -EINVAL: PINFS_CACHED; -EOPNOTSUPP: pinfs_rdma_usable(), or the kernel
 * does not let a device have memory of this kind (a data part in an ordinary file, or on fsdax, with verbs); -EFAULT:
 * with PINFS_READ and verbs, a kernel before 6.2: pin for writing, with PINFS_RDMA_PEERS_READ; -ENOMEM: also, more than
 * the limit of locked memory (RLIMIT_MEMLOCK) with verbs; or what fi_mr_reg(3) gave.
 */
int pinfs_rdma_register(struct pinfs *fs, struct fid_domain *domain, const struct fi_info *info, int fd, off_t offset,
			size_t length, unsigned flags, struct pinfs_rdma **ret_region);

struct pinfs_rdma_piece {
	off_t offset; /* of the file, bytes */
	size_t length;
	uint64_t address; /* for fi_read(3) and fi_write(3) of a peer */
	uint64_t key;
};
/* In file order, one where the pin has one address. They live as long as the region. */
void pinfs_rdma_pieces(const struct pinfs_rdma *region, const struct pinfs_rdma_piece **pieces, size_t *count);
/* For pinfs_commit(), and pinfs_id() to know its events. Never unpin it. */
struct pinfs_pin *pinfs_rdma_pin(const struct pinfs_rdma *region);

/*
 * The endpoint is the region's from now on, who closes it; peers reach the region by it. Its event and completion
 * queues stay the caller's, and open until then. -ENOMEM: it is still the caller's.
 */
int pinfs_rdma_attach(struct pinfs_rdma *region, struct fid_ep *endpoint);

/*
 * Closes the attached endpoints, the registrations, and then unpins and frees. If libfabric refuses one of the first
 * two (-EBUSY or what it gave) nothing more is done, and the pin is held: ask again, or end the process, which ends all
 * of it in the same order. What pinfs_unpin() says of the daemon is not passed on: the pin is over.
 */
int pinfs_rdma_end(struct pinfs_rdma *region);

#ifdef __cplusplus
}
#endif

#endif
