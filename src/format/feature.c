/* Feature words: which bits there are, and what readers that do not know a bit are told of it. */
#include "format/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
	enum fmt_word word;
	unsigned bit;
	const char *name;
} features[FMT_FEATURES] = {
	[FMT_FEATURE_ACL] = {FMT_WORD_INCOMPAT, 0, "acl"},
	[FMT_FEATURE_FLAGS] = {FMT_WORD_RO_COMPAT, 0, "flags"},
};
static_assert(FMT_INCOMPAT_ACL == 1u << 0 && FMT_RO_COMPAT_FLAGS == 1u << 0, "bits as in the table");

static uint32_t *word_of(struct fmt_super *super, enum fmt_word word)
{
	if (word == FMT_WORD_INCOMPAT)
		return &super->incompat;
	return word == FMT_WORD_RO_COMPAT ? &super->ro_compat : &super->compat;
}

bool fmt_feature_used(const struct fmt_super *super, enum fmt_feature feature)
{
	struct fmt_super *any = (struct fmt_super *)(uintptr_t)super;

	return (*word_of(any, features[feature].word) >> features[feature].bit & 1) != 0;
}

void fmt_feature_add(struct fmt_super *super, enum fmt_feature feature, const char *version)
{
	size_t used = strnlen(super->features, sizeof(super->features));
	char token[32];
	int length;

	*word_of(super, features[feature].word) |= 1u << features[feature].bit;
	length = snprintf(token, sizeof(token), "%s%c%u:%s", used > 0 ? " " : "", (char)features[feature].word,
			  features[feature].bit, features[feature].name);
	/* Without room for its name the bit goes by its number. */
	if (used + (size_t)length <= sizeof(super->features))
		memcpy(super->features + used, token, (size_t)length);
	memset(super->needs, 0, sizeof(super->needs));
	memcpy(super->needs, version, strnlen(version, sizeof(super->needs)));
	fmt_super_seal(super);
}

static const char *known_name(enum fmt_word word, unsigned bit)
{
	for (size_t i = 0; i < FMT_FEATURES; i++) {
		if (features[i].word == word && features[i].bit == bit)
			return features[i].name;
	}
	return NULL;
}

/* Text from media goes to terminals: what is no name there ends it. */
static size_t name_length(const char *text, size_t most)
{
	size_t length = 0;

	while (length < most && ((text[length] >= 'a' && text[length] <= 'z') || text[length] == '_' ||
				 text[length] == '-' || (text[length] >= '0' && text[length] <= '9')))
		length++;
	return length;
}

/* The name that the superblock gives the bit; its length, 0: none. */
static size_t told_name(const struct fmt_super *super, enum fmt_word word, unsigned bit, const char **ret_name)
{
	const char *end = super->features + sizeof(super->features);
	const char *at = super->features;
	char token[16];
	size_t length = (size_t)snprintf(token, sizeof(token), "%c%u:", (char)word, bit);

	while (at < end) {
		if ((size_t)(end - at) > length && memcmp(at, token, length) == 0) {
			*ret_name = at + length;
			return name_length(*ret_name, (size_t)(end - *ret_name));
		}
		at = memchr(at, ' ', (size_t)(end - at));
		if (at == NULL)
			break;
		at++;
	}
	return 0;
}

static void append_name(enum fmt_word word, unsigned bit, const struct fmt_super *super, struct fmt_feature_text *room)
{
	const char *class = word == FMT_WORD_INCOMPAT	 ? "incompat"
			    : word == FMT_WORD_RO_COMPAT ? "ro_compat"
							 : "compat";
	size_t used = strlen(room->text), left = sizeof(room->text) - used;
	/* A part's bits are others. */
	const char *name = super != NULL ? known_name(word, bit) : NULL;
	size_t length = name != NULL ? strlen(name) : 0;

	if (name == NULL && super != NULL)
		length = told_name(super, word, bit, &name);
	if (length > 0)
		(void)snprintf(room->text + used, left, "%s%.*s", used > 0 ? ", " : "", (int)length, name);
	else
		(void)snprintf(room->text + used, left, "%s%s bit %u", used > 0 ? ", " : "", class, bit);
}

static void append_names(enum fmt_word word, uint32_t bits, const struct fmt_super *super,
			 struct fmt_feature_text *room)
{
	for (unsigned bit = 0; bit < 32; bit++) {
		if ((bits >> bit & 1) != 0)
			append_name(word, bit, super, room);
	}
}

const char *fmt_feature_names(enum fmt_word word, uint32_t bits, const struct fmt_super *super,
			      struct fmt_feature_text *room)
{
	room->text[0] = '\0';
	append_names(word, bits, super, room);
	return room->text;
}

const char *fmt_feature_all(const struct fmt_super *super, struct fmt_feature_text *room)
{
	room->text[0] = '\0';
	append_names(FMT_WORD_INCOMPAT, super->incompat, super, room);
	append_names(FMT_WORD_RO_COMPAT, super->ro_compat, super, room);
	append_names(FMT_WORD_COMPAT, super->compat, super, room);
	return room->text;
}

/* A version: digits, letters, dots and the like. */
static bool is_version(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (name_length(text + i, 1) == 0 && text[i] != '.' && text[i] != '+' && text[i] != '~')
			return false;
	}
	return length > 0;
}

const char *fmt_feature_needs(const struct fmt_super *super, struct fmt_feature_text *room)
{
	size_t length = super != NULL ? strnlen(super->needs, sizeof(super->needs)) : 0;

	if (length > 0 && is_version(super->needs, length))
		(void)snprintf(room->text, sizeof(room->text), "pinfs %.*s or newer", (int)length, super->needs);
	else
		(void)snprintf(room->text, sizeof(room->text), "a newer pinfs");
	return room->text;
}
