"""Every system call of a POSIX filesystem, in FOLDER, as root; what they make stays there. basic.py CACHEMODE FOLDER"""
import errno
import fcntl
import mmap
import os
import socket
import stat
import sys
import time

from calls import (FALLOC_COLLAPSE_RANGE, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, RENAME_EXCHANGE,
                   RENAME_NOREPLACE, RENAME_WHITEOUT, Directory, equal, fails, fallocate, opened, read_file,
                   renameat2, wait_for_clock, write_file)

RW = os.O_RDWR | os.O_CREAT
CACHE, FOLDER = sys.argv[1:]


def mkdirs():
    os.mkdir('d', 0o750)
    equal(stat.S_IMODE(os.stat('d').st_mode), 0o750, 'mode of a new folder')
    equal(os.stat('d').st_nlink, 2, 'links of a new folder')
    before = os.stat('.').st_nlink
    os.mkdir('d2')
    equal(os.stat('.').st_nlink, before + 1, 'links of the parent')
    os.rmdir('d2')
    equal(os.stat('.').st_nlink, before, 'links of the parent after rmdir')
    with fails(errno.EEXIST):
        os.mkdir('d')
    write_file('d/f', b'x')
    with fails(errno.ENOTEMPTY):
        os.rmdir('d')
    with fails(errno.ENOTDIR):
        os.rmdir('d/f')
    with fails(errno.EISDIR):
        os.unlink('d')
    with fails(errno.ENOENT):
        os.mkdir('none/d')
    with fails(errno.ENOTDIR):
        os.mkdir('d/f/d')
    with fails(errno.ENOENT):
        os.rmdir('none')
    equal(os.stat('d/..').st_ino, os.stat('.').st_ino, '..')


