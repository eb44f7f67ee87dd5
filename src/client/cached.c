/*
 * Cached pins: the hold and the release of a state word (wire/word.h), and finding the pin of a range again.
 *
 * A word's index is used again only after the daemon has answered the UNPIN of its pin, or has come back without it:
 * what the daemon does to the word it does to that pin.
 */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Half of what a word counts: what a race adds on top of it fits. */
#define HOLDS_MAX (WIRE_WORD_COUNT / 2)

static int check_page(int fd, uint32_t words)
{
	struct stat attr;
	int seals = fcntl(fd, F_GET_SEALS);

	if (fstat(fd, &attr) != 0)
		return -errno;
	/* It must not shrink under our atomic instructions. */
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || words == 0 || words > WIRE_PAGE_WORDS ||
	    attr.st_size < (off_t)WIRE_PAGE_BYTES)
		return -EPROTO;
	return 0;
}

static int map_page(int fd, void **ret_map)
{
	void *map = mmap(NULL, WIRE_PAGE_BYTES, PROT_NONE, MAP_SHARED, fd, 0);
	int error;

	if (map == MAP_FAILED)
		return -errno;
	error = client_open_room(map, WIRE_PAGE_BYTES, CLIENT_WRITE);
	if (error != 0) {
		(void)munmap(map, WIRE_PAGE_BYTES);
		return error;
	}
	*ret_map = map;
	return 0;
}

int client_page_open(int fd, uint32_t words, struct client_page **ret_page)
{
	struct client_page *page = calloc(1, sizeof(*page));
	int error;

	error = page == NULL ? -ENOMEM : check_page(fd, words);
	if (error != 0)
		goto fail;
	page->free_words = malloc(words * sizeof(*page->free_words));
	error = page->free_words == NULL ? -ENOMEM : map_page(fd, &page->map);
	if (error != 0)
		goto fail;
	page->refs = 1;
	page->fd = fd;
	page->words = words;
	/* Low ones first. */
	for (uint32_t index = words; index > 0; index--)
		page->free_words[page->free_count++] = index - 1;
	*ret_page = page;
	return 0;
fail:
	if (page != NULL)
		free(page->free_words);
	free(page);
	(void)close(fd);
	return error;
}

void client_page_put(struct client_page *page)
{
	if (--page->refs != 0)
		return;
	if (page->map != NULL)
		(void)munmap(page->map, WIRE_PAGE_BYTES);
	(void)close(page->fd);
	free(page->free_words);
	free(page);
}

int client_word_get(struct client_page *page, uint32_t *ret_index)
{
	uint32_t index;

	if (page->free_count == 0)
		return -ENOMEM;
	index = page->free_words[--page->free_count];
	atomic_store(wire_word_at(page->map, index), 1);
	page->refs++;
	*ret_index = index;
	return 0;
}

void client_word_put(struct client_page *page, uint32_t index)
{
	page->free_words[page->free_count++] = index;
	client_page_put(page);
}

int client_key_init(int fd, uint64_t offset, uint64_t length, uint32_t flags, struct client_key *ret_key)
{
	struct statx attr;

	/* No question to the daemon: what the kernel knows of an open file's identity does not change. */
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &attr) != 0)
		return -errno;
	*ret_key = (struct client_key){
		.dev = makedev(attr.stx_dev_major, attr.stx_dev_minor),
		.ino = attr.stx_ino,
		.offset = offset,
		.length = length,
		.flags = flags & ~WIRE_PIN_NONBLOCK,
	};
	return 0;
}

static int compare_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* For tsearch(3), whose keys are pins. */
static int compare_pins(const void *left, const void *right)
{
	const struct client_key *a = &((const struct pinfs_pin *)left)->key;
	const struct client_key *b = &((const struct pinfs_pin *)right)->key;
	int order = compare_u64(a->offset, b->offset);

	if (order == 0)
		order = compare_u64(a->ino, b->ino);
	if (order == 0)
		order = compare_u64(a->length, b->length);
	if (order == 0)
		order = compare_u64(a->dev, b->dev);
	return order != 0 ? order : compare_u64(a->flags, b->flags);
}

void client_ring(struct pinfs *fs, struct client_link *link, uint64_t id)
{
	struct wire_range bell = {.pin = id};

	client_tell(fs, link, &bell, sizeof(bell), WIRE_BELL);
}

