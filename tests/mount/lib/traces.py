"""Traces: the same operations in two filesystems, what each answers printed a line at a time and compared.

Left out is what may differ between filesystems: inode numbers, sizes of folders, blocks, times themselves.
"""
import contextlib
import errno
import os
import stat

from calls import wait_for_clock


def answer(call, *args):
    try:
        return call(*args)
    except OSError as error:
        return errno.errorcode[error.errno]


def trace(name, call, *args):
    print(f'{name}: {answer(call, *args)}', flush=True)


def attributes(path):
    st = os.lstat(path)
    return oct(st.st_mode), st.st_nlink, st.st_uid, st.st_gid, '-' if stat.S_ISDIR(st.st_mode) else st.st_size


def tree(top='.'):
    found = []
    for folder, folders, files in os.walk(top):
        folders.sort()
        found += [(path, *attributes(path)) for path in sorted(os.path.join(folder, n) for n in folders + files)]
    return found


def changed(call, before, after=None):
    """Whether the call changes ctime and mtime of what is `before` at that path, and `after` at another."""
    old = os.lstat(before)
    wait_for_clock(max(old.st_ctime_ns, old.st_mtime_ns))
    failed = answer(call)
    new = os.lstat(after or before)
    return failed, new.st_ctime_ns != old.st_ctime_ns, new.st_mtime_ns != old.st_mtime_ns


@contextlib.contextmanager
def user(uid, gid, groups=()):
    """This process as another user, without root's capabilities, until the end of the body."""
    if uid == 0:
        yield
        return
    old = os.getgroups()
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(old)


def close(fd):
    os.close(fd)
    return 'opened'
