"""Mappings of files. mapping.py COMMAND FOLDER [DAEMON]; see main() for the commands."""
import errno
import mmap
import os
import select
import signal
import sys

import pinfs
from calls import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, equal, fails, fallocate, opened, read_file, sync, wait_for_clock,
                   write_file)

PAGE = 4096
RW = os.O_RDWR | os.O_CREAT


def child(body):
    """A process that does it and answers with its exit status, or minus the signal that has ended it."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = body() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def mapped(fd, length, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE):
    return mmap.mmap(fd, length, flags, prot)


def both_ways(fd):
    """Stores show to read(2), writes show in the mapping: here and in another process, across the pages' borders."""
    with mapped(fd, 4 * PAGE) as here:
        for number, (at, length) in enumerate(((0, 1), (10, 100), (PAGE - 5, 10), (PAGE, PAGE), (PAGE * 2 - 1, PAGE + 2))):
            data = bytes((number * 7 + i) % 251 + 1 for i in range(length))
            here[at:at + length] = data
            equal(os.pread(fd, length, at), data, f'stored at {at}, read')
            equal(child(lambda at=at, data=data: read_file('shared')[at:at + len(data)] != data), 0, 'in a child')
            os.pwrite(fd, data[::-1], at)
            equal(here[at:at + length], data[::-1], f'written at {at}, loaded')

            def store(at=at, data=data):
                with opened('shared', os.O_RDWR) as other, mapped(other, 4 * PAGE) as there:
                    if there[at:at + len(data)] != data[::-1]:
                        return 1
                    there[at:at + len(data)] = data
                return 0
            equal(child(store), 0, 'loaded in a child')
            equal(here[at:at + length], data, 'stored by a child')
            equal(os.pread(fd, length, at), data, 'stored by a child, read')


def other_changes(fd):
    """What else changes a file's bytes shows in a mapping of it."""
    with mapped(fd, 4 * PAGE) as here:
        here[:] = b'x' * 4 * PAGE
        fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, PAGE - 10, PAGE)
        equal(here[PAGE - 11:2 * PAGE - 9], b'x' + bytes(PAGE) + b'x', 'a hole')
        write_file('source', b's' * 100)
        with opened('source', os.O_RDONLY) as source:
            equal(os.copy_file_range(source, fd, 100, 0, 3 * PAGE - 50), 100, 'copy_file_range')
        equal(here[3 * PAGE - 51:3 * PAGE + 51], b'x' + b's' * 100 + b'x', 'copied')
        with opened('shared', os.O_RDWR | os.O_DIRECT) as direct, mmap.mmap(-1, PAGE) as page:
            page[:] = b'd' * PAGE
            os.pwritev(direct, [page], 3 * PAGE)
            equal(here[3 * PAGE:], b'd' * PAGE, 'written directly')
            here[3 * PAGE:] = b'e' * PAGE
            os.preadv(direct, [page], 3 * PAGE)
            equal(page[:], b'e' * PAGE, 'stored, read directly')


def truncated(fd):
    os.ftruncate(fd, 3 * PAGE)
    with mapped(fd, 3 * PAGE) as here:
        here[:] = b'y' * 3 * PAGE
        os.ftruncate(fd, PAGE + 100)
        equal(here[PAGE:PAGE + 100], b'y' * 100, 'before the end')
        equal(here[PAGE + 100:2 * PAGE], bytes(PAGE - 100), 'behind the end, in its page')
        for what, touch in (('load', lambda: here[2 * PAGE]), ('store', lambda: here.__setitem__(2 * PAGE, 1))):
            equal(child(lambda touch=touch: touch() and 0), -signal.SIGBUS, f'{what} behind the page of the end')
        os.ftruncate(fd, 3 * PAGE)
        equal(here[2 * PAGE:], bytes(PAGE), 'grown again')
        equal(os.pread(fd, PAGE * 3, PAGE + 100), bytes(2 * PAGE - 100), 'grown again, read')
        here[3 * PAGE - 1] = 9
        os.ftruncate(fd, 0)
        equal(child(lambda: here[0] and 0), -signal.SIGBUS, 'a load of an empty file')
        os.ftruncate(fd, 3 * PAGE)
        equal(here[:], bytes(3 * PAGE), 'emptied and grown')


def unlinked():
    write_file('gone', b'g' * PAGE)
    with opened('gone', os.O_RDWR) as fd:
        here = mapped(fd, PAGE)
        os.unlink('gone')
    here[1:3] = b'zz'
    here.flush()
    equal(here[:4], b'gzzg', 'unlinked and closed, still mapped')
    here.close()


def protections(fd):
    with opened('shared', os.O_RDONLY) as reader:
        with fails(errno.EACCES):
            mapped(reader, PAGE)
        mapped(reader, PAGE, prot=mmap.PROT_READ).close()
    with opened('shared', os.O_WRONLY) as writer, fails(errno.EACCES):
        mapped(writer, PAGE, prot=mmap.PROT_READ)
    with mapped(fd, PAGE, prot=mmap.PROT_READ) as here:
        os.pwrite(fd, b'seen', 0)
        equal(here[:4], b'seen', 'a read-only mapping')
    with opened('.', os.O_RDONLY) as folder, fails(errno.ENODEV):
        mapped(folder, PAGE, prot=mmap.PROT_READ)


