/* Sessions of the socket server: goodbye, the end of a socket, death, coming back. */
#include "ctl_world.h"

#include <grp.h>

/* A client process that has a pin, says so, and then does what `then` does, for ever. */
struct child {
	pid_t pid;
	int ready;
	int go;
};

static void say_ready(const struct order *order)
{
	(void)!write(order->ready, "r", 1);
}

static void pin_first(const struct order *order, struct peer *peer)
{
	struct world world = order->world;
	struct grant grant;
	int fd = order_open(order, 0, O_RDONLY);

	peer_open(peer, &world);
	if (pin_file(peer, fd, 0, BLOCK, WIRE_PIN_READ, WIRE_WORD_NONE, &grant) != 0)
		_exit(1);
	close(fd);
}

static void child_start(struct child *child, struct world *world, uint64_t ino, void (*body)(const struct order *order))
{
	struct order order;
	char byte;

	order_init(&order, world, body);
	order_file(&order, world, 0, ino);
	child->pid = order_start(&order, &child->ready, &child->go);
	assert_int_equal(read(child->ready, &byte, 1), 1);
}

static void child_kill(struct child *child)
{
	assert_int_equal(kill(child->pid, SIGKILL), 0);
	assert_int_equal(waitpid(child->pid, NULL, 0), child->pid);
	close(child->ready);
	close(child->go);
}

static void only_holds(const struct order *order)
{
	struct peer peer;

	pin_first(order, &peer);
	say_ready(order);
	wait_for_end();
}

static void test_killed(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct child child;

	file_fill(pool, ino, 0, BLOCK, 0x11);
	child_start(&child, world, ino, only_holds);
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), BLOCK);
	child_kill(&child);
	await_unpinned(world, ino);
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), 0);
	file_remove(pool, "file", ino);
}

static void lets_go_of_its_socket(const struct order *order)
{
	struct peer peer;

	pin_first(order, &peer);
	close(peer.fd);
	close(peer.events);
	say_ready(order);
	wait_for_end();
}

/* The end of the socket is not the end of the process: its blocks stay its own until that. */
static void test_end_of_socket(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct ctl_stats stats;
	struct child child;

	file_fill(pool, ino, 0, BLOCK, 0x11);
	child_start(&child, world, ino, lets_go_of_its_socket);
	do {
		ctl_get_stats(world->ctl, &stats);
		sched_yield();
	} while (stats.connections > 0);
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), BLOCK);
	child_kill(&child);
	await_unpinned(world, ino);
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), 0);
	file_remove(pool, "file", ino);
}

/* The process is dead although somebody else has its socket still. */
static void forks(const struct order *order)
{
	struct peer peer;
	char byte;

	pin_first(order, &peer);
	if (fork() == 0) {
		(void)!read(order->go, &byte, 1);
		_exit(0);
	}
	say_ready(order);
	wait_for_end();
}

static void test_socket_outlives_process(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct ctl_stats stats;
	struct child child;

	file_fill(pool, ino, 0, BLOCK, 0x11);
	child_start(&child, world, ino, forks);
	assert_int_equal(kill(child.pid, SIGKILL), 0);
	assert_int_equal(waitpid(child.pid, NULL, 0), child.pid);
	await_unpinned(world, ino);
	do {
		ctl_get_stats(world->ctl, &stats);
		sched_yield();
	} while (stats.connections > 0);
	close(child.ready);
	close(child.go);
	file_remove(pool, "file", ino);
}

/* ---- Goodbye ---- */

/* Said, and gone without waiting for an answer, with others unread: it is heard. */
static void test_goodbye_and_gone(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct wire_done goodbye;
	struct grant grant;
	struct peer peer;

	file_fill(pool, ino, 0, BLOCK, 0x11);
	for (unsigned round = 0; round < 50; round++) {
		peer_open(&peer, world);
		assert_int_equal(pin_ino(&peer, ino, 0, BLOCK, WIRE_PIN_READ, &grant), 0);
		for (unsigned i = 0; i < round; i++)
			(void)ask_range(&peer, WIRE_UNPIN, 4711, 0, 0);
		(void)ask(&peer, WIRE_GOODBYE, &goodbye, sizeof(goodbye), -1);
		peer_forget(&peer);
		await_unpinned(world, ino);
	}
	file_remove(pool, "file", ino);
}

