/* pinfs-rdma-serve: lets other machines read and write files of a mount by RDMA. Each peer has a process of its own. */
#include "options.h"
#include "peer.h"

#include "../../src/daemon/size.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "pinfs-rdma-serve"
#define SLOTS 96u
#define PEERS_MAX 64u
#define UNPROVEN_MAX 32u /* connections that have not proven themselves yet: more are closed at once */
#define LISTENERS_MAX 8u

static const char help_text[] =
	"pinfs-rdma-serve - lets other machines read and write files of a pinfs mount by RDMA\n"
	"\n"
	"Usage: pinfs-rdma-serve --secret FILE [OPTION]... [NAME=]PATH...\n"
	"\n"
	"Each PATH is a file on a pinfs mount. Peers (pinfs-rdma) know it by NAME, or by the last part of its\n"
	"path, and read it; those after --write they write, too. While a peer has a range it is pinned. A\n"
	"truncate recalls it: the peer is told, its access ends, then the range is unpinned. The same happens\n"
	"when a peer dies or is silent.\n"
	"\n"
	"Options:\n"
	"  -s, --secret FILE        the secret that peers must know; readable by its owner alone\n"
	"  -w, --write [NAME=]PATH  a file that peers may write\n"
	"  -a, --listen HOST[:PORT] where peers connect (default: everywhere, port 7436)\n"
	"  -p, --provider NAME      of libfabric: tcp (the default) or verbs\n"
	"  -t, --lease SECONDS      who is silent for so long has lost its lease (default 10)\n"
	"  -m, --max SIZE           the longest range of one lease (default 1G)\n"
	"  -n, --peers N            at once (default 16, at most 64)\n"
	"  -h, --help               this text\n"
	"  -V, --version            the version\n"
	"\n"
	"Prints 'ready' and the port when peers can connect. Runs until SIGTERM or SIGINT, which end all leases.\n"
	"\n"
	"Example:\n"
	"  (umask 077; openssl rand -base64 32 >/etc/pinfs-rdma.secret)\n"
	"  pinfs-rdma-serve -s /etc/pinfs-rdma.secret --write log=/mnt/pin/log /mnt/pin/model\n"
	"\n"
	"Exit status: 0, 1 failed, 2 wrong use.\n";

struct server {
	struct remote_secret secret;
	struct remote_policy policy;
	struct lease_config config;
	struct lease_export *exports;
	const char *secret_path;
	const char *host; /* NULL: everywhere */
	uint16_t port;
	unsigned peers;
	int listeners[LISTENERS_MAX];
	unsigned listener_count;
	pid_t child[SLOTS]; /* 0: free */
	atomic_uchar *proven; /* [SLOTS], shared with the children */
	sigset_t before; /* signals as they were */
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	if (number != SIGCHLD)
		ended = 1;
}

/* ---- Children ---- */

static void reap(struct server *server)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		for (unsigned i = 0; i < SLOTS; i++)
			if (server->child[i] == pid)
				server->child[i] = 0;
}

static void count_children(const struct server *server, unsigned *ret_proven, unsigned *ret_unproven)
{
	*ret_proven = *ret_unproven = 0;
	for (unsigned i = 0; i < SLOTS; i++) {
		if (server->child[i] == 0)
			continue;
		if (atomic_load(&server->proven[i]) != 0)
			++*ret_proven;
		else
			++*ret_unproven;
	}
}

static void run_child(struct server *server, unsigned slot, int fd, pid_t parent)
{
	/* A server that is killed takes its peers with it; that may have happened already. */
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1);
	for (unsigned i = 0; i < server->listener_count; i++)
		(void)close(server->listeners[i]);
	peer_serve(fd, &server->policy, &server->config, &server->proven[slot]);
	_exit(0);
}

static void take_peer(struct server *server, int fd)
{
	unsigned slot = 0, proven, unproven;
	pid_t parent = getpid();

	reap(server);
	count_children(server, &proven, &unproven);
	while (slot < SLOTS && server->child[slot] != 0)
		slot++;
	if (slot < SLOTS && unproven < UNPROVEN_MAX) {
		server->policy.busy = proven >= server->peers;
		atomic_store(&server->proven[slot], 0);
		server->child[slot] = fork();
		if (server->child[slot] == 0)
			run_child(server, slot, fd, parent);
		if (server->child[slot] < 0) {
			log_error("a peer cannot be served: %s", strerror(errno));
			server->child[slot] = 0;
		}
	}
	(void)close(fd);
}

static void end_children(struct server *server)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (server->child[i] != 0)
			(void)kill(server->child[i], SIGTERM);
	for (unsigned i = 0; i < SLOTS; i++)
		if (server->child[i] != 0)
			(void)waitpid(server->child[i], NULL, 0);
}

