/* The protocol of pinfs-rdma: messages, proofs, sealed messages, and the server's session with peers that say anything.
 */
#include "remote/session.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1ul << 20)

/* ---- A server with nothing behind it, and a peer that knows the secret ---- */

struct world {
	struct remote_secret secret;
	struct remote_policy policy;
	struct remote_session session;
	struct remote_seal seal; /* the peer's */
	uint64_t now;
	unsigned opens, commits, closes, cuts;
	bool leased;
	int open_error, commit_error, send_error;
	uint32_t pieces;
	size_t sent; /* by the session, not read yet */
	uint8_t output[4 * REMOTE_SEALED_MAX];
	_Alignas(8) uint8_t answer[REMOTE_MESSAGE_MAX];
};

static int do_send(void *data, const void *bytes, size_t length)
{
	struct world *world = data;

	if (world->send_error != 0)
		return world->send_error;
	assert_true(world->sent + length <= sizeof(world->output));
	memcpy(world->output + world->sent, bytes, length);
	world->sent += length;
	return 0;
}

static int do_open(void *data, const struct remote_open *open, struct remote_grant *ret_grant)
{
	struct world *world = data;

	assert_false(world->leased);
	world->opens++;
	if (world->open_error != 0)
		return world->open_error;
	ret_grant->offset = open->offset;
	ret_grant->length = open->length;
	ret_grant->count = world->pieces;
	for (uint32_t i = 0; i < world->pieces; i++)
		ret_grant->piece[i] = (struct remote_piece){.offset = open->offset + i, .length = 1};
	ret_grant->piece[world->pieces - 1].length = open->length - world->pieces + 1;
	world->leased = true;
	return 0;
}

static int do_commit(void *data, uint64_t offset, uint64_t length)
{
	struct world *world = data;

	assert_true(world->leased && length > 0 && offset + length > offset);
	world->commits++;
	return world->commit_error;
}

static void do_close(void *data)
{
	struct world *world = data;

	assert_true(world->leased);
	world->leased = false;
	world->closes++;
}

static int do_cut(void *data, uint64_t size)
{
	struct world *world = data;

	(void)size;
	assert_false(world->leased);
	world->cuts++;
	return 0;
}

static const struct remote_session_ops ops = {do_send, do_open, do_commit, do_close, do_cut};

static int setup(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	if (world == NULL || sodium_init() < 0)
		return -1;
	if (remote_secret_set(&world->secret, "sixteen bytes, or more", 22) != 0)
		return -1;
	world->pieces = 1;
	world->now = 1000;
	world->policy = (struct remote_policy){
		.secret = &world->secret,
		.ops = &ops,
		.provider = "tcp",
		.length_max = MIB,
		.lease_ms = 10000,
	};
	remote_session_init(&world->session, &world->policy, world, world->now);
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;

	remote_session_end(&world->session, "the test is over");
	assert_false(world->leased);
	free(world);
	return 0;
}

static bool say(struct world *world, const void *bytes, size_t length)
{
	return remote_session_input(&world->session, bytes, length, world->now);
}

/* What was sent next; it must have that length. */
static void hear(struct world *world, void *room, size_t length)
{
	assert_true(world->sent >= length);
	memcpy(room, world->output, length);
	memmove(world->output, world->output + length, world->sent - length);
	world->sent -= length;
}

/* The type of the next sealed answer, which is in world->answer. */
static unsigned hear_sealed(struct world *world)
{
	uint8_t sealed[REMOTE_SEALED_MAX], length[4];
	size_t size, whole;

	hear(world, length, 4);
	assert_int_equal(remote_sealed_size(length, &size), 0);
	hear(world, sealed, size);
	assert_int_equal(remote_unseal(&world->seal, sealed, size, world->answer, &whole), 0);
	assert_true(remote_answer_valid(world->answer, whole));
	return ((const struct remote_header *)world->answer)->type;
}

static bool say_sealed(struct world *world, const void *message, size_t size)
{
	static uint8_t room[REMOTE_SEALED_MAX + 4];

	return say(world, room, remote_seal(&world->seal, message, size, room));
}