def special_files():
    os.mkfifo('fifo', 0o640)
    os.mknod('char', stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod('block', stat.S_IFBLK | 0o660, os.makedev(259, 1048575))
    os.mknod('plain', stat.S_IFREG | 0o604)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind('sock')
    equal([stat.S_IFMT(os.lstat(n).st_mode) for n in ('fifo', 'char', 'block', 'plain', 'sock')],
          [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFREG, stat.S_IFSOCK], 'types')
    equal(os.lstat('char').st_rdev, os.makedev(1, 3), 'device number')
    equal(os.lstat('block').st_rdev, os.makedev(259, 1048575), 'large device number')
    with fails(errno.EEXIST):
        os.mkfifo('fifo')
    reader = os.open('fifo', os.O_RDONLY | os.O_NONBLOCK)
    with opened('fifo', os.O_WRONLY) as writer:
        os.write(writer, b'through')
    equal(os.read(reader, 99), b'through', 'fifo')
    os.close(reader)


def symlinks():
    os.symlink('d/f', 'sl')
    equal(os.readlink('sl'), 'd/f')
    equal(os.lstat('sl').st_size, 3, 'size of a symlink')
    for length in (1, 63, 71, 72, 73, 255, 4031, 4032, 4033, 4095):
        os.symlink('x' * length, f'sl{length}')
        equal(os.readlink(f'sl{length}'), 'x' * length, 'target')
        equal(os.lstat(f'sl{length}').st_size, length, 'size')
    with fails(errno.ENAMETOOLONG):
        os.symlink('x' * 4096, 'sl4096')
    with fails(errno.EEXIST):
        os.symlink('x', 'sl')
    with fails(errno.EINVAL):
        os.readlink('d')
    with fails(errno.ENOENT):
        os.symlink('', 'empty')
    os.symlink('loop', 'loop')
    with fails(errno.ELOOP):
        os.stat('loop')


def links():
    write_file('l1', b'linked')
    for i in range(2, 12):
        os.link('l1', f'l{i}')
        equal(os.stat('l1').st_nlink, i, 'links')
    equal(os.stat('l11').st_ino, os.stat('l1').st_ino, 'inode')
    os.unlink('l1')
    equal(os.stat('l2').st_nlink, 10, 'links after unlink')
    equal(read_file('l11'), b'linked')
    with fails(errno.EEXIST):
        os.link('l2', 'l3')
    with fails(errno.EPERM):
        os.link('d', 'dlink')
    with fails(errno.ENOENT):
        os.link('none', 'l')
    os.link('fifo', 'fifo2')
    os.link('sl', 'sl-link', follow_symlinks=False)
    equal(os.lstat('sl-link').st_nlink, 2, 'links of a symlink')
    before = os.stat('l2').st_ctime_ns
    wait_for_clock(before)
    os.link('l2', 'l12')
    assert os.stat('l2').st_ctime_ns > before, 'link changes ctime'


def names():
    os.mkdir('names')
    for name in ('a' * 255, 'é' * 127, ' ', '\n', '-rf', '...', '.hidden', 'tab\there', '\\', '"', '*'):
        write_file(f'names/{name}', name.encode())
    write_file(b'names/\xff\xfe', b'not unicode')
    equal(len(os.listdir('names')), 12)
    for name in os.listdir(b'names'):
        want = b'not unicode' if name == b'\xff\xfe' else name
        equal(read_file(b'names/' + name), want, 'content')
    for make in (write_file, os.mkdir, os.mkfifo):
        with fails(errno.ENAMETOOLONG):
            make('names/' + 'a' * 256)
    for each in (os.stat, os.unlink, os.rmdir):
        with fails(errno.ENAMETOOLONG):
            each('names/' + 'a' * 256)
    with fails(errno.ENAMETOOLONG):
        os.rename('names/...', 'names/' + 'a' * 256)
    # A deep folder: near PATH_MAX in all.
    top = os.open('.', os.O_RDONLY)
    for _ in range(15):
        os.mkdir('d' * 250)
        os.chdir('d' * 250)
    write_file('bottom', b'deep')
    os.fchdir(top)
    os.close(top)


def renames():
    os.mkdir('r')
    write_file('r/a', b'a')
    write_file('r/b', b'b')
    os.rename('r/a', 'r/c')
    with fails(errno.ENOENT):
        os.stat('r/a')
    with fails(errno.EEXIST):
        renameat2('r/b', 'r/c', RENAME_NOREPLACE)
    renameat2('r/c', 'r/a', RENAME_NOREPLACE)
    renameat2('r/a', 'r/b', RENAME_EXCHANGE)
    equal((read_file('r/a'), read_file('r/b')), (b'b', b'a'), 'exchange')
    with fails(errno.ENOENT):
        renameat2('r/a', 'r/none', RENAME_EXCHANGE)
    with fails(errno.EINVAL):
        renameat2('r/a', 'r/b', RENAME_WHITEOUT | RENAME_EXCHANGE)
    with fails(errno.EEXIST):
        renameat2('r/a', 'r/b', RENAME_WHITEOUT | RENAME_NOREPLACE)
    renameat2('r/a', 'r/x', RENAME_WHITEOUT | RENAME_NOREPLACE)
    equal((read_file('r/x'), os.lstat('r/a').st_rdev), (b'b', 0), 'whiteout')
    equal(stat.S_IFMT(os.lstat('r/a').st_mode), stat.S_IFCHR, 'whiteout')
    renameat2('r/x', 'r/a', RENAME_WHITEOUT)
    os.unlink('r/x')
    os.rename('r/a', 'r/b')
    equal(os.listdir('r'), ['b'])
    os.rename('r/b', 'r/b')
    equal(read_file('r/b'), b'b', 'renamed over')
    os.link('r/b', 'r/same')
    os.rename('r/b', 'r/same')
    equal(sorted(os.listdir('r')), ['b', 'same'], 'rename of two links of one file does nothing')
    rename_folders()


def rename_folders():
    os.makedirs('r/d1/sub')
    os.makedirs('r/d2')
    with fails(errno.EINVAL):
        os.rename('r/d1', 'r/d1/sub/d1')
    with fails(errno.ENOTEMPTY, errno.EEXIST):
        os.rename('r/d2', 'r/d1')
    with fails(errno.EISDIR):
        os.rename('r/b', 'r/d2')
    with fails(errno.ENOTDIR):
        os.rename('r/d2', 'r/b')
    os.rename('r/d1/sub', 'r/d2/moved')
    equal((os.stat('r/d1').st_nlink, os.stat('r/d2').st_nlink), (2, 3), 'links of parents')
    equal(os.stat('r/d2/moved/..').st_ino, os.stat('r/d2').st_ino, '.. of a moved folder')
    os.rename('r/d2', 'r/d1')
    equal(os.listdir('r/d1'), ['moved'], 'renamed over an empty folder')
    write_file('r/file', b'file')
    renameat2('r/file', 'r/d1/moved', RENAME_EXCHANGE)
    equal((read_file('r/d1/moved'), os.stat('r/d1').st_nlink), (b'file', 2), 'exchange of file and folder')
    equal(os.stat('r/file/..').st_ino, os.stat('r').st_ino, '.. after exchange')


def attributes_extended():
    write_file('x')
    os.mkdir('xd')
    os.symlink('x', 'xs')
    for name in ('x', 'xd'):
        os.setxattr(name, 'user.a', b'1')
        os.setxattr(name, 'user.empty', b'')
        os.setxattr(name, 'user.long', bytes(range(256)) * 128)
        os.setxattr(name, 'trusted.t', b't')
        os.setxattr(name, 'security.s', b's')
        os.setxattr(name, 'user.' + 'n' * 250, b'long name')
        equal(len(os.listxattr(name)), 6, 'listxattr')
        equal(os.getxattr(name, 'user.long'), bytes(range(256)) * 128)
        equal(os.getxattr(name, 'user.empty'), b'')
        os.setxattr(name, 'user.a', b'two', os.XATTR_REPLACE)
        with fails(errno.EEXIST):
            os.setxattr(name, 'user.a', b'3', os.XATTR_CREATE)
        with fails(errno.ENODATA):
            os.setxattr(name, 'user.b', b'3', os.XATTR_REPLACE)
        with fails(errno.ENODATA):
            os.getxattr(name, 'user.b')
        with fails(errno.ENODATA):
            os.removexattr(name, 'user.b')
        equal(os.getxattr(name, 'user.a'), b'two', 'replaced')
        os.removexattr(name, 'trusted.t')
        os.setxattr(name, 'user.max', b'm' * 65536)
        equal(len(os.getxattr(name, 'user.max')), 65536)
        with fails(errno.E2BIG):
            os.setxattr(name, 'user.toobig', b'm' * 65537)
        os.setxattr(name, 'user.long', b'short')
        equal(os.getxattr(name, 'user.long'), b'short', 'shortened')
    with fails(errno.ERANGE):
        os.setxattr('x', 'user.' + 'n' * 251, b'')
    os.setxattr('xs', 'trusted.link', b'of the link', follow_symlinks=False)
    equal(os.listxattr('xs', follow_symlinks=False), ['trusted.link'])
    with fails(errno.EPERM):
        os.setxattr('xs', 'user.link', b'', follow_symlinks=False)
    for i in range(200):
        os.setxattr('xd', f'user.many{i}', str(i).encode())
    equal(len([n for n in os.listxattr('xd') if 'many' in n]), 200)
    for i in range(0, 200, 2):
        os.removexattr('xd', f'user.many{i}')


def blocks(fd):
    """Allocated bytes, once they are: the kernel's writeback cache may answer with what it last heard for a second."""
    os.fsync(fd)
    if CACHE == 'writeback':
        time.sleep(1.1)
    return os.fstat(fd).st_blocks * 512


def allocation():
    with opened('fa', RW) as fd:
        fallocate(fd, 0, 0, 1 << 20)
        equal((os.fstat(fd).st_size, blocks(fd)), (1 << 20, 1 << 20), 'fallocate')
        equal(os.pread(fd, 1 << 20, 0), bytes(1 << 20), 'allocated bytes are zeros')
        fallocate(fd, FALLOC_KEEP_SIZE, 1 << 20, 1 << 20)
        equal((os.fstat(fd).st_size, blocks(fd)), (1 << 20, 2 << 20), 'KEEP_SIZE')
        os.pwrite(fd, b'a' * (1 << 20), 0)
        fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 5000, 100000)
        want = b'a' * 5000 + bytes(100000) + b'a' * ((1 << 20) - 105000)
        equal(os.pread(fd, 1 << 20, 0), want, 'punched')
        equal(blocks(fd), (2 << 20) - 23 * 4096, 'whole blocks in the hole are freed')
        fallocate(fd, FALLOC_ZERO_RANGE, 200001, 50001)
        want = want[:200001] + bytes(50001) + want[250002:]
        equal(os.pread(fd, 1 << 20, 0), want, 'zeroed')
        fallocate(fd, FALLOC_ZERO_RANGE, 1 << 20, 12345)
        equal(os.fstat(fd).st_size, (1 << 20) + 12345, 'ZERO_RANGE grows')
        fallocate(fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, 1 << 21, 12345)
        equal(os.fstat(fd).st_size, (1 << 20) + 12345, 'ZERO_RANGE with KEEP_SIZE does not')
        with fails(errno.EOPNOTSUPP):
            fallocate(fd, FALLOC_COLLAPSE_RANGE, 0, 4096)
        with fails(errno.EINVAL):
            fallocate(fd, 0, 0, 0)
        with fails(errno.EFBIG):
            fallocate(fd, 0, (1 << 63) - 4096, 8192)
        with fails(errno.ENOSPC):
            fallocate(fd, 0, 0, 1 << 40)
        equal(os.fstat(fd).st_size, (1 << 20) + 12345, 'no room: nothing changed')
    with fails(errno.EBADF), opened('fa', os.O_RDONLY) as fd:
        fallocate(fd, 0, 0, 1)


