"""Extended attributes in FOLDER, one function a case. xattrs.py CASE FOLDER"""
import errno
import os
import random
import sys

import acls
from calls import equal, fails, write_file

SPACES = ('user.', 'trusted.', 'security.')


def namespaces():
    write_file('f', b'')
    os.mkdir('d')
    os.symlink('f', 'link')
    for path in ('f', 'd'):
        for space in SPACES:
            os.setxattr(path, space + 'a', space.encode())
            equal(os.getxattr(path, space + 'a'), space.encode())
            with fails(errno.EINVAL):
                os.setxattr(path, space, b'')
            with fails(errno.EINVAL):
                os.removexattr(path, space)
        equal(sorted(os.listxattr(path)), sorted(space + 'a' for space in SPACES), path)
        for name in ('system.foo', 'system.nfs4_acl', 'foo.bar', 'foo', 'userx.a', 'User.a'):
            with fails(errno.EOPNOTSUPP):
                os.setxattr(path, name, b'')
            with fails(errno.EOPNOTSUPP):
                os.getxattr(path, name)
            with fails(errno.EOPNOTSUPP):
                os.removexattr(path, name)
        with fails(errno.EPERM):
            os.setxattr(path, 'pinfs.stat', b'')
    os.setxattr('link', 'trusted.a', b'1', follow_symlinks=False)
    os.setxattr('link', 'security.a', b'1', follow_symlinks=False)
    with fails(errno.EPERM):
        os.setxattr('link', 'user.a', b'1', follow_symlinks=False)
    equal(len(os.listxattr('link', follow_symlinks=False)), 2, 'of a symlink')
    os.mkfifo('fifo')
    with fails(errno.EPERM):
        os.setxattr('fifo', 'user.a', b'1')
    os.setxattr('fifo', 'trusted.a', b'1')


def users():
    """trusted.* is not for users, not even its names; user.* goes by permissions, those of ACLs too."""
    write_file('f', b'')
    os.chmod('f', 0o600)
    os.chown('f', 1001, 1001)
    for name in ('trusted.one', 'user.a', 'trusted.two', 'security.s'):
        os.setxattr('f', name, b'v')
    os.setxattr('f', acls.ACCESS, acls.pack('u6 U1002:4 U1003:6 g0 m6 o0'))
    seen = sorted(['user.a', 'security.s', acls.ACCESS])
    with acls.user(1001, 1001):
        equal(sorted(os.listxattr('f')), seen, 'the owner sees')
        os.setxattr('f', 'user.b', b'1')
        os.removexattr('f', 'user.b')
        with fails(errno.EPERM):
            os.setxattr('f', 'trusted.three', b'1')
        with fails(errno.ENODATA):
            os.getxattr('f', 'trusted.one')
        with fails(errno.EPERM):
            os.removexattr('f', 'trusted.one')
    with acls.user(1002, 1002):
        equal(sorted(os.listxattr('f')), seen, 'another sees')
        equal(os.getxattr('f', 'user.a'), b'v')
        with fails(errno.EACCES):
            os.setxattr('f', 'user.a', b'1')
    with acls.user(1003, 1003):
        os.setxattr('f', 'user.a', b'new')
        with fails(errno.EPERM):
            os.setxattr('f', acls.ACCESS, acls.pack('u6 g0 o0'))
    with acls.user(1004, 1004), fails(errno.EACCES):
        os.getxattr('f', 'user.a')
    equal(len(os.listxattr('f')), 5, 'root sees')
    write_file('hidden', b'')
    os.setxattr('hidden', 'trusted.only', b'')
    with acls.user(1001, 1001):
        equal(os.listxattr('hidden'), [], 'nothing to see')


def errors():
    write_file('f', b'')
    with fails(errno.ENODATA):
        os.getxattr('f', 'user.none')
    with fails(errno.ENODATA):
        os.removexattr('f', 'user.none')
    with fails(errno.ENODATA):
        os.setxattr('f', 'user.none', b'', os.XATTR_REPLACE)
    os.setxattr('f', 'user.a', b'1', os.XATTR_CREATE)
    with fails(errno.EEXIST):
        os.setxattr('f', 'user.a', b'2', os.XATTR_CREATE)
    equal(os.getxattr('f', 'user.a'), b'1')
    for size in (0, 1, 512, 513, 4032, 4033, 65535, 65536):
        os.setxattr('f', 'user.a', os.urandom(size) if size % 2 else bytes(size))
        equal(len(os.getxattr('f', 'user.a')), size, 'size')
    with fails(errno.E2BIG):
        os.setxattr('f', 'user.a', bytes(65537))
    equal(len(os.getxattr('f', 'user.a')), 65536, 'size after a refusal')
    os.setxattr('f', 'user.' + 'n' * 250, b'')
    with fails(errno.ERANGE):
        os.setxattr('f', 'user.' + 'n' * 251, b'')
    with fails(errno.ENOENT):
        os.setxattr('none', 'user.a', b'')
    buffers()


