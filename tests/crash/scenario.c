#include "scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Named ---- */

struct named {
	const char *name;
	const char *setup;
	const char *ops;
	bool pins; /* twice: the holder lives, the holder is dead */
};

#define FILE_OF_5 "create /f;write /f 0 20000 1"
#define PINNED_FILE "create /f;write /f 0 32768 1;create /g;write /g 0 8192 2"

static const struct named all_named[] = {
	{"mount", "create /f;write /f 0 9000 1", "unmount;mount;write /f 100 50 2;unmount;mount", false},
	{"write-hole", "create /f;truncate /f 40000", "write /f 8000 9000 3;write /f 30000 100 4", false},
	{"write-extend", FILE_OF_5, "append /f 100;append /f 9000;append /f 4096", false},
	{"overwrite", FILE_OF_5, "write /f 3000 9000 3;write /f 0 20000 4", false},
	{"overwrite-again", FILE_OF_5, "rewrite /f 4096 100 3;rewrite /f 9000 8000 4", false},
	{"write-far", FILE_OF_5, "write /f 50000 6000 3", false},
	{"truncate-up-down", FILE_OF_5, "truncate /f 5001;truncate /f 19000;truncate /f 0", false},
	{"truncate-intent", "fragment /f 60", "truncate /f 5001;truncate /f 70000", false},
	{"truncate-same", "create /f;fallocate /f keep 0 60000;write /f 0 5000 1", "truncate /f 5000", false},
	{"punch-intent", "fragment /f 60", "fallocate /f punch 5000 200000;write /f 4000 9000 3", false},
	{"zero-intent", "fragment /f 60", "fallocate /f zero 5000 200000", false},
	{"punch-end", FILE_OF_5, "fallocate /f punch 9000 20000", false},
	{"evict-small", FILE_OF_5, "unlink /f", false},
	{"evict-large", "fragment /f 60;setxattr /f user.a 3000 1", "unlink /f", false},
	{"unlink-held", "fragment /f 40;hold /f 0", "unlink /f;write @0 0 9000 4;truncate @0 5000;drop 0", false},
	{"rename-over-held", "create /f;create /g;write /g 0 9000 1;hold /g 0", "rename /f /g;append @0 5000;drop 0",
	 false},
	{"rename-over-large", "create /f;write /f 0 5000 1;fragment /g 50", "rename /f /g", false},
	{"tmpfile", "soil", "tmpfile 0;write @0 0 9000 3;link @0 /t;drop 0;tmpfile 1;write @1 0 5000 4;drop 1", false},
	{"rmdir-held", "mkdir /d;hold /d 0", "rmdir /d;drop 0", false},
	{"rename-tree", "mkdir /a;mkdir /b;mkdir /a/c;create /a/c/x",
	 "rename /a/c /b/c;rename /b/c/x /x;rename /a /b/c x", false},
	{"names-many",
	 "mkdir /d;create /d/11111111111111111111111111111111111111111111111111;create "
	 "/d/22222222222222222222222222222222222222222222222222;create "
	 "/d/33333333333333333333333333333333333333333333333333",
	 "create /d/44444444444444444444444444444444444444444444444444;unlink "
	 "/d/22222222222222222222222222222222222222222222222222;rename "
	 "/d/33333333333333333333333333333333333333333333333333 "
	 "/d/55555555555555555555555555555555555555555555555555;create /d/6",
	 false},
	{"xattr-large", "create /f;setxattr /f user.a 5000 1",
	 "setxattr /f user.b 4000 2;setxattr /f user.a 9000 3;removexattr /f user.b", false},
	{"copy-far", FILE_OF_5 ";create /g;write /g 0 3000 2", "copy /f 1000 /g 2000 15000;copy /g 0 /f 40000 9000",
	 false},
	{"first-frame", "", "create /1;create /2;mkdir /3;unlink /1;create /4", false},
	{"zero-extend-intent", "soil;fragment /f 60", "fallocate /f zero 5000 300000", false},
	{"feature-acl", "create /f;mkdir /d", "acl /f 7;acl /f 5;create /d/x;acl /d/x 4", false},
	{"feature-flags", "create /g;mkdir /d", "flags /g 64;flags /d 64", false},
	{"lost-replace", "soil;create /f;write /f 0 40000 1",
	 "lose /f 2;write /f 8192 4096 5;lose /f 4;lose /f 5;write /f 12000 20000 6;append /f 100;unlink /f", false},
	{"lost-last", "soil;create /f;write /f 0 9000 1", "lose /f 2;write /f 8192 808 5;append /f 5000", false},
	{"lost-unwritten", "soil;create /f;fallocate /f alloc 0 40000",
	 "lose /f 2;lose /f 3;rewrite /f 4096 30000 5;unlink /f", false},
	{"lost-intent", "fragment /f 60", "lose /f 30;truncate /f 5000;lose /f 1;truncate /f 4500;unlink /f", false},
	{"full-blocks", "create /f;write /f 0 30000 1;create /g;write /g 0 5000 2;fill blocks",
	 "rename /f /h;truncate /h 5001;unlink /g;chmod /h 0600;append /h 4000", false},
	{"full-pages", "fragment /f 60;setxattr /f user.a 3000 1;create /g;fill pages",
	 "truncate /f 100001;chmod /g 0600;unlink /g;removexattr /f user.a;unlink /f", false},

	{"pin-unpin", PINNED_FILE,
	 "session;pin 0 /f 4096 8192 w;store 0 4096 8192 5;commit 0 4096 8192;unpin 0;reap;goodbye;reap", true},
	{"pin-holes", "create /f;truncate /f 50000;fallocate /f keep 40000 9000;soil",
	 "session;pin 0 /f 8000 40000 w;unpin 0;reap", true},
	{"pin-extend", "create /f;write /f 0 5000 1;soil",
	 "session;pin 0 /f 4096 20000 we;store 0 4096 12000 5;commit 0 4096 12000;unpin 0;reap;mend 0", true},
	{"pin-two", PINNED_FILE,
	 "session;pin 0 /f 0 16384 r;pin 1 /f 8192 16384 w;unpin 0;reap;pin 2 /g 0 8192 w;goodbye;reap", true},
	{"detach-truncate", PINNED_FILE ";session;pin 0 /f 4096 8192 w;pin 1 /f 20480 4096 r",
	 "truncate /f 5000;unpin 0;reap;unpin 1;reap", true},
	{"detach-punch", PINNED_FILE ";session;pin 0 /f 4096 8192 w",
	 "fallocate /f punch 5000 9000;write /f 4096 8192 7;unpin 0;reap", true},
	{"detach-zero", PINNED_FILE ";session;pin 0 /f 4096 8192 w", "fallocate /f zero 5000 9000;unpin 0;reap", true},
	{"detach-unlink", PINNED_FILE ";session;pin 0 /f 4096 8192 w;pin 1 /g 0 4096 r",
	 "unlink /f;create /h;write /h 0 9000 3;unpin 0;reap;unlink /g;goodbye;reap", true},
	{"detach-rename", PINNED_FILE ";session;pin 0 /g 0 8192 w", "rename /f /g;goodbye;reap", true},
	{"detach-large", "fragment /f 40;session;pin 0 /f 40960 16384 w", "truncate /f 5000;goodbye;reap", true},
	{"detach-zero-extend", PINNED_FILE ";session;pin 0 /f 4096 8192 w;pin 1 /f 28672 4096 w",
	 "fallocate /f zero 5000 60000;unpin 0;goodbye;reap", true},
	{"detach-full", PINNED_FILE ";session;pin 0 /f 4096 8192 w;pin 1 /g 0 4096 r;fill pages",
	 "truncate /f 4096;unlink /g;unpin 0;goodbye;reap", true},
	{"lost-pinned", PINNED_FILE ";session;pin 0 /f 4096 8192 w", "lose /f 1;truncate /f 0;unpin 0;reap", true},
	{"pin-contiguous", "fragment /f 12;session", "pin 0 /f 0 32768 wc;unpin 0;reap", true},
	{"reclaim-restore", PINNED_FILE ";session;pin 0 /f 4096 8192 w;truncate /f 5000",
	 "unmount;mount;write /g 0 5000 3", true},
};

