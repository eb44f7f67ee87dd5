/* pinfs map: where the blocks of a file are, or how those of the whole pool are used. */
#include "map.h"
#include "tool.h"

#include "base/arith.h"
#include "base/log.h"
#include "client/ask.h"
#include "daemon/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_CELLS 1024u /* 16 rows */
#define SVG_CELLS 4096u

static const char help_text[] =
	"pinfs map - where the blocks are\n"
	"\n"
	"Usage: pinfs map [--json|--svg] [--cells N] FILE|MOUNTPOINT\n"
	"\n"
	"Of a file: its extents, in bytes. Of a mount: the blocks of each data part, as cells that show how\n"
	"much of them is used (from '.' free to '#' full) and whether some is pinned (P), in limbo (L: no\n"
	"file's any more, and pinned still) or lost to memory errors (X).\n"
	"\n"
	"Options:\n"
	"  -j, --json     print it as JSON\n"
	"  -s, --svg      draw it as SVG; of a file: its blocks among those of the pool\n"
	"  -c, --cells N  the pool in about N cells (1024, with --svg and --json 4096)\n"
	"  -h, --help     this text\n"
	"  -V, --version  the version\n"
	"\n"
	"Examples:\n"
	"  pinfs map /mnt/pin/file\n"
	"  pinfs map --svg /mnt/pin > pool.svg\n"
	"\n"
	"Exit status: 0, 1 failed, 2 wrong use.\n";

enum form {
	FORM_TEXT,
	FORM_JSON,
	FORM_SVG,
};

struct map_command {
	const char *path;
	enum form form;
	uint64_t cells; /* 0: as many as the form wants */
};

/* ---- Taking answers ---- */

static int take_extents(void *arg, const struct wire_file_map *answer)
{
	struct map *map = arg;

	if (map->extents + answer->count > map->extent_room) {
		size_t room = map->extent_room * 2 + answer->count;
		struct wire_extent *grown = reallocarray(map->extent, room, sizeof(*grown));

		if (grown == NULL)
			return -ENOMEM;
		map->extent = grown;
		map->extent_room = room;
	}
	memcpy(map->extent + map->extents, answer->extent, answer->count * sizeof(*map->extent));
	map->extents += answer->count;
	map->ino = answer->ino;
	map->size = answer->size;
	return 0;
}

static int add_part(struct map *map, const struct wire_pool_map *answer)
{
	const uint64_t cells = answer->part_bytes / answer->cell_bytes + (answer->part_bytes % answer->cell_bytes != 0);
	struct map_part *grown;

	if (cells == 0 || cells > 2 * WIRE_CELLS_MAX)
		return -EPROTO;
	grown = reallocarray(map->part, map->parts + 1, sizeof(*grown));
	if (grown == NULL)
		return -ENOMEM;
	map->part = grown;
	grown[map->parts] = (struct map_part){.bytes = answer->part_bytes, .cell_bytes = answer->cell_bytes};
	grown[map->parts].cell = calloc(cells, sizeof(struct wire_cell));
	if (grown[map->parts].cell == NULL)
		return -ENOMEM;
	grown[map->parts++].cells = cells;
	return 0;
}

static int take_cells(void *arg, const struct wire_pool_map *answer)
{
	struct map *map = arg;
	struct map_part *part;

	if (answer->part == map->parts) {
		int error = add_part(map, answer);

		if (error != 0)
			return error;
	}
	if (answer->part >= map->parts)
		return -EPROTO;
	part = &map->part[answer->part];
	if (answer->first > part->cells || answer->count > part->cells - answer->first)
		return -EPROTO;
	memcpy(part->cell + answer->first, answer->cell, answer->count * sizeof(*part->cell));
	return 0;
}

/* ---- Asking ---- */

static void report(const char *path, int error)
{
	if (error == -EOPNOTSUPP)
		log_error("%s: its daemon is older than 'pinfs map': mount it again", path);
	else if (error == -EINVAL)
		log_error("%s: is neither a regular file nor the top of its pinfs mount", path);
	else
		tool_report_mount(path, error);
}

static int ask(struct map *map, const struct map_command *command, const char *directory, int fd)
{
	const uint64_t cells = command->cells != 0	    ? command->cells
			       : command->form == FORM_TEXT ? TEXT_CELLS
							    : SVG_CELLS;
	struct pinfs *fs;
	int error;

	error = pinfs_connect(directory, &fs);
	if (error != 0)
		return error;
	if (map->is_file)
		error = client_map_file(fs, fd, take_extents, map);
	if (error == 0 && (!map->is_file || command->form == FORM_SVG))
		error = client_map_pool(fs, cells, take_cells, map);
	pinfs_disconnect(fs);
	return error;
}

