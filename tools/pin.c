/* pinfs pin: holds a pin, for scripts and demonstrations. */
#include "tool.h"

#include "base/log.h"
#include "daemon/size.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pinfs.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char help_text[] =
	"pinfs pin - pins a range of a file, and prints where it is\n"
	"\n"
	"Usage: pinfs pin [OPTION]... FILE [OFFSET [LENGTH]]\n"
	"\n"
	"OFFSET and LENGTH are bytes, or with K, M, G or T behind them; without them: the whole file.\n"
	"Prints a line per extent: 'extent', its offset in the file, its length, its data part ('-': zeros),\n"
	"its offset there. Then unpins, or holds the pin and prints events as they come: 'recall', 'detached',\n"
	"'conflict', 'poison' or 'shutdown', offset, length, the reason ('unmap', 'write'), and of a recall the\n"
	"seconds that are left ('never' ends).\n"
	"\n"
	"Options:\n"
	"  -w, --write         to store to, rather than only to load from\n"
	"  -x, --exclusive     nobody else writes; implies --write\n"
	"  -e, --extend        past the end of the file, too; implies --write; LENGTH must be given\n"
	"  -c, --contiguous    one extent: blocks are moved together first\n"
	"  -n, --nonblock      fail rather than wait for others\n"
	"  -t, --hold SECONDS  hold it for so long ('inf': for ever)\n"
	"  -u, --until-eof     hold it until standard input ends\n"
	"  -y, --yield         while holding: unpin and end when it is recalled\n"
	"  -h, --help          this text\n"
	"  -V, --version       the version\n"
	"\n"
	"Examples:\n"
	"  pinfs pin /mnt/pin/file 0 4K\n"
	"  pinfs pin --write --hold 60 /mnt/pin/file &\n"
	"\n"
	"Exit status: 0, 1 failed, 2 wrong use.\n";

struct pin_command {
	const char *path;
	uint64_t offset;
	uint64_t length; /* 0: to the end of the file */
	unsigned flags;
	uint64_t hold_ms;
	bool until_eof;
	bool yield;
};

static int report(const char *path, int error)
{
	switch (error) {
	case -ENODEV:
		log_error("%s: is not on a pinfs mount", path);
		break;
	case -EACCES:
		log_error("%s: you may not pin there: see the mount option pin_access", path);
		break;
	case -ERANGE:
		log_error("%s: the range does not end within the file: see --extend", path);
		break;
	case -ENOTCONN:
		log_error("%s: the daemon of the mount is gone", path);
		break;
	case -EAGAIN:
		log_error("%s: would have to wait for others", path);
		break;
	default:
		log_error("%s: cannot be pinned: %s", path, strerror(-error));
		break;
	}
	return TOOL_FAILED;
}