static void prove(struct world *world)
{
	struct remote_hello hello = {.magic = REMOTE_MAGIC, .version_min = 1, .version_max = 1};
	struct remote_challenge challenge;
	struct remote_proof proof, welcome;

	randombytes_buf(hello.nonce, sizeof(hello.nonce));
	assert_true(say(world, &hello, sizeof(hello)));
	hear(world, &challenge, sizeof(challenge));
	assert_int_equal(challenge.version, 1);
	remote_prove(&world->secret, REMOTE_PEER, &hello, &challenge, &world->seal, &proof);
	assert_true(say(world, &proof, sizeof(proof)));
	hear(world, &welcome, sizeof(welcome));
	assert_int_equal(welcome.error, 0);
	assert_true(remote_believe(&world->secret, REMOTE_SERVER, &hello, &challenge, &welcome, &world->seal));
	assert_int_equal(hear_sealed(world), REMOTE_SETUP);
	assert_string_equal(((const struct remote_setup *)world->answer)->provider, "tcp");
}

static bool ask_open(struct world *world, uint64_t offset, uint64_t length, uint32_t flags)
{
	_Alignas(8) uint8_t room[sizeof(struct remote_open) + 4];
	struct remote_open *open = (struct remote_open *)room;

	*open = (struct remote_open){
		.header = {.type = REMOTE_OPEN}, .offset = offset, .length = length, .flags = flags, .name_length = 4};
	memcpy(open->name, "file", 4);
	return say_sealed(world, open, sizeof(room));
}

static bool ask(struct world *world, unsigned type, uint64_t lease, uint64_t offset, uint64_t length, uint32_t flags)
{
	const struct remote_range range = {
		.header = {.type = type, .lease = lease}, .offset = offset, .length = length, .flags = flags};

	return say_sealed(world, &range, sizeof(range));
}

static int done(struct world *world)
{
	assert_int_equal(hear_sealed(world), REMOTE_DONE);
	return ((const struct remote_header *)world->answer)->error;
}

static uint64_t lease(struct world *world, uint32_t flags)
{
	assert_true(ask_open(world, 4096, MIB / 2, flags));
	assert_int_equal(hear_sealed(world), REMOTE_GRANT);
	assert_true(remote_grant_whole((const struct remote_grant *)world->answer));
	return ((const struct remote_header *)world->answer)->lease;
}

/* ---- Messages ---- */

static _Alignas(8) uint8_t buffer[REMOTE_MESSAGE_MAX + 64];

static void test_message_sizes(void **state)
{
	static const struct {
		unsigned type;
		size_t size;
		bool request;
	} forms[] = {
		{REMOTE_COMMIT, sizeof(struct remote_range), true},
		{REMOTE_CLOSE, sizeof(struct remote_range), true},
		{REMOTE_PING, sizeof(struct remote_header), true},
		{REMOTE_DONE, sizeof(struct remote_header), false},
		{REMOTE_PONG, sizeof(struct remote_header), false},
		{REMOTE_ENDED, sizeof(struct remote_header), false},
		{REMOTE_RECALL, sizeof(struct remote_recall), false},
		{REMOTE_GRANT, sizeof(struct remote_grant), false},
	};

	(void)state;
	for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
		memset(buffer, 0, sizeof(buffer));
		((struct remote_header *)buffer)->type = forms[f].type;
		for (size_t size = 0; size <= REMOTE_MESSAGE_MAX + 8; size++) {
			bool whole = size >= forms[f].size && size <= REMOTE_MESSAGE_MAX;

			assert_int_equal(remote_request_valid(buffer, size), whole && forms[f].request);
			assert_int_equal(remote_answer_valid(buffer, size), whole && !forms[f].request);
		}
	}
	for (unsigned type = 0; type < 300; type++) {
		bool known =
			(type >= REMOTE_OPEN && type <= REMOTE_PING) || (type >= REMOTE_SETUP && type <= REMOTE_ENDED);

		memset(buffer, 0, sizeof(buffer));
		((struct remote_header *)buffer)->type = type;
		if (!known)
			assert_false(remote_request_valid(buffer, 512) || remote_answer_valid(buffer, 512));
	}
}

