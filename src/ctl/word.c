/* Which words of a session's page its cached pins have. The client chooses; each is one pin's only. */
#include "ctl/server.h"

#include <errno.h>
#include <stdlib.h>

#define WORD_BITS 64u

/* What the connection has, or has had: requests of it end after it. NULL: it is gone. */
static struct ctl_session *session_of_locked(struct ctl_connection *connection)
{
	struct ctl_session *session;

	HASH_FIND(hh, connection->ctl->sessions, &connection->session_number, sizeof(connection->session_number),
		  session);
	return session;
}

int ctl_word_take(struct ctl_connection *connection, uint32_t index, wire_word **ret_word)
{
	struct ctl *ctl = connection->ctl;
	struct ctl_session *session;
	const uint64_t bit = 1ull << index % WORD_BITS;
	int error = 0;

	if (index >= WIRE_PAGE_WORDS)
		return -EINVAL;
	lock_mutex_take(&ctl->lock);
	session = connection->session;
	if (session == NULL) {
		error = -ESHUTDOWN;
	} else {
		if (session->words_used == NULL)
			session->words_used = calloc(WIRE_PAGE_WORDS / WORD_BITS, sizeof(*session->words_used));
		if (session->words_used == NULL)
			error = -ENOMEM;
		else if ((session->words_used[index / WORD_BITS] & bit) != 0)
			error = -EINVAL;
	}
	if (error == 0) {
		session->words_used[index / WORD_BITS] |= bit;
		*ret_word = wire_word_at(session->page, index);
	}
	lock_mutex_drop(&ctl->lock);
	return error;
}

static void release_locked(struct ctl_session *session, uint32_t index)
{
	session->words_used[index / WORD_BITS] &= ~(1ull << index % WORD_BITS);
}

void ctl_word_release(struct ctl_connection *connection, uint32_t index)
{
	struct ctl *ctl = connection->ctl;
	struct ctl_session *session;

	lock_mutex_take(&ctl->lock);
	session = session_of_locked(connection);
	if (session != NULL)
		release_locked(session, index);
	lock_mutex_drop(&ctl->lock);
}

void ctl_word_bind(struct ctl_connection *connection, struct ctl_word *word, uint64_t pin, uint32_t index)
{
	struct ctl *ctl = connection->ctl;
	struct ctl_session *session;

	word->pin = pin;
	word->index = index;
	lock_mutex_take(&ctl->lock);
	session = session_of_locked(connection);
	if (session != NULL) {
		HASH_ADD(hh, session->words, pin, sizeof(word->pin), word);
		/* Without memory for the table the word stays in use until the session ends. */
		if (word->hh.tbl != NULL)
			word = NULL;
	}
	lock_mutex_drop(&ctl->lock);
	free(word);
}

bool ctl_word_unbind(struct ctl_connection *connection, uint64_t pin)
{
	struct ctl *ctl = connection->ctl;
	struct ctl_session *session;
	struct ctl_word *word = NULL;

	lock_mutex_take(&ctl->lock);
	session = session_of_locked(connection);
	if (session != NULL)
		HASH_FIND(hh, session->words, &pin, sizeof(pin), word);
	if (word != NULL) {
		HASH_DEL(session->words, word);
		release_locked(session, word->index);
	}
	lock_mutex_drop(&ctl->lock);
	free(word);
	return word != NULL;
}

uint32_t ctl_word_find(struct ctl_session *session, uint64_t pin)
{
	struct ctl *ctl = session->ctl;
	struct ctl_word *word;
	uint32_t index;

	lock_mutex_take(&ctl->lock);
	HASH_FIND(hh, session->words, &pin, sizeof(pin), word);
	index = word != NULL ? word->index : WIRE_WORD_NONE;
	lock_mutex_drop(&ctl->lock);
	return index;
}

void ctl_words_free(struct ctl_session *session)
{
	struct ctl_word *word, *next;

	HASH_ITER(hh, session->words, word, next)
	{
		HASH_DEL(session->words, word);
		free(word);
	}
	free(session->words_used);
}
