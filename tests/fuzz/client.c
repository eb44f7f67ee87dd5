/*
 * Target `client`: libpinfs with a daemon that lies. The daemon is that of the unit tests, which is honest; here its
 * messages are spoilt on their way, one step of the input each: fields changed, cut, doubled, left out, descriptors of
 * other things, the state page written to. Nothing of it may crash the client, or keep it for ever.
 */
#include "fuzz.h"
#include "client/ask.h"
#include "steps.h"

/* getxattr(2) is answered there; a client that is lied to may come back as a new one each time. */
#define SESSIONS 64
#include "../unit/client_daemon.h"

enum lie {
	LIE_NONE,
	LIE_FIELD, /* `place`: offset; `how`: log2 of the width, 4: add; `a`: value */
	LIE_TYPE,
	LIE_CUT, /* to `place` bytes */
	LIE_LONGER,
	LIE_TWICE,
	LIE_NOTHING_MORE, /* it is silent, and hangs up */
	LIE_DESCRIPTORS, /* `kind` of them, of another thing */
	LIE_NO_DESCRIPTORS,
	LIE_WORD, /* `place`: index; `a` becomes the state word */
	LIE_EVENT,
	LIES,
};

static struct step steps[STEPS_MAX];
static size_t step_count, step_next;
static struct fake fake;

ssize_t __real_sendmsg(int socket, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int socket, const struct msghdr *message, int flags);

/* ---- The lies ---- */

static void change_field(unsigned char *bytes, size_t length, const struct step *step)
{
	size_t width = (size_t)1 << (step->how & 3), place = length > 0 ? step->place % length : 0;
	uint64_t value = 0;

	place &= ~(width - 1);
	if (place + width > length)
		return;
	memcpy(&value, bytes + place, width);
	value = (step->how & 4) != 0 ? value + step->a : step->a;
	memcpy(bytes + place, &value, width);
}

static void change_descriptors(struct msghdr *message, const struct step *step, void *room, size_t size, int *fds)
{
	unsigned count = step->kind % (WIRE_FDS_MAX + 2);
	struct cmsghdr *head = room;

	memset(room, 0, size);
	for (unsigned i = 0; i < count; i++)
		fds[i] = step->how % 3 == 0   ? fake.parts[step->a % PARTS].fd
			 : step->how % 3 == 1 ? open("/dev/null", O_RDWR | O_CLOEXEC)
					      : eventfd(0, EFD_CLOEXEC);
	message->msg_control = count > 0 ? room : NULL;
	message->msg_controllen = count > 0 ? CMSG_SPACE(sizeof(int) * count) : 0;
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(head), fds, sizeof(int) * count);
	for (unsigned i = count; i < WIRE_FDS_MAX + 2; i++)
		fds[i] = -1;
}

static void write_word(const struct step *step)
{
	for (int i = 0; i < SESSIONS; i++) {
		if (fake.session[i].known)
			atomic_store(wire_word_at(fake.session[i].words, step->place % WIRE_PAGE_WORDS),
				     (uint32_t)step->a);
	}
}

static void say_event(const struct step *step)
{
	struct wire_event event = {.kind = step->kind % 9,
				   .reason = step->how % 5,
				   .pin = step->a,
				   .offset = step->b,
				   .length = step->place,
				   .deadline = step->b};
	struct iovec data = {.iov_base = &event, .iov_len = sizeof(event)};
	struct msghdr packet = {.msg_iov = &data, .msg_iovlen = 1};

	wire_header_set(&event.header, WIRE_EVENT, sizeof(event), 0, 0);
	if (step->who % 4 == 0)
		change_field((unsigned char *)&event, sizeof(event), step);
	for (int i = 0; i < SESSIONS; i++) {
		if (fake.session[i].known && fake.session[i].socket >= 0)
			(void)!__real_sendmsg(fake.session[i].events, &packet, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
}

/* True if an honest client may wait for ever for what this message was. */
static bool leaves_waiting(const struct wire_header *header, const struct step *step)
{
	size_t place = header->length > 0 ? step->place % header->length : 0;

	switch (step->what % LIES) {
	case LIE_FIELD:
		return place < sizeof(*header) ||
		       (header->type == WIRE_WELCOME && place >= offsetof(struct wire_welcome, page_words));
	case LIE_TYPE:
	case LIE_CUT:
	case LIE_LONGER:
	case LIE_DESCRIPTORS:
	case LIE_NO_DESCRIPTORS:
		return true;
	default:
		return false;
	}
}

/* Of what is in the message itself. */
static void spoil_bytes(unsigned char *bytes, size_t *length, const struct step *step)
{
	struct wire_header *header = (struct wire_header *)bytes;
	unsigned lie = step->what % LIES;

	if (lie == LIE_FIELD)
		change_field(bytes, *length, step);
	else if (lie == LIE_TYPE)
		header->type = step->kind;
	else if (lie == LIE_CUT)
		*length = 1 + step->place % *length;
	else if (lie == LIE_LONGER)
		*length += 8 * (step->place % 64);
	if ((lie == LIE_CUT || lie == LIE_LONGER) && (step->how & 1))
		header->length = (uint32_t)*length;
}

static ssize_t send_spoilt(int socket, const struct msghdr *message, const struct step *step)
{
	_Alignas(8) static unsigned char bytes[WIRE_MESSAGE_MAX + 512];
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int) * (WIRE_FDS_MAX + 2))];
	struct iovec data = {.iov_base = bytes, .iov_len = message->msg_iov->iov_len};
	struct msghdr packet = *message;
	int fds[WIRE_FDS_MAX + 2];
	ssize_t result;

	memset(fds, -1, sizeof(fds));
	memcpy(bytes, message->msg_iov->iov_base, data.iov_len);
	packet.msg_iov = &data;
	spoil_bytes(bytes, &data.iov_len, step);
	switch (step->what % LIES) {
	case LIE_DESCRIPTORS:
		change_descriptors(&packet, step, room, sizeof(room), fds);
		break;
	case LIE_NO_DESCRIPTORS:
		packet.msg_control = NULL;
		packet.msg_controllen = 0;
		break;
	case LIE_WORD:
		write_word(step);
		break;
	case LIE_EVENT:
		say_event(step);
		break;
	case LIE_TWICE:
		(void)!__real_sendmsg(socket, &packet, MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	case LIE_NOTHING_MORE:
		shutdown(socket, SHUT_RDWR);
		return 0;
	}
	result = __real_sendmsg(socket, &packet, MSG_NOSIGNAL | MSG_DONTWAIT);
	for (size_t i = 0; i < WIRE_FDS_MAX + 2; i++) {
		if (fds[i] >= 0 && step->how % 3 != 0)
			close(fds[i]);
	}
	/* Whoever does not believe it may wait for another answer: there is none. */
	if (leaves_waiting(message->msg_iov->iov_base, step))
		shutdown(socket, SHUT_WR);
	return result;
}

