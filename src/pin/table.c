#include "pin/table.h"

#include "base/arith.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

uint64_t pin_now(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
		abort(); /* there is no such clock: no wait could ever end */
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

unsigned pin_shard_number(uint64_t number)
{
	return (unsigned)((number * 0x9e3779b97f4a7c15ull) >> 32) % PIN_FILE_SHARDS;
}

struct pin_shard *pin_shard_of(struct pin_table *table, uint64_t ino)
{
	return &table->shard[pin_shard_number(ino)];
}

struct pin_shard *pin_shard_lock(struct pin_table *table, uint64_t ino)
{
	struct pin_shard *shard = pin_shard_of(table, ino);

	lock_mutex_take(&shard->lock);
	return shard;
}

static int init_shards(struct pin_table *table)
{
	for (unsigned i = 0; i < PIN_FILE_SHARDS; i++) {
		int error = lock_mutex_init(&table->shard[i].lock, LOCK_PIN_FILE);

		if (error != 0) {
			while (i-- > 0)
				lock_mutex_fini(&table->shard[i].lock);
			return error;
		}
		RB_INIT(&table->shard[i].files);
		LIST_INIT(&table->shard[i].holders);
	}
	return 0;
}

static void fini_shards(struct pin_table *table)
{
	for (unsigned i = 0; i < PIN_FILE_SHARDS; i++)
		lock_mutex_fini(&table->shard[i].lock);
}

int pin_table_create(const struct pin_ops *ops, void *arg, uint64_t limit, struct pin_table **ret_table)
{
	struct pin_table *table = aligned_alloc(64, sizeof(*table));
	int error;

	if (table == NULL)
		return -ENOMEM;
	*table = (struct pin_table){.ops = *ops, .arg = arg, .limit = limit};
	RB_INIT(&table->users);
	error = init_shards(table);
	if (error != 0)
		goto free_table;
	error = pin_counts_init(&table->counts);
	if (error != 0)
		goto fini_shards;
	error = lock_mutex_init(&table->users_lock, LOCK_LEAF);
	if (error != 0)
		goto fini_counts;
	error = lock_mutex_init(&table->reap_lock, LOCK_LEAF);
	if (error != 0)
		goto fini_users_lock;
	*ret_table = table;
	return 0;

fini_users_lock:
	lock_mutex_fini(&table->users_lock);
fini_counts:
	pin_counts_fini(&table->counts);
fini_shards:
	fini_shards(table);
free_table:
	free(table);
	return error;
}

void pin_table_destroy(struct pin_table *table)
{
	pin_free_all(table);
	pin_users_fini(table);
	lock_mutex_fini(&table->reap_lock);
	lock_mutex_fini(&table->users_lock);
	pin_counts_fini(&table->counts);
	fini_shards(table);
	free(table);
}

void pin_table_set_limit(struct pin_table *table, uint64_t limit)
{
	atomic_store(&table->limit, limit);
}

bool pin_any(const struct pin_table *table)
{
	return atomic_load_explicit(&table->recorded, memory_order_acquire) > 0;
}

bool pin_any_exclusive(const struct pin_table *table)
{
	return atomic_load_explicit(&table->exclusive, memory_order_acquire) > 0;
}

bool pin_is_counted(struct pin_table *table, uint64_t phys, uint64_t length)
{
	return pin_counts_any(&table->counts, phys, length);
}

bool pin_find_idle(struct pin_table *table, uint64_t phys, uint64_t length, uint64_t *ret_phys, uint64_t *ret_length)
{
	return pin_counts_idle(&table->counts, phys, length, ret_phys, ret_length);
}

void pin_canary(struct pin_table *table)
{
	pin_add(&table->canaries, 1);
}

static void shut_down_waiters(struct pin_table *table, struct pin_shard *shard)
{
	for (struct pin_waiter *waiter = shard->first_waiter; waiter != NULL; waiter = waiter->next) {
		if (waiter->state == PIN_WAITER_WAITING)
			pin_waiter_wake(table, pin_file_find(shard, waiter->ino), waiter, PIN_VERDICT_SHUTDOWN);
	}
}

void pin_shutdown(struct pin_table *table, uint64_t deadline)
{
	const struct pin_event event = {.kind = PIN_EVENT_SHUTDOWN, .deadline = deadline};

	atomic_store(&table->shutdown, true);
	for (unsigned i = 0; i < PIN_FILE_SHARDS; i++) {
		struct pin_shard *shard = &table->shard[i];
		struct pin_holder *holder;

		lock_mutex_take(&shard->lock);
		shut_down_waiters(table, shard);
		LIST_FOREACH(holder, &shard->holders, link)
		pin_holder_tell(holder, &event);
		lock_mutex_drop(&shard->lock);
	}
}
