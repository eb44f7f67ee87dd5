"""Times of access on a mount of policy POLICY (relatime, noatime, strictatime, nodiratime), in FOLDER.

Each read is one that the kernel cannot answer from its caches: they are dropped, or there are none. (Not to be dropped
is what it knows of a symlink: only the first time counts there.)
atime.py POLICY CACHE FOLDER [paused]
"""
import os
import sys
import time

from calls import CLOCK_REALTIME_COARSE, equal, opened, wait_for_clock, write_file

POLICY, CACHE, FOLDER = sys.argv[1:4]
PAUSED = sys.argv[4:] == ['paused']
DAY = 24 * 3600 * 10**9
NOW = time.clock_gettime_ns(CLOCK_REALTIME_COARSE)


def drop(fd):
    """The kernel's pages of this file or folder: of others it may hold what it likes."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def read(path, flags=0):
    with opened(path, os.O_RDONLY | flags) as fd:
        drop(fd)
        equal(os.read(fd, 100), b'data')


def listing(path):
    with opened(path, os.O_RDONLY | os.O_DIRECTORY) as fd:
        drop(fd)
        os.listdir(fd)


def changed(path, action):
    """Did the action change the time of access, and nothing else? The answer must be there at once."""
    before = os.lstat(path)
    wait_for_clock(max(before.st_atime_ns, before.st_ctime_ns) if before.st_atime_ns < NOW + DAY else NOW)
    action(path)
    after = os.lstat(path)
    equal((after.st_mtime_ns, after.st_ctime_ns), (before.st_mtime_ns, before.st_ctime_ns), f'{path}: others')
    return after.st_atime_ns != before.st_atime_ns


def age(path, atime):
    """ctime is now, which makes the next read due; mtime is two days ago."""
    os.utime(path, ns=(atime, NOW - 2 * DAY), follow_symlinks=False)


def main():
    os.chdir(FOLDER)
    names = {'file': read, 'folder': listing, 'symlink': os.readlink}
    if not PAUSED:
        os.mkdir('folder')
        write_file('folder/inside')
        write_file('file', b'data')
        os.symlink('target', 'symlink')
        with opened('file', os.O_RDWR) as fd:
            os.fsync(fd)
    for name, action in names.items():
        off = PAUSED or POLICY == 'noatime' or (POLICY == 'nodiratime' and name == 'folder')
        if not PAUSED:
            age(name, NOW - 3 * DAY)
        equal(changed(name, action), not off, f'{name}: old, read under {POLICY}')
        if name == 'symlink' and CACHE != 'none':
            continue
        # Now it is later than all changes.
        equal(changed(name, action), POLICY == 'strictatime' and not off, f'{name}: read again under {POLICY}')
        if not PAUSED:
            os.utime(name, ns=(NOW + 10 * DAY, NOW), follow_symlinks=False)
            equal(changed(name, action), POLICY == 'strictatime', f'{name}: in the future, under {POLICY}')
    if not PAUSED:
        age('file', NOW - 3 * DAY)
        equal(changed('file', lambda path: read(path, os.O_NOATIME)), False, 'O_NOATIME')
    print(POLICY, CACHE, 'is as it should be')


main()
