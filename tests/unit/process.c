/* Who a process is: identity, fate, dying; with real processes. */
#include "base/process.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A child that says through a pipe that it runs, and then does what `body` does. */
static pid_t child(void (*body)(int ready))
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		body(ready[1]);
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void say(int ready)
{
	(void)!write(ready, "r", 1);
}

static void sleeps(int ready)
{
	say(ready);
	for (;;)
		pause();
}

static void await_death(int pidfd)
{
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};

	assert_int_equal(poll(&poll_fd, 1, 60000), 1);
}

static void test_self(void **state)
{
	struct process_identity self, again;
	int pidfd;

	(void)state;
	assert_int_equal(process_identify(getpid(), &self, &pidfd), 0);
	close(pidfd);
	assert_int_equal(self.pid, getpid());
	assert_true(self.start_time > 0);
	assert_true(self.pid_namespace > 0);
	assert_string_equal(self.command, "unit-process");
	assert_int_equal(process_identify(getpid(), &again, &pidfd), 0);
	close(pidfd);
	assert_memory_equal(&self, &again, sizeof(self));
	assert_int_equal(process_identify(0, &self, &pidfd), -EINVAL);
	assert_int_equal(process_identify(-5, &self, &pidfd), -EINVAL);
	assert_int_equal(process_identify(0x3fffffff, &self, &pidfd), -ESRCH);
	assert_false(process_dying(getpid()));
	assert_false(process_dying(0));
	assert_false(process_dying(0x3fffffff));
}

/* Commands are what their owner likes: the fields behind them are found all the same. */
static void strange_name(int ready)
{
	(void)prctl(PR_SET_NAME, ") R 1 (x) 9");
	sleeps(ready);
}

static void test_strange_name(void **state)
{
	struct process_identity plain, strange;
	int pidfd, other;
	pid_t pid = child(strange_name);

	(void)state;
	assert_int_equal(process_identify(getpid(), &plain, &other), 0);
	assert_int_equal(process_identify(pid, &strange, &pidfd), 0);
	assert_string_equal(strange.command, ") R 1 (x) 9");
	assert_true(strange.start_time >= plain.start_time && strange.start_time < plain.start_time + 100000);
	assert_false(process_dying(pid));
	close(other);
	close(pidfd);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_fate(void **state)
{
	struct process_identity identity, other;
	enum process_fate fate;
	int pidfd, again;
	pid_t pid = child(sleeps);

	(void)state;
	assert_int_equal(process_identify(pid, &identity, &pidfd), 0);
	assert_int_equal(process_find(&identity, &fate, &again), 0);
	assert_int_equal(fate, PROCESS_LIVES);
	assert_true(again >= 0);
	close(again);
	other = identity;
	other.boot_id[3] ^= 1;
	assert_int_equal(process_find(&other, &fate, &again), 0);
	assert_int_equal(fate, PROCESS_DEAD);
	assert_int_equal(again, -1);
	other = identity;
	other.pid_namespace++;
	assert_int_equal(process_find(&other, &fate, &again), 0);
	assert_int_equal(fate, PROCESS_UNSEEN);
	assert_int_equal(again, -1);
	/* Another process has its number. */
	other = identity;
	other.start_time++;
	other.pidfs_inode = 0;
	assert_int_equal(process_find(&other, &fate, &again), 0);
	assert_int_equal(fate, PROCESS_DEAD);
	if (identity.pidfs_inode != 0) {
		other = identity;
		other.pidfs_inode++;
		assert_int_equal(process_find(&other, &fate, &again), 0);
		assert_int_equal(fate, PROCESS_DEAD);
	}
	/* Killed, and not even waited for. */
	kill(pid, SIGKILL);
	await_death(pidfd);
	assert_int_equal(process_find(&identity, &fate, &again), 0);
	assert_int_equal(fate, PROCESS_DEAD);
	assert_int_equal(process_identify(pid, &other, &again), -ESRCH);
	waitpid(pid, NULL, 0);
	assert_int_equal(process_find(&identity, &fate, &again), 0);
	assert_int_equal(fate, PROCESS_DEAD);
	close(pidfd);
}

/* ---- Threads ---- */

struct thread_says {
	_Atomic pid_t tid;
	int ready;
	int end;
};

static void *say_number(void *arg)
{
	struct thread_says *says = arg;
	char byte;

	says->tid = (pid_t)syscall(SYS_gettid);
	say(says->ready);
	(void)!read(says->end, &byte, 1);
	return NULL;
}

static void test_thread(void **state)
{
	struct thread_says says;
	struct process_identity identity;
	pthread_t thread;
	int ready[2], end[2];
	int pidfd;
	char byte;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(end), 0);
	says = (struct thread_says){.ready = ready[1], .end = end[0]};
	assert_int_equal(pthread_create(&thread, NULL, say_number, &says), 0);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(process_of_thread(says.tid), getpid());
	assert_int_equal(process_of_thread(getpid()), getpid());
	assert_int_equal(process_of_thread(0), 0);
	assert_int_equal(process_of_thread(0x3fffffff), 0);
	/* A thread is no process. */
	assert_int_equal(process_identify(says.tid, &identity, &pidfd), -ESRCH);
	say(end[1]);
	pthread_join(thread, NULL);
	for (unsigned i = 0; i < 2; i++) {
		close(ready[i]);
		close(end[i]);
	}
}

