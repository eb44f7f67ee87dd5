"""Several processes write to one file at once, each to stripes of its own: nobody's bytes are lost. stripes.py FOLDER CACHE

bytes: stripes of 97 bytes, so pages have several owners; written and stored. With cache=none either written or stored: the
       kernel writes back whole pages, and with them what was there before somebody wrote past the page (as with O_DIRECT)
pages: stripes of a page, by every way in: cached, mapped, direct, pin and commit
"""
import mmap
import multiprocessing
import os
import random
import sys

import pinfs

PAGE = 4096
ROUNDS = 250


class Owner:
    def __init__(self, path, stripe, size, owners, number):
        self.path, self.stripe, self.size = path, stripe, size
        self.mine = range(number * stripe, size - stripe + 1, owners * stripe)
        self.random = random.Random(number)
        self.want = {}
        self.fd = os.open(path, os.O_RDWR)
        self.direct = os.open(path, os.O_RDWR | os.O_DIRECT)
        self.page = mmap.mmap(-1, PAGE)
        self.session = None
        try:
            self.mapping = mmap.mmap(self.fd, size)
        except OSError:  # cache=none
            self.mapping = None

    def write(self, at, data):
        assert os.pwrite(self.fd, data, at) == len(data)

    def store(self, at, data):
        if self.mapping is None:
            self.write(at, data)
        else:
            self.mapping[at:at + len(data)] = data

    def write_direct(self, at, data):
        self.page[:] = data
        assert os.pwritev(self.direct, [self.page], at) == PAGE

    def commit(self, at, data):
        if self.session is None:
            self.session = pinfs.Session('.')
        pin = self.session.pin(self.path, at, PAGE, pinfs.WRITE)
        self.session.store(pin, 0, data)
        self.session.commit(pin)
        self.session.unpin(pin)

    def run(self, ways):
        for number in range(ROUNDS):
            at = self.random.choice(self.mine)
            data = self.random.randbytes(self.stripe)
            getattr(self, ways[number % len(ways)])(at, data)
            self.want[at] = data
            if number % 50 == 49:
                os.fsync(self.fd)
                os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
            self.check(self.random.choice(list(self.want)), number)
        for at in self.want:
            self.check(at, ROUNDS)
        if self.session is not None:
            self.session.disconnect()

    def check(self, at, number):
        got = os.pread(self.fd, self.stripe, at)
        assert got == self.want[at], f'{self.path}: round {number}: {at} +{self.stripe}: not what was written last'


def work(ways, *args):
    Owner(*args).run(ways)


def together(path, stripe, size, ways):
    with open(path, 'wb') as file:
        file.truncate(size)
    processes = [multiprocessing.Process(target=work, args=(way, path, stripe, size, len(ways), number))
                 for number, way in enumerate(ways)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0, f'{path}: exit code {process.exitcode}'


def main():
    os.chdir(sys.argv[1])
    if sys.argv[2] == 'none':
        together('written', 97, 20 * PAGE, (['write'],) * 4)
        together('stored', 97, 20 * PAGE, (['store'],) * 4)
    else:
        together('bytes', 97, 20 * PAGE, (['write'], ['store'], ['write', 'store'], ['write']))
    together('pages', PAGE, 64 * PAGE, (['write'], ['store'], ['write_direct'], ['commit'], ['write', 'commit']))


main()
