#include "base/fault.h"

#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

/* A thread's access in progress; the handler runs in the thread that made it. */
static _Thread_local sigjmp_buf *volatile fault_jump;
static _Thread_local const void *volatile fault_address;

static struct sigaction fault_previous;
static pthread_mutex_t fault_mutex = PTHREAD_MUTEX_INITIALIZER; /* leaf; protects fault_previous while it is set, and
								 * who enters a name */

/* ---- Names of mappings ---- */

/* Read by the handler at any time: `base` is set last and cleared first. Zero: free. */
struct fault_range {
	_Atomic uintptr_t base;
	_Atomic size_t length;
	_Atomic(const char *) path;
};
static struct fault_range fault_range[FAULT_NAMES_MAX];

void fault_name(const void *base, size_t length, const char *path)
{
	pthread_mutex_lock(&fault_mutex);
	for (size_t i = 0; i < FAULT_NAMES_MAX; i++) {
		struct fault_range *range = &fault_range[i];

		if (atomic_load(&range->base) != 0)
			continue;
		atomic_store(&range->length, length);
		atomic_store(&range->path, path);
		atomic_store(&range->base, (uintptr_t)base);
		break;
	}
	pthread_mutex_unlock(&fault_mutex);
}

void fault_unname(const void *base)
{
	for (size_t i = 0; base != NULL && i < FAULT_NAMES_MAX; i++) {
		uintptr_t expected = (uintptr_t)base;

		if (atomic_compare_exchange_strong(&fault_range[i].base, &expected, 0))
			return;
	}
}

/* ---- The message: what follows is called by the handler, and uses nothing that is not async-signal-safe ---- */

struct line {
	char text[512];
	size_t length;
};

static void put(struct line *line, const char *text)
{
	while (*text != '\0' && line->length < sizeof(line->text) - 1)
		line->text[line->length++] = *text++;
}

static void put_number(struct line *line, uint64_t number, unsigned base)
{
	char digits[24];
	size_t at = sizeof(digits) - 1;

	digits[at] = '\0';
	do {
		digits[--at] = "0123456789abcdef"[number % base];
		number /= base;
	} while (number > 0);
	put(line, &digits[at]);
}

static void tell(const siginfo_t *info)
{
	const uintptr_t address = (uintptr_t)info->si_addr;
	struct line line = {.length = 0};

	for (size_t i = 0; i < FAULT_NAMES_MAX; i++) {
		uintptr_t base = atomic_load(&fault_range[i].base);

		if (base == 0 || address < base || address - base >= atomic_load(&fault_range[i].length))
			continue;
		put(&line, atomic_load(&fault_range[i].path));
		put(&line, ": at byte ");
		put_number(&line, address - base, 10);
		put(&line, ", ");
		break;
	}
	put(&line, "at address 0x");
	put_number(&line, address, 16);
	put(&line, info->si_code == BUS_ADRERR ? ": nothing is behind that memory any more: the file was truncated, or "
						 "its disk is full or fails"
					       : ": an uncorrectable memory error");
	put(&line, " (SIGBUS): this process cannot go on. Then run `pinfs fsck`\n");
	log_from_signal(line.text, line.length);
}

/* What is not a guarded access is a matter of whoever handled it before: by default the end of the process. */
static void pass_on(int number, siginfo_t *info, void *context)
{
	const bool fault = info->si_code > 0;

	if (fault)
		tell(info);
	if ((fault_previous.sa_flags & SA_SIGINFO) != 0) {
		fault_previous.sa_sigaction(number, info, context);
		return;
	}
	if (!fault && fault_previous.sa_handler == SIG_IGN)
		return;
	if (fault_previous.sa_handler != SIG_DFL && fault_previous.sa_handler != SIG_IGN) {
		fault_previous.sa_handler(number);
		return;
	}
	/* The access is repeated on return, and ends the process with a core that shows it. */
	(void)signal(number, SIG_DFL);
	if (!fault)
		(void)raise(number);
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	const ucontext_t *interrupted = context;
	sigjmp_buf *jump = fault_jump;

	/* A hint about memory that nobody has touched: whoever does will see. */
	if (info->si_code == BUS_MCEERR_AO)
		return;
	if (jump == NULL || info->si_code <= 0) {
		pass_on(number, info, context);
		return;
	}
	fault_jump = NULL;
	fault_address = info->si_addr;
	/* Who has wrapped sigaction(2), as sanitizers do, may have blocked more for the handler than was asked for. */
	(void)pthread_sigmask(SIG_SETMASK, &interrupted->uc_sigmask, NULL);
	siglongjmp(*jump, 1);
}

int fault_install(void)
{
	struct sigaction action, before;
	int error = 0;

	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_sigbus;
	/* Not blocked while it runs: it is left by a jump, and another one may come to the same thread. */
	action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;
	sigemptyset(&action.sa_mask);
	pthread_mutex_lock(&fault_mutex);
	if (sigaction(SIGBUS, NULL, &before) != 0)
		error = -errno;
	else if ((before.sa_flags & SA_SIGINFO) == 0 || before.sa_sigaction != on_sigbus) {
		fault_previous = before;
		error = sigaction(SIGBUS, &action, NULL) == 0 ? 0 : -errno;
	}
	pthread_mutex_unlock(&fault_mutex);
	return error;
}

void fault_fill_others(sigset_t *ret_set)
{
	static const int own[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};

	sigfillset(ret_set);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(ret_set, own[i]);
}

bool fault_run(void (*access)(void *arg), void *arg, const void **ret_fault)
{
	sigjmp_buf jump;

	if (sigsetjmp(jump, 0) != 0) {
		*ret_fault = fault_address;
		return false;
	}
	fault_jump = &jump;
	/* The access happens between the two stores, also where the compiler sees all of it. */
	atomic_signal_fence(memory_order_seq_cst);
	access(arg);
	atomic_signal_fence(memory_order_seq_cst);
	fault_jump = NULL;
	return true;
}