def sparse():
    with opened('sparse', RW) as fd:
        for at in (0, 10 << 20, 1 << 40):
            os.pwrite(fd, b's' * 4096, at)
        os.fsync(fd)
        equal(os.fstat(fd).st_size, (1 << 40) + 4096)
        equal(blocks(fd), 3 * 4096, 'blocks of a sparse file')
        found, at = [], 0
        while at < (1 << 40) + 4096:
            data = os.lseek(fd, at, os.SEEK_DATA)
            at = os.lseek(fd, data, os.SEEK_HOLE)
            found.append((data, at))
        equal(found, [(o, o + 4096) for o in (0, 10 << 20, 1 << 40)], 'SEEK_DATA and SEEK_HOLE')
        with fails(errno.ENXIO):
            os.lseek(fd, at, os.SEEK_DATA)
        equal(os.lseek(fd, 5000, os.SEEK_HOLE), 5000)
        equal(os.pread(fd, 10, (1 << 39)), bytes(10), 'a hole')
        with fails(errno.EFBIG, errno.EINVAL):
            os.pwrite(fd, b'xx', (1 << 63) - 1)
        os.ftruncate(fd, (1 << 20) + 7)  # the manifest reads it all
        equal(blocks(fd), 4096)


def truncation():
    data = os.urandom(300000)
    with opened('t', RW) as fd:
        os.write(fd, data)
        os.ftruncate(fd, 100001)
        equal(blocks(fd), 25 * 4096, 'blocks after truncate')
        os.ftruncate(fd, 200000)
        equal(os.pread(fd, 300000, 0), data[:100001] + bytes(99999), 'truncated down and up')
        os.ftruncate(fd, 10)
        os.pwrite(fd, b'end', 20)
        equal(os.pread(fd, 99, 0), data[:10] + bytes(10) + b'end', 'the gap is zeros')
        with fails(errno.EINVAL):
            os.ftruncate(fd, -1)
        os.ftruncate(fd, (1 << 63) - 1)
        equal(os.fstat(fd).st_size, (1 << 63) - 1, 'the largest size')
        os.ftruncate(fd, 23)
    os.truncate('t', 22)
    with opened('t', os.O_RDWR | os.O_TRUNC) as fd:
        equal((os.fstat(fd).st_size, blocks(fd)), (0, 0), 'O_TRUNC')
    with fails(errno.EISDIR):
        os.truncate('d', 0)
    write_file('t', b'z' * 5000)
    write_file('t', b'short')
    equal(read_file('t'), b'short', 'create over')


