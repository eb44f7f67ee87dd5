/*
 * libpinfs-rdma: the order of pin, registrations and endpoints, whatever fails. libpinfs and libfabric's provider are
 * stood in for: each step is noted.
 */
#include <pinfs-rdma.h>

#include <errno.h>
#include <rdma/fi_errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PIECES 3u

static char steps[256]; /* P pin, R register, E endpoint closed, M registration closed, U unpinned */
static unsigned extents_count;
static bool one_address;
static int pin_error, extents_error;
static unsigned register_fails_at, close_fails; /* 1: the first; 0: none */
static unsigned same_keys;
static uint64_t seen_access, seen_key;
static unsigned seen_flags;
static char memory[PIECES][64];

static void note(char step)
{
	size_t length = strlen(steps);

	assert_true(length + 1 < sizeof(steps));
	steps[length] = step;
	steps[length + 1] = '\0';
}

/* ---- In place of libpinfs ---- */

int pinfs_pin(struct pinfs *fs, int fd, off_t offset, size_t length, unsigned flags, struct pinfs_pin **pinp)
{
	(void)fs, (void)fd, (void)offset, (void)length;
	seen_flags = flags;
	if (pin_error != 0)
		return pin_error;
	note('P');
	*pinp = (struct pinfs_pin *)memory;
	return 0;
}

int pinfs_unpin(struct pinfs_pin *pin)
{
	assert_ptr_equal(pin, memory);
	note('U');
	return -ENOTCONN; /* over all the same */
}

void *pinfs_addr(const struct pinfs_pin *pin)
{
	(void)pin;
	return one_address ? memory : NULL;
}

size_t pinfs_length(const struct pinfs_pin *pin)
{
	(void)pin;
	return sizeof(memory);
}

int pinfs_extents(const struct pinfs_pin *pin, const struct pinfs_extent **extents, size_t *count)
{
	static struct pinfs_extent all[PIECES];

	(void)pin;
	for (unsigned i = 0; i < PIECES; i++)
		all[i] = (struct pinfs_extent){.addr = memory[i],
					       .offset = 1000 + (off_t)(i * sizeof(memory[0])),
					       .length = sizeof(memory[0])};
	*extents = all;
	*count = extents_count;
	return extents_error;
}

/* ---- In place of a provider ---- */

static int close_fid(struct fid *fid)
{
	if (close_fails > 0 && --close_fails == 0)
		return -FI_EBUSY;
	note(fid->fclass == FI_CLASS_EP ? 'E' : 'M');
	if (fid->fclass == FI_CLASS_MR)
		free(fid);
	return 0;
}

static struct fi_ops fid_ops = {.size = sizeof(struct fi_ops), .close = close_fid};

static int mr_reg(struct fid *fid, const void *buffer, size_t length, uint64_t access, uint64_t offset, uint64_t key,
		  uint64_t flags, struct fid_mr **mr, void *context)
{
	(void)fid, (void)buffer, (void)length, (void)offset, (void)flags, (void)context;
	if (same_keys > 0) {
		same_keys--;
		return -FI_ENOKEY;
	}
	if (register_fails_at > 0 && --register_fails_at == 0)
		return -FI_EOPNOTSUPP;
	note('R');
	seen_access = access;
	seen_key = key;
	*mr = calloc(1, sizeof(**mr));
	assert_non_null(*mr);
	(*mr)->fid = (struct fid){.fclass = FI_CLASS_MR, .ops = &fid_ops};
	(*mr)->key = key;
	return 0;
}

static struct fi_ops_mr mr_ops = {.size = sizeof(struct fi_ops_mr), .reg = mr_reg};
static struct fid_domain domain = {.fid = {.fclass = FI_CLASS_DOMAIN, .ops = &fid_ops}, .mr = &mr_ops};
static struct fid_ep endpoints[2] = {{.fid = {.fclass = FI_CLASS_EP, .ops = &fid_ops}},
				     {.fid = {.fclass = FI_CLASS_EP, .ops = &fid_ops}}};
static char provider[16];
static struct fi_fabric_attr fabric_attr = {.prov_name = provider};
static struct fi_ep_attr ep_attr = {.type = FI_EP_MSG};
static struct fi_domain_attr domain_attr;
static const struct fi_info info = {.fabric_attr = &fabric_attr, .ep_attr = &ep_attr, .domain_attr = &domain_attr};

static int setup(void **state)
{
	(void)state;
	steps[0] = '\0';
	extents_count = PIECES;
	one_address = false;
	pin_error = extents_error = 0;
	register_fails_at = close_fails = same_keys = 0;
	(void)strcpy(provider, "tcp");
	ep_attr.type = FI_EP_MSG;
	domain_attr = (struct fi_domain_attr){.mr_key_size = 8};
	return 0;
}

static int make(unsigned flags, struct pinfs_rdma **ret_region)
{
	return pinfs_rdma_register((struct pinfs *)memory, &domain, &info, 3, 1000, sizeof(memory), flags, ret_region);
}

