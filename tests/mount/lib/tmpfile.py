"""Files without a name. tmpfile.py basic|excl|race|pin|leave FOLDER; exit status 77: not supported here."""
import concurrent.futures
import errno
import os
import stat
import sys

import pinfs
from calls import equal, fails, linkat_followed, read_file

COMMAND, FOLDER = sys.argv[1:]


def unnamed(folder='.', flags=0, mode=0o644):
    return os.open(folder, os.O_TMPFILE | os.O_RDWR | flags, mode)


def link(fd, name):
    linkat_followed(f'/proc/self/fd/{fd}', name)


def basic():
    os.umask(0o027)
    before = os.listdir('.')
    fd = unnamed(mode=0o666)
    st = os.fstat(fd)
    equal((st.st_nlink, stat.S_IMODE(st.st_mode), stat.S_IFMT(st.st_mode)), (0, 0o640, stat.S_IFREG), 'new')
    equal(os.listdir('.'), before, 'no name')
    os.write(fd, b'content' * 1000)
    equal(os.pread(fd, 7, 7), b'content')
    os.setxattr(fd, 'user.a', b'b')
    os.ftruncate(fd, 7000)
    link(fd, 'linked')
    equal((read_file('linked'), os.stat('linked').st_nlink, os.fstat(fd).st_nlink), (b'content' * 1000, 1, 1), 'linked')
    equal(os.getxattr('linked', 'user.a'), b'b')
    link(fd, 'twice')
    equal(os.fstat(fd).st_nlink, 2, 'linked twice')
    os.unlink('twice')
    # Once without its last name it gets none any more.
    other = unnamed()
    link(other, 'short')
    os.unlink('short')
    with fails(errno.ENOENT):
        link(other, 'again')
    # A name that is there does not use the chance up.
    third = unnamed()
    with fails(errno.EEXIST):
        link(third, 'linked')
    link(third, 'third')
    os.mkdir('setgid')
    os.chown('setgid', 0, 4321)
    os.chmod('setgid', 0o2775)
    equal(os.fstat(unnamed('setgid')).st_gid, 4321, 'group of a setgid folder')
    with fails(errno.ENOTDIR):
        unnamed('linked')


def excl():
    fd = unnamed(flags=os.O_EXCL)
    os.write(fd, b'x')
    with fails(errno.ENOENT):
        link(fd, 'excl')
    equal(os.fstat(fd).st_nlink, 0)


def race():
    """Eight threads link it, and remove their name at once: whoever comes after the last name has gone is refused."""
    def one(fd, name):
        try:
            link(fd, name)
        except FileNotFoundError:
            return 0
        os.unlink(name)
        return 1

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for i in range(100):
            fd = unnamed()
            done = sum(pool.map(lambda n, fd=fd: one(fd, f'race{n}'), range(8)))
            assert done >= 1, f'round {i}: nobody could link it'
            equal(os.fstat(fd).st_nlink, 0, 'all names are gone')
            with fails(errno.ENOENT):
                link(fd, 'late')
            os.close(fd)


def pin():
    """A pin holds the blocks of a file that goes; what was stored is there once it has a name."""
    before = os.statvfs('.').f_bfree
    fd = unnamed()
    os.ftruncate(fd, 1 << 20)
    session = pinfs.Session('.')
    handle = session.pin(None, 0, 1 << 20, pinfs.WRITE, fd=fd)
    equal(os.getxattr(f'/proc/self/fd/{fd}', 'pinfs.pins'), b'1048576', 'pinned bytes')
    session.store(handle, 4096, b'stored')
    session.persist(handle)
    session.commit(handle)
    link(fd, 'pinned')
    equal(read_file('pinned')[4096:4102], b'stored')
    session.unpin(handle)
    gone = unnamed()
    os.ftruncate(gone, 1 << 20)
    handle = session.pin(None, 0, 1 << 20, pinfs.WRITE, fd=gone)
    os.close(gone)
    session.store(handle, 0, b'still mine')
    assert os.statvfs('.').f_bfree <= before - 512, 'the blocks of a pinned file that has gone are free'
    session.unpin(handle)


def leave():
    """Ends with the file open, for a crash: tells so, and waits to be killed."""
    fd = unnamed()
    os.write(fd, b'x' * 1000000)
    print('open', flush=True)
    sys.stdin.read()


def main():
    os.chdir(FOLDER)
    try:
        os.close(unnamed())
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        sys.exit(77)
    {'basic': basic, 'excl': excl, 'race': race, 'pin': pin, 'leave': leave}[COMMAND]()


main()
