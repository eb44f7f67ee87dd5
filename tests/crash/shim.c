#include "shim.h"
#include "standin.h"
#include "two.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAPPINGS_MAX 16u
#define NONE (-1)

struct file {
	dev_t device;
	ino_t inode;
	size_t size;
	const unsigned char *now; /* a mapping of our own, for reading: what was stored */
	unsigned char *touched; /* by page */
	unsigned char *shadow; /* what is durable */
	int32_t *last; /* by line: its last flush since the last fence, or NONE */
};

struct mapping {
	unsigned char *start;
	size_t length;
	size_t offset;
	struct file *file;
};

/* A line as it was when it was flushed. */
struct flush {
	struct file *file;
	uint32_t line;
	unsigned thread; /* whose fence it waits for */
	unsigned char bytes[SHIM_LINE];
};

struct flushes {
	struct flush *items;
	size_t count, capacity;
};

static struct file files[SHIM_FILES];
static unsigned file_count;
static struct mapping mappings[MAPPINGS_MAX];
static unsigned mapping_count;
static struct shim_trace *trace;
static struct flushes flying; /* flushed, not fenced */
static struct flushes late; /* SHIM_SWAP: of the flush that is made to come late */
static enum shim_fault fault;
static unsigned fault_number;
static bool syncing;

static void die(const char *what)
{
	fprintf(stderr, "shim: %s: %s\n", what, strerror(errno));
	_exit(3);
}

void shim_seed(enum shim_fault new_fault, unsigned n)
{
	fault = new_fault;
	fault_number = n;
}

void shim_set_syncing(bool new_syncing)
{
	syncing = new_syncing;
}

/* ---- Which pages are stored to: their first store faults ---- */

static const struct mapping *mapping_of(const void *address)
{
	const unsigned char *at = address;

	for (unsigned i = 0; i < mapping_count; i++) {
		if (at >= mappings[i].start && (size_t)(at - mappings[i].start) < mappings[i].length)
			return &mappings[i];
	}
	return NULL;
}

static void on_store(int number, siginfo_t *info, void *context)
{
	const struct mapping *mapping = mapping_of(info->si_addr);
	unsigned char *page = (unsigned char *)((uintptr_t)info->si_addr & ~(uintptr_t)(SHIM_PAGE - 1));

	(void)context;
	if (mapping == NULL || mprotect(page, SHIM_PAGE, PROT_READ | PROT_WRITE) != 0) {
		signal(number, SIG_DFL); /* it comes again, and ends the process */
		return;
	}
	mapping->file->touched[(mapping->offset + (size_t)(page - mapping->start)) / SHIM_PAGE] = 1;
}

void shim_watch(unsigned number, const char *path, unsigned char *touched)
{
	struct sigaction action = {.sa_sigaction = on_store, .sa_flags = SA_SIGINFO | SA_NODEFER};
	struct file *file = &files[number];
	struct stat stat;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &stat) != 0 || sigaction(SIGSEGV, &action, NULL) != 0)
		die(path);
	*file = (struct file){.device = stat.st_dev, .inode = stat.st_ino, .size = (size_t)stat.st_size};
	file->touched = touched;
	file->now = mmap(NULL, file->size, PROT_READ, MAP_SHARED, fd, 0);
	if (file->now == MAP_FAILED)
		die(path);
	close(fd);
	if (file_count <= number)
		file_count = number + 1;
}

static struct file *file_of(int fd)
{
	struct stat stat;

	if (fd < 0 || file_count == 0 || fstat(fd, &stat) != 0)
		return NULL;
	for (unsigned i = 0; i < file_count; i++) {
		if (files[i].inode == stat.st_ino && files[i].device == stat.st_dev)
			return &files[i];
	}
	return NULL;
}

static void forget_mapping(const unsigned char *start, size_t length)
{
	for (unsigned i = 0; i < mapping_count; i++) {
		if (mappings[i].start >= start && mappings[i].start < start + length)
			mappings[i--] = mappings[--mapping_count];
	}
}

static void *map(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	void *mapped = (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
	int type = flags & MAP_TYPE;
	struct file *file;

	if (mapped == MAP_FAILED)
		return mapped;
	forget_mapping(mapped, length);
	if (!(protection & PROT_WRITE) || (type != MAP_SHARED && type != MAP_SHARED_VALIDATE))
		return mapped;
	file = file_of(fd);
	if (file == NULL)
		return mapped;
	if (mapping_count == MAPPINGS_MAX || syscall(SYS_mprotect, mapped, length, PROT_READ) != 0)
		die("mapping");
	mappings[mapping_count++] =
		(struct mapping){.start = mapped, .length = length, .offset = (size_t)offset, .file = file};
	return mapped;
}

/* Both names: programs with 64 bit offsets call mmap64. */
void *shim_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) __asm__("mmap");
void *shim_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return map(address, length, protection, flags, fd, offset);
}

