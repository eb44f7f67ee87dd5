#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define KNOWN_FLAGS                                                                                                    \
	(PINFS_READ | PINFS_WRITE | PINFS_EXCLUSIVE | PINFS_NONBLOCK | PINFS_EXTEND | PINFS_CONTIGUOUS | PINFS_CACHED)

_Static_assert(PINFS_READ == WIRE_PIN_READ && PINFS_WRITE == WIRE_PIN_WRITE && PINFS_EXCLUSIVE == WIRE_PIN_EXCLUSIVE &&
		       PINFS_NONBLOCK == WIRE_PIN_NONBLOCK && PINFS_EXTEND == WIRE_PIN_EXTEND &&
		       PINFS_CONTIGUOUS == WIRE_PIN_CONTIGUOUS && PINFS_CACHED == WIRE_PIN_CACHED &&
		       KNOWN_FLAGS == WIRE_PIN_FLAGS,
	       "the public flags are the wire's");

/* How often a request is made: the daemon may die during the first. */
#define ATTEMPTS 2

struct wish {
	int fd;
	uint64_t offset;
	uint64_t length;
	uint32_t flags;
	struct client_key key; /* CACHED */
};

static int check_range(off_t offset, size_t length)
{
	uint64_t end;

	if (length == 0 || offset < 0)
		return -EINVAL;
	if (__builtin_add_overflow((uint64_t)offset, length, &end) || end > INT64_MAX - CLIENT_BLOCK)
		return -ERANGE;
	return 0;
}

static int check_flags(unsigned flags)
{
	if ((flags & ~KNOWN_FLAGS) != 0)
		return -EINVAL;
	if ((flags & (PINFS_EXCLUSIVE | PINFS_EXTEND)) != 0 && (flags & PINFS_WRITE) == 0)
		return -EINVAL;
	return 0;
}

static int check_descriptor(int fd, unsigned flags)
{
	int mode = fcntl(fd, F_GETFL);

	if (mode < 0)
		return -errno;
	if ((mode & O_PATH) != 0 || (mode & O_ACCMODE) == O_WRONLY)
		return -EBADF;
	if ((flags & PINFS_WRITE) != 0 && ((mode & O_ACCMODE) != O_RDWR || (mode & O_APPEND) != 0))
		return -EBADF;
	return 0;
}

void client_pin_detach(struct pinfs *fs, struct pinfs_pin *pin)
{
	client_announce_cancel(fs, pin);
	client_cached_remove(fs, pin);
	if (pin->next != NULL)
		pin->next->previous = pin->previous;
	if (pin->previous != NULL)
		pin->previous->next = pin->next;
	else if (fs->pins == pin)
		fs->pins = pin->next;
}

static void insert(struct pinfs *fs, struct pinfs_pin *pin)
{
	pin->next = fs->pins;
	if (fs->pins != NULL)
		fs->pins->previous = pin;
	fs->pins = pin;
}

/* Gives up what a pin has, but its word. */
static void release(struct pinfs_pin *pin)
{
	client_pieces_fini(&pin->pieces);
	if (pin->fd >= 0)
		(void)close(pin->fd);
	pin->fd = -1;
}

static void put_word(struct pinfs_pin *pin)
{
	if (pin->word == NULL)
		return;
	client_word_put(pin->page, pin->word_index);
	pin->word = NULL;
}

void client_pin_free(struct pinfs_pin *pin)
{
	put_word(pin);
	release(pin);
	free(pin);
}

static int tell_unpin(struct pinfs *fs, const struct pinfs_pin *pin)
{
	int error = -ENOTCONN;

	for (int i = 0; i < ATTEMPTS && error == -ENOTCONN; i++) {
		struct client_link *link;

		error = client_link_get(fs, true, &link);
		if (error != 0)
			return -ENOTCONN;
		/* In another session the number may be another pin's. What the daemon says to it does not matter. */
		if (link->session == pin->session)
			error = client_call_range(fs, link, WIRE_UNPIN, pin->id, 0, 0);
		client_link_return(fs, link);
	}
	return error == -ENOTCONN ? error : 0;
}

