/*
 * Messages to people: `pinfs: WHAT: WHY` on stderr, and to syslog once the daemon has left its terminal. Programs and
 * the daemon report; the layers below return -errno and fill a struct message where a number would say too little.
 */
#ifndef PINFS_BASE_LOG_H
#define PINFS_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

/* Why something failed, in words: WHAT, WHY and what to do. Always terminated; longer texts are cut. */
struct message {
	char text[1024];
};

/* Replaces the text of `message`, which may be NULL. */
void message_set(struct message *message, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints one line, `pinfs: ` in front. Thread-safe. */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* For a handler of signals: writes the bytes, a line with its end, to where the others go. Async-signal-safe. */
void log_from_signal(const char *line, size_t length);

/* From now on to syslog (facility daemon) rather than stderr: called once, before threads start. */
void log_to_syslog(void);

#endif
