/*
 * Target `remote`: peers that say anything to pinfs-rdma-serve's session, before and after they have proven themselves,
 * and servers that say anything to a peer. An input is a list of steps (steps.h). What must hold: a lease is begun only
 * by a proven peer, one at a time, and is over when the session is; commits are within it; nothing is said to the
 * unproven but a challenge and a refusal.
 */
#include "fuzz.h"
#include "remote/session.h"
#include "steps.h"

#include <errno.h>

enum what {
	WHAT_HELLO,
	WHAT_PROOF,
	WHAT_OPEN,
	WHAT_RANGE, /* COMMIT or CLOSE */
	WHAT_PING,
	WHAT_SEALED, /* `place` bytes of rubbish, sealed */
	WHAT_RUBBISH,
	WHAT_TIME,
	WHAT_RECALL,
	WHAT_REVOKE,
	WHAT_ANSWER, /* of a server: checked by the peer */
	WHATS,
};

/* Step.how */
#define HOW_SPOIL 1u /* a byte of the message at `place` becomes `kind` */
#define HOW_CUT 2u /* half of it only */
#define HOW_TWICE 4u
#define HOW_WRONG_SECRET 8u
#define HOW_FAIL 16u /* what the session calls fails */

static struct world {
	struct remote_secret secret;
	struct remote_policy policy;
	struct remote_session session;
	struct remote_seal seal;
	struct remote_hello hello;
	struct remote_challenge challenge;
	uint64_t now;
	uint64_t offset, length; /* of the lease */
	size_t sent;
	bool leased, fail, proven;
} world;

static uint8_t room[REMOTE_SEALED_MAX + 64];
static _Alignas(8) uint8_t message[REMOTE_MESSAGE_MAX];

static void must(bool good)
{
	if (!good)
		abort();
}

static int do_send(void *data, const void *bytes, size_t length)
{
	(void)data;
	if (world.fail)
		return -ENOBUFS;
	if (world.sent == 0 && length == sizeof(world.challenge))
		memcpy(&world.challenge, bytes, length);
	world.sent += length;
	must(world.proven || world.sent <= sizeof(struct remote_challenge) + sizeof(struct remote_proof));
	return 0;
}

static int do_open(void *data, const struct remote_open *open, struct remote_grant *ret_grant)
{
	(void)data;
	must(world.proven && !world.leased && open->length > 0 && open->length <= world.policy.length_max &&
	     open->offset <= INT64_MAX - open->length && open->name_length <= REMOTE_NAME_MAX);
	if (world.fail)
		return -ENOENT;
	ret_grant->offset = world.offset = open->offset;
	ret_grant->length = world.length = open->length % 7 == 0 ? 0 : open->length;
	ret_grant->count = ret_grant->length > 0;
	ret_grant->piece[0] = (struct remote_piece){.offset = open->offset, .length = ret_grant->length};
	world.leased = ret_grant->length > 0;
	return 0;
}

static int do_commit(void *data, uint64_t offset, uint64_t length)
{
	(void)data;
	must(world.leased && length > 0 && offset >= world.offset && length <= world.length &&
	     offset - world.offset <= world.length - length);
	return world.fail ? -ENOSPC : 0;
}

static void do_close(void *data)
{
	(void)data;
	must(world.leased);
	world.leased = false;
}

static int do_cut(void *data, uint64_t size)
{
	(void)data;
	must(world.proven && !world.leased && size >= world.offset);
	return 0;
}

static const struct remote_session_ops ops = {do_send, do_open, do_commit, do_close, do_cut};

static void begin(void)
{
	memset(&world, 0, sizeof(world));
	must(remote_secret_set(&world.secret, "a secret of the fuzzer", 22) == 0);
	world.policy = (struct remote_policy){
		.secret = &world.secret, .ops = &ops, .provider = "tcp", .length_max = 1u << 30, .lease_ms = 1000};
	remote_session_init(&world.session, &world.policy, &world, world.now);
}

static void say(const struct step *step, uint8_t *bytes, size_t length)
{
	if ((step->how & HOW_SPOIL) != 0 && length > 0)
		bytes[step->place % length] = step->kind;
	if ((step->how & HOW_CUT) != 0)
		length /= 2;
	for (unsigned i = 0; i < ((step->how & HOW_TWICE) != 0 ? 2u : 1u); i++)
		(void)remote_session_input(&world.session, bytes, length, world.now);
}

static void say_sealed(const struct step *step, const void *bytes, size_t length)
{
	say(step, room, remote_seal(&world.seal, bytes, length, room));
}

static void hello(const struct step *step)
{
	world.hello = (struct remote_hello){
		.magic = REMOTE_MAGIC, .version_min = (uint16_t)(step->a % 3), .version_max = (uint16_t)(step->b % 3)};
	memcpy(room, &world.hello, sizeof(world.hello));
	say(step, room, sizeof(world.hello));
}