static void says_goodbye(struct peer *waiter)
{
	(void)ask(waiter, WIRE_GOODBYE, &(struct wire_done){.header = {0}}, sizeof(struct wire_done), -1);
	for (;;) {
		struct packet packet;

		answer(waiter, &packet);
		if (header_of(&packet)->type == WIRE_DONE)
			break;
		/* The latter: a worker had begun it, and it had not come to wait. */
		if (header_of(&packet)->error != EINTR)
			assert_int_equal(header_of(&packet)->error, ESHUTDOWN);
	}
}

static void hangs_up(struct peer *waiter)
{
	close(waiter->fd);
	waiter->fd = -1;
}

/* Requests that wait are not waited for. */
static void end_while_waiting(struct world *world, void (*end)(struct peer *waiter))
{
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct peer holder, waiter;
	struct break_op op;
	struct grant grant;
	int fd;

	set_policy(pool->fs, PIN_FOREVER, true, 0);
	file_fill(pool, ino, 0, BLOCK, 0x11);
	peer_open(&holder, world);
	peer_open(&waiter, world);
	assert_int_equal(pin_ino(&holder, ino, 0, BLOCK, WIRE_PIN_READ, &grant), 0);
	assert_int_equal(break_begin(&op, pool->fs, ino, 0, 1), -EINPROGRESS);
	fd = stand_in(world, ino, O_RDONLY);
	for (unsigned i = 0; i < 100; i++)
		(void)ask_pin(&waiter, fd, 0, 1, WIRE_PIN_READ, WIRE_WORD_NONE);
	close(fd);
	/* Some wait in the filesystem, some for a worker. */
	while (pins_of(pool->fs).waiting < 10)
		sched_yield();
	end(&waiter);
	while (pins_of(pool->fs).waiting > 1)
		sched_yield();
	peer_close(&holder);
	event_await(&op.woken, 1);
	assert_int_equal(break_look(&op), 0);
	break_end(&op);
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), 0);
	if (waiter.fd < 0) {
		assert_int_equal(peer_reopen(&holder, &waiter, waiter.page_fd), 0);
		assert_int_equal(holder.welcome.pins, 0);
		peer_close(&holder);
	}
	peer_forget(&waiter);
	file_remove(pool, "file", ino);
}

static void test_goodbye_while_waiting(void **state)
{
	end_while_waiting(*state, says_goodbye);
}

static void test_end_while_waiting(void **state)
{
	end_while_waiting(*state, hangs_up);
}

/* ---- Coming back ---- */

/* Pins that the daemon has kept, each as it was. */
static void take_kept(struct peer *peer, uint32_t count, struct grant *grants)
{
	assert_true((peer->welcome.flags & WIRE_WELCOME_RECLAIMED) != 0);
	assert_int_equal(peer->welcome.pins, count);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(pinned(peer, 0, &grants[i]), 0);
}

