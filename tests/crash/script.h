/* Operations in words: `write /a 4000 9000 3`. What a scenario is made of. */
#ifndef PINFS_CRASH_SCRIPT_H
#define PINFS_CRASH_SCRIPT_H

#include "fs/pins.h"

#include <sys/types.h>

#define SCRIPT_HELD 2u
#define SCRIPT_PINS 4u
#define SCRIPT_EXTENTS 16u

/* What a client was told when its pin was granted. */
struct script_pin {
	uint64_t id; /* 0: none */
	uint64_t ino;
	uint32_t extents;
	struct fs_pin_extent extent[SCRIPT_EXTENTS];
};

struct script_world {
	const char *meta_path;
	struct fs *fs;
	bool distrust; /* the pool is tried in a child before it is opened */
	struct message message; /* of the last mount */
	pid_t process; /* in whose name pins are taken */
	uint64_t held[SCRIPT_HELD]; /* inodes that are looked up: `@0`, `@1` */
	struct fs_holder *holder;
	uint8_t cookie[FS_COOKIE_BYTES];
	bool session; /* one was opened, and its cookie is known */
	struct script_pin pin[SCRIPT_PINS];
};

int script_mount(struct script_world *world, struct message *message);
/* Runs one operation; 0 or -errno, as the filesystem answers. -ENOSYS: no such words. */
int script_run(struct script_world *world, const char *words);
/* What may differ after a cut inside of it: TREE_ flags. */
unsigned script_tolerance(const char *words);
/* The byte that `write ... SEED` puts at this place of the file. */
unsigned char script_byte(unsigned seed, uint64_t at);
uint64_t script_blocks_free(struct fs *fs);
extern const struct fs_holder_ops script_holder_ops;

#endif
