/* Who would lose what it has pinned if a pool that is not mounted were made anew. */
#include "fs/pinning.h"

#include <unistd.h>

struct asked {
	int (*visit)(void *arg, const struct process_identity *process);
	void *arg;
};

static int see_session(void *arg, const struct meta_session *session)
{
	const struct asked *asked = arg;
	struct process_identity identity;
	enum process_fate fate;
	int pidfd = -1;

	fs_identity_of(session, &identity);
	/* What cannot be looked at is not proven dead. */
	if (process_find(&identity, &fate, &pidfd) != 0)
		fate = PROCESS_UNSEEN;
	if (pidfd >= 0)
		close(pidfd);
	return fate == PROCESS_DEAD ? 0 : asked->visit(asked->arg, &identity);
}

static int pass_pin(void *arg, const struct meta_pin *pin)
{
	(void)arg;
	(void)pin;
	return 0;
}

int fs_living_holders(const char *meta_path, int (*visit)(void *arg, const struct process_identity *process), void *arg,
		      struct message *message)
{
	struct asked asked = {.visit = visit, .arg = arg};
	struct meta *meta;
	int error = meta_probe(meta_path, message);

	if (error == 0)
		error = meta_open(meta_path, META_OPEN_COPY, &meta, message);
	if (error != 0)
		return error;
	error = meta_ledger_visit(meta, see_session, pass_pin, &asked);
	meta_close(meta);
	return error;
}