static void test_reclaim(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct grant plain, cached, kept[2], other;
	struct peer peer, back, late;
	wire_word *word;
	struct stat a, b;
	int fd;

	file_fill(pool, ino, 0, 4 * BLOCK, 0x11);
	fd = stand_in(world, ino, O_RDWR);
	peer_open(&peer, world);
	assert_int_equal(pin_file(&peer, fd, 5, 3 * BLOCK, WIRE_PIN_WRITE, WIRE_WORD_NONE, &plain), 0);
	atomic_store(wire_word_at(peer.page, 3), 1);
	assert_int_equal(pin_file(&peer, fd, 0, 1, WIRE_PIN_CACHED, 3, &cached), 0);
	/* Without its own page there is no way back: the words would be others'. */
	assert_int_equal(peer_reopen(&back, &peer, -1), -EINVAL);
	peer_forget(&back);
	/* The old connection need not have ended: the daemon ends it. */
	assert_int_equal(peer_reopen(&back, &peer, peer.page_fd), 0);
	take_kept(&back, 2, kept);
	assert_false(receive(peer.fd, &(struct packet){.size = 0}));
	assert_int_equal(kept[0].pinned.pin + kept[1].pinned.pin, plain.pinned.pin + cached.pinned.pin);
	for (unsigned i = 0; i < 2; i++) {
		const struct grant *before = kept[i].pinned.pin == plain.pinned.pin ? &plain : &cached;

		assert_int_equal(kept[i].pinned.offset, before->pinned.offset);
		assert_int_equal(kept[i].pinned.length, before->pinned.length);
		assert_int_equal(kept[i].pinned.flags, before->pinned.flags);
		assert_int_equal(kept[i].pinned.word, before->pinned.word);
		assert_memory_equal(kept[i].extent, before->extent, before->count * sizeof(before->extent[0]));
	}
	assert_int_equal(fstat(peer.page_fd, &a), 0);
	assert_int_equal(fstat(back.page_fd, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(back.welcome.session, peer.welcome.session);
	assert_memory_equal(back.welcome.cookie, peer.welcome.cookie, WIRE_COOKIE_BYTES);
	/* The word is the pin's still. */
	assert_int_equal(pin_file(&back, fd, 0, 1, WIRE_PIN_CACHED, 3, &other), -EINVAL);
	/* Others' cookies are refused, and wrong pages. */
	peer_open(&late, world);
	close(back.fd);
	back.fd = -1;
	assert_int_equal(peer_reopen(&late, &back, late.page_fd), -EINVAL);
	peer_forget(&late);
	back.welcome.cookie[0] ^= 1;
	assert_int_equal(peer_reopen(&late, &back, back.page_fd), -ENOENT);
	peer_forget(&late);
	back.welcome.cookie[0] ^= 1;
	/* While it is away an idle pin is taken away through the page that it has not given back. */
	word = wire_word_at(peer.page, 3);
	atomic_store(word, 0);
	set_policy(pool->fs, PIN_FOREVER, true, 0);
	assert_int_equal(peer_reopen(&late, &back, back.page_fd), 0);
	take_kept(&late, 2, kept);
	assert_int_equal(unpin(&late, plain.pinned.pin), 0);
	await_unpinned(world, ino);
	assert_true((atomic_load(word) & WIRE_WORD_REVOKED) != 0);
	peer_close(&late);
	peer_forget(&back);
	peer_forget(&peer);
	close(fd);
	file_remove(pool, "file", ino);
}

/* Away, and its page still serves breaks; after its goodbye the cookie is worth nothing. */
static void test_away(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct ctl_stats stats;
	struct peer peer, back;
	struct grant grant;
	int fd;

	file_fill(pool, ino, 0, BLOCK, 0x11);
	fd = stand_in(world, ino, O_RDONLY);
	peer_open(&peer, world);
	atomic_store(wire_word_at(peer.page, 0), 1);
	assert_int_equal(pin_file(&peer, fd, 0, 1, WIRE_PIN_CACHED, 0, &grant), 0);
	close(peer.fd);
	peer.fd = -1;
	do {
		ctl_get_stats(world->ctl, &stats);
		sched_yield();
	} while (stats.connections > 0);
	atomic_store(wire_word_at(peer.page, 0), 0);
	await_unpinned(world, ino);
	assert_int_equal(atomic_load(wire_word_at(peer.page, 0)) & WIRE_WORD_REVOKED, WIRE_WORD_REVOKED);
	assert_int_equal(peer_reopen(&back, &peer, peer.page_fd), 0);
	assert_int_equal(back.welcome.pins, 0);
	peer_close(&back);
	assert_int_equal(peer_reopen(&back, &peer, peer.page_fd), -ENOENT);
	peer_forget(&back);
	peer_forget(&peer);
	close(fd);
	file_remove(pool, "file", ino);
}

/* ---- Another daemon ---- */

static void test_next_daemon(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct grant plain, cached, kept[2];
	struct wire_range word = {.offset = 9};
	struct peer peer, back;
	struct break_op op;
	int fd;

	file_fill(pool, ino, 0, 2 * BLOCK, 0x11);
	fd = stand_in(world, ino, O_RDONLY);
	peer_open(&peer, world);
	assert_int_equal(pin_file(&peer, fd, 0, BLOCK, WIRE_PIN_READ, WIRE_WORD_NONE, &plain), 0);
	atomic_store(wire_word_at(peer.page, 9), 1);
	assert_int_equal(pin_file(&peer, fd, BLOCK, BLOCK, WIRE_PIN_CACHED, 9, &cached), 0);
	world_stop(world);
	assert_false(receive(peer.fd, &(struct packet){.size = 0}));
	fs_forget(pool->fs, ino, 1);
	pool_remount(pool);
	world_start(world);
	ino = find(pool, ROOT, "file");
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), 2 * BLOCK);
	assert_int_equal(peer_reopen(&back, &peer, peer.page_fd), 0);
	take_kept(&back, 2, kept);
	assert_int_equal(back.parts, 1);
	assert_int_equal(kept[0].pinned.word, WIRE_WORD_NONE);
	assert_int_equal(kept[1].pinned.word, WIRE_WORD_NONE);
	/* The cached one gets its word again. */
	word.pin = plain.pinned.pin;
	assert_int_equal(done(&back, ask(&back, WIRE_WORD, &word, sizeof(word), -1)), -EINVAL);
	word.pin = 4711;
	assert_int_equal(done(&back, ask(&back, WIRE_WORD, &word, sizeof(word), -1)), -ENOENT);
	word.pin = cached.pinned.pin;
	word.offset = (1ull << 32) + 9;
	assert_int_equal(done(&back, ask(&back, WIRE_WORD, &word, sizeof(word), -1)), -EINVAL);
	word.offset = 9;
	assert_int_equal(done(&back, ask(&back, WIRE_WORD, &word, sizeof(word), -1)), 0);
	assert_int_equal(done(&back, ask(&back, WIRE_WORD, &word, sizeof(word), -1)), -EINVAL);
	atomic_store(wire_word_at(peer.page, 9), 0);
	set_policy(pool->fs, PIN_FOREVER, true, 0);
	assert_int_equal(break_begin(&op, pool->fs, ino, 1, 2), 0);
	break_end(&op);
	assert_true((atomic_load(wire_word_at(peer.page, 9)) & WIRE_WORD_REVOKED) != 0);
	peer_close(&back);
	peer_forget(&peer);
	close(fd);
	await_unpinned(world, ino);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
}