static void test_order(void **state)
{
	const struct pinfs_rdma_piece *pieces;
	struct pinfs_rdma *region;
	size_t count;

	(void)state;
	assert_int_equal(make(PINFS_WRITE, &region), 0);
	assert_int_equal(seen_access, FI_REMOTE_READ | FI_REMOTE_WRITE);
	pinfs_rdma_pieces(region, &pieces, &count);
	assert_int_equal(count, PIECES);
	for (unsigned i = 0; i < PIECES; i++) {
		assert_int_equal(pieces[i].offset, 1000 + i * sizeof(memory[0]));
		assert_int_equal(pieces[i].address, 0);
		assert_true(i == 0 || pieces[i].key != pieces[i - 1].key);
	}
	assert_int_equal(pinfs_rdma_attach(region, &endpoints[0]), 0);
	assert_int_equal(pinfs_rdma_attach(region, &endpoints[1]), 0);
	assert_int_equal(pinfs_rdma_end(region), 0);
	assert_string_equal(steps, "PRRREEMMMU");
}

static void test_one_address(void **state)
{
	const struct pinfs_rdma_piece *pieces;
	struct pinfs_rdma *region;
	size_t count;

	(void)state;
	one_address = true;
	domain_attr.mr_mode = FI_MR_VIRT_ADDR | FI_MR_PROV_KEY;
	assert_int_equal(make(PINFS_READ, &region), 0);
	assert_int_equal(seen_access, FI_REMOTE_READ);
	assert_int_equal(seen_key, 0);
	pinfs_rdma_pieces(region, &pieces, &count);
	assert_true(count == 1 && pieces[0].length == sizeof(memory) && pieces[0].address == (uintptr_t)memory);
	assert_int_equal(pinfs_rdma_end(region), 0);
	assert_string_equal(steps, "PRMU");
}

static void test_peers_read(void **state)
{
	struct pinfs_rdma *region;

	(void)state;
	assert_int_equal(make(PINFS_WRITE | PINFS_NONBLOCK | PINFS_RDMA_PEERS_READ, &region), 0);
	assert_int_equal(seen_flags, PINFS_WRITE | PINFS_NONBLOCK);
	assert_int_equal(seen_access, FI_REMOTE_READ);
	assert_int_equal(pinfs_rdma_end(region), 0);
}

/* Small keys stay small; one that is there already is drawn anew. */
static void test_keys(void **state)
{
	struct pinfs_rdma *region;

	(void)state;
	domain_attr.mr_key_size = 2;
	same_keys = 5;
	assert_int_equal(make(PINFS_READ, &region), 0);
	assert_true(seen_key <= UINT16_MAX);
	assert_int_equal(pinfs_rdma_end(region), 0);
}

static void test_refused(void **state)
{
	struct pinfs_rdma *region;

	(void)state;
	assert_int_equal(make(PINFS_CACHED, &region), -EINVAL);
	(void)strcpy(provider, "shm");
	assert_int_equal(make(PINFS_READ, &region), -EOPNOTSUPP);
	(void)strcpy(provider, "tcp;ofi_rxm");
	assert_int_equal(make(PINFS_READ, &region), -EOPNOTSUPP);
	(void)strcpy(provider, "verbs");
	assert_int_equal(pinfs_rdma_usable(&info), 0);
	assert_int_equal(pinfs_rdma_arrival(&info), PINFS_RDMA_ARRIVAL_READ);
	ep_attr.type = FI_EP_RDM;
	assert_int_equal(make(PINFS_READ, &region), -EOPNOTSUPP);
	ep_attr.type = FI_EP_MSG;
	pin_error = -ERANGE;
	assert_int_equal(make(PINFS_READ, &region), -ERANGE);
	assert_string_equal(steps, "");
	(void)strcpy(provider, "tcp");
	assert_int_equal(pinfs_rdma_arrival(&info), PINFS_RDMA_ARRIVAL_DELIVERY);
}

static void test_register_fails(void **state)
{
	static const char *const expected[] = {"PU", "PRMU", "PRRMMU"};
	struct pinfs_rdma *region;

	(void)state;
	for (unsigned i = 0; i < PIECES; i++) {
		steps[0] = '\0';
		register_fails_at = i + 1;
		assert_int_equal(make(PINFS_WRITE, &region), -EOPNOTSUPP);
		assert_string_equal(steps, expected[i]);
	}
	steps[0] = '\0';
	extents_error = -EPERM;
	assert_int_equal(make(PINFS_WRITE, &region), -EPERM);
	assert_string_equal(steps, "PU");
}

/* What libfabric does not close is not unpinned. */
static void test_close_fails(void **state)
{
	struct pinfs_rdma *region;

	(void)state;
	for (unsigned i = 1; i <= 1 + PIECES; i++) {
		steps[0] = '\0';
		assert_int_equal(make(PINFS_WRITE, &region), 0);
		assert_int_equal(pinfs_rdma_attach(region, &endpoints[0]), 0);
		close_fails = i;
		assert_int_equal(pinfs_rdma_end(region), -EBUSY);
		assert_null(strchr(steps, 'U'));
		assert_int_equal(pinfs_rdma_end(region), 0);
		assert_string_equal(steps, "PRRREMMMU");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_order, setup),	 cmocka_unit_test_setup(test_one_address, setup),
		cmocka_unit_test_setup(test_peers_read, setup),	 cmocka_unit_test_setup(test_keys, setup),
		cmocka_unit_test_setup(test_refused, setup),	 cmocka_unit_test_setup(test_register_fails, setup),
		cmocka_unit_test_setup(test_close_fails, setup),
	};

	return cmocka_run_group_tests_name("rdma", tests, NULL, NULL);
}
