/*
 * The secret that both sides share: proofs of it, and the sealed messages that follow. All of the arithmetic is
 * libsodium's: keyed BLAKE2b for proofs and keys, its secretstream (XChaCha20-Poly1305) for what is sealed, which also
 * keeps the order and notices what is missing. The secret itself never travels.
 *
 * On the wire a sealed message is its length (4 bytes, of what follows) and that many bytes.
 */
#ifndef PINFS_REMOTE_SEAL_H
#define PINFS_REMOTE_SEAL_H

#include "base/log.h"
#include "remote/message.h"

#include <sodium.h>

#define REMOTE_SECRET_MIN 16u /* bytes: shorter ones can be guessed */
#define REMOTE_SECRET_MAX 4096u
#define REMOTE_SEALED_MAX (REMOTE_MESSAGE_MAX + crypto_secretstream_xchacha20poly1305_ABYTES)

struct remote_secret {
	uint8_t key[32];
};

/*
 * Reads a secret from a file that nobody but its owner may read; the line's end is not part of it. -EACCES, -EINVAL
 * (too short, or long) or what reading it gave; `message` says it in words.
 */
int remote_secret_load(const char *path, struct remote_secret *ret_secret, struct message *message);
/* From its bytes; -EINVAL: too short, or long. */
int remote_secret_set(struct remote_secret *secret, const void *bytes, size_t length);

enum remote_side {
	REMOTE_PEER,
	REMOTE_SERVER,
};

struct remote_seal {
	crypto_secretstream_xchacha20poly1305_state push;
	crypto_secretstream_xchacha20poly1305_state pull;
};

/* What `side` sends to prove that it knows the secret, and begins what it seals. */
void remote_prove(const struct remote_secret *secret, enum remote_side side, const struct remote_hello *hello,
		  const struct remote_challenge *challenge, struct remote_seal *seal, struct remote_proof *ret_proof);
/* True if `proof` is one of `side`, for these nonces; what it seals can then be opened. In constant time. */
bool remote_believe(const struct remote_secret *secret, enum remote_side side, const struct remote_hello *hello,
		    const struct remote_challenge *challenge, const struct remote_proof *proof,
		    struct remote_seal *seal);

/* `room` has 4 bytes more than REMOTE_SEALED_MAX; returns how many are to be sent. size <= REMOTE_MESSAGE_MAX. */
size_t remote_seal(struct remote_seal *seal, const void *message, size_t size, uint8_t *room);
/* What a sealed message of this length says of its size; -EPROTO: no message has it. */
int remote_sealed_size(const uint8_t length[4], size_t *ret_size);
/* Opens `size` bytes behind the length into `room` (REMOTE_MESSAGE_MAX bytes). -EPROTO: not sealed by the other side.
 */
int remote_unseal(struct remote_seal *seal, const uint8_t *sealed, size_t size, void *room, size_t *ret_size);

#endif
