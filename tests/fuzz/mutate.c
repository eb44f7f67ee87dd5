/* Patches that are worth trying: places and values that mean something in the base pool. Linked with libFuzzer only. */
#include "draw.h"
#include "fuzz.h"
#include "image.h"

#include <string.h>

extern struct image pool_image;

static unsigned draw_kind(void)
{
#ifdef FUZZ_HEAP
	if (draw(3) != 0)
		return IMAGE_HEAP;
#endif
	static const uint8_t kinds[] = {
		IMAGE_SUPER, IMAGE_GROUP,  IMAGE_INODE,	 IMAGE_INODE,  IMAGE_INODE, IMAGE_INODE,
		IMAGE_NODE,  IMAGE_RECORD, IMAGE_RECORD, IMAGE_RECORD, IMAGE_NAMES, IMAGE_NAME,
		IMAGE_NAME,  IMAGE_NAME,   IMAGE_BLOB,	 IMAGE_PART,   IMAGE_DATA,
	};

	return kinds[draw(sizeof(kinds))];
}

/* What the same field holds in another object of this kind: a plausible value. */
static uint64_t borrowed(unsigned kind, uint32_t offset, unsigned width)
{
	const struct image_object *object;
	uint64_t value = 0;

	if (pool_image.count[kind] == 0)
		return 0;
	object = &pool_image.object[kind][draw(pool_image.count[kind])];
	offset %= object->size;
	if (width > object->size - offset)
		width = 1;
	memcpy(&value, pool_image.base[object->file] + object->offset + offset, width);
	return value;
}

static uint64_t draw_value(const struct patch *patch, unsigned kind)
{
	static const uint64_t edges[] = {0,
					 1,
					 2,
					 3,
					 4,
					 7,
					 8,
					 255,
					 256,
					 4095,
					 4096,
					 4097,
					 0x7fff,
					 0xffff,
					 0x7fffffff,
					 0x80000000,
					 0xffffffff,
					 0x100000000,
					 1ull << 48,
					 (1ull << 48) - 1,
					 INT64_MAX,
					 1ull << 63,
					 UINT64_MAX,
					 UINT64_MAX - 4095,
					 UINT64_MAX - 1};

	switch (draw(6)) {
	case 0:
		return edges[draw(sizeof(edges) / sizeof(edges[0]))];
	case 1:
		return 1ull << draw(64);
	case 2:
		return draw(64);
	case 3:
		return draw_any();
	case 4: /* a page, an inode number, a block */
		return draw(2048);
	default:
		return borrowed(kind, patch->offset, 1u << (patch->how & PATCH_WIDTH));
	}
}

static void draw_patch(struct patch *patch)
{
	unsigned kind = draw_kind();
	uint32_t size = 4096;

	memset(patch, 0, sizeof(*patch));
	patch->kind = (uint8_t)kind;
	patch->how = (uint8_t)(draw(4) | (draw(3) == 0 ? PATCH_ADD : draw(4) == 0 ? PATCH_XOR : 0));
	if (draw(12) == 0)
		patch->how |= PATCH_OBJECT;
	if (draw(16) == 0)
		patch->how |= PATCH_UNSEALED;
	if (pool_image.count[kind] > 0) {
		patch->index = (uint16_t)draw(pool_image.count[kind]);
		size = pool_image.object[kind][patch->index].size;
	}
	patch->offset = (uint32_t)draw(size) & ~((1u << (patch->how & PATCH_WIDTH)) - 1);
	patch->value = (patch->how & PATCH_OBJECT) != 0 ? draw(1024) : draw_value(patch, kind);
	if ((patch->how & PATCH_ADD) != 0 && draw(2) == 0)
		patch->value = draw(2) == 0 ? draw(17) : 0 - draw(17);
}

static void change_patch(struct patch *patch)
{
	switch (draw(4)) {
	case 0:
		patch->value = draw_value(patch, patch->kind % IMAGE_KINDS);
		break;
	case 1:
		patch->index += (uint16_t)(draw(2) == 0 ? 1 : draw(65536));
		break;
	case 2:
		patch->offset += 1u << (patch->how & PATCH_WIDTH);
		break;
	default:
		patch->how ^= (uint8_t)(1u << draw(8));
		break;
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed)
{
	struct patch patch[PATCHES_MAX + 1];
	size_t count = size / sizeof(patch[0]), odd;

	if (capacity > sizeof(patch[0]) * PATCHES_MAX)
		capacity = sizeof(patch[0]) * PATCHES_MAX;
	if (seed % 8 == 0)
		return LLVMFuzzerMutate(data, size < capacity ? size : capacity, capacity);
	draw_seed(seed);
	if (count > PATCHES_MAX - 1)
		count = PATCHES_MAX - 1;
	memcpy(patch, data, count * sizeof(patch[0]));
	if (count == 0 || draw(3) == 0)
		draw_patch(&patch[count++]);
	else if (count > 1 && draw(4) == 0)
		patch[draw(count)] = patch[count - 1], count--;
	else if (draw(3) == 0)
		draw_patch(&patch[draw(count)]);
	else
		change_patch(&patch[draw(count)]);
	if (count * sizeof(patch[0]) > capacity)
		count = capacity / sizeof(patch[0]);
	memcpy(data, patch, count * sizeof(patch[0]));
	odd = count * sizeof(patch[0]) < capacity && draw(8) == 0;
	if (odd != 0)
		data[count * sizeof(patch[0])] = 0;
	return count * sizeof(patch[0]) + odd;
}
