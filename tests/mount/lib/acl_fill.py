"""Gives FILE xattrs until nothing fits any more. acl_fill.py FILE"""
import errno
import os
import sys

path = sys.argv[1]
os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
for size in (65536, 5000, 3000, 400, 1):
    try:
        number = 0
        while True:
            os.setxattr(path, f'trusted.{size}.{number}', bytes(size))
            number += 1
    except OSError as e:
        assert e.errno == errno.ENOSPC, e
