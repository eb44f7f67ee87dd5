#include "tool.h"

#include "base/arith.h"
#include "base/log.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help_text[] =
	"pinfs - a file system on persistent memory\n"
	"\n"
	"Usage:\n"
	"  pinfs mkfs  [--meta-size SIZE] [--data PATH[:SIZE]]... [--force] META\n"
	"  pinfs mount [-f] [-o OPTION,...] META MOUNTPOINT\n"
	"  pinfs stat  [--json] MOUNTPOINT\n"
	"  pinfs map   [--json|--svg] [--cells N] FILE|MOUNTPOINT\n"
	"  pinfs metrics [--json] MOUNTPOINT\n"
	"  pinfs pins  [--json] [PATH]\n"
	"  pinfs pin   [OPTION]... FILE [OFFSET [LENGTH]]\n"
	"  pinfs fsck  [--repair] [--json] META\n"
	"  pinfs fsck  --rescue META DIR\n"
	"\n"
	"META is the meta part of a pool: a file or a devdax node. It knows the pool's data parts.\n"
	"Unmount with umount(8), or without root with 'fusermount3 -u MOUNTPOINT'.\n"
	"\n"
	"Options:\n"
	"  -h, --help     this text; 'pinfs COMMAND --help' tells more\n"
	"  -V, --version  the version\n"
	"\n"
	"Example:\n"
	"  pinfs mkfs --data /mnt/pmem0/pool.data:8G /mnt/pmem0/pool\n"
	"  pinfs mount /mnt/pmem0/pool /srv/fast\n"
	"\n"
	"Exit status: 0, 1 failed, 2 wrong use; of fsck, as fsck(8).\n";

static const struct command {
	const char *name;
	const char *link; /* also called by this name */
	int (*run)(int argc, char **argv);
} commands[] = {
	{"mkfs", "mkfs.pinfs", tool_mkfs},
	{"mount", NULL, tool_mount},
	{"fsck", "fsck.pinfs", tool_fsck},
	{"stat", NULL, tool_stat},
	{"map", NULL, tool_map},
	{"metrics", NULL, tool_metrics},
	{"pins", NULL, tool_pins},
	{"pin", NULL, tool_pin},
	{NULL, "mount.fuse.pinfs", tool_mount_helper},
	{NULL, "mount.pinfs", tool_mount_helper},
};

static const struct command *find_command(const char *name, bool by_link)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const char *known = by_link ? commands[i].link : commands[i].name;

		if (known != NULL && strcmp(known, name) == 0)
			return &commands[i];
	}
	return NULL;
}

/* mount.fuse3(8) runs the program of a subtype as `pinfs META MOUNTPOINT -o OPTIONS`. */
static bool is_mount_form(int argc, char **argv)
{
	struct stat attr;

	if (argc < 3 || argv[1][0] == '-' || argv[2][0] == '-')
		return false;
	return strchr(argv[1], '/') != NULL || stat(argv[1], &attr) == 0;
}

int main(int argc, char **argv)
{
	const struct command *command;
	const char *name;

	if (argc < 1)
		return TOOL_USAGE;
	/* A closed pipe is an error that is reported, not a silent end. */
	(void)signal(SIGPIPE, SIG_IGN);
	/* And so is a file that may not grow (RLIMIT_FSIZE). */
	(void)signal(SIGXFSZ, SIG_IGN);
	name = strrchr(argv[0], '/');
	command = find_command(name != NULL ? name + 1 : argv[0], true);
	if (command != NULL)
		return command->run(argc, argv);
	if (argc < 2)
		return tool_wrong_use(NULL, "a command is missing");
	if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)
		return tool_print(help_text);
	if (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0)
		return tool_print_version();
	command = find_command(argv[1], false);
	if (command != NULL)
		return command->run(argc - 1, argv + 1);
	if (is_mount_form(argc, argv))
		return tool_mount_helper(argc, argv);
	return tool_wrong_use(NULL, "there is no command '%s'", argv[1]);
}

int tool_wrong_use(const char *command, const char *format, ...)
{
	struct message message;
	va_list args;

	va_start(args, format);
	vsnprintf(message.text, sizeof(message.text), format, args);
	va_end(args);
	if (command != NULL)
		log_error("%s: %s (try 'pinfs %s --help')", command, message.text, command);
	else
		log_error("%s (try 'pinfs --help')", message.text);
	return TOOL_USAGE;
}

int tool_bad_option(const char *command, int code, char *const *argv)
{
	const char *argument = argv[optind - 1];

	if (code == ':')
		return tool_wrong_use(command, "option %s needs a value", argument);
	if (optopt != 0 && strncmp(argument, "--", 2) != 0)
		return tool_wrong_use(command, "unknown option -%c", optopt);
	if (optopt != 0)
		return tool_wrong_use(command, "option %s takes no value", argument);
	return tool_wrong_use(command, "unknown option %s", argument);
}

bool tool_show_options(const char *command, const char *help, int argc, char **argv, bool *ret_json, int *ret_status)
{
	static const struct option long_options[] = {
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int code;

	*ret_json = false;
	while ((code = getopt_long(argc, argv, ":jhV", long_options, NULL)) != -1) {
		switch (code) {
		case 'j':
			*ret_json = true;
			break;
		case 'h':
			*ret_status = tool_print(help);
			return false;
		case 'V':
			*ret_status = tool_print_version();
			return false;
		default:
			*ret_status = tool_bad_option(command, code, argv);
			return false;
		}
	}
	return true;
}

void tool_report_mount(const char *path, int error)
{
	if (error == -ENODEV)
		log_error("%s: is not on a pinfs mount", path);
	else if (error == -ENOTCONN)
		log_error("%s: the daemon is gone: run 'umount %s'", path, path);
	else if (error == -EACCES)
		log_error("%s: you may not ask there: see the mount option pin_access", path);
	else
		log_error("%s: %s", path, strerror(-error));
}

int tool_end_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout) && close(STDOUT_FILENO) == 0)
		return 0;
	log_error("standard output: %s", strerror(errno));
	return TOOL_FAILED;
}

int tool_print(const char *text)
{
	(void)fputs(text, stdout);
	return tool_end_output();
}

int tool_print_version(void)
{
	return tool_print("pinfs " PINFS_VERSION "\n");
}

const char *tool_size_text(uint64_t bytes, struct tool_size_text *room)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	unsigned unit = 0;

	while (value >= 1000 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(room->text, sizeof(room->text), unit == 0 || value >= 99.95 ? "%.0f %s" : "%.1f %s", value,
		 units[unit]);
	return room->text;
}