static const struct named special[] = {
	{"mkfs", "", "mkfs", false},
	{"repair-links",
	 "create /f;write /f 0 9000 1;link /f /g;mkdir /d;create /d/x;write /d/x 0 100 2;damage links /f;damage links "
	 "/d/x;damage size /d;unmount",
	 "repair", false},
	{"repair-shared", "soil;create /f;write /f 0 9000 1;create /g;truncate /g 300000;damage shared /f /g;unmount",
	 "repair", false},
	{"repair-records",
	 "fragment /f 20;create /g;write /g 0 9000 1;mkdir /d;create /d/x;setxattr /d/x user.a 3000 1;damage node "
	 "/f;damage inode /g;damage inode /d;unmount",
	 "repair", false},
};

#define SCHEDULES 3u
#define TWO_FILES                                                                                                      \
	"soil;create /f;write /f 0 20000 1;create /g;write /g 0 9000 2;mkdir /d;create /d/x;mkdir /e;create /e/z"

/* The one, and the other at once; nothing of what one does depends on the other. */
static const struct named two[] = {
	{"two-create", TWO_FILES, "create /d/a;create /d/b", false},
	{"two-append", TWO_FILES, "append /f 9000;append /g 9000", false},
	{"two-overwrite", TWO_FILES, "write /f 100 5000 5;write /f 10000 5000 6", false},
	{"two-unlink-append", TWO_FILES, "unlink /f;append /g 9000", false},
	{"two-unlink-reuse", TWO_FILES ";create /h;write /h 0 4000 3", "unlink /f;append /g 9000", false},
	{"two-truncate-reuse", TWO_FILES ";create /h;write /h 0 4000 3", "truncate /f 0;append /g 9000", false},
	{"two-truncate-create", TWO_FILES, "truncate /f 5000;create /n", false},
	{"two-rename", TWO_FILES, "rename /d/x /e/x;rename /e/z /d/z", false},
	{"two-xattr-rmdir", TWO_FILES ";mkdir /h", "setxattr /f user.a 3000 4;rmdir /h", false},
	{"two-evict", "fragment /f 30;fragment /g 30", "unlink /f;truncate /g 5000", false},
};

