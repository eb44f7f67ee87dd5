/*
 * A pin and its registration, as one. R1: peers reach memory only while it is pinned: registered after the pin, and all
 * of endpoints, registrations, pin given up in this order, each only if the one before is certainly gone.
 */
#include <pinfs-rdma.h>

#include <errno.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* fi_errno(3): up to 255 these are errno's. */
#define FABRIC_ERRNO_MAX 255

struct pinfs_rdma {
	struct pinfs_pin *pin;
	struct fid_ep **endpoints;
	size_t endpoint_count;
	size_t count; /* of pieces that are registered */
	struct pinfs_rdma_piece *pieces;
	struct fid_mr **registrations; /* of each piece */
};

static int from_fabric(int result)
{
	if (result >= 0)
		return 0;
	return result >= -FABRIC_ERRNO_MAX ? result : -EIO;
}

int pinfs_rdma_usable(const struct fi_info *info)
{
	const char *provider = info->fabric_attr != NULL ? info->fabric_attr->prov_name : NULL;

	if (provider == NULL || info->ep_attr == NULL || info->domain_attr == NULL || info->ep_attr->type != FI_EP_MSG)
		return -EOPNOTSUPP;
	return strcmp(provider, "tcp") == 0 || strcmp(provider, "verbs") == 0 ? 0 : -EOPNOTSUPP;
}

enum pinfs_rdma_arrival pinfs_rdma_arrival(const struct fi_info *info)
{
	const char *provider = info->fabric_attr->prov_name;

	/* verbs takes the flag, and completes as if it were not there. */
	return strcmp(provider, "tcp") == 0 ? PINFS_RDMA_ARRIVAL_DELIVERY : PINFS_RDMA_ARRIVAL_READ;
}

/* A key that nobody guesses, where the provider lets us choose. */
static int choose_key(const struct fi_info *info, uint64_t *ret_key)
{
	*ret_key = 0;
	if ((info->domain_attr->mr_mode & FI_MR_PROV_KEY) != 0)
		return 0;
	if (getrandom(ret_key, sizeof(*ret_key), 0) != (ssize_t)sizeof(*ret_key))
		return -EIO;
	if (info->domain_attr->mr_key_size < sizeof(*ret_key))
		*ret_key &= (1ull << (8 * info->domain_attr->mr_key_size)) - 1;
	return 0;
}

static int register_piece(struct pinfs_rdma *region, struct fid_domain *domain, const struct fi_info *info,
			  void *memory, size_t length, off_t offset, uint64_t access)
{
	struct pinfs_rdma_piece *piece = &region->pieces[region->count];
	struct fid_mr *registration;
	uint64_t key;
	int error;

	/* A key of ours may be there already, once in 2^64. */
	do {
		error = choose_key(info, &key);
		if (error == 0)
			error = fi_mr_reg(domain, memory, length, access, 0, key, 0, &registration, NULL);
	} while (error == -FI_ENOKEY && (info->domain_attr->mr_mode & FI_MR_PROV_KEY) == 0);
	if (error != 0)
		return from_fabric(error);
	*piece = (struct pinfs_rdma_piece){
		.offset = offset,
		.length = length,
		.address = (info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0 ? (uintptr_t)memory : 0,
		.key = fi_mr_key(registration),
	};
	region->registrations[region->count++] = registration;
	return 0;
}

static int register_all(struct pinfs_rdma *region, struct fid_domain *domain, const struct fi_info *info, off_t offset,
			unsigned flags)
{
	bool writes = (flags & PINFS_WRITE) != 0 && (flags & PINFS_RDMA_PEERS_READ) == 0;
	uint64_t access = FI_REMOTE_READ | (writes ? FI_REMOTE_WRITE : 0);
	const struct pinfs_extent *extents;
	size_t count;
	int error;

	error = pinfs_extents(region->pin, &extents, &count);
	if (error != 0)
		return error;
	/* One address of it all needs one registration. */
	if (pinfs_addr(region->pin) != NULL)
		count = 1;
	region->pieces = calloc(count, sizeof(region->pieces[0]));
	region->registrations = calloc(count, sizeof(region->registrations[0]));
	if (region->pieces == NULL || region->registrations == NULL)
		return -ENOMEM;
	if (pinfs_addr(region->pin) != NULL)
		return register_piece(region, domain, info, pinfs_addr(region->pin), pinfs_length(region->pin), offset,
				      access);
	for (size_t i = 0; i < count && error == 0; i++)
		error = register_piece(region, domain, info, extents[i].addr, extents[i].length, extents[i].offset,
				       access);
	return error;
}

int pinfs_rdma_register(struct pinfs *fs, struct fid_domain *domain, const struct fi_info *info, int fd, off_t offset,
			size_t length, unsigned flags, struct pinfs_rdma **ret_region)
{
	struct pinfs_rdma *region;
	int error = pinfs_rdma_usable(info);

	if ((flags & PINFS_CACHED) != 0)
		return -EINVAL;
	if (error != 0)
		return error;
	region = calloc(1, sizeof(*region));
	if (region == NULL)
		return -ENOMEM;
	error = pinfs_pin(fs, fd, offset, length, flags & ~PINFS_RDMA_PEERS_READ, &region->pin);
	if (error != 0) {
		free(region);
		return error;
	}
	error = register_all(region, domain, info, offset, flags);
	if (error != 0) {
		/* R1: if one cannot be closed, its pin stays, until the process ends. */
		(void)pinfs_rdma_end(region);
		return error;
	}
	*ret_region = region;
	return 0;
}

void pinfs_rdma_pieces(const struct pinfs_rdma *region, const struct pinfs_rdma_piece **pieces, size_t *count)
{
	*pieces = region->pieces;
	*count = region->count;
}

struct pinfs_pin *pinfs_rdma_pin(const struct pinfs_rdma *region)
{
	return region->pin;
}

int pinfs_rdma_attach(struct pinfs_rdma *region, struct fid_ep *endpoint)
{
	struct fid_ep **more = realloc(region->endpoints, (region->endpoint_count + 1) * sizeof(*more));

	if (more == NULL)
		return -ENOMEM;
	region->endpoints = more;
	region->endpoints[region->endpoint_count++] = endpoint;
	return 0;
}

int pinfs_rdma_end(struct pinfs_rdma *region)
{
	int error;

	while (region->endpoint_count > 0) {
		error = from_fabric(fi_close(&region->endpoints[region->endpoint_count - 1]->fid));
		if (error != 0)
			return error;
		region->endpoint_count--;
	}
	while (region->count > 0) {
		error = from_fabric(fi_close(&region->registrations[region->count - 1]->fid));
		if (error != 0)
			return error;
		region->count--;
	}
	(void)pinfs_unpin(region->pin); /* R1 */
	free(region->registrations);
	free(region->pieces);
	free(region->endpoints);
	free(region);
	return 0;
}
