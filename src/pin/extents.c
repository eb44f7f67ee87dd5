/* The blocks of a pin: which are still the file's. What is not is in limbo, and the counts know that by place. */
#include "pin/table.h"

#include "base/arith.h"

#include <assert.h>
#include <errno.h>

static uint64_t end_of(const struct pin_extent *extent)
{
	return extent->file_block + extent->length;
}

/* The first extent that ends behind the block; `count` if there is none. */
static size_t find(const struct pin *pin, uint64_t block)
{
	size_t low = 0, high = pin->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (end_of(&pin->extents[middle]) > block)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* True if any block, or all of them, of the pin in [first, last) is in that state. */
static bool any_is(struct pin *pin, uint64_t first, uint64_t last, bool limbo)
{
	for (size_t i = find(pin, first); i < pin->count && pin->extents[i].file_block < last; i++) {
		const struct pin_extent *extent = &pin->extents[i];
		uint64_t from = max_u64(first, extent->file_block);
		uint64_t length = min_u64(last, end_of(extent)) - from;
		uint64_t phys = extent->phys + (from - extent->file_block);
		bool is_limbo;

		if (pin_counts_same_limbo(&pin->table->counts, phys, length, &is_limbo) < length || is_limbo == limbo)
			return true;
	}
	return false;
}

bool pin_is_live(struct pin *pin, uint64_t first, uint64_t last)
{
	if (pin->detached_blocks == 0)
		return true;
	if (pin->detached_blocks == pin->blocks)
		return false;
	return any_is(pin, first, last, false);
}

uint64_t pin_blocks_at(const struct pin *pin, uint64_t file_block, uint64_t phys, uint64_t length)
{
	uint64_t last = file_block + length;
	uint64_t blocks = 0;

	for (size_t i = find(pin, file_block); i < pin->count && pin->extents[i].file_block < last; i++) {
		const struct pin_extent *extent = &pin->extents[i];

		if (extent->phys - extent->file_block == phys - file_block)
			blocks += min_u64(last, end_of(extent)) - max_u64(file_block, extent->file_block);
	}
	return blocks;
}

int pin_check_range(struct pin *pin, uint64_t offset, uint64_t length)
{
	struct pin_shard *shard;
	uint64_t end;
	int error = 0;

	if (add_overflows(offset, length, &end) || offset < pin->offset || end > pin->offset + pin->length)
		return -ERANGE;
	shard = pin_shard_lock(pin->table, pin->ino);
	if (pin->state > PIN_HELD)
		error = -ESTALE;
	else if (length > 0 && pin->detached_blocks > 0 &&
		 any_is(pin, offset >> PIN_BLOCK_SHIFT, ((end - 1) >> PIN_BLOCK_SHIFT) + 1, true))
		error = -ESTALE;
	lock_mutex_drop(&shard->lock);
	return error;
}

/* Copies out the pieces [start, ...) while counting all of them. */
struct pieces {
	struct pin_extent *extents;
	size_t start, capacity, total;
};

static void add_piece(struct pieces *pieces, uint64_t file_block, uint64_t phys, uint64_t length, bool detached)
{
	if (pieces->total >= pieces->start && pieces->total - pieces->start < pieces->capacity)
		pieces->extents[pieces->total - pieces->start] = (struct pin_extent){
			.file_block = file_block,
			.phys = phys,
			.length = (uint32_t)length,
			.detached = detached,
		};
	pieces->total++;
}

static void add_extent(struct pieces *pieces, struct pin *pin, const struct pin_extent *extent)
{
	for (uint64_t done = 0; done < extent->length;) {
		bool limbo = false;
		uint64_t length = extent->length - done;

		/* Of a pin that is dropped the counts may say nothing any more. */
		if (pin->detached_blocks > 0 && pin->state <= PIN_HELD)
			length = pin_counts_same_limbo(&pin->table->counts, extent->phys + done, length, &limbo);
		add_piece(pieces, extent->file_block + done, extent->phys + done, length, limbo);
		done += length;
	}
}

size_t pin_get_extents(struct pin *pin, size_t start, struct pin_extent *extents, size_t capacity, size_t *ret_total)
{
	struct pieces pieces = {.extents = extents, .start = start, .capacity = capacity};
	struct pin_shard *shard = pin_shard_lock(pin->table, pin->ino);

	if (pin->detached_blocks == 0) {
		for (size_t i = start; i < pin->count && i - start < capacity; i++) {
			extents[i - start] = pin->extents[i];
			extents[i - start].detached = false;
		}
		pieces.total = pin->count;
	} else {
		for (size_t i = 0; i < pin->count; i++)
			add_extent(&pieces, pin, &pin->extents[i]);
	}
	lock_mutex_drop(&shard->lock);
	*ret_total = pieces.total;
	return pieces.total <= start ? 0 : min_u64(pieces.total - start, capacity);
}