def copies():
    data = os.urandom(500000)
    write_file('c1', data)
    with opened('c1', os.O_RDWR) as source, opened('c2', RW) as target:
        done = 0
        while done < 300000:
            count = os.copy_file_range(source, target, 300000 - done, 12345 + done, 777 + done)
            assert count > 0, 'copy_file_range gives 0'
            done += count
        equal(read_file('c2'), bytes(777) + data[12345:312345], 'copy_file_range')
        equal(os.copy_file_range(source, target, 100, 500000, 0), 0, 'at the end of the source')
        with fails(errno.EINVAL):
            os.copy_file_range(source, source, 1000, 0, 500)
        equal(os.sendfile(target, source, 0, 1000), 1000, 'sendfile')


def append_and_open_flags():
    with opened('ap', RW | os.O_APPEND) as one, opened('ap', os.O_WRONLY | os.O_APPEND) as two:
        for i in range(100):
            os.write(one, f'one {i}\n'.encode())
            os.write(two, f'two {i}\n'.encode())
        equal(len(read_file('ap').splitlines()), 200, 'appended lines')
    with fails(errno.EEXIST):
        os.open('ap', RW | os.O_EXCL)
    with fails(errno.ENOTDIR):
        os.open('ap', os.O_DIRECTORY)
    with fails(errno.ELOOP):
        os.open('sl', os.O_RDONLY | os.O_NOFOLLOW)
    with fails(errno.EISDIR):
        os.open('d', os.O_WRONLY)
    with fails(errno.ENOENT):
        os.open('none', os.O_RDONLY)
    with opened('sync', RW | os.O_SYNC) as fd:
        os.write(fd, b'sync')
        os.fdatasync(fd)
    with opened('.', os.O_RDONLY) as fd:
        os.fsync(fd)
    with opened('lock', RW) as one, opened('lock', RW) as two:
        fcntl.flock(one, fcntl.LOCK_EX)
        with fails(errno.EAGAIN):
            fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    direct()
    mapped()