void *shim_mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset) __asm__("mmap64");
void *shim_mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return map(address, length, protection, flags, fd, offset);
}

int munmap(void *address, size_t length)
{
	forget_mapping(address, length);
	return (int)syscall(SYS_munmap, address, length);
}

/* ---- Flushes and fences ---- */

static void flush_add(struct flushes *flushes, struct file *file, uint32_t line, const unsigned char *bytes)
{
	struct flush *flush;

	if (flushes->count == flushes->capacity) {
		flushes->capacity = flushes->capacity == 0 ? 1024 : flushes->capacity * 2;
		flushes->items = reallocarray(flushes->items, flushes->capacity, sizeof(*flushes->items));
		if (flushes->items == NULL)
			die("memory");
	}
	flush = &flushes->items[flushes->count++];
	flush->file = file;
	flush->line = line;
	flush->thread = two_self();
	memcpy(flush->bytes, bytes, SHIM_LINE);
}

/* What the line will be at least, once a fence has come. */
static const unsigned char *line_coming(const struct file *file, uint32_t line)
{
	return file->last[line] != NONE ? flying.items[file->last[line]].bytes
					: file->shadow + (size_t)line * SHIM_LINE;
}

static void fly(struct file *file, uint32_t line, const unsigned char *bytes)
{
	flush_add(&flying, file, line, bytes);
	file->last[line] = (int32_t)(flying.count - 1);
}

/* The line is not as a fence of this thread would leave it now. */
static bool wants_flush(const struct file *file, uint32_t line)
{
	int32_t last = file->last[line];

	return (last != NONE && flying.items[last].thread != two_self()) ||
	       memcmp(file->now + (size_t)line * SHIM_LINE, line_coming(file, line), SHIM_LINE) != 0;
}

static bool makes_difference(const struct file *file, size_t first, size_t end)
{
	for (size_t line = first; line < end; line++) {
		if (wants_flush(file, (uint32_t)line))
			return true;
	}
	return false;
}

static void flush_lines(struct file *file, size_t first, size_t end)
{
	bool hit;

	if (!makes_difference(file, first, end))
		return;
	hit = ++trace->flushes == fault_number;
	if (hit && fault == SHIM_LOSE_FLUSH)
		return;
	for (size_t line = first; line < end; line++) {
		const unsigned char *bytes = file->now + line * SHIM_LINE;

		if (!wants_flush(file, (uint32_t)line))
			continue;
		if (hit && fault == SHIM_SWAP)
			flush_add(&late, file, (uint32_t)line, bytes);
		else
			fly(file, (uint32_t)line, bytes);
	}
}

static void flush(const void *address, size_t length)
{
	const struct mapping *mapping = trace != NULL && length > 0 ? mapping_of(address) : NULL;
	size_t start;

	if (mapping == NULL)
		return;
	start = mapping->offset + (size_t)((const unsigned char *)address - mapping->start);
	flush_lines(mapping->file, start / SHIM_LINE, (start + length + SHIM_LINE - 1) / SHIM_LINE);
}

static void record(const struct file *file, uint32_t line, const unsigned char *bytes, bool durable)
{
	struct shim_version *version = &trace->version[trace->versions];

	if (trace->versions == SHIM_VERSIONS_MAX) {
		trace->overflow = true;
		return;
	}
	version->file = (uint32_t)(file - files);
	version->line = line;
	version->durable = durable;
	memcpy(version->bytes, bytes, SHIM_LINE);
	trace->versions++;
}

/* Lines that were stored to since their last flush. */
static void record_dirty(const struct file *file)
{
	for (size_t page = 0; page < file->size / SHIM_PAGE; page++) {
		uint32_t line = (uint32_t)(page * (SHIM_PAGE / SHIM_LINE));

		for (uint32_t end = line + SHIM_PAGE / SHIM_LINE; file->touched[page] && line < end; line++) {
			const unsigned char *bytes = file->now + (size_t)line * SHIM_LINE;

			if (memcmp(bytes, line_coming(file, line), SHIM_LINE) != 0)
				record(file, line, bytes, false);
		}
	}
}

/* This thread's fence makes it durable: it is its own, and none of its later ones is of the same line. */
static bool is_fenced(size_t number)
{
	const struct flush *flush = &flying.items[number];

	if (flush->thread != two_self())
		return false;
	for (size_t i = number + 1; flush->file->last[flush->line] != (int32_t)number && i < flying.count; i++) {
		const struct flush *later = &flying.items[i];

		if (later->thread == flush->thread && later->file == flush->file && later->line == flush->line)
			return false;
	}
	return true;
}

