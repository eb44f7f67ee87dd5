/*
 * FUSE over io_uring as the kernel has it, of which Debian 12's linux/fuse.h knows nothing yet. The names are the
 * kernel's.
 */
#ifndef PINFS_FRONT_URING_ABI_H
#define PINFS_FRONT_URING_ABI_H

#include <stdint.h>

#define HEADER_BYTES 128
enum uring_command {
	COMMAND_REGISTER = 1,
	COMMAND_COMMIT_AND_FETCH = 2,
};
struct uring_ent_in_out {
	uint64_t flags;
	uint64_t commit_id;
	uint32_t payload_sz;
	uint32_t padding;
	uint64_t reserved;
};
struct uring_req_header {
	char in_out[HEADER_BYTES]; /* fuse_in_header, fuse_out_header */
	char op_in[HEADER_BYTES];
	struct uring_ent_in_out ent;
};
struct uring_cmd_req {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t qid;
	uint8_t padding[6];
};

#endif
