/* What each user has pinned, in bytes of blocks: rule 18. */
#include "pin/table.h"

#include "base/arith.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static int compare(const struct pin_user *a, const struct pin_user *b)
{
	return (a->uid > b->uid) - (a->uid < b->uid);
}

/* The macros make more functions than are used. */
RB_GENERATE_INTERNAL(pin_users, pin_user, link, compare, __attribute__((unused)) static)

static struct pin_user *find(struct pin_table *table, uid_t uid)
{
	struct pin_user key = {.uid = uid};

	return RB_FIND(pin_users, &table->users, &key);
}

static struct pin_user *get(struct pin_table *table, uid_t uid)
{
	struct pin_user *user = find(table, uid);

	if (user != NULL)
		return user;
	user = calloc(1, sizeof(*user));
	if (user == NULL)
		return NULL;
	user->uid = uid;
	RB_INSERT(pin_users, &table->users, user);
	return user;
}

static void put(struct pin_table *table, struct pin_user *user)
{
	if (user->bytes > 0)
		return;
	RB_REMOVE(pin_users, &table->users, user);
	free(user);
}

int pin_user_charge(struct pin_table *table, uid_t uid, uint64_t bytes, bool limited)
{
	struct pin_user *user;
	uint64_t sum;
	int error = 0;

	lock_mutex_take(&table->users_lock);
	user = get(table, uid);
	if (user == NULL) {
		error = -ENOMEM;
		goto drop_lock;
	}
	if (add_overflows(user->bytes, bytes, &sum) || (limited && uid != 0 && sum > atomic_load(&table->limit)))
		error = -ENOMEM;
	else
		user->bytes = sum;
	put(table, user);
drop_lock:
	lock_mutex_drop(&table->users_lock);
	return error;
}

void pin_user_refund(struct pin_table *table, uid_t uid, uint64_t bytes)
{
	struct pin_user *user;

	if (bytes == 0)
		return;
	lock_mutex_take(&table->users_lock);
	user = find(table, uid);
	assert(user != NULL && user->bytes >= bytes);
	user->bytes -= bytes;
	put(table, user);
	lock_mutex_drop(&table->users_lock);
}

void pin_users_fini(struct pin_table *table)
{
	struct pin_user *user;

	while ((user = RB_ROOT(&table->users)) != NULL) {
		RB_REMOVE(pin_users, &table->users, user);
		free(user);
	}
}
