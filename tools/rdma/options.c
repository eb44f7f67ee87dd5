#include "options.h"

#include "remote/message.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int options_wrong(const char *program, const char *format, ...)
{
	struct message message;
	va_list args;

	va_start(args, format);
	(void)vsnprintf(message.text, sizeof(message.text), format, args);
	va_end(args);
	log_error("%s (try '%s --help')", message.text, program);
	return OPTIONS_USAGE;
}

int options_bad(const char *program, int code, char *const *argv)
{
	if (code == ':')
		return options_wrong(program, "option '%s' needs an argument", argv[optind - 1]);
	return options_wrong(program, "there is no option '%s'", argv[optind - 1]);
}

int options_print(const char *text)
{
	if (fputs(text, stdout) == EOF || fflush(stdout) != 0) {
		log_error("standard output: %s", strerror(errno));
		return OPTIONS_FAILED;
	}
	return 0;
}

static int parse_port(const char *text, uint16_t *ret_port)
{
	char *end;
	unsigned long port;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	port = strtoul(text, &end, 10);
	if (*end != '\0' || port == 0 || port > UINT16_MAX)
		return -EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

int options_parse_host(char *text, const char **ret_host, uint16_t *ret_port)
{
	char *colon = strchr(text, ':');
	char *bracket;

	*ret_port = REMOTE_PORT;
	*ret_host = text;
	if (text[0] == '[') {
		bracket = strchr(text, ']');
		if (bracket == NULL || bracket == text + 1 || (bracket[1] != '\0' && bracket[1] != ':'))
			return -EINVAL;
		*ret_host = text + 1;
		*bracket = '\0';
		return bracket[1] == ':' ? parse_port(bracket + 2, ret_port) : 0;
	}
	if (text[0] == '\0')
		return -EINVAL;
	/* More than one: an address, and no port. */
	if (colon == NULL || strchr(colon + 1, ':') != NULL)
		return 0;
	if (colon == text)
		return -EINVAL;
	*colon = '\0';
	return parse_port(colon + 1, ret_port);
}