/* Whoever has died since is not waited for. */
static void test_next_daemon_after_death(void **state)
{
	struct world *world = *state;
	struct pool *pool = world->pool;
	uint64_t ino = file_make(pool, "file");
	struct child child;

	file_fill(pool, ino, 0, BLOCK, 0x11);
	child_start(&child, world, ino, only_holds);
	world_stop(world);
	child_kill(&child);
	fs_forget(pool->fs, ino, 1);
	pool_remount(pool);
	world_start(world);
	ino = find(pool, ROOT, "file");
	assert_int_equal(fs_pinned_bytes(pool->fs, ino), 0);
	assert_int_equal(ledger_of(pool->fs).sessions, 0);
	assert_int_equal(fs_unlink(pool->fs, ROOT, "file"), 0);
}

/* ---- Who may come in ---- */

/* As user 1234 of group 5678 exits with what connecting and HELLO say. 100: cannot connect at all. */
static void says_hello_as_other(const struct order *order)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct wire_hello hello;
	struct packet packet;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	if (setgroups(order->group != 0 ? 1 : 0, &order->group) != 0 || setgid(5678) != 0 || setuid(1234) != 0)
		_exit(101);
	strcpy(address.sun_path, order->world.socket);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		_exit(100);
	hello_fill(&hello);
	if (send_raw(fd, &hello, sizeof(hello), NULL, 0, 0) != 0 || !receive(fd, &packet))
		_exit(102);
	_exit(header_of(&packet)->error);
}

static int as_other(struct world *world, gid_t more)
{
	struct order order;
	int ready, go, status;
	pid_t pid;

	order_init(&order, world, says_hello_as_other);
	order.group = more;
	pid = order_start(&order, &ready, &go);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(ready);
	close(go);
	return WEXITSTATUS(status);
}

