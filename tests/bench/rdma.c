/*
 * Remote reads and writes of a pinned file, beside the same of anonymous memory. rdma MOUNTPOINT: between two
 * processes, by libfabric's tcp provider over the loopback.
 *
 * Steps: remote-write, remote-read (64 MiB, 1 MiB each, 8 in flight; system `raw`: anonymous memory of the target,
 * registered with the same domain, over the same connection), remote-write-4k, remote-read-4k (one at a time), put-4k
 * (4 KiB, and the target's pinfs_commit(), asked by a message; `raw`: without the commit), put-64m, register-4k,
 * register-64m (pin, register, and end; no peer), put-anew (put-4k with a pin and a registration of its own; `kept`:
 * with those that are there).
 */
#include "pins.h"

#include "../../tools/rdma/fabric.h"

#include <pinfs-rdma.h>
#include <poll.h>
#include <rdma/fi_rma.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define BYTES (64ul << 20)
#define CHUNK (1ul << 20)
#define FLIGHT 8u

/* What the initiator asks of the target, and is answered. */
struct request {
	char what; /* k the kept region, a anonymous memory, r register anew, c commit, e end, p: r and e, q quit */
	uint64_t length;
};

struct answer {
	uint64_t address, key, port;
	double seconds;
};

/* ---- The target ---- */

struct target {
	struct pinfs *fs;
	struct fabric fabric;
	struct fid_pep *listener;
	struct fid_ep *endpoint;
	struct pinfs_rdma *kept, *anew;
	struct fid_mr *raw;
	unsigned char *memory;
	int file, socket;
};

static void check_fabric(ssize_t result, const char *what)
{
	if (result < 0)
		errx(1, "%s: %s", what, fi_strerror((int)-result));
}

static void accept_one(struct target *target)
{
	_Alignas(8) unsigned char room[sizeof(struct fi_eq_cm_entry) + 64];
	struct fi_eq_cm_entry *entry = (struct fi_eq_cm_entry *)room;
	uint32_t event;

	check_fabric(fi_eq_sread(target->fabric.eq, &event, room, sizeof(room), 10000, 0), "connection request");
	if (fabric_endpoint(&target->fabric, entry->info, &target->endpoint) != 0)
		errx(1, "endpoint");
	check_fabric(fi_accept(target->endpoint, NULL, 0), "accept");
	fi_freeinfo(entry->info);
}

static struct pinfs_rdma *lease(struct target *target, size_t length)
{
	struct pinfs_rdma *region;

	pins_check(pinfs_rdma_register(target->fs, target->fabric.domain, target->fabric.info, target->file, 0, length,
				       PINFS_WRITE, &region),
		   "pin and register");
	return region;
}

static void fill_answer(struct pinfs_rdma *region, struct answer *answer)
{
	const struct pinfs_rdma_piece *pieces;
	size_t count;

	pinfs_rdma_pieces(region, &pieces, &count);
	answer->address = pieces[0].address;
	answer->key = pieces[0].key;
}

static void do_request(struct target *target, const struct request *request, struct answer *answer)
{
	double start = timing_now();

	switch (request->what) {
	case 'k':
		fill_answer(target->kept, answer);
		break;
	case 'a':
		answer->key = fi_mr_key(target->raw);
		break;
	case 'r':
		target->anew = lease(target, request->length);
		fill_answer(target->anew, answer);
		break;
	case 'c':
		pins_check(pinfs_commit(pinfs_rdma_pin(target->anew != NULL ? target->anew : target->kept), 0,
					request->length),
			   "commit");
		break;
	case 'e':
		pins_check(pinfs_rdma_end(target->anew), "end");
		target->anew = NULL;
		break;
	case 'p':
		pins_check(pinfs_rdma_end(lease(target, request->length)), "end");
		break;
	default:
		break;
	}
	answer->seconds = timing_now() - start;
}

static void serve(struct target *target)
{
	struct request request = {.what = 0};

	while (request.what != 'q') {
		struct pollfd fds[] = {{.fd = target->socket, .events = POLLIN},
				       {.fd = target->fabric.eq_fd, .events = POLLIN},
				       {.fd = target->fabric.cq_fd, .events = POLLIN}};
		struct answer answer = {0};
		struct fi_cq_entry entry;

		(void)fi_cq_read(target->fabric.cq, &entry, 1);
		if (poll(fds, 3, fabric_idle(&target->fabric) ? -1 : 0) < 0)
			err(1, "poll");
		if (fds[0].revents == 0)
			continue;
		if (recv(target->socket, &request, sizeof(request), 0) != (ssize_t)sizeof(request))
			return;
		do_request(target, &request, &answer);
		if (send(target->socket, &answer, sizeof(answer), MSG_NOSIGNAL) != (ssize_t)sizeof(answer))
			return;
	}
}

