"""Counts the requests that system calls cost, by the daemon's own counters, and compares them with the table below.

requests.py MOUNTPOINT auto|none|writeback
What looks like one too many is the kernel's: `getattr`: any change of a folder makes it forget the folder's attributes,
and it needs them to check permissions the next time; `lookup` of a name that it knows: before a rename over it;
`getxattr`: security.capability, once after it has heard new attributes of a file.
"""
import json
import mmap
import os
import sys

BLOCK = 4096
AUTO, NONE, WRITEBACK = 'auto', 'none', 'writeback'


def counts(mountpoint):
    operations = json.loads(os.getxattr(mountpoint, 'pinfs.stat'))['operations']
    return {name: operation['count'] for name, operation in operations.items()}


def settled(mountpoint):
    """The counters once no request is under way, for a call may return before all it caused; and how often was asked."""
    before, asked = counts(mountpoint), 1
    while True:
        after = counts(mountpoint)
        asked += 1
        if all(after[name] == count for name, count in before.items() if name != 'getxattr'):
            return after, asked
        before = after


class Counter:
    def __init__(self, mountpoint):
        self.mountpoint = mountpoint
        self.failures = 0
        self.checks = 0
        before, _ = settled(mountpoint)
        after, asked = settled(mountpoint)
        self.own = (after['getxattr'] - before['getxattr']) / asked

    def check(self, what, call, **expected):
        """The call costs these requests, no more and no fewer. Not `forget`: the kernel sends it when it likes."""
        before, _ = settled(self.mountpoint)
        call()
        after, asked = settled(self.mountpoint)
        after['getxattr'] -= self.own * asked
        found = {name: after[name] - before[name] for name in after if after[name] != before[name]}
        found.pop('forget', None)
        self.checks += 1
        if found != expected:
            self.failures += 1
            print(f'{what}: {found}, expected {expected}', file=sys.stderr)


def opened(path, flags=os.O_RDONLY):
    os.close(os.open(path, flags, 0o644))


def synced(path, flags):
    fd = os.open(path, flags)
    os.fsync(fd)
    os.close(fd)


def names(count, cached):
    """Folder d with two files has been made: the kernel knows them."""
    handle = {} if cached else {'open': 1}
    count('open+close', lambda: opened('d/a'), **handle)
    count('open+close for writing', lambda: opened('d/a', os.O_RDWR), **handle)
    count('stat', lambda: os.stat('d/a'))
    count('access', lambda: os.access('d/a', os.R_OK))
    count('stat of what is not there', lambda: os.path.exists('d/no'), lookup=1)
    count('stat of what is not there, again', lambda: os.path.exists('d/no'))
    count('create+close', lambda: opened('d/new', os.O_CREAT | os.O_WRONLY), lookup=1, create=1)
    count('stat of what was made', lambda: os.stat('d/new'), getattr=1)  # the folder
    count('unlink', lambda: os.unlink('d/new'), unlink=1)
    count('create where a name was', lambda: opened('d/new', os.O_CREAT | os.O_EXCL), getattr=1, lookup=1, create=1)
    count('mkdir', lambda: os.mkdir('d/sub'), getattr=1, lookup=1, mkdir=1)
    count('rmdir', lambda: os.rmdir('d/sub'), getattr=1, rmdir=1)
    count('rename', lambda: os.rename('d/new', 'd/other'), getattr=1, lookup=1, rename=1)
    count('rename over', lambda: os.rename('d/other', 'd/b'), getattr=1, lookup=1, rename=1)
    count('link', lambda: os.link('d/a', 'd/link'), getattr=1, lookup=1, link=1)
    count('symlink', lambda: os.symlink('a', 'd/sym'), getattr=1, lookup=1, symlink=1)
    os.stat('d')
    count('readlink', lambda: os.readlink('d/sym'), readlink=1)
    count('readlink, again', lambda: os.readlink('d/sym'), **({} if cached else {'readlink': 1}))


