"""Processes change one file in every way, one at a time, and each sees what the others did: bytes, size, holes.

crossing.py FOLDER STEPS SEED    a failure names the last steps; the same SEED and STEPS do the same per process
"""
import mmap
import multiprocessing
import os
import random
import struct
import sys

import pinfs
from calls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, fallocate

FOLDER, STEPS, SEED = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
WORKERS = 4
PAGE = 4096
PAGES = 48
MOST = PAGES * PAGE
HOLE, DATA, EITHER = 0, 1, 2


class Model:
    """The file as it has to be, in memory that the processes share."""

    def __init__(self):
        self.memory = mmap.mmap(-1, 2 * MOST + PAGES + 8)
        self.log = mmap.mmap(-1, 1 << 16)
        self.lock = multiprocessing.Lock()
        self.start = multiprocessing.Barrier(WORKERS)

    size = property(lambda self: struct.unpack_from('Q', self.memory, MOST + PAGES)[0],
                    lambda self, size: struct.pack_into('Q', self.memory, MOST + PAGES, size))

    def bytes(self, start, end):
        return self.memory[start:min(end, self.size)] if start < self.size else b''

    def note(self, text):
        """The last steps of all processes, for who reads a failure."""
        line = text.encode() + b'\n'
        self.log[:-len(line)] = self.log[len(line):]
        self.log[-len(line):] = line

    def mark(self, start, end, kind):
        for page in range(start // PAGE, -(-end // PAGE)):
            self.memory[MOST + page] = kind

    def mark_whole(self, start, end, kind):
        """The pages that lie wholly in the range."""
        if -(-start // PAGE) < end // PAGE:
            self.mark(-(-start // PAGE) * PAGE, end // PAGE * PAGE, kind)

    def kinds(self):
        return [self.memory[MOST + page] for page in range(-(-self.size // PAGE))]

    def write(self, at, data):
        self.memory[at:at + len(data)] = data
        self.size = max(self.size, at + len(data))
        self.mark(at, at + len(data), DATA)

    def truncate(self, size):
        self.memory[size:MOST] = bytes(MOST - size)
        self.mark(-(-size // PAGE) * PAGE, MOST, HOLE)
        self.size = size

    def zero(self, start, end):
        self.memory[start:end] = bytes(end - start)

    def punch(self, start, end):
        self.zero(start, end)
        # Up to the end of the file, the page of the end is whole.
        self.mark_whole(start, -(-end // PAGE) * PAGE if end >= self.size else end, HOLE)

    def zero_range(self, start, end, keep):
        self.zero(start, end)
        for edge in (start // PAGE, (end - 1) // PAGE):
            if self.memory[MOST + edge] == DATA and edge * PAGE + PAGE > min(self.size, start):
                self.memory[MOST + edge] = EITHER
        self.mark_whole(start, end, HOLE)
        if not keep:
            self.size = max(self.size, end)


class Worker:
    def __init__(self, number, model):
        self.number, self.model = number, model
        self.random = random.Random(SEED * WORKERS + number)
        self.fd = os.open('file', os.O_RDWR)
        self.appender = os.open('file', os.O_WRONLY | os.O_APPEND)
        self.direct = os.open('file', os.O_RDWR | os.O_DIRECT)
        self.buffer = mmap.mmap(-1, MOST)
        try:
            self.mapping = mmap.mmap(self.fd, MOST)
        except OSError:  # cache=none
            self.mapping = None
        self.session = pinfs.Session('.')
        self.ways = [name for name in dir(self) if name.startswith('do_') and (self.mapping or 'map' not in name)]

    def data(self, most, align=1):
        length = self.random.randrange(0, most // align) * align + align
        return self.random.randbytes(length)

    def spot(self, length, align=1):
        return self.random.randrange(0, (MOST - length) // align + 1) * align

    def part(self, align=1):
        """A range of the file; None if it has none."""
        pages = self.model.size // align
        if pages == 0:
            return None
        start = self.random.randrange(pages)
        return start * align, min(pages, start + 1 + self.random.randrange(8 * PAGE // align)) * align

    def step(self):
        way = self.random.choice(self.ways)
        with self.model.lock:
            self.model.note(f'{self.number}: {way} {self.model.size}')
            getattr(self, way)()
            size = os.fstat(self.fd).st_size
            assert size == self.model.size, f'{size} bytes and not {self.model.size} after {way}'
            if self.random.random() < 0.3:
                self.look()

    def look(self):
        start = self.random.randrange(MOST)
        end = start + self.random.randrange(8 * PAGE)
        self.same('read', start, os.pread(self.fd, end - start, start), end)

    def same(self, way, start, got, end):
        want = self.model.bytes(start, end)
        if got != want:
            wrong = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
            raise AssertionError(f'{way} of {start}..{end}: {len(got)} bytes, {len(want)} due, byte {start + wrong} of '
                                 f'{self.model.size} is {got[wrong:wrong + 8]}, not {want[wrong:wrong + 8]}')

    def do_write(self):
        data = self.data(5 * PAGE)
        at = self.spot(len(data))
        self.model.note(f'  {at} +{len(data)}')
        assert os.pwrite(self.fd, data, at) == len(data)
        self.model.write(at, data)

    def do_append(self):
        data = self.data(2 * PAGE)
        if self.model.size + len(data) <= MOST:
            assert os.write(self.appender, data) == len(data)
            self.model.write(self.model.size, data)

    def do_direct_write(self):
        data = self.data(4 * PAGE, PAGE)
        at = self.spot(len(data), PAGE)
        self.model.note(f'  {at} +{len(data)}')
        self.buffer[:len(data)] = data
        assert os.pwritev(self.direct, [memoryview(self.buffer)[:len(data)]], at) == len(data)
        self.model.write(at, data)

    def do_direct_read(self):
        at, end = self.spot(0, PAGE), 0
        end = min(at + 8 * PAGE, MOST)
        count = os.preadv(self.direct, [memoryview(self.buffer)[:end - at]], at) if end > at else 0
        self.same('direct read', at, self.buffer[:count], end)

    def do_map_store(self):
        part = self.part()
        if part:
            data = self.random.randbytes(part[1] - part[0])
            self.model.note(f'  {part}')
            self.mapping[part[0]:part[1]] = data
            self.model.write(part[0], data)

    def do_map_load(self):
        part = self.part()
        if part:
            self.same('mapping', part[0], self.mapping[part[0]:part[1]], part[1])

    def do_map_sync(self):
        self.mapping.flush()

    def do_truncate(self):
        size = self.random.choice((0, self.random.randrange(MOST), self.random.randrange(PAGES) * PAGE))
        self.model.note(f'  to {size}')
        os.ftruncate(self.fd, size)
        self.model.truncate(size)

    def do_grow(self):
        size = self.random.randrange(self.model.size, MOST + 1)
        self.model.note(f'  to {size}')
        os.truncate('file', size)
        self.model.truncate(size)

    def do_open_truncate(self):
        if self.random.random() < 0.2:
            os.close(os.open('file', os.O_WRONLY | os.O_TRUNC))
            self.model.truncate(0)

    def hole(self):
        length = self.random.randrange(1, 6 * PAGE)
        at = self.random.choice((self.spot(length), self.spot(length) // PAGE * PAGE))
        self.model.note(f'  {at} +{length}')
        return at, length

    def do_punch(self):
        at, length = self.hole()
        fallocate(self.fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, at, length)
        self.model.punch(at, at + length)

    def do_zero(self):
        at, length = self.hole()
        keep = self.random.randrange(2)
        fallocate(self.fd, FALLOC_ZERO_RANGE | keep * FALLOC_KEEP_SIZE, at, length)
        self.model.zero_range(at, at + length, keep)

    def do_allocate(self):
        at, length = self.hole()
        keep = self.random.randrange(2)
        fallocate(self.fd, keep * FALLOC_KEEP_SIZE, at, length)
        if not keep:
            self.model.size = max(self.model.size, at + length)

    def do_copy(self):
        part = self.part()
        if part is None:
            return
        start, length = part[0], part[1] - part[0]
        to = self.spot(length)
        if to < part[1] and start < to + length:
            return  # they overlap
        self.model.note(f'  {part} to {to}')
        count = os.copy_file_range(self.fd, self.fd, length, start, to)
        assert count == length, f'{count} of {length} bytes copied'
        self.model.write(to, self.model.bytes(start, start + length))

    def do_pin_write(self):
        part = self.part(PAGE)
        if part is None:
            return
        data = self.random.randbytes(part[1] - part[0])
        self.model.note(f'  {part}')
        pin = self.session.pin('file', part[0], len(data), pinfs.WRITE)
        self.session.store(pin, 0, data)
        self.session.commit(pin)
        self.model.write(part[0], data)
        self.look()
        self.session.unpin(pin)

    def do_pin_read(self):
        part = self.part(PAGE)
        if part is None or any(kind != DATA for kind in self.model.kinds()[part[0] // PAGE:part[1] // PAGE]):
            return
        os.fsync(self.fd)
        pin = self.session.pin('file', part[0], part[1] - part[0])
        self.same('pin', part[0], self.session.load(pin, 0, part[1] - part[0]), part[1])
        self.session.unpin(pin)

    def do_seek(self):
        """Data and holes are where the model has them."""
        want = self.model.kinds()
        got, at = [HOLE] * len(want), 0
        while at < self.model.size:
            try:
                at = os.lseek(self.fd, at, os.SEEK_DATA)
            except OSError:  # ENXIO: no more
                break
            end = os.lseek(self.fd, at, os.SEEK_HOLE)
            for page in range(at // PAGE, -(-end // PAGE)):
                got[page] = DATA
            at = end
        wrong = [page for page, (a, b) in enumerate(zip(got, want)) if a != b and b != EITHER]
        assert not wrong, f'data and holes: pages {wrong}: {[got[page] for page in wrong]}'

    def do_forget(self):
        os.fsync(self.fd)
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def run(self):
        for _ in range(STEPS):
            self.step()
        self.session.disconnect()


def work(number, model):
    try:
        worker = Worker(number, model)
        model.start.wait(pinfs.WAIT)  # all have mapped the file
        worker.run()
    except BaseException:
        with model.lock:
            print(f'seed {SEED}: the last steps:', *model.log[-3000:].rstrip(b'\n').decode().split('\n')[-40:], sep='\n',
                  file=sys.stderr, flush=True)
        raise


def main():
    os.chdir(FOLDER)
    model = Model()
    with open('file', 'xb') as file:
        file.truncate(MOST)  # mapped by Python only where there is a file
    model.size = MOST
    workers = [multiprocessing.Process(target=work, args=(number, model)) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not any(worker.exitcode for worker in workers), [worker.exitcode for worker in workers]
    with open('file', 'rb') as file:
        assert file.read() == model.bytes(0, MOST), 'at the end'
    print(f'{WORKERS * STEPS} steps, seed {SEED}')


main()
