/*
 * libpinfs, and the N-th allocation, mapping, or call on a socket fails, for every N: the right errno, nothing leaks in
 * the process or at the daemon, and the same call succeeds afterwards.
 */
#include "client_world.h"
#include "descriptors.h"

#include "faults/fault.h"

#define N_MAX 300u

struct trial {
	struct world *world;
	struct pinfs *other; /* that was connected */
	struct pinfs_pin *pin, *held;
	struct pinfs_event event;
};

/* ---- Operations: what comes before, what is tried, and how it is undone ---- */

static int run_connect(struct trial *trial)
{
	return pinfs_connect("/tmp", &trial->other);
}

static void undo_connect(struct trial *trial)
{
	pinfs_disconnect(trial->other);
}

static int pin_some(struct trial *trial, unsigned flags)
{
	return pinfs_pin(trial->world->fs, trial->world->file, 0, (size_t)8 * BLOCK, flags, &trial->pin);
}

static int run_pin(struct trial *trial)
{
	return pin_some(trial, PINFS_WRITE);
}

static int run_pin_cached(struct trial *trial)
{
	return pin_some(trial, PINFS_CACHED);
}

static void undo_pin(struct trial *trial)
{
	assert_int_equal(pinfs_unpin(trial->pin), 0);
}

static void undo_pin_cached(struct trial *trial)
{
	assert_int_equal(pinfs_unpin(trial->pin), 0);
	assert_int_equal(pinfs_forget(trial->pin), 0);
}

static void before_scattered(struct trial *trial)
{
	trial->world->daemon.place = place_scattered;
}

static void before_held(struct trial *trial)
{
	trial->held = take(trial->world, 0, BLOCK, PINFS_WRITE);
}

static int run_commit(struct trial *trial)
{
	return pinfs_commit(trial->held, 0, 0);
}

static int run_persist(struct trial *trial)
{
	return pinfs_persist(trial->held, 0, 0);
}

/* Always ends the pin. */
static int run_unpin(struct trial *trial)
{
	int error = trial->held != NULL ? pinfs_unpin(trial->held) : 0;

	trial->held = NULL;
	return error;
}

static int run_event(struct trial *trial)
{
	int error = pinfs_next_event(trial->world->fs, &trial->event);

	return error == -EAGAIN ? 0 : error;
}

/* The daemon has died and come back, and the session finds it by the next call. */
static void before_restart(struct trial *trial)
{
	before_held(trial);
	fake_kill(&trial->world->daemon, false);
	fake_restart(&trial->world->daemon);
}

static const struct operation {
	const char *name;
	void (*before)(struct trial *trial);
	int (*run)(struct trial *trial);
	void (*undo)(struct trial *trial);
} operations[] = {
	{"connect", NULL, run_connect, undo_connect},
	{"pin", NULL, run_pin, undo_pin},
	{"pin, scattered", before_scattered, run_pin, undo_pin},
	{"pin, cached", NULL, run_pin_cached, undo_pin_cached},
	{"commit", before_held, run_commit, NULL},
	{"persist", before_held, run_persist, NULL},
	{"unpin", before_held, run_unpin, NULL},
	{"next event", before_held, run_event, NULL},
	{"pin, after the daemon came back", before_restart, run_pin, undo_pin},
	{"unpin, after the daemon came back", before_restart, run_unpin, NULL},
};

/* ---- A trial ---- */

/* include/pinfs.h: any function may return these; the first failure of a link is not always its cause. */
static bool is_right(int error)
{
	return error == 0 || error == -ENOMEM || error == -EMFILE || error == -ENOTCONN || error == -ETIMEDOUT ||
	       error == -fault_error();
}

/* A daemon that was lost is found again by one of the next calls. */
static int repeated(struct trial *trial, const struct operation *operation)
{
	int error = -ENOTCONN;

	for (unsigned i = 0; i < 100 && error == -ENOTCONN; i++)
		error = operation->run(trial);
	return error;
}

/* What is to be as before when the world is gone again. */
struct counts {
	unsigned descriptors;
	long allocations;
};

static struct counts counts(void)
{
	return (struct counts){.descriptors = descriptors(), .allocations = fault_allocations()};
}

static void end(struct trial *trial, const struct operation *operation, const struct counts *before)
{
	void *world = trial->world;
	struct counts after;

	if (operation->undo != NULL)
		operation->undo(trial);
	if (trial->held != NULL)
		(void)pinfs_unpin(trial->held);
	/* A daemon that was not reached is told by the next calls. */
	for (unsigned i = 0; i < 100 && fake_held(&trial->world->daemon) != 0; i++)
		(void)pinfs_next_event(trial->world->fs, &trial->event);
	if (fake_held(&trial->world->daemon) != 0)
		fail_msg("%s: %s: the daemon has pins that nobody has", operation->name, fault_met());
	tear_down(&world);
	after = counts();
	if (after.descriptors != before->descriptors || after.allocations != before->allocations)
		fail_msg("%s: %s: %d descriptors, %ld allocations more than before", operation->name, fault_met(),
			 (int)(after.descriptors - before->descriptors), after.allocations - before->allocations);
}

/* True if the fault was met; *ret_more: the call that failed has more errnos. */
static bool try_one(const struct operation *operation, const struct fault_plan *plan, bool *ret_more)
{
	struct counts before = counts();
	struct trial trial = {.world = NULL};
	void *world = NULL;
	bool met;
	int error;

	assert_int_equal(set_up(&world), 0);
	trial.world = world;
	if (operation->before != NULL)
		operation->before(&trial);
	fault_arm(plan);
	error = operation->run(&trial);
	(void)fault_disarm();
	met = fault_met()[0] != '\0';
	*ret_more = fault_has_variant(plan->variant + 1);
	if (!is_right(error))
		fail_msg("%s: %s: %s", operation->name, fault_met(), strerror(-error));
	if (error != 0) {
		error = repeated(&trial, operation);
		if (error != 0)
			fail_msg("%s: %s: once more: %s", operation->name, fault_met(), strerror(-error));
	}
	end(&trial, operation, &before);
	return met;
}

static void each(unsigned kinds, bool sticky)
{
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		bool met = true;

		for (unsigned n = 1; met && n < N_MAX; n++) {
			struct fault_plan plan = {.kinds = kinds, .n = n, .sticky = sticky};
			bool more;

			met = try_one(&operations[i], &plan, &more);
			for (plan.variant = 1; more; plan.variant++)
				(void)try_one(&operations[i], &plan, &more);
		}
	}
}

static void memory(void **state)
{
	(void)state;
	each(FAULT_MEMORY, false);
}

static void no_memory_at_all(void **state)
{
	(void)state;
	each(FAULT_MEMORY, true);
}

static void mappings(void **state)
{
	(void)state;
	each(FAULT_MAP, false);
}

static void sockets(void **state)
{
	(void)state;
	each(FAULT_SOCKET, false);
}

int main(void)
{
	static unsigned char shared[4096];
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory),
		cmocka_unit_test(no_memory_at_all),
		cmocka_unit_test(mappings),
		cmocka_unit_test(sockets),
	};
	void *world = NULL;

	fault_init(shared);
	/* What is made once in a process. */
	if (set_up(&world) != 0 || tear_down(&world) != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
