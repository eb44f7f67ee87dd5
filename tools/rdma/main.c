/* pinfs-rdma: reads and writes ranges of files that pinfs-rdma-serve lets others have. */
#include "options.h"
#include "transfer.h"

#include "../../src/daemon/size.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "pinfs-rdma"

static const char help_text[] =
	"pinfs-rdma - reads and writes files on another machine's pinfs mount by RDMA\n"
	"\n"
	"Usage:\n"
	"  pinfs-rdma get    --secret FILE [OPTION]... HOST[:PORT] NAME [LOCAL]\n"
	"  pinfs-rdma put    --secret FILE [OPTION]... HOST[:PORT] NAME [LOCAL]\n"
	"  pinfs-rdma stream --secret FILE [OPTION]... HOST[:PORT] NAME\n"
	"\n"
	"HOST runs pinfs-rdma-serve, which calls the file NAME. LOCAL is a file here; '-', or none: standard\n"
	"output of get, standard input of put. Bytes go straight into and out of the file's blocks; while they\n"
	"do, the range is pinned there.\n"
	"\n"
	"put ends with exit status 0 only when all of it is durable and visible there. Without --offset the\n"
	"file then has what LOCAL has and no more. stream writes what comes from standard input as it comes, and\n"
	"prints 'committed OFFSET' when the file is durable up to there.\n"
	"\n"
	"If somebody there truncates or frees the range, it is recalled: the transfer stops, with a message.\n"
	"What was not committed then may be there or not.\n"
	"\n"
	"Options:\n"
	"  -s, --secret FILE    the secret that the server has, too; readable by its owner alone\n"
	"  -o, --offset SIZE    where in the remote file to begin (default 0)\n"
	"  -l, --length SIZE    how much (default: to the end of the file that is read)\n"
	"  -q, --quiet          do not print how fast it was\n"
	"  -h, --help           this text\n"
	"  -V, --version        the version\n"
	"\n"
	"SIZE is bytes, or with K, M, G or T behind it.\n"
	"\n"
	"Exit status: 0, 1 failed, 2 wrong use.\n";

struct command {
	const char *name;
	int (*run)(struct transfer *transfer);
	int flags; /* of opening LOCAL */
	int standard; /* descriptor in its place */
	bool local; /* may be given */
};

static const struct command commands[] = {
	{"get", transfer_get, O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO, true},
	{"put", transfer_put, O_RDONLY, STDIN_FILENO, true},
	{"stream", transfer_stream, O_RDONLY, STDIN_FILENO, false},
};

