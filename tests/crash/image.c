#include "image.h"

#include "same.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD 8u

static int compare(const void *one, const void *other)
{
	const struct shim_version *a = *(const struct shim_version *const *)one;
	const struct shim_version *b = *(const struct shim_version *const *)other;

	if (a->file != b->file)
		return a->file < b->file ? -1 : 1;
	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	return a < b ? -1 : a > b; /* the order of stores */
}

int image_fence_read(const struct shim_trace *trace, uint32_t number, struct image_fence *ret_fence)
{
	struct image_fence fence = {.fence = &trace->fence[number]};
	uint32_t count = fence.fence->count;

	fence.version = calloc(count + 1, sizeof(struct shim_version *));
	fence.group = calloc(count + 1, sizeof(*fence.group));
	if (fence.version == NULL || fence.group == NULL) {
		image_fence_free(&fence);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < count; i++)
		fence.version[i] = &trace->version[fence.fence->first + i];
	qsort(fence.version, count, sizeof(struct shim_version *), compare);
	for (uint32_t i = 0; i < count; i++) {
		const struct shim_version *version = fence.version[i];
		struct image_group *last = fence.groups > 0 ? &fence.group[fence.groups - 1] : NULL;

		if (last != NULL && last->file == version->file && last->line == version->line)
			last->count++;
		else
			fence.group[fence.groups++] = (struct image_group){version->file, version->line, i, 1};
	}
	*ret_fence = fence;
	return 0;
}

void image_fence_free(struct image_fence *fence)
{
	free(fence->group);
	free(fence->version);
}

/* ---- Choosing ---- */

static void put(struct image *image, const struct image_group *group, const unsigned char *bytes)
{
	struct image_file *file = &image->file[group->file];
	size_t at = (size_t)group->line * SHIM_LINE;

	memcpy(file->bytes + at, bytes, SHIM_LINE);
	file->touched[at / SHIM_PAGE] = 1;
}

static const unsigned char *last_version(const struct image_fence *fence, const struct image_group *group)
{
	return fence->version[group->first + group->count - 1]->bytes;
}

/* Some words are those of a version, the others durable ones. */
static void put_torn(struct image *image, const struct image_group *group, const unsigned char *bytes, uint64_t words)
{
	unsigned char line[SHIM_LINE];

	memcpy(line, image->file[group->file].durable + (size_t)group->line * SHIM_LINE, SHIM_LINE);
	for (unsigned i = 0; i < SHIM_LINE / WORD; i++) {
		if (words >> i & 1)
			memcpy(line + (size_t)i * WORD, bytes + (size_t)i * WORD, WORD);
	}
	put(image, group, line);
}

static void put_by_chance(struct image *image, const struct image_fence *fence, uint64_t seed, bool torn)
{
	for (uint32_t i = 0; i < fence->groups; i++) {
		const struct image_group *group = &fence->group[i];
		uint64_t chance = same_random(&seed);
		uint32_t pick = (uint32_t)(chance % (group->count + 2));
		uint64_t words = chance >> 32;

		if (torn)
			put_torn(image, group, last_version(fence, group), words);
		else if (pick == group->count + 1)
			put_torn(image, group, fence->version[group->first + words / 256 % group->count]->bytes, words);
		else if (pick > 0)
			put(image, group, fence->version[group->first + pick - 1]->bytes);
	}
}

/* The last versions of lines that `wanted` says. */
static void put_lines(struct image *image, const struct image_fence *fence, char kind, uint64_t which)
{
	for (uint32_t i = 0; i < fence->groups; i++) {
		bool wanted = kind == 'a' || (kind == '+' && i == which) || (kind == '-' && i != which) ||
			      (kind == 'x' && i < 64 && (which >> i & 1));

		if (wanted)
			put(image, &fence->group[i], last_version(fence, &fence->group[i]));
	}
}

bool image_choose(struct image *image, const struct image_fence *fence, const char *choice, uint64_t seed)
{
	uint64_t which = choice[0] == '\0' ? 0 : strtoull(choice + 1, NULL, choice[0] == 'x' ? 16 : 10);

	if (strcmp(choice, "none") == 0)
		return true;
	if (strcmp(choice, "all") != 0 && strchr("+-xrt", choice[0]) == NULL)
		return false;
	if (choice[0] == 'r' || choice[0] == 't')
		put_by_chance(image, fence, same_mix(seed ^ same_mix(which * 2 + (choice[0] == 't'))),
			      choice[0] == 't');
	else
		put_lines(image, fence, choice[0], which);
	return true;
}

/* ---- The files ---- */

void image_restore(struct image *image)
{
	for (unsigned i = 0; i < SHIM_FILES; i++) {
		struct image_file *file = &image->file[i];

		for (size_t page = 0; page < file->size / SHIM_PAGE; page++) {
			if (!file->touched[page])
				continue;
			memcpy(file->bytes + page * SHIM_PAGE, file->durable + page * SHIM_PAGE, SHIM_PAGE);
			file->touched[page] = 0;
		}
	}
}

/* What these bytes add to an image's number. */
static uint64_t page_number(unsigned file, size_t place, const unsigned char *bytes, size_t length)
{
	uint64_t number = 0;

	for (size_t at = 0; at < length; at += WORD) {
		uint64_t word;

		memcpy(&word, bytes + at, WORD);
		number += same_mix(word ^ same_mix((place + at) * SHIM_FILES + file));
	}
	return number;
}

void image_advance(struct image *image, const struct image_fence *fence)
{
	for (uint32_t i = 0; i < fence->fence->count; i++) {
		const struct shim_version *version = fence->version[i];
		struct image_file *file = &image->file[version->file];
		size_t at = (size_t)version->line * SHIM_LINE;

		if (!version->durable)
			continue;
		image->number += page_number(version->file, at, version->bytes, SHIM_LINE) -
				 page_number(version->file, at, file->durable + at, SHIM_LINE);
		memcpy(file->bytes + at, version->bytes, SHIM_LINE);
		memcpy(file->durable + at, version->bytes, SHIM_LINE);
	}
}

uint64_t image_number(const struct image *image)
{
	uint64_t number = image->number;

	for (unsigned i = 0; i < SHIM_FILES; i++) {
		const struct image_file *file = &image->file[i];

		for (size_t at = 0; at < file->size; at += SHIM_PAGE) {
			if (file->touched[at / SHIM_PAGE])
				number += page_number(i, at, file->bytes + at, SHIM_PAGE) -
					  page_number(i, at, file->durable + at, SHIM_PAGE);
		}
	}
	return number;
}

void image_adopt(struct image *image)
{
	image->number = image_number(image);
	for (unsigned i = 0; i < SHIM_FILES; i++) {
		struct image_file *file = &image->file[i];

		memcpy(file->durable, file->bytes, file->size);
		memset(file->touched, 0, file->size / SHIM_PAGE);
	}
}
