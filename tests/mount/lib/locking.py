"""Locks of files: what each of two processes gets, in FOLDER; traces are compared. locking.py FOLDER"""
import errno
import fcntl
import itertools
import os
import pickle
import re
import select
import signal
import struct
import sys
import time

from calls import opened
from traces import answer, trace

F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
FLOCK = struct.Struct('hhqqi4x')  # type, whence, start, length, pid
KINDS = {'read': fcntl.F_RDLCK, 'write': fcntl.F_WRLCK, 'unlock': fcntl.F_UNLCK}
WAIT = 30


def lock(fd, command, kind, start=0, length=0):
    got = fcntl.fcntl(fd, command, FLOCK.pack(KINDS[kind], os.SEEK_SET, start, length, 0))
    kind, _, start, length, pid = FLOCK.unpack(got)
    return (kind, start, length, pid) if command in (fcntl.F_GETLK, F_OFD_GETLK) else None


PARENTS = set()  # ends of pipes that a later child may not keep open


class Process:
    """Another process, with a descriptor of its own of the file; it does what it is told."""

    def __init__(self, flags=os.O_RDWR):
        self.orders, orders = os.pipe()
        answers, self.answers = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for fd in (orders, answers, *PARENTS):
                os.close(fd)
            try:
                self.serve(flags)
            finally:
                os._exit(99)
        os.close(self.orders)
        os.close(self.answers)
        self.orders, self.answers = orders, answers
        PARENTS.update((orders, answers))

    def serve(self, flags):
        fd = os.open('f', flags)
        while True:
            order = os.read(self.orders, 65536)
            if not order:
                os._exit(0)
            name, args = pickle.loads(order)
            os.write(self.answers, pickle.dumps(answer(getattr(self, 'do_' + name), fd, *args)))

    def start(self, name, *args):
        os.write(self.orders, pickle.dumps((name, args)))

    def result(self):
        assert select.select([self.answers], [], [], WAIT)[0], 'no answer'
        return pickle.loads(os.read(self.answers, 65536))

    def __call__(self, name, *args):
        self.start(name, *args)
        return self.result()

    def waits(self):
        """Until it sleeps in the kernel, waiting for the lock. An answer instead is a failure."""
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            assert not select.select([self.answers], [], [], 0)[0], f'it did not wait: {self.result()}'
            with open(f'/proc/{self.pid}/wchan', encoding='ascii') as wchan:
                if re.search('lock|setlk', wchan.read()):  # locks_lock_inode_wait, fcntl_setlk
                    return True
        return False

    def end(self):
        for fd in (self.orders, self.answers):
            os.close(fd)
            PARENTS.discard(fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    # What it can be told.

    def do_flock(self, fd, operation):
        fcntl.flock(fd, operation)
        return 'locked'

    def do_lock(self, fd, *args):
        return lock(fd, *args)

    def do_reopen(self, fd):
        """A descriptor more of the file, closed: POSIX locks go with it, others stay."""
        os.close(os.open('f', os.O_RDONLY))
        return 'closed'

    def do_dup(self, fd):
        os.close(os.dup(fd))
        return 'closed'

    def do_fork(self, fd):
        """A child locks by the same description."""
        child = os.fork()
        if child == 0:
            result = answer(lock, fd, fcntl.F_SETLK, 'write')
            os._exit(0 if result is None else errno.__dict__[result])
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def do_alarm(self, fd, command):
        """A lock that is waited for, until a signal."""
        signal.signal(signal.SIGALRM, self.interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            if command == 'flock':
                fcntl.flock(fd, fcntl.LOCK_EX)
            else:
                lock(fd, command, 'write')
        except InterruptedError:
            return 'interrupted'
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return 'locked'

    @staticmethod
    def interrupt(*_):
        raise InterruptedError(errno.EINTR, 'a signal')

    def do_exec(self, fd, name):
        """Becomes another program, which waits: its locks stay, unless the descriptor is closed."""
        os.set_inheritable(fd, name == 'keep')
        os.write(self.answers, pickle.dumps('exec'))
        os.dup2(self.orders, 0)
        os.execv('/bin/cat', ['cat'])


def flocks():
    operations = {'shared': fcntl.LOCK_SH, 'exclusive': fcntl.LOCK_EX}
    for flags in (os.O_RDWR, os.O_RDONLY, os.O_WRONLY):
        one, two = Process(flags), Process(flags)
        for (name, first), (other, second) in itertools.product(operations.items(), operations.items()):
            trace(f'flock {flags} {name}', one, 'flock', first)
            trace(f'flock {flags} {other} besides', two, 'flock', second | fcntl.LOCK_NB)
            trace('... unlocked', one, 'flock', fcntl.LOCK_UN)
            trace('... again', two, 'flock', second | fcntl.LOCK_NB)
            trace('... upgraded', two, 'flock', fcntl.LOCK_EX | fcntl.LOCK_NB)
            trace('... unlocked too', two, 'flock', fcntl.LOCK_UN)
        trace('exit', one, 'flock', fcntl.LOCK_EX)
        two.start('flock', fcntl.LOCK_EX)
        trace('it waits', two.waits)
        trace('... exit code', one.end)
        trace('... then', two.result)
        one = Process(flags)
        trace('interrupted', one, 'alarm', 'flock')
        trace('dup closed', two, 'dup')
        trace('... stays', one, 'flock', fcntl.LOCK_SH | fcntl.LOCK_NB)
        trace('another closed', two, 'reopen')
        trace('... stays', one, 'flock', fcntl.LOCK_SH | fcntl.LOCK_NB)
        trace('killed', os.kill, two.pid, signal.SIGKILL)
        trace('... exit code', two.end)
        trace('... goes', one, 'flock', fcntl.LOCK_EX)
        one.end()
    trace('flock and POSIX do not know each other', apart)


def apart():
    one, two = Process(), Process()
    got = one('flock', fcntl.LOCK_EX), two('lock', fcntl.F_SETLK, 'write')
    one.end()
    two.end()
    return got


RANGES = ((0, 0), (0, 1), (1, 1), (100, 50), (149, 1), (150, 10), (50, 100), (2**63 - 2, 1), (2**62, 0), (200, -50))


def ranges(get, put):
    one, two = Process(), Process()
    for kind, other in itertools.product(('read', 'write'), repeat=2):
        for held, asked in itertools.product(((0, 0), (100, 50), (149, 1), (2**62, 0)), RANGES):
            trace(f'{kind} {held}', one, 'lock', put, kind, *held)
            trace(f'{other} {asked} besides', two, 'lock', put, other, *asked)
            found = two('lock', get, other, *asked)
            trace('... in the way', lambda found=found: found if isinstance(found, str) else
                  (*found[:3], {one.pid: 'one', 0: 'none', -1: 'a description'}.get(found[3], 'other')))
            two('lock', put, 'unlock')
            one('lock', put, 'unlock')
    # Split, and joined again.
    trace('held', one, 'lock', put, 'write', 0, 300)
    trace('a part of it unlocked', one, 'lock', put, 'unlock', 100, 100)
    trace('a part of it for reading', one, 'lock', put, 'read', 250, 10)
    for start in range(0, 320, 10):
        trace(f'at {start}', lambda start=start: [two('lock', get, kind, start, 10)[:3] for kind in ('read', 'write')])
    trace('joined', one, 'lock', put, 'write', 0, 300)
    trace('... one', lambda: two('lock', get, 'read', 150, 1)[:3])
    one.end()
    two.end()


def ends(put, wait):
    """What gives a lock back, and what does not."""
    for name in ('reopen', 'dup', 'fork'):
        one, two = Process(), Process()
        trace(name, one, 'lock', put, 'write')
        trace('... does', one, name)
        trace('... besides', two, 'lock', put, 'write')
        one.end()
        two.end()
    for name in ('keep', 'drop'):
        one, two = Process(), Process()
        trace(f'exec {name}', one, 'lock', put, 'write')
        trace('... does', one, 'exec', name)
        with open(f'/proc/{one.pid}/comm', encoding='ascii') as comm:
            end = time.monotonic() + WAIT
            while comm.read() != 'cat\n' and time.monotonic() < end:
                comm.seek(0)
        trace('... besides', two, 'lock', put, 'write')
        one.end()
        trace('... at its end', two, 'lock', wait, 'write')
        two.end()


def waits(put, wait):
    one, two, three = Process(), Process(), Process()
    trace('held', one, 'lock', put, 'write', 0, 10)
    two.start('lock', wait, 'read', 5, 1)
    three.start('lock', wait, 'read', 9, 1)
    trace('both wait', lambda: (two.waits(), three.waits()))
    trace('unlocked', one, 'lock', put, 'unlock', 0, 10)
    trace('both get it', lambda: (two.result(), three.result()))
    trace('interrupted', one, 'alarm', wait)
    trace('nothing is left of it', two, 'lock', put, 'write', 5, 1)
    one.start('lock', wait, 'write')
    trace('one waits', one.waits)
    trace('killed', os.kill, two.pid, signal.SIGKILL)
    trace('... code', two.end)
    trace('another ends', three.end)
    trace('one gets it', one.result)
    one.end()


def deadlock():
    one, two, three = Process(), Process(), Process()
    for number, process in enumerate((one, two, three)):
        trace('held', process, 'lock', fcntl.F_SETLK, 'write', number, 1)
    one.start('lock', fcntl.F_SETLKW, 'write', 1, 1)
    two.start('lock', fcntl.F_SETLKW, 'write', 2, 1)
    trace('two wait', lambda: (one.waits(), two.waits()))
    trace('the circle is refused', three, 'lock', fcntl.F_SETLKW, 'write', 0, 1)
    trace('unlocked', three, 'lock', fcntl.F_SETLK, 'unlock')
    trace('the second goes on', two.result)
    two.end()
    trace('the first goes on', one.result)
    one.end()
    three.end()


def refusals():
    reader, writer = Process(os.O_RDONLY), Process(os.O_WRONLY)
    for name, put in (('POSIX', fcntl.F_SETLK), ('OFD', F_OFD_SETLK)):
        trace(f'{name}: write lock without writing', reader, 'lock', put, 'write')
        trace(f'{name}: read lock without reading', writer, 'lock', put, 'read')
        trace(f'{name}: negative start', reader, 'lock', put, 'read', -1)
        trace(f'{name}: length before the start', reader, 'lock', put, 'read', 5, -6)
        trace(f'{name}: past the largest offset', reader, 'lock', put, 'read', 2**63 - 1, 2)
    trace('flock: nonsense', reader, 'flock', 0)
    reader.end()
    writer.end()
    os.mkdir('folder')
    with opened('folder', os.O_RDONLY) as fd:
        trace('flock of a folder', fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        trace('POSIX of a folder', lock, fd, fcntl.F_SETLK, 'read')
    with opened('f', os.O_PATH) as fd:
        trace('flock of O_PATH', fcntl.flock, fd, fcntl.LOCK_EX)


def leases():
    """A lease is broken by who opens the file; where the filesystem has none, setting one says so."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    with opened('f', os.O_RDONLY) as fd:
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            print(f'# no leases: {error}')
            return
        print('# leases:', fcntl.fcntl(fd, fcntl.F_GETLEASE))
        try:
            os.close(os.open('f', os.O_WRONLY | os.O_NONBLOCK))
            raise AssertionError('a lease that nobody breaks')
        except BlockingIOError:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    os.close(os.open('f', os.O_WRONLY | os.O_NONBLOCK))


def main():
    os.chdir(sys.argv[1])
    with open('f', 'wb') as file:
        file.write(b'f' * 1000)
    flocks()
    for name, get, put, wait in (('POSIX', fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW),
                                 ('OFD', F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW)):
        print('#', name)
        ranges(get, put)
        ends(put, wait)
        waits(put, wait)
    deadlock()
    refusals()
    leases()


main()