#define TWO (sizeof(two) / sizeof(two[0]))
#define SPECIAL (sizeof(special) / sizeof(special[0]))
#define NAMED (sizeof(all_named) / sizeof(all_named[0]))

static void split(struct scenario *scenario, const char *ops)
{
	static char text[8][1024];
	static unsigned next;
	char *copy = text[next++ % 8], *rest = NULL;

	(void)snprintf(copy, sizeof(text[0]), "%s", ops);
	for (char *at = strtok_r(copy, ";", &rest); at != NULL && scenario->ops < SCENARIO_OPS;
	     at = strtok_r(NULL, ";", &rest))
		scenario->op[scenario->ops++] = at;
}

static bool named_two(unsigned number, struct scenario *ret_scenario)
{
	const struct named *named = &two[number / SCHEDULES % TWO];

	if (number >= TWO * SCHEDULES)
		return false;
	*ret_scenario = (struct scenario){
		.kind = SCENARIO_TWO, .setup = named->setup, .cut_from = 1, .schedule = number % SCHEDULES};
	(void)snprintf(ret_scenario->name, sizeof(ret_scenario->name), "%s-%u", named->name, number % SCHEDULES);
	split(ret_scenario, named->ops);
	return true;
}

bool scenario_named(unsigned number, struct scenario *ret_scenario)
{
	for (size_t i = 0; i < NAMED + SPECIAL; i++) {
		const struct named *named = i < NAMED ? &all_named[i] : &special[i - NAMED];
		unsigned kinds = named->pins ? 2 : 1;

		if (number >= kinds) {
			number -= kinds;
			continue;
		}
		*ret_scenario = (struct scenario){.setup = named->setup, .cut_from = 1};
		if (i >= NAMED)
			ret_scenario->kind = i == NAMED ? SCENARIO_MKFS : SCENARIO_REPAIR;
		ret_scenario->holder = !named->pins ? HOLDER_NONE : number == 0 ? HOLDER_LIVES : HOLDER_DEAD;
		(void)snprintf(ret_scenario->name, sizeof(ret_scenario->name), "%s%s", named->name,
			       ret_scenario->holder == HOLDER_DEAD ? "-dead" : "");
		split(ret_scenario, named->ops);
		return true;
	}
	return named_two(number, ret_scenario);
}

unsigned scenario_named_count(void)
{
	struct scenario scenario;
	unsigned count = 0;

	while (scenario_named(count, &scenario))
		count++;
	return count;
}

/* ---- Generated ---- */

/* What every generated scenario begins with; free blocks hold what somebody left there. */
static const char generated_setup[] = "soil;create /f;write /f 0 14000 1;setxattr /f user.a 40 1;create /g;write /g "
				      "0 3000 2;truncate /g 30000;mkdir /d;mkdir /e;create /d/x;write /d/x 0 5000 "
				      "3;symlink /s target;link /f /d/l;hold /g 0";