struct arguments {
	const struct command *command;
	const char *secret;
	char *host;
	const char *name;
	const char *local; /* NULL: the standard one */
	uint64_t offset, length;
	bool has_offset, quiet;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int open_local(const struct arguments *arguments, struct transfer *transfer)
{
	transfer->local = arguments->local != NULL			  ? arguments->local
			  : arguments->command->standard == STDOUT_FILENO ? "standard output"
									  : "standard input";
	transfer->fd = arguments->command->standard;
	if (arguments->local == NULL)
		return 0;
	transfer->fd = open(arguments->local, arguments->command->flags | O_CLOEXEC, 0666);
	if (transfer->fd >= 0)
		return 0;
	log_error("%s: %s", arguments->local, strerror(errno));
	return -1;
}

static int transfer_all(const struct arguments *arguments, struct transfer *transfer)
{
	double start = now(), seconds;
	int error = open_local(arguments, transfer);

	if (error == 0)
		error = arguments->command->run(transfer);
	if (error == 0 && arguments->local != NULL && close(transfer->fd) != 0) {
		error = -errno;
		log_error("%s: %s", arguments->local, strerror(errno));
	}
	seconds = now() - start;
	if (error == 0 && !arguments->quiet)
		fprintf(stderr, "%s %" PRIu64 " bytes in %.3f s, %.0f MiB/s, provider %s\n", arguments->command->name,
			transfer->done, seconds, (double)transfer->done / seconds / (1 << 20),
			transfer->link->setup.provider);
	return error == 0 ? 0 : OPTIONS_FAILED;
}

static int run(const struct arguments *arguments, const char *host, uint16_t port)
{
	static struct link link; /* large */
	static struct data data;
	struct remote_secret secret;
	struct message message;
	struct transfer transfer = {
		.link = &link,
		.data = &data,
		.name = arguments->name,
		.offset = arguments->offset,
		.length = arguments->length,
		.whole = !arguments->has_offset,
	};
	int status = OPTIONS_FAILED;

	if (sodium_init() < 0 || remote_secret_load(arguments->secret, &secret, &message) != 0) {
		log_error("%s", message.text);
		return OPTIONS_FAILED;
	}
	if (link_connect(&link, host, port, &secret) != 0) {
		log_error("%s", link.message.text);
	} else if (data_init(&data, &link) != 0) {
		log_error("%s", link.message.text);
	} else {
		if (data_open(&data) != 0)
			log_error("%s", link.message.text);
		else
			status = transfer_all(arguments, &transfer);
		data_fini(&data);
	}
	link_close(&link);
	sodium_memzero(&secret, sizeof(secret));
	return status;
}

/* ---- The command line ---- */

static int take_option(struct arguments *arguments, int code, char **argv)
{
	switch (code) {
	case 's':
		arguments->secret = optarg;
		return 0;
	case 'o':
		arguments->has_offset = true;
		if (daemon_parse_size(optarg, &arguments->offset) != 0)
			return options_wrong(PROGRAM, "--offset '%s' is not a size", optarg);
		return 0;
	case 'l':
		if (daemon_parse_size(optarg, &arguments->length) != 0 || arguments->length == 0)
			return options_wrong(PROGRAM, "--length '%s' is not a size of at least 1", optarg);
		return 0;
	case 'q':
		arguments->quiet = true;
		return 0;
	default:
		return options_bad(PROGRAM, code, argv);
	}
}

static const struct option long_options[] = {
	{"secret", required_argument, NULL, 's'},
	{"offset", required_argument, NULL, 'o'},
	{"length", required_argument, NULL, 'l'},
	{"quiet", no_argument, NULL, 'q'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static int parse(struct arguments *arguments, int argc, char **argv)
{
	int code, status = 0, count;

	while (status == 0 && (code = getopt_long(argc, argv, ":s:o:l:qhV", long_options, NULL)) != -1) {
		if (code == 'h')
			exit(options_print(help_text));
		if (code == 'V')
			exit(options_print(PROGRAM " " PINFS_VERSION "\n"));
		status = take_option(arguments, code, argv);
	}
	count = argc - optind;
	if (status != 0)
		return status;
	for (size_t i = 0; count > 0 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[optind], commands[i].name) == 0)
			arguments->command = &commands[i];
	if (arguments->command == NULL)
		return options_wrong(PROGRAM, "the first argument is get, put or stream");
	if (count < 3 || count > 3 + arguments->command->local)
		return options_wrong(PROGRAM, "%s: HOST and NAME are wanted", arguments->command->name);
	if (arguments->secret == NULL)
		return options_wrong(PROGRAM, "--secret is missing");
	arguments->host = argv[optind + 1];
	arguments->name = argv[optind + 2];
	if (count == 4 && strcmp(argv[optind + 3], "-") != 0)
		arguments->local = argv[optind + 3];
	if (arguments->name[0] == '\0' || strlen(arguments->name) > REMOTE_NAME_MAX)
		return options_wrong(PROGRAM, "NAME is empty, or too long");
	return 0;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {.length = UINT64_MAX};
	const char *host;
	uint16_t port;
	int status = parse(&arguments, argc, argv);

	if (status != 0)
		return status;
	(void)signal(SIGPIPE, SIG_IGN);
	if (options_parse_host(arguments.host, &host, &port) != 0)
		return options_wrong(PROGRAM, "'%s' is no HOST[:PORT]", arguments.host);
	return run(&arguments, host, port);
}
