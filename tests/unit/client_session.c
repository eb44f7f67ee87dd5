/* libpinfs against a daemon of the test's own: cached pins, events, a daemon that dies. */
#include "client_world.h"

static wire_word *word_of(struct world *world, size_t pin)
{
	struct fake_session *session = &world->daemon.session[0];

	return wire_word_at(session->words, session->pins[pin].request.word);
}

/* The daemon wants the pin back: true if it was idle. */
static bool revoke_word(struct world *world, size_t pin)
{
	bool idle;

	pthread_mutex_lock(&world->daemon.lock);
	idle = wire_word_revoke(word_of(world, pin));
	if (idle)
		fake_remove(&world->daemon.session[0], &world->daemon.session[0].pins[pin]);
	pthread_mutex_unlock(&world->daemon.lock);
	return idle;
}

static void test_cached(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin = take(world, 0, BLOCK, PINFS_WRITE | PINFS_CACHED);
	struct pinfs_pin *plain = take(world, 0, BLOCK, PINFS_WRITE);
	void *memory = pinfs_addr(pin);

	assert_int_equal(pinfs_repin(plain), -EINVAL);
	assert_int_equal(pinfs_forget(plain), -EINVAL);
	assert_int_equal(pinfs_unpin(plain), 0);
	assert_ptr_equal(take(world, 0, BLOCK, PINFS_WRITE | PINFS_CACHED | PINFS_NONBLOCK), pin);
	assert_int_equal(atomic_load(word_of(world, 0)), 2);
	assert_int_equal(pinfs_forget(pin), -EBUSY);
	assert_int_equal(pinfs_unpin(pin), 0);
	assert_int_equal(pinfs_unpin(pin), 0);
	assert_int_equal(pinfs_unpin(pin), -EINVAL);
	assert_int_equal(atomic_load(word_of(world, 0)), 0);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(pinfs_repin(pin), 0);
		assert_int_equal(pinfs_unpin(pin), 0);
	}
	assert_ptr_equal(pinfs_addr(pin), memory);
	assert_ptr_equal(take(world, 0, BLOCK, PINFS_WRITE | PINFS_CACHED), pin);
	assert_int_equal(pinfs_unpin(pin), 0);
	assert_int_equal(world->daemon.asked, 2);
	assert_int_equal(world->daemon.unpins, 1);
	assert_int_equal(pinfs_forget(pin), 0);
	assert_int_equal(fake_held(&world->daemon), 0);
}

static void test_cached_keys(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin = take(world, 0, BLOCK, PINFS_WRITE | PINFS_CACHED);
	int again = open_file(O_RDWR);
	struct pinfs_pin *others[4];

	others[0] = take(world, 0, BLOCK, PINFS_READ | PINFS_CACHED);
	others[1] = take(world, 1, BLOCK, PINFS_WRITE | PINFS_CACHED);
	others[2] = take(world, 0, BLOCK + 1, PINFS_WRITE | PINFS_CACHED);
	assert_int_equal(pinfs_pin(world->fs, again, 0, BLOCK, PINFS_WRITE | PINFS_CACHED, &others[3]), 0);
	for (int i = 0; i < 4; i++) {
		assert_ptr_not_equal(others[i], pin);
		assert_int_equal(pinfs_unpin(others[i]), 0);
		assert_int_equal(pinfs_forget(others[i]), 0);
	}
	close(again);
	assert_int_equal(world->daemon.asked, 5);
	assert_int_equal(pinfs_unpin(pin), 0);
}

