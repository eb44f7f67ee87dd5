/* What the daemon of a mount says of itself, as JSON: for pinfs stat and pinfs metrics. */
#ifndef PINFS_TOOL_STATUS_H
#define PINFS_TOOL_STATUS_H

#include <jansson.h>

/* Asks the daemon of the mount whose top is `path`, for at most 10 s. NULL: it could not be had, which is reported. */
json_t *status_ask(const char *path);

#endif