static void *says_when_alone(void *arg)
{
	char state = 0;

	/* Until the first thread is a zombie. */
	while (state != 'Z') {
		char text[256] = {0};
		FILE *stat;
		char path[64];

		(void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
		stat = fopen(path, "re");
		if (stat != NULL && fgets(text, sizeof(text), stat) != NULL)
			state = strrchr(text, ')')[2];
		if (stat != NULL)
			fclose(stat);
	}
	say(*(int *)arg);
	for (;;)
		pause();
	return NULL;
}

static void leader_leaves(int ready)
{
	static int copy;
	pthread_t thread;

	copy = ready;
	(void)pthread_create(&thread, NULL, says_when_alone, &copy);
	pthread_exit(NULL);
}

/* The first thread has exited, the process lives. */
static void test_leader_gone(void **state)
{
	struct process_identity identity;
	enum process_fate fate;
	int pidfd, again;
	pid_t pid = child(leader_leaves);

	(void)state;
	assert_int_equal(process_identify(pid, &identity, &pidfd), 0);
	assert_false(process_dying(pid));
	assert_int_equal(process_find(&identity, &fate, &again), 0);
	assert_int_equal(fate, PROCESS_LIVES);
	close(again);
	kill(pid, SIGKILL);
	await_death(pidfd);
	waitpid(pid, NULL, 0);
	close(pidfd);
}

/* ---- Dying ---- */

static void test_stopped(void **state)
{
	pid_t pid = child(sleeps);
	int status;

	(void)state;
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	assert_false(process_dying(pid));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_dying(void **state)
{
	pid_t zombie = child(sleeps);
	siginfo_t info;

	(void)state;
	/* Dead, and not waited for. */
	kill(zombie, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT), 0);
	assert_true(process_dying(zombie));
	waitpid(zombie, NULL, 0);
	assert_false(process_dying(zombie));
}

/* A tracer holds it up on its way out, as a request of a filesystem would. */
static void test_dying_on_its_way_out(void **state)
{
	pid_t pid = child(sleeps);
	int status;

	(void)state;
	if (syscall(SYS_ptrace, 0x4206 /* PTRACE_SEIZE */, pid, 0, 0x40 /* PTRACE_O_TRACEEXIT */) != 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		skip();
	}
	assert_false(process_dying(pid));
	kill(pid, SIGTERM);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status));
	/* The signal's stop: it may still be taken back. */
	assert_false(process_dying(pid));
	assert_int_equal(syscall(SYS_ptrace, 7 /* PTRACE_CONT */, pid, 0, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status));
	assert_true(process_dying(pid));
	assert_int_equal(syscall(SYS_ptrace, 7, pid, 0, 0), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_self),	    cmocka_unit_test(test_strange_name),
		cmocka_unit_test(test_fate),	    cmocka_unit_test(test_thread),
		cmocka_unit_test(test_leader_gone), cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_dying),	    cmocka_unit_test(test_dying_on_its_way_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