/* ---- Start ---- */

/* Says early what would fail at each peer. In a process of its own: libraries that have been used do not like to fork.
 */
static int try_exports(const struct server *server)
{
	for (size_t i = 0; i < server->config.export_count; i++) {
		const struct lease_export *export = &server->exports[i];
		struct pinfs *fs;
		int error, fd;

		fd = open(export->path, (export->write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
		error = fd < 0 ? -errno : pinfs_connect(export->path, &fs);
		if (fd >= 0)
			(void)close(fd);
		if (error != 0) {
			log_error("%s: %s", export->path,
				  error == -ENODEV   ? "is not on a pinfs mount"
				  : error == -EACCES ? "you may not pin there, or open it"
						     : strerror(-error));
			return OPTIONS_FAILED;
		}
		pinfs_disconnect(fs);
	}
	return 0;
}

static int try_fabric(const struct server *server)
{
	struct message message = {.text = ""};
	struct fabric fabric;

	/* Where a peer will reach us is known when it does. */
	if (fabric_open(&fabric, server->config.provider, server->host, 0, &message) != 0) {
		log_error("%s", message.text);
		return OPTIONS_FAILED;
	}
	fabric_close(&fabric);
	return 0;
}

static int try_all(const struct server *server)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(try_exports(server) != 0 || try_fabric(server) != 0 ? OPTIONS_FAILED : 0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		log_error("cannot start: %s", strerror(errno));
		return OPTIONS_FAILED;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : OPTIONS_FAILED;
}

static int listen_at(struct server *server, const struct addrinfo *address)
{
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int one = 1;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (address->ai_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, 64) != 0) {
		int error = -errno;

		(void)close(fd);
		return error;
	}
	server->listeners[server->listener_count++] = fd;
	return 0;
}

static int start_listening(struct server *server)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *addresses;
	char service[8];
	int error, last = 0;

	(void)snprintf(service, sizeof(service), "%u", server->port);
	error = getaddrinfo(server->host, service, &hints, &addresses);
	if (error != 0) {
		log_error("%s: %s", server->host != NULL ? server->host : "*", gai_strerror(error));
		return OPTIONS_FAILED;
	}
	for (const struct addrinfo *at = addresses; at != NULL && server->listener_count < LISTENERS_MAX;
	     at = at->ai_next) {
		error = listen_at(server, at);
		last = error != 0 ? error : last;
	}
	freeaddrinfo(addresses);
	if (server->listener_count > 0)
		return 0;
	log_error("%s: port %u: cannot listen: %s", server->host != NULL ? server->host : "*", server->port,
		  strerror(-last));
	return OPTIONS_FAILED;
}

static int set_signals(struct server *server)
{
	struct sigaction action = {.sa_handler = on_signal};
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGCHLD);
	(void)signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, &server->before) != 0 || sigaction(SIGTERM, &action, NULL) != 0 ||
	    sigaction(SIGINT, &action, NULL) != 0 || sigaction(SIGCHLD, &action, NULL) != 0)
		return -errno;
	return 0;
}

