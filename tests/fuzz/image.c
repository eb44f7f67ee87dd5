#include "image.h"

#include "base/arith.h"
#include "meta/meta.h"
#include "region/region.h"
#include "unit/scratch.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DATA_SIZE (1u << 20)

static struct image *made; /* to be removed at exit */
static pid_t maker;

static void __attribute__((noreturn)) die(const char *what)
{
	perror(what);
	exit(3);
}

/* ---- The same pool each time: inputs name its objects by number ---- */

static uint64_t random_state = 1;

/* Numbers that the pool is made with; in front of libc's. */
ssize_t getrandom(void *buffer, size_t length, unsigned flags)
{
	unsigned char *bytes = buffer;

	(void)flags;
	for (size_t i = 0; i < length; i++) {
		random_state = random_state * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (unsigned char)(random_state >> 56);
	}
	return (ssize_t)length;
}

int sched_getcpu(void);

int sched_getcpu(void)
{
	return 0;
}

static const char *random_name(void)
{
	return "fuzz";
}

static uint32_t random_word(void)
{
	uint32_t word;

	(void)getrandom(&word, sizeof(word), 0);
	return word;
}

static void random_bytes(void *const buffer, const size_t length)
{
	(void)getrandom(buffer, length, 0);
}

static struct randombytes_implementation random_calls = {
	.implementation_name = random_name, .random = random_word, .buf = random_bytes};

/* ---- Making it ---- */

static void make_parts(const struct image *image)
{
	struct meta_create_args meta_args = {.size = META_SIZE_MIN, .root_mode = 0755};
	struct region_create_args args = {.path = image->path[1], .size = DATA_SIZE};
	struct meta_part part = {.number = 0};
	struct message message = {.text = ""};
	struct meta *meta;

	memset(meta_args.pool_uuid, 1, 16);
	memset(args.pool_uuid, 1, 16);
	memset(args.part_uuid, 2, 16);
	memset(part.uuid, 2, 16);
	(void)snprintf(part.path, sizeof(part.path), "%s", image->path[1]);
	if (meta_create(image->path[0], &meta_args, &meta, &message) != 0 ||
	    region_create(&args, &part.blocks, &message) != 0 || meta_part_add(meta, &part) != 0 ||
	    meta_create_finish(meta) != 0)
		die(message.text);
	meta_close(meta);
}

