"""Inode flags and the shutdown, by ioctl. What chattr(1) and lsattr(1) do not show or try.

flags.py refused FILE HOW        changes of an immutable or append-only FILE, each of which fails with EPERM
flags.py appends FILE MODE       what an append-only file allows, and its doors that are not openat(2). MODE: the mount's
                                 options; if the kernel has pages of the file, not all of these are closed
flags.py numbers FILE DIRECTORY  the ioctls themselves: both forms of the flags, the generation, what is none
flags.py user FILE               as a user who is not root: the owner of FILE
flags.py shutdown FOLDER MODE
flags.py dead FOLDER             after a shutdown: every call fails with EIO
"""
import ctypes
import errno
import fcntl
import mmap
import os
import struct
import sys

import calls
from calls import equal

GETFLAGS, SETFLAGS = 0x80086601, 0x40086602
GETFLAGS_INT, SETFLAGS_INT = 0x80046601, 0x40046602  # as 32-bit programs call them
FSGETXATTR, FSSETXATTR = 0x801c581f, 0x401c5820
GETVERSION = 0x80087601
SHUTDOWN = 0x8004587d
SYNC, IMMUTABLE, APPEND, NODUMP, NOATIME, DIRSYNC = 8, 16, 32, 64, 128, 0x10000
X_IMMUTABLE, X_APPEND, X_SYNC, X_NOATIME, X_NODUMP, X_PROJINHERIT = 8, 16, 32, 64, 128, 0x200
XATTR = struct.Struct('<5I8x')


def fails(code, call, *args, **kwargs):
    try:
        result = call(*args, **kwargs)
    except OSError as error:
        equal(error.errno, code, f'{getattr(call, "__name__", call)}{args}')
        return
    raise AssertionError(f'{getattr(call, "__name__", call)}{args}: {result}, not {errno.errorcode[code]}')


def ioctl(path, number, data=b'', flags=os.O_RDONLY):
    fd = os.open(path, flags)
    try:
        return fcntl.ioctl(fd, number, data)
    finally:
        os.close(fd)


def get(path):
    return struct.unpack('<I', ioctl(path, GETFLAGS, bytes(8))[:4])[0]


def put(path, flags):
    ioctl(path, SETFLAGS, struct.pack('<Q', flags))


def get_x(path):
    return XATTR.unpack(ioctl(path, FSGETXATTR, bytes(28)))


def put_x(path, xflags, extsize=0, projid=0):
    ioctl(path, FSSETXATTR, XATTR.pack(xflags, extsize, 0, projid, 0))


def shut_down(folder, mode):
    ioctl(folder, SHUTDOWN, struct.pack('<I', mode))


def refused(path, how):
    """`how`: immutable or append. The file has 5 bytes or more, and an xattr user.a; user.b is none."""
    before = os.stat(path)
    data = calls.read_file(path)
    folder, _ = os.path.split(path)
    other = folder + '/other'
    calls.write_file(other, b'other')
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_CREAT):
        fails(errno.EPERM, os.open, path, flags)
    fails(errno.EPERM, os.open, path, os.O_WRONLY | os.O_APPEND | os.O_TRUNC)
    if how == 'immutable':
        fails(errno.EPERM, os.open, path, os.O_WRONLY | os.O_APPEND)
        fails(errno.EPERM, os.utime, path)
    fails(errno.EPERM, os.truncate, path, 0)
    fails(errno.EPERM, os.truncate, path, 100000)
    fails(errno.EPERM, os.chmod, path, 0o600)
    fails(errno.EPERM, os.chown, path, 12, 34)
    fails(errno.EPERM, os.utime, path, (1, 2))
    fails(errno.EPERM, os.setxattr, path, 'user.b', b'b')
    fails(errno.EPERM, os.removexattr, path, 'user.a')
    fails(errno.EPERM, os.link, path, folder + '/again')
    fails(errno.EPERM, os.rename, path, folder + '/moved')
    fails(errno.EPERM, os.rename, other, path)
    fails(errno.EPERM, calls.renameat2, other, path, calls.RENAME_EXCHANGE)
    fails(errno.EPERM, calls.renameat2, path, other, calls.RENAME_EXCHANGE)
    fails(errno.EPERM, os.unlink, path)
    os.unlink(other)
    equal(calls.read_file(path), data, path)
    after = os.stat(path)
    equal([after.st_mtime_ns, after.st_mode, after.st_uid, after.st_nlink],
          [before.st_mtime_ns, before.st_mode, before.st_uid, before.st_nlink], path)


def copied(source, fd, offset):
    with open(source, 'rb') as file:
        return os.copy_file_range(file.fileno(), fd, 3, 0, offset)