ssize_t __wrap_sendmsg(int socket, const struct msghdr *message, int flags)
{
	if (pthread_equal(pthread_self(), fake.thread) == 0 || step_next >= step_count)
		return __real_sendmsg(socket, message, flags);
	return send_spoilt(socket, message, &steps[step_next++]);
}

/* ---- The client ---- */

static int file;

static int on_listed(void *arg, const struct wire_listed *entry)
{
	(void)arg;
	return entry->path_length > WIRE_MESSAGE_MAX;
}

static int on_extents(void *arg, const struct wire_file_map *map)
{
	unsigned *answers = arg;

	/* Somebody who tells of the same for ever is not listened to for ever. */
	return ++*answers > 64 || map->count > WIRE_FILE_MAP_MAX;
}

static int on_cells(void *arg, const struct wire_pool_map *map)
{
	(void)arg;
	return map->cell_bytes == 0 || map->count > WIRE_POOL_MAP_MAX;
}

static void read_events(struct pinfs *fs)
{
	struct pinfs_event event;

	for (unsigned i = 0; i < 64 && pinfs_next_event(fs, &event) == 0; i++)
		;
}

/* What the client is told to be its memory is memory. */
static void use_pin(struct pinfs *fs, struct pinfs_pin *pin, bool write)
{
	const struct pinfs_extent *extents;
	volatile unsigned char byte;
	size_t count;

	if (pinfs_extents(pin, &extents, &count) == 0) {
		for (size_t i = 0; i < count; i++) {
			byte = *(unsigned char *)extents[i].addr;
			byte = ((unsigned char *)extents[i].addr)[extents[i].length - 1];
		}
		(void)byte;
	}
	if (pinfs_addr(pin) != NULL && pinfs_length(pin) > 0)
		byte = ((unsigned char *)pinfs_addr(pin))[pinfs_length(pin) - 1];
	if (write) {
		(void)pinfs_persist(pin, 0, 0);
		(void)pinfs_commit(pin, 0, 0);
	}
	read_events(fs);
}

static void use_session(struct pinfs *fs)
{
	static const unsigned flags[] = {PINFS_WRITE, PINFS_READ | PINFS_CACHED, PINFS_WRITE | PINFS_CACHED,
					 PINFS_WRITE | PINFS_EXTEND | PINFS_NONBLOCK};
	struct pinfs_pin *pin[4] = {NULL};

	for (unsigned i = 0; i < 4; i++) {
		if (pinfs_pin(fs, file, (off_t)(i * 3 * BLOCK + i), 5 * BLOCK, flags[i], &pin[i]) != 0)
			pin[i] = NULL;
		else
			use_pin(fs, pin[i], (flags[i] & PINFS_WRITE) != 0);
	}
	(void)client_list(fs, -1, on_listed, NULL);
	(void)client_map_file(fs, file, on_extents, &(unsigned){0});
	(void)client_map_pool(fs, 100, on_cells, NULL);
	for (unsigned i = 0; i < 4; i++) {
		if (pin[i] == NULL)
			continue;
		(void)pinfs_unpin(pin[i]);
		if ((flags[i] & PINFS_CACHED) == 0)
			continue;
		if (pinfs_repin(pin[i]) == 0)
			(void)pinfs_unpin(pin[i]);
		read_events(fs);
		(void)pinfs_forget(pin[i]);
	}
	read_events(fs);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet();
	file = memfd_create("file", MFD_CLOEXEC);
	return file < 0 || ftruncate(file, 1 << 20) != 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pinfs *fs;

	step_count = steps_take(steps, data, size);
	step_next = 0;
	fake_start(&fake);
	/* Pieces in several parts, messages of a few extents. */
	if (size % 2 == 1) {
		fake.place = place_scattered;
		fake.extents_a_message = 2;
	}
	if (pinfs_connect("/tmp", &fs) == 0) {
		use_session(fs);
		pinfs_disconnect(fs);
	}
	fake_stop(&fake);
	return 0;
}
