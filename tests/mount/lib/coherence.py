"""Does the same operations as any other run of it, in FOLDER, and prints what each answers: traces are compared.

coherence.py FOLDER
"""
import os
import stat
import sys

from calls import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, RENAME_EXCHANGE, RENAME_NOREPLACE, fallocate, linkat_followed,
                   opened, read_file, renameat2, write_file)
from traces import answer, attributes, changed, close, trace, tree

NOBODY = 65534


def as_nobody(call):
    """The errno of the call in a child that is an unprivileged user, 0 if it succeeds."""
    child = os.fork()
    if child == 0:
        code = 1000
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            call()
            code = 0
        except OSError as error:
            code = error.errno
        finally:
            os._exit(min(code, 255))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def renames():
    for name in ('d1', 'd2', 'd1/s', 'd1/s/t', 'e'):
        os.mkdir(name)
    write_file('d1/f', b'1')
    write_file('d2/f', b'22')
    trace('to itself', os.rename, 'd1/f', 'd1/f')
    trace('folder over file', os.rename, 'd1', 'd2/f')
    trace('file over folder', os.rename, 'd1/f', 'e')
    trace('over a full folder', os.rename, 'e', 'd1')
    trace('below itself', os.rename, 'd1', 'd1/s/t/x')
    trace('onto its child', os.rename, 'd1', 'd1/s')
    trace('onto its ancestor', os.rename, 'd1/s/t', 'd1')
    trace('into another', os.rename, 'e', 'd2/e')
    trace('attributes', attributes, 'd2')
    os.mkdir('e')
    trace('over an empty folder', os.rename, 'd2/e', 'e')
    trace('tree', tree)
    os.link('d1/f', 'd1/l')
    trace('onto another link', os.rename, 'd1/f', 'd1/l')
    trace('noreplace', renameat2, 'd1/f', 'd2/f', RENAME_NOREPLACE)
    trace('noreplace itself', renameat2, 'd1/f', 'd1/f', RENAME_NOREPLACE)
    trace('tree', tree)


def exchanges():
    for pair in (('d1/s', 'd2/f'), ('d2/f', 'd1/s'), ('d1', 'd1/s/t'), ('d1', 'd1'), ('d1', 'none'), ('d1/f', 'd1/l'),
                 ('d1/s', 'd2'), ('d1/t', 'd2'), ('d1/s', 'd1/f'), ('d1/f', 'd1/s')):
        trace(f'exchange {pair}', renameat2, *pair, RENAME_EXCHANGE)
        trace('tree', tree)
    trace('..', lambda: os.stat('d1/s/..').st_ino == os.stat('d1').st_ino)


def times_of_names():
    write_file('d1/new', b'new')
    os.mkdir('d1/a')
    trace('link', changed, lambda: os.link('d1/new', 'd2/new'), 'd1/new')
    trace('link, its parent', changed, lambda: os.link('d1/new', 'd1/new2'), 'd1')
    trace('unlink', changed, lambda: os.unlink('d1/new2'), 'd1/new')
    trace('unlink, the parent', changed, lambda: os.unlink('d2/new'), 'd2')
    trace('unlink that fails, the parent', changed, lambda: os.unlink('d2/new'), 'd2')
    trace('mkdir that fails, the parent', changed, lambda: os.mkdir('d1/a'), 'd1')
    trace('rename', changed, lambda: os.rename('d1/new', 'd1/old'), 'd1/new', 'd1/old')
    trace('rename, source', changed, lambda: os.rename('d1/old', 'd2/old'), 'd1')
    trace('rename, target', changed, lambda: os.rename('d2/old', 'd1/old'), 'd1')
    trace('rename of a folder', changed, lambda: os.rename('d1/a', 'd2/a'), 'd1/a', 'd2/a')
    os.link('d1/old', 'd2/old')
    write_file('over', b'over')
    trace('rename over a link', changed, lambda: os.rename('over', 'd2/old'), 'd1/old')
    trace('tree', tree)


def times_of_attributes():
    for name, call in (('chmod', lambda: os.chmod('d1/old', 0o600)), ('chown', lambda: os.chown('d1/old', 1, 1)),
                       ('utime', lambda: os.utime('d1/old')), ('write', lambda: write_file('d1/old', b'abc')),
                       ('truncate', lambda: os.truncate('d1/old', 1)),
                       ('setxattr', lambda: os.setxattr('d1/old', 'trusted.x', b'1')),
                       ('removexattr', lambda: os.removexattr('d1/old', 'trusted.x')),
                       ('read', lambda: len(read_file('d1/old')))):
        trace(f'times of {name}', changed, call, 'd1/old')
    os.utime('d1/old', ns=(-1500000000, -1))
    trace('times before 1970', lambda: (os.stat('d1/old').st_atime_ns, os.stat('d1/old').st_mtime_ns))


