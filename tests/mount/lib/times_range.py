"""Times before 1970, after 2038, at both ends of 64 bits; to the ns. times_range.py set|verify FOLDER"""
import os
import sys

from calls import equal, write_file

COMMAND, FOLDER = sys.argv[1:]
SECONDS = (-2**63, -2**63 + 1, -2**40, -2**31 - 1, -2**31, -1, 0, 1, 2**31 - 1, 2**31, 2**32, 2**34, 2**40, 2**63 - 1)
# The kernel cuts off the ns of its own first and last second.
PAIRS = [(s, 0 if s in (-2**63, 2**63 - 1) else ns) for s in SECONDS for ns in (0, 1, 999999999)]


def main():
    os.chdir(FOLDER)
    for i, (seconds, ns) in enumerate(PAIRS):
        mtime = PAIRS[-1 - i]
        name = f't{i}'
        if COMMAND == 'set':
            write_file(name)
            os.utime(name, ns=(seconds * 10**9 + ns, mtime[0] * 10**9 + mtime[1]))
        st = os.stat(name)
        equal((st.st_atime_ns, st.st_mtime_ns), (seconds * 10**9 + ns, mtime[0] * 10**9 + mtime[1]), name)


main()
