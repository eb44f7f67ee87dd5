/* The tree of intervals against an array, at random. */
#include "pin/interval.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define INTERVALS 200u
#define PLACES 300u
#define STEPS 100000u

struct model {
	uint64_t random;
	struct pin_intervals tree;
	struct pin_interval interval[INTERVALS];
	bool in[INTERVALS];
};

static uint64_t next(struct model *m)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return m->random >> 11;
}

/* Each that overlaps is found once, in order of place. */
static void check_query(struct model *m)
{
	uint64_t first = next(m) % PLACES;
	uint64_t last = next(m) % 8 == 0 ? UINT64_MAX : first + 1 + next(m) % 40;
	uint64_t before = 0;
	unsigned expected = 0, found = 0;

	for (unsigned i = 0; i < INTERVALS; i++)
		expected += m->in[i] && m->interval[i].first < last && first < m->interval[i].last;
	for (struct pin_interval *at = pin_interval_first(&m->tree, first, last); at != NULL;
	     at = pin_interval_next(at, first, last)) {
		assert_true(m->in[at - m->interval]);
		assert_true(pin_interval_overlaps(at, first, last));
		assert_true(at->first >= before);
		before = at->first;
		found++;
	}
	assert_int_equal(found, expected);
}

static void test_random(void **state)
{
	struct model *m = calloc(1, sizeof(*m));

	(void)state;
	assert_non_null(m);
	m->random = 88172645463325252ull;
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned i = (unsigned)(next(m) % INTERVALS);

		if (m->in[i]) {
			pin_interval_remove(&m->tree, &m->interval[i]);
		} else {
			m->interval[i].first = next(m) % PLACES;
			m->interval[i].last = m->interval[i].first + 1 + next(m) % (next(m) % 4 == 0 ? 100 : 8);
			pin_interval_insert(&m->tree, &m->interval[i]);
		}
		m->in[i] = !m->in[i];
		check_query(m);
	}
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
