"""Runs COMMAND as root of a user namespace whose ids 0 to 999 are FIRST to FIRST+999 outside. acl_userns.py FIRST
COMMAND..."""
import ctypes
import os
import sys

CLONE_NEWUSER = 0x10000000


def main():
    first = sys.argv[1]
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
            os._exit(77)
        os.write(ready[1], b'x')
        os.read(go[0], 1)
        os.setgroups([])
        os.setgid(0)
        os.setuid(0)
        os.execvp(sys.argv[2], sys.argv[2:])
    os.close(ready[1])
    if os.read(ready[0], 1):
        for name in ('uid_map', 'gid_map'):
            with open(f'/proc/{pid}/{name}', 'w', encoding='ascii') as file:
                file.write(f'0 {first} 1000')
        os.write(go[1], b'x')
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


main()
