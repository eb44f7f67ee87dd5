#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

static atomic_bool to_syslog;
static atomic_int signal_fd = STDERR_FILENO; /* where log_from_signal() writes */

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

/* syslog(3) is not for handlers of signals: they send to its socket by themselves. */
static int connect_syslog(void)
{
	const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

void log_to_syslog(void)
{
	openlog("pinfs", LOG_PID, LOG_DAEMON);
	atomic_store(&to_syslog, true);
	atomic_store(&signal_fd, connect_syslog());
}

void log_from_signal(const char *line, size_t length)
{
	static const char in_syslog[] = "<27>pinfs: "; /* LOG_DAEMON | LOG_ERR, as the socket wants it */
	const int fd = atomic_load(&signal_fd);
	const bool datagram = fd != STDERR_FILENO;
	struct iovec iov[2] = {
		{.iov_base = (void *)(datagram ? in_syslog : in_syslog + 4),
		 .iov_len = sizeof(in_syslog) - (datagram ? 1 : 5)},
		{.iov_base = (void *)line, .iov_len = length},
	};

	if (fd >= 0)
		(void)!writev(fd, iov, 2);
}