static void be_target(const char *mount, int socket)
{
	struct target target = {.socket = socket};
	struct sockaddr_storage address;
	size_t length = sizeof(address);
	struct message message;
	struct answer answer = {0};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	target.file = pins_file(mount, "rdma", BYTES);
	target.memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (target.memory == MAP_FAILED)
		err(1, "memory");
	memset(target.memory, 1, BYTES);
	pins_check(pinfs_connect(mount, &target.fs), "connect");
	if (fabric_open(&target.fabric, "tcp", "127.0.0.1", 0, &message) != 0)
		errx(1, "%s", message.text);
	check_fabric(fi_mr_reg(target.fabric.domain, target.memory, BYTES, FI_REMOTE_READ | FI_REMOTE_WRITE, 0, 77, 0,
			       &target.raw, NULL),
		     "register");
	target.kept = lease(&target, BYTES);
	check_fabric(fi_passive_ep(target.fabric.fabric, target.fabric.info, &target.listener, NULL), "listener");
	check_fabric(fi_pep_bind(target.listener, &target.fabric.eq->fid, 0), "listener");
	check_fabric(fi_listen(target.listener), "listen");
	check_fabric(fi_getname(&target.listener->fid, &address, &length), "port");
	answer.port = (uint64_t)((unsigned char *)&address)[2] << 8 | ((unsigned char *)&address)[3];
	if (send(socket, &answer, sizeof(answer), 0) != (ssize_t)sizeof(answer))
		err(1, "socket");
	accept_one(&target);
	serve(&target);
	(void)fi_close(&target.endpoint->fid);
	pins_check(pinfs_rdma_end(target.kept), "end");
	pinfs_disconnect(target.fs);
	pins_remove(mount, "rdma", target.file);
	exit(0);
}

/* ---- The initiator ---- */

struct initiator {
	struct fabric fabric;
	struct fid_ep *endpoint;
	unsigned char *memory;
	int socket;
};

static struct answer ask(const struct initiator *initiator, char what, uint64_t length)
{
	const struct request request = {.what = what, .length = length};
	struct answer answer;

	if (send(initiator->socket, &request, sizeof(request), MSG_NOSIGNAL) != (ssize_t)sizeof(request) ||
	    recv(initiator->socket, &answer, sizeof(answer), 0) != (ssize_t)sizeof(answer))
		err(1, "target");
	return answer;
}

static void connect_target(struct initiator *initiator)
{
	_Alignas(8) unsigned char room[sizeof(struct fi_eq_cm_entry) + 64];
	struct message message;
	struct answer answer;
	uint32_t event = 0;

	if (recv(initiator->socket, &answer, sizeof(answer), 0) != (ssize_t)sizeof(answer))
		errx(1, "the target has ended");
	if (fabric_open(&initiator->fabric, "tcp", "127.0.0.1", (uint16_t)answer.port, &message) != 0)
		errx(1, "%s", message.text);
	if (fabric_endpoint(&initiator->fabric, NULL, &initiator->endpoint) != 0)
		errx(1, "endpoint");
	check_fabric(fi_connect(initiator->endpoint, initiator->fabric.info->dest_addr, NULL, 0), "connect");
	check_fabric(fi_eq_sread(initiator->fabric.eq, &event, room, sizeof(room), 10000, 0), "connect");
	if (event != FI_CONNECTED)
		errx(1, "not connected");
}

static void take_one(struct initiator *initiator)
{
	struct fi_cq_entry entry;
	ssize_t got;

	do {
		got = fi_cq_read(initiator->fabric.cq, &entry, 1);
	} while (got == -FI_EAGAIN);
	check_fabric(got, "completion");
}

/* `bytes` in operations of `chunk`, at most `flight` at a time, all of them delivered. */
static void transfer(struct initiator *initiator, bool write, const struct answer *where, uint64_t bytes,
		     uint64_t chunk, unsigned flight)
{
	unsigned in_flight = 0;

	for (uint64_t at = 0; at < bytes;) {
		struct iovec iov = {.iov_base = initiator->memory + at % (FLIGHT * CHUNK), .iov_len = chunk};
		struct fi_rma_iov remote = {.addr = where->address + at, .len = chunk, .key = where->key};
		struct fi_msg_rma message = {.msg_iov = &iov, .iov_count = 1, .rma_iov = &remote, .rma_iov_count = 1};
		ssize_t got = -FI_EAGAIN;

		if (in_flight < flight)
			got = write ? fi_writemsg(initiator->endpoint, &message, FI_COMPLETION | FI_DELIVERY_COMPLETE)
				    : fi_readmsg(initiator->endpoint, &message, FI_COMPLETION);
		if (got == 0) {
			in_flight++;
			at += chunk;
			continue;
		}
		if (got != -FI_EAGAIN)
			check_fabric(got, "transfer");
		take_one(initiator);
		in_flight--;
	}
	for (; in_flight > 0; in_flight--)
		take_one(initiator);
}

