#include "fault.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <libpmemobj.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define FRAMES 6

static struct fault_plan plan; /* constant while armed */
static atomic_bool armed;
static atomic_uint calls;
static atomic_long allocations;
static pthread_t armer;
static _Thread_local bool inside; /* of this file: what it calls itself does not count */
static struct met {
	const struct fault_function *_Atomic function;
	void *frames[FRAMES];
	int count;
	int error;
} own_met, *met = &own_met;

static void *nothing(void *arg)
{
	return arg;
}

void fault_init(void *shared)
{
	pthread_t thread;

	met = shared;
	free(backtrace_symbols(met->frames, backtrace(met->frames, FRAMES)));
	if (pthread_create(&thread, NULL, nothing, NULL) == 0)
		(void)pthread_join(thread, NULL);
}

void fault_arm(const struct fault_plan *new_plan)
{
	plan = *new_plan;
	armer = pthread_self();
	atomic_store(&calls, 0);
	atomic_store(&met->function, NULL);
	atomic_store(&armed, true);
}

unsigned fault_disarm(void)
{
	atomic_store(&armed, false);
	return atomic_load(&calls);
}

const char *fault_met(void)
{
	static char words[1024];
	const struct fault_function *function = atomic_load(&met->function);
	char **names;

	if (function == NULL)
		return "";
	(void)snprintf(words, sizeof(words), "%s", function->name);
	names = backtrace_symbols(met->frames, met->count);
	for (int i = 2; names != NULL && i < met->count; i++) {
		const char *start = strrchr(names[i], '/'), *shown = start != NULL ? start + 1 : names[i];
		size_t used = strlen(words);

		(void)snprintf(words + used, sizeof(words) - used, " < %.*s", (int)strcspn(shown, ")") + 1, shown);
	}
	free(names);
	return words;
}

int fault_error(void)
{
	return met->error;
}

bool fault_has_variant(unsigned variant)
{
	const struct fault_function *function = atomic_load(&met->function);

	return function != NULL && variant < FAULT_VARIANTS && function->error[variant] != 0;
}

long fault_allocations(void)
{
	return atomic_load(&allocations);
}

bool fault_fails(const struct fault_function *function)
{
	unsigned variant, call;

	if (!atomic_load_explicit(&armed, memory_order_relaxed) || (plan.kinds & function->kind) == 0 || inside ||
	    (pthread_equal(armer, pthread_self()) != 0) == plan.others)
		return false;
	call = atomic_fetch_add(&calls, 1) + 1;
	if (plan.n == 0 || (plan.sticky ? call < plan.n : call != plan.n))
		return false;
	variant = plan.variant;
	while (variant > 0 && function->error[variant] == 0)
		variant--;
	if (atomic_load(&met->function) == NULL) {
		inside = true;
		met->count = backtrace(met->frames, FRAMES);
		inside = false;
		met->error = function->error[variant];
		atomic_store(&met->function, function);
	}
	errno = function->error[variant];
	return true;
}

#define FUNCTION(NAME, KIND, ...) static const struct fault_function f_##NAME = {#NAME, KIND, {__VA_ARGS__}}

/* ---- Memory ---- */

/* As the C library calls its own. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

FUNCTION(malloc, FAULT_MEMORY, ENOMEM);
FUNCTION(calloc, FAULT_MEMORY, ENOMEM);
FUNCTION(realloc, FAULT_MEMORY, ENOMEM);
FUNCTION(aligned_alloc, FAULT_MEMORY, ENOMEM);

static void *counted(void *memory)
{
	if (memory != NULL)
		atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
	return memory;
}

void *malloc(size_t size)
{
	return fault_fails(&f_malloc) ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
	return fault_fails(&f_calloc) ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size)
{
	if (fault_fails(&f_realloc))
		return NULL;
	return memory == NULL ? counted(__libc_malloc(size)) : __libc_realloc(memory, size);
}

void *reallocarray(void *memory, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return fault_fails(&f_aligned_alloc) ? NULL : counted(__libc_memalign(alignment, size));
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
	return aligned_alloc(alignment, size);
}

int posix_memalign(void **ret_memory, size_t alignment, size_t size)
{
	void *memory = aligned_alloc(alignment, size);

	if (memory == NULL)
		return ENOMEM;
	*ret_memory = memory;
	return 0;
}

void free(void *memory)
{
	if (memory != NULL)
		atomic_fetch_sub_explicit(&allocations, 1, memory_order_relaxed);
	__libc_free(memory);
}

/* ---- Transactions ---- */