def buffers():
    """What getxattr(2) and listxattr(2) say of a buffer that is too small, exactly right, or only asked for."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    write_file('b', b'')
    os.setxattr('b', 'user.a', b'12345')
    os.setxattr('b', acls.ACCESS, acls.pack('u6 g4 m4 o0'))
    names = len('user.a') + len(acls.ACCESS) + 2
    room = ctypes.create_string_buffer(4096)
    for call, want in ((lambda n: libc.getxattr(b'b', b'user.a', room, n), 5),
                       (lambda n: libc.getxattr(b'b', acls.ACCESS.encode(), room, n), 4 + 4 * 8),
                       (lambda n: libc.listxattr(b'b', room, n), names)):
        equal(call(0), want, 'asked for')
        equal(call(want), want, 'exactly')
        equal(call(4096), want, 'plenty')
        for less in range(1, want):
            equal(call(less), -1, 'too small')
            equal(ctypes.get_errno(), errno.ERANGE)


def many():
    """Thousands of them on a file and on a folder, gone again."""
    write_file('f', b'')
    os.mkdir('d')
    for path in ('f', 'd'):
        for i in range(3000):
            os.setxattr(path, f'user.name{i}', f'value {i}'.encode() * (i % 50))
        equal(len(os.listxattr(path)), 3000, path)
        for i in range(3000):
            equal(os.getxattr(path, f'user.name{i}'), f'value {i}'.encode() * (i % 50), f'{path} {i}')
        for i in range(0, 3000, 2):
            os.removexattr(path, f'user.name{i}')
        equal(sorted(os.listxattr(path)), sorted(f'user.name{i}' for i in range(1, 3000, 2)), path)
    os.setxattr('f', acls.ACCESS, acls.pack('u6 U5:4 g4 m6 o0'))
    os.setxattr('d', acls.DEFAULT, acls.pack('u6 U5:4 g4 m6 o0'))
    write_file('d/inherits', b'')
    equal(acls.get('d/inherits', acls.ACCESS), 'u6 U5:4 g4 m6 o0', 'found among many')
    for name in os.listxattr('f'):
        os.removexattr('f', name)
    equal(os.listxattr('f'), [], 'all are gone')


def list_limit():
    """Linux gives a list of 64 KiB at most; attributes beyond that can be set, read and removed all the same."""
    write_file('f', b'')
    names = [f'user.{i:04}' + 'n' * 200 for i in range(400)]
    for name in names:
        os.setxattr('f', name, name.encode())
    with fails(errno.E2BIG):
        os.listxattr('f')
    for name in names:
        equal(os.getxattr('f', name), name.encode())
    for name in names[300:]:
        os.removexattr('f', name)
    equal(sorted(os.listxattr('f')), names[:300], 'those that are left')


def as_a_dictionary():
    """Random changes answer as a dictionary would."""
    rng, model = random.Random(7), {}
    write_file('f', b'')
    for _ in range(6000):
        name = rng.choice(SPACES) + 'k' * rng.choice((1, 30, 200)) + str(rng.randrange(12))
        what = rng.randrange(6)
        value = rng.randbytes(rng.choice((0, 5, 100, 512, 513, 3000, 20000)) if what < 4 else 0)
        if what < 3:
            os.setxattr('f', name, value)
            model[name] = value
        elif what == 3 and name in model:
            os.setxattr('f', name, value, os.XATTR_REPLACE)
            model[name] = value
        elif name in model:
            os.removexattr('f', name)
            del model[name]
        else:
            with fails(errno.ENODATA):
                os.getxattr('f', name)
    equal(sorted(os.listxattr('f')), sorted(model), 'names')
    for name, value in model.items():
        equal(os.getxattr('f', name), value, name)


def main():
    os.chdir(sys.argv[2])
    os.umask(0o022)
    globals()[sys.argv[1]]()


main()