/* Away: whoever connects again rings for all pins that are wanted. */
static void ring(struct pinfs *fs, uint64_t id)
{
	struct client_link *link;

	pthread_mutex_lock(&fs->lock);
	link = fs->link;
	if (link != NULL)
		link->refs++;
	pthread_mutex_unlock(&fs->lock);
	if (link == NULL)
		return;
	client_ring(fs, link, id);
	client_link_return(fs, link);
}

/* The last release is the last use of the pin by this thread: another one may forget it from then on. */
int client_word_release(struct pinfs_pin *pin)
{
	struct pinfs *fs = pin->fs;
	uint64_t id = pin->id;
	wire_word *word = pin->word;
	uint32_t old = atomic_fetch_sub(word, 1);

	if ((old & WIRE_WORD_COUNT) == 0) {
		/* More releases than holds: the count has borrowed from the flags. */
		(void)atomic_fetch_add(word, 1);
		return -EINVAL;
	}
	if ((old & (WIRE_WORD_COUNT | WIRE_WORD_BELL | WIRE_WORD_REVOKED)) == (WIRE_WORD_BELL | 1))
		ring(fs, id);
	return 0;
}

/* 0, or why not; *ret_ring: the failed hold was the last one, and the daemon waits for it. */
static int hold(wire_word *word, bool *ret_ring)
{
	uint32_t old = atomic_fetch_add(word, 1);
	bool gone = (old & (WIRE_WORD_BELL | WIRE_WORD_REVOKED)) != 0;

	*ret_ring = false;
	if (!gone && (old & WIRE_WORD_COUNT) < HOLDS_MAX)
		return 0;
	old = atomic_fetch_sub(word, 1);
	*ret_ring = (old & (WIRE_WORD_COUNT | WIRE_WORD_BELL | WIRE_WORD_REVOKED)) == (WIRE_WORD_BELL | 1);
	return gone ? -ESTALE : -EOVERFLOW;
}

int pinfs_repin(struct pinfs_pin *pin)
{
	bool wanted;
	int error;

	if (!client_owns(pin->fs))
		return -EPERM;
	if (pin->word == NULL)
		return -EINVAL;
	error = hold(pin->word, &wanted);
	if (wanted)
		ring(pin->fs, pin->id);
	return error;
}

struct pinfs_pin *client_cached_hold(struct pinfs *fs, const struct client_key *key)
{
	const struct pinfs_pin wanted_pin = {.key = *key};
	struct pinfs_pin **node = tfind(&wanted_pin, &fs->cached, compare_pins);
	struct pinfs_pin *pin = node != NULL ? *node : NULL;
	struct client_link *link;
	bool wanted;

	if (pin == NULL || hold(pin->word, &wanted) == 0)
		return pin;
	client_cached_remove(fs, pin);
	if (wanted && fs->link != NULL) {
		uint64_t id = pin->id;

		link = fs->link;
		link->refs++;
		pthread_mutex_unlock(&fs->lock);
		client_ring(fs, link, id);
		pthread_mutex_lock(&fs->lock);
		client_link_put(link);
	}
	return NULL;
}

void client_cached_insert(struct pinfs *fs, struct pinfs_pin *pin)
{
	struct pinfs_pin **node;

	if (pin->word == NULL)
		return;
	/* Without memory it is only not found again. */
	node = tsearch(pin, &fs->cached, compare_pins);
	pin->known = node != NULL && *node == pin;
}

void client_cached_remove(struct pinfs *fs, struct pinfs_pin *pin)
{
	if (!pin->known)
		return;
	(void)tdelete(pin, &fs->cached, compare_pins);
	pin->known = false;
}

/* True if nobody holds it: then nobody can any more. */
static bool close_word(wire_word *word)
{
	uint32_t seen = atomic_load(word);

	do {
		if ((seen & WIRE_WORD_COUNT) != 0)
			return false;
	} while (!atomic_compare_exchange_weak(word, &seen, seen | WIRE_WORD_REVOKED));
	return true;
}

int pinfs_forget(struct pinfs_pin *pin)
{
	struct pinfs *fs = pin->fs;

	if (!client_owns(fs))
		return -EPERM;
	if (pin->word == NULL)
		return -EINVAL;
	/* client_cached_hold() holds under the lock: who finds the pin there finds it closed, or is in time. */
	pthread_mutex_lock(&fs->lock);
	if (!close_word(pin->word)) {
		pthread_mutex_unlock(&fs->lock);
		return -EBUSY;
	}
	client_pin_detach(fs, pin);
	pthread_mutex_unlock(&fs->lock);
	return client_pin_end(fs, pin);
}
