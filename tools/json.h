/* JSON in and out of subcommands. */
#ifndef PINFS_TOOL_JSON_H
#define PINFS_TOOL_JSON_H

#include <jansson.h>
#include <stdint.h>

/* 0, "?": the object has none. */
uint64_t tool_json_number(const json_t *object, const char *key);
const char *tool_json_string(const json_t *object, const char *key);
/* A name as JSON: what is no UTF-8 is escaped byte by byte. NULL: no memory. */
json_t *tool_json_name(const char *name);
/* To standard output, indented. -ENOMEM, which is also said of a NULL. */
int tool_json_print(const json_t *json);

#endif