int client_pin_end(struct pinfs *fs, struct pinfs_pin *pin)
{
	int error;

	/* Before others can have the blocks. */
	release(pin);
	error = pin->unknown ? 0 : tell_unpin(fs, pin);
	pthread_mutex_lock(&fs->lock);
	client_pin_free(pin);
	pthread_mutex_unlock(&fs->lock);
	return error;
}

/* In the daemon's session of `link`, or -ENOTCONN. */
static int get_word(struct pinfs *fs, struct client_link *link, struct pinfs_pin *pin)
{
	int error;

	pthread_mutex_lock(&fs->lock);
	error = fs->link == link ? client_word_get(fs->page, &pin->word_index) : -ENOTCONN;
	if (error == 0) {
		pin->page = fs->page;
		pin->word = wire_word_at(pin->page->map, pin->word_index);
	}
	pthread_mutex_unlock(&fs->lock);
	return error;
}

/* The answer becomes the pin: pieces, mapping, descriptor. */
static int build(struct pinfs *fs, struct pinfs_pin *pin, const struct wish *wish, const struct client_call *call)
{
	bool writeback;
	int error;

	pin->id = call->pinned.pin;
	pin->ino = call->pinned.ino;
	pthread_mutex_lock(&fs->lock);
	writeback = fs->writeback;
	error = client_pieces_init(fs, call->extents.extent, call->extents.count, wish->offset, wish->length,
				   pin->access, &pin->pieces);
	pthread_mutex_unlock(&fs->lock);
	if (error == 0)
		error = client_pieces_map(fs, &pin->pieces, pin->access);
	if (error == 0 && writeback && pin->access == CLIENT_WRITE) {
		pin->fd = fcntl(wish->fd, F_DUPFD_CLOEXEC, 0);
		error = pin->fd < 0 ? -errno : 0;
	}
	return error;
}

/*
 * The pin is the session's, and found by others. Not if the link has ended: who came back meanwhile did not know of
 * it, and gave it back. *ret_other: of a CACHED pin that two threads asked for at once the other one's is used.
 */
static int publish(struct pinfs *fs, struct client_link *link, struct pinfs_pin *pin, struct pinfs_pin **ret_other)
{
	int error = 0;

	*ret_other = NULL;
	pthread_mutex_lock(&fs->lock);
	if (pin->word != NULL)
		*ret_other = client_cached_hold(fs, &pin->key);
	if (*ret_other == NULL && fs->link != link) {
		error = -ENOTCONN;
	} else if (*ret_other == NULL) {
		insert(fs, pin);
		client_cached_insert(fs, pin);
	}
	pthread_mutex_unlock(&fs->lock);
	return error;
}

static int ask(struct pinfs *fs, struct client_link *link, struct pinfs_pin *pin, const struct wish *wish,
	       struct pinfs_pin **ret_other)
{
	struct wire_pin message = {.offset = wish->offset, .length = wish->length, .flags = wish->flags};
	struct client_call call = {
		.interruptible = true,
		.most_extents = wish->length / CLIENT_BLOCK + 2,
	};
	int error;

	message.word = pin->word != NULL ? pin->word_index : WIRE_WORD_NONE;
	error = client_call(fs, link, &call, &message, sizeof(message), WIRE_PIN, wish->fd);
	if (error == 0)
		error = build(fs, pin, wish, &call);
	if (error == 0)
		error = publish(fs, link, pin, ret_other);
	if (error != 0 || *ret_other != NULL) {
		release(pin);
		/* A round trip: until it is answered the word is the pin's. */
		if (call.granted)
			(void)client_call_range(fs, link, WIRE_UNPIN, call.pinned.pin, 0, 0);
	}
	free(call.extents.extent);
	return error;
}