static void serve_again(struct world *world, enum ctl_access access, gid_t group)
{
	struct ctl_options options;

	world_stop(world);
	assert_int_equal(fs_pins_start(world->pool->fs), 0);
	world_options(world, &options);
	options.access = access;
	options.group = group;
	world_serve(world, &options);
	/* For those below: the folder of the test. */
	assert_int_equal(chmod(world->pool->folder, 0711), 0);
}

static void test_access(void **state)
{
	struct world *world = *state;

	if (geteuid() != 0)
		skip();
	serve_again(world, CTL_ACCESS_OWNER, 0);
	assert_int_equal(as_other(world, 0), 100);
	/* The folder and the socket are one door, what the kernel says of the peer is another. */
	assert_int_equal(chmod(world->socket, 0666), 0);
	serve_again(world, CTL_ACCESS_GROUP, 5679);
	assert_int_equal(as_other(world, 0), 100);
	assert_int_equal(as_other(world, 5679), 0);
	assert_int_equal(chmod(world->socket, 0666), 0);
	assert_int_equal(as_other(world, 0), EACCES);
	serve_again(world, CTL_ACCESS_GROUP, 5678);
	assert_int_equal(as_other(world, 0), 0);
	serve_again(world, CTL_ACCESS_ALL, 0);
	assert_int_equal(as_other(world, 0), 0);
}

/* ---- The socket's place ---- */

static void test_path(void **state)
{
	struct world *world = *state;
	struct ctl_options options;
	struct message why;
	struct ctl *ctl;
	uint8_t uuid[16];
	char path[300];
	struct stat st;
	int fd;

	pool_fill_uuid(uuid, 1);
	assert_int_equal(ctl_default_path(uuid, CTL_ACCESS_ALL, path, sizeof(path)), 0);
	assert_non_null(strstr(path, "01020304-0506-0708-090a-0b0c0d0e0f10.sock"));
	assert_int_equal(ctl_default_path(uuid, CTL_ACCESS_ALL, path, 10), -ENAMETOOLONG);
	assert_string_equal(ctl_path(world->ctl), world->socket);
	assert_int_equal(stat(world->socket, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	world_options(world, &options);
	/* What is no socket is not removed. */
	(void)snprintf(path, sizeof(path), "%s/ctl/other", world->pool->folder);
	options.path = path;
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(ctl_open(world->pool->fs, &options, &ctl, &why), -EEXIST);
	assert_non_null(strstr(why.text, path));
	assert_int_equal(stat(path, &st), 0);
	/* A folder that is a symlink, or others', is not used. */
	(void)snprintf(path, sizeof(path), "%s/ctl/link", world->pool->folder);
	assert_int_equal(symlink("/tmp", path), 0);
	strcat(path, "/socket");
	assert_true(ctl_open(world->pool->fs, &options, &ctl, &why) < 0);
	(void)snprintf(path, sizeof(path), "%s/ctl/wide", world->pool->folder);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(chmod(path, 0777), 0);
	strcat(path, "/socket");
	assert_int_equal(ctl_open(world->pool->fs, &options, &ctl, &why), -EPERM);
	memset(path, 'a', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = 0;
	assert_int_equal(ctl_open(world->pool->fs, &options, &ctl, &why), -ENAMETOOLONG);
	/* A dead daemon's socket is replaced; a stopped one's is gone. Opened and closed without a start. */
	(void)snprintf(path, sizeof(path), "%s/ctl/again", world->pool->folder);
	fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(ctl_open(world->pool->fs, &options, &ctl, &why), 0);
	assert_int_equal(stat(path, &st), 0);
	ctl_close(ctl);
	assert_int_equal(stat(path, &st), -1);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_killed),
		WITH_WORLD(test_end_of_socket),
		WITH_WORLD(test_socket_outlives_process),
		WITH_WORLD(test_goodbye_and_gone),
		WITH_WORLD(test_goodbye_while_waiting),
		WITH_WORLD(test_end_while_waiting),
		WITH_WORLD(test_reclaim),
		WITH_WORLD(test_away),
		WITH_WORLD(test_next_daemon),
		WITH_WORLD(test_next_daemon_after_death),
		WITH_WORLD(test_access),
		WITH_WORLD(test_path),
	};

	starter_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