static void test_open(void **state)
{
	struct remote_open *open = (struct remote_open *)buffer;
	const size_t size = sizeof(*open) + 4;
	struct remote_open good = {.header = {.type = REMOTE_OPEN}, .length = 1, .name_length = 4};

	(void)state;
#define VALID(field, value)                                                                                            \
	(memset(buffer, 0, sizeof(buffer)), *open = good, memcpy(open->name, "file", 4), open->field = (value),        \
	 remote_request_valid(open, size))
	assert_true(VALID(flags, REMOTE_OPEN_WRITE));
	assert_false(VALID(flags, 2));
	assert_false(VALID(length, 0));
	assert_true(VALID(length, INT64_MAX));
	assert_false(VALID(length, (uint64_t)INT64_MAX + 1));
	assert_true(VALID(offset, INT64_MAX - 1));
	assert_false(VALID(offset, INT64_MAX));
	assert_false(VALID(offset, UINT64_MAX));
	assert_false(VALID(name_length, 0));
	assert_true(VALID(name_length, 3));
	assert_false(VALID(name_length, 5));
	assert_false(VALID(name_length, REMOTE_NAME_MAX + 1));
	assert_false(VALID(name_length, UINT32_MAX));
	assert_false(VALID(name[2], '\0'));
#undef VALID
}

static void test_grant(void **state)
{
	struct remote_grant *grant = (struct remote_grant *)buffer;
	size_t size = sizeof(*grant) + 2 * sizeof(grant->piece[0]);

	(void)state;
	memset(buffer, 0, sizeof(buffer));
	grant->header.type = REMOTE_GRANT;
	grant->offset = 100;
	grant->length = 50;
	grant->count = 2;
	grant->piece[0] = (struct remote_piece){.offset = 100, .length = 20};
	grant->piece[1] = (struct remote_piece){.offset = 120, .length = 30};
	assert_true(remote_answer_valid(grant, size) && remote_grant_whole(grant));
	assert_false(remote_answer_valid(grant, size - 1));
	grant->count = 3;
	assert_false(remote_answer_valid(grant, size));
	grant->count = UINT32_MAX;
	assert_false(remote_answer_valid(grant, size));
	grant->count = 0;
	assert_false(remote_answer_valid(grant, size));
	grant->count = 1;
	assert_false(remote_grant_whole(grant));
	grant->count = 2;
	grant->piece[1].offset = 121;
	assert_false(remote_grant_whole(grant));
	grant->piece[1].offset = 119;
	assert_false(remote_grant_whole(grant));
	grant->piece[1] = (struct remote_piece){.offset = 120, .length = 31};
	assert_false(remote_grant_whole(grant));
	grant->piece[1].length = UINT64_MAX - 10;
	assert_false(remote_grant_whole(grant));
	grant->piece[1].length = 0;
	assert_false(remote_grant_whole(grant));
}

static void test_versions(void **state)
{
	static const struct {
		uint16_t low, high;
		unsigned chosen;
	} cases[] = {{1, 1, 1}, {0, 5, 1}, {1, UINT16_MAX, 1}, {0, 0, 0}, {2, 9, 0}, {5, 1, 0}, {UINT16_MAX, 0, 0}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct remote_hello hello = {.version_min = cases[i].low, .version_max = cases[i].high};

		assert_int_equal(remote_version_choose(&hello), cases[i].chosen);
	}
}

/* ---- Proofs and seals ---- */

