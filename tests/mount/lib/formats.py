"""What the pools of tests/formats hold.

formats.py fill FOLDER [acl] [flags]   one of each thing that a pool can hold
formats.py hold FOLDER                 makes a file without a name, says so, and keeps it open until it is killed
"""
import fcntl
import os
import stat
import struct
import sys
import time

FS_IOC_SETFLAGS = 0x40086602
FS_IMMUTABLE_FL, FS_NODUMP_FL = 0x10, 0x40
ACL_NO_ID = 0xffffffff


def put(path, *pieces):
    with open(path, 'wb', buffering=0) as file:
        for offset, data in pieces:
            os.pwrite(file.fileno(), data, offset)


def acl(*entries):
    return struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *entry) for entry in entries)


def fill_acls(top):
    entries = [(1, 6, ACL_NO_ID), (2, 0, 1001), (4, 4, ACL_NO_ID), (16, 6, ACL_NO_ID), (32, 0, ACL_NO_ID)]
    put(f'{top}/acl', (0, b'kept from 1001'))
    os.setxattr(f'{top}/acl', 'system.posix_acl_access', acl(*entries))
    os.mkdir(f'{top}/inherits')
    os.setxattr(f'{top}/inherits', 'system.posix_acl_default', acl(*entries))
    put(f'{top}/inherits/child', (0, b'inherited'))


def fill_flags(top):
    put(f'{top}/immutable', (0, b'for ever'))
    put(f'{top}/nodump', (0, b'not dumped'))
    for name, flags in ('immutable', FS_IMMUTABLE_FL), ('nodump', FS_NODUMP_FL):
        with open(f'{top}/{name}', 'rb') as file:
            fcntl.ioctl(file, FS_IOC_SETFLAGS, struct.pack('l', flags))


def fill(top, features):
    os.makedirs(f'{top}/a/b/c')
    os.mkdir(f'{top}/many')
    put(f'{top}/small', (0, b'small\n'))
    put(f'{top}/empty')
    put(f'{top}/large', *((i * 4096, bytes([i % 251]) * 4096) for i in range(150)))
    # More extents than an inode holds; holes; an end within a block.
    put(f'{top}/holes', *((i * 8192, bytes([1 + i % 250]) * 100) for i in range(200)))
    put(f'{top}/far', (1 << 24, b'x'))
    put(f'{top}/cut', (0, b'c' * 10000))
    os.truncate(f'{top}/cut', 5000)
    with open(f'{top}/reserved', 'wb') as file:
        os.posix_fallocate(file.fileno(), 0, 50000)
    for i in range(300):
        os.link(f'{top}/small', f'{top}/many/{i:03}-{"n" * (i % 200)}')
    os.symlink('small', f'{top}/symlink')
    os.symlink('long/' * 100, f'{top}/a/long')
    os.mkfifo(f'{top}/fifo')
    os.mknod(f'{top}/null', stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(f'{top}/a/b', 0o2750)
    os.chown(f'{top}/a/b', 1000, 100)
    for i in range(20):
        os.setxattr(f'{top}/small', f'user.{i}', bytes([i]) * (i * i * 20))
    os.setxattr(f'{top}/many', 'trusted.t', b'trusted')
    os.utime(f'{top}/empty', ns=(1, 1_000_000_001))
    if 'acl' in features:
        fill_acls(top)
    if 'flags' in features:
        fill_flags(top)


def hold(top):
    path = f'{top}/unnamed'
    put(path, (0, b'u' * 20000))
    file = open(path, 'rb')
    os.unlink(path)
    print('held', flush=True)
    while file:
        time.sleep(3600)


if sys.argv[1] == 'fill':
    fill(sys.argv[2], sys.argv[3:])
else:
    hold(sys.argv[2])
