"""The times of a file are those of the last change of its user, not of the kernel's writing back.

times.py change CACHE FOLDER    changes files in each way; what the kernel does with them later must not show
times.py verify CACHE FOLDER    after a remount: the times are what they were
"""
import mmap
import os
import sys

from calls import equal, opened, read_file, sync, wait_for_clock, write_file

COMMAND, CACHE, FOLDER = sys.argv[1:]


def times(path):
    st = os.lstat(path)
    return st.st_mtime_ns, st.st_ctime_ns


def drop_caches():
    with open('/proc/sys/vm/drop_caches', 'w', encoding='ascii') as file:
        file.write('3')


def settle(path, fd):
    """All that makes the kernel write back and forget; each with a later clock, so that a time it moves shows."""
    want = times(path)
    for name, action in (('sync', sync), ('fsync', lambda: os.fsync(fd)), ('drop_caches', drop_caches)):
        wait_for_clock(want[1])
        action()
        equal(times(path), want, f'{path}: mtime and ctime after {name}')
    return want


def write(path):
    with opened(path, os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, b'y' * 100000)
        return settle(path, fd)


def set_times(path):
    with opened(path, os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, b'y' * 100000)
        os.utime(path, ns=(10**9 + 1, 2 * 10**9 + 2))
        equal(os.lstat(path).st_mtime_ns, 2 * 10**9 + 2, 'utimensat behind a write')
        return settle(path, fd)


def store(path):
    with opened(path, os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 1 << 20)
        with mmap.mmap(fd, 1 << 20) as mapping:
            mapping[8192:8200] = b'12345678'
            mapping.flush()
        return settle(path, fd)


def closed(path):
    """Written back at the close or after it."""
    write_file(path, b'y' * 100000)
    want = times(path)
    wait_for_clock(want[1])
    sync()
    drop_caches()
    equal(times(path), want, f'{path}: mtime and ctime after close, sync, drop_caches')
    return want


def main():
    os.chdir(FOLDER)
    if COMMAND == 'verify':
        for line in read_file('times').decode().splitlines():
            name, *want = line.split()
            equal(times(name), tuple(map(int, want)), f'{name}: mtime and ctime after a remount')
        return
    lines = []
    for test in (write, set_times, closed) + ((store,) if CACHE != 'none' else ()):
        lines.append(' '.join(map(str, (test.__name__, *test(test.__name__)))))
    write_file('times', '\n'.join(lines).encode())


main()
