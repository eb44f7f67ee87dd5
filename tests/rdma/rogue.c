/*
 * A peer that knows the secret and does what it should not, for tests/mount/rdma.sh: pinfs-rdma-rogue MODE SECRET HOST
 * NAME.
 *
 * deaf: writes all over its lease, again and again, whatever the target says, until the connection breaks.
 * probe: tries tokens, keys and ranges that are not its own; exit status 0 if none is of use.
 */
#include "../../tools/rdma/data.h"

#include <errno.h>
#include <rdma/fi_rma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH (8ul << 20)

static struct link link;
static struct data data;
static struct remote_secret secret;

static void must(int error, const char *what)
{
	if (error == 0)
		return;
	fprintf(stderr, "rogue: %s: %s (%s)\n", what, strerror(-error), link.message.text);
	exit(1);
}

static void dial(const char *host)
{
	must(link_connect(&link, host, REMOTE_PORT, &secret), "connect");
	must(data_init(&data, &link), "memory");
	must(data_open(&data), "fabric");
}

static struct remote_grant *lease(const char *name)
{
	static _Alignas(8) uint8_t copy[REMOTE_MESSAGE_MAX];
	const struct remote_grant *grant;

	must(link_open(&link, name, REMOTE_OPEN_WRITE, 0, LENGTH, &grant), "open");
	memcpy(copy, grant, sizeof(*grant) + grant->count * sizeof(grant->piece[0]));
	return (struct remote_grant *)copy;
}

/* ---- deaf ---- */

static bool take_completion(unsigned *in_flight)
{
	struct fi_cq_entry entry;
	ssize_t got = fi_cq_read(data.fabric.cq, &entry, 1);

	if (got > 0)
		--*in_flight;
	return got > 0 || got == -FI_EAGAIN;
}

static int be_deaf(const char *name)
{
	struct remote_grant *grant = lease(name);
	unsigned in_flight = 0;
	uint64_t at = 0;

	must(data_connect(&data, grant), "fabric");
	memset(data.memory, 0xee, DATA_CHUNK);
	while (take_completion(&in_flight)) {
		ssize_t got;

		if (in_flight == DATA_SLOTS)
			continue;
		got = fi_write(data.endpoint, data.memory, DATA_CHUNK, NULL, 0, grant->piece[0].address + at,
			       grant->piece[0].key, NULL);
		if (got == -FI_EAGAIN)
			continue;
		if (got != 0)
			break;
		in_flight++;
		at = (at + DATA_CHUNK) % LENGTH;
	}
	printf("broken\n");
	return 0;
}

/* ---- probe ---- */

static int write_once(uint64_t offset, uint64_t key)
{
	struct data_slot *slot = data_free_slot(&data);
	int error;

	memset(slot->memory, 0xee, 4096);
	slot->offset = offset;
	slot->length = 4096;
	data.grant->piece[0].key = key;
	data.grant->piece[0].length = UINT64_MAX;
	error = data_begin(&data, slot, true);
	return error != 0 ? error : data_wait(&data, &slot);
}

/* With a connection of its own each: a target breaks one that asks for what is not its own. */
static int try_write(const char *host, const char *name, uint64_t offset, const uint64_t *key)
{
	const struct remote_grant *grant;
	int error;

	dial(host);
	grant = lease(name);
	must(data_connect(&data, grant), "fabric");
	error = write_once(offset, key != NULL ? *key : grant->piece[0].key);
	data_fini(&data);
	link_close(&link);
	return error;
}

static unsigned failures;

static void expect(bool good, const char *what)
{
	printf("%s %s\n", good ? "ok" : "not ok", what);
	failures += !good;
}

static int probe(const char *host, const char *name)
{
	struct remote_grant *grant;
	uint64_t key;

	expect(try_write(host, name, 4096, NULL) == 0, "what is leased can be written");
	expect(try_write(host, name, LENGTH - 4095, NULL) != 0, "over the end of a lease");
	expect(try_write(host, name, 1ul << 40, NULL) != 0, "far away");
	expect(try_write(host, name, (uint64_t)-8192, NULL) != 0, "before its begin");
	dial(host);
	grant = lease(name);
	key = grant->piece[0].key;
	grant->token[3] ^= 1;
	expect(data_connect(&data, grant) != 0, "a token that is not the lease's");
	must(link_end(&link, false, 0), "close");
	data_fini(&data);
	link_close(&link);
	expect(try_write(host, name, 0, &key) != 0, "the key of a lease that has ended");
	key = 0;
	expect(try_write(host, name, 0, &key) != 0, "a key that is none");
	dial(host);
	grant = lease(name);
	must(link_end(&link, false, 0), "close");
	expect(data_connect(&data, grant) != 0, "the token of a lease that has ended");
	return failures > 0;
}

int main(int argc, char **argv)
{
	struct message message;

	if (argc != 5 || sodium_init() < 0)
		return 2;
	if (remote_secret_load(argv[2], &secret, &message) != 0) {
		fprintf(stderr, "rogue: %s\n", message.text);
		return 1;
	}
	if (strcmp(argv[1], "probe") == 0)
		return probe(argv[3], argv[4]);
	dial(argv[3]);
	return be_deaf(argv[4]);
}
