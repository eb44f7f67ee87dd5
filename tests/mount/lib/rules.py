"""Each operation, on each kind of file, in each kind of folder, by each user: what it answers and what it changes.

rules.py FOLDER PART/PARTS    does one of so many parts of the table; the output is compared with that of another filesystem
"""
import itertools
import os
import shutil
import stat
import sys

from calls import RENAME_EXCHANGE, RENAME_NOREPLACE, opened, renameat2, wait_for_clock, write_file
from traces import answer, attributes, close, user

FOLDER, PART = sys.argv[1:]
OWNER, MEMBER, STRANGER, GROUP = 60001, 60002, 60003, 60009
USERS = {'root': (0, 0), 'owner': (OWNER, OWNER), 'member': (MEMBER, MEMBER, [GROUP]), 'stranger': (STRANGER, STRANGER)}
# Mode and owner; the group is GROUP.
FOLDERS = {'plain': (0o755, OWNER), 'open': (0o777, OWNER), 'sticky': (0o1777, 0), 'own sticky': (0o1777, OWNER),
           'setgid': (0o2777, OWNER), 'no write': (0o555, OWNER), 'no search': (0o666, OWNER), 'group only': (0o070, OWNER)}
LONG = 'n' * 256


def special(kind):
    return lambda path: os.mknod(path, kind | 0o640, os.makedev(1, 3))


def make_full(path):
    os.mkdir(path)
    os.mkdir(path + '/in')


def make_mode(mode):
    def make(path):
        write_file(path, b'12345')
        os.chown(path, OWNER, GROUP)
        os.chmod(path, mode)
    return make


def make_hard(path):
    write_file(path, b'12345')
    os.link(path, path + '2')


KINDS = {'nothing': lambda path: None,
         'file': make_mode(0o640), 'closed file': make_mode(0), 'open file': make_mode(0o666),
         'group file': make_mode(0o060), 'setid file': make_mode(0o6777), 'setgid file': make_mode(0o2656),
         'linked file': make_hard, 'folder': os.mkdir, 'full folder': make_full,
         'symlink': lambda path: os.symlink('aim', path), 'dangling': lambda path: os.symlink('none', path),
         'loop': lambda path: os.symlink(os.path.basename(path), path),
         'fifo': special(stat.S_IFIFO), 'socket': special(stat.S_IFSOCK), 'device': special(stat.S_IFCHR)}
# What the user's view of permissions matters for less.
SEVERAL = ('nothing', 'file', 'closed file', 'open file', 'setid file', 'folder', 'full folder', 'symlink', 'fifo')


def open_as(flags, mode=0o4751):
    return lambda: close(os.open('t', flags | os.O_NONBLOCK, mode))


def write_to(flags):
    def act():
        with opened('t', flags | os.O_NONBLOCK) as fd:
            return stat.S_ISREG(os.fstat(fd).st_mode) and os.write(fd, b'abc')
    return act


def on_open(flags, act):
    def run():
        with opened('t', flags | os.O_NONBLOCK) as fd:
            return act(fd)
    return run


def times(**how):
    return lambda: os.utime('t', **how)


def utime_other(path, *ns):
    return lambda: os.utime(path, ns=ns)


def allocated(fd):
    return os.posix_fallocate(fd, 0, 9000)