static void test_proof(void **state)
{
	struct world *world = *state;
	struct remote_hello hello = {.magic = REMOTE_MAGIC, .nonce = {1}};
	struct remote_challenge challenge = {.magic = REMOTE_MAGIC, .nonce = {2}};
	struct remote_secret other;
	struct remote_seal seal;
	struct remote_proof proof;

	remote_prove(&world->secret, REMOTE_PEER, &hello, &challenge, &seal, &proof);
	assert_true(remote_believe(&world->secret, REMOTE_PEER, &hello, &challenge, &proof, &seal));
	/* Sent back to who made it, for other nonces, of another secret: worth nothing. */
	assert_false(remote_believe(&world->secret, REMOTE_SERVER, &hello, &challenge, &proof, &seal));
	assert_int_equal(remote_secret_set(&other, "sixteen bytes, or more!", 23), 0);
	assert_false(remote_believe(&other, REMOTE_PEER, &hello, &challenge, &proof, &seal));
	for (size_t i = 0; i < sizeof(hello); i++) {
		((uint8_t *)&hello)[i] ^= 1;
		assert_false(remote_believe(&world->secret, REMOTE_PEER, &hello, &challenge, &proof, &seal));
		((uint8_t *)&hello)[i] ^= 1;
	}
	for (size_t i = 0; i < sizeof(challenge); i++) {
		((uint8_t *)&challenge)[i] ^= 1;
		assert_false(remote_believe(&world->secret, REMOTE_PEER, &hello, &challenge, &proof, &seal));
		((uint8_t *)&challenge)[i] ^= 1;
	}
	for (size_t i = offsetof(struct remote_proof, proof); i < sizeof(proof); i++) {
		((uint8_t *)&proof)[i] ^= 1;
		assert_false(remote_believe(&world->secret, REMOTE_PEER, &hello, &challenge, &proof, &seal));
		((uint8_t *)&proof)[i] ^= 1;
	}
	assert_int_equal(remote_secret_set(&other, "fifteen bytes!!", 15), -EINVAL);
	assert_int_equal(remote_secret_set(&other, buffer, REMOTE_SECRET_MAX + 1), -EINVAL);
}

static void test_secret_file(void **state)
{
	char path[] = "/tmp/pinfs-remote.XXXXXX";
	struct remote_secret first, second;
	struct message message;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "sixteen bytes ok\n", 17), 17);
	assert_int_equal(remote_secret_load(path, &first, &message), 0);
	assert_int_equal(remote_secret_set(&second, "sixteen bytes ok", 16), 0);
	assert_memory_equal(&first, &second, sizeof(first));
	for (mode_t bit = 1; bit < 0100; bit <<= 1) {
		assert_int_equal(fchmod(fd, 0600 | bit), 0);
		assert_int_equal(remote_secret_load(path, &first, &message), -EACCES);
		assert_non_null(strstr(message.text, "chmod 600"));
	}
	assert_int_equal(fchmod(fd, 0600), 0);
	assert_int_equal(ftruncate(fd, 15), 0);
	assert_int_equal(remote_secret_load(path, &first, &message), -EINVAL);
	assert_int_equal(ftruncate(fd, REMOTE_SECRET_MAX + 2), 0);
	assert_int_equal(remote_secret_load(path, &first, &message), -EINVAL);
	(void)unlink(path);
	assert_int_equal(remote_secret_load(path, &first, &message), -ENOENT);
	assert_non_null(strstr(message.text, path));
	(void)close(fd);
}

static void test_sealed_sizes(void **state)
{
	uint8_t length[4];
	size_t size;

	(void)state;
	for (uint64_t value = 0; value <= UINT32_MAX; value = value * 2 + 1) {
		uint32_t wire = (uint32_t)value;
		bool good = value >= 17 + sizeof(struct remote_header) && value <= REMOTE_SEALED_MAX;

		memcpy(length, &wire, 4);
		assert_int_equal(remote_sealed_size(length, &size), good ? 0 : -EPROTO);
	}
}

/* ---- Sessions ---- */