static int print_extents(const struct pinfs_pin *pin)
{
	const struct pinfs_extent *extents;
	size_t count;
	int error;

	error = pinfs_extents(pin, &extents, &count);
	if (error != 0)
		return error;
	for (size_t i = 0; i < count; i++) {
		const struct pinfs_extent *extent = &extents[i];

		if (extent->part == UINT32_MAX)
			printf("extent %jd %zu - 0\n", (intmax_t)extent->offset, extent->length);
		else
			printf("extent %jd %zu %" PRIu32 " %" PRIu64 "\n", (intmax_t)extent->offset, extent->length,
			       extent->part, extent->part_offset);
	}
	return fflush(stdout) == 0 ? 0 : -errno;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int print_event(const struct pinfs_event *event)
{
	static const char *const kinds[] = {"event", "recall", "detached", "conflict", "poison", "shutdown"};
	static const char *const reasons[] = {"-", "unmap", "write"};
	uint64_t now = now_ns();

	printf("%s %" PRIu64 " %" PRIu64 " %s", kinds[event->kind <= PINFS_EVENT_SHUTDOWN ? event->kind : 0],
	       event->offset, event->length, reasons[event->reason <= PINFS_REASON_WRITE ? event->reason : 0]);
	if (event->deadline == UINT64_MAX)
		printf(" never");
	else if (event->deadline != 0)
		printf(" %.3f", event->deadline > now ? (double)(event->deadline - now) / 1e9 : 0.0);
	printf("\n");
	return fflush(stdout) == 0 ? 0 : -errno;
}

/* Prints what has come. 1: the pin is to be given up. */
static int take_events(struct pinfs *fs, const struct pin_command *command)
{
	struct pinfs_event event;
	bool wanted = false;
	int error;

	while ((error = pinfs_next_event(fs, &event)) == 0) {
		error = print_event(&event);
		if (error != 0)
			return error;
		if (event.kind == PINFS_EVENT_RECALL || event.kind == PINFS_EVENT_SHUTDOWN)
			wanted = true;
	}
	/* Without a daemon the pin is held all the same. */
	if (error != -EAGAIN && error != -ENOTCONN)
		return error;
	return wanted && command->yield ? 1 : 0;
}

/* 1: standard input has ended. */
static int take_input(void)
{
	char room[4096];
	ssize_t got = read(STDIN_FILENO, room, sizeof(room));

	if (got < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	return got == 0 ? 1 : 0;
}

static int time_left(uint64_t end)
{
	uint64_t now = now_ns();

	if (end == UINT64_MAX)
		return -1;
	/* Rounded up: it is held for no less. poll(2) may be called again for the rest. */
	return end <= now ? 0 : (end - now) / 1000000 >= 1000000 ? 1000000000 : (int)((end - now + 999999) / 1000000);
}

static int hold(struct pinfs *fs, const struct pin_command *command)
{
	struct pollfd poll_fds[] = {
		{.fd = pinfs_event_fd(fs), .events = POLLIN},
		{.fd = command->until_eof ? STDIN_FILENO : -1, .events = POLLIN},
	};
	uint64_t end = UINT64_MAX;
	int result = 0;

	if (command->hold_ms == 0 && !command->until_eof)
		return 0;
	if (command->hold_ms != 0 && command->hold_ms != DAEMON_FOREVER)
		end = now_ns() + command->hold_ms * 1000000;
	while (result == 0) {
		int left = time_left(end);

		if (left == 0)
			return 0;
		if (poll(poll_fds, 2, left) < 0 && errno != EINTR)
			return -errno;
		if (poll_fds[1].revents != 0)
			result = take_input();
		if (result == 0 && poll_fds[0].revents != 0)
			result = take_events(fs, command);
	}
	return result < 0 ? result : 0;
}

static int find_length(struct pin_command *command, int fd)
{
	struct stat attr;

	if (command->length != 0)
		return 0;
	if (fstat(fd, &attr) != 0)
		return -errno;
	if (!S_ISREG(attr.st_mode))
		return -EINVAL;
	if (command->offset >= (uint64_t)attr.st_size)
		return -ERANGE;
	command->length = (uint64_t)attr.st_size - command->offset;
	return 0;
}

static int run_pin(struct pin_command *command)
{
	struct pinfs_pin *pin;
	struct pinfs *fs;
	int error, fd;

	fd = open(command->path, (command->flags & PINFS_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		log_error("%s: %s", command->path, strerror(errno));
		return TOOL_FAILED;
	}
	error = find_length(command, fd);
	if (error == 0)
		error = pinfs_connect(command->path, &fs);
	if (error != 0) {
		(void)close(fd);
		return report(command->path, error);
	}
	error = pinfs_pin(fs, fd, (off_t)command->offset, command->length, command->flags, &pin);
	(void)close(fd);
	if (error != 0) {
		(void)report(command->path, error);
		pinfs_disconnect(fs);
		return TOOL_FAILED;
	}
	error = print_extents(pin);
	if (error == 0)
		error = hold(fs, command);
	(void)pinfs_unpin(pin);
	pinfs_disconnect(fs);
	if (error != 0) {
		log_error("%s: the pin could not be held: %s", command->path, strerror(-error));
		return TOOL_FAILED;
	}
	return tool_end_output();
}

static int parse_arguments(struct pin_command *command, int argc, char **argv)
{
	if (argc - optind < 1 || argc - optind > 3)
		return tool_wrong_use("pin", "needs FILE [OFFSET [LENGTH]], got %d arguments", argc - optind);
	command->path = argv[optind];
	if (argc - optind > 1 && daemon_parse_size(argv[optind + 1], &command->offset) != 0)
		return tool_wrong_use("pin", "OFFSET '%s' is not a size", argv[optind + 1]);
	if (argc - optind > 2 && (daemon_parse_size(argv[optind + 2], &command->length) != 0 || command->length == 0))
		return tool_wrong_use("pin", "LENGTH '%s' is not a size of at least 1", argv[optind + 2]);
	if ((command->flags & PINFS_EXTEND) != 0 && command->length == 0)
		return tool_wrong_use("pin", "--extend needs a LENGTH");
	if (command->yield && command->hold_ms == 0 && !command->until_eof)
		return tool_wrong_use("pin", "--yield needs --hold or --until-eof");
	return 0;
}

static const struct option long_options[] = {
	{"write", no_argument, NULL, 'w'},
	{"exclusive", no_argument, NULL, 'x'},
	{"extend", no_argument, NULL, 'e'},
	{"contiguous", no_argument, NULL, 'c'},
	{"nonblock", no_argument, NULL, 'n'},
	{"hold", required_argument, NULL, 't'},
	{"until-eof", no_argument, NULL, 'u'},
	{"yield", no_argument, NULL, 'y'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

int tool_pin(int argc, char **argv)
{
	struct pin_command command = {.flags = PINFS_READ};
	int code, status;

	while ((code = getopt_long(argc, argv, ":wxecnt:uyhV", long_options, NULL)) != -1) {
		switch (code) {
		case 'w':
			command.flags |= PINFS_WRITE;
			break;
		case 'x':
			command.flags |= PINFS_WRITE | PINFS_EXCLUSIVE;
			break;
		case 'e':
			command.flags |= PINFS_WRITE | PINFS_EXTEND;
			break;
		case 'c':
			command.flags |= PINFS_CONTIGUOUS;
			break;
		case 'n':
			command.flags |= PINFS_NONBLOCK;
			break;
		case 't':
			if (daemon_parse_seconds(optarg, &command.hold_ms) != 0)
				return tool_wrong_use("pin", "--hold '%s' is not a number of seconds", optarg);
			break;
		case 'u':
			command.until_eof = true;
			break;
		case 'y':
			command.yield = true;
			break;
		case 'h':
			return tool_print(help_text);
		case 'V':
			return tool_print_version();
		default:
			return tool_bad_option("pin", code, argv);
		}
	}
	status = parse_arguments(&command, argc, argv);
	return status != 0 ? status : run_pin(&command);
}
