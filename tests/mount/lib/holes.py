"""What the kernel holds and has not written back is no hole, what was never written is one, and copies have all of it.

holes.py CACHE FOLDER
"""
import mmap
import os
import subprocess
import sys
import time

from calls import equal, opened, read_file

CACHE, FOLDER = sys.argv[1:]
RW = os.O_RDWR | os.O_CREAT
SIZE = 1 << 20


def data_of(fd):
    """The ranges of data that SEEK_DATA and SEEK_HOLE report."""
    found, at, end = [], 0, os.fstat(fd).st_size
    while at < end:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: no more
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        found.append((start, at))
    return found


def copied(source):
    subprocess.run(['cp', '--sparse=auto', source, 'copy'], check=True)
    equal(read_file('copy'), read_file(source), f'the copy of {source}')


def stored():
    with opened('stored', RW) as fd:
        os.ftruncate(fd, SIZE)
        equal(data_of(fd), [], 'all of it a hole')
        with mmap.mmap(fd, SIZE) as mapping:
            mapping[8192:8200] = b'd' * 8
            equal(data_of(fd), [(8192, 12288)], 'stored to')
            copied('stored')
            mapping[8192:8200] = b'e' * 8  # its page is clean, and still mapped
            mapping[500000:500008] = b'f' * 8
            copied('stored')
            equal(data_of(fd), [(8192, 12288), (499712, 503808)], 'stored to again')
            equal(os.pread(fd, 8, 8192), b'e' * 8, 'stored over what was written back')
            # A reader that came between has the pages in the cache: zeros.
            os.pread(fd, SIZE, 0)
            mapping[SIZE - 1:] = b'g'
            equal(data_of(fd)[-1], (SIZE - 4096, SIZE), 'stored to behind a read')
        copied('stored')


def written():
    with opened('written', RW) as fd:
        os.pwrite(fd, b'd' * 100000, SIZE)
        equal(data_of(fd), [(SIZE, SIZE + 100000)], 'written')
        copied('written')
        equal(read_file('copy'), bytes(SIZE) + b'd' * 100000, 'the copy of what was just written')
    with opened('late', RW) as fd:
        os.pwrite(fd, b'd' * 100000, 0)
        os.fstat(fd)
        os.fsync(fd)
        # The kernel may answer with what it heard before it wrote back, for a second.
        end = time.monotonic() + 3
        while os.fstat(fd).st_blocks != 200 and time.monotonic() < end:
            time.sleep(0.02)
        equal(os.fstat(fd).st_blocks, 200, 'blocks, asked for before they are written back and after it')


def main():
    os.chdir(FOLDER)
    written()
    if CACHE != 'none':
        stored()


main()