static void test_session(void **state)
{
	struct world *world = *state;
	uint64_t number;

	prove(world);
	number = lease(world, REMOTE_OPEN_WRITE);
	assert_true(ask(world, REMOTE_COMMIT, number, 4096, MIB / 2, 0) && done(world) == 0);
	world->commit_error = -ESTALE;
	assert_true(ask(world, REMOTE_COMMIT, number, 5000, 1, 0) && done(world) == ESTALE);
	assert_true(ask(world, REMOTE_CLOSE, number, 4096, 0, REMOTE_CLOSE_CUT) && done(world) == 0);
	assert_int_equal(world->cuts, 1);
	/* It is over: its number is of no use. */
	assert_true(ask(world, REMOTE_COMMIT, number, 4096, 1, 0) && done(world) == ESTALE);
	assert_true(ask(world, REMOTE_CLOSE, number, 4096, 0, REMOTE_CLOSE_CUT) && done(world) == ESTALE);
	assert_int_equal(lease(world, 0), number + 1);
	assert_true(ask(world, REMOTE_CLOSE, number, 0, 0, 0) && done(world) == ESTALE);
	assert_true(world->leased && world->commits == 2 && world->cuts == 1);
}

static void test_session_limits(void **state)
{
	struct world *world = *state;
	uint64_t number;

	prove(world);
	assert_true(ask_open(world, 0, MIB + 1, 0) && done(world) == EFBIG);
	world->open_error = -ENOENT;
	assert_true(ask_open(world, 0, 1, 0) && done(world) == ENOENT);
	world->open_error = 0;
	number = lease(world, 0);
	assert_true(ask_open(world, 0, 1, 0) && done(world) == EBUSY);
	/* For reading: nothing is committed, or cut. */
	assert_true(ask(world, REMOTE_COMMIT, number, 4096, 1, 0) && done(world) == EBADF);
	assert_true(ask(world, REMOTE_CLOSE, number, 4096, 0, REMOTE_CLOSE_CUT) && done(world) == EBADF);
	assert_true(ask(world, REMOTE_CLOSE, number, 0, 0, 0) && done(world) == 0);
	number = lease(world, REMOTE_OPEN_WRITE);
	assert_true(ask(world, REMOTE_COMMIT, number, 4095, 2, 0) && done(world) == ERANGE);
	assert_true(ask(world, REMOTE_COMMIT, number, 4096, MIB / 2 + 1, 0) && done(world) == ERANGE);
	assert_true(ask(world, REMOTE_COMMIT, number, 4096, 0, 0) && done(world) == ERANGE);
	assert_true(ask(world, REMOTE_CLOSE, number, 4095, 0, REMOTE_CLOSE_CUT) && done(world) == EBADF);
	assert_true(ask(world, REMOTE_COMMIT, number + 1, 4096, 1, 0) && done(world) == ESTALE);
	assert_true(world->commits == 0 && world->cuts == 0 && world->leased);
	world->pieces = REMOTE_PIECES_MAX;
	assert_true(ask(world, REMOTE_CLOSE, number, 0, 0, 0) && done(world) == 0);
	(void)lease(world, 0);
}

static void test_session_bytewise(void **state)
{
	struct world *world = *state;
	const struct remote_header ping = {.type = REMOTE_PING};
	uint8_t room[2 * (REMOTE_SEALED_MAX + 4)];
	size_t length;

	prove(world);
	/* One byte at a time; and two messages at once. */
	length = remote_seal(&world->seal, &ping, sizeof(ping), room);
	for (size_t i = 0; i < length; i++) {
		assert_int_equal(world->sent, 0);
		assert_true(say(world, room + i, 1));
	}
	assert_int_equal(hear_sealed(world), REMOTE_PONG);
	length = remote_seal(&world->seal, &ping, sizeof(ping), room);
	length += remote_seal(&world->seal, &ping, sizeof(ping), room + length);
	assert_true(say(world, room, length));
	assert_true(hear_sealed(world) == REMOTE_PONG && hear_sealed(world) == REMOTE_PONG && world->sent == 0);
}

