/* pinfs mount, and mount.fuse.pinfs as mount(8) calls it. */
#include "tool.h"

#include "base/log.h"
#include "daemon/daemon.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help_text[] =
	"pinfs mount - mounts a pool\n"
	"\n"
	"Usage: pinfs mount [-f] [-o OPTION,...] META MOUNTPOINT\n"
	"\n"
	"Returns when the mount answers; a daemon serves it until it is unmounted with umount(8),\n"
	"'fusermount3 -u MOUNTPOINT', or SIGTERM to the daemon. Without root it mounts through fusermount3.\n"
	"\n"
	"Options:\n"
	"  -f, --foreground  stay in the foreground; messages go to standard error\n"
	"  -o OPTION,...     mount options, repeatable:\n"
	"     ro                       read-only\n"
	"     cache=auto               the kernel caches, and writes through (default)\n"
	"     cache=none               every read and write goes to the daemon\n"
	"     cache=writeback          the kernel caches, and writes back later\n"
	"     transport=dev            requests come by /dev/fuse (default; auto chooses it, too)\n"
	"     transport=uring          ... over io_uring, if kernel and libfuse can: shorter round trips\n"
	"     inode_flags              files may be immutable or append-only (chattr +i, +a); opens cost a round trip\n"
	"     data=PATH                where a data part is that was moved; repeatable\n"
	"     nonempty                 mount over a directory that is not empty\n"
	"     allow_other              other users may use the mount (default for root; noallow_other)\n"
	"     nodev, nosuid, noexec, ... and fstab's words as usual\n"
	"     relatime, noatime, strictatime, nodiratime\n"
	"                              when reading changes times (default relatime); strictatime: cache=none\n"
	"     remount,ro|rw            of a mount that is there; ro: EBUSY while something is pinned for writing\n"
	"     break_timeout=SECONDS    how long a truncate waits for pins; 'inf': no end (default 5)\n"
	"     break_policy=detach|fail what happens then: the pinned blocks go to limbo, or EBUSY\n"
	"     pin_access=owner|group:GROUP|all\n"
	"                              who may pin (default owner: and root)\n"
	"     pin_limit=SIZE           pinned bytes per user (default: half of the data parts)\n"
	"  -h, --help        this text\n"
	"  -V, --version     the version\n"
	"\n"
	"Examples:\n"
	"  pinfs mount /srv/pool/meta /mnt/pin\n"
	"  pinfs mount -o ro,data=/new/place/pool.data pool ~/mnt\n"
	"  /srv/pool/meta  /mnt/pin  fuse.pinfs  defaults  0 0      in /etc/fstab\n"
	"\n"
	"Exit status: 0 mounted (-f: and unmounted), 1 failed, 2 wrong use.\n";

/* What a command line asks for; both forms fill it. */
struct request {
	struct daemon_options options;
	const char *meta_path;
	const char *mountpoint;
	bool foreground;
	bool verbose;
	bool fake;
	bool sloppy;
};

static int mount_pool(const struct request *request)
{
	const struct daemon_mount mount = {
		.meta_path = request->meta_path,
		.mountpoint = request->mountpoint,
		.options = &request->options,
		.foreground = request->foreground,
	};
	struct message note = {.text = ""};
	struct message message = {.text = ""};
	int error;

	if (request->fake)
		return 0;
	if (request->options.remount) {
		error = daemon_remount(request->mountpoint, &request->options, &message);
		if (error != 0)
			log_error("%s", message.text);
		return error != 0 ? TOOL_FAILED : 0;
	}
	error = daemon_mount(&mount, &note, &message);
	if (error != 0) {
		log_error("%s", message.text);
		return TOOL_FAILED;
	}
	if (note.text[0] != '\0')
		log_warning("%s", note.text);
	return 0;
}

static int parse_options(struct request *request, const char *command, const char *text)
{
	struct message message;

	if (daemon_options_parse(&request->options, text, request->sloppy, &message) == 0)
		return 0;
	return tool_wrong_use(command, "%s", message.text);
}

static int take_paths(struct request *request, const char *command, int argc, char **argv)
{
	if (argc - optind != 2)
		return tool_wrong_use(command, "needs META and MOUNTPOINT, got %d argument%s", argc - optind,
				      argc - optind == 1 ? "" : "s");
	request->meta_path = argv[optind];
	request->mountpoint = argv[optind + 1];
	return 0;
}

static int init_request(struct request *request)
{
	*request = (struct request){0};
	if (daemon_options_init(&request->options, geteuid() == 0) == 0)
		return 0;
	log_error("mount: %s", strerror(ENOMEM));
	return TOOL_FAILED;
}

int tool_mount(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"foreground", no_argument, NULL, 'f'},
		{"options", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	struct request request;
	int status, code;

	status = init_request(&request);
	while (status == 0 && (code = getopt_long(argc, argv, ":fo:hV", long_options, NULL)) != -1) {
		switch (code) {
		case 'f':
			request.foreground = true;
			break;
		case 'o':
			status = parse_options(&request, "mount", optarg);
			break;
		case 'h':
			status = tool_print(help_text);
			goto out;
		case 'V':
			status = tool_print_version();
			goto out;
		default:
			status = tool_bad_option("mount", code, argv);
			break;
		}
	}
	if (status == 0)
		status = take_paths(&request, "mount", argc, argv);
	if (status == 0)
		status = mount_pool(&request);
out:
	daemon_options_fini(&request.options);
	return status;
}

/*
 * mount(8) runs `mount.fuse.pinfs META DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`, and mount.fuse3(8)
 * `pinfs META DIR -o OPTIONS`. -f means: pretend.
 */
int tool_mount_helper(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	struct request request;
	int status, code;

	status = init_request(&request);
	while (status == 0 && (code = getopt_long(argc, argv, ":sfnvN:o:t:hV", long_options, NULL)) != -1) {
		switch (code) {
		case 's':
			request.sloppy = true;
			break;
		case 'f':
			request.fake = true;
			break;
		case 'n':
		case 't':
			break;
		case 'v':
			request.verbose = true;
			break;
		case 'N':
			status = tool_wrong_use("mount", "option -N: mounting in another namespace is not possible");
			break;
		case 'o':
			status = parse_options(&request, "mount", optarg);
			break;
		case 'h':
			status = tool_print(help_text);
			goto out;
		case 'V':
			status = tool_print_version();
			goto out;
		default:
			status = tool_bad_option("mount", code, argv);
			break;
		}
	}
	if (status == 0)
		status = take_paths(&request, "mount", argc, argv);
	if (status == 0)
		status = mount_pool(&request);
	if (status == 0 && request.verbose)
		log_info("%s: mounted on %s", request.meta_path, request.mountpoint);
out:
	daemon_options_fini(&request.options);
	return status;
}
