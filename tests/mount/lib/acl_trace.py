"""Random changes of modes, owners and ACLs by several users in FOLDER, with all that they answer and leave on stdout:
on tmpfs it must be the same. acl_trace.py FOLDER STEPS"""
import errno
import os
import random
import stat
import sys

import acls

FOLDER, STEPS = sys.argv[1], int(sys.argv[2])
USERS = ((0, 0, ()), (1001, 1001, ()), (1002, 1002, (1001,)), (1003, 1003, (2000, 1002)), (1004, 2000, ()))
IDS = (1001, 1002, 1003, 1004, 2000)
rng = random.Random(20)
paths = ['.']


def acl():
    """Right most of the time."""
    words = [f'u{rng.randrange(8)}']
    words += [f'U{n}:{rng.randrange(8)}' for n in sorted(rng.sample(IDS, rng.randrange(3)))]
    words += [f'g{rng.randrange(8)}']
    words += [f'G{n}:{rng.randrange(8)}' for n in sorted(rng.sample(IDS, rng.randrange(3)))]
    if len(words) > 2 or rng.random() < 0.3:
        words += [f'm{rng.randrange(8)}']
    words += [f'o{rng.randrange(8)}']
    if rng.random() < 0.1:
        words.pop(rng.randrange(len(words)))
    return ' '.join(words)


def mode():
    return rng.choice((0o777, 0o666, 0o644, 0o700, 0o2775, 0o2755, 0o4755, 0o1777, rng.randrange(0o10000)))


def new_name(step):
    folders = [p for p in paths if os.path.isdir(p) and not os.path.islink(p) and p.count('/') < 4]
    return f'{rng.choice(folders)}/{step}'


def make(path):
    what = rng.choice(('file', 'file', 'dir', 'dir', 'fifo', 'link', 'node'))
    os.umask(rng.choice((0, 0o022, 0o077, 0o027, 0o777)))
    bits = mode()
    if what == 'file':
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, bits))
    elif what == 'dir':
        os.mkdir(path, bits)
    elif what == 'fifo':
        os.mkfifo(path, bits)
    elif what == 'node':
        os.mknod(path, stat.S_IFREG | bits)
    else:
        os.symlink('nowhere', path)


def chmod(path):
    os.chmod(path, mode())


def chown(path):
    """Never of neither: with FUSE_HANDLE_KILLPRIV_V2 the kernel does not say that setuid is to go then."""
    uid, gid = rng.choice(((-1, 0), (0, -1), (0, 0)))
    os.chown(path, uid or rng.choice(IDS + (0,)), gid or rng.choice(IDS + (0,)), follow_symlinks=False)


def set_access(path):
    os.setxattr(path, acls.ACCESS, acls.pack(acl()), follow_symlinks=False)


def set_default(path):
    os.setxattr(path, acls.DEFAULT, acls.pack(acl()), follow_symlinks=False)


def either(path):
    """Removing an access ACL leaves setgid alone on pinfs, as on ext4 and XFS; not so on tmpfs."""
    return acls.DEFAULT if os.lstat(path).st_mode & stat.S_ISGID else rng.choice((acls.ACCESS, acls.DEFAULT))


def set_nothing(path):
    os.setxattr(path, either(path), acls.pack(''), follow_symlinks=False)


def remove(path):
    os.removexattr(path, either(path), follow_symlinks=False)


def use(path):
    """What the ACL allows: read, write (which clears setuid and setgid), truncate, search."""
    what = rng.choice(('read', 'write', 'truncate', 'list', 'access'))
    if what == 'list':
        os.stat(path + '/.')
        os.listdir(path)
    elif what == 'access':
        if not os.access(path, rng.randrange(8), effective_ids=True):
            raise PermissionError(errno.EACCES, '')
    elif what == 'truncate':
        os.truncate(path, rng.randrange(3))
    else:
        fd = os.open(path, os.O_NONBLOCK | (os.O_RDONLY if what == 'read' else os.O_WRONLY))
        try:
            if what == 'write' and stat.S_ISREG(os.fstat(fd).st_mode):
                os.write(fd, b'x')
        finally:
            os.close(fd)


def show(path):
    st = os.lstat(path)
    return f'{st.st_mode:o} {st.st_uid}:{st.st_gid} [{acls.get(path, acls.ACCESS)}] [{acls.get(path, acls.DEFAULT)}]'


def step(number):
    change = rng.choice((make, make, make, chmod, chmod, chown, set_access, set_access, set_default, set_default,
                         set_nothing, remove, use, use, use))
    path = new_name(number) if change is make else rng.choice(paths)
    uid, gid, groups = rng.choice(USERS)
    if rng.random() < 0.5:
        uid = os.lstat(path if os.path.lexists(path) else os.path.dirname(path)).st_uid
    state, answer = rng.getstate(), 'ok'
    try:
        with acls.user(uid, gid, groups):
            change(path)
    except OSError as e:
        answer = errno.errorcode[e.errno]
    # What an operation draws does not depend on how far it came.
    rng.setstate(state)
    rng.random()
    if change is make and answer == 'ok':
        paths.append(path)
    print(number, change.__name__, uid, path, answer, show(path) if os.path.lexists(path) else '-')


def main():
    os.chdir(FOLDER)
    os.umask(0)
    os.chmod('.', 0o777)
    for number in range(STEPS):
        step(number)
    for path in paths:
        print(path, show(path))


main()
