/*
 * Target `options`: what people and mount(8) write. Strings of the input, each ended by a 0, are the arguments of
 * mount.fuse.pinfs, which is told to pretend; and each by itself is an -o argument, a size, and a duration.
 */
#include "daemon/daemon.h"
#include "daemon/options.h"
#include "fuzz.h"

#include "../../tools/tool.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <string.h>

#define ARGUMENTS_MAX 64u
#define TEXT_MAX 4096u

/* ---- In place of tools/main.c ---- */

int tool_wrong_use(const char *command, const char *format, ...)
{
	struct message message;
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(message.text, sizeof(message.text), format, arguments);
	va_end(arguments);
	(void)command;
	return TOOL_USAGE;
}

int tool_bad_option(const char *command, int code, char *const *argv)
{
	return tool_wrong_use(command, "%c %s", code, argv[optind - 1]);
}

int tool_print(const char *text)
{
	return text[0] == '\0';
}

int tool_print_version(void)
{
	return 0;
}

/* ---- */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet();
	return 0;
}

/* What was refused says why; what was accepted stands where it may. */
static void parse(const char *text, bool sloppy, bool root)
{
	struct daemon_options options;
	struct message message = {.text = ""};
	int error;

	if (daemon_options_init(&options, root) != 0)
		return;
	error = daemon_options_parse(&options, text, sloppy, &message);
	if (error == -EINVAL && message.text[0] == '\0')
		abort();
	if (error == 0 && (options.mount_words == NULL || (options.data_count > 0 && options.data_paths[0] == NULL)))
		abort();
	if (error == 0)
		(void)(daemon_atime_flags(&options) + daemon_atime_mount_flags(&options) + daemon_cache(&options));
	/* Another -o behind it. */
	if (error == 0)
		(void)daemon_options_parse(&options, text, sloppy, &message);
	daemon_options_fini(&options);
}

static void parse_numbers(const char *text)
{
	uint64_t number = 1;

	if (daemon_parse_size(text, &number) == 0 && number > INT64_MAX)
		abort();
	if (daemon_parse_seconds(text, &number) == 0 && number != DAEMON_FOREVER && number > 1000000000000)
		abort();
}

static void help_mount(char **strings, unsigned count)
{
	char *argv[ARGUMENTS_MAX + 3] = {(char *)"mount.fuse.pinfs", (char *)"-f"};
	int argc = 2;

	for (unsigned i = 0; i < count; i++)
		argv[argc++] = strings[i];
	optind = 0; /* begins anew */
	(void)tool_mount_helper(argc, argv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[TEXT_MAX + 1];
	char *strings[ARGUMENTS_MAX];
	unsigned count = 0;
	char *at = text;

	if (size > TEXT_MAX)
		size = TEXT_MAX;
	memcpy(text, data, size);
	text[size] = '\0';
	while (at < text + size && count < ARGUMENTS_MAX) {
		strings[count++] = at;
		parse(at, false, true);
		parse(at, true, false);
		parse_numbers(at);
		at += strlen(at) + 1;
	}
	help_mount(strings, count);
	return 0;
}