/* All that is pending. Versions of a line: its flushes in order, then what it is now. */
static void record_fence(bool durable)
{
	struct shim_fence *fence = &trace->fence[trace->fences];

	if (trace->fences == SHIM_FENCES_MAX) {
		trace->overflow = true;
		return;
	}
	*fence = (struct shim_fence){
		.number = trace->fences, .begun = trace->begun, .answered = trace->answered, .first = trace->versions};
	for (size_t i = 0; i < flying.count; i++) {
		const struct flush *flush = &flying.items[i];

		record(flush->file, flush->line, flush->bytes, durable && is_fenced(i));
	}
	for (unsigned i = 0; i < file_count; i++)
		record_dirty(&files[i]);
	fence->count = trace->versions - fence->first;
	trace->fences++;
}

/* What is durable from now on goes to the shadow; with it what the same lines had before. Others' flushes stay. */
static void settle(void)
{
	size_t kept = 0;

	for (size_t i = 0; i < flying.count; i++) {
		const struct flush *flush = &flying.items[i];

		if (flush->thread == two_self())
			memcpy(flush->file->shadow + (size_t)flush->line * SHIM_LINE, flush->bytes, SHIM_LINE);
		flush->file->last[flush->line] = NONE;
	}
	for (size_t i = 0; i < flying.count; i++) {
		const struct flush flush = flying.items[i];
		bool over = flush.thread == two_self();

		for (size_t j = i + 1; !over && j < flying.count; j++)
			over = flying.items[j].thread == two_self() && flying.items[j].file == flush.file &&
			       flying.items[j].line == flush.line;
		if (over)
			continue;
		flying.items[kept] = flush;
		flush.file->last[flush.line] = (int32_t)kept++;
	}
	flying.count = kept;
}

static void fence(void)
{
	if (trace == NULL)
		return;
	if (flying.count > 0 && ++trace->drains == fault_number && fault == SHIM_LOSE_FENCE)
		return;
	record_fence(true);
	settle();
	for (size_t i = 0; i < late.count; i++)
		fly(late.items[i].file, late.items[i].line, late.items[i].bytes);
	late.count = 0;
}

void standin_flush(const void *address, size_t length)
{
	two_yield();
	if (!syncing)
		flush(address, length);
}

void standin_fence(void)
{
	two_yield();
	if (!syncing)
		fence();
}

/* Whole pages; until it returns any of their lines may be there, or not. */
void standin_sync(const void *address, size_t length)
{
	uintptr_t start = (uintptr_t)address & ~(uintptr_t)(SHIM_PAGE - 1);
	uintptr_t end = ((uintptr_t)address + length + SHIM_PAGE - 1) & ~(uintptr_t)(SHIM_PAGE - 1);

	two_yield();
	flush((const void *)start, end - start);
	fence();
}

int msync(void *address, size_t length, int flags)
{
	(void)flags;
	standin_sync(address, length);
	return 0;
}

/* ---- Files that are written, not mapped: what a page got so is in the page cache until it is synced ---- */

ssize_t shim_pwrite(int fd, const void *bytes, size_t length, off_t offset) __asm__("pwrite");
ssize_t shim_pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	ssize_t count = syscall(SYS_pwrite64, fd, bytes, length, offset);
	struct file *file = count > 0 ? file_of(fd) : NULL;

	for (ssize_t at = 0; file != NULL && at < count; at += SHIM_PAGE)
		file->touched[(size_t)(offset + at) / SHIM_PAGE] = 1;
	return count;
}

ssize_t shim_pwrite64(int fd, const void *bytes, size_t length, off_t offset) __asm__("pwrite64");
ssize_t shim_pwrite64(int fd, const void *bytes, size_t length, off_t offset)
{
	return shim_pwrite(fd, bytes, length, offset);
}

int fsync(int fd)
{
	struct file *file = trace != NULL ? file_of(fd) : NULL;

	for (size_t page = 0; file != NULL && page < file->size / SHIM_PAGE; page++) {
		if (file->touched[page])
			flush_lines(file, page * (SHIM_PAGE / SHIM_LINE), (page + 1) * (SHIM_PAGE / SHIM_LINE));
	}
	if (file != NULL)
		fence();
	return 0;
}

void shim_begin(struct shim_trace *new_trace)
{
	for (unsigned i = 0; i < file_count; i++) {
		struct file *file = &files[i];

		file->shadow = malloc(file->size);
		file->last = malloc(file->size / SHIM_LINE * sizeof(*file->last));
		if (file->shadow == NULL || file->last == NULL)
			die("memory");
		memcpy(file->shadow, file->now, file->size);
		for (size_t line = 0; line < file->size / SHIM_LINE; line++)
			file->last[line] = NONE;
	}
	flying.count = 0;
	late.count = 0;
	trace = new_trace;
}

void shim_end(void)
{
	record_fence(false);
	trace = NULL;
}