static void prove(const struct step *step)
{
	struct remote_secret wrong = world.secret;
	struct remote_proof proof;

	wrong.key[0] ^= 1;
	remote_prove((step->how & HOW_WRONG_SECRET) != 0 ? &wrong : &world.secret, REMOTE_PEER, &world.hello,
		     &world.challenge, &world.seal, &proof);
	memcpy(room, &proof, sizeof(proof));
	if ((step->how & HOW_SPOIL) == 0 || room[step->place % sizeof(proof)] == step->kind)
		world.proven |= (step->how & (HOW_WRONG_SECRET | HOW_CUT)) == 0;
	say(step, room, sizeof(proof));
}

static void open_lease(const struct step *step)
{
	struct remote_open *open = (struct remote_open *)message;

	*open = (struct remote_open){.header = {.type = REMOTE_OPEN},
				     .offset = step->a,
				     .length = step->b,
				     .flags = step->kind,
				     .name_length = 4};
	memcpy(open->name, "file", 4);
	if (step->who > 128)
		open->name_length = step->place;
	say_sealed(step, open, sizeof(*open) + step->who % 5);
}

static void range(const struct step *step)
{
	/* Half of them in or about the lease, or where the last one was. */
	bool near = step->place % 2 == 0;
	const struct remote_range range = {
		.header = {.type = step->who % 2 == 0 ? REMOTE_COMMIT : REMOTE_CLOSE,
			   .lease = world.session.lease + step->who / 128},
		.offset = near ? world.offset + step->a % (world.length + 1) : step->a,
		.length = near ? step->b % (world.length + 2) : step->b,
		.flags = step->kind % 4,
	};

	say_sealed(step, &range, sizeof(range));
}

/* A peer believes no answer that points outside of itself. */
static void answer(const struct step *step)
{
	struct remote_grant *grant = (struct remote_grant *)message;
	size_t size = step->place % sizeof(message);
	volatile uint64_t sum = 0;

	memset(message, step->kind, sizeof(message));
	grant->header.type = REMOTE_SETUP + step->who % 8;
	grant->offset = step->a;
	grant->length = step->b;
	grant->count = step->how;
	memcpy(room, message, size);
	if (size < sizeof(*grant) || !remote_answer_valid(room, size) || grant->header.type != REMOTE_GRANT)
		return;
	must(sizeof(*grant) + grant->count * sizeof(grant->piece[0]) <= size);
	if (remote_grant_whole(grant))
		for (uint32_t i = 0; i < grant->count; i++)
			sum += grant->piece[i].offset;
}

static void take(const struct step *step)
{
	const struct remote_header ping = {.type = REMOTE_PING};

	world.fail = (step->how & HOW_FAIL) != 0;
	memset(message, step->kind, sizeof(message));
	switch (step->what % WHATS) {
	case WHAT_HELLO:
		hello(step);
		break;
	case WHAT_PROOF:
		prove(step);
		break;
	case WHAT_OPEN:
		open_lease(step);
		break;
	case WHAT_RANGE:
		range(step);
		break;
	case WHAT_PING:
		say_sealed(step, &ping, sizeof(ping));
		break;
	case WHAT_SEALED:
		((struct remote_header *)message)->type = step->who;
		say_sealed(step, message, step->place % (sizeof(message) + 1));
		break;
	case WHAT_RUBBISH:
		memcpy(message, step, sizeof(*step));
		say(step, message, step->place % sizeof(message));
		break;
	case WHAT_TIME:
		world.now += step->a % 2000;
		(void)remote_session_tick(&world.session, world.now);
		break;
	case WHAT_RECALL:
		(void)remote_session_recall(&world.session, (uint32_t)step->a, world.now);
		break;
	case WHAT_REVOKE:
		(void)remote_session_revoke(&world.session, step->kind);
		break;
	default:
		answer(step);
		break;
	}
	must(world.leased == remote_session_leased(&world.session));
	must(!world.leased || (world.proven && remote_session_wakeup(&world.session) < UINT64_MAX));
}

/* ---- Random numbers: the same for each input ---- */

static uint32_t random_state;

static const char *random_name(void)
{
	return "fuzz";
}

static uint32_t random_next(void)
{
	return random_state = random_state * 1664525u + 1013904223u;
}

static void random_bytes(void *const buffer, const size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)buffer)[i] = (uint8_t)(random_next() >> 24);
}

static struct randombytes_implementation random_source = {
	.implementation_name = random_name, .random = random_next, .buf = random_bytes};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet();
	return randombytes_set_implementation(&random_source) != 0 || sodium_init() < 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct step steps[STEPS_MAX];
	size_t count = steps_take(steps, data, size);

	random_state = 1;
	begin();
	for (size_t i = 0; i < count; i++)
		take(&steps[i]);
	remote_session_end(&world.session, "the input is over");
	must(!world.leased);
	return 0;
}