def direct():
    buffer = mmap.mmap(-1, 8192)
    buffer[:] = b'D' * 8192
    with opened('direct', RW | os.O_DIRECT) as fd:
        equal(os.pwrite(fd, buffer, 4096), 8192)
        buffer[:] = bytes(8192)
        equal(os.preadv(fd, [buffer], 0), 8192)
        equal(buffer[:], bytes(4096) + b'D' * 4096, f'O_DIRECT with cache={CACHE}')


def mapped():
    write_file('map', bytes(20000))
    with opened('map', os.O_RDWR) as fd:
        with mmap.mmap(fd, 20000, mmap.MAP_PRIVATE) as private:
            private[:4] = b'mine'
            equal(os.pread(fd, 4, 0), bytes(4), 'a private mapping')
        try:
            shared = mmap.mmap(fd, 20000)
        except OSError as error:
            # Before FUSE's DIRECT_IO_ALLOW_MMAP a file without page cache cannot be mapped shared.
            if CACHE != 'none' or error.errno != errno.ENODEV:
                raise
            return
        with shared:
            shared[5000:5004] = b'ours'
            shared.flush()
            equal(os.pread(fd, 4, 5000), b'ours', 'a shared mapping')
            os.pwrite(fd, b'back', 9000)
            equal(shared[9000:9004], b'back', 'write seen through the mapping')


