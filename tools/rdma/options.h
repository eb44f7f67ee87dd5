/* What the command lines of pinfs-rdma and pinfs-rdma-serve share. Exit status: 0, 1 failed, 2 wrong use. */
#ifndef PINFS_TOOLS_RDMA_OPTIONS_H
#define PINFS_TOOLS_RDMA_OPTIONS_H

#include "base/log.h"

#include <stdint.h>

#define OPTIONS_FAILED 1
#define OPTIONS_USAGE 2

/* Reports and returns OPTIONS_USAGE. */
int options_wrong(const char *program, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* For getopt_long(3) with a leading ':' in its short options. */
int options_bad(const char *program, int code, char *const *argv);
int options_print(const char *text);

/* HOST, HOST:PORT, [ADDRESS]:PORT, or an address with colons and no port: split in place. -EINVAL. */
int options_parse_host(char *text, const char **ret_host, uint16_t *ret_port);

#endif
