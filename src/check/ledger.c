/*
 * The pin ledger: its records are whole (I25, I26), its pins have their session (I27), and what they hold is nobody
 * else's (I28).
 */
#include "base/arith.h"
#include "check/walk.h"

#include <errno.h>

static int see_session(void *arg, const struct meta_session *session)
{
	struct check *check = arg;

	(void)session;
	check_step(check);
	check->report.ledger_sessions++;
	return 0;
}

/* False: the blocks belong to somebody whom the pin does not name. */
static bool may_own(struct check *check, const struct meta_pin *pin, uint64_t ino)
{
	const struct check_inode *owner;

	if (fmt_ino_is_identity(ino))
		return true;
	owner = ino == pin->ino ? check_inode_find(check, ino) : NULL;
	return owner != NULL && owner->generation == pin->generation;
}

/*
 * Blocks of nobody are no error: dropped, and freed by their file, before the entry was erased. At most one error an
 * extent is told.
 */
static void judge_extent(struct check *check, const struct meta_pin *pin, const struct meta_extent *extent)
{
	uint64_t end = extent->phys + extent->length;
	uint64_t ino = fmt_ledger_ino(pin->session);
	size_t i;

	if (!check_inside_part(check, extent->phys, extent->length)) {
		check_error(check, "I28", ino, "pin %#lx: %u blocks at block %lu of part %u are outside of the part",
			    pin->id, extent->length, fmt_phys_block(extent->phys), fmt_phys_part(extent->phys));
		return;
	}
	for (i = check_extent_find(check, extent->phys); i < check->extents && check->extent[i].phys < end; i++) {
		if (may_own(check, pin, check->extent[i].ino))
			continue;
		check_error(check, "I28", ino, "pin %#lx of inode %lu: block %lu of part %u belongs to inode %lu",
			    pin->id, pin->ino, fmt_phys_block(max_u64(extent->phys, check->extent[i].phys)),
			    fmt_phys_part(extent->phys), check->extent[i].ino);
		return;
	}
}

static int see_pin(void *arg, const struct meta_pin *pin)
{
	struct check *check = arg;

	check->report.ledger_pins++;
	for (size_t i = 0; i < pin->count; i++) {
		check_step(check);
		judge_extent(check, pin, &pin->extents[i]);
	}
	return 0;
}

int check_ledger(struct check *check)
{
	int ret;

	check_phase(check, "ledger");
	ret = meta_ledger_check(check->meta, &check->visitor, &check->report.ledger_void);
	if (ret == 0)
		ret = meta_ledger_visit(check->meta, see_session, see_pin, check);
	if (check->report.ledger_void != 0)
		check_note(check, "I27", 0, "%lu names in the pin ledger are of no session or no pin",
			   check->report.ledger_void);
	return ret == -EUCLEAN ? 0 : ret; /* damage has been told */
}