def times():
    write_file('time')
    for ns in (0, 1, 999999999, 1234567890123456789, -1, -1500000000, 4102444800 * 10**9 + 7):
        os.utime('time', ns=(ns, ns + 5))
        st = os.stat('time')
        equal((st.st_atime_ns, st.st_mtime_ns), (ns, ns + 5), 'utimensat')
    st = os.stat('time')
    wait_for_clock(st.st_ctime_ns)
    os.chmod('time', 0o600)
    equal(os.stat('time').st_mtime_ns, st.st_mtime_ns, 'chmod leaves mtime')
    assert os.stat('time').st_ctime_ns > st.st_ctime_ns, 'chmod changes ctime'
    with opened('time', os.O_WRONLY) as fd:
        os.write(fd, b'now')
    assert abs(os.stat('time').st_mtime - time.time()) < 10, 'write changes mtime'
    os.utime('sl', ns=(5, 6), follow_symlinks=False)
    equal(os.lstat('sl').st_mtime_ns, 6, 'mtime of a symlink')
    os.mkdir('td')
    os.utime('td', ns=(1, 2))
    write_file('td/f')
    assert os.stat('td').st_mtime_ns > 2, 'create changes the mtime of the folder'
    os.utime('td', ns=(1, 2))
    os.unlink('td/f')
    assert os.stat('td').st_mtime_ns > 2, 'unlink changes the mtime of the folder'


def as_user(uid, gid, body):
    """Runs body as another user in a child; what it raises fails the test."""
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            body()
            os._exit(0)
        except BaseException as error:  # pylint: disable=broad-except
            print(f'as user {uid}: {error!r}', file=sys.stderr, flush=True)
            os._exit(1)
    equal(os.waitpid(child, 0)[1], 0, f'as user {uid}')


def owners():
    write_file('o', b'o')
    os.chmod('o', 0o6755)
    os.chown('o', 1000, 1001)
    st = os.stat('o')
    equal((st.st_uid, st.st_gid), (1000, 1001), 'chown')
    equal(stat.S_IMODE(st.st_mode), 0o755, 'chown clears setuid and setgid')
    os.chown('o', -1, 1002)
    equal((os.stat('o').st_uid, os.stat('o').st_gid), (1000, 1002), 'chgrp')
    os.chown('o', 4294967294, 4294967294)
    equal(os.stat('o').st_uid, 4294967294, 'the largest uid')
    os.lchown('sl', 7, 8)
    equal((os.lstat('sl').st_uid, os.lstat('sl').st_gid), (7, 8), 'lchown')
    for mode in (0, 0o7777, 0o1777, 0o4755, 0o644):
        os.chmod('o', mode)
        equal(stat.S_IMODE(os.stat('o').st_mode), mode, 'chmod')
    os.mkdir('shared')
    os.chown('shared', 0, 500)
    os.chmod('shared', 0o2777)
    write_file('shared/f')
    os.mkdir('shared/d')
    equal((os.stat('shared/f').st_gid, os.stat('shared/d').st_gid), (500, 500), 'group from a setgid folder')
    assert os.stat('shared/d').st_mode & stat.S_ISGID, 'a folder in a setgid folder is one itself'
    user_access()


def user_access():
    write_file('private', b'secret')
    os.chmod('private', 0o600)
    os.mkdir('sticky')
    os.chmod('sticky', 0o1777)
    write_file('sticky/root')
    os.mkdir('open')
    os.chmod('open', 0o777)

    def user():
        with fails(errno.EACCES):
            read_file('private')
        with fails(errno.EPERM):
            os.chmod('private', 0o777)
        with fails(errno.EPERM):
            os.unlink('sticky/root')
        with fails(errno.EACCES):
            write_file('d/new')
        write_file('open/mine', b'mine')
        equal((os.stat('open/mine').st_uid, os.stat('open/mine').st_gid), (1234, 1235), 'owner')
        os.chmod('open/mine', 0o4755)
        with opened('open/mine', os.O_WRONLY) as fd:
            os.write(fd, b'M')
        equal(stat.S_IMODE(os.stat('open/mine').st_mode), 0o755, 'a write clears setuid')

    as_user(1234, 1235, user)


