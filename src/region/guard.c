#include "region/guard.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* A thread's access in progress; the handler runs in the thread that made it. */
static _Thread_local sigjmp_buf *volatile guard_jump;
static _Thread_local const void *volatile guard_fault;
static _Thread_local bool guard_lost;

static struct sigaction guard_previous;
static pthread_mutex_t guard_mutex = PTHREAD_MUTEX_INITIALIZER; /* leaf; protects guard_previous while it is set */

/* What is not an access of ours is a matter of whoever handled it before: by default the end of the process. */
static void pass_on(int number, siginfo_t *info, void *context)
{
	static const char words[] =
		"pinfs: SIGBUS outside of file data: memory of the metadata, or of the program, is lost\n";

	if ((guard_previous.sa_flags & SA_SIGINFO) != 0) {
		guard_previous.sa_sigaction(number, info, context);
		return;
	}
	if (guard_previous.sa_handler != SIG_DFL && guard_previous.sa_handler != SIG_IGN) {
		guard_previous.sa_handler(number);
		return;
	}
	(void)!write(STDERR_FILENO, words, sizeof(words) - 1);
	/* The access is repeated on return, and ends the process with a core that shows it. */
	(void)signal(number, SIG_DFL);
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	sigjmp_buf *jump = guard_jump;

	if (jump == NULL || info->si_code <= 0) {
		pass_on(number, info, context);
		return;
	}
	guard_jump = NULL;
	guard_fault = info->si_addr;
	siglongjmp(*jump, 1);
}

int region_guard_install(void)
{
	struct sigaction action, before;
	int error = 0;

	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_sigbus;
	/* Not blocked while it runs: it is left by a jump, and another one may come to the same thread. */
	action.sa_flags = SA_SIGINFO | SA_NODEFER;
	sigemptyset(&action.sa_mask);
	pthread_mutex_lock(&guard_mutex);
	if (sigaction(SIGBUS, NULL, &before) != 0)
		error = -errno;
	else if ((before.sa_flags & SA_SIGINFO) == 0 || before.sa_sigaction != on_sigbus) {
		guard_previous = before;
		error = sigaction(SIGBUS, &action, NULL) == 0 ? 0 : -errno;
	}
	pthread_mutex_unlock(&guard_mutex);
	return error;
}

bool region_guard_run(void (*access)(void *arg), void *arg, const void **ret_fault)
{
	sigjmp_buf jump;

	if (sigsetjmp(jump, 0) != 0) {
		*ret_fault = guard_fault;
		return false;
	}
	guard_jump = &jump;
	access(arg);
	guard_jump = NULL;
	return true;
}

void region_guard_set_lost(void)
{
	guard_lost = true;
}

bool region_guard_take_lost(void)
{
	bool lost = guard_lost;

	guard_lost = false;
	return lost;
}
