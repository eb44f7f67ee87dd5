"""What is refused, and by which errno. refusals.py FOLDER COMMAND [ARGUMENT]; see main() for the commands.

`arguments` prints a trace, which is compared with that of another filesystem; the others know what is due.
"""
import errno
import fcntl
import mmap
import os
import resource
import select
import signal
import stat
import sys

from calls import (FALLOC_COLLAPSE_RANGE, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, RENAME_EXCHANGE,
                   RENAME_NOREPLACE, RENAME_WHITEOUT, equal, fallocate, opened, renameat2, write_file)
from traces import answer, close, trace

SIZE_MAX = 2**63 - 1

# What changes something, by a path and by two.
CHANGES = {
    'creat': lambda path: close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NONBLOCK)),
    'creat excl': lambda path: close(os.open(path, os.O_CREAT | os.O_EXCL)),
    'open w': lambda path: close(os.open(path, os.O_WRONLY | os.O_NONBLOCK)),
    'open trunc': lambda path: close(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK)),
    'truncate': lambda path: os.truncate(path, 1), 'mkdir': os.mkdir, 'rmdir': os.rmdir, 'unlink': os.unlink,
    'symlink': lambda path: os.symlink('aim', path), 'mkfifo': os.mkfifo, 'mknod': os.mknod,
    'chmod': lambda path: os.chmod(path, 0o700), 'chown': lambda path: os.chown(path, 1, 1),
    'lchown': lambda path: os.lchown(path, 1, 1), 'utime': os.utime, 'utime set': lambda path: os.utime(path, (1, 1)),
    'lutime': lambda path: os.utime(path, follow_symlinks=False),
    'link from': lambda path: os.link(path, 'new'), 'link to': lambda path: os.link('file', path),
    'rename from': lambda path: os.rename(path, 'new'), 'rename to': lambda path: os.rename('file', path),
    'folder to': lambda path: os.rename('folder', path),
    'exchange': lambda path: renameat2('file', path, RENAME_EXCHANGE),
    'noreplace': lambda path: renameat2('file', path, RENAME_NOREPLACE),
    'setxattr': lambda path: os.setxattr(path, 'trusted.x', b'1'),
    'removexattr': lambda path: os.removexattr(path, 'trusted.x'),
}
LOOKS = {
    'stat': lambda path: os.stat(path) and 'found', 'lstat': lambda path: os.lstat(path) and 'found',
    'open': lambda path: close(os.open(path, os.O_RDONLY | os.O_NONBLOCK)),
    'open folder': lambda path: close(os.open(path, os.O_DIRECTORY)),
    'open nofollow': lambda path: close(os.open(path, os.O_NOFOLLOW | os.O_NONBLOCK)),
    'list': lambda path: sorted(os.listdir(path)) and 'listed', 'readlink': os.readlink,
    'chdir': lambda path: close_after_chdir(path), 'statvfs': lambda path: os.statvfs(path) and 'found',
    'getxattr': lambda path: os.getxattr(path, 'trusted.x'), 'listxattr': os.listxattr,
    'access': lambda path: os.access(path, os.R_OK), 'exec': lambda path: execute(path),
}
LONG = 'n' * 255
PATHS = {
    'missing': 'none', 'below missing': 'none/x', 'below a file': 'file/x', 'file/': 'file/', 'file/.': 'file/.',
    'file/..': 'file/..', 'empty': '', 'dot': '.', 'dots': '..', 'folder/.': 'folder/.', 'folder/..': 'folder/..',
    'folder/': 'folder/', 'full': 'full', 'loop': 'loop', 'below a loop': 'loop/x', 'dangling': 'dangling',
    'dangling/': 'dangling/', 'to a folder/': 'to folder/', '40 links': '../links/l40', '41 links': '../links/l41',
    'name of 256': LONG + 'n', 'below a name of 256': LONG + 'n/x', 'path of 4095': './' * 2045 + 'file/',
    'path of 4096': './' * 2046 + 'file', 'fifo': 'fifo', 'below a fifo': 'fifo/x', 'socket': 'socket',
    'device': 'device', 'no device': 'no device',
}


def execute(path):
    child = os.fork()
    if child == 0:
        try:
            os.execv(path, ['x'])
        except OSError as error:
            os._exit(error.errno)
        finally:
            os._exit(255)
    return errno.errorcode.get(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 'ran')


def close_after_chdir(path):
    here = os.open('.', os.O_RDONLY)
    try:
        os.chdir(path)
    finally:
        os.fchdir(here)
        os.close(here)


