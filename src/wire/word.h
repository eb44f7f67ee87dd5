/*
 * The state word of a cached pin, in a page that daemon and client share (a memfd, made and sealed by the daemon). The
 * client pins again and unpins by one atomic instruction; the daemon takes an idle pin away by one.
 *
 *   count (low 30 bits): how often the client holds it now
 *   BELL: the daemon wants it back: no new holds; whoever makes count 0 sends WIRE_BELL
 *   REVOKED: it is gone, for ever: the pin's blocks may be somebody else's
 *
 *   client, hold:   old = fetch_add(1);  if old has BELL or REVOKED: release, then fail
 *   client, release: old = fetch_sub(1); if old has BELL, not REVOKED, and its count was 1: ring
 *   daemon, revoke: compare-exchange(0 -> REVOKED), or (BELL -> REVOKED | BELL); else fetch_or(BELL) and, if that
 *                   showed count 0, compare-exchange again. Nothing is lost: a hold that fails rings when it releases.
 *
 * The client can write anything into its words: each speaks of its own pin only, and the daemon believes nothing but
 * "count is 0 now", which is the client's own promise.
 */
#ifndef PINFS_WIRE_WORD_H
#define PINFS_WIRE_WORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define WIRE_WORD_REVOKED 0x80000000u
#define WIRE_WORD_BELL 0x40000000u
#define WIRE_WORD_COUNT 0x3fffffffu

typedef _Atomic uint32_t wire_word;

/* Words of a session's page; each has a cache line of its own, so that threads do not share one. */
#define WIRE_WORD_STRIDE 64u
#define WIRE_PAGE_BYTES (256u << 10)
#define WIRE_PAGE_WORDS (WIRE_PAGE_BYTES / WIRE_WORD_STRIDE)
#define WIRE_WORD_NONE UINT32_MAX

static inline wire_word *wire_word_at(void *page, uint32_t index)
{
	return (wire_word *)((char *)page + (uintptr_t)index * WIRE_WORD_STRIDE);
}

/* Daemon: true if the pin was idle and is revoked now (or was before); false: it is in use, and BELL is set. */
static inline bool wire_word_revoke(wire_word *word)
{
	uint32_t seen = atomic_fetch_or(word, WIRE_WORD_BELL) | WIRE_WORD_BELL;

	while ((seen & WIRE_WORD_COUNT) == 0 && (seen & WIRE_WORD_REVOKED) == 0) {
		if (atomic_compare_exchange_weak(word, &seen, seen | WIRE_WORD_REVOKED))
			return true;
	}
	return (seen & WIRE_WORD_REVOKED) != 0;
}

#endif
