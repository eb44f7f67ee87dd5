"""What the cases of pins share: a pool, processes that do one thing, files."""
import ctypes
import errno
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import time

import pinfs
from pinfs import BLOCK, WAIT

CASE = os.environ['MT_CASE']
META, MNT = CASE + '/pool/meta', CASE + '/mnt'
DEVICE = os.environ.get('MT_DATA')  # a devdax node: it has its size, and is used again
DATA = DEVICE or CASE + '/pool/data'
LATENCY = 0.1  # seconds from the end of a pin to the end of the wait for it
LIBC = ctypes.CDLL(None, use_errno=True)


def run(*command):
    print('+', *command, flush=True)
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


class Pool:
    def __init__(self, options='', data='64M', meta='32M'):
        os.makedirs(CASE + '/pool')
        os.makedirs(MNT)
        self.options = options
        part = ['--force', '--data', DATA] if DEVICE else ['--data', f'{DATA}:{data}']
        run('pinfs', 'mkfs', '--meta-size', meta, *part, META)
        self.mount()

    def mount(self, options=None):
        if options is not None:
            self.options = options
        transport = os.environ.get('MT_TRANSPORT')
        options = ','.join(filter(None, (self.options, transport and f'transport={transport}')))
        run('pinfs', 'mount', *(['-o', options] if options else []), META, MNT)
        self.daemon = self.status()['pid']
        self.pidfd = os.pidfd_open(self.daemon)

    def status(self):
        return json.loads(os.getxattr(MNT, 'pinfs.stat'))

    def pins(self, key):
        return self.status()['pins'][key]

    def wait_ended(self, seconds=WAIT):
        assert select.select([self.pidfd], [], [], seconds)[0], 'the daemon does not end'
        os.close(self.pidfd)

    def umount(self):
        # A descriptor that a client has passed is closed by a thread of the daemon, soon.
        until(lambda: subprocess.run(['umount', MNT], stdin=subprocess.DEVNULL).returncode == 0, 'umount')
        self.wait_ended()

    def kill(self):
        os.kill(self.daemon, signal.SIGKILL)
        self.wait_ended()
        run('umount', '-l', MNT)

    def fsck(self):
        run('pinfs', 'fsck', META)

    def finish(self):
        """Nobody pins any more: nothing of pins is left on media."""
        self.umount()
        report = json.loads(subprocess.run(['pinfs', 'fsck', '--json', META], capture_output=True, text=True,
                                           check=True).stdout)
        left = {key: report[key] for key in ('ledger_pins', 'ledger_void', 'limbo_bytes')}
        assert not any(left.values()), left

    def waiting(self, count=1):
        """Until so many breaks wait."""
        until(lambda: self.pins('waiting_breaks') >= count, f'{count} breaks wait')

    def quiet(self):
        """Until nothing is pinned, waits, or is in limbo: the reaper has caught up."""
        until(lambda: (self.pins('pins'), self.pins('waiting'), self.pins('limbo_bytes')) == (0, 0, 0), 'all is quiet')


def until(condition, what, seconds=WAIT):
    """For what sends no event."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f'not within {seconds} s: {what}'
        time.sleep(0.002)


class Doer:
    """A process that does one thing and exits with its errno."""

    def __init__(self, function, *args):
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 255
            # A holder ends when its standard input does: that may not depend on this process.
            for pipe in pinfs.PIPES:
                pipe.close()
            try:
                function(*args)
                code = 0
            except OSError as error:
                code = error.errno
            finally:
                os._exit(code)
        self.pidfd = os.pidfd_open(self.pid)
        self.status = None

    def running(self):
        return not select.select([self.pidfd], [], [], 0)[0]

    def result(self, seconds=WAIT):
        """Its errno; the time of its end is in `ended`."""
        assert select.select([self.pidfd], [], [], seconds)[0], f'process {self.pid} hangs'
        self.ended = time.monotonic()
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        return os.waitstatus_to_exitcode(status)

    def signal(self, number):
        signal.pidfd_send_signal(self.pidfd, number)


def refused(code, function, *args, **keywords):
    try:
        function(*args, **keywords)
    except OSError as error:
        assert error.errno == code, f'{error}, and not {os.strerror(code)}'
        return
    raise AssertionError(f'{function} succeeded: {os.strerror(code)} was due')


def make(name, size=8 * BLOCK, byte=b'a'):
    path = f'{MNT}/{name}'
    with open(path, 'wb') as file:
        file.write(byte * size)
        os.fsync(file.fileno())
    return path


def read(path, offset=0, length=-1):
    with open(path, 'rb', buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(offset)
        return file.read(length)


FALLOC_KEEP, FALLOC_PUNCH, FALLOC_ZERO = 1, 2, 16


def fallocate(path, mode, offset, length):
    fd = os.open(path, os.O_RDWR)
    LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if LIBC.fallocate(fd, mode, offset, length) != 0:
        raise OSError(ctypes.get_errno(), 'fallocate')
    os.close(fd)


def punch(path, offset, length):
    fallocate(path, FALLOC_PUNCH | FALLOC_KEEP, offset, length)


def zero(path, offset, length):
    fallocate(path, FALLOC_ZERO, offset, length)


def open_truncate(path):
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


DOORS = {
    'truncate': lambda path: os.truncate(path, 0),
    'truncate_middle': lambda path: os.truncate(path, 100),
    'open_truncate': open_truncate,
    'punch': lambda path: punch(path, 0, 2 * BLOCK),
    'punch_edge': lambda path: punch(path, 10, 100),
    'zero_range': lambda path: zero(path, 0, 3 * BLOCK),
    'zero_edge': lambda path: zero(path, 100, 100),
}


def fill(pool):
    """Fills the filesystem to the last byte with files of known sums; returns them."""
    sums = {}
    number = 0
    size = 1 << 20
    while size >= BLOCK:
        path = f'{MNT}/fill{number}'
        data = hashlib.shake_128(path.encode()).digest(size)
        try:
            with open(path, 'wb', buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view):]
                os.fsync(file.fileno())
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
            os.unlink(path)
            size //= 2
            continue
        sums[path] = hashlib.sha256(data).digest()
        number += 1
    assert sums
    return sums


def verify(sums):
    for path, digest in sums.items():
        assert hashlib.sha256(read(path)).digest() == digest, f'{path}: not what was written'


def keeps_its_blocks(pool, holder, pin, size, sums=None):
    """A detached holder goes on writing while everything else is filled: nobody else's bytes change."""
    for byte in (b'\x11', b'\x22'):
        if sums is None:
            sums = fill(pool)
        holder.store(pin, 0, byte * size)
        holder.persist(pin)
        verify(sums)
        assert holder.load(pin, 0, size) == byte * size
    return sums


def best_latency(rounds, once):
    """Of several tries the best one is within the limit: the machine may be busy, the daemon must not."""
    best = min(once() for _ in range(rounds))
    assert best <= LATENCY, f'{best * 1000:.0f} ms at best'
    return best