OPERATIONS = {
    'chmod': lambda: os.chmod('t', 0o7751), 'chmod 0': lambda: os.chmod('t', 0),
    'fchmod': on_open(os.O_RDONLY, lambda fd: os.fchmod(fd, 0o2604)),
    'chown': lambda: os.chown('t', STRANGER, STRANGER), 'chown to itself': lambda: os.chown('t', OWNER, GROUP),
    'chown of nothing': lambda: os.chown('t', -1, -1), 'chgrp': lambda: os.chown('t', -1, OWNER),
    'lchown': lambda: os.lchown('t', -1, GROUP), 'lchown away': lambda: os.lchown('t', MEMBER, -1),
    'utime now': times(), 'utime': times(ns=(1, 2)), 'lutime': times(ns=(1, 2), follow_symlinks=False),
    'futimens': on_open(os.O_RDONLY, lambda fd: os.utime(fd, ns=(3, 4))),
    'truncate': lambda: os.truncate('t', 0), 'ftruncate same': on_open(os.O_RDWR, lambda fd: os.ftruncate(fd, 5)),
    'truncate up': lambda: os.truncate('t', 12345), 'truncate < 0': lambda: os.truncate('t', -1),
    'ftruncate': on_open(os.O_RDWR, lambda fd: os.ftruncate(fd, 3)),
    'ftruncate unwritable': on_open(os.O_RDONLY, lambda fd: os.ftruncate(fd, 3)),
    'fallocate': on_open(os.O_RDWR, allocated), 'fallocate unwritable': on_open(os.O_RDONLY, allocated),
    'unlink': lambda: os.unlink('t'), 'rmdir': lambda: os.rmdir('t'), 'remove/': lambda: os.unlink('t/'),
    'rmdir/': lambda: os.rmdir('t/'),
    'link': lambda: os.link('t', 'new', follow_symlinks=False), 'link follows': lambda: os.link('t', 'new'),
    'link onto': lambda: os.link('aim', 't'), 'link long': lambda: os.link('aim', LONG),
    'rename': lambda: os.rename('t', 'new'), 'rename onto': lambda: os.rename('aim', 't'),
    'rename out': lambda: os.rename('t', 'sub/new'), 'rename in': lambda: os.rename('sub/in', 't'),
    'rename folder onto': lambda: os.rename('sub', 't'), 'rename over folder': lambda: os.rename('t', 'empty'),
    'rename/': lambda: os.rename('t', 'new/'), 'rename long': lambda: os.rename('t', LONG),
    'rename below': lambda: os.rename('t', 't/below'),
    'noreplace': lambda: renameat2('aim', 't', RENAME_NOREPLACE),
    'exchange': lambda: renameat2('aim', 't', RENAME_EXCHANGE),
    'exchange folder': lambda: renameat2('sub', 't', RENAME_EXCHANGE),
    'symlink': lambda: os.symlink('aim', 't'), 'symlink to nothing': lambda: os.symlink('', 't'),
    'mkdir': lambda: os.mkdir('t', 0o7751), 'mkdir/': lambda: os.mkdir('t/'), 'mkfifo': lambda: os.mkfifo('t', 0o6777),
    'mknod file': lambda: os.mknod('t', stat.S_IFREG | 0o2755),
    'mknod char': lambda: os.mknod('t', stat.S_IFCHR | 0o644, os.makedev(1, 3)),
    'mknod block': lambda: os.mknod('t', stat.S_IFBLK | 0o644, os.makedev(300, 70000)),
    'open r': open_as(os.O_RDONLY), 'open w': open_as(os.O_WRONLY), 'open rw': open_as(os.O_RDWR),
    'open a': open_as(os.O_WRONLY | os.O_APPEND), 'open creat': open_as(os.O_CREAT | os.O_RDWR),
    'open excl': open_as(os.O_CREAT | os.O_EXCL), 'open trunc': open_as(os.O_WRONLY | os.O_TRUNC),
    'open r trunc': open_as(os.O_RDONLY | os.O_TRUNC), 'open creat trunc': open_as(os.O_CREAT | os.O_WRONLY | os.O_TRUNC),
    'open nofollow': open_as(os.O_RDONLY | os.O_NOFOLLOW), 'open folder': open_as(os.O_DIRECTORY),
    'open path': open_as(os.O_PATH), 'open noatime': open_as(os.O_RDONLY | os.O_NOATIME),
    'write': write_to(os.O_WRONLY), 'append': write_to(os.O_WRONLY | os.O_APPEND),
    'read': on_open(os.O_RDONLY, lambda fd: stat.S_ISREG(os.fstat(fd).st_mode) and os.read(fd, 100)),
    'list': lambda: sorted(os.listdir('t')), 'readlink': lambda: os.readlink('t'), 'stat': lambda: oct(os.stat('t').st_mode),
    'below': lambda: os.stat('t/x'), 'dot': lambda: attributes('t/.'), 'stat/': lambda: attributes('t/'),
    'access': lambda: [os.access('t', each, effective_ids=True) for each in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)],
    'chdir': lambda: os.chdir('t'), 'setxattr': lambda: os.setxattr('t', 'trusted.x', b'1', follow_symlinks=False),
    'getxattr': lambda: os.getxattr('t', 'trusted.y', follow_symlinks=False),
}


