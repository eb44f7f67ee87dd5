#include "pin/table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static int compare(const struct pin *a, const struct pin *b)
{
	return (a->id > b->id) - (a->id < b->id);
}

/* The macros make more functions than are used. */
RB_GENERATE_INTERNAL(pin_ids, pin, id_link, compare, __attribute__((unused)) static)

int pin_holder_create(struct pin_table *table, uint64_t session, uid_t uid, pid_t process, void *data,
		      struct pin_holder **ret_holder)
{
	struct pin_holder *holder = calloc(1, sizeof(*holder));
	struct pin_shard *shard;
	int error;

	if (holder == NULL)
		return -ENOMEM;
	holder->table = table;
	holder->session = session;
	holder->uid = uid;
	holder->process = process;
	atomic_init(&holder->data, data);
	atomic_init(&holder->uses, 1);
	RB_INIT(&holder->ids);
	error = lock_mutex_init(&holder->lock, LOCK_LEAF);
	if (error != 0) {
		free(holder);
		return error;
	}
	shard = pin_shard_lock(table, session);
	LIST_INSERT_HEAD(&shard->holders, holder, link);
	lock_mutex_drop(&shard->lock);
	pin_add(&table->holders, 1);
	*ret_holder = holder;
	return 0;
}

void pin_holder_free(struct pin_holder *holder)
{
	assert(RB_EMPTY(&holder->ids));
	lock_mutex_fini(&holder->lock);
	free(holder);
}

void pin_holder_use(struct pin_holder *holder)
{
	atomic_fetch_add(&holder->uses, 1);
}

bool pin_holder_try_use(struct pin_holder *holder)
{
	uint64_t uses = atomic_load(&holder->uses);

	while (uses > 0) {
		if (atomic_compare_exchange_weak(&holder->uses, &uses, uses + 1))
			return true;
	}
	return false;
}

void pin_holder_unuse(struct pin_holder *holder)
{
	if (atomic_fetch_sub(&holder->uses, 1) == 1)
		pin_reap_queue_one(holder->table, &holder->reap, PIN_REAP_HOLDER);
}

void pin_holder_tell(struct pin_holder *holder, const struct pin_event *event)
{
	void *data = atomic_load(&holder->data);

	assert(lock_held(LOCK_PIN_FILE));
	if (data != NULL)
		holder->table->ops.event(data, event);
}

void pin_holder_set_data(struct pin_holder *holder, void *data)
{
	struct pin_table *table = holder->table;

	atomic_store(&holder->data, data);
	/* Events are delivered under the lock of a shard: who has passed through all of them has waited for each. */
	for (unsigned i = 0; i < PIN_FILE_SHARDS; i++) {
		lock_mutex_take(&table->shard[i].lock);
		lock_mutex_drop(&table->shard[i].lock);
	}
}

void pin_holder_silence(struct pin_holder *holder)
{
	pin_holder_set_data(holder, NULL);
}

int pin_holder_add(struct pin_holder *holder, struct pin *pin)
{
	int error = 0;

	lock_mutex_take(&holder->lock);
	if (holder->closed)
		error = -ESHUTDOWN;
	else if (RB_INSERT(pin_ids, &holder->ids, pin) != NULL)
		error = -EEXIST;
	else
		pin->ignored = holder->ignored;
	lock_mutex_drop(&holder->lock);
	if (error == 0)
		pin_holder_use(holder);
	return error;
}

void pin_holder_remove(struct pin_holder *holder, struct pin *pin)
{
	lock_mutex_take(&holder->lock);
	RB_REMOVE(pin_ids, &holder->ids, pin);
	lock_mutex_drop(&holder->lock);
}

bool pin_holder_is_closed(struct pin_holder *holder)
{
	bool closed;

	lock_mutex_take(&holder->lock);
	closed = holder->closed;
	lock_mutex_drop(&holder->lock);
	return closed;
}

void pin_holder_confirm(struct pin_holder *holder, struct pin *pin)
{
	lock_mutex_take(&holder->lock);
	pin->confirmed = true;
	lock_mutex_drop(&holder->lock);
}

struct pin *pin_find(struct pin_holder *holder, uint64_t id)
{
	struct pin key = {.id = id};
	struct pin *pin;

	lock_mutex_take(&holder->lock);
	pin = RB_FIND(pin_ids, &holder->ids, &key);
	if (pin != NULL && !pin->confirmed)
		pin = NULL;
	lock_mutex_drop(&holder->lock);
	return pin;
}