static void map_file(struct image *image, unsigned file)
{
	int fd = open(image->path[file], O_RDWR | O_CLOEXEC);
	struct stat stat;

	if (fd < 0 || fstat(fd, &stat) != 0)
		die(image->path[file]);
	image->size[file] = (size_t)stat.st_size;
	image->bytes[file] = mmap(NULL, image->size[file], PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	image->base[file] = mmap(NULL, image->size[file], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (image->bytes[file] == MAP_FAILED || image->base[file] == MAP_FAILED)
		die("mmap");
	close(fd);
	memcpy(image->base[file], image->bytes[file], image->size[file]);
}

/* ---- Finding its objects ---- */

static void add(struct image *image, unsigned kind, const struct image_object *object)
{
	image->object[kind] = reallocarray(image->object[kind], image->count[kind] + 1, sizeof(*object));
	if (image->object[kind] == NULL)
		die("memory");
	image->object[kind][image->count[kind]++] = *object;
}

static void add_whole(struct image *image, unsigned kind, unsigned file, uint64_t offset, size_t size)
{
	struct image_object object = {
		.offset = (uint32_t)offset,
		.size = (uint32_t)size,
		.whole = (uint32_t)offset,
		.file = (uint8_t)file,
		.kind = (uint8_t)kind,
	};

	add(image, kind, &object);
}

static void add_record(struct image *image, unsigned kind, uint64_t whole, uint64_t offset)
{
	struct image_object object = {.offset = (uint32_t)offset,
				      .size = sizeof(struct fmt_record),
				      .whole = (uint32_t)whole,
				      .kind = (uint8_t)kind};

	add(image, IMAGE_RECORD, &object);
}

static void find_inode(struct image *image, uint64_t at)
{
	const struct fmt_inode *inode = (const struct fmt_inode *)(image->base[0] + at);

	if (inode->magic != FMT_INODE_MAGIC)
		return;
	add_whole(image, IMAGE_INODE, 0, at, sizeof(*inode));
	for (unsigned i = 0; inode->body.height == 0 && i < inode->body.count && i < FMT_BODY_RECORDS; i++)
		add_record(image, IMAGE_INODE, at, at + offsetof(struct fmt_inode, record[i]));
	if (inode->xattrs.height == 0 && inode->xattrs.count == 1)
		add_record(image, IMAGE_INODE, at, at + offsetof(struct fmt_inode, xattr_record));
}

static void find_names(struct image *image, uint64_t at)
{
	const struct fmt_names *names = (const struct fmt_names *)(image->base[0] + at);
	struct image_object object = {.whole = (uint32_t)at, .kind = IMAGE_NAMES};

	add_whole(image, IMAGE_NAMES, 0, at, offsetof(struct fmt_names, unit));
	for (unsigned unit = 0; unit < FMT_NAMES_UNITS; unit++) {
		const struct fmt_name *name = (const struct fmt_name *)names->unit[unit];

		if ((names->start >> unit & 1) == 0)
			continue;
		object.offset = (uint32_t)(at + offsetof(struct fmt_names, unit[unit]));
		object.size = (uint32_t)fmt_name_bytes(name, names->kind);
		add(image, IMAGE_NAME, &object);
	}
}

static void find_page(struct image *image, uint64_t at)
{
	const struct fmt_node *node = (const struct fmt_node *)(image->base[0] + at);

	if (node->magic == FMT_NAMES_MAGIC) {
		find_names(image, at);
	} else if (node->magic == FMT_BLOB_MAGIC) {
		add_whole(image, IMAGE_BLOB, 0, at, FMT_BLOCK_SIZE);
	} else if (node->magic == FMT_NODE_MAGIC) {
		add_whole(image, IMAGE_NODE, 0, at, offsetof(struct fmt_node, record));
		for (unsigned i = 0; i < node->count && i < FMT_NODE_RECORDS; i++)
			add_record(image, IMAGE_NODE, at, at + offsetof(struct fmt_node, record[i]));
	}
}

static void find_group(struct image *image, uint64_t at)
{
	const struct fmt_group *group = (const struct fmt_group *)(image->base[0] + at);

	add_whole(image, IMAGE_GROUP, 0, at, offsetof(struct fmt_group, unused));
	for (unsigned frame = 0; frame < FMT_GROUP_FRAMES; frame++) {
		uint64_t place = at + (uint64_t)frame * FMT_BLOCK_SIZE;

		if ((group->inode_frames >> frame & 1) == 0)
			find_page(image, place);
		for (unsigned slot = frame == 0; slot < FMT_FRAME_SLOTS && (group->inode_frames >> frame & 1); slot++)
			find_inode(image, place + (uint64_t)slot * FMT_SLOT_SIZE);
	}
}

static void find_objects(struct image *image)
{
	const uint64_t magic = FMT_SUPER_MAGIC;
	const unsigned char *found = memmem(image->base[0], image->size[0], &magic, sizeof(magic));
	const struct fmt_super *super = (const struct fmt_super *)found;

	if (found == NULL)
		die("no superblock");
	image->super = (uint32_t)(found - image->base[0]);
	add_whole(image, IMAGE_SUPER, 0, image->super, offsetof(struct fmt_super, arena) + sizeof(super->arena[0]));
	for (uint32_t i = 0; i < super->arenas; i++) {
		for (uint64_t j = 0; j < super->arena[i].groups; j++)
			find_group(image, super->arena[i].offset + j * FMT_GROUP_SIZE);
	}
	add_whole(image, IMAGE_PART, 1, 0, offsetof(struct fmt_part_header, reserved) + 16);
	add_whole(image, IMAGE_PART, 1, image->size[1] - FMT_BLOCK_SIZE, 96);
	for (size_t at = FMT_BLOCK_SIZE; at < image->size[1] - FMT_BLOCK_SIZE; at += FMT_BLOCK_SIZE)
		add_whole(image, IMAGE_DATA, 1, at, FMT_BLOCK_SIZE);
	/* Pool header and descriptor, the first and the last lanes, the heap's header, chunk headers, and the head of
	 * the first run. */
	add_whole(image, IMAGE_HEAP, 0, 0, 4096);
	add_whole(image, IMAGE_HEAP, 0, 4096, 4096);
	for (unsigned lane = 0; lane < 1024; lane += lane < 4 ? 1 : 340)
		add_whole(image, IMAGE_HEAP, 0, 8192 + lane * 3072, 3072);
	add_whole(image, IMAGE_HEAP, 0, 8192 + 1024 * 3072, 1024 + 64 + 64 * 8);
	add_whole(image, IMAGE_HEAP, 0, super->arena[0].offset - 64, 80);
	add_whole(image, IMAGE_HEAP, 0, align_down(image->super, FMT_GROUP_SIZE), 4096);
	add_whole(image, IMAGE_HEAP, 0, image->super - 64, 64);
}

static void remove_files(void)
{
	if (getpid() != maker)
		return;
	(void)unlink(made->path[0]);
	(void)unlink(made->path[1]);
	(void)rmdir(made->folder);
}

void image_make(struct image *image)
{
	int status;
	pid_t child;

	scratch_folder(image->folder, sizeof(image->folder), "fuzz");
	(void)snprintf(image->path[0], sizeof(image->path[0]), "%s/meta", image->folder);
	(void)snprintf(image->path[1], sizeof(image->path[1]), "%s/data", image->folder);
	made = image;
	maker = getpid();
	(void)atexit(remove_files);
	(void)randombytes_set_implementation(&random_calls);
	/* In a process of its own, which ends in the midst of it: so there is what a crash leaves. */
	child = fork();
	if (child == 0) {
		make_parts(image);
		base_fill(image->path[0]);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		die("making the base pool");
	map_file(image, 0);
	map_file(image, 1);
	find_objects(image);
}

/* ---- Inputs ---- */

void image_reset(struct image *image)
{
	for (unsigned file = 0; file < 2; file++) {
		for (size_t at = 0; at < image->size[file]; at += FMT_BLOCK_SIZE) {
			if (memcmp(image->bytes[file] + at, image->base[file] + at, FMT_BLOCK_SIZE) != 0)
				memcpy(image->bytes[file] + at, image->base[file] + at, FMT_BLOCK_SIZE);
		}
	}
}

static void seal_inode(struct fmt_inode *inode)
{
	uint32_t seed = fmt_owner_seed(inode->ino, inode->generation);
	bool inline_target = S_ISLNK(inode->mode) && inode->size <= FMT_SYMLINK_INLINE_MAX;

	for (unsigned i = 0; !inline_target && i < inode->body.count && i < FMT_BODY_RECORDS; i++)
		fmt_record_seal(&inode->record[i], seed);
	if (inode->xattrs.count > 0)
		fmt_record_seal(&inode->xattr_record[0], seed);
	fmt_inode_seal(inode);
}

static void seal_node(struct fmt_node *node)
{
	uint32_t seed = fmt_owner_seed(node->owner, node->generation);

	for (unsigned i = 0; i < node->count && i < FMT_NODE_RECORDS; i++)
		fmt_record_seal(&node->record[i], seed);
	fmt_node_seal(node);
}

static void seal_names(struct fmt_names *names)
{
	uint32_t seed = fmt_owner_seed(names->owner, names->generation);

	for (unsigned unit = 0; unit < FMT_NAMES_UNITS; unit++) {
		struct fmt_name *name = (struct fmt_name *)names->unit[unit];

		if ((names->start >> unit & 1) != 0 &&
		    fmt_name_bytes(name, names->kind) <= (FMT_NAMES_UNITS - unit) * FMT_UNIT_SIZE)
			fmt_name_seal(name, names->kind, seed);
	}
	fmt_names_seal(names);
}

static void seal(struct image *image, const struct image_object *object)
{
	void *at = image->bytes[object->file] + object->whole;
	struct fmt_super *super = (struct fmt_super *)(image->bytes[0] + image->super);

	switch (object->kind) {
	case IMAGE_SUPER:
		fmt_super_seal(super);
		break;
	case IMAGE_GROUP:
		fmt_group_seal(at, super->pool_uuid);
		break;
	case IMAGE_INODE:
		seal_inode(at);
		break;
	case IMAGE_NODE:
		seal_node(at);
		break;
	case IMAGE_NAMES:
		seal_names(at);
		break;
	case IMAGE_BLOB:
		if (((struct fmt_blob *)at)->count <= FMT_BLOB_BYTES)
			fmt_blob_seal(at);
		break;
	case IMAGE_PART:
		fmt_part_header_seal(at);
		break;
	default:
		break;
	}
}

static const struct image_object *object_of(const struct image *image, unsigned kind, uint64_t index)
{
	kind %= IMAGE_KINDS;
	return image->count[kind] == 0 ? NULL : &image->object[kind][index % image->count[kind]];
}

static void apply(struct image *image, const struct patch *patch, const struct image_object *object)
{
	const struct image_object *source = object_of(image, patch->kind, patch->value);
	uint32_t width = 1u << (patch->how & PATCH_WIDTH);
	uint32_t offset = patch->offset % object->size;
	unsigned char *at = image->bytes[object->file] + object->offset;
	uint64_t value = 0;

	if ((patch->how & PATCH_OBJECT) != 0) {
		memcpy(at, image->base[source->file] + source->offset,
		       source->size < object->size ? source->size : object->size);
		return;
	}
	if (width > object->size - offset)
		width = 1;
	memcpy(&value, at + offset, width);
	if ((patch->how & PATCH_ADD) != 0)
		value += patch->value;
	else
		value = (patch->how & PATCH_XOR) != 0 ? value ^ patch->value : patch->value;
	memcpy(at + offset, &value, width);
}

bool image_patch(struct image *image, const struct patch *patch, size_t count)
{
	bool heap = false;

	for (size_t i = 0; i < count; i++) {
		const struct image_object *object = object_of(image, patch[i].kind, patch[i].index);

		if (object == NULL)
			continue;
		apply(image, &patch[i], object);
		heap |= object->kind == IMAGE_HEAP;
	}
	for (size_t i = 0; i < count; i++) {
		const struct image_object *object = object_of(image, patch[i].kind, patch[i].index);

		if (object != NULL && (patch[i].how & PATCH_UNSEALED) == 0)
			seal(image, object);
	}
	return heap;
}
