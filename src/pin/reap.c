#include "pin/reap.h"

#include "base/arith.h"
#include "pin/table.h"

#include <stdlib.h>

void pin_reap_queue(struct pin_table *table, struct pin_reap_list *list)
{
	bool was_empty;

	if (list->first == NULL)
		return;
	lock_mutex_take(&table->reap_lock);
	was_empty = table->reap.first == NULL;
	if (was_empty)
		table->reap.first = list->first;
	else
		table->reap.last->next = list->first;
	table->reap.last = list->last;
	lock_mutex_drop(&table->reap_lock);
	*list = (struct pin_reap_list){NULL, NULL};
	if (was_empty)
		table->ops.reap(table->arg);
}

void pin_keep(struct pin *pin)
{
	struct pin_reap_list *kept = &pin->table->kept;

	lock_mutex_take(&pin->table->reap_lock);
	pin_reap_list_add(kept, &pin->reap, PIN_REAP_PIN);
	lock_mutex_drop(&pin->table->reap_lock);
}

void pin_reap_kept(struct pin_table *table)
{
	struct pin_reap_list *kept = &table->kept;

	lock_mutex_take(&table->reap_lock);
	if (kept->first != NULL) {
		kept->last->next = table->reap.first;
		table->reap.first = kept->first;
		if (table->reap.last == NULL)
			table->reap.last = kept->last;
		*kept = (struct pin_reap_list){NULL, NULL};
	}
	lock_mutex_drop(&table->reap_lock);
}

void pin_reap_queue_one(struct pin_table *table, struct pin_reap_link *link, enum pin_reap_kind kind)
{
	struct pin_reap_list list = {NULL, NULL};

	pin_reap_list_add(&list, link, kind);
	pin_reap_queue(table, &list);
}

/* A run's memory is not needed any more. */
static void take_run(struct pin_table *table, struct pin_run *run, struct pin_reap *item)
{
	item->run.phys = run->first;
	item->run.length = run->last - run->first;
	pin_subtract(&table->counts.limbo_blocks, item->run.length);
	free(run);
}

size_t pin_reap_take(struct pin_table *table, struct pin_reap *items, size_t capacity)
{
	size_t count = 0;

	lock_mutex_take(&table->reap_lock);
	while (count < capacity && table->reap.first != NULL) {
		struct pin_reap_link *link = table->reap.first;
		struct pin_reap *item = &items[count++];

		table->reap.first = link->next;
		if (link->next == NULL)
			table->reap.last = NULL;
		item->kind = link->kind;
		if (link->kind == PIN_REAP_PIN)
			item->pin = CONTAINER_OF(link, struct pin, reap);
		else if (link->kind == PIN_REAP_HOLDER)
			item->holder = CONTAINER_OF(link, struct pin_holder, reap);
		else
			take_run(table, CONTAINER_OF(link, struct pin_run, reap), item);
	}
	lock_mutex_drop(&table->reap_lock);
	return count;
}
