"""System calls that Python has no function for, and small checks."""
import contextlib
import ctypes
import errno
import os
import time

_libc = ctypes.CDLL(None, use_errno=True)
_long = ctypes.c_long

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4
FALLOC_KEEP_SIZE = 1
FALLOC_PUNCH_HOLE = 2
FALLOC_COLLAPSE_RANGE = 8
FALLOC_ZERO_RANGE = 16
AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
CLOCK_REALTIME_COARSE = 5


def _checked(result, *names):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), *names)
    return result


def renameat2(source, target, flags):
    _checked(_libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), ctypes.c_uint(flags)),
             source, None, target)


def linkat_followed(source, target):
    """link(2) to what the symlink `source` is for, as for an open file's name in /proc."""
    _checked(_libc.linkat(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), AT_SYMLINK_FOLLOW),
             source, None, target)


def fallocate(fd, mode, offset, length):
    _checked(_libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


def sync(path='.'):
    """sync(2) of the one mount: that of all waits as long as anybody's disk is busy, or for ever at a mount that hangs."""
    fd = os.open(path, os.O_RDONLY)
    try:
        _checked(_libc.syncfs(fd), path)
    finally:
        os.close(fd)


class Dirent(ctypes.Structure):
    _fields_ = [('ino', ctypes.c_uint64), ('off', ctypes.c_int64), ('reclen', ctypes.c_ushort),
                ('type', ctypes.c_ubyte), ('name', ctypes.c_char * 256)]


class Directory:
    """opendir(3) with telldir and seekdir."""

    def __init__(self, path):
        _libc.opendir.restype = ctypes.c_void_p
        _libc.readdir.restype = ctypes.POINTER(Dirent)
        _libc.telldir.restype = _long
        self.dir = ctypes.c_void_p(_libc.opendir(os.fsencode(path)))
        if not self.dir:
            _checked(-1, path)

    def read(self):
        """The next name, or None at the end."""
        ctypes.set_errno(0)
        entry = _libc.readdir(self.dir)
        if not entry:
            if ctypes.get_errno():
                _checked(-1)
            return None
        return entry.contents.name.decode()

    def tell(self):
        return _libc.telldir(self.dir)

    def seek(self, position):
        _libc.seekdir(self.dir, _long(position))

    def close(self):
        _libc.closedir(self.dir)


@contextlib.contextmanager
def fails(*codes):
    """The body must raise OSError with one of these errno values."""
    try:
        yield
    except OSError as error:
        if error.errno not in codes:
            raise AssertionError(f'{error}: not {[errno.errorcode[c] for c in codes]}') from error
        return
    raise AssertionError(f'no error: not {[errno.errorcode[c] for c in codes]}')


def equal(got, want, what=''):
    if got != want:
        raise AssertionError(f'{what}: {ascii(got)[:200]}, not {ascii(want)[:200]}')


@contextlib.contextmanager
def opened(path, flags, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def wait_for_clock(after):
    """Until the clock of file times (a tick is 4 ms or so) shows a later time."""
    while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) <= after:
        pass


def write_file(path, data=b''):
    with open(path, 'wb') as file:
        file.write(data)


def read_file(path):
    with open(path, 'rb') as file:
        return file.read()
