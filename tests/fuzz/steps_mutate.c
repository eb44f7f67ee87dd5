/* Steps that are worth trying: small numbers, edges, and one step changed at a time. Linked with libFuzzer only. */
#include "draw.h"
#include "fuzz.h"
#include "steps.h"

static uint64_t draw_value(void)
{
	static const uint64_t edges[] = {0,
					 1,
					 2,
					 4095,
					 4096,
					 4097,
					 8192,
					 1u << 20,
					 0x3fffffff,
					 0x40000000,
					 0x7fffffff,
					 0x80000000,
					 0xffffffff,
					 1ull << 32,
					 INT64_MAX,
					 1ull << 63,
					 UINT64_MAX,
					 UINT64_MAX - 4095,
					 INT64_MAX - 4095};

	switch (draw(5)) {
	case 0:
		return edges[draw(sizeof(edges) / sizeof(edges[0]))];
	case 1:
		return 1ull << draw(64);
	case 2:
		return draw(16) << 12;
	case 3:
		return draw_any();
	default:
		return draw(130);
	}
}

static void draw_step(struct step *step)
{
	step->what = (uint8_t)draw(32);
	step->who = (uint8_t)draw(8);
	step->kind = (uint8_t)(draw(4) == 0 ? draw(256) : draw(12));
	step->how = (uint8_t)(draw(3) == 0 ? draw(256) : draw(8));
	step->place = (uint32_t)(draw(3) == 0 ? draw_value() : draw(16) * 8);
	step->a = draw_value();
	step->b = draw_value();
}

static void change_step(struct step *step)
{
	struct step other;

	draw_step(&other);
	switch (draw(7)) {
	case 0:
		step->what = other.what;
		break;
	case 1:
		step->who = other.who;
		break;
	case 2:
		step->kind = other.kind;
		break;
	case 3:
		step->how = other.how;
		break;
	case 4:
		step->place = draw(2) == 0 ? other.place : step->place + 8;
		break;
	case 5:
		step->a = other.a;
		break;
	default:
		step->b = other.b;
		break;
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed)
{
	struct step step[STEPS_MAX + 1];
	size_t count = size / sizeof(step[0]), at, odd;

	if (seed % 8 == 0)
		return LLVMFuzzerMutate(data, size, capacity);
	draw_seed(seed);
	if (count > STEPS_MAX - 1)
		count = STEPS_MAX - 1;
	memcpy(step, data, count * sizeof(step[0]));
	at = draw(count + 1);
	if (count == 0 || draw(3) == 0) {
		memmove(&step[at + 1], &step[at], (count - at) * sizeof(step[0]));
		draw_step(&step[at]);
		count++;
	} else if (draw(4) == 0) {
		step[draw(count)] = step[count - 1];
		count--;
	} else if (draw(4) == 0) {
		/* Again, later. */
		step[count] = step[draw(count)];
		count++;
	} else {
		change_step(&step[draw(count)]);
	}
	if (count * sizeof(step[0]) > capacity)
		count = capacity / sizeof(step[0]);
	memcpy(data, step, count * sizeof(step[0]));
	odd = count * sizeof(step[0]) < capacity && draw(8) == 0;
	if (odd != 0)
		data[count * sizeof(step[0])] = 0;
	return count * sizeof(step[0]) + odd;
}
