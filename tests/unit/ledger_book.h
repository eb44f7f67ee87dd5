/*
 * The pin ledger and its double in memory. What a session or a pin holds follows from its number alone; which are there
 * follows from steps that are drawn from numbers that are the same in each run.
 */
#ifndef PINFS_TESTS_LEDGER_BOOK_H
#define PINFS_TESTS_LEDGER_BOOK_H

#include "meta_pool.h"

#include <errno.h>

enum { BOOK_SESSIONS = 12, BOOK_PINS = 40 };

struct book {
	uint32_t random;
	uint64_t base; /* added to all numbers: books of several threads do not meet */
	uint64_t next_pin;
	uint64_t steps;
	bool session[BOOK_SESSIONS];
	struct {
		uint64_t id; /* 0: none */
		unsigned session;
	} pin[BOOK_PINS];
};

static inline void book_must(int error, const char *what)
{
	if (error != 0)
		fail_msg("%s: %d", what, error);
}
#define BOOK_MUST(call) book_must(call, #call)

static inline uint32_t book_random(uint32_t *random, uint32_t limit)
{
	*random = *random * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(*random >> 8) * limit >> 24);
}

static inline void book_init(struct book *book, uint32_t seed, uint64_t base)
{
	memset(book, 0, sizeof(*book));
	book->random = seed;
	book->base = base;
	book->next_pin = 1;
}

/* ---- What numbers stand for ---- */

static inline uint64_t book_session_id(const struct book *book, unsigned slot)
{
	return book->base + slot + 1;
}

static inline struct meta_session book_session(uint64_t id)
{
	struct meta_session session = {
		.id = id,
		.pid_namespace = id * 3,
		.start_time = id * 5,
		.pidfs_inode = id * 7,
		.pid = (uint32_t)id + 1000,
		.uid = (uint32_t)id + 2000,
		.gid = (uint32_t)id + 3000,
	};

	memset(session.boot_id, 0xb0, sizeof(session.boot_id));
	memset(session.cookie, (int)(id & 0xff), sizeof(session.cookie));
	snprintf(session.command, sizeof(session.command), "holder %u", (unsigned)(id & 0xfff));
	return session;
}

/* Mostly a few extents; now and then what fills a value beside its name, a chain of pages, and pieces. */
static inline size_t book_extents(uint64_t id)
{
	static const size_t counts[] = {0,
					FMT_LEDGER_INLINE_EXTENTS,
					FMT_LEDGER_INLINE_EXTENTS + 1,
					300,
					FMT_LEDGER_HEAD_EXTENTS,
					FMT_LEDGER_HEAD_EXTENTS + 1,
					FMT_LEDGER_HEAD_EXTENTS + FMT_LEDGER_PIECE_EXTENTS,
					FMT_LEDGER_HEAD_EXTENTS + FMT_LEDGER_PIECE_EXTENTS + 1};

	return id % 8 != 0 ? 1 + id % 3 : counts[id / 8 % 8];
}

/* The extents are to be freed. */
static inline struct meta_pin book_pin(uint64_t id, uint64_t session)
{
	struct meta_pin pin = {
		.id = id,
		.session = session,
		.ino = id + 16,
		.generation = (uint32_t)id * 11,
		.flags = (uint32_t)id & 7,
		.offset = id % 5 * 1000,
		.count = book_extents(id),
	};
	struct meta_extent *extents = calloc(pin.count + 1, sizeof(*extents));
	uint32_t random = (uint32_t)id;
	uint64_t block = pin.offset / FMT_BLOCK_SIZE;

	assert_non_null(extents);
	for (size_t i = 0; i < pin.count; i++) {
		extents[i].file_block = block;
		extents[i].phys = fmt_phys(book_random(&random, 3), 1 + book_random(&random, 1u << 20));
		extents[i].length = 1 + book_random(&random, 9);
		block += extents[i].length + book_random(&random, 2);
	}
	pin.length = (block + 1) * FMT_BLOCK_SIZE - pin.offset;
	pin.extents = extents;
	return pin;
}

static inline int book_add_pin(struct meta *meta, uint64_t id, uint64_t session)
{
	struct meta_pin pin = book_pin(id, session);
	int error = meta_ledger_add_pin(meta, &pin);

	free((void *)(uintptr_t)pin.extents);
	return error;
}

/* ---- Steps ---- */

static inline void book_drop(struct book *book, struct meta *meta, unsigned slot)
{
	uint64_t session = book_session_id(book, book->pin[slot].session);

	if (meta != NULL)
		BOOK_MUST(meta_ledger_erase_pin(meta, session, book->pin[slot].id));
	book->pin[slot].id = 0;
}

/* The session's first pin; BOOK_PINS: it has none. */
static inline unsigned book_first_pin(const struct book *book, unsigned session)
{
	unsigned slot = 0;

	while (slot < BOOK_PINS && (book->pin[slot].id == 0 || book->pin[slot].session != session))
		slot++;
	return slot;
}