struct letter {
	const char *key, *words;
};

static const struct letter alphabet[] = {
	{"create", "create /n"},
	{"create_d", "create /d/n"},
	{"mkdir", "mkdir /d/m"},
	{"mkfifo", "mkfifo /p"},
	{"symlink", "symlink /d/s2 elsewhere"},
	{"longlink", "longlink /long"},
	{"link", "link /f /e/l"},
	{"rename", "rename /f /n"},
	{"rename_file", "rename /f /d/x"},
	{"rename_held", "rename /f /g"},
	{"rename_dir", "rename /d /e"},
	{"rename_into", "rename /d /e/d"},
	{"exchange", "rename /f /d/x x"},
	{"exchange_dir", "rename /d /g x"},
	{"noreplace", "rename /g /e/g n"},
	{"rename_link", "rename /f /d/l"},
	{"unlink", "unlink /f"},
	{"unlink_held", "unlink /g"},
	{"unlink_d", "unlink /d/x"},
	{"unlink_s", "unlink /s"},
	{"rmdir", "rmdir /e"},
	{"write", "write /f 3000 5000 5"},
	{"write_hole", "write /g 9000 7000 5"},
	{"write_new", "write /n 0 5000 6"},
	{"write_held", "write @0 28000 9000 5"},
	{"append", "append /f 3000"},
	{"overwrite", "write /f 0 14000 7"},
	{"truncate", "truncate /f 5000"},
	{"truncate_up", "truncate /f 21000"},
	{"truncate_0", "truncate /f 0"},
	{"truncate_held", "truncate @0 1000"},
	{"alloc", "fallocate /g alloc 2000 40000"},
	{"keep", "fallocate /f keep 12000 20000"},
	{"punch", "fallocate /f punch 3000 9000"},
	{"zero", "fallocate /f zero 1000 12500"},
	{"zerokeep", "fallocate /f zerokeep 4096 8192"},
	{"zero_extend", "fallocate /f zero 1000 20000"},
	{"copy", "copy /f 1000 /g 2000 9000"},
	{"setxattr", "setxattr /f user.b 100 3"},
	{"setxattr_big", "setxattr /f user.a 3000 4"},
	{"removexattr", "removexattr /f user.a"},
	{"chmod", "chmod /f 0600"},
	{"drop", "drop 0"},
};

#define LETTERS (sizeof(alphabet) / sizeof(alphabet[0]))

uint64_t scenario_generated_count(unsigned length)
{
	uint64_t count = 1;

	while (length-- > 0)
		count *= LETTERS;
	return count;
}

void scenario_generate(unsigned length, uint64_t number, struct scenario *ret_scenario)
{
	struct scenario *scenario = ret_scenario;

	*scenario = (struct scenario){.setup = generated_setup, .ops = length, .cut_from = length, .may_fail = true};
	for (unsigned i = length; i-- > 0; number /= LETTERS)
		scenario->op[i] = alphabet[number % LETTERS].words;
	for (unsigned i = 0; i < length; i++) {
		for (size_t j = 0; j < LETTERS; j++) {
			size_t used = strlen(scenario->name);

			if (scenario->op[i] == alphabet[j].words)
				(void)snprintf(scenario->name + used, sizeof(scenario->name) - used, "%s%s",
					       i > 0 ? "+" : "", alphabet[j].key);
		}
	}
}

static bool letter_find(const char *key, size_t length, size_t *ret_letter)
{
	for (size_t i = 0; i < LETTERS; i++) {
		if (strlen(alphabet[i].key) == length && strncmp(alphabet[i].key, key, length) == 0) {
			*ret_letter = i;
			return true;
		}
	}
	return false;
}

bool scenario_find(const char *name, struct scenario *ret_scenario)
{
	uint64_t number = 0;
	unsigned length = 0;

	for (unsigned i = 0; scenario_named(i, ret_scenario); i++) {
		if (strcmp(ret_scenario->name, name) == 0)
			return true;
	}
	for (const char *key = name; length < SCENARIO_OPS;) {
		size_t end = strcspn(key, "+"), letter;

		if (!letter_find(key, end, &letter))
			return false;
		number = number * LETTERS + letter;
		length++;
		if (key[end] == '\0') {
			scenario_generate(length, number, ret_scenario);
			return true;
		}
		key += end + 1;
	}
	return false;
}
