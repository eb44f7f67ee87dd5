/* Checks of messages: every length, every type, and noise. */
#include "wire/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

struct form {
	unsigned type;
	size_t size;
	bool request;
};

static const struct form forms[] = {
	{WIRE_HELLO, sizeof(struct wire_hello), true},	      {WIRE_PIN, sizeof(struct wire_pin), true},
	{WIRE_UNPIN, sizeof(struct wire_range), true},	      {WIRE_COMMIT, sizeof(struct wire_range), true},
	{WIRE_CANCEL, sizeof(struct wire_cancel), true},      {WIRE_BELL, sizeof(struct wire_range), true},
	{WIRE_LIST, sizeof(struct wire_list), true},	      {WIRE_GOODBYE, sizeof(struct wire_header), true},
	{WIRE_WORD, sizeof(struct wire_range), true},	      {WIRE_WELCOME, sizeof(struct wire_welcome), false},
	{WIRE_PART, sizeof(struct wire_part), false},	      {WIRE_EXTENTS, sizeof(struct wire_pinned), false},
	{WIRE_PINNED, sizeof(struct wire_pinned), false},     {WIRE_DONE, sizeof(struct wire_done), false},
	{WIRE_LISTED, sizeof(struct wire_listed), false},     {WIRE_MAP, sizeof(struct wire_map), true},
	{WIRE_FILE_MAP, sizeof(struct wire_file_map), false}, {WIRE_POOL_MAP, sizeof(struct wire_pool_map), false},
};

static _Alignas(8) unsigned char buffer[WIRE_MESSAGE_MAX + 64];

static void make(unsigned type, size_t length)
{
	memset(buffer, 0, sizeof(buffer));
	wire_header_set((struct wire_header *)buffer, type, length, 7, 0);
}

static void test_lengths(void **state)
{
	(void)state;
	for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
		const struct form *form = &forms[f];

		for (size_t size = 0; size <= WIRE_MESSAGE_MAX + 8; size++) {
			bool whole = size >= form->size && size <= WIRE_MESSAGE_MAX;

			make(form->type, size);
			assert_int_equal(wire_request_valid(buffer, size), whole && form->request);
			assert_int_equal(wire_answer_valid(buffer, size), whole && !form->request);
			assert_false(wire_event_valid(buffer, size));
		}
		/* The length says something else than the packet. */
		make(form->type, form->size);
		assert_false(wire_request_valid(buffer, form->size + 1) || wire_answer_valid(buffer, form->size + 1));
		assert_false(wire_request_valid(buffer, form->size - 1) || wire_answer_valid(buffer, form->size - 1));
		buffer[0] ^= 1;
		assert_false(wire_request_valid(buffer, form->size) || wire_answer_valid(buffer, form->size));
		assert_int_equal(wire_request_known(form->type), form->request);
	}
	make(WIRE_EVENT, sizeof(struct wire_event));
	assert_true(wire_event_valid(buffer, sizeof(struct wire_event)));
	assert_false(wire_answer_valid(buffer, sizeof(struct wire_event)));
	make(WIRE_EVENT, sizeof(struct wire_event) - 1);
	assert_false(wire_event_valid(buffer, sizeof(struct wire_event) - 1));
}

static void test_types(void **state)
{
	unsigned known = 0;

	(void)state;
	for (unsigned type = 0; type <= UINT16_MAX; type++) {
		make(type, 1024);
		assert_true(wire_header_valid(buffer, 1024));
		if (wire_request_valid(buffer, 1024) || wire_answer_valid(buffer, 1024) ||
		    wire_event_valid(buffer, 1024))
			known++;
		if (!wire_request_known(type))
			assert_false(wire_request_valid(buffer, 1024));
	}
	assert_int_equal(known, sizeof(forms) / sizeof(forms[0]) + 1);
}

