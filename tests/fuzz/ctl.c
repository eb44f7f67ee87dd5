/*
 * Target `ctl`: clients that say anything, to a real server on a real pool. Each input is a conversation of up to four
 * connections: hellos, requests with descriptors, state words, half messages, rubbish, hanging up, and truncations by
 * others in between. Then all is put away, and the pool must be sound: clients cannot damage it.
 */
#include "check/check.h"
#include "ctl/ctl.h"
#include "fs/pinning.h"
#include "fuzz.h"
#include "image.h"
#include "steps.h"
#include "unit/stand_in.h"
#include "wire/wire.h"
#include "wire/word.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PEERS 4u
#define FILES 5u
#define PINS 8u
#define ANSWER_MS 40

enum what {
	WHAT_HELLO,
	WHAT_HELLO_BACK, /* as the session of peer `kind` */
	WHAT_DIAL, /* and say nothing */
	WHAT_PIN,
	WHAT_PIN_AGAIN, /* twice as often as others */
	WHAT_RANGE,
	WHAT_CANCEL,
	WHAT_LIST,
	WHAT_GOODBYE,
	WHAT_RAW, /* a header of type `kind`, and `place` bytes */
	WHAT_RUBBISH,
	WHAT_HANG_UP,
	WHAT_WORD,
	WHAT_OTHERS, /* truncate, write, punch */
	WHAT_LISTEN,
	WHATS,
};

/* Step.how, of what is sent. */
#define HOW_FIELD 8u /* 4 bytes at `place` become `b` */
#define HOW_CUT 16u
#define HOW_TWICE 32u
#define HOW_OTHER_FD 64u
#define HOW_DO_NOT_WAIT 128u

struct peer {
	int fd, events, page_fd;
	void *page;
	uint8_t cookie[WIRE_COOKIE_BYTES];
	uint64_t number; /* of the next request */
	uint64_t pin[PINS];
	unsigned pins;
};

struct file {
	uint64_t ino;
	int fd[3]; /* by access mode */
};

static struct image pool_image;
static struct fs *fs;
static struct ctl *ctl;
static struct peer peers[PEERS];
static struct file files[FILES];
static struct process_identity self;
static char socket_path[100];
static dev_t device;

/* ---- Talking ---- */

static void take_welcome(struct peer *peer, const void *bytes, int *fds, unsigned count)
{
	const struct wire_welcome *welcome = bytes;

	if (count != 2 || peer->page != NULL)
		return;
	memcpy(peer->cookie, welcome->cookie, sizeof(peer->cookie));
	peer->events = fds[0];
	peer->page_fd = fds[1];
	fds[0] = fds[1] = -1;
	peer->page = mmap(NULL, WIRE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, peer->page_fd, 0);
	if (peer->page == MAP_FAILED)
		abort();
}

/* What the server says is always well-formed. */
static void take_answer(struct peer *peer, const void *bytes, size_t size, int *fds, unsigned count)
{
	const struct wire_header *header = bytes;
	const struct wire_pinned *pinned = bytes;

	if (!wire_answer_valid(bytes, size))
		abort();
	if (header->type == WIRE_WELCOME)
		take_welcome(peer, bytes, fds, count);
	else if (header->type == WIRE_PINNED && header->error == 0)
		peer->pin[peer->pins++ % PINS] = pinned->pin;
}

