"""What changes of a file leave of its setuid, setgid and capabilities: prints a trace, which is compared with tmpfs's.

killpriv.py FOLDER [--but-setgid]
The folder is made, and everybody may write there. --but-setgid: not the setgid of a file that its group may not execute,
changed by somebody who is not of the group.
"""
import errno
import mmap
import os
import shutil
import stat
import struct
import subprocess
import sys

from calls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, fallocate, opened, write_file

OWNER, OTHER, GROUP = 1234, 4321, 777
BLOCK = 4096
# VFS_CAP_REVISION_2, effective; permitted: CAP_NET_RAW.
CAPABILITY = struct.pack('<5I', 0x02000001, 1 << 13, 0, 0, 0)


def as_user(uid, call):
    """The errno of the call in a child of that user, 0 if it succeeds; the owner is in a group beside its own."""
    child = os.fork()
    if child == 0:
        code = 255
        try:
            if uid != 0:
                os.setgroups([GROUP] if uid == OWNER else [])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            call()
            code = 0
        except OSError as error:
            code = error.errno
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return errno.errorcode.get(code, code)


def make(mode):
    """A file of its owner, with capabilities."""
    if os.path.exists('f'):
        os.unlink('f')
    write_file('f', b'x' * (2 * BLOCK))
    os.chown('f', OWNER, OWNER)
    os.chmod('f', mode)
    os.setxattr('f', 'security.capability', CAPABILITY)


def overwrite():
    with opened('f', os.O_WRONLY) as fd:
        os.pwrite(fd, b'1', 100)


def append():
    with opened('f', os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, b'2' * 5000)


def direct():
    with opened('f', os.O_WRONLY | os.O_DIRECT) as fd, mmap.mmap(-1, BLOCK) as page:
        os.pwritev(fd, [page], BLOCK)


def nothing():
    with opened('f', os.O_WRONLY) as fd:
        os.write(fd, b'')


def shrink():
    os.truncate('f', 5)


def grow():
    with opened('f', os.O_WRONLY) as fd:
        os.ftruncate(fd, 3 * BLOCK)


def empty():
    os.close(os.open('f', os.O_WRONLY | os.O_TRUNC))


def reopen():
    os.close(os.open('f', os.O_WRONLY | os.O_CREAT))


def reserve():
    with opened('f', os.O_WRONLY) as fd:
        fallocate(fd, FALLOC_KEEP_SIZE, 2 * BLOCK, BLOCK)


def punch():
    with opened('f', os.O_WRONLY) as fd:
        fallocate(fd, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, 0, BLOCK)


def copy():
    with opened('source', os.O_RDONLY) as source, opened('f', os.O_WRONLY) as fd:
        os.copy_file_range(source, fd, BLOCK)


def chgrp():
    os.chown('f', -1, GROUP)


def chown():
    os.chown('f', OTHER, -1)


def utimes():
    os.utime('f')


CHANGES = overwrite, append, direct, nothing, shrink, grow, empty, reopen, reserve, punch, copy, chgrp, chown, utimes


def state():
    st = os.stat('f')
    return oct(stat.S_IMODE(st.st_mode)), st.st_uid, st.st_gid, 'security.capability' in os.listxattr('f')


def changes():
    write_file('source', b's' * BLOCK)
    for mode in 0o6777, 0o4777, 0o2777, 0o0777, 0o4666, 0o6767, 0o2666:
        for uid in 0, OWNER, OTHER:
            if mode in (0o6767, 0o2666) and uid == OTHER and '--but-setgid' in sys.argv:
                continue
            for change in CHANGES:
                make(mode)
                result = as_user(uid, change)
                print(oct(mode), uid, change.__name__, result, *state(), flush=True)


def folders():
    """What is a group's folder stays one."""
    os.mkdir('folder')
    os.chmod('folder', 0o6777)
    os.chown('folder', OWNER, GROUP)
    print('folder', oct(os.stat('folder').st_mode), flush=True)


def effective(uid):
    found = []

    def run():
        code = subprocess.run([os.path.abspath('id'), '-u'], capture_output=True, check=True).stdout
        write_file(f'uid-{uid}', code)

    result = as_user(uid, run)
    found.append(result)
    if result == 0:
        with open(f'uid-{uid}', 'rb') as file:
            found.append(int(file.read()))
    return found


def programs():
    """The kernel executes by what it remembers of a mode, and does not ask: with no stat(2) between, it must know."""
    def change():
        with opened('id', os.O_WRONLY | os.O_APPEND) as fd:
            os.write(fd, b'tail')

    for uid in OTHER, 0:
        shutil.copyfile(shutil.which('id'), 'id')
        os.chmod('id', 0o4777)
        before = effective(OTHER)
        result = as_user(uid, change)
        print('program', uid, before, result, effective(OTHER), flush=True)
        os.unlink('id')


def main():
    os.umask(0)
    os.mkdir(sys.argv[1])
    os.chmod(sys.argv[1], 0o777)
    os.chdir(sys.argv[1])
    changes()
    folders()
    programs()


main()