FUNCTION(pmemobj_tx_begin, FAULT_BEGIN, ENOMEM);
FUNCTION(pmemobj_tx_log_auto_alloc, FAULT_BEGIN, ENOMEM);
FUNCTION(pmemobj_tx_add_range_direct, FAULT_SNAPSHOT, ENOMEM);
FUNCTION(pmemobj_tx_xadd_range_direct, FAULT_SNAPSHOT, ENOMEM);
FUNCTION(pmemobj_tx_commit, FAULT_COMMIT, ENOMEM);

/* The function itself, of the library that comes next. */
#define REAL(NAME)                                                                                                     \
	__extension__({                                                                                                \
		static __typeof__(&NAME) real;                                                                         \
		if (real == NULL) {                                                                                    \
			inside = true;                                                                                 \
			*(void **)&real = dlsym(RTLD_NEXT, #NAME);                                                     \
			inside = false;                                                                                \
		}                                                                                                      \
		real;                                                                                                  \
	})

int pmemobj_tx_begin(PMEMobjpool *pop, jmp_buf env, ...)
{
	int error = REAL(pmemobj_tx_begin)(pop, env, TX_PARAM_NONE); /* pinfs uses no parameters */

	/* As libpmemobj does it: the transaction is there, aborted, and waits to be ended. */
	if (error == 0 && fault_fails(&f_pmemobj_tx_begin)) {
		error = errno;
		pmemobj_tx_abort(error);
	}
	return error;
}

int pmemobj_tx_log_auto_alloc(enum pobj_log_type type, int on)
{
	return fault_fails(&f_pmemobj_tx_log_auto_alloc) ? errno : REAL(pmemobj_tx_log_auto_alloc)(type, on);
}

int pmemobj_tx_add_range_direct(const void *address, size_t size)
{
	return fault_fails(&f_pmemobj_tx_add_range_direct) ? errno : REAL(pmemobj_tx_add_range_direct)(address, size);
}

int pmemobj_tx_xadd_range_direct(const void *address, size_t size, uint64_t flags)
{
	return fault_fails(&f_pmemobj_tx_xadd_range_direct) ? errno
							    : REAL(pmemobj_tx_xadd_range_direct)(address, size, flags);
}

void pmemobj_tx_commit(void)
{
	if (fault_fails(&f_pmemobj_tx_commit))
		pmemobj_tx_abort(errno);
	else
		REAL(pmemobj_tx_commit)();
}

/* ---- Mappings ---- */

FUNCTION(mmap, FAULT_MAP, ENOMEM);
FUNCTION(mprotect, FAULT_MAP, ENOMEM);
FUNCTION(madvise, FAULT_MAP, ENOMEM);
FUNCTION(memfd_create, FAULT_MAP, ENOMEM, EMFILE);
FUNCTION(ftruncate, FAULT_MAP, ENOSPC, EIO);
FUNCTION(msync, FAULT_SYNC, EIO, ENOMEM);
FUNCTION(fsync, FAULT_SYNC, EIO);

static void *map(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return fault_fails(&f_mmap) ? MAP_FAILED
				    : (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

/* Both names: programs with 64 bit offsets call mmap64. */
void *fault_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) __asm__("mmap");
void *fault_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return map(address, length, protection, flags, fd, offset);
}

void *fault_mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset) __asm__("mmap64");
void *fault_mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return map(address, length, protection, flags, fd, offset);
}

int mprotect(void *address, size_t length, int protection)
{
	return fault_fails(&f_mprotect) ? -1 : (int)syscall(SYS_mprotect, address, length, protection);
}

int madvise(void *address, size_t length, int advice)
{
	return fault_fails(&f_madvise) ? -1 : (int)syscall(SYS_madvise, address, length, advice);
}

int memfd_create(const char *name, unsigned flags)
{
	return fault_fails(&f_memfd_create) ? -1 : (int)syscall(SYS_memfd_create, name, flags);
}

int fault_ftruncate(int fd, off_t length) __asm__("ftruncate");
int fault_ftruncate(int fd, off_t length)
{
	return fault_fails(&f_ftruncate) ? -1 : (int)syscall(SYS_ftruncate, fd, length);
}

int fault_ftruncate64(int fd, off_t length) __asm__("ftruncate64");
int fault_ftruncate64(int fd, off_t length)
{
	return fault_ftruncate(fd, length);
}

int msync(void *address, size_t length, int flags)
{
	return fault_fails(&f_msync) ? -1 : (int)syscall(SYS_msync, address, length, flags);
}

int fsync(int fd)
{
	return fault_fails(&f_fsync) ? -1 : (int)syscall(SYS_fsync, fd);
}

/* ---- Sockets, and what is done with them ---- */