struct kind {
	const char *name;
	bool write;
	uint64_t bytes, chunk;
	unsigned turns;
	bool commit;
};

/* In turns with the peer; the median of each. */
static void in_turns(struct initiator *initiator, const struct kind *kind, const struct answer where[2])
{
	static const char *const systems[] = {"-", "raw"};
	double values[2][LAPS_MAX];
	unsigned turns = 0;
	double end = timing_now() + 2 * timing_goal();

	while (turns < kind->turns && (turns < 3 || timing_now() < end)) {
		for (unsigned i = 0; i < 2; i++) {
			unsigned which = (i + turns) % 2;
			double start = timing_now();

			transfer(initiator, kind->write, &where[which], kind->bytes, kind->chunk, FLIGHT);
			if (kind->commit && which == 0)
				(void)ask(initiator, 'c', kind->bytes);
			values[which][turns] = timing_now() - start;
		}
		turns++;
	}
	for (unsigned i = 0; i < 2; i++)
		step_print(kind->name, systems[i], 1, (double)kind->bytes, timing_median(values[i], turns));
}

static void measure_registration(struct initiator *initiator, const char *name, uint64_t length)
{
	double values[LAPS_MAX];
	double end = timing_now() + timing_goal();
	unsigned turns = 0;

	while (turns < LAPS_MAX && (turns < 3 || timing_now() < end))
		values[turns++] = ask(initiator, 'p', length).seconds;
	step_print(name, "-", 1, 0, timing_median(values, turns));
}

/* 4 KiB, durable: with a pin and a registration made for it, and with the kept ones. */
static void measure_anew(struct initiator *initiator, const struct answer *kept)
{
	double values[2][LAPS_MAX];
	double end = timing_now() + 2 * timing_goal();
	unsigned turns = 0;

	while (turns < LAPS_MAX && (turns < 3 || timing_now() < end)) {
		double start = timing_now(), middle;
		struct answer anew = ask(initiator, 'r', 4096);

		transfer(initiator, true, &anew, 4096, 4096, 1);
		(void)ask(initiator, 'c', 4096);
		(void)ask(initiator, 'e', 0);
		middle = timing_now();
		transfer(initiator, true, kept, 4096, 4096, 1);
		(void)ask(initiator, 'c', 4096);
		values[0][turns] = middle - start;
		values[1][turns++] = timing_now() - middle;
	}
	step_print("put-anew", "-", 1, 4096, timing_median(values[0], turns));
	step_print("put-anew", "kept", 1, 4096, timing_median(values[1], turns));
}

static void measure(struct initiator *initiator)
{
	static const struct kind kinds[] = {
		{"remote-write", true, BYTES, CHUNK, 256, false},   {"remote-read", false, BYTES, CHUNK, 256, false},
		{"remote-write-4k", true, 4096, 4096, 8192, false}, {"remote-read-4k", false, 4096, 4096, 8192, false},
		{"put-4k", true, 4096, 4096, 8192, true},	    {"put-64m", true, BYTES, CHUNK, 256, true},
	};
	const struct answer where[2] = {ask(initiator, 'k', 0), ask(initiator, 'a', 0)};

	for (unsigned i = 0; i < 2; i++)
		transfer(initiator, true, &where[i], BYTES, CHUNK, FLIGHT);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		in_turns(initiator, &kinds[i], where);
	measure_registration(initiator, "register-4k", 4096);
	measure_registration(initiator, "register-64m", BYTES);
	measure_anew(initiator, &where[0]);
}

int main(int argc, char **argv)
{
	struct initiator initiator = {.memory = NULL};
	int sockets[2], status;
	pid_t target;

	if (argc != 2) {
		fprintf(stderr, "usage: rdma MOUNTPOINT\n");
		return 2;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
		err(1, "socketpair");
	target = fork();
	if (target == 0)
		be_target(argv[1], sockets[1]);
	(void)close(sockets[1]);
	initiator.socket = sockets[0];
	initiator.memory = calloc(FLIGHT, CHUNK);
	if (target < 0 || initiator.memory == NULL)
		err(1, "start");
	connect_target(&initiator);
	measure(&initiator);
	(void)ask(&initiator, 'q', 0);
	if (waitpid(target, &status, 0) != target || status != 0)
		errx(1, "the target failed");
	(void)fi_close(&initiator.endpoint->fid);
	fabric_close(&initiator.fabric);
	free(initiator.memory);
	return 0;
}