def attributes(count, cached):
    handle = {} if cached else {'open': 1}
    count('chmod', lambda: os.chmod('d/a', 0o600), setattr=1)
    count('stat after chmod', lambda: os.stat('d/a'))
    count('utime', lambda: os.utime('d/a'), setattr=1)
    count('truncate', lambda: os.truncate('d/a', 100), setattr=1, getxattr=1)
    count('open with O_TRUNC', lambda: opened('d/a', os.O_WRONLY | os.O_TRUNC), setattr=1, getxattr=1, **handle)
    count('setxattr', lambda: os.setxattr('d/a', 'user.x', b'1'), setxattr=1)
    count('listxattr', lambda: os.listxattr('d/a'), listxattr=1)
    count('removexattr', lambda: os.removexattr('d/a', 'user.x'), removexattr=1)
    count('statvfs', lambda: os.statvfs('d'), statfs=1)


def listings(count, cached):
    os.mkdir('list')
    for number in range(100):
        opened(f'list/{number}', os.O_CREAT)
    os.listdir('list')
    os.stat('list')
    if cached:
        count('readdir', lambda: os.listdir('list'))
        count('readdir and stat of each', lambda: [entry.stat() for entry in os.scandir('list')])
        count('fsync of a folder', lambda: synced('list', os.O_RDONLY), fsyncdir=1)
    else:
        opendir = {'opendir': 1}
        count('fsync of a folder', lambda: synced('list', os.O_RDONLY), fsyncdir=1, **opendir)
    # ENOSYS: the kernel asks no more.
    count('fsync of a folder, again', lambda: synced('list', os.O_RDONLY), **({} if cached else {'opendir': 1}))


def data(count, mode):
    direct = mode == NONE
    # A request has 256 pages at most: what begins within a page takes two for 1 MiB.
    big = mmap.mmap(-1, 1 << 20)
    block = b'y' * BLOCK
    fd = os.open('d/data', os.O_RDWR | os.O_CREAT, 0o644)
    for offset in (0, 1 << 20):
        os.pwrite(fd, big, offset)
    os.fsync(fd)
    os.fstat(fd)
    os.pwrite(fd, block, 0)
    written = {} if mode == WRITEBACK else {'write': 1}
    count('write of 4 KiB', lambda: os.pwrite(fd, block, 0), **written)
    count('write of 1 MiB', lambda: os.pwrite(fd, big, 0), **written)
    count('append of 4 KiB', lambda: os.pwrite(fd, block, 2 << 20), **written)
    os.fsync(fd)
    count('read of 4 KiB', lambda: os.pread(fd, BLOCK, 0), **({'read': 1} if direct else {}))
    if direct:
        count('read of 1 MiB', lambda: os.preadv(fd, [big], 0), read=1)
    os.fstat(fd)
    count('fsync', lambda: os.fsync(fd), fsync=1)
    if mode == AUTO:
        count('seek', lambda: os.lseek(fd, 0, os.SEEK_DATA), lseek=1)
        count('copy_file_range', lambda: os.copy_file_range(fd, fd, BLOCK, 0, 1 << 20), copy_file_range=1, getxattr=1)
    os.close(fd)


def main():
    mountpoint, mode = sys.argv[1:]
    counter = Counter(mountpoint)
    os.chdir(mountpoint)
    os.mkdir('d')
    for name in ('d/a', 'd/b'):
        opened(name, os.O_CREAT)
    opened('d/a')
    os.stat('d/a')
    # With its writeback cache the kernel sends times when it likes, and asks for attributes after a second.
    if mode != WRITEBACK:
        names(counter.check, mode != NONE)
        os.stat('d')
        attributes(counter.check, mode != NONE)
        listings(counter.check, mode != NONE)
    data(counter.check, mode)
    print(f'{counter.checks} system calls')
    sys.exit(counter.failures > 0)


main()
