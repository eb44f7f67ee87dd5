/*
 * Knows every store to a pool's files: stands in for libpmem's functions and for mmap(2), for libpmemobj and src/region
 * alike, keeps a shadow of what is durable, and records at each fence what a power cut could leave. One thread only.
 */
#ifndef PINFS_CRASH_SHIM_H
#define PINFS_CRASH_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHIM_FILES 2u /* of a pool: meta, data */
#define SHIM_LINE 64u
#define SHIM_PAGE 4096u

/* One content that a line had, and could have on media. Versions of a line are in the order of its stores. */
struct shim_version {
	uint32_t file;
	uint32_t line;
	bool durable; /* the fence makes it so */
	unsigned char bytes[SHIM_LINE];
};

/* What was pending when the fence came: not durable before, maybe durable by itself. */
struct shim_fence {
	uint32_t number;
	uint32_t begun; /* operations, when it came */
	uint32_t answered;
	uint32_t first, count; /* versions */
};

#define SHIM_FENCES_MAX 8192u
#define SHIM_VERSIONS_MAX (1u << 19)

/* In memory that is shared with the process that builds the images. */
struct shim_trace {
	uint32_t begun, answered; /* set by whoever runs operations */
	uint32_t fences, versions;
	uint32_t flushes, drains; /* that made a difference: what can be seeded */
	bool overflow;
	struct shim_fence fence[SHIM_FENCES_MAX];
	struct shim_version version[SHIM_VERSIONS_MAX];
};

/* A fault that is made on purpose: the n-th flush or fence, from 1, that makes a difference. */
enum shim_fault {
	SHIM_SOUND,
	SHIM_LOSE_FLUSH,
	SHIM_LOSE_FENCE,
	SHIM_SWAP, /* the n-th flush comes after the fence that should have followed it: its stores come later */
};
void shim_seed(enum shim_fault fault, unsigned n);

/* The pool is no persistent memory: flushes and fences do nothing, msync(2) makes pages durable. */
void shim_set_syncing(bool syncing);
/* Files to be watched, before they are mapped; `touched` has a byte a page, set when it is stored to. */
void shim_watch(unsigned number, const char *path, unsigned char *touched);
/* Records from now on: what is in the files now is durable. */
void shim_begin(struct shim_trace *trace);
/* What is pending now, as if a fence came that makes nothing durable. Nothing is recorded after it. */
void shim_end(void);

#endif