def sample():
    write_file('file', b'12345')
    for name in ('folder', 'full', 'full/in'):
        os.mkdir(name)
    os.symlink('loop', 'loop')
    os.symlink('none', 'dangling')
    os.symlink('folder', 'to folder')
    os.mkfifo('fifo')
    os.mknod('socket', stat.S_IFSOCK | 0o644)
    os.mknod('device', stat.S_IFCHR | 0o644, os.makedev(1, 3))
    os.mknod('no device', stat.S_IFCHR | 0o644, os.makedev(4095, 1))
    os.setxattr('file', 'trusted.x', b'1')
    with opened('file', os.O_RDONLY) as fd:
        os.fsync(fd)


def paths():
    """Each in a fresh folder: some of them succeed."""
    number = 0
    for name, path in PATHS.items():
        for operation, call in (*LOOKS.items(), *CHANGES.items()):
            if operation in CHANGES or number == 0:
                number += 1
                os.mkdir(f'../p{number}')
                os.chdir(f'../p{number}')
                sample()
            trace(f'{operation}, {name}', call, path)


def descriptors():
    kinds = {'r': os.O_RDONLY, 'w': os.O_WRONLY, 'rw': os.O_RDWR, 'path': os.O_PATH}
    calls = {
        'read': lambda fd: os.read(fd, 1), 'write': lambda fd: os.write(fd, b'1'), 'pread': lambda fd: os.pread(fd, 1, 0),
        'pwrite': lambda fd: os.pwrite(fd, b'1', 0), 'pread < 0': lambda fd: os.pread(fd, 1, -1),
        'pwrite < 0': lambda fd: os.pwrite(fd, b'1', -1), 'ftruncate': lambda fd: os.ftruncate(fd, 1),
        'ftruncate < 0': lambda fd: os.ftruncate(fd, -1), 'lseek': lambda fd: os.lseek(fd, 0, os.SEEK_SET),
        'lseek < 0': lambda fd: os.lseek(fd, -1, os.SEEK_SET), 'lseek whence': lambda fd: os.lseek(fd, 0, 77),
        'SEEK_DATA': lambda fd: os.lseek(fd, 0, os.SEEK_DATA), 'SEEK_HOLE': lambda fd: os.lseek(fd, 10**6, os.SEEK_HOLE),
        'SEEK_DATA < 0': lambda fd: os.lseek(fd, -1, os.SEEK_DATA), 'SEEK_DATA end': lambda fd: os.lseek(fd, 5, os.SEEK_DATA),
        'fsync': os.fsync, 'fdatasync': os.fdatasync, 'fchmod': lambda fd: os.fchmod(fd, 0o600),
        'fchown': lambda fd: os.fchown(fd, 0, 0), 'fchdir': os.fchdir, 'futimens': os.utime,
        'posix_fallocate': lambda fd: os.posix_fallocate(fd, 0, 10), 'fallocate 0': lambda fd: fallocate(fd, 0, 0, 0),
        'fallocate < 0': lambda fd: fallocate(fd, 0, -1, 10), 'fallocate length < 0': lambda fd: fallocate(fd, 0, 0, -1),
        'fallocate mode': lambda fd: fallocate(fd, 0x4000, 0, 10),
        'punch without keep': lambda fd: fallocate(fd, FALLOC_PUNCH_HOLE, 0, 10),
        'punch and zero': lambda fd: fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, 0, 10),
        'collapse and keep': lambda fd: fallocate(fd, FALLOC_COLLAPSE_RANGE | FALLOC_KEEP_SIZE, 0, 4096),
        'fallocate far': lambda fd: fallocate(fd, 0, SIZE_MAX, 10), 'list': lambda fd: sorted(os.listdir(fd)),
        'copy to itself': lambda fd: os.copy_file_range(fd, fd, 3, 0, 1), 'flock': lambda fd: fcntl.flock(fd, fcntl.LOCK_UN),
        'fgetxattr': lambda fd: os.getxattr(fd, 'trusted.none'), 'ioctl': lambda fd: fcntl.ioctl(fd, 0x12345),
        'mmap': lambda fd: mmap.mmap(fd, 4, mmap.MAP_PRIVATE, mmap.PROT_READ).close(),
        'isatty': os.isatty, 'splice': lambda fd: copy_from(fd), 'getdents': lambda fd: len(os.listdir(fd)),
    }
    for kind, flags in kinds.items():
        for target in ('file', 'folder', 'device'):
            for name, call in calls.items():
                if target == 'folder' and name.startswith('SEEK'):
                    continue  # the kernel's own, of FUSE: ENXIO
                if target == 'device' and name not in ('read', 'write', 'lseek', 'fsync', 'ftruncate', 'posix_fallocate'):
                    continue
                trace(f'{name}, {target} {kind}', with_open, target, flags, call)
    for name, call in calls.items():
        trace(f'{name}, closed', call, 999)


