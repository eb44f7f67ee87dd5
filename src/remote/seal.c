#include "remote/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STREAM_OVERHEAD crypto_secretstream_xchacha20poly1305_ABYTES

static_assert(REMOTE_STREAM_BYTES == crypto_secretstream_xchacha20poly1305_HEADERBYTES, "stream header");
static_assert(REMOTE_PROOF_BYTES == crypto_secretstream_xchacha20poly1305_KEYBYTES, "proofs and keys are as long");

int remote_secret_set(struct remote_secret *secret, const void *bytes, size_t length)
{
	static const char domain[] = "pinfs-rdma secret";

	if (length < REMOTE_SECRET_MIN || length > REMOTE_SECRET_MAX)
		return -EINVAL;
	crypto_generichash(secret->key, sizeof(secret->key), bytes, length, (const uint8_t *)domain, sizeof(domain));
	return 0;
}

static ssize_t read_all(int fd, uint8_t *room, size_t length)
{
	size_t have = 0;

	while (have < length) {
		ssize_t got = read(fd, room + have, length - have);

		if (got < 0 && errno != EINTR)
			return -errno;
		if (got == 0)
			break;
		if (got > 0)
			have += (size_t)got;
	}
	return (ssize_t)have;
}

static int load(int fd, const char *path, struct remote_secret *secret, struct message *message)
{
	uint8_t bytes[REMOTE_SECRET_MAX + 2];
	struct stat attr;
	ssize_t length;
	int error;

	if (fstat(fd, &attr) != 0)
		return -errno;
	if ((attr.st_mode & 077) != 0) {
		message_set(message, "%s: others may read the secret (mode %03o): chmod 600 it", path,
			    (unsigned)attr.st_mode & 0777);
		return -EACCES;
	}
	length = read_all(fd, bytes, sizeof(bytes));
	if (length < 0)
		return (int)length;
	if (length > 0 && bytes[length - 1] == '\n')
		length--;
	error = remote_secret_set(secret, bytes, (size_t)length);
	sodium_memzero(bytes, sizeof(bytes));
	if (error != 0)
		message_set(message, "%s: a secret has %u to %u bytes: try 'openssl rand -base64 32'", path,
			    REMOTE_SECRET_MIN, REMOTE_SECRET_MAX);
	return error;
}

int remote_secret_load(const char *path, struct remote_secret *ret_secret, struct message *message)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int error;

	message_set(message, "%s", "");
	error = fd < 0 ? -errno : load(fd, path, ret_secret, message);
	if (error != 0 && (message == NULL || message->text[0] == '\0'))
		message_set(message, "%s: the secret cannot be read: %s", path, strerror(-error));
	if (fd >= 0)
		(void)close(fd);
	return error;
}

/* One key or proof for each use: of both nonces and versions, so that none is of use a second time. */
static void derive(const struct remote_secret *secret, const char *use, enum remote_side side,
		   const struct remote_hello *hello, const struct remote_challenge *challenge, const uint8_t *stream,
		   uint8_t ret_hash[REMOTE_PROOF_BYTES])
{
	const uint8_t who = side == REMOTE_PEER ? 'p' : 's';
	crypto_generichash_state state;

	crypto_generichash_init(&state, secret->key, sizeof(secret->key), REMOTE_PROOF_BYTES);
	crypto_generichash_update(&state, (const uint8_t *)use, strlen(use) + 1);
	crypto_generichash_update(&state, &who, 1);
	crypto_generichash_update(&state, (const uint8_t *)hello, sizeof(*hello));
	crypto_generichash_update(&state, (const uint8_t *)challenge, sizeof(*challenge));
	if (stream != NULL)
		crypto_generichash_update(&state, stream, REMOTE_STREAM_BYTES);
	crypto_generichash_final(&state, ret_hash, REMOTE_PROOF_BYTES);
}

void remote_prove(const struct remote_secret *secret, enum remote_side side, const struct remote_hello *hello,
		  const struct remote_challenge *challenge, struct remote_seal *seal, struct remote_proof *ret_proof)
{
	uint8_t key[REMOTE_PROOF_BYTES];

	*ret_proof = (struct remote_proof){.magic = REMOTE_MAGIC};
	derive(secret, "stream", side, hello, challenge, NULL, key);
	(void)crypto_secretstream_xchacha20poly1305_init_push(&seal->push, ret_proof->stream, key);
	derive(secret, "proof", side, hello, challenge, ret_proof->stream, ret_proof->proof);
	sodium_memzero(key, sizeof(key));
}

bool remote_believe(const struct remote_secret *secret, enum remote_side side, const struct remote_hello *hello,
		    const struct remote_challenge *challenge, const struct remote_proof *proof,
		    struct remote_seal *seal)
{
	uint8_t key[REMOTE_PROOF_BYTES], expected[REMOTE_PROOF_BYTES];
	bool good;

	derive(secret, "proof", side, hello, challenge, proof->stream, expected);
	good = sodium_memcmp(expected, proof->proof, sizeof(expected)) == 0;
	sodium_memzero(expected, sizeof(expected));
	if (!good)
		return false;
	derive(secret, "stream", side, hello, challenge, NULL, key);
	good = crypto_secretstream_xchacha20poly1305_init_pull(&seal->pull, proof->stream, key) == 0;
	sodium_memzero(key, sizeof(key));
	return good;
}

size_t remote_seal(struct remote_seal *seal, const void *message, size_t size, uint8_t *room)
{
	uint32_t length = (uint32_t)(size + STREAM_OVERHEAD);

	memcpy(room, &length, sizeof(length));
	(void)crypto_secretstream_xchacha20poly1305_push(&seal->push, room + sizeof(length), NULL, message, size, NULL,
							 0, 0);
	return sizeof(length) + length;
}

int remote_sealed_size(const uint8_t length[4], size_t *ret_size)
{
	uint32_t size;

	memcpy(&size, length, sizeof(size));
	if (size < STREAM_OVERHEAD + sizeof(struct remote_header) || size > REMOTE_SEALED_MAX)
		return -EPROTO;
	*ret_size = size;
	return 0;
}

int remote_unseal(struct remote_seal *seal, const uint8_t *sealed, size_t size, void *room, size_t *ret_size)
{
	unsigned long long length;
	uint8_t tag;

	if (size < STREAM_OVERHEAD || size > REMOTE_SEALED_MAX ||
	    crypto_secretstream_xchacha20poly1305_pull(&seal->pull, room, &length, &tag, sealed, size, NULL, 0) != 0)
		return -EPROTO;
	*ret_size = (size_t)length;
	return 0;
}