static void run(struct server *server)
{
	struct pollfd fds[LISTENERS_MAX];

	while (!ended) {
		for (unsigned i = 0; i < server->listener_count; i++)
			fds[i] = (struct pollfd){.fd = server->listeners[i], .events = POLLIN};
		if (ppoll(fds, server->listener_count, NULL, &server->before) <= 0) {
			reap(server);
			continue;
		}
		for (unsigned i = 0; i < server->listener_count; i++) {
			int fd =
				fds[i].revents == 0 ? -1 : accept4(fds[i].fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

			if (fd >= 0)
				take_peer(server, fd);
			else if (fds[i].revents != 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
				(void)poll(NULL, 0, 100); /* not a busy loop, until there is room again */
		}
	}
	end_children(server);
}

static int serve(struct server *server)
{
	struct message message;
	int status;

	if (sodium_init() < 0) {
		log_error("libsodium cannot be used");
		return OPTIONS_FAILED;
	}
	if (remote_secret_load(server->secret_path, &server->secret, &message) != 0) {
		log_error("%s", message.text);
		return OPTIONS_FAILED;
	}
	server->proven = mmap(NULL, SLOTS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (server->proven == MAP_FAILED || set_signals(server) != 0) {
		log_error("cannot start: %s", strerror(errno));
		return OPTIONS_FAILED;
	}
	status = try_all(server);
	if (status == 0)
		status = start_listening(server);
	if (status != 0)
		return status;
	printf("ready %u\n", server->port);
	(void)fflush(stdout);
	run(server);
	return 0;
}

/* ---- The command line ---- */

static int add_export(struct server *server, char *text, bool write)
{
	struct lease_export *export = &server->exports[server->config.export_count];
	char *equals = strchr(text, '=');
	char *slash = strchr(text, '/');

	export->write = write;
	export->path = text;
	if (equals != NULL && (slash == NULL || equals < slash)) {
		*equals = '\0';
		export->name = text;
		export->path = equals + 1;
	} else {
		slash = strrchr(text, '/');
		export->name = slash != NULL ? slash + 1 : text;
	}
	if (export->name[0] == '\0' || strlen(export->name) > REMOTE_NAME_MAX || export->path[0] == '\0')
		return options_wrong(PROGRAM, "'%s' is no [NAME=]PATH of a file", text);
	for (size_t i = 0; i < server->config.export_count; i++)
		if (strcmp(server->exports[i].name, export->name) == 0)
			return options_wrong(PROGRAM, "there are two files of the name '%s'", export->name);
	server->config.export_count++;
	return 0;
}

static int parse_number(const char *what, const char *text, unsigned long least, unsigned long most, unsigned *ret)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end != '\0' || value < least || value > most)
		return options_wrong(PROGRAM, "%s '%s' is not a number from %lu to %lu", what, text, least, most);
	*ret = (unsigned)value;
	return 0;
}

static int parse_lease(struct server *server, const char *text)
{
	uint64_t ms;

	if (daemon_parse_seconds(text, &ms) != 0 || ms < 100 || ms > 3600000)
		return options_wrong(PROGRAM, "--lease '%s' is not a number of seconds, from 0.1 to 3600", text);
	server->policy.lease_ms = (uint32_t)ms;
	return 0;
}

static int take_option(struct server *server, int code, char **argv)
{
	switch (code) {
	case 's':
		server->secret_path = optarg;
		return 0;
	case 'w':
		return add_export(server, optarg, true);
	case 'a':
		if (options_parse_host(optarg, &server->host, &server->port) != 0)
			return options_wrong(PROGRAM, "--listen '%s' is no HOST[:PORT]", optarg);
		return 0;
	case 'p':
		if (strcmp(optarg, "tcp") != 0 && strcmp(optarg, "verbs") != 0)
			return options_wrong(PROGRAM,
					     "--provider '%s': tcp and verbs can be used: others do not let the "
					     "target end a peer's access",
					     optarg);
		server->config.provider = optarg;
		return 0;
	case 't':
		return parse_lease(server, optarg);
	case 'm':
		if (daemon_parse_size(optarg, &server->policy.length_max) != 0 || server->policy.length_max < 4096)
			return options_wrong(PROGRAM, "--max '%s' is not a size of at least 4K", optarg);
		return 0;
	case 'n':
		return parse_number("--peers", optarg, 1, PEERS_MAX, &server->peers);
	default:
		return options_bad(PROGRAM, code, argv);
	}
}

static const struct option long_options[] = {
	{"secret", required_argument, NULL, 's'}, {"write", required_argument, NULL, 'w'},
	{"listen", required_argument, NULL, 'a'}, {"provider", required_argument, NULL, 'p'},
	{"lease", required_argument, NULL, 't'},  {"max", required_argument, NULL, 'm'},
	{"peers", required_argument, NULL, 'n'},  {"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},	  {NULL, 0, NULL, 0},
};

static int parse(struct server *server, int argc, char **argv)
{
	int code, status = 0;

	while (status == 0 && (code = getopt_long(argc, argv, ":s:w:a:p:t:m:n:hV", long_options, NULL)) != -1) {
		if (code == 'h')
			exit(options_print(help_text));
		if (code == 'V')
			exit(options_print(PROGRAM " " PINFS_VERSION "\n"));
		status = take_option(server, code, argv);
	}
	for (; status == 0 && optind < argc; optind++)
		status = add_export(server, argv[optind], false);
	if (status == 0 && server->secret_path == NULL)
		status = options_wrong(PROGRAM, "--secret is missing");
	if (status == 0 && server->config.export_count == 0)
		status = options_wrong(PROGRAM, "there is no file to serve");
	return status;
}

int main(int argc, char **argv)
{
	static struct server server = {
		.port = REMOTE_PORT,
		.peers = 16,
		.policy = {.lease_ms = 10000, .length_max = 1u << 30, .provider = "tcp"},
		.config = {.provider = "tcp"},
	};
	int status;

	server.exports = calloc((size_t)argc + 1, sizeof(server.exports[0]));
	if (server.exports == NULL) {
		log_error("no memory");
		return OPTIONS_FAILED;
	}
	server.config.exports = server.exports;
	server.policy.secret = &server.secret;
	status = parse(&server, argc, argv);
	server.policy.provider = server.config.provider;
	if (status == 0)
		status = serve(&server);
	free(server.exports);
	return status;
}
