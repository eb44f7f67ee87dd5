"""Where in its data part a byte of a file is: part_offset.py LIBPINFS FILE OFFSET"""
import os
import sys

os.environ['LIBPINFS'] = sys.argv[1]
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'mount', 'lib'))
import pinfs  # noqa: E402

session = pinfs.Session(sys.argv[2])
print(session.extents(session.pin(sys.argv[2], int(sys.argv[3]), pinfs.BLOCK))[0][4])