/* Whatever of a proven peer's messages is changed, said twice or left out: the session ends, and its lease before. */
static void test_session_tampered(void **state)
{
	struct world *world = *state;
	const struct remote_header ping = {.type = REMOTE_PING};
	uint8_t room[REMOTE_SEALED_MAX + 4];
	size_t length;

	for (unsigned how = 0; how < 4; how++) {
		remote_session_init(&world->session, &world->policy, world, world->now);
		prove(world);
		(void)lease(world, 0);
		length = remote_seal(&world->seal, &ping, sizeof(ping), room);
		if (how == 0)
			room[length - 1] ^= 1;
		if (how == 1)
			length = remote_seal(&world->seal, &ping, sizeof(ping), room); /* the first is lost */
		if (how == 2) {
			assert_true(say(world, room, length)); /* and again */
			assert_int_equal(hear_sealed(world), REMOTE_PONG);
		}
		if (how == 3)
			memset(room, 0xff, 4);
		assert_false(say(world, room, length));
		assert_true(!world->leased && world->sent == 0 && world->session.reason != NULL);
	}
	/* Sealed well, and nonsense. */
	remote_session_init(&world->session, &world->policy, world, world->now);
	prove(world);
	(void)lease(world, 0);
	assert_false(ask(world, 77, 0, 0, 0, 0));
	assert_true(!world->leased && world->sent == 0);
}

static void test_session_unproven(void **state)
{
	struct world *world = *state;
	struct remote_hello hello = {.magic = REMOTE_MAGIC, .version_min = 1, .version_max = 1};
	struct remote_challenge challenge;
	struct remote_proof proof = {.magic = REMOTE_MAGIC}, welcome;

	/* A wrong proof: told that, and nothing else. */
	assert_true(say(world, &hello, sizeof(hello)));
	hear(world, &challenge, sizeof(challenge));
	assert_false(say(world, &proof, sizeof(proof)));
	hear(world, &welcome, sizeof(welcome));
	assert_int_equal(welcome.error, EACCES);
	assert_true(sodium_is_zero(welcome.proof, sizeof(welcome.proof)) &&
		    sodium_is_zero(welcome.stream, sizeof(welcome.stream)) && world->sent == 0 && world->opens == 0);
	/* Not this protocol: nothing. */
	remote_session_init(&world->session, &world->policy, world, world->now);
	hello.magic++;
	assert_false(say(world, &hello, sizeof(hello)));
	assert_int_equal(world->sent, 0);
	hello.magic--;
	/* Another version, and too many: no nonce. */
	for (unsigned busy = 0; busy < 2; busy++) {
		world->policy.busy = busy != 0;
		hello.version_min = hello.version_max = busy ? 1 : 2;
		remote_session_init(&world->session, &world->policy, world, world->now);
		assert_false(say(world, &hello, sizeof(hello)));
		hear(world, &challenge, sizeof(challenge));
		assert_int_equal(challenge.error, busy ? EBUSY : EPROTONOSUPPORT);
		assert_true(sodium_is_zero(challenge.nonce, sizeof(challenge.nonce)) && world->sent == 0);
	}
}

static void test_session_times(void **state)
{
	struct world *world = *state;
	const struct remote_header ping = {.type = REMOTE_PING};
	struct remote_hello hello = {.magic = REMOTE_MAGIC, .version_min = 1, .version_max = 1};

	/* A hello gives no more time to prove. */
	world->now += REMOTE_PROOF_MS - 1;
	assert_true(say(world, &hello, sizeof(hello)));
	assert_true(remote_session_tick(&world->session, world->now));
	assert_int_equal(remote_session_wakeup(&world->session), world->now + 1);
	assert_false(remote_session_tick(&world->session, world->now + 1));
	world->sent = 0;
	remote_session_init(&world->session, &world->policy, world, world->now);
	prove(world);
	(void)lease(world, 0);
	world->now += 9999;
	assert_true(say_sealed(world, &ping, sizeof(ping)) && remote_session_tick(&world->session, world->now));
	world->now += 9999;
	/* Bytes that are no whole message are no heartbeat. */
	assert_true(say(world, "\40", 1));
	assert_true(world->leased && remote_session_tick(&world->session, world->now));
	assert_false(remote_session_tick(&world->session, world->now + 1));
	assert_false(world->leased);
	assert_int_equal(remote_session_wakeup(&world->session), UINT64_MAX);
}

