#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <syslog.h>

static atomic_bool to_syslog;

void message_set(struct message *message, const char *format, ...)
{
	va_list args;

	if (message == NULL)
		return;
	va_start(args, format);
	vsnprintf(message->text, sizeof(message->text), format, args);
	va_end(args);
}

static void emit(int priority, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

static void emit(int priority, const char *format, va_list args)
{
	char line[1200];

	vsnprintf(line, sizeof(line), format, args);
	if (atomic_load(&to_syslog))
		syslog(priority, "%s", line);
	else
		fprintf(stderr, "pinfs: %s\n", line);
}

void log_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	emit(LOG_ERR, format, args);
	va_end(args);
}

void log_warning(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	emit(LOG_WARNING, format, args);
	va_end(args);
}

void log_info(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	emit(LOG_INFO, format, args);
	va_end(args);
}

void log_to_syslog(void)
{
	openlog("pinfs", LOG_PID, LOG_DAEMON);
	atomic_store(&to_syslog, true);
}
