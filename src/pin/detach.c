/* Blocks that leave their file while they are pinned, and what happens to blocks by themselves. */
#include "pin/table.h"

#include "base/arith.h"

#include <assert.h>

int pin_counted(struct pin_table *table, uint64_t phys, uint64_t length, uint64_t *ret_phys, uint64_t *ret_length)
{
	return pin_counts_leave(&table->counts, phys, length, ret_phys, ret_length);
}

/* The blocks are in limbo now: what that changes for one pin that has `blocks` of them. */
static void detach(struct pin_table *table, struct pin_file *file, struct pin *pin, uint64_t blocks, uint64_t first,
		   uint64_t last)
{
	if (pin->detached_blocks == 0)
		pin_add(&table->detaches, 1);
	pin->detached_blocks += blocks;
	assert(pin->detached_blocks <= pin->blocks);
	if (pin->detached_blocks == pin->blocks) {
		pin_interval_remove(&file->pins, &pin->range);
		LIST_INSERT_HEAD(&file->gone, pin, gone_link);
	}
	pin_recount(file, pin);
	pin_tell(pin, PIN_EVENT_DETACHED, PIN_UNMAP, first, last, 0);
}

static void detach_pins(struct pin_table *table, struct pin_file *file, uint64_t file_block, uint64_t phys,
			uint32_t length, struct pin_reap_list *queue)
{
	uint64_t last = file_block + length;
	struct pin_interval *next;

	for (struct pin_interval *at = pin_interval_first(&file->pins, file_block, last); at != NULL;
	     at = pin_interval_next(at, file_block, last)) {
		struct pin *pin = pin_file_pin(at);

		if (pin_blocks_at(pin, file_block, phys, length) > 0)
			pin_uncount(file, pin);
	}
	pin_counts_to_limbo(&table->counts, phys, length, queue);
	for (struct pin_interval *at = pin_interval_first(&file->pins, file_block, last); at != NULL; at = next) {
		struct pin *pin = pin_file_pin(at);
		uint64_t blocks = pin_blocks_at(pin, file_block, phys, length);

		next = pin_interval_next(at, file_block, last); /* it may go */
		if (blocks > 0)
			detach(table, file, pin, blocks, file_block, last);
	}
}

void pin_detached(struct pin_table *table, uint64_t ino, uint64_t file_block, uint64_t phys, uint32_t length)
{
	struct pin_reap_list queue = {NULL, NULL};
	struct pin_shard *shard = pin_shard_lock(table, ino);
	struct pin_file *file = pin_file_find(shard, ino);

	if (file != NULL) {
		detach_pins(table, file, file_block, phys, length, &queue);
		pin_wake_free(table, file, file_block, file_block + length);
	} else {
		pin_counts_to_limbo(&table->counts, phys, length, &queue);
	}
	lock_mutex_drop(&shard->lock);
	pin_reap_queue(table, &queue);
}

int pin_restore_limbo(struct pin_table *table, uint64_t phys, uint64_t length)
{
	struct pin_reap_list queue = {NULL, NULL};
	int error = pin_counts_restore_limbo(&table->counts, phys, length, &queue);

	pin_reap_queue(table, &queue);
	return error;
}

struct poison {
	uint64_t phys;
	uint64_t length;
	const struct pin_holder *holder; /* NULL: all */
};

/* Tells the holder of each piece of the pin that is lost. */
static void poison_pin(struct pin *pin, const struct poison *poison)
{
	if (poison->holder != NULL && pin->holder != poison->holder)
		return;
	for (size_t i = 0; i < pin->count; i++) {
		const struct pin_extent *extent = &pin->extents[i];
		uint64_t from = max_u64(poison->phys, extent->phys);
		uint64_t to = min_u64(poison->phys + poison->length, extent->phys + extent->length);

		if (from < to)
			pin_tell(pin, PIN_EVENT_POISON, 0, extent->file_block + (from - extent->phys),
				 extent->file_block + (to - extent->phys), 0);
	}
}

static void poison_file(struct pin_file *file, const struct poison *poison)
{
	struct pin *pin;

	for (struct pin_interval *at = pin_interval_first(&file->pins, 0, UINT64_MAX); at != NULL;
	     at = pin_interval_next(at, 0, UINT64_MAX))
		poison_pin(pin_file_pin(at), poison);
	LIST_FOREACH(pin, &file->gone, gone_link)
	poison_pin(pin, poison);
}

/* Memory errors are rare: this looks at all pins rather than have every pin pay for an index by place. */
void pin_poisoned(struct pin_table *table, uint64_t phys, uint64_t length, const struct pin_holder *holder)
{
	const struct poison poison = {.phys = phys, .length = length, .holder = holder};

	if (!pin_counts_any(&table->counts, phys, length))
		return;
	for (unsigned i = 0; i < PIN_FILE_SHARDS; i++) {
		struct pin_shard *shard = &table->shard[i];

		lock_mutex_take(&shard->lock);
		for (struct pin_file *file = pin_file_after(shard, 0); file != NULL;
		     file = pin_file_after(shard, file->ino))
			poison_file(file, &poison);
		lock_mutex_drop(&shard->lock);
	}
}