/* All that is there, and what comes in a short while if `wait`. */
static void listen_to(struct peer *peer, bool wait)
{
	_Alignas(8) static unsigned char bytes[WIRE_MESSAGE_MAX];
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	struct pollfd ready = {.fd = peer->fd, .events = POLLIN};

	while (peer->fd >= 0 && poll(&ready, 1, wait ? ANSWER_MS : 0) == 1) {
		struct iovec iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
		struct msghdr message = {
			.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
		ssize_t size = recvmsg(peer->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		struct cmsghdr *head;
		unsigned count = 0;
		int fds[WIRE_FDS_MAX];

		if (size <= 0)
			return;
		wait = false;
		head = CMSG_FIRSTHDR(&message);
		if (head != NULL) {
			count = (unsigned)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(fds, CMSG_DATA(head), count * sizeof(int));
		}
		take_answer(peer, bytes, (size_t)size, fds, count);
		for (unsigned i = 0; i < count; i++) {
			if (fds[i] >= 0)
				close(fds[i]);
		}
	}
}

static void hang_up(struct peer *peer)
{
	if (peer->page != NULL)
		munmap(peer->page, WIRE_PAGE_BYTES);
	for (unsigned i = 0; i < 3; i++) {
		int fd = i == 0 ? peer->fd : i == 1 ? peer->events : peer->page_fd;

		if (fd >= 0)
			close(fd);
	}
	*peer = (struct peer){.fd = -1, .events = -1, .page_fd = -1, .number = 2};
}

static void dial(struct peer *peer)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	hang_up(peer);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	peer->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (peer->fd < 0 || connect(peer->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		abort();
}

/* ---- Steps ---- */

/* A message as it should be, spoilt as the step says. */
static void say(struct peer *peer, const struct step *step, void *message, size_t size, unsigned type, int fd)
{
	int fds[8] = {fd, fd, fd, fd, fd, fd, fd, fd};
	unsigned count = fd >= 0 ? 1 : 0;
	uint32_t value = (uint32_t)step->b;

	if (peer->fd < 0)
		dial(peer);
	wire_header_set(message, type, size, peer->number++, 0);
	if ((step->how & HOW_OTHER_FD) != 0) {
		count = step->place % 8;
		for (unsigned i = 0; i < 8; i++)
			fds[i] = step->a % 3 == 0 ? peer->fd : step->a % 3 == 1 ? files[step->a % FILES].fd[0] : 0;
	}
	if ((step->how & HOW_FIELD) != 0)
		memcpy((char *)message + step->place % (size - 3), &value, sizeof(value));
	if ((step->how & HOW_CUT) != 0)
		size = step->place % size;
	(void)send_raw(peer->fd, message, size, fds, count, MSG_DONTWAIT);
	if ((step->how & HOW_TWICE) != 0)
		(void)send_raw(peer->fd, message, size, fds, count, MSG_DONTWAIT);
	listen_to(peer, (step->how & HOW_DO_NOT_WAIT) == 0);
}

static void say_hello(struct peer *peer, const struct step *step, const struct peer *old)
{
	struct wire_hello hello = {
		.version_min = WIRE_VERSION_MIN, .version_max = WIRE_VERSION_MAX, .start_time = self.start_time};
	int page = -1;

	if (old != NULL) {
		memcpy(hello.cookie, old->cookie, sizeof(hello.cookie));
		page = old->page_fd >= 0 ? dup(old->page_fd) : -1;
	}
	dial(peer);
	say(peer, step, &hello, sizeof(hello), WIRE_HELLO, page);
	if (page >= 0)
		close(page);
}

static void say_pin(struct peer *peer, const struct step *step)
{
	const struct file *file = &files[step->kind % FILES];
	uint32_t flags = (uint32_t)step->a & WIRE_PIN_FLAGS;
	struct wire_pin pin = {.offset = step->b,
			       .length = step->place,
			       .flags = flags == 0 ? WIRE_PIN_WRITE : flags,
			       .word = (flags & WIRE_PIN_CACHED) != 0 ? (uint32_t)(step->a >> 8) % 16 : WIRE_WORD_NONE};

	if ((step->a >> 7 & 1) == 0) {
		pin.offset %= 1u << 20;
		pin.length = pin.length % (1u << 18) + 1;
	}
	if ((flags & WIRE_PIN_CACHED) != 0 && peer->page != NULL)
		atomic_store(wire_word_at(peer->page, pin.word), 1);
	say(peer, step, &pin, sizeof(pin), WIRE_PIN,
	    file->fd[(flags & WIRE_PIN_WRITE) != 0 ? O_RDWR : step->a >> 16 & 1]);
}

static void say_range(struct peer *peer, const struct step *step)
{
	static const unsigned types[] = {WIRE_UNPIN, WIRE_UNPIN, WIRE_COMMIT, WIRE_COMMIT, WIRE_BELL, WIRE_WORD};
	struct wire_range range = {.pin = step->who >= 128 ? step->a : peer->pin[step->a % PINS]};
	unsigned type = types[step->kind % 6];

	if (type == WIRE_COMMIT || step->who >= 64) {
		range.offset = step->b;
		range.length = step->place;
	}
	if (type == WIRE_WORD)
		range.offset = step->b % (WIRE_PAGE_WORDS + 1);
	say(peer, step, &range, sizeof(range), type, -1);
}

static void say_raw(struct peer *peer, const struct step *step)
{
	_Alignas(8) static unsigned char bytes[WIRE_MESSAGE_MAX + 4096];
	size_t size = sizeof(struct wire_header) + step->place % (WIRE_MESSAGE_MAX + 64);

	for (size_t at = 0; at + 8 <= sizeof(bytes); at += 8)
		memcpy(bytes + at, at % 16 == 0 ? &step->a : &step->b, 8);
	if (step->what % WHATS == WHAT_RAW)
		say(peer, step, bytes, size, step->kind, (step->how & 1) != 0 ? files[0].fd[O_RDWR] : -1);
	else if (peer->fd >= 0)
		(void)send_raw(peer->fd, bytes, size, NULL, 0, MSG_DONTWAIT);
}

static void act_as_others(const struct step *step)
{
	struct fs_setattr size = {.valid = FS_SET_SIZE, .attr = {.st_size = (off_t)(step->a % (1u << 20))}};
	uint64_t ino = files[step->kind % FILES].ino;
	struct stat attr;

	if (step->how % 3 == 0)
		(void)fs_setattr(fs, ino, &size, NULL, &attr);
	else if (step->how % 3 == 1)
		(void)fs_write(fs, ino, "others", 6, (off_t)(step->a % (1u << 20)), NULL);
	else
		(void)fs_fallocate(fs, ino, 3, (off_t)(step->a % (1u << 20)), 1 + step->place % (1u << 20), NULL);
}

static void do_step(const struct step *step)
{
	struct peer *peer = &peers[step->who % PEERS];
	struct wire_cancel cancel = {.target = step->a};
	struct wire_map map = {.offset = step->b, .cells = step->place};
	struct wire_list list;
	int file = (step->a & 1) != 0 ? files[0].fd[0] : -1;

	switch (step->what % WHATS) {
	case WHAT_HELLO:
		say_hello(peer, step, NULL);
		break;
	case WHAT_HELLO_BACK:
		if (peer != &peers[step->kind % PEERS])
			say_hello(peer, step, &peers[step->kind % PEERS]);
		break;
	case WHAT_DIAL:
		dial(peer);
		break;
	case WHAT_PIN:
	case WHAT_PIN_AGAIN:
		if (peer->page == NULL && (step->how & HOW_FIELD) == 0)
			say_hello(peer, &(struct step){0}, NULL);
		say_pin(peer, step);
		break;
	case WHAT_RANGE:
		say_range(peer, step);
		break;
	case WHAT_CANCEL:
		say(peer, step, &cancel, sizeof(cancel), WIRE_CANCEL, -1);
		break;
	case WHAT_LIST:
		if ((step->a & 2) != 0)
			say(peer, step, &map, sizeof(map), WIRE_MAP, file);
		else
			say(peer, step, &list, sizeof(list), WIRE_LIST, file);
		break;
	case WHAT_GOODBYE:
		say(peer, step, &list, sizeof(list), WIRE_GOODBYE, -1);
		break;
	case WHAT_RAW:
	case WHAT_RUBBISH:
		say_raw(peer, step);
		break;
	case WHAT_HANG_UP:
		hang_up(peer);
		break;
	case WHAT_WORD:
		if (peer->page != NULL)
			atomic_store(wire_word_at(peer->page, step->place % 16), (uint32_t)step->a);
		break;
	case WHAT_OTHERS:
		act_as_others(step);
		break;
	default:
		listen_to(peer, true);
		break;
	}
}

/* ---- The world ---- */

static void file_open(struct file *file, const char *name)
{
	struct fs_entry entry;
	char path[64];
	int fd;

	if (fs_lookup(fs, FMT_INO_ROOT, name, &entry) != 0)
		abort();
	file->ino = entry.ino;
	(void)snprintf(path, sizeof(path), "ino-%lu-%u", (unsigned long)entry.ino, entry.generation);
	fd = memfd_create(path, MFD_CLOEXEC);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (int mode = 0; mode < 3; mode++) {
		file->fd[mode] = open(path, mode | O_CLOEXEC);
		if (file->fd[mode] < 0)
			abort();
	}
	close(fd);
}

static void world_open(void)
{
	static const char *const names[FILES] = {"few", "some", "file", "held", "pinned"};
	const struct fs_options options = {.meta_path = pool_image.path[0], .skip_probe = true, .inode_flags = true};
	const struct fs_pin_policy policy = {.break_timeout = 10000000, .break_detach = true, .grace = 1};
	struct ctl_options ctl_options = {.path = socket_path, .owner = geteuid(), .device = device};
	struct message message = {.text = ""};

	if (fs_open(&options, &fs, &message) != 0)
		abort();
	fs_set_pin_policy(fs, &policy);
	fs_pool_uuid(fs, ctl_options.pool_uuid);
	for (unsigned i = 0; i < FILES; i++)
		file_open(&files[i], names[i]);
	if (fs_pins_start(fs) != 0 || ctl_open(fs, &ctl_options, &ctl, &message) != 0 || ctl_start(ctl, &message) != 0)
		abort();
}

static void world_close(void)
{
	(void)fs_pins_drain(fs);
	ctl_stop(ctl);
	fs_pins_stop(fs);
	ctl_close(ctl);
	for (unsigned i = 0; i < FILES; i++) {
		for (int mode = 0; mode < 3; mode++)
			close(files[i].fd[mode]);
		fs_forget(fs, files[i].ino, 1);
	}
	fs_close(fs);
	for (unsigned i = 0; i < PEERS; i++)
		hang_up(&peers[i]);
}

static void on_problem(void *arg, const struct check_problem *problem)
{
	(void)arg;
	if (problem->severity == CHECK_ERROR)
		dprintf(STDERR_FILENO, "%s inode %llu: %s\n", problem->invariant, (unsigned long long)problem->ino,
			problem->text);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int fd = memfd_create("device", MFD_CLOEXEC), pidfd;
	struct stat stat;

	(void)argc;
	(void)argv;
	fuzz_quiet();
	if (fstat(fd, &stat) != 0 || process_identify(getpid(), &self, &pidfd) != 0)
		return 1;
	close(fd);
	close(pidfd);
	device = stat.st_dev;
	image_make(&pool_image);
	(void)snprintf(socket_path, sizeof(socket_path), "%s/socket", pool_image.folder);
	for (unsigned i = 0; i < PEERS; i++)
		peers[i] = (struct peer){.fd = -1, .events = -1, .page_fd = -1};
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct check_options options = {
		.meta_path = pool_image.path[0], .skip_probe = true, .in_process = true, .problem = on_problem};
	struct step steps[STEPS_MAX];
	size_t count = steps_take(steps, data, size);
	struct check_report report;
	struct message message;

	image_reset(&pool_image);
	world_open();
	for (size_t i = 0; i < count; i++)
		do_step(&steps[i]);
	world_close();
	if (check_pool(&options, &report, &message) != 0 || report.errors > 0)
		abort();
	return 0;
}