class Trial:
    """A folder of its own for one operation."""

    def __init__(self, number, case):
        self.folder = str(number)
        self.case = case
        _, kind, folder, _ = case
        os.mkdir(self.folder)
        os.chdir(self.folder)
        make_mode(0o644)('aim')
        os.mkdir('empty')
        os.mkdir('sub')
        write_file('sub/in')
        KINDS[kind]('t')
        for name in ('empty', 'sub', 'sub/in') + (('t',) if os.path.lexists('t') else ()):
            if name != 't' or not stat.S_ISREG(os.lstat('t').st_mode):
                os.lchown(name, OWNER, GROUP)
            elif kind == 'linked file':
                os.chown('t', OWNER, GROUP)
        os.chdir('..')
        mode, owner = FOLDERS[folder]
        os.chown(self.folder, owner, GROUP)
        os.chmod(self.folder, mode)

    @staticmethod
    def state():
        """Everything in the folder; and by inode number, a name of it and the times of change."""
        found, changes = [], {}
        for folder in ('.', 'sub', 't'):
            if not os.path.isdir(folder) or os.path.islink(folder):
                continue
            st = os.lstat(folder)
            changes[st.st_ino] = folder, st.st_ctime_ns, st.st_mtime_ns
            for name in sorted(os.listdir(folder)):
                path = os.path.normpath(f'{folder}/{name}')
                st = os.lstat(path)
                found.append((path, *attributes(path)))
                changes[st.st_ino] = path, st.st_ctime_ns, st.st_mtime_ns
        return found, changes

    def run(self):
        operation, kind, folder, who = self.case
        os.chdir(self.folder)
        here = os.open('.', os.O_PATH)
        before, old = self.state()
        with user(*USERS[who]):
            result = answer(OPERATIONS[operation])
        os.fchdir(here)
        os.close(here)
        after, new = self.state()
        touched = [(path, ctime != old[ino][1], mtime != old[ino][2]) for ino, (path, ctime, mtime) in new.items()
                   if ino in old and (ctime, mtime) != old[ino][1:]]
        # Of the folder only what has changed.
        print(f'{operation}, {kind}, {folder}, {who}: {result} {sorted(touched)} '
              f'{[each for each in after if each not in before]} -{[each[0] for each in before if each not in after]}')
        os.chdir('..')


# Where setuid and setgid are the filesystem's to take (HANDLE_KILLPRIV_V2) the kernel's request for this says nothing at
# all, and is the same that it sends before a write: they stay.
UNTOLD = {('chown of nothing', 'setid file'), ('chown of nothing', 'setgid file')}


def cases():
    return (case for case in all_cases() if case[:2] not in UNTOLD)


def all_cases():
    for operation in OPERATIONS:
        for kind in KINDS:
            yield operation, kind, 'plain', 'root'
            yield operation, kind, 'setgid', 'owner'
        for kind, folder, who in itertools.product(SEVERAL, FOLDERS, ('owner', 'member', 'stranger')):
            yield operation, kind, folder, who


def main():
    os.chdir(FOLDER)
    os.umask(0o022)
    os.chmod('.', 0o755)
    part, parts = map(int, PART.split('/'))
    chosen = [case for number, case in enumerate(cases()) if number % parts == part - 1]
    for first in range(0, len(chosen), 1000):
        trials = [Trial(first + number, case) for number, case in enumerate(chosen[first:first + 1000])]
        # From here on each change gets a later time.
        wait_for_clock(os.lstat(trials[-1].folder).st_ctime_ns)
        for trial in trials:
            trial.run()
        for trial in trials:
            shutil.rmtree(trial.folder)


main()
