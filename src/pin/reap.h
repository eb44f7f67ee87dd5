/* The queue of what follows a drop. Its items are parts of what they are about: queueing needs no memory. */
#ifndef PINFS_PIN_REAP_H
#define PINFS_PIN_REAP_H

#include "pin/pin.h"

struct pin_reap_link {
	enum pin_reap_kind kind;
	struct pin_reap_link *next;
};

/* First in, first out. */
struct pin_reap_list {
	struct pin_reap_link *first, *last;
};

static inline void pin_reap_list_add(struct pin_reap_list *list, struct pin_reap_link *link, enum pin_reap_kind kind)
{
	link->kind = kind;
	link->next = NULL;
	if (list->last != NULL)
		list->last->next = link;
	else
		list->first = link;
	list->last = link;
}

/* Queues all of them, in order; tells the reaper. Takes a LOCK_LEAF. */
void pin_reap_queue(struct pin_table *table, struct pin_reap_list *list);
void pin_reap_queue_one(struct pin_table *table, struct pin_reap_link *link, enum pin_reap_kind kind);

#endif
