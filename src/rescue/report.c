/* What a rescue says. */
#include "rescue/work.h"

#include <stdarg.h>
#include <stdio.h>

void rescue_lost(struct work *work, const char *format, ...)
{
	char text[8192];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	work->report.lost++;
	work->options->lost(work->options->arg, text);
}

/* Bytes of the UTF-8 sequence at `bytes`; 0: none. Not C1 controls (U+0080 to U+009F): terminals obey some. */
static size_t utf8_length(const unsigned char *bytes, size_t left)
{
	size_t length = bytes[0] >= 0xf0 && bytes[0] < 0xf5 ? 4 : bytes[0] >= 0xe0 ? 3 : bytes[0] >= 0xc2 ? 2 : 0;

	if (length == 0 || length > left || bytes[0] >= 0xf5 || (bytes[0] == 0xc2 && bytes[1] < 0xa0))
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
	}
	return length;
}

const char *rescue_text(struct rescue_text *room, const char *bytes, size_t length)
{
	char *out = room->text, *end = room->text + sizeof(room->text) - 8;

	for (size_t i = 0; i < length && out < end;) {
		const unsigned char *at = (const unsigned char *)bytes + i;
		size_t sequence = *at >= 0x80 ? utf8_length(at, length - i) : (*at >= ' ' && *at != 0x7f);

		if (sequence == 0) {
			out += sprintf(out, "\\%03o", *at);
			i++;
			continue;
		}
		while (sequence-- > 0)
			*out++ = bytes[i++];
	}
	*out = '\0';
	return room->text;
}

void rescue_progress(struct work *work, const char *phase, uint64_t done, uint64_t total)
{
	if (work->options->progress != NULL)
		work->options->progress(work->options->arg, phase, done, total);
}
