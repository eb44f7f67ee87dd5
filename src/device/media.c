#include "device/media.h"

#include "base/arith.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

int media_add(struct media_list *list, uint64_t sector, uint64_t sectors)
{
	struct media_range range;
	uint64_t end;

	if (add_overflows(sector, sectors, &end) || mul_overflows(end, MEDIA_SECTOR, &range.end))
		return -ERANGE;
	range.start = sector * MEDIA_SECTOR;
	if (list->count == list->room) {
		size_t room = list->room != 0 ? list->room * 2 : 16;
		struct media_range *larger = reallocarray(list->range, room, sizeof(*larger));

		if (larger == NULL)
			return -ENOMEM;
		list->range = larger;
		list->room = room;
	}
	list->range[list->count++] = range;
	return 0;
}

void media_fini(struct media_list *list)
{
	free(list->range);
	*list = (struct media_list){.count = 0};
}

/* strtoull(3) takes signs, and blanks before them. */
static int number(const char **text, uint64_t *ret_value)
{
	char *end;

	while (**text == ' ')
		(*text)++;
	if (!isdigit((unsigned char)**text))
		return -EINVAL;
	errno = 0;
	*ret_value = strtoull(*text, &end, 10);
	*text = end;
	return errno != 0 ? -ERANGE : 0;
}

int media_add_line(struct media_list *list, const char *line)
{
	uint64_t sector, sectors;
	int error;

	error = number(&line, &sector);
	if (error == 0 && *line != ' ')
		error = -EINVAL;
	if (error == 0)
		error = number(&line, &sectors);
	if (error == 0 && ((*line != '\n' && *line != '\0') || sectors == 0))
		error = -EINVAL;
	return error != 0 ? error : media_add(list, sector, sectors);
}

int media_visit(const struct media_list *list, const struct media_extent *extent, uint64_t size, device_visit visit,
		void *arg)
{
	const uint64_t length = extent->offset < size ? min_u64(extent->length, size - extent->offset) : 0;
	int result = 0;

	for (size_t i = 0; i < list->count && result == 0; i++) {
		uint64_t start = max_u64(list->range[i].start, extent->place);
		uint64_t end = min_u64(list->range[i].end, extent->place + length);

		if (start < end)
			result = visit(arg, extent->offset + (start - extent->place), end - start);
	}
	return result;
}
