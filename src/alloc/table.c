/* Parts and groups: made by alloc_add_part(), read without a lock by everybody else. */
#include "alloc/space.h"

#include "base/arith.h"
#include "format/format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t last_phys_block(void)
{
	return (1ull << FMT_PHYS_BLOCK_BITS) - 1;
}

/* Index of the first part with that number or a higher one. */
static size_t lower_bound(const struct alloc_table *table, uint32_t number)
{
	size_t low = 0;
	size_t high = table->parts;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table->part[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct alloc_part *alloc_table_part(const struct alloc_table *table, uint64_t phys, uint64_t length)
{
	uint64_t block = fmt_phys_block(phys);
	size_t index = lower_bound(table, fmt_phys_part(phys));
	const struct alloc_part *part = &table->part[index];
	uint64_t end;

	if (index == table->parts || part->number != fmt_phys_part(phys))
		return NULL;
	if (block < part->first || add_overflows(block, length, &end) || end > part->end)
		return NULL;
	return part;
}

struct alloc_group *alloc_table_group(const struct alloc_table *table, const struct alloc_part *part, uint64_t block)
{
	return table->group[part->group + (block - part->origin) / part->group_blocks];
}

/* Cuts a part into groups: ALLOC_GROUPS_WANTED or more where there is 2 MiB for each, of 8 GiB at most. */
static void plan_part(struct alloc_part *part, uint32_t number, uint64_t first, uint64_t end)
{
	uint64_t blocks = align_down((end - first) / ALLOC_GROUPS_WANTED, FMT_HUGE_BLOCKS);

	part->number = number;
	part->first = first;
	part->end = end;
	part->origin = align_down(first, FMT_HUGE_BLOCKS);
	part->group_blocks = min_u64(max_u64(blocks, FMT_HUGE_BLOCKS), ALLOC_GROUP_BLOCKS_MAX);
	part->groups = (size_t)((end - part->origin + part->group_blocks - 1) / part->group_blocks);
}

/* Makes the part's groups in groups[0..part->groups). */
static int make_groups(const struct alloc_memory *memory, const struct alloc_part *part, struct alloc_group **groups)
{
	for (size_t i = 0; i < part->groups; i++) {
		uint64_t start = part->origin + i * part->group_blocks;
		int err = alloc_group_create(memory, part->number, max_u64(start, part->first),
					     min_u64(start + part->group_blocks, part->end), &groups[i]);

		if (err != 0) {
			while (i-- > 0)
				alloc_group_destroy(groups[i]);
			return err;
		}
	}
	return 0;
}

/* An empty table with room behind it for its parts and groups. */
static struct alloc_table *table_new(const struct alloc_memory *memory, size_t parts, size_t groups)
{
	struct alloc_table *table;
	size_t parts_size = parts * sizeof(struct alloc_part);
	char *bytes = memory->get(memory->arg, sizeof(*table) + parts_size + groups * sizeof(struct alloc_group *));

	if (bytes == NULL)
		return NULL;
	table = (struct alloc_table *)(void *)bytes;
	table->parts = parts;
	table->part = (const struct alloc_part *)(void *)(bytes + sizeof(*table));
	table->groups = groups;
	table->group = (struct alloc_group *const *)(void *)(bytes + sizeof(*table) + parts_size);
	return table;
}

/* A copy of `old` with `added` in its place, and its groups made. */
static int table_extend(const struct alloc_memory *memory, const struct alloc_table *old, struct alloc_part *added,
			const struct alloc_table **ret_table)
{
	struct alloc_table *table = table_new(memory, old->parts + 1, old->groups + added->groups);
	size_t at = lower_bound(old, added->number);
	struct alloc_part *part;
	struct alloc_group **group;
	int err;

	if (table == NULL)
		return -ENOMEM;
	table->previous = old;
	added->group = at < old->parts ? old->part[at].group : old->groups;
	part = (struct alloc_part *)(uintptr_t)table->part;
	memcpy(part, old->part, at * sizeof(*part));
	part[at] = *added;
	memcpy(part + at + 1, old->part + at, (old->parts - at) * sizeof(*part));
	for (size_t i = at + 1; i < table->parts; i++)
		part[i].group += added->groups;

	group = (struct alloc_group **)(uintptr_t)table->group;
	memcpy(group, old->group, added->group * sizeof(struct alloc_group *));
	memcpy(group + added->group + added->groups, old->group + added->group,
	       (old->groups - added->group) * sizeof(struct alloc_group *));
	err = make_groups(memory, added, group + added->group);
	if (err != 0) {
		memory->put(memory->arg, table);
		return err;
	}
	*ret_table = table;
	return 0;
}

int alloc_add_part(struct alloc *alloc, uint32_t part, uint64_t first, uint64_t end)
{
	const struct alloc_table *old;
	const struct alloc_table *table;
	struct alloc_part added = {0};
	size_t at;
	int err = 0;

	if (part > FMT_PART_MAX || first >= end || end - 1 > last_phys_block())
		return -EINVAL;
	plan_part(&added, part, first, end);
	lock_mutex_take(&alloc->grow);
	old = atomic_load(&alloc->table);
	at = lower_bound(old, part);
	if (at < old->parts && old->part[at].number == part)
		err = -EEXIST;
	if (err == 0)
		err = table_extend(&alloc->memory, old, &added, &table);
	if (err == 0)
		atomic_store(&alloc->table, table);
	lock_mutex_drop(&alloc->grow);
	return err;
}

static void *libc_get(void *arg, size_t size)
{
	(void)arg;
	return calloc(1, size);
}

static void libc_put(void *arg, void *memory)
{
	(void)arg;
	free(memory);
}

int alloc_create_with(const struct alloc_memory *memory, struct alloc **ret_alloc)
{
	struct alloc *alloc = memory->get(memory->arg, sizeof(*alloc));
	const struct alloc_table *table;
	int err;

	if (alloc == NULL)
		return -ENOMEM;
	alloc->memory = *memory;
	err = lock_mutex_init(&alloc->grow, LOCK_ALLOC);
	if (err != 0)
		goto free_alloc;
	table = table_new(memory, 0, 0);
	if (table == NULL) {
		err = -ENOMEM;
		goto fini_lock;
	}
	atomic_init(&alloc->table, table);
	*ret_alloc = alloc;
	return 0;

fini_lock:
	lock_mutex_fini(&alloc->grow);
free_alloc:
	memory->put(memory->arg, alloc);
	return err;
}

int alloc_create(struct alloc **ret_alloc)
{
	const struct alloc_memory libc = {libc_get, libc_put, NULL};

	return alloc_create_with(&libc, ret_alloc);
}

void alloc_destroy(struct alloc *alloc)
{
	struct alloc_memory memory;
	const struct alloc_table *table;

	if (alloc == NULL)
		return;
	memory = alloc->memory;
	table = atomic_load(&alloc->table);
	for (size_t i = 0; i < table->groups; i++)
		alloc_group_destroy(table->group[i]);
	while (table != NULL) {
		const struct alloc_table *previous = table->previous;

		memory.put(memory.arg, (void *)(uintptr_t)table);
		table = previous;
	}
	lock_mutex_fini(&alloc->grow);
	memory.put(memory.arg, alloc);
}