static void test_session_recall(void **state)
{
	struct world *world = *state;
	const struct remote_header ping = {.type = REMOTE_PING};
	uint64_t number;

	prove(world);
	assert_true(remote_session_recall(&world->session, 100, world->now) && world->sent == 0);
	number = lease(world, REMOTE_OPEN_WRITE);
	assert_true(remote_session_recall(&world->session, 500, world->now));
	assert_int_equal(hear_sealed(world), REMOTE_RECALL);
	assert_int_equal(remote_session_wakeup(&world->session), world->now + 500);
	/* A second one may shorten it; a heartbeat does not lengthen it; a commit is still good. */
	assert_true(remote_session_recall(&world->session, 900, world->now));
	assert_true(remote_session_recall(&world->session, 300, world->now));
	assert_true(say_sealed(world, &ping, sizeof(ping)) && hear_sealed(world) == REMOTE_PONG);
	assert_true(ask(world, REMOTE_COMMIT, number, 4096, 1, 0) && done(world) == 0);
	assert_int_equal(remote_session_wakeup(&world->session), world->now + 300);
	world->now += 300;
	assert_true(world->leased && remote_session_tick(&world->session, world->now));
	assert_false(world->leased);
	assert_int_equal(hear_sealed(world), REMOTE_ENDED);
	/* The peer's CLOSE crosses it. */
	assert_true(ask(world, REMOTE_CLOSE, number, 0, 0, 0) && done(world) == ESTALE);
	/* One that answers. */
	number = lease(world, 0);
	assert_true(remote_session_recall(&world->session, 500, world->now) && hear_sealed(world) == REMOTE_RECALL);
	assert_true(ask(world, REMOTE_CLOSE, number, 0, 0, 0) && done(world) == 0);
	assert_true(remote_session_wakeup(&world->session) > world->now + 500);
	/* No time at all; and lost. */
	(void)lease(world, 0);
	assert_true(remote_session_recall(&world->session, 0, world->now) && !world->leased);
	assert_int_equal(hear_sealed(world), REMOTE_ENDED);
	(void)lease(world, 0);
	assert_true(remote_session_revoke(&world->session, EIO) && !world->leased);
	assert_int_equal(hear_sealed(world), REMOTE_ENDED);
	assert_int_equal(((const struct remote_header *)world->answer)->error, EIO);
	assert_int_equal(world->closes, 4);
}

/* A peer that does not read what it is sent, at each message: the lease is over with the session. */
static void test_session_deaf(void **state)
{
	struct world *world = *state;
	const struct remote_header ping = {.type = REMOTE_PING};

	for (unsigned when = 0; when < 4; when++) {
		world->sent = 0;
		world->send_error = 0;
		remote_session_init(&world->session, &world->policy, world, world->now);
		prove(world);
		if (when > 0)
			(void)lease(world, 0);
		world->send_error = -ENOBUFS;
		if (when == 0)
			assert_false(ask_open(world, 0, 1, 0));
		else if (when == 1)
			assert_false(say_sealed(world, &ping, sizeof(ping)));
		else if (when == 2)
			assert_false(remote_session_recall(&world->session, 10, world->now));
		else
			assert_false(remote_session_revoke(&world->session, 0));
		assert_false(world->leased);
	}
	world->send_error = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message_sizes),
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_grant),
		cmocka_unit_test(test_versions),
		cmocka_unit_test_setup_teardown(test_proof, setup, teardown),
		cmocka_unit_test(test_secret_file),
		cmocka_unit_test(test_sealed_sizes),
		cmocka_unit_test_setup_teardown(test_session, setup, teardown),
		cmocka_unit_test_setup_teardown(test_session_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_session_bytewise, setup, teardown),
		cmocka_unit_test_setup_teardown(test_session_tampered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_session_unproven, setup, teardown),
		cmocka_unit_test_setup_teardown(test_session_times, setup, teardown),
		cmocka_unit_test_setup_teardown(test_session_recall, setup, teardown),
		cmocka_unit_test_setup_teardown(test_session_deaf, setup, teardown),
	};

	return cmocka_run_group_tests_name("remote", tests, NULL, NULL);
}