def appends(path, mode):
    data = calls.read_file(path)
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    os.write(fd, b' appended')
    data += b' appended'
    # What is there cannot be changed by any other door.
    if mode == 'inode_flags':
        fails(errno.ENODEV, mmap.mmap, fd, len(data), mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    fails(errno.EPERM, os.ftruncate, fd, 3)
    fails(errno.EPERM, calls.fallocate, fd, calls.FALLOC_PUNCH_HOLE | calls.FALLOC_KEEP_SIZE, 0, 4096)
    fails(errno.EPERM, calls.fallocate, fd, calls.FALLOC_ZERO_RANGE, 0, 3)
    calls.fallocate(fd, calls.FALLOC_KEEP_SIZE, 0, 1 << 20)
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    if 'writeback' not in mode:
        fails(errno.EPERM, os.pwrite, fd, b'bad', 0)
    fails(errno.EPERM, copied, os.path.dirname(path) + '/fixed', fd, 0)
    os.pwrite(fd, b' more', len(data))
    data += b' more'
    os.close(fd)
    reader = os.open(path, os.O_RDONLY)
    for i in range(200):  # in pieces that do not end with blocks, seen by who reads through the cache
        with open(path, 'ab') as file:
            file.write(b'%d' % i * 33)
        data += b'%d' % i * 33
        equal(os.pread(reader, len(data) + 1, 0), data, path)
        if len(data) % 4096:
            with mmap.mmap(reader, len(data), mmap.MAP_PRIVATE, mmap.PROT_READ) as view:
                equal(view[:], data, path)
    os.close(reader)
    equal(calls.read_file(path), data, path)
    os.utime(path)


def numbers(path, folder):
    # Both forms say the same.
    for each in (path, folder):
        put_x(each, X_NODUMP | X_SYNC | X_NOATIME)
        equal(get(each), NODUMP | SYNC | NOATIME, each)
        put(each, NODUMP)
        equal(get_x(each), (X_NODUMP, 0, 0, 0, 0), each)
    # There is no word for dirsync in the one: it stays.
    put(folder, DIRSYNC)
    put_x(folder, X_NODUMP)
    equal(get(folder), NODUMP | DIRSYNC, folder)
    put(folder, 0)
    put(path, 0)
    fails(errno.EOPNOTSUPP, put, path, 4)  # compressed
    fails(errno.EOPNOTSUPP, put, path, DIRSYNC)
    fails(errno.EOPNOTSUPP, put_x, path, 0, projid=1)
    for each in (GETFLAGS_INT, 0x5401, 0x80045430, 0xc0145401):  # the first: not through the kernel's checks
        fails(errno.ENOTTY, ioctl, path, each, bytes(64))
    fails(errno.ENOTTY, ioctl, path, SETFLAGS_INT, struct.pack('<I', NODUMP))
    equal(get(path), 0, path)
    # What flags change is seen: ctime, and by a descriptor that was open before.
    before = os.stat(path).st_ctime_ns
    while os.stat(path).st_ctime_ns == before:
        put(path, NODUMP)
        put(path, 0)
    generation = struct.unpack('<I', ioctl(path, GETVERSION, bytes(8))[:4])[0]
    handle = file_handle(path)
    equal(generation, handle[2], 'generation')


def file_handle(path):
    libc = ctypes.CDLL(None, use_errno=True)
    room = ctypes.create_string_buffer(8 + 128)
    struct.pack_into('<I', room, 0, 128)
    mount_id = ctypes.c_int()
    if libc.name_to_handle_at(-100, os.fsencode(path), room, ctypes.byref(mount_id), 0) != 0:
        raise OSError(ctypes.get_errno(), 'name_to_handle_at')
    return struct.unpack_from('<3I', room, 8)


def user(path):
    """Not root: nodump is for the owner, immutable for nobody."""
    put(path, NODUMP)
    fails(errno.EPERM, put, path, IMMUTABLE)
    fails(errno.EPERM, put, path, NODUMP | APPEND)
    fails(errno.EPERM, put_x, path, X_NODUMP | X_IMMUTABLE)
    fails(errno.EPERM, put_x, path, X_APPEND)
    fails(errno.EPERM, put, os.path.dirname(path), NODUMP)
    fails(errno.EPERM, shut_down, path, 2)
    equal(get(path), NODUMP, path)


def dead(folder):
    """`folder` has: file, written and read before; all of it was open or known."""
    fails(errno.EIO, os.stat, folder + '/never')
    fails(errno.EIO, os.mkdir, folder + '/new')
    fails(errno.EIO, os.unlink, folder + '/file')
    fails(errno.EIO, os.rename, folder + '/file', folder + '/moved')
    fails(errno.EIO, os.chmod, folder + '/file', 0o600)
    fails(errno.EIO, os.truncate, folder + '/file', 0)
    fails(errno.EIO, os.setxattr, folder + '/file', 'user.a', b'a')
    fails(errno.EIO, os.getxattr, folder + '/file', 'user.a')
    fails(errno.EIO, os.listxattr, folder + '/file')
    fails(errno.EIO, ioctl, folder, GETFLAGS, bytes(8))
    fails(errno.EIO, put, folder, NODUMP)
    os.statvfs(folder)
    shut_down(folder, 2)  # again


def main():
    command, path, *rest = sys.argv[1:]
    if command in ('refused', 'numbers', 'appends'):
        {'refused': refused, 'numbers': numbers, 'appends': appends}[command](path, rest[0])
    elif command == 'shutdown':
        shut_down(path, int(rest[0]))
    else:
        {'user': user, 'dead': dead}[command](path)


if __name__ == '__main__':
    main()
