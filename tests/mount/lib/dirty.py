"""Files whose data only the kernel has when their daemon is told to end, still open or mapped.

dirty.py HOW FOLDER PID    fills them, by HOW write or store (mmap), sends SIGTERM to PID and waits to be killed
dirty.py HOW-more ...      the same, but goes on writing to one more file until the mount is gone
dirty.py verify FOLDER     the files have their content
"""
import mmap
import os
import signal
import sys

from calls import equal, read_file

FILES, CHUNKS, CHUNK = 4, 16, 1 << 20


def content(file):
    return b''.join(bytes([file * CHUNKS + i + 1]) * CHUNK for i in range(CHUNKS))


def fill(how, fd, data):
    """Returns what must stay alive."""
    if how == 'write':
        os.write(fd, data)
        return None
    os.ftruncate(fd, len(data))
    mapping = mmap.mmap(fd, len(data))
    mapping[:] = data
    return mapping


def main():
    command, folder, *rest = sys.argv[1:]
    if command == 'verify':
        for i in range(FILES):
            equal(read_file(f'{folder}/{i}'), content(i), f'file {i}')
        return
    how, _, more = command.partition('-')
    contents = [content(i) for i in range(FILES)]
    kept = []
    for i, data in enumerate(contents):
        fd = os.open(f'{folder}/{i}', os.O_RDWR | os.O_CREAT)
        kept.append((fd, fill(how, fd, data)))
    fd = os.open(f'{folder}/more', os.O_RDWR | os.O_CREAT)
    # At once: a moment later the kernel has written much of it back.
    os.kill(int(rest[0]), signal.SIGTERM)
    while more:
        try:
            os.pwrite(fd, os.urandom(70000), int.from_bytes(os.urandom(3), 'little'))
        except OSError:
            break
    signal.pause()


main()