def times():
    """A store through a mapping is a change: mtime and ctime have moved once it is synced."""
    for name, end in (('msync', lambda fd, here: here.flush()), ('fsync', lambda fd, here: os.fsync(fd))):
        with opened(f'times {name}', RW) as fd:
            os.ftruncate(fd, PAGE)
            old = os.fstat(fd)
            wait_for_clock(max(old.st_mtime_ns, old.st_ctime_ns))
            with mapped(fd, PAGE) as here:
                here[0] = 1
                end(fd, here)
                new = os.fstat(fd)
                assert new.st_mtime_ns > old.st_mtime_ns, f'{name}: mtime has not moved'
                assert new.st_ctime_ns > old.st_ctime_ns, f'{name}: ctime has not moved'
    with opened('times close', RW) as fd:
        os.ftruncate(fd, PAGE)
        old = os.fstat(fd)
        wait_for_clock(old.st_mtime_ns)
        here = mapped(fd, PAGE)
        here[0] = 1
        here.close()
    sync()
    assert os.stat('times close').st_mtime_ns > old.st_mtime_ns, 'unmapped and closed: mtime has not moved'


def private(fd):
    os.pwrite(fd, b'p' * 4 * PAGE, 0)
    with mapped(fd, 4 * PAGE, mmap.MAP_PRIVATE) as here:
        here[10:20] = b'q' * 10
        equal(os.pread(fd, 30, 0), b'p' * 30, 'a private store stays private')
        equal(child(lambda: here[10:20] != b'q' * 10), 0, 'a child has it')
        here[2 * PAGE:2 * PAGE + 1] = b'r'
        os.pwrite(fd, b'w' * 4 * PAGE, 0)
        equal(here[:30], b'p' * 10 + b'q' * 10 + b'p' * 10, 'a page that is our own')
        here.flush()
    equal(os.pread(fd, 5 * PAGE, 0), b'w' * 4 * PAGE, 'what was written')


def no_device(fd):
    os.ftruncate(fd, PAGE)
    for prot in (mmap.PROT_READ | mmap.PROT_WRITE, mmap.PROT_READ):
        with fails(errno.ENODEV):
            mapped(fd, PAGE, prot=prot)


def shared(fd):
    os.ftruncate(fd, 4 * PAGE)
    both_ways(fd)
    other_changes(fd)
    truncated(fd)
    protections(fd)
    unlinked()
    times()


def store(daemon):
    """The daemon dies as soon as msync or fsync have answered."""
    with opened('msync', RW) as one, opened('fsync', RW) as two, opened('hole', RW) as three:
        for fd in (one, two, three):
            os.ftruncate(fd, 64 * PAGE)
        with mapped(one, 64 * PAGE) as a, mapped(two, 64 * PAGE) as b, mapped(three, 64 * PAGE) as c:
            for page in range(0, 64, 3):
                a[page * PAGE + page:page * PAGE + page + 4] = b'sync'
                b[page * PAGE + page:page * PAGE + page + 4] = b'sync'
            c[63 * PAGE:] = b'z' * PAGE
            a.flush()
            os.fsync(two)
            c.flush(63 * PAGE, PAGE)
            pidfd = os.pidfd_open(daemon)
            os.kill(daemon, signal.SIGKILL)
            assert select.select([pidfd], [], [], pinfs.WAIT)[0], 'the daemon does not end'
            os._exit(0)  # the closes would only say that it is gone


def stored():
    want = bytearray(64 * PAGE)
    for page in range(0, 64, 3):
        want[page * PAGE + page:page * PAGE + page + 4] = b'sync'
    equal(read_file('msync'), want, 'after msync')
    equal(read_file('fsync'), want, 'after fsync')
    equal(read_file('hole'), bytes(63 * PAGE) + b'z' * PAGE, 'after msync of a part')


def pinned():
    """A holder's own mapping stays what it is when the file is truncated under it and the wait for it times out."""
    write_file('pin', b'k' * 4 * PAGE)
    session = pinfs.Session('.')
    pin = session.pin('pin', 0, 4 * PAGE, pinfs.READ)
    with opened('pin', os.O_RDWR) as fd, mapped(fd, 4 * PAGE) as here:
        equal(here[:], b'k' * 4 * PAGE, 'the file, mapped')
        os.ftruncate(fd, 100)
        equal(child(lambda: here[PAGE] and 0), -signal.SIGBUS, "the file's mapping behind its end")
        equal(session.load(pin, 0, 4 * PAGE), b'k' * 4 * PAGE, "the holder's mapping")
        os.ftruncate(fd, 4 * PAGE)
        here[:] = b'n' * 4 * PAGE
        here.flush()
        equal(session.load(pin, PAGE, 3 * PAGE), b'k' * 3 * PAGE, 'detached: later stores are not in it')
        equal(os.pread(fd, 4 * PAGE, 0), b'n' * 4 * PAGE, 'the file')
    session.unpin(pin)
    session.disconnect()


def main():
    command, folder, *rest = sys.argv[1:]
    os.chdir(folder)
    if command in ('shared', 'private', 'no_device'):
        with opened(command, RW) as fd:
            globals()[command](fd)
    elif command == 'store':
        store(int(rest[0]))
    elif command == 'stored':
        stored()
    else:
        pinned()


main()
