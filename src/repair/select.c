/*
 * Pages that lost their parent, and pages of earlier times that look like them: which are the file's? Those that
 * together have as many blocks as the inode counts, if there is exactly one such choice.
 */
#include "repair/work.h"

#include <stdlib.h>

#define STEPS_MAX 200000u

struct search {
	struct repair_item *item;
	uint64_t *rest; /* weight of the items from i on */
	bool *taken; /* now */
	size_t count;
	unsigned found;
	unsigned steps;
};

/* Takes or leaves item i; `low`: where the next may begin; false: to be ended. Each choice is tried once. */
static bool search_from(struct search *search, size_t i, uint64_t low, bool first, uint64_t sum)
{
	if (++search->steps > STEPS_MAX)
		return false;
	if (sum == 0) {
		search->found++;
		for (size_t j = 0; j < search->count; j++)
			search->item[j].taken = j < i && search->taken[j];
		return search->found < 2;
	}
	if (i == search->count || search->rest[i] < sum)
		return true;
	if ((first || search->item[i].low > low) && search->item[i].weight <= sum) {
		search->taken[i] = true;
		if (!search_from(search, i + 1, search->item[i].high, false, sum - search->item[i].weight))
			return false;
		search->taken[i] = false;
	}
	return search_from(search, i + 1, low, first, sum);
}

static int compare(const void *a, const void *b)
{
	const struct repair_item *left = a, *right = b;

	if (left->low != right->low)
		return left->low < right->low ? -1 : 1;
	return left->high < right->high ? -1 : left->high > right->high;
}

/* More would take the stack too deep; no file that is mended in practice has so many lost pages. */
#define ITEMS_MAX 20000u

bool repair_select(struct repair_item *item, size_t count, uint64_t sum)
{
	struct search search = {.item = item, .count = count};
	bool ended = false;

	if (count == 0 || count > ITEMS_MAX || sum == 0)
		return false;
	search.rest = calloc(count + 1, sizeof(*search.rest));
	search.taken = calloc(count, sizeof(*search.taken));
	if (search.rest != NULL && search.taken != NULL) {
		qsort(item, count, sizeof(*item), compare);
		for (size_t i = count; i-- > 0;)
			search.rest[i] = search.rest[i + 1] + item[i].weight;
		ended = search_from(&search, 0, 0, true, sum);
	}
	free(search.rest);
	free(search.taken);
	return ended && search.found == 1;
}
