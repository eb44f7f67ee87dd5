/*
 * An entry's memory. libfuse wants a request in one piece, so it is
 *
 *   | header, for the kernel | room | payload |
 *                                ^ the request's header and its operation's are copied here: the payload follows
 *
 * It is touched only as far as it is used.
 */
#include "front/uring_abi.h"
#include "front/uring_queue.h"

#include "base/fault.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ROOM_BYTES 4096u /* a page for the header, and one for the room */

/* ---- Memory ---- */

static struct uring_req_header *header_of(const struct front_uring_entry *entry)
{
	return entry->iov[0].iov_base;
}

static size_t entry_bytes(const struct front_uring *uring)
{
	return 2 * ROOM_BYTES + uring->payload_max;
}

int front_uring_entry_add(struct front_uring_queue *queue, uint16_t qid, struct front_uring_entry **ret_entry)
{
	struct front_uring_entry *entry = calloc(1, sizeof(*entry));
	char *memory;

	if (entry == NULL)
		return -ENOMEM;
	memory = mmap(NULL, entry_bytes(queue->uring), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) {
		free(entry);
		return -ENOMEM;
	}
	entry->queue = queue;
	entry->memory = memory;
	entry->qid = qid;
	entry->iov[0] = (struct iovec){.iov_base = memory, .iov_len = sizeof(struct uring_req_header)};
	entry->iov[1] = (struct iovec){.iov_base = memory + 2 * ROOM_BYTES, .iov_len = queue->uring->payload_max};
	entry->older = atomic_load(&queue->entries);
	atomic_store(&queue->entries, entry);
	*ret_entry = entry;
	return 0;
}

void front_uring_entries_free(struct front_uring_queue *queue)
{
	struct front_uring_entry *entry = atomic_load(&queue->entries), *older;

	for (; entry != NULL; entry = older) {
		older = entry->older;
		munmap(entry->memory, entry_bytes(queue->uring));
		free(entry);
	}
}

/* ---- Requests ---- */

char *front_uring_message(struct front_uring_entry *entry, size_t *ret_length)
{
	const struct uring_req_header *header = header_of(entry);
	struct fuse_in_header in;
	size_t operation;
	char *message;

	memcpy(&in, header->in_out, sizeof(in));
	if (in.len < sizeof(in) + header->ent.payload_sz)
		return NULL;
	operation = in.len - sizeof(in) - header->ent.payload_sz;
	if (operation > sizeof(header->op_in) || header->ent.payload_sz > entry->iov[1].iov_len)
		return NULL;
	message = (char *)entry->iov[1].iov_base - operation - sizeof(in);
	memcpy(message, &in, sizeof(in));
	memcpy(message + sizeof(in), header->op_in, operation);
	entry->commit_id = header->ent.commit_id;
	entry->node = in.nodeid;
	atomic_store(&entry->unique, in.unique);
	*ret_length = in.len;
	return message;
}

/* ---- Answers ---- */

struct load {
	char *dest;
	const struct iovec *source;
};

static void do_load(void *arg)
{
	const struct load *load = arg;

	memcpy(load->dest, load->source->iov_base, load->source->iov_len);
}

/* False: some of it is lost (a file's blocks, which the answer to a read names). */
static bool load(char *dest, const struct iovec *source)
{
	struct load load = {.dest = dest, .source = source};
	const void *fault;

	return fault_run(do_load, &load, &fault);
}

int front_uring_fill(const struct front_uring_entry *entry, const struct iovec *iov, int count, size_t *ret_length)
{
	struct uring_req_header *header = header_of(entry);
	struct fuse_out_header out;
	char *payload = entry->iov[1].iov_base;
	size_t length = 0;
	int error = 0;

	memcpy(&out, iov[0].iov_base, sizeof(out));
	for (int i = 1; i < count && error == 0; i++) {
		if (iov[i].iov_len > entry->iov[1].iov_len - length || !load(payload + length, &iov[i]))
			error = -EFAULT;
		else
			length += iov[i].iov_len;
	}
	if (error != 0) {
		out.error = -EIO;
		length = 0;
	}
	out.len = (uint32_t)(sizeof(out) + length);
	memcpy(header->in_out, &out, sizeof(out));
	header->ent.payload_sz = (uint32_t)length;
	*ret_length = out.len;
	return error;
}