def with_open(path, flags, call):
    with opened(path, flags) as fd:
        here = os.open('.', os.O_PATH)
        try:
            return call(fd)
        finally:
            os.fchdir(here)
            os.close(here)


def copy_from(fd):
    with opened('copied', os.O_RDWR | os.O_CREAT) as target:
        return os.copy_file_range(fd, target, 3, 0, 0)


def flags():
    for number in (RENAME_NOREPLACE | RENAME_EXCHANGE, RENAME_EXCHANGE | RENAME_WHITEOUT, 8, 0x1000):
        trace(f'renameat2 {number:#x}', renameat2, 'file', 'folder/new', number)
    for name in ('x', '..', '.', 'a\nb', 'ä', b'\xff\xfe', ' ', '*', '-x', LONG, 'ä' * 127 + 'x', 'ä' * 128):
        trace(f'name {ascii(name)[:20]}', lambda name=name: (os.mkdir(name), os.rmdir(name)))
    trace('O_DIRECTORY | O_CREAT', lambda: close(os.open('od', os.O_DIRECTORY | os.O_CREAT)))
    trace('fifo without a reader', lambda: close(os.open('fifo', os.O_WRONLY | os.O_NONBLOCK)))
    write_file('running', b'#!/bin/sh\n')
    os.chmod('running', 0o755)
    trace('exec of a script', execute, './running')
    os.chmod('running', 0o644)
    trace('exec without x', execute, './running')


def arguments():
    os.mkdir('links')
    write_file('links/l0')
    for number in range(1, 42):
        os.symlink(f'l{number - 1}', f'links/l{number}')
    os.mkdir('p0')
    os.chdir('p0')
    paths()
    descriptors()
    flags()


READ_ONLY = {'creat': 'new', 'creat excl': 'new', 'mkdir': 'new', 'symlink': 'new', 'mkfifo': 'new', 'mknod': 'new',
             'rmdir': 'folder', 'link to': 'new', 'rename to': 'new', 'folder to': 'new', 'noreplace': 'new'}


def read_only():
    """Everything that changes something; but not what opens a device or a fifo."""
    for operation, call in CHANGES.items():
        equal(answer(call, READ_ONLY.get(operation, 'file')), 'EROFS', operation)
    for operation in ('open w', 'open trunc'):
        equal(CHANGES[operation]('device'), 'opened', f'{operation} of a device')
    with opened('file', os.O_RDONLY) as fd:
        equal(os.read(fd, 10), b'12345')
        for name, call in (('fchmod', lambda: os.fchmod(fd, 0o600)), ('futimens', lambda: os.utime(fd)),
                           ('fsetxattr', lambda: os.setxattr(fd, 'trusted.y', b''))):
            equal(answer(call), 'EROFS', name)
        equal(answer(os.fsync, fd), None, 'fsync')
    equal(answer(CHANGES['creat excl'], 'file'), 'EEXIST', 'what is there, read-only')
    equal(os.access('file', os.W_OK), False, 'access')
    equal(os.getxattr('file', 'trusted.x'), b'1')
    assert os.statvfs('.').f_flag & os.ST_RDONLY
    equal(sorted(os.listdir('full')), ['in'])


def limits(other):
    """Beyond what the filesystem, or the mount, or a process may do."""
    os.mkdir('d')
    write_file('f', b'f' * 10)
    write_file(other + '/out')
    for name, call in (('rename out', lambda: os.rename('f', other + '/f')), ('rename in', lambda: os.rename(other + '/out', 'f')),
                       ('link out', lambda: os.link('f', other + '/f')), ('link in', lambda: os.link(other + '/out', 'g'))):
        equal(answer(call), 'EXDEV', name)
    mountpoint = os.path.realpath('.')
    for name, call, due in (('rmdir', os.rmdir, 'EBUSY'), ('rename', lambda path: os.rename(path, path + '2'), 'EBUSY'),
                            ('rename over', lambda path: os.rename(other, path), 'EBUSY|EINVAL|EXDEV')):
        got = answer(call, mountpoint)
        assert got in due.split('|'), f'{name} of the mountpoint: {got}'
    with opened('f', os.O_RDWR) as fd:
        os.ftruncate(fd, SIZE_MAX)
        equal(os.fstat(fd).st_size, SIZE_MAX, 'the largest size')
        equal(os.pread(fd, 10, SIZE_MAX - 10), bytes(10), 'the end of the largest file')
        for name, call in (('pwrite', lambda: os.pwrite(fd, b'12', SIZE_MAX)), ('fallocate', lambda: fallocate(fd, 0, SIZE_MAX, 1))):
            got = answer(call)
            assert got in ('EFBIG', 'EINVAL'), f'{name} at the largest offset: {got}'
        equal(os.pwrite(fd, b'12', SIZE_MAX - 2), 2, 'the last bytes')
        os.ftruncate(fd, 10)
        equal(os.pread(fd, 100, 0), b'f' * 10, 'small again')
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        equal(os.pwrite(fd, b'x' * 100, 50), 50, 'up to the limit of the process')
        for name, call in (('pwrite', lambda: os.pwrite(fd, b'x', 100)), ('ftruncate', lambda: os.ftruncate(fd, 101)),
                           ('truncate', lambda: os.truncate('f', 101)), ('fallocate', lambda: fallocate(fd, 0, 0, 101))):
            equal(answer(call), 'EFBIG', f'{name} beyond the limit of the process')
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        equal(os.fstat(fd).st_size, 100)