static void test_counts(void **state)
{
	struct wire_pinned *pinned = (struct wire_pinned *)buffer;
	struct wire_listed *listed = (struct wire_listed *)buffer;
	struct wire_file_map *extents = (struct wire_file_map *)buffer;
	struct wire_pool_map *cells = (struct wire_pool_map *)buffer;
	size_t size;

	(void)state;
	for (uint32_t room = 0; room <= WIRE_EXTENTS_MAX; room++) {
		size = sizeof(*pinned) + room * sizeof(struct wire_extent);
		make(WIRE_PINNED, size);
		pinned->count = room;
		assert_true(wire_answer_valid(buffer, size));
		pinned->count = room + 1;
		assert_false(wire_answer_valid(buffer, size));
		/* Times an extent's size it is a small number of 32 bits, and of 64. */
		pinned->count = 0x08000000u + room;
		assert_false(wire_answer_valid(buffer, size));
		pinned->count = UINT32_MAX;
		assert_false(wire_answer_valid(buffer, size));
	}
	pinned->header.error = 5;
	pinned->count = 1;
	assert_false(wire_answer_valid(buffer, size));
	pinned->count = 0;
	assert_true(wire_answer_valid(buffer, size));
	size = sizeof(*listed) + 10;
	make(WIRE_LISTED, size);
	listed->path_length = 10;
	assert_true(wire_answer_valid(buffer, size));
	listed->path_length = 11;
	assert_false(wire_answer_valid(buffer, size));
	listed->path_length = UINT32_MAX;
	assert_false(wire_answer_valid(buffer, size));
	size = sizeof(*extents) + 3 * sizeof(extents->extent[0]);
	make(WIRE_FILE_MAP, size);
	extents->count = 3;
	assert_true(wire_answer_valid(buffer, size));
	extents->count = 4;
	assert_false(wire_answer_valid(buffer, size));
	extents->count = 0x08000003u; /* times an extent's size it is 3 of them, in 32 bits */
	assert_false(wire_answer_valid(buffer, size));
	size = sizeof(*cells) + 3 * sizeof(cells->cell[0]);
	make(WIRE_POOL_MAP, size);
	cells->count = 3;
	assert_true(wire_answer_valid(buffer, size));
	cells->count = 4;
	assert_false(wire_answer_valid(buffer, size));
	cells->count = 0x10000003u;
	assert_false(wire_answer_valid(buffer, size));
}

static void test_descriptors(void **state)
{
	static const struct {
		unsigned type, least, most;
	} expected[] = {
		{WIRE_HELLO, 0, 1},   {WIRE_PIN, 1, 1},	     {WIRE_UNPIN, 0, 0},    {WIRE_COMMIT, 0, 0},
		{WIRE_CANCEL, 0, 0},  {WIRE_BELL, 0, 0},     {WIRE_LIST, 0, 1},	    {WIRE_GOODBYE, 0, 0},
		{WIRE_WELCOME, 2, 2}, {WIRE_PART, 1, 1},     {WIRE_EXTENTS, 0, 0},  {WIRE_PINNED, 0, 0},
		{WIRE_MAP, 0, 1},     {WIRE_FILE_MAP, 0, 0}, {WIRE_POOL_MAP, 0, 0}, {WIRE_DONE, 0, 0},
		{WIRE_WORD, 0, 0},    {WIRE_LISTED, 0, 0},   {WIRE_EVENT, 0, 0},    {50, 0, WIRE_FDS_MAX},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		unsigned least, most;

		wire_fds_expected(expected[i].type, &least, &most);
		assert_int_equal(least, expected[i].least);
		assert_int_equal(most, expected[i].most);
	}
}

/* Noise in blocks of exactly its size: a look behind the end is seen by the sanitizer. Nothing of it may be believed.
 */
static void test_noise(void **state)
{
	unsigned seed = (unsigned)time(NULL);

	(void)state;
	print_message("# seed %u\n", seed);
	srand(seed);
	for (unsigned round = 0; round < 200000; round++) {
		size_t size = (size_t)rand() % 300;
		unsigned char *bytes = malloc(size > 0 ? size : 1);

		assert_non_null(bytes);
		for (size_t i = 0; i < size; i++)
			bytes[i] = (unsigned char)rand();
		if (size >= sizeof(struct wire_header) && round % 4 != 0) {
			struct wire_header header;

			wire_header_set(&header, (unsigned)rand() % 140, size, 1, 0);
			memcpy(bytes, &header, sizeof(header));
		}
		if (wire_answer_valid(bytes, size)) {
			struct wire_pinned pinned;

			memcpy(&pinned, bytes, sizeof(pinned) < size ? sizeof(pinned) : size);
			if (pinned.header.type == WIRE_PINNED)
				assert_true(sizeof(pinned) + pinned.count * sizeof(struct wire_extent) <= size);
		}
		if (wire_request_valid(bytes, size) || wire_event_valid(bytes, size))
			assert_true(size >= sizeof(struct wire_header));
		free(bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),	    cmocka_unit_test(test_types), cmocka_unit_test(test_counts),
		cmocka_unit_test(test_descriptors), cmocka_unit_test(test_noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
