#include "json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t tool_json_number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

const char *tool_json_string(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "?";
}

json_t *tool_json_name(const char *name)
{
	json_t *json = json_string(name);
	char *escaped, *p;

	if (json != NULL)
		return json;
	escaped = p = malloc(strlen(name) * 4 + 1);
	if (escaped == NULL)
		return NULL;
	for (; *name != '\0'; name++)
		p += sprintf(p, (signed char)*name < ' ' || *name == '\\' ? "\\%03o" : "%c", (unsigned char)*name);
	json = json_string(escaped);
	free(escaped);
	return json;
}

int tool_json_print(const json_t *json)
{
	char *text = json_dumps(json, JSON_INDENT(2));

	if (text == NULL)
		return -ENOMEM;
	printf("%s\n", text);
	free(text);
	return 0;
}