FUNCTION(socket, FAULT_SOCKET, EMFILE, ENOMEM);
FUNCTION(socketpair, FAULT_SOCKET, EMFILE, ENOMEM);
FUNCTION(connect, FAULT_SOCKET, ECONNREFUSED, EAGAIN);
FUNCTION(bind, FAULT_SOCKET, EADDRINUSE, ENOMEM);
FUNCTION(listen, FAULT_SOCKET, EADDRINUSE);
FUNCTION(accept4, FAULT_SOCKET, EMFILE, ECONNABORTED, ENOMEM);
FUNCTION(sendmsg, FAULT_SOCKET, EPIPE, ENOBUFS, ETOOMANYREFS);
FUNCTION(recvmsg, FAULT_SOCKET, ECONNRESET, ENOMEM, EINTR);
FUNCTION(send, FAULT_SOCKET, EPIPE, ENOBUFS);
FUNCTION(getsockopt, FAULT_SOCKET, EMFILE, ENOMEM);
FUNCTION(setsockopt, FAULT_SOCKET, ENOMEM);
FUNCTION(epoll_create1, FAULT_SOCKET, EMFILE, ENOMEM);
FUNCTION(epoll_ctl, FAULT_SOCKET, ENOMEM, ENOSPC);
FUNCTION(eventfd, FAULT_SOCKET, EMFILE, ENOMEM);
FUNCTION(timerfd_create, FAULT_SOCKET, EMFILE, ENOMEM);
FUNCTION(pidfd_open, FAULT_SOCKET, EMFILE, ENOMEM, ESRCH);

int socket(int domain, int type, int protocol)
{
	return fault_fails(&f_socket) ? -1 : (int)syscall(SYS_socket, domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int fds[2])
{
	return fault_fails(&f_socketpair) ? -1 : (int)syscall(SYS_socketpair, domain, type, protocol, fds);
}

int fault_connect(int fd, const void *address, socklen_t length) __asm__("connect");
int fault_connect(int fd, const void *address, socklen_t length)
{
	return fault_fails(&f_connect) ? -1 : (int)syscall(SYS_connect, fd, address, length);
}

int fault_bind(int fd, const void *address, socklen_t length) __asm__("bind");
int fault_bind(int fd, const void *address, socklen_t length)
{
	return fault_fails(&f_bind) ? -1 : (int)syscall(SYS_bind, fd, address, length);
}

int listen(int fd, int backlog)
{
	return fault_fails(&f_listen) ? -1 : (int)syscall(SYS_listen, fd, backlog);
}

int fault_accept4(int fd, void *address, socklen_t *length, int flags) __asm__("accept4");
int fault_accept4(int fd, void *address, socklen_t *length, int flags)
{
	return fault_fails(&f_accept4) ? -1 : (int)syscall(SYS_accept4, fd, address, length, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	return fault_fails(&f_sendmsg) ? -1 : syscall(SYS_sendmsg, fd, message, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	return fault_fails(&f_recvmsg) ? -1 : syscall(SYS_recvmsg, fd, message, flags);
}

ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
	return fault_fails(&f_send) ? -1 : syscall(SYS_sendto, fd, bytes, size, flags, NULL, 0);
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
	return fault_fails(&f_getsockopt) ? -1 : (int)syscall(SYS_getsockopt, fd, level, name, value, length);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
	return fault_fails(&f_setsockopt) ? -1 : (int)syscall(SYS_setsockopt, fd, level, name, value, length);
}

int epoll_create1(int flags)
{
	return fault_fails(&f_epoll_create1) ? -1 : (int)syscall(SYS_epoll_create1, flags);
}

/* Taking a descriptor out needs nothing: it cannot fail. */
int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
	return what != EPOLL_CTL_DEL && fault_fails(&f_epoll_ctl) ? -1
								  : (int)syscall(SYS_epoll_ctl, epoll, what, fd, event);
}

int eventfd(unsigned count, int flags)
{
	return fault_fails(&f_eventfd) ? -1 : (int)syscall(SYS_eventfd2, count, flags);
}

int timerfd_create(int clock, int flags)
{
	return fault_fails(&f_timerfd_create) ? -1 : (int)syscall(SYS_timerfd_create, clock, flags);
}

int pidfd_open(pid_t pid, unsigned flags)
{
	return fault_fails(&f_pidfd_open) ? -1 : (int)syscall(SYS_pidfd_open, pid, flags);
}

/* ---- Threads ---- */

FUNCTION(pthread_create, FAULT_THREAD, EAGAIN);

int pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*body)(void *arg), void *arg)
{
	return fault_fails(&f_pthread_create) ? errno : REAL(pthread_create)(ret_thread, attr, body, arg);
}
