/* The pin ledger: names and values of its xattrs. */
#include "format/format.h"

#include <string.h>

#define DIGITS_NUMBER 16u
#define DIGITS_PIECE 8u

static size_t put_digits(char *at, uint64_t number, unsigned digits)
{
	static const char digit[] = "0123456789abcdef";

	for (unsigned i = digits; i-- > 0; number >>= 4)
		at[i] = digit[number & 15];
	return digits;
}

size_t fmt_ledger_name(const struct fmt_ledger_key *key, char *ret_name)
{
	size_t length = 0;

	ret_name[length++] = (char)key->kind;
	ret_name[length++] = '.';
	length += put_digits(ret_name + length, key->session, DIGITS_NUMBER);
	if (key->kind == FMT_LEDGER_SESSION)
		return length;
	ret_name[length++] = '.';
	length += put_digits(ret_name + length, key->pin, DIGITS_NUMBER);
	if (key->kind == FMT_LEDGER_PIN)
		return length;
	ret_name[length++] = '.';
	return length + put_digits(ret_name + length, key->piece, DIGITS_PIECE);
}

/* Reads '.' and `digits` digits at *at, and moves on. */
static bool get_digits(const char **at, const char *end, unsigned digits, uint64_t *ret_number)
{
	uint64_t number = 0;

	if ((size_t)(end - *at) < digits + 1u || **at != '.')
		return false;
	(*at)++;
	for (unsigned i = 0; i < digits; i++) {
		char c = *(*at)++;

		if (c >= '0' && c <= '9')
			number = number << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			number = number << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*ret_number = number;
	return true;
}

bool fmt_ledger_parse(const char *name, size_t length, struct fmt_ledger_key *ret_key)
{
	struct fmt_ledger_key key = {.kind = FMT_LEDGER_SESSION};
	const char *at = name + 1, *end = name + length;
	uint64_t piece = 0;

	if (length == 0)
		return false;
	switch (name[0]) {
	case FMT_LEDGER_SESSION:
	case FMT_LEDGER_PIN:
	case FMT_LEDGER_PIECE:
		key.kind = (enum fmt_ledger_kind)name[0];
		break;
	default:
		return false;
	}
	if (!get_digits(&at, end, DIGITS_NUMBER, &key.session) || key.session == 0)
		return false;
	if (key.kind != FMT_LEDGER_SESSION && (!get_digits(&at, end, DIGITS_NUMBER, &key.pin) || key.pin == 0))
		return false;
	if (key.kind == FMT_LEDGER_PIECE && !get_digits(&at, end, DIGITS_PIECE, &piece))
		return false;
	if (at != end)
		return false;
	key.piece = (uint32_t)piece;
	*ret_key = key;
	return true;
}

bool fmt_ledger_session_valid(const struct fmt_ledger_session *session, size_t length, const struct fmt_ledger_key *key)
{
	return length == sizeof(*session) && session->id == key->session && session->id != 0 &&
	       session->reserved == 0 && memchr(session->command, '\0', sizeof(session->command)) != NULL;
}

bool fmt_ledger_pin_valid(const struct fmt_ledger_pin *pin, size_t length, const struct fmt_ledger_key *key)
{
	uint64_t end;

	return length >= sizeof(*pin) && pin->head_count <= FMT_LEDGER_HEAD_EXTENTS &&
	       length == sizeof(*pin) + pin->head_count * sizeof(pin->extent[0]) && pin->id == key->pin &&
	       pin->id != 0 && pin->session == key->session && pin->reserved == 0 && pin->count >= pin->head_count &&
	       (pin->count == pin->head_count || pin->head_count == FMT_LEDGER_HEAD_EXTENTS) &&
	       (pin->count - pin->head_count) / FMT_LEDGER_PIECE_EXTENTS < UINT32_MAX && pin->length > 0 &&
	       !__builtin_add_overflow(pin->offset, pin->length, &end) && end <= FMT_FILE_SIZE_MAX;
}

size_t fmt_ledger_piece_extents(const struct fmt_ledger_pin *pin, uint64_t piece)
{
	uint64_t left = pin->count - pin->head_count;

	if (piece > left / FMT_LEDGER_PIECE_EXTENTS)
		return 0;
	left -= piece * FMT_LEDGER_PIECE_EXTENTS;
	return left < FMT_LEDGER_PIECE_EXTENTS ? left : FMT_LEDGER_PIECE_EXTENTS;
}

bool fmt_ledger_extent_valid(const struct fmt_ledger_pin *pin, const struct fmt_ledger_extent *extent,
			     uint64_t *next_block)
{
	uint64_t first = pin->offset >> FMT_BLOCK_SHIFT;
	uint64_t last = (pin->offset + pin->length - 1) >> FMT_BLOCK_SHIFT;

	if (!fmt_phys_run_possible(extent->phys, extent->length) || extent->length > FMT_EXTENT_LENGTH_MAX ||
	    extent->reserved != 0 || extent->file_block < first || extent->file_block < *next_block ||
	    extent->file_block > last || extent->length - 1 > last - extent->file_block)
		return false;
	*next_block = extent->file_block + extent->length;
	return true;
}
