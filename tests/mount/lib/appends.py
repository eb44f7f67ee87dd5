"""O_APPEND by several processes at once: every write is whole, at an end of its own, in its order. appends.py FOLDER"""
import multiprocessing
import os
import random
import struct
import sys

WRITERS, RECORDS = 4, 250
HEADER = struct.Struct('=HHI')  # writer, length, number


def record(writer, number):
    data = random.Random(writer << 32 | number).randbytes(random.Random(number).randrange(1, 9000))
    return HEADER.pack(writer, len(data), number) + data


def append(path, writer, left):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    for number in range(RECORDS):
        data = record(writer, number)
        assert os.write(fd, data) == len(data)
        if number % 16 == writer:
            os.fsync(fd)
    with left.get_lock():
        left.value -= 1


def cut(path, left):
    """Empties the file whenever it has got some records: what comes later starts at 0."""
    fd = os.open(path, os.O_RDWR)
    while left.value:
        if os.fstat(fd).st_size > 40000:
            os.ftruncate(fd, 0)
    os.close(fd)


def look(path, left):
    """What was read once stays, and is a beginning of what is read later. (The kernel shows the size of a write that has
    not returned a moment before its bytes.)"""
    fd = os.open(path, os.O_RDONLY)
    seen = b''
    while left.value:
        seen += os.pread(fd, 1 << 20, len(seen))
        assert os.pread(fd, len(seen), 0) == seen, 'what was read once has changed'
        size = os.fstat(fd).st_size
        assert size >= len(seen), f'{size} bytes, after {len(seen)} were read'
    os.close(fd)


def verify(path):
    """Whole records, one behind the other, of each writer in order and up to its last."""
    with open(path, 'rb') as file:
        data = file.read()
    numbers, at = [[] for _ in range(WRITERS)], 0
    while at < len(data):
        writer, _, number = HEADER.unpack_from(data, at)
        want = record(writer, number)
        assert data[at:at + len(want)] == want, f'{path}: record {number} of {writer}, at {at} of {len(data)}'
        numbers[writer].append(number)
        at += len(want)
    for writer, found in enumerate(numbers):
        assert found == list(range(RECORDS - len(found), RECORDS)), f'{path}: of {writer}: {found[:3]} ... {found[-3:]}'
    return [len(found) for found in numbers]


def together(path, *others):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    left = multiprocessing.Value('i', WRITERS)
    processes = [multiprocessing.Process(target=append, args=(path, writer, left)) for writer in range(WRITERS)]
    processes += [multiprocessing.Process(target=other, args=(path, left)) for other in others]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0, f'{path}: exit code {process.exitcode}'
    return verify(path)


def main():
    os.chdir(sys.argv[1])
    whole = together('appended', look)
    assert whole == [RECORDS] * WRITERS, whole
    cut_off = together('cut', cut)
    print(f'{sum(whole)} appends; {sum(cut_off)} of as many left by truncates')


main()