static inline void book_leave(struct book *book, struct meta *meta, unsigned session)
{
	if (meta != NULL)
		BOOK_MUST(meta_ledger_erase_session(meta, book_session_id(book, session)));
	book->session[session] = false;
}

static inline void book_enter(struct book *book, struct meta *meta, unsigned session)
{
	struct meta_session record = book_session(book_session_id(book, session));

	if (meta != NULL)
		BOOK_MUST(meta_ledger_add_session(meta, &record));
	book->session[session] = true;
}

/* One step is one call; meta NULL: of the double only. */
static inline void book_step(struct book *book, struct meta *meta)
{
	unsigned session = book_random(&book->random, BOOK_SESSIONS);
	unsigned slot = book_random(&book->random, BOOK_PINS);
	bool leaving = book_random(&book->random, 100) < 30;

	book->steps++;
	if (!book->session[session]) {
		book_enter(book, meta, session);
	} else if (leaving && book_first_pin(book, session) == BOOK_PINS) {
		book_leave(book, meta, session);
	} else if (leaving) {
		book_drop(book, meta, book_first_pin(book, session));
	} else if (book->pin[slot].id != 0) {
		book_drop(book, meta, slot);
	} else {
		book->pin[slot].id = book->base + book->next_pin++;
		book->pin[slot].session = session;
		if (meta != NULL)
			BOOK_MUST(book_add_pin(meta, book->pin[slot].id, book_session_id(book, session)));
	}
}

/* ---- Comparing ---- */

struct book_reading {
	const struct book *book;
	const char *differs; /* the first thing that does */
	unsigned sessions, pins;
};

static inline int book_see_session(void *arg, const struct meta_session *session)
{
	struct book_reading *reading = arg;
	uint64_t slot = session->id - reading->book->base - 1;
	struct meta_session expected = book_session(session->id);

	if (slot >= BOOK_SESSIONS)
		return 0; /* another book's */
	if (!reading->book->session[slot])
		reading->differs = "a session that was erased";
	else if (memcmp(&expected, session, sizeof(expected)) != 0)
		reading->differs = "what a session holds";
	reading->sessions++;
	return 0;
}

static inline bool book_same_pin(const struct meta_pin *a, const struct meta_pin *b)
{
	return a->id == b->id && a->session == b->session && a->ino == b->ino && a->generation == b->generation &&
	       a->flags == b->flags && a->offset == b->offset && a->length == b->length && a->count == b->count &&
	       (a->count == 0 || memcmp(a->extents, b->extents, a->count * sizeof(a->extents[0])) == 0);
}

static inline int book_see_pin(void *arg, const struct meta_pin *pin)
{
	struct book_reading *reading = arg;
	const struct book *book = reading->book;
	struct meta_pin expected;
	unsigned slot = 0;

	if (pin->session - book->base - 1 >= BOOK_SESSIONS)
		return 0;
	reading->pins++;
	while (slot < BOOK_PINS && book->pin[slot].id != pin->id)
		slot++;
	if (slot == BOOK_PINS) {
		reading->differs = "a pin that was erased";
		return 0;
	}
	expected = book_pin(pin->id, book_session_id(book, book->pin[slot].session));
	if (!book_same_pin(&expected, pin))
		reading->differs = "what a pin holds";
	free((void *)(uintptr_t)expected.extents);
	return 0;
}

/* NULL: the ledger on media is as the book says. */
static inline const char *book_differs(const struct book *book, struct meta *meta)
{
	struct book_reading reading = {.book = book};
	unsigned sessions = 0, pins = 0;

	if (meta_ledger_visit(meta, book_see_session, book_see_pin, &reading) != 0)
		return "it cannot be read";
	for (unsigned i = 0; i < BOOK_SESSIONS; i++)
		sessions += book->session[i];
	for (unsigned i = 0; i < BOOK_PINS; i++)
		pins += book->pin[i].id != 0;
	if (reading.differs == NULL && sessions != reading.sessions)
		reading.differs = "the number of sessions";
	if (reading.differs == NULL && pins != reading.pins)
		reading.differs = "the number of pins";
	return reading.differs;
}

static inline void book_verify(const struct book *book, struct meta *meta)
{
	const char *differs = book_differs(book, meta);

	if (differs != NULL)
		fail_msg("after step %lu: %s", (unsigned long)book->steps, differs);
}

static inline void book_empty(struct book *book, struct meta *meta)
{
	for (unsigned slot = 0; slot < BOOK_PINS; slot++) {
		if (book->pin[slot].id != 0)
			book_drop(book, meta, slot);
	}
	for (unsigned i = 0; i < BOOK_SESSIONS; i++) {
		if (book->session[i])
			book_leave(book, meta, i);
	}
}

#endif