static void test_revoked(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin = take(world, 0, BLOCK, PINFS_READ | PINFS_CACHED);
	struct pinfs_pin *next;

	assert_int_equal(pinfs_unpin(pin), 0);
	assert_true(revoke_word(world, 0));
	assert_int_equal(pinfs_repin(pin), -ESTALE);
	next = take(world, 0, BLOCK, PINFS_READ | PINFS_CACHED);
	assert_ptr_not_equal(next, pin);
	assert_int_equal(pinfs_forget(pin), 0);
	assert_ptr_equal(take(world, 0, BLOCK, PINFS_READ | PINFS_CACHED), next);
	assert_int_equal(world->daemon.asked, 2);
	assert_int_equal(world->daemon.bells, 0);
	/* In use: it is rung for by whoever makes it idle, once. */
	assert_false(revoke_word(world, 0));
	assert_int_equal(pinfs_repin(next), -ESTALE);
	assert_int_equal(pinfs_unpin(next), 0);
	assert_int_equal(pinfs_unpin(next), 0);
	FAKE_AWAIT(&world->daemon, world->daemon.bells == 1);
	assert_int_equal(fake_held(&world->daemon), 0);
	assert_int_equal(pinfs_repin(next), -ESTALE);
	assert_int_equal(pinfs_forget(next), 0);
	assert_int_equal(world->daemon.bells, 1);
}

/* A hold that fails may be the one that makes the count 0. */
static void test_failed_hold_rings(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin = take(world, 0, BLOCK, PINFS_READ | PINFS_CACHED);

	assert_int_equal(pinfs_unpin(pin), 0);
	atomic_store(word_of(world, 0), WIRE_WORD_BELL);
	assert_int_equal(pinfs_repin(pin), -ESTALE);
	FAKE_AWAIT(&world->daemon, world->daemon.bells == 1);
	assert_int_equal(fake_held(&world->daemon), 0);
	assert_int_equal(pinfs_forget(pin), 0);
	pin = take(world, 0, BLOCK, PINFS_READ | PINFS_CACHED);
	assert_int_equal(pinfs_unpin(pin), 0);
	atomic_store(word_of(world, 0), WIRE_WORD_BELL);
	assert_ptr_not_equal(take(world, 0, BLOCK, PINFS_READ | PINFS_CACHED), pin);
	FAKE_AWAIT(&world->daemon, world->daemon.bells == 2);
}

