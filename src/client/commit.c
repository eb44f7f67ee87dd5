#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <sys/stat.h>

/* Bytes [offset, +*length) of the pin; 0: to its end. */
static int check_range(const struct pinfs_pin *pin, size_t offset, size_t *length)
{
	if (!client_owns(pin->fs))
		return -EPERM;
	if (pin->access != CLIENT_WRITE)
		return -EBADF;
	if (offset >= pin->length || *length > pin->length - offset)
		return -ERANGE;
	if (*length == 0)
		*length = pin->length - offset;
	return 0;
}

/* The piece that has file byte `offset`. */
static size_t find_piece(const struct client_pieces *pieces, uint64_t offset)
{
	size_t low = 0;
	size_t high = pieces->count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if ((uint64_t)pieces->extent[middle].offset <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static int flush(const struct client_part *part, const void *address, size_t length)
{
	switch (atomic_load(&part->durability)) {
	case WIRE_DURABILITY_CPU_FLUSH:
		pmem_flush(address, length);
		return 0;
	case WIRE_DURABILITY_EADR:
		return 0;
	default:
		return pmem_msync(address, length) == 0 ? 0 : -errno;
	}
}

static int persist(const struct pinfs_pin *pin, uint64_t offset, uint64_t length)
{
	const struct client_pieces *pieces = &pin->pieces;
	uint64_t start = pin->offset + offset;
	const uint64_t end = start + length;

	for (size_t i = find_piece(pieces, start); start < end; i++) {
		const struct pinfs_extent *extent = &pieces->extent[i];
		uint64_t skip = start - (uint64_t)extent->offset;
		uint64_t bytes = extent->length - skip < end - start ? extent->length - skip : end - start;
		int error = flush(pieces->part[i], (const char *)extent->addr + skip, bytes);

		if (error != 0)
			return error;
		start += bytes;
	}
	/* Orders the flushes, and whatever the caller stored around the caches. */
	pmem_drain();
	return 0;
}

int pinfs_persist(struct pinfs_pin *pin, size_t offset, size_t length)
{
	int error = check_range(pin, offset, &length);

	return error != 0 ? error : persist(pin, offset, length);
}

static int tell(struct pinfs *fs, const struct pinfs_pin *pin, uint64_t offset, uint64_t length)
{
	int error = -ENOTCONN;

	/* Made twice it is the same. */
	for (int i = 0; i < 2 && error == -ENOTCONN; i++) {
		struct client_link *link;
		bool lost;

		error = client_link_get(fs, true, &link);
		if (error != 0)
			return error;
		pthread_mutex_lock(&fs->lock);
		lost = pin->lost || link->session != pin->session;
		pthread_mutex_unlock(&fs->lock);
		error = lost ? -ESTALE : client_call_range(fs, link, WIRE_COMMIT, pin->id, offset, length);
		client_link_return(fs, link);
	}
	return error == -ENOENT ? -ESTALE : error;
}

/*
 * In cache=writeback the kernel keeps the size and the times that it has. After the daemon: it has grown the size then,
 * so that fallocate(2) zeroes nothing, and it has refused what is detached.
 */
static int tell_kernel(const struct pinfs_pin *pin, uint64_t offset, uint64_t length)
{
	int result = 0;

	do
		result = pin->extend ? fallocate(pin->fd, 0, (off_t)offset, (off_t)length) : 0;
	while (result != 0 && errno == EINTR);
	if (result == 0)
		result = futimens(pin->fd, NULL);
	/* The mount that it was opened on is gone, and what its kernel side kept. */
	return result == 0 || errno == ENOTCONN ? 0 : -errno;
}

int pinfs_commit(struct pinfs_pin *pin, size_t offset, size_t length)
{
	struct pinfs *fs = pin->fs;
	int error;

	error = check_range(pin, offset, &length);
	if (error == 0)
		error = persist(pin, offset, length);
	if (error == 0)
		error = tell(fs, pin, pin->offset + offset, length);
	if (error == 0 && pin->fd >= 0)
		error = tell_kernel(pin, pin->offset + offset, length);
	return error;
}