static int make_map(struct map *map, const struct map_command *command)
{
	char absolute[PATH_MAX], directory[PATH_MAX];
	int error, fd;

	if (realpath(command->path, absolute) == NULL)
		return -errno;
	error = daemon_mount_of(absolute, directory);
	if (error != 0)
		return error == -ENOENT ? -ENODEV : error;
	map->is_file = strcmp(absolute, directory) != 0;
	if (!map->is_file)
		return ask(map, command, directory, -1);
	fd = open(absolute, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	error = ask(map, command, directory, fd);
	(void)close(fd);
	return error;
}

static void free_map(struct map *map)
{
	for (size_t i = 0; i < map->parts; i++)
		free(map->part[i].cell);
	free(map->part);
	free(map->extent);
}

/* ---- What follows from it ---- */

uint64_t map_cell_blocks(const struct map_part *part, size_t cell)
{
	const uint64_t start = cell * part->cell_bytes;

	return (min_u64(part->bytes, start + part->cell_bytes) - start) / 4096;
}

#define HUGE_BYTES (2ull << 20)

double map_huge_share(const struct map *map)
{
	uint64_t bytes = 0;
	uint64_t huge = 0;

	for (size_t i = 0; i < map->extents; i++) {
		const struct wire_extent *extent = &map->extent[i];
		const uint64_t first = (extent->offset + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
		const uint64_t end = (extent->offset + extent->length) / HUGE_BYTES * HUGE_BYTES;

		bytes += extent->length;
		if (extent->offset % HUGE_BYTES == extent->part_offset % HUGE_BYTES && end > first)
			huge += end - first;
	}
	return bytes > 0 ? (double)huge / (double)bytes : 0;
}

/* ---- The command ---- */

static int print_map(const struct map *map, enum form form)
{
	const char *const term = getenv("TERM");

	if (form == FORM_JSON)
		return map_print_json(map);
	if (form == FORM_SVG)
		return map_print_svg(map);
	map_print_text(map, isatty(STDOUT_FILENO) && term != NULL && strcmp(term, "dumb") != 0 &&
				    getenv("NO_COLOR") == NULL);
	return 0;
}

static int show(const struct map_command *command)
{
	struct map map = {.path = command->path};
	int status = TOOL_FAILED;
	int error = make_map(&map, command);

	if (error != 0) {
		report(command->path, error);
	} else {
		error = print_map(&map, command->form);
		if (error == 0)
			status = tool_end_output();
		else
			log_error("map: %s", strerror(-error));
	}
	free_map(&map);
	return status;
}

/* -1: go on; else the exit status. */
static int take_option(int code, struct map_command *command, char **argv)
{
	char *end;

	switch (code) {
	case 'j':
	case 's':
		if (command->form != FORM_TEXT)
			return tool_wrong_use("map", "it is either --json or --svg");
		command->form = code == 'j' ? FORM_JSON : FORM_SVG;
		return -1;
	case 'c':
		errno = 0;
		command->cells = strtoul(optarg, &end, 10);
		if (optarg[0] < '0' || optarg[0] > '9' || *end != '\0' || errno != 0 || command->cells == 0 ||
		    command->cells > WIRE_CELLS_MAX)
			return tool_wrong_use("map", "--cells %s: 1 to %u", optarg, WIRE_CELLS_MAX);
		return -1;
	case 'h':
		return tool_print(help_text);
	case 'V':
		return tool_print_version();
	default:
		return tool_bad_option("map", code, argv);
	}
}

int tool_map(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"json", no_argument, NULL, 'j'},	 {"svg", no_argument, NULL, 's'},
		{"cells", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},	 {NULL, 0, NULL, 0},
	};
	struct map_command command = {.form = FORM_TEXT};
	int code;

	while ((code = getopt_long(argc, argv, ":jsc:hV", long_options, NULL)) != -1) {
		int status = take_option(code, &command, argv);

		if (status >= 0)
			return status;
	}
	if (argc - optind != 1)
		return tool_wrong_use("map", "needs one FILE or MOUNTPOINT, got %d arguments", argc - optind);
	command.path = argv[optind];
	return show(&command);
}
