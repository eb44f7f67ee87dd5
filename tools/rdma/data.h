/*
 * The peer's side of the fabric: a connection for each lease, and a ring of buffers that are in flight. Transfers end
 * in the order in which they began.
 */
#ifndef PINFS_TOOLS_RDMA_DATA_H
#define PINFS_TOOLS_RDMA_DATA_H

#include "fabric.h"
#include "link.h"

#include <pinfs-rdma.h>

#define DATA_SLOTS 8u
#define DATA_CHUNK (1u << 20)

struct data_slot {
	struct fi_context context; /* first: completions name it */
	uint8_t *memory; /* DATA_CHUNK bytes */
	uint64_t offset; /* of the file */
	size_t length;
	unsigned pending; /* operations that have not completed: one, or one for each piece that it touches */
};

struct data {
	struct link *link;
	struct fabric fabric;
	bool open; /* fabric is */
	struct fid_ep *endpoint; /* NULL: no lease */
	bool connected;
	uint8_t *memory;
	struct fid_mr *registration; /* of `memory`, where the provider wants that */
	enum pinfs_rdma_arrival arrival;
	struct remote_grant *grant; /* of the lease: a copy */
	unsigned first, count; /* slots in flight */
	struct data_slot slots[DATA_SLOTS];
};

int data_init(struct data *data, struct link *link);
void data_fini(struct data *data);
/*
 * Opens the fabric that the target uses. Before any lease: looking for devices can take seconds, in which no heartbeat
 * is sent and nothing should be pinned. -errno, with link->message.
 */
int data_open(struct data *data);

/* Connects to what `grant` names. -errno, with link->message; -ECANCELED: recalled. */
int data_connect(struct data *data, const struct remote_grant *grant);
void data_disconnect(struct data *data);

/* The next free slot, or NULL: data_wait() first. */
struct data_slot *data_free_slot(struct data *data);
/* slot->offset and length are set, within the grant: begins to write, or read, them. */
int data_begin(struct data *data, struct data_slot *slot, bool write);
/*
 * Waits for the oldest transfer in flight; *ret_slot is free when the next one is asked for. -ECANCELED: the lease is
 * wanted back, or has ended.
 */
int data_wait(struct data *data, struct data_slot **ret_slot);
/* Waits until `fd` can be read, for at most `timeout_ms`, and lets the rest go on. 1: it can; 0; -errno. */
int data_wait_fd(struct data *data, int fd, int timeout_ms);
/* After all writes have ended: they have arrived at the target (pinfs_rdma_arrival). */
int data_arrive(struct data *data);

#endif
