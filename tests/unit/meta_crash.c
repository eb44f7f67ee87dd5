/*
 * A process that works on a pool is killed at any moment, again and again. What it had acknowledged is there after
 * that; of what it was doing, all or nothing.
 */
#include "meta_model.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* Shared by both processes. */
struct progress {
	_Atomic bool started;
	_Atomic uint64_t steps; /* of the double, committed or aborted */
};

static void work(struct scratch *scratch, struct model *model, struct progress *progress, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	scratch_open(scratch);
	atomic_store(&progress->started, true);
	for (;;) {
		model_step(model, scratch->meta);
		atomic_store(&progress->steps, model->steps);
	}
}

/* Starts a worker and kills it `delay` microseconds after its first step began. */
static void work_and_die(struct scratch *scratch, struct model *model, struct progress *progress, unsigned delay)
{
	pid_t parent = getpid();
	pid_t pid;
	int status;

	atomic_store(&progress->started, false);
	atomic_store(&progress->steps, model->steps);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		work(scratch, model, progress, parent);
	while (!atomic_load(&progress->started) && waitpid(pid, &status, WNOHANG) == 0)
		usleep(100);
	usleep(delay);
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("the worker has ended by itself");
}

/* Brings the double to where the media are: what was acknowledged, or one step more. */
static void catch_up(struct model *model, struct meta *meta, uint64_t acknowledged)
{
	while (model->steps < acknowledged)
		model_step(model, NULL);
	if (model_differs(model, meta) != NULL)
		model_step(model, NULL);
	model_verify(model, meta);
}

static void test_kill(void **state)
{
	enum { ROUNDS = 200 };
	static struct model model;
	struct progress *progress;
	struct scratch scratch;
	uint32_t random = 99;

	(void)state;
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(progress != MAP_FAILED);
	scratch_create(&scratch, META_SIZE_MIN);
	model_create(&model, scratch.meta, 2024);
	meta_close(scratch.meta);
	scratch.meta = NULL;
	for (unsigned round = 0; round < ROUNDS; round++) {
		random = random * 1664525u + 1013904223u;
		work_and_die(&scratch, &model, progress, (random >> 16) % 4000);
		scratch_open(&scratch);
		catch_up(&model, scratch.meta, atomic_load(&progress->steps));
		meta_close(scratch.meta);
		scratch.meta = NULL;
	}
	assert_true(model.steps > ROUNDS);
	scratch_destroy(&scratch);
	munmap(progress, sizeof(*progress));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