def unlinked_open():
    with opened('gone', RW) as fd:
        os.write(fd, b'still here')
        os.unlink('gone')
        equal(os.fstat(fd).st_nlink, 0, 'links')
        equal(os.pread(fd, 99, 0), b'still here', 'an unlinked open file')
        os.pwrite(fd, b'x' * 100000, 5)
        os.ftruncate(fd, 50000)
        equal(os.fstat(fd).st_size, 50000)
        with fails(errno.ENOENT):
            os.stat('gone')
        write_file('gone', b'another')
        equal(os.pread(fd, 5, 0), b'still', 'not the new one')
    os.mkdir('gonedir')
    with opened('gonedir', os.O_RDONLY) as fd:
        os.rmdir('gonedir')
        with fails(errno.ENOENT):
            os.mkdir('sub', dir_fd=fd)
        equal(os.listdir(fd), [], 'a removed folder')


def directories():
    """Each name that stays comes exactly once, whatever is made and removed meanwhile; seekdir goes back to its place."""
    os.mkdir('many')
    stay = {f'stay{i:04}' for i in range(2000)}
    for name in stay:
        write_file(f'many/{name}')
    folder = Directory('many')
    seen, places, i = [], [], 0
    while (name := folder.read()) is not None:
        seen.append(name)
        places.append(folder.tell())
        if i % 4 == 0:
            write_file(f'many/new{i}')
        if i % 4 == 2:
            os.unlink(f'many/new{i - 2}')
        i += 1
    kept = [n for n in seen if n in stay]
    equal(len(kept), len(set(kept)), 'a name twice')
    equal(set(kept), stay, 'names')
    assert {'.', '..'} <= set(seen), '. and ..'
    for i in (0, 1, 17, 1000, 1999):
        folder.seek(places[i])
        following = [n for n in seen[i + 1:] if n in stay]
        again = []
        while (name := folder.read()) is not None:
            again.append(name)
        equal([n for n in again if n in stay], following, 'after seekdir')
    folder.close()
    for i, name in enumerate(sorted(stay)):
        if i % 3:
            os.unlink(f'many/{name}')
    equal(len(os.listdir('many')), len({n for n in os.listdir('many')}))


def space():
    st = os.statvfs('.')
    equal((st.f_frsize, st.f_namemax), (4096, 255), 'statvfs')
    assert 0 < st.f_bfree <= st.f_blocks and 0 < st.f_ffree <= st.f_files, 'statvfs counts'
    with opened('space', RW) as fd:
        os.write(fd, bytes(1 << 20))
        os.fsync(fd)
        equal(os.statvfs('.').f_bfree, st.f_bfree - 256, 'free blocks after 1 MiB')


def big():
    """Sizes and offsets that are no multiple of anything."""
    data = os.urandom(5 * 1024 * 1024 + 321)
    with opened('big', RW) as fd:
        at = 0
        for size in (1, 4095, 4096, 4097, 131072, 1 << 20, 1048577, len(data)):
            at += os.write(fd, data[at:at + size])
        equal(at, len(data), 'written')
        for offset, size in ((0, at), (1, at), (4095, 2), (at - 1, 99), (at, 1), (1 << 20, (1 << 20) + 1)):
            equal(os.pread(fd, size, offset), data[offset:offset + size], f'{size} at {offset}')
        os.pwritev(fd, [b'one', b'two', b'x' * 5000], 4000)
        data = data[:4000] + b'onetwo' + b'x' * 5000 + data[9006:]
    equal(read_file('big'), data, 'all of it')


def main():
    os.chdir(FOLDER)
    os.umask(0o022)
    for test in (mkdirs, special_files, symlinks, links, names, renames, attributes_extended, allocation, sparse,
                 truncation, copies, append_and_open_flags, times, owners, unlinked_open, directories, space, big):
        print(test.__name__, flush=True)
        test()


main()