struct pin *pin_next(struct pin_holder *holder, uint64_t id)
{
	struct pin key = {.id = id + 1};
	struct pin *pin = NULL;

	if (id == UINT64_MAX)
		return NULL;
	lock_mutex_take(&holder->lock);
	pin = RB_NFIND(pin_ids, &holder->ids, &key);
	if (pin != NULL)
		atomic_fetch_add(&pin->references, 1); /* it is not dropped, so the table has one */
	lock_mutex_drop(&holder->lock);
	return pin;
}

/* Makes the pin as ignored as its holder is now. */
static void update_ignored(struct pin_holder *holder, struct pin *pin)
{
	struct pin_table *table = holder->table;
	struct pin_shard *shard = pin_shard_lock(table, pin->ino);
	struct pin_file *file = pin_file_find(shard, pin->ino);
	bool ignored;

	lock_mutex_take(&holder->lock);
	ignored = holder->ignored;
	lock_mutex_drop(&holder->lock);
	if (pin->ignored == ignored || pin->state > PIN_HELD)
		goto drop_lock;
	pin_uncount(file, pin);
	pin->ignored = ignored;
	pin_recount(file, pin);
	if (ignored)
		pin_wake_free(table, file, pin->range.first, pin->range.last);
	else if (pin->state == PIN_HELD)
		pin_recall_known(shard, file, pin);
	pin_file_put(shard, file);
drop_lock:
	lock_mutex_drop(&shard->lock);
}

void pin_holder_set_ignored(struct pin_holder *holder, bool ignored)
{
	uint64_t id = 0;
	struct pin *pin;
	bool changed;

	lock_mutex_take(&holder->lock);
	changed = holder->ignored != ignored;
	holder->ignored = ignored; /* pins that come now see it: pin_holder_add() */
	lock_mutex_drop(&holder->lock);
	while (changed && (pin = pin_next(holder, id)) != NULL) {
		id = pin->id;
		update_ignored(holder, pin);
		pin_unref(pin);
	}
}

static void end_pin(struct pin_table *table, struct pin *pin)
{
	struct pin_shard *shard = pin_shard_lock(table, pin->ino);

	if (pin->state <= PIN_HELD) {
		struct pin_file *file = pin_file_find(shard, pin->ino);

		pin_end(shard, file, pin);
		pin_file_put(shard, file);
	}
	lock_mutex_drop(&shard->lock);
}

static void interrupt_waiters(struct pin_holder *holder, struct pin_shard *shard)
{
	struct pin_table *table = holder->table;

	lock_mutex_take(&shard->lock);
	for (struct pin_waiter *waiter = shard->first_waiter; waiter != NULL; waiter = waiter->next) {
		if (waiter->want.holder == holder && waiter->state == PIN_WAITER_WAITING)
			pin_waiter_wake(table, pin_file_find(shard, waiter->ino), waiter, PIN_VERDICT_INTERRUPT);
	}
	lock_mutex_drop(&shard->lock);
}

void pin_holder_close(struct pin_holder *holder)
{
	struct pin_table *table = holder->table;
	uint64_t waited, id = 0;
	struct pin *pin;

	lock_mutex_take(&holder->lock);
	assert(!holder->closed);
	holder->closed = true; /* none is added after that */
	lock_mutex_drop(&holder->lock);
	while ((pin = pin_next(holder, id)) != NULL) {
		id = pin->id;
		end_pin(table, pin);
		pin_unref(pin);
	}
	waited = atomic_load(&holder->waited);
	for (unsigned i = 0; i < PIN_FILE_SHARDS; i++) {
		if (waited >> i & 1)
			interrupt_waiters(holder, &table->shard[i]);
	}
	pin_subtract(&table->holders, 1);
	pin_holder_unuse(holder);
}

void pin_reaped_holder(struct pin_holder *holder)
{
	struct pin_shard *shard = pin_shard_lock(holder->table, holder->session);

	LIST_REMOVE(holder, link);
	lock_mutex_drop(&shard->lock);
	pin_holder_free(holder);
}

uint64_t pin_holder_session(const struct pin_holder *holder)
{
	return holder->session;
}

uid_t pin_holder_uid(const struct pin_holder *holder)
{
	return holder->uid;
}

pid_t pin_holder_process(const struct pin_holder *holder)
{
	return holder->process;
}
