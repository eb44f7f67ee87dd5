#include "daemon/size.h"

#include "base/arith.h"

#include <errno.h>
#include <string.h>

#define SECONDS_MAX 1000000000u

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Reads one or more digits and moves `*text` behind them. No sign, no blanks: unlike strtoull(3). */
static int parse_digits(const char **text, uint64_t *ret_value)
{
	const char *p = *text;
	uint64_t value = 0;

	if (!is_digit(*p))
		return -EINVAL;
	for (; is_digit(*p); p++) {
		if (mul_overflows(value, 10, &value) || add_overflows(value, (uint64_t)(*p - '0'), &value))
			return -ERANGE;
	}
	*text = p;
	*ret_value = value;
	return 0;
}

static int suffix_shift(const char *suffix, unsigned *ret_shift)
{
	static const char letters[] = "KMGTkmgt";
	const char *letter;

	*ret_shift = 0;
	if (suffix[0] == '\0')
		return 0;
	letter = strchr(letters, suffix[0]);
	if (letter == NULL || suffix[1] != '\0')
		return -EINVAL;
	*ret_shift = 10 * (1 + (unsigned)(letter - letters) % 4);
	return 0;
}

int daemon_parse_size(const char *text, uint64_t *ret_bytes)
{
	uint64_t value;
	unsigned shift;
	int error;

	error = parse_digits(&text, &value);
	if (error == -ERANGE) {
		/* Nonsense behind too many digits is still nonsense. */
		text += strspn(text, "0123456789");
		return suffix_shift(text, &shift) != 0 ? -EINVAL : -ERANGE;
	}
	if (error != 0)
		return error;
	error = suffix_shift(text, &shift);
	if (error != 0)
		return error;
	if (mul_overflows(value, 1ull << shift, &value) || value > INT64_MAX)
		return -ERANGE;
	*ret_bytes = value;
	return 0;
}

int daemon_parse_seconds(const char *text, uint64_t *ret_ms)
{
	uint64_t seconds, ms = 0;
	int error;

	if (strcmp(text, "inf") == 0) {
		*ret_ms = DAEMON_FOREVER;
		return 0;
	}
	error = parse_digits(&text, &seconds);
	if (error != 0)
		return error;
	if (*text == '.') {
		text++;
		if (!is_digit(*text))
			return -EINVAL;
		for (unsigned unit = 100; unit > 0 && is_digit(*text); unit /= 10)
			ms += unit * (unsigned)(*text++ - '0');
	}
	if (*text != '\0')
		return -EINVAL;
	if (seconds > SECONDS_MAX)
		return -ERANGE;
	*ret_ms = seconds * 1000 + ms;
	return 0;
}