def full(cache):
    """Data first, then names: what does not fit is ENOSPC and changes nothing; removing works, and gives room."""
    room = os.statvfs('.').f_bavail
    with opened('fill', os.O_RDWR | os.O_CREAT) as fd:
        equal(answer(fallocate, fd, 0, 0, (room + 1) * 4096), 'ENOSPC', 'fallocate of more than there is')
        equal((os.fstat(fd).st_size, os.statvfs('.').f_bavail), (0, room), 'nothing has changed')
        fallocate(fd, 0, 0, room * 4096)
        equal(os.statvfs('.').f_bavail, 0, 'full')
        with opened('more', os.O_RDWR | os.O_CREAT) as more:
            # A writeback cache takes it; then syncing says it.
            got = answer(lambda: (os.write(more, b'x' * 5000), os.fsync(more)))
            equal(got, 'ENOSPC', 'write')
            with opened('fill', os.O_RDONLY) as source:
                equal(answer(os.copy_file_range, source, more, 4096, 0, 8192), 'ENOSPC', 'copy_file_range')
            equal(answer(fallocate, more, FALLOC_ZERO_RANGE, 8192, 4096), 'ENOSPC', 'zero range')
            os.ftruncate(more, 10**9)
        equal(os.pwrite(fd, b'y' * 8192, 4096), 8192, 'what is preallocated takes data')
        os.fsync(fd)
    os.unlink('more')
    made = 0
    for name, make in (('creat', lambda path: os.close(os.open(path, os.O_CREAT))), ('mkdir', os.mkdir),
                       ('symlink', lambda path: os.symlink('s' * 4000, path)), ('mkfifo', os.mkfifo)):
        while (got := answer(make, f'{name}{made}' + 'n' * 200)) is None:
            made += 1
        equal(got, 'ENOSPC', name)
    equal(answer(os.setxattr, 'f', 'trusted.big', b'x' * 60000), 'ENOSPC', 'setxattr')
    assert made > 1000, made
    for name in os.listdir('.'):
        if len(name) > 200:
            (os.rmdir if name.startswith('mkdir') else os.unlink)(name)
    os.unlink('fill')
    # The kernel tells of what it has forgotten a moment later.
    end = 10**4
    while os.statvfs('.').f_bavail < room and end:
        end -= 1
    assert os.statvfs('.').f_bavail >= room, f'{room - os.statvfs(".").f_bavail} blocks are missing: {cache}'


def gone(daemon):
    with opened('file', os.O_RDWR) as fd, opened('.', os.O_RDONLY) as folder:
        pidfd = os.pidfd_open(daemon)
        os.kill(daemon, signal.SIGKILL)
        assert select.select([pidfd], [], [], 30)[0], 'the daemon does not end'
        for name, call in (('stat', lambda: os.stat('new')), ('open', lambda: os.open('none', os.O_CREAT | os.O_RDWR)),
                           ('write', lambda: os.write(fd, b'x')), ('fsync', lambda: os.fsync(fd)),
                           ('ftruncate', lambda: os.ftruncate(fd, 1)), ('mkdir', lambda: os.mkdir('y')),
                           ('unlink', lambda: os.unlink('file')), ('list', lambda: os.listdir(folder)),
                           ('statvfs', lambda: os.fstatvfs(fd)), ('fallocate', lambda: fallocate(fd, 0, 0, 10))):
            equal(answer(call), 'ENOTCONN', name)


def main():
    folder, command, *rest = sys.argv[1:]
    os.chdir(folder)
    os.umask(0o022)
    globals()[command](*(int(each) if command == 'gone' else each for each in rest))


main()
