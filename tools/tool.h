/* What the subcommands of the pinfs program share. Exit status: 0, 1 failed, 2 wrong use (fsck: as fsck(8)). */
#ifndef PINFS_TOOL_H
#define PINFS_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOOL_FAILED 1
#define TOOL_USAGE 2

/* Subcommands: argv[0] is the subcommand's name. They return the exit status. */
int tool_mkfs(int argc, char **argv);
int tool_mount(int argc, char **argv);
int tool_mount_helper(int argc, char **argv); /* as mount(8) calls mount.fuse.pinfs */
int tool_fsck(int argc, char **argv);
int tool_stat(int argc, char **argv);
int tool_map(int argc, char **argv);
int tool_metrics(int argc, char **argv);
int tool_pins(int argc, char **argv);
int tool_pin(int argc, char **argv);

/* pinfs fsck --rescue: the exit status. */
int tool_rescue(const char *meta_path, const char *target, const char *const *data_paths, size_t data_count,
		bool progress);

/* Prints `pinfs: COMMAND: WHY (try ...)`; returns TOOL_USAGE. */
int tool_wrong_use(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* For getopt_long(3) with a leading ':' in its short options: says what is wrong with the argument it stopped at. */
int tool_bad_option(const char *command, int code, char *const *argv);
/*
 * Options of a command that shows something: --json, --help, --version. False: the command is over, with *ret_status.
 * optind is then that of the first argument.
 */
bool tool_show_options(const char *command, const char *help, int argc, char **argv, bool *ret_json, int *ret_status);

/* Says why the daemon of the mount that `path` is on could not be asked. */
void tool_report_mount(const char *path, int error);

/* Prints to standard output and ends it: the exit status. */
int tool_print(const char *text);
int tool_print_version(void);
/* Standard output has taken everything, or that is reported: the exit status. */
int tool_end_output(void);

/* "1.5 GiB": at most three digits before the unit. */
struct tool_size_text {
	char text[32];
};
const char *tool_size_text(uint64_t bytes, struct tool_size_text *room);

#endif