def write_one(path='p'):
    with opened(path, os.O_RDWR) as fd:
        os.write(fd, b'x')


def punch():
    with opened('p', os.O_RDWR) as fd:
        fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 4096)


def allocate():
    with opened('p', os.O_RDWR) as fd:
        os.posix_fallocate(fd, 0, 100000)


def copy_into():
    with opened('src', os.O_RDONLY) as source, opened('p', os.O_RDWR) as target:
        os.copy_file_range(source, target, 4096, 0, 0)


def privileges():
    """What takes away set-user-ID and set-group-ID."""
    write_file('src', b's' * 8192)
    for name, call, mode in (('write', write_one, 0o6755), ('write, no x for the group', write_one, 0o6644),
                             ('truncate', lambda: os.truncate('p', 3), 0o6755),
                             ('O_TRUNC', lambda: os.close(os.open('p', os.O_WRONLY | os.O_TRUNC)), 0o6755),
                             ('fallocate', allocate, 0o6755), ('punch', punch, 0o6755), ('copy', copy_into, 0o6755),
                             ('chown', lambda: os.chown('p', -1, NOBODY), 0o6755),
                             ('chmod', lambda: os.chmod('p', 0o2755), 0o6755)):
        write_file('p', b'hello world' * 1000)
        os.chown('p', NOBODY, NOBODY)
        os.chmod('p', mode)
        trace(f'{name} by the owner', lambda call=call: (os.lstat('p').st_mode, as_nobody(call), attributes('p')))
    for name, call in (('write', write_one), ('chown', lambda: os.chown('p', 5, 5))):
        os.chmod('p', 0o6755)
        trace(f'{name} by root', lambda call=call: (answer(call), attributes('p')))


def shared_folders():
    os.mkdir('sg')
    os.chown('sg', 0, 77)
    os.chmod('sg', 0o2755)
    write_file('sg/a')
    os.mkdir('sg/b')
    os.symlink('x', 'sg/c')
    os.mkfifo('sg/d')
    os.close(os.open('sg/e', os.O_CREAT, 0o2755))
    trace('in a setgid folder', tree, 'sg')
    os.mkdir('sticky')
    os.chmod('sticky', 0o1777)
    write_file('sticky/root')
    os.mkdir('sticky/folder')

    def rename_over():
        write_file('sticky/mine')
        os.rename('sticky/mine', 'sticky/root')

    trace('sticky: unlink', as_nobody, lambda: os.unlink('sticky/root'))
    trace('sticky: rename over', as_nobody, rename_over)
    trace('sticky: rmdir', as_nobody, lambda: os.rmdir('sticky/folder'))
    trace('sticky: rename', as_nobody, lambda: os.rename('sticky/root', 'sticky/root2'))
    trace('sticky: unlink of an own file', as_nobody, lambda: os.unlink('sticky/mine'))
    trace('sticky', tree, 'sticky')


def appended():
    write_file('o', b'12345')
    with opened('o', os.O_WRONLY | os.O_APPEND) as one, opened('o', os.O_WRONLY | os.O_APPEND) as two:
        for fd, data in ((one, b'aa'), (two, b'bb'), (one, b'cc')):
            os.write(fd, data)
            os.fstat(two)
    return read_file('o')


def opens():
    for flags in (os.O_RDWR | os.O_TRUNC, os.O_RDWR | os.O_TRUNC | os.O_CREAT):
        write_file('o', b'12345')
        trace('O_TRUNC', lambda flags=flags: (close(os.open('o', flags)), attributes('o')))
    trace('O_APPEND', appended)
    os.symlink('o', 'sl')
    for name, flags in (('o', os.O_CREAT | os.O_EXCL), ('d1', os.O_WRONLY), ('d1', os.O_CREAT | os.O_RDWR),
                        ('sl', os.O_NOFOLLOW), ('sl', os.O_CREAT | os.O_EXCL), ('o/', os.O_RDONLY),
                        ('new/', os.O_CREAT | os.O_RDWR), ('o', os.O_DIRECTORY), ('n' * 255, os.O_CREAT),
                        ('n' * 256, os.O_CREAT), ('o/x', os.O_RDONLY)):
        trace(f'open {name} {flags:#o}', lambda name=name, flags=flags: close(os.open(name, flags)))


