"""Fills the filesystem of FOLDER to ENOSPC, empties it, and expects the free space of before, to the byte.

fill.py data FOLDER ROUNDS    with data of many sizes and shapes
fill.py meta FOLDER           with empty files, long names, symlinks and folders
"""
import errno
import os
import random
import shutil
import sys
import time

TIMEOUT = 30  # seconds; the kernel forgets unlinked inodes when it likes, and their blocks are freed then


def full(error):
    if error.errno != errno.ENOSPC:
        raise error
    return True


def until_full(action):
    """Calls action(i) until ENOSPC; returns the number of calls that succeeded."""
    i = 0
    try:
        while True:
            action(i)
            i += 1
    except OSError as error:
        full(error)
    return i


def space(folder):
    st = os.statvfs(folder)
    return st.f_bfree, st.f_ffree, st.f_blocks, st.f_files


def expect_space(folder, want, what):
    end = time.monotonic() + TIMEOUT
    while (got := space(folder)) != want:
        if time.monotonic() > end:
            raise AssertionError(f'{what}: free blocks, free inodes, blocks, inodes {got}, not {want}')
        time.sleep(0.02)


def write_some(fd, rng):
    size = rng.choice((1, 4096, 100000, 1 << 20, 3 << 20))
    offset = rng.choice((0, 0, 1, 4095, 1 << 20, 1 << 32))
    data = rng.randbytes(4096) * (size // 4096 + 1)
    done = 0
    while done < size:
        done += os.pwrite(fd, data[done:size], offset + done)
    os.fsync(fd)


def fill_data(folder, round_):
    rng = random.Random(round_)

    def one_file(i):
        fd = os.open(f'{folder}/f{i}', os.O_RDWR | os.O_CREAT)
        try:
            if rng.random() < 0.3:
                os.posix_fallocate(fd, 0, rng.randrange(1, 1 << 20))
            write_some(fd, rng)
        finally:
            os.close(fd)

    until_full(one_file)
    # The rest, block by block.
    with open(f'{folder}/last', 'wb', buffering=0) as file:
        until_full(lambda i: os.fsync(file.fileno()) if file.write(bytes(4096)) == 4096 else None)
    assert os.statvfs(folder).f_bavail < 2, f'ENOSPC with {os.statvfs(folder).f_bavail} blocks available'


def remove_data(folder, round_):
    names = sorted(os.listdir(folder))
    random.Random(round_).shuffle(names)
    for name in names:
        if round_ % 3 == 0:
            os.truncate(f'{folder}/{name}', 0)
        os.unlink(f'{folder}/{name}')


def data(folder, rounds):
    os.mkdir(f'{folder}/d')
    before = space(folder)
    for i in range(rounds):
        fill_data(f'{folder}/d', i)
        remove_data(f'{folder}/d', i)
        expect_space(folder, before, f'round {i}')
    os.rmdir(f'{folder}/d')


def meta(folder):
    top = space(folder)
    os.mkdir(f'{folder}/d')
    before = space(folder)

    def create(i):
        os.close(os.open(f'{folder}/d/{i}', os.O_WRONLY | os.O_CREAT | os.O_EXCL))

    def create_long(i):
        os.symlink('x' * 4000, f'{folder}/d/' + f'{i}-'.ljust(255, 's'))

    made = until_full(create)
    more = until_full(create_long)
    until_full(lambda i: os.mkdir(f'{folder}/d/dir{i}'))
    st = os.statvfs(folder)
    print(f'{made} empty files, {more} symlinks, {st.f_ffree} inodes left')
    assert made > 1000 and st.f_ffree < made / 100, f'full with {made} files and {st.f_ffree} free inodes'
    # What exists works on; removing needs no room.
    with open(f'{folder}/d/0', 'r+b', buffering=0) as file:
        try:
            file.write(b'there is room for data')
        except OSError as error:
            full(error)
    os.rename(f'{folder}/d/1', f'{folder}/d/2')
    os.chmod(f'{folder}/d/0', 0o600)
    for name in os.listdir(f'{folder}/d')[::2]:
        path = f'{folder}/d/{name}'
        if os.path.isdir(path):
            os.rmdir(path)
        else:
            os.unlink(path)
    again = until_full(lambda i: create(f'again{i}'))
    # Not all of it: a page of names that the new ones happen to fill finds no page free to be split into.
    assert again > made / 8, f'half of {made} files removed: room for {again}'
    shutil.rmtree(f'{folder}/d')
    expect_space(folder, top, 'everything removed')
    os.mkdir(f'{folder}/d')
    expect_space(folder, before, 'a new folder')
    assert until_full(create) >= made * 0.95, 'as many files as the first time'
    shutil.rmtree(f'{folder}/d')
    expect_space(folder, top, 'everything removed again')


if sys.argv[1] == 'data':
    data(sys.argv[2], int(sys.argv[3]))
else:
    meta(sys.argv[2])