static void test_words_run_out(void **state)
{
	static struct pinfs_pin *pins[WIRE_PAGE_WORDS];
	struct world *world = *state;

	for (size_t i = 0; i < WIRE_PAGE_WORDS; i++)
		pins[i] = take(world, (off_t)i, BLOCK, PINFS_READ | PINFS_CACHED);
	assert_int_equal(try(world, 5000, BLOCK, PINFS_READ | PINFS_CACHED), -ENOMEM);
	assert_int_equal(pinfs_unpin(take(world, 5000, BLOCK, PINFS_READ)), 0);
	assert_int_equal(pinfs_unpin(pins[77]), 0);
	assert_int_equal(pinfs_forget(pins[77]), 0);
	pins[77] = take(world, 5000, BLOCK, PINFS_READ | PINFS_CACHED);
	assert_int_equal(try(world, 5001, BLOCK, PINFS_READ | PINFS_CACHED), -ENOMEM);
	/* A pin that is refused keeps none. */
	assert_int_equal(pinfs_unpin(pins[0]), 0);
	assert_int_equal(pinfs_forget(pins[0]), 0);
	world->daemon.refuse_pin = ENOSPC;
	for (int i = 0; i < 3; i++)
		assert_int_equal(try(world, 0, BLOCK, PINFS_READ | PINFS_CACHED), -ENOSPC);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void test_events(void **state)
{
	struct wire_event told = {.kind = PINFS_EVENT_RECALL,
				  .reason = PINFS_REASON_UNMAP,
				  .pin = 5,
				  .ino = 6,
				  .offset = 7,
				  .length = 8,
				  .deadline = 3000000000u};
	struct world *world = *state;
	int fd = pinfs_event_fd(world->fs);
	struct pinfs_event event;
	uint64_t before = now_ns();

	assert_false(is_readable(fd, 0));
	assert_int_equal(pinfs_next_event(world->fs, &event), -EAGAIN);
	fake_tell(&world->daemon, &told);
	assert_true(is_readable(fd, -1));
	assert_int_equal(pinfs_next_event(world->fs, &event), 0);
	assert_int_equal(event.kind, PINFS_EVENT_RECALL);
	assert_int_equal(event.reason, PINFS_REASON_UNMAP);
	assert_true(event.pin == 5 && event.file == 6 && event.offset == 7 && event.length == 8);
	assert_true(event.deadline >= before + told.deadline && event.deadline <= now_ns() + told.deadline);
	assert_false(is_readable(fd, 0));
	told.deadline = UINT64_MAX;
	fake_tell(&world->daemon, &told);
	told.kind = 77;
	fake_tell(&world->daemon, &told);
	told.kind = PINFS_EVENT_POISON;
	fake_tell(&world->daemon, &told);
	assert_int_equal(pinfs_next_event(world->fs, &event), 0);
	assert_true(event.deadline == UINT64_MAX);
	assert_int_equal(pinfs_next_event(world->fs, &event), 0);
	assert_int_equal(event.kind, PINFS_EVENT_POISON);
	assert_int_equal(event.deadline, 0);
	assert_int_equal(pinfs_next_event(world->fs, &event), -EAGAIN);
}

/* The daemon is gone: what needs it says so, what does not works; then it is back, and has kept all. */
static void test_away(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin = take(world, 0, BLOCK, PINFS_WRITE);
	struct pinfs_pin *unpinned = take(world, 0, BLOCK, PINFS_WRITE);
	struct pinfs_pin *cached = take(world, 0, BLOCK, PINFS_WRITE | PINFS_CACHED);
	int fd = pinfs_event_fd(world->fs);
	struct pinfs_event event;
	int error;

	fake_kill(&world->daemon, false);
	fake_xattr = NULL;
	fake_xattr_error = ENOTCONN;
	assert_true(is_readable(fd, -1));
	assert_int_equal(pinfs_next_event(world->fs, &event), -ENOTCONN);
	assert_int_equal(try(world, 0, BLOCK, PINFS_READ), -ENOTCONN);
	assert_int_equal(pinfs_commit(pin, 0, 0), -ENOTCONN);
	assert_int_equal(pinfs_persist(pin, 0, 0), 0);
	memset(pinfs_addr(pin), 'a', BLOCK);
	assert_int_equal(world->daemon.parts[0].map[16 * BLOCK], 'a');
	assert_int_equal(pinfs_unpin(unpinned), -ENOTCONN);
	assert_int_equal(pinfs_unpin(cached), 0);
	assert_int_equal(pinfs_repin(cached), 0);
	/* Whoever polls is woken to look for it. */
	assert_true(is_readable(fd, -1));
	fake_xattr = world->daemon.path;
	fake_restart(&world->daemon);
	while ((error = pinfs_next_event(world->fs, &event)) == -ENOTCONN)
		assert_true(is_readable(fd, -1));
	assert_int_equal(error, -EAGAIN);
	assert_int_equal(pinfs_event_fd(world->fs), fd);
	assert_false(is_readable(fd, 0));
	/* Nor does it tick any longer. */
	assert_false(is_readable(fd, 250));
	/* What was unpinned meanwhile is given back; the cached one has its word again. */
	assert_int_equal(fake_held(&world->daemon), 2);
	for (int i = 0; i < 2; i++)
		assert_false(world->daemon.session[0].pins[i].wordless);
	assert_int_equal(pinfs_commit(pin, 0, 0), 0);
	assert_int_equal(pinfs_unpin(pin), 0);
	assert_ptr_equal(take(world, 0, BLOCK, PINFS_WRITE | PINFS_CACHED), cached);
	assert_int_equal(pinfs_unpin(cached), 0);
	assert_int_equal(pinfs_unpin(cached), 0);
	assert_int_equal(fake_held(&world->daemon), 1);
	assert_int_equal(world->daemon.hellos, 2);
}

/* Found where it was, also when it is mounted somewhere else. */
static void test_mounted_elsewhere(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin = take(world, 0, BLOCK, PINFS_WRITE);

	fake_kill(&world->daemon, false);
	fake_xattr = NULL;
	fake_restart(&world->daemon);
	assert_int_equal(pinfs_commit(pin, 0, 0), 0);
	/* Another pool in its place is none of ours. */
	fake_kill(&world->daemon, false);
	memset(world->daemon.pool, 8, 16);
	fake_restart(&world->daemon);
	fake_xattr = world->daemon.path;
	assert_int_equal(pinfs_commit(pin, 0, 0), -ENOTCONN);
	memset(world->daemon.pool, 7, 16);
	assert_int_equal(pinfs_commit(pin, 0, 0), 0);
	assert_int_equal(pinfs_unpin(pin), 0);
}

static void expect_detached(struct world *world, uint64_t id, uint32_t reason, uint64_t offset, uint64_t length)
{
	struct pinfs_event event;

	assert_true(is_readable(pinfs_event_fd(world->fs), -1));
	assert_int_equal(pinfs_next_event(world->fs, &event), 0);
	assert_int_equal(event.kind, PINFS_EVENT_DETACHED);
	assert_int_equal(event.reason, reason);
	assert_int_equal(event.pin, id);
	assert_int_equal(event.file, 42);
	assert_int_equal(event.offset, offset);
	assert_int_equal(event.length, length);
}

static void detach_second(struct wire_extent *extents, size_t *count)
{
	if (*count > 1)
		extents[1].flags = WIRE_EXTENT_DETACHED;
}

/* Of three pins one is not there, one is another, of the third a block is detached: each is told. */
static void test_not_kept(void **state)
{
	struct world *world = *state;
	struct fake_session *session = &world->daemon.session[0];
	struct pinfs_pin *gone = take(world, 0, BLOCK, PINFS_WRITE);
	struct pinfs_pin *other = take(world, 0, 2 * BLOCK, PINFS_WRITE);
	struct pinfs_pin *whole, *exclusive;
	struct pinfs_event event;

	world->daemon.place = place_scattered;
	whole = take(world, 0, 3 * BLOCK, PINFS_WRITE);
	exclusive = take(world, 0, BLOCK, PINFS_WRITE | PINFS_EXCLUSIVE);
	fake_kill(&world->daemon, false);
	world->daemon.spoil = detach_second;
	session->pins[3].request.flags &= ~WIRE_PIN_EXCLUSIVE;
	fake_remove(session, &session->pins[0]);
	fake_restart(&world->daemon);
	assert_true(is_readable(pinfs_event_fd(world->fs), -1));
	/* `other` had its blocks side by side. */
	expect_detached(world, pinfs_id(exclusive), PINFS_REASON_WRITE, 0, BLOCK);
	expect_detached(world, pinfs_id(whole), PINFS_REASON_UNMAP, BLOCK, BLOCK);
	expect_detached(world, pinfs_id(other), PINFS_REASON_UNMAP, 0, 2 * BLOCK);
	expect_detached(world, pinfs_id(gone), PINFS_REASON_UNMAP, 0, BLOCK);
	assert_int_equal(pinfs_next_event(world->fs, &event), -EAGAIN);
	assert_false(is_readable(pinfs_event_fd(world->fs), 0));
	/* It may be on some of the blocks that the daemon thinks of: they are counted until it is unpinned. */
	assert_int_equal(fake_held(&world->daemon), 3);
	fake_kill(&world->daemon, false);
	fake_restart(&world->daemon);
	assert_int_equal(pinfs_commit(gone, 0, 0), -ESTALE);
	assert_int_equal(pinfs_commit(other, 0, 0), -ESTALE);
	assert_int_equal(pinfs_commit(whole, 0, 0), 0);
	memset(pinfs_addr(gone), 1, BLOCK);
	assert_int_equal(fake_held(&world->daemon), 3);
	assert_int_equal(pinfs_unpin(gone), 0);
	assert_int_equal(fake_held(&world->daemon), 3);
	assert_int_equal(pinfs_unpin(other), 0);
	assert_int_equal(fake_held(&world->daemon), 2);
	assert_int_equal(pinfs_unpin(whole), 0);
	assert_int_equal(pinfs_unpin(exclusive), 0);
	assert_int_equal(fake_held(&world->daemon), 0);
	/* Each that was kept, once. */
	assert_int_equal(world->daemon.unpins, 3);
}

/* The daemon knows the session no more: a new one, and what was held is lost. */
static void test_forgotten(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin = take(world, 0, BLOCK, PINFS_WRITE);
	struct pinfs_pin *silent = take(world, 0, BLOCK, PINFS_WRITE);
	struct pinfs_pin *held = take(world, 0, BLOCK, PINFS_WRITE | PINFS_CACHED);
	struct pinfs_pin *idle = take(world, 0, BLOCK, PINFS_READ | PINFS_CACHED);
	struct pinfs_pin *anew;
	struct pinfs_event event;

	assert_int_equal(pinfs_unpin(idle), 0);
	fake_kill(&world->daemon, true);
	/* Numbers begin anew: they are other pins' now. */
	world->daemon.next_id = 100;
	fake_restart(&world->daemon);
	assert_int_equal(pinfs_commit(pin, 0, 0), -ESTALE);
	anew = take(world, 0, BLOCK, PINFS_WRITE | PINFS_CACHED);
	assert_ptr_not_equal(anew, held);
	assert_int_equal(pinfs_id(anew), pinfs_id(pin));
	assert_int_equal(pinfs_unpin(silent), 0);
	expect_detached(world, pinfs_id(held), PINFS_REASON_UNMAP, 0, BLOCK);
	expect_detached(world, pinfs_id(pin), PINFS_REASON_UNMAP, 0, BLOCK);
	assert_int_equal(pinfs_next_event(world->fs, &event), -EAGAIN);
	assert_int_equal(pinfs_commit(pin, 0, 0), -ESTALE);
	assert_int_equal(pinfs_unpin(pin), 0);
	assert_int_equal(pinfs_repin(held), -ESTALE);
	assert_int_equal(pinfs_repin(idle), -ESTALE);
	assert_int_equal(pinfs_unpin(held), 0);
	assert_int_equal(pinfs_forget(held), 0);
	assert_int_equal(pinfs_forget(idle), 0);
	assert_int_equal(world->daemon.unpins, 0);
	assert_int_equal(fake_held(&world->daemon), 1);
	assert_int_equal(pinfs_repin(anew), 0);
}

/* It is found out by the unpin itself: the number means nothing to the new session. */
static void test_forgotten_at_unpin(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin = take(world, 0, BLOCK, PINFS_WRITE);

	fake_kill(&world->daemon, true);
	fake_restart(&world->daemon);
	assert_int_equal(pinfs_unpin(pin), 0);
	assert_int_equal(world->daemon.hellos, 3);
	assert_int_equal(world->daemon.unpins, 0);
}

/* A bell that nobody heard is rung again. */
static void test_bell_while_away(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin = take(world, 0, BLOCK, PINFS_READ | PINFS_CACHED);
	struct pinfs_event event;

	assert_false(revoke_word(world, 0));
	fake_kill(&world->daemon, false);
	fake_xattr = NULL;
	assert_int_equal(pinfs_next_event(world->fs, &event), -ENOTCONN);
	assert_int_equal(pinfs_unpin(pin), 0);
	assert_int_equal(world->daemon.bells, 0);
	fake_restart(&world->daemon);
	assert_int_equal(pinfs_next_event(world->fs, &event), -EAGAIN);
	FAKE_AWAIT(&world->daemon, world->daemon.bells == 1);
	assert_int_equal(pinfs_repin(pin), -ESTALE);
	assert_int_equal(pinfs_forget(pin), 0);
	assert_int_equal(fake_held(&world->daemon), 0);
}

/* What the old daemon had revoked and not erased is given back, and nobody is told. */
static void test_revoked_and_kept(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin = take(world, 0, BLOCK, PINFS_READ | PINFS_CACHED);
	struct pinfs_event event;

	assert_int_equal(pinfs_unpin(pin), 0);
	assert_true(wire_word_revoke(word_of(world, 0)));
	fake_kill(&world->daemon, false);
	fake_restart(&world->daemon);
	assert_true(is_readable(pinfs_event_fd(world->fs), -1));
	assert_int_equal(pinfs_next_event(world->fs, &event), -EAGAIN);
	assert_int_equal(fake_held(&world->daemon), 0);
	assert_int_equal(world->daemon.bells, 0);
	assert_int_equal(pinfs_repin(pin), -ESTALE);
	assert_int_equal(pinfs_forget(pin), 0);
}

/* The daemon made a new page of words: what it says to the old ones nobody sees. */
static void test_another_page(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin = take(world, 0, BLOCK, PINFS_WRITE);
	struct pinfs_pin *cached = take(world, 0, BLOCK, PINFS_READ | PINFS_CACHED);
	struct pinfs_pin *next;

	fake_kill(&world->daemon, false);
	world->daemon.other_page = true;
	world->daemon.busy = 2;
	fake_restart(&world->daemon);
	assert_true(is_readable(pinfs_event_fd(world->fs), -1));
	expect_detached(world, pinfs_id(cached), PINFS_REASON_UNMAP, 0, BLOCK);
	assert_int_equal(fake_held(&world->daemon), 2);
	assert_int_equal(pinfs_commit(pin, 0, 0), 0);
	next = take(world, 0, BLOCK, PINFS_READ | PINFS_CACHED);
	assert_ptr_not_equal(next, cached);
	assert_int_equal(atomic_load(word_of(world, 2)), 1);
	assert_int_equal(pinfs_unpin(cached), 0);
	assert_int_equal(pinfs_repin(cached), -ESTALE);
	assert_int_equal(fake_held(&world->daemon), 3);
	assert_int_equal(pinfs_forget(cached), 0);
	assert_int_equal(fake_held(&world->daemon), 2);
	assert_int_equal(pinfs_repin(next), 0);
}

/* The part of that number is another file now: the memory that is mapped is nobody's. */
static void test_another_part(void **state)
{
	struct world *world = *state;
	struct pinfs_pin *pin = take(world, 0, BLOCK, PINFS_WRITE);
	struct fake_part *part = &world->daemon.parts[0];
	struct pinfs_pin *next;

	fake_kill(&world->daemon, false);
	munmap(part->map, FAKE_MAPPED);
	close(part->fd);
	fake_make_part(part, FAKE_MAPPED, BLOCK);
	fake_restart(&world->daemon);
	assert_true(is_readable(pinfs_event_fd(world->fs), -1));
	expect_detached(world, pinfs_id(pin), PINFS_REASON_UNMAP, 0, BLOCK);
	next = take(world, 0, BLOCK, PINFS_WRITE);
	memset(pinfs_addr(pin), 1, BLOCK);
	memset(pinfs_addr(next), 2, BLOCK);
	assert_int_equal(part->map[16 * BLOCK], 2);
	assert_int_equal(fake_held(&world->daemon), 2);
	assert_int_equal(pinfs_unpin(pin), 0);
	assert_int_equal(pinfs_unpin(next), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_cached),
		TEST(test_cached_keys),
		TEST(test_revoked),
		TEST(test_failed_hold_rings),
		TEST(test_words_run_out),
		TEST(test_events),
		TEST(test_away),
		TEST(test_mounted_elsewhere),
		TEST(test_not_kept),
		TEST(test_forgotten),
		TEST(test_forgotten_at_unpin),
		TEST(test_bell_while_away),
		TEST(test_revoked_and_kept),
		TEST(test_another_page),
		TEST(test_another_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