static int attempt(struct pinfs *fs, struct pinfs_pin *pin, const struct wish *wish, struct pinfs_pin **ret_other)
{
	struct client_link *link;
	int error;

	error = client_link_get(fs, true, &link);
	if (error != 0)
		return error;
	pin->session = link->session;
	if ((wish->flags & WIRE_PIN_CACHED) != 0)
		error = get_word(fs, link, pin);
	if (error == 0)
		error = ask(fs, link, pin, wish, ret_other);
	if (error != 0) {
		pthread_mutex_lock(&fs->lock);
		put_word(pin);
		pthread_mutex_unlock(&fs->lock);
	}
	client_link_return(fs, link);
	return error;
}

static int pin_anew(struct pinfs *fs, const struct wish *wish, struct pinfs_pin **ret_pin)
{
	struct pinfs_pin *pin = calloc(1, sizeof(*pin));
	struct pinfs_pin *other = NULL;
	int error = -ENOTCONN;

	if (pin == NULL)
		return -ENOMEM;
	pin->fs = fs;
	pin->offset = wish->offset;
	pin->length = wish->length;
	pin->access = (wish->flags & WIRE_PIN_WRITE) != 0 ? CLIENT_WRITE : CLIENT_READ;
	pin->extend = (wish->flags & WIRE_PIN_EXTEND) != 0;
	pin->flags = wish->flags;
	pin->key = wish->key;
	pin->fd = -1;
	for (int i = 0; i < ATTEMPTS && error == -ENOTCONN; i++)
		error = attempt(fs, pin, wish, &other);
	if (error != 0 || other != NULL) {
		pthread_mutex_lock(&fs->lock);
		client_pin_free(pin);
		pthread_mutex_unlock(&fs->lock);
	}
	if (error == 0)
		*ret_pin = other != NULL ? other : pin;
	return error;
}

int pinfs_pin(struct pinfs *fs, int fd, off_t offset, size_t length, unsigned flags, struct pinfs_pin **pinp)
{
	struct wish wish = {.fd = fd, .offset = (uint64_t)offset, .length = length, .flags = flags | WIRE_PIN_READ};
	struct pinfs_pin *pin = NULL;
	int error;

	if (!client_owns(fs))
		return -EPERM;
	error = check_range(offset, length);
	if (error == 0)
		error = check_flags(flags);
	if (error == 0)
		error = check_descriptor(fd, flags);
	if (error == 0 && (flags & PINFS_CACHED) != 0) {
		error = client_key_init(fd, wish.offset, length, wish.flags, &wish.key);
		if (error != 0)
			return error;
		pthread_mutex_lock(&fs->lock);
		pin = client_cached_hold(fs, &wish.key);
		pthread_mutex_unlock(&fs->lock);
	}
	if (error == 0 && pin == NULL)
		error = pin_anew(fs, &wish, &pin);
	if (error == 0)
		*pinp = pin;
	return error;
}

int pinfs_unpin(struct pinfs_pin *pin)
{
	struct pinfs *fs = pin->fs;

	if (!client_owns(fs))
		return -EPERM;
	if (pin->word != NULL)
		return client_word_release(pin);
	pthread_mutex_lock(&fs->lock);
	client_pin_detach(fs, pin);
	pthread_mutex_unlock(&fs->lock);
	return client_pin_end(fs, pin);
}

void *pinfs_addr(const struct pinfs_pin *pin)
{
	return client_owns(pin->fs) ? pin->pieces.addr : NULL;
}

size_t pinfs_length(const struct pinfs_pin *pin)
{
	return pin->length;
}

uint64_t pinfs_id(const struct pinfs_pin *pin)
{
	return pin->id;
}

int pinfs_extents(const struct pinfs_pin *pin, const struct pinfs_extent **extents, size_t *count)
{
	if (!client_owns(pin->fs))
		return -EPERM;
	*extents = pin->pieces.extent;
	*count = pin->pieces.count;
	return 0;
}