def wrong_kinds():
    trace('mkdir with /', lambda: (os.mkdir('slash/'), attributes('slash')))
    trace('link to a folder', os.link, 'd1', 'dl')
    trace('link to a symlink', lambda: (os.link('sl', 'sl2', follow_symlinks=False), attributes('sl2')))
    trace('unlink of a folder', os.unlink, 'd1')
    trace('rmdir of a file', os.rmdir, 'o')
    trace('rmdir of a full folder', os.rmdir, 'd1')
    trace('rmdir .', os.rmdir, 'd1/.')
    trace('rmdir ..', os.rmdir, 'd1/../d2/..')
    trace('rename .', os.rename, 'd1/.', 'x')
    trace('rename ..', os.rename, 'd1', 'd2/..')
    os.mknod('char', 0o600 | stat.S_IFCHR, os.makedev(260, 70000))
    trace('device number', lambda: os.lstat('char').st_rdev)


def unlinked_file():
    with opened('u', os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, b'keep')
        os.unlink('u')
        trace('unlinked: links', lambda: os.fstat(fd).st_nlink)
        os.write(fd, b'more')
        os.ftruncate(fd, 6)
        os.fchmod(fd, 0o600)
        trace('unlinked: content', os.pread, fd, 10, 0)
        trace('unlinked: link', linkat_followed, f'/proc/self/fd/{fd}', 'u2')
        trace('unlinked: mode', lambda: oct(os.fstat(fd).st_mode))


def removed_folder():
    os.mkdir('gone')
    with opened('gone', os.O_RDONLY) as fd:
        os.rmdir('gone')
        trace('removed: links', lambda: os.fstat(fd).st_nlink)
        trace('removed: create', lambda: close(os.open('x', os.O_CREAT | os.O_RDWR, dir_fd=fd)))
        trace('removed: mkdir', lambda: os.mkdir('y', dir_fd=fd))
        trace('removed: symlink', lambda: os.symlink('y', 'z', dir_fd=fd))
        trace('removed: link into', lambda: os.link('o', 'q', dst_dir_fd=fd))
        trace('removed: rename into', lambda: os.rename('o', 'q', dst_dir_fd=fd))
        trace('removed: names', os.listdir, fd)
        trace('removed: ..', lambda: os.stat('..', dir_fd=fd).st_ino == os.stat('.').st_ino)
        trace('removed: open', lambda: close(os.open('zz', os.O_RDONLY, dir_fd=fd)))


def attributes_extended():
    def set_and_get(size):
        os.setxattr('o', 'trusted.big', b'v' * size)
        return len(os.getxattr('o', 'trusted.big'))

    for size in (0, 1, 511, 512, 513, 1024, 1025, 4032, 65535, 65536, 65537):
        trace(f'xattr of {size}', set_and_get, size)
    trace('XATTR_CREATE', os.setxattr, 'o', 'trusted.big', b'', os.XATTR_CREATE)
    trace('XATTR_REPLACE', os.setxattr, 'o', 'trusted.none', b'', os.XATTR_REPLACE)
    trace('getxattr of none', os.getxattr, 'o', 'trusted.none')
    trace('removexattr of none', os.removexattr, 'o', 'trusted.none')
    trace('listxattr', os.listxattr, 'o')


def sizes():
    write_file('c1', b'q' * 100000)
    with opened('c1', os.O_RDONLY) as source, opened('c2', os.O_RDWR | os.O_CREAT) as target:
        trace('copy', os.copy_file_range, source, target, 50000, 0, 5000)
        trace('size of the copy', lambda: (os.fstat(target).st_size, os.stat('c2').st_size))
        trace('the copy', lambda: read_file('c2') == bytes(5000) + b'q' * 50000)
    write_file('c3', b'abc')
    with opened('c3', os.O_RDWR) as fd:
        trace('fallocate', lambda: (os.posix_fallocate(fd, 0, 10000), attributes('c3')))
        trace('KEEP_SIZE', lambda: (fallocate(fd, FALLOC_KEEP_SIZE, 0, 20000), attributes('c3')))
        trace('truncate', lambda: (os.ftruncate(fd, 5), attributes('c3')))
        os.pwrite(fd, b'z', 100)
        os.ftruncate(fd, 50)
        os.ftruncate(fd, 200)
        trace('grown again', os.pread, fd, 300, 0)
        trace('SEEK_HOLE at the end', lambda: os.lseek(fd, 199, os.SEEK_HOLE) <= 200)
        trace('SEEK_DATA behind the end', os.lseek, fd, 200, os.SEEK_DATA)


def main():
    os.chdir(sys.argv[1])
    os.umask(0o022)
    for part in (renames, exchanges, times_of_names, times_of_attributes, privileges, shared_folders, opens,
                 wrong_kinds, unlinked_file, removed_folder, attributes_extended, sizes):
        print('#', part.__name__)
        part()
    trace('tree', tree)


main()
