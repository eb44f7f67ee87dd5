"""Extremes. limits.py far|rlimit|names|links FOLDER"""
import errno
import os
import resource
import signal
import sys

from calls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, equal, fails, fallocate, opened

COMMAND, FOLDER = sys.argv[1:3]
MAX = 2**63 - 1 # of a file: off_t's own
BLOCK = 4096
LAST = MAX // BLOCK * BLOCK # where the last block begins; it has 4095 bytes
RW = os.O_RDWR | os.O_CREAT


def lseek(fd, offset, whence):
    """None: there is nothing."""
    try:
        return os.lseek(fd, offset, whence)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


def far():
    with opened('far', RW) as fd:
        os.ftruncate(fd, MAX)
        equal((os.fstat(fd).st_size, os.fstat(fd).st_blocks), (MAX, 0), 'as large as can be')
        equal((lseek(fd, 0, os.SEEK_DATA), lseek(fd, 0, os.SEEK_HOLE)), (None, 0), 'all hole')
        equal(os.pread(fd, 10, MAX - 10), bytes(10), 'the end of the hole')
        equal(os.pread(fd, 5000, MAX - 5000), bytes(5000), 'the end of the hole')
        os.ftruncate(fd, 0)
        # The last byte; one more does not fit: of a range that overflows the kernel says EINVAL to write(2) itself.
        with fails(errno.EINVAL):
            os.pwrite(fd, b'ab', MAX - 1)
        with fails(errno.EINVAL, errno.EFBIG):
            os.pwrite(fd, b'b', MAX)
        equal(os.fstat(fd).st_size, 0, 'refused')
        equal(os.pwrite(fd, b'a', MAX - 1), 1, 'the last byte')
        with fails(errno.EFBIG):
            fallocate(fd, 0, MAX - 10, 11)
        os.fsync(fd)
        equal(os.fstat(fd).st_size, MAX, 'one byte at the far end')
        equal(os.pread(fd, 3, MAX - 3), b'\0\0a', 'the last bytes')
        equal([lseek(fd, at, os.SEEK_DATA) for at in (0, 1, LAST - 1, LAST, MAX - 1, MAX)],
              [LAST, LAST, LAST, LAST, MAX - 1, None], 'SEEK_DATA')
        equal([lseek(fd, at, os.SEEK_HOLE) for at in (0, 1, LAST - 1, LAST, MAX - 1, MAX)],
              [0, 1, LAST - 1, MAX, MAX, None], 'SEEK_HOLE')
        # Data in the middle, and one byte before the last block.
        os.pwrite(fd, b'm', 2**62)
        os.pwrite(fd, b'xy', LAST - 1)
        os.fsync(fd)
        equal([lseek(fd, at, os.SEEK_DATA) for at in (0, 2**62, 2**62 + BLOCK, LAST - BLOCK)],
              [2**62, 2**62, LAST - BLOCK, LAST - BLOCK], 'SEEK_DATA among three')
        equal([lseek(fd, at, os.SEEK_HOLE) for at in (2**62, LAST - BLOCK)], [2**62 + BLOCK, MAX], 'SEEK_HOLE')
        fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, LAST, MAX - LAST)
        equal((os.pread(fd, 9, LAST - 1), os.fstat(fd).st_size), (b'x' + bytes(8), MAX), 'punched at the end')
        equal(lseek(fd, LAST, os.SEEK_DATA), None)
        fallocate(fd, 0, LAST, MAX - LAST)
        equal(os.pread(fd, MAX - LAST, LAST), bytes(MAX - LAST), 'allocated at the end')
        os.ftruncate(fd, MAX - 1)
        os.ftruncate(fd, MAX)
        os.ftruncate(fd, LAST - 1)
        equal((os.fstat(fd).st_size, os.pread(fd, 9, LAST - 2)), (LAST - 1, b'\0'), 'cut')
        os.ftruncate(fd, 2**62)
        os.pwrite(fd, b'z', MAX - 1)
    with fails(errno.EINVAL):
        os.truncate('far', -1)


def rlimit():
    limit = 1 << 20
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    with opened('limited', RW) as fd:
        equal(os.pwrite(fd, b'x' * 8192, limit - 4096), 4096, 'a write across the limit')
        with fails(errno.EFBIG):
            os.pwrite(fd, b'x', limit)
        with fails(errno.EFBIG):
            os.ftruncate(fd, limit + 1)
        with fails(errno.EFBIG):
            fallocate(fd, 0, limit, 4096)
        equal(os.fstat(fd).st_size, limit)
        os.ftruncate(fd, 0)


def names():
    longest, multibyte = 'n' * 255, 'ä' * 127 + 'n'
    os.mkdir('n')
    os.chdir('n')
    with opened('f', RW):
        pass
    for name in (longest, multibyte):
        for make in (lambda p: os.close(os.open(p, RW)), os.mkdir, os.mkfifo, lambda p: os.symlink('x', p),
                     lambda p: os.link('f', p)):
            make(name)
            equal(sorted(os.listdir('.')), sorted(['f', name]), 'listed')
            os.rename(name, name[:-1] + 'm')
            os.rename(name[:-1] + 'm', name)
            remove = os.rmdir if os.path.isdir(name) else os.unlink
            remove(name)
            for too_long in (name + 'x', name + 'x' * 300):
                with fails(errno.ENAMETOOLONG):
                    make(too_long)
    too_long = 'n' * 256
    for call in (os.stat, os.unlink, os.rmdir, os.listdir, lambda p: os.rename('f', p), lambda p: os.rename(p, 'f')):
        with fails(errno.ENAMETOOLONG):
            call(too_long)
    # 4095 bytes of path are the most; deeper trees are reached in steps.
    deep = '/'.join(['d' * 255] * 15)
    os.makedirs(deep)
    path = deep + '/' + 'f' * 255
    equal(len(path), 4095)
    with opened(path, RW):
        pass
    with fails(errno.ENAMETOOLONG):
        os.stat('./' + path)
    # Symlinks: 40 in a row are followed.
    os.symlink('f', 'l0')
    for i in range(1, 42):
        os.symlink(f'l{i - 1}', f'l{i}')
    os.stat('l39')
    with fails(errno.ELOOP):
        os.stat('l40')
    os.symlink('self', 'self')
    with fails(errno.ELOOP):
        os.stat('self')
    with fails(errno.ELOOP):
        os.open('l0', os.O_RDONLY | os.O_NOFOLLOW)
    equal(os.readlink('self'), 'self')


def links():
    """As many as a test has time for; the limit itself (2^31 - 1) is a unit test's."""
    with opened('one', RW):
        pass
    os.mkdir('links')
    for i in range(20000):
        os.link('one', f'links/{i}')
    equal(os.stat('one').st_nlink, 20001)
    equal(len(os.listdir('links')), 20000)
    with fails(errno.EPERM):
        os.link('links', 'folder')


os.chdir(FOLDER)
{'far': far, 'rlimit': rlimit, 'names': names, 'links': links}[COMMAND]()
