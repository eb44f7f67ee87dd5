/*
 * What pinned memory is like. pins_memory MOUNTPOINT PART PLAIN: PART the data part's file, PLAIN a folder on tmpfs.
 *
 * Steps: store, load (memcpy(3) of 64 MiB, a MiB a turn, to and from the pin; system `raw`: a mmap(2) of the same bytes
 * of PART), touch (8 bytes of each 64 are read, and added up), random (4 KiB at random places, memcpy; `raw`, and
 * `tmpfs`: pread(2) of a file there), huge (of the bytes mapped, those in pages of 2 MiB; `raw` the same). Each step
 * takes turns with its peers. Exit status 0, 1 (failed), 2 (wrong use).
 */
#include "pins.h"

#include <sys/mman.h>

#define BYTES (64ul << 20)
#define PIECE (1ul << 20) /* what is done in one turn */
#define TURNS 192u
#define LOADS 64u

struct memory {
	const char *system;
	unsigned char *address; /* NULL: the descriptor is read */
	int fd;
};

typedef void (*copy)(const struct memory *memory, unsigned char *buffer, size_t at);

static void store(const struct memory *memory, unsigned char *buffer, size_t at)
{
	memcpy(memory->address + at, buffer + at, PIECE);
}

static void load(const struct memory *memory, unsigned char *buffer, size_t at)
{
	memcpy(buffer + at, memory->address + at, PIECE);
}

static void touch(const struct memory *memory, unsigned char *buffer, size_t start)
{
	uint64_t sum = 0;

	for (size_t at = start; at < start + PIECE; at += 64)
		sum += *(const volatile uint64_t *)(const volatile void *)(memory->address + at);
	memcpy(buffer, &sum, sizeof(sum));
}

static void random_loads(const struct memory *memory, unsigned char *buffer, size_t seed)
{
	uint64_t state = seed;

	for (unsigned i = 0; i < LOADS; i++) {
		const size_t at = shuffle(&state) % (BYTES / 4096) * 4096;

		if (memory->address != NULL)
			memcpy(buffer, memory->address + at, 4096);
		else if (pread(memory->fd, buffer, 4096, (off_t)at) != 4096)
			err(1, "pread");
		__asm__ volatile("" : : "r"(buffer) : "memory");
	}
}

/* In turns, each time elsewhere, so that nobody finds in the CPU's caches what another has left; the median of each. */
static void in_turns(const char *name, copy work, const struct memory *memories, unsigned count, double operations,
		     double bytes, unsigned char *buffer)
{
	double values[3][TURNS];

	for (unsigned turn = 0; turn < TURNS; turn++) {
		for (unsigned i = 0; i < count; i++) {
			unsigned which = (i + turn) % count;
			double start = timing_now();

			work(&memories[which], buffer, (turn * count + i) * PIECE % BYTES);
			values[which][turn] = timing_now() - start;
		}
	}
	for (unsigned i = 0; i < count; i++)
		step_print(name, memories[i].system, operations, bytes, timing_median(values[i], TURNS));
}

/* Bytes of the mapping at `address` that are mapped by 2 MiB pages. */
static double huge_bytes(const void *address)
{
	static const char *const keys[] = {"AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:"};
	FILE *file = fopen("/proc/self/smaps", "re");
	unsigned long start, end, bytes = 0;
	bool here = false;
	char line[512];

	if (file == NULL)
		err(1, "smaps");
	while (fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = (uintptr_t)address >= start && (uintptr_t)address < end;
		for (unsigned i = 0; here && i < 3; i++) {
			if (strncmp(line, keys[i], strlen(keys[i])) == 0)
				bytes += strtoul(line + strlen(keys[i]), NULL, 10) * 1024;
		}
	}
	fclose(file);
	return (double)bytes;
}

static void measure(const struct memory memories[3])
{
	unsigned char *buffer = malloc(BYTES);

	if (buffer == NULL)
		err(1, "memory");
	memset(buffer, 1, BYTES);
	for (size_t at = 0; at < BYTES; at += PIECE) {
		store(&memories[0], buffer, at);
		load(&memories[1], buffer, at);
	}
	in_turns("store", store, memories, 2, 1, (double)PIECE, buffer);
	in_turns("load", load, memories, 2, 1, (double)PIECE, buffer);
	in_turns("touch", touch, memories, 2, 1, (double)PIECE, buffer);
	in_turns("random", random_loads, memories, 3, LOADS, LOADS * 4096.0, buffer);
	for (unsigned i = 0; i < 2; i++)
		step_print("huge", memories[i].system, 1, 0, huge_bytes(memories[i].address) / 1048576);
	free(buffer);
}

/* The same bytes of the part, extent by extent, without libpinfs. */
static unsigned char *map_raw(struct pinfs_pin *pin, int part)
{
	unsigned char *room = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	const struct pinfs_extent *extents;
	size_t count;

	if (room == MAP_FAILED)
		err(1, "mmap");
	pins_check(pinfs_extents(pin, &extents, &count), "pinfs_extents");
	for (size_t i = 0; i < count; i++) {
		if (mmap(room + extents[i].offset, extents[i].length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 part, (off_t)extents[i].part_offset) == MAP_FAILED)
			err(1, "mmap");
	}
	return room;
}

int main(int argc, char **argv)
{
	struct memory memories[3] = {{.system = "-"}, {.system = "raw"}, {.system = "tmpfs"}};
	struct pinfs_pin *pin;
	struct pinfs *fs;
	int fd, part, plain;

	if (argc != 4)
		errx(2, "usage: pins_memory MOUNTPOINT PART PLAIN");
	part = open(argv[2], O_RDWR | O_CLOEXEC);
	if (part < 0)
		err(1, "%s", argv[2]);
	fd = pins_file(argv[1], "memory", BYTES);
	plain = pins_file(argv[3], "memory", BYTES);
	pins_check(pinfs_connect(argv[1], &fs), "pinfs_connect");
	pins_check(pinfs_pin(fs, fd, 0, BYTES, PINFS_WRITE, &pin), "pinfs_pin");
	memories[0].address = pinfs_addr(pin);
	memories[1].address = map_raw(pin, part);
	memories[2].fd = plain;
	if (memories[0].address == NULL)
		errx(1, "the pin is not mapped as one piece");
	measure(memories);
	munmap(memories[1].address, BYTES);
	pins_check(pinfs_unpin(pin), "pinfs_unpin");
	pinfs_disconnect(fs);
	close(part);
	pins_remove(argv[1], "memory", fd);
	pins_remove(argv[3], "memory", plain);
	return 0;
}
