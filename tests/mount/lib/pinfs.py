"""libpinfs by ctypes, and holders: processes of their own that pin, which a test commands and kills."""
import ctypes
import errno
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import time

READ, WRITE, EXCLUSIVE, NONBLOCK, EXTEND, CONTIGUOUS, CACHED = 1, 2, 4, 8, 16, 32, 64
RECALL, DETACHED, CONFLICT, POISON, SHUTDOWN = 1, 2, 3, 4, 5
UNMAP, OTHERS_WRITE = 1, 2
BLOCK = 4096
WAIT = 30  # seconds that one event may take
PIPES = set()  # to standard inputs of holders


class Event(ctypes.Structure):
    _fields_ = [('kind', ctypes.c_uint32), ('reason', ctypes.c_uint32), ('pin', ctypes.c_uint64), ('file', ctypes.c_uint64),
                ('offset', ctypes.c_uint64), ('length', ctypes.c_uint64), ('deadline', ctypes.c_uint64)]


class Extent(ctypes.Structure):
    _fields_ = [('addr', ctypes.c_void_p), ('offset', ctypes.c_int64), ('length', ctypes.c_size_t), ('part', ctypes.c_uint32),
                ('flags', ctypes.c_uint32), ('part_offset', ctypes.c_uint64)]


def library():
    lib = ctypes.CDLL(os.environ['LIBPINFS'], use_errno=True)
    lib.pinfs_pin.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t, ctypes.c_uint, ctypes.c_void_p]
    lib.pinfs_addr.restype = ctypes.c_void_p
    lib.pinfs_id.restype = ctypes.c_uint64
    lib.pinfs_length.restype = ctypes.c_size_t
    for name in 'connect disconnect unpin repin forget addr length id extents persist commit event_fd next_event'.split():
        function = getattr(lib, 'pinfs_' + name)
        function.argtypes = {'connect': [ctypes.c_char_p, ctypes.c_void_p],
                             'extents': [ctypes.c_void_p] * 3,
                             'persist': [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t],
                             'commit': [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t],
                             'next_event': [ctypes.c_void_p] * 2}.get(name, [ctypes.c_void_p])
    return lib


def check(result, what):
    if result < 0:
        raise OSError(-result, f'{what}: {os.strerror(-result)}')
    return result


class Session:
    """One connection of this process. Pins are known by their handles."""

    def __init__(self, path):
        self.lib = library()
        fs = ctypes.c_void_p()
        check(self.lib.pinfs_connect(os.fsencode(path), ctypes.byref(fs)), 'connect')
        self.fs = fs

    def pin(self, path, offset, length, flags=READ, mode=None, fd=None):
        opened = fd
        if opened is None:
            opened = os.open(path, os.O_RDWR if flags & WRITE else os.O_RDONLY) if mode is None else os.open(path, mode)
        handle = ctypes.c_void_p()
        try:
            check(self.lib.pinfs_pin(self.fs, opened, offset, length, flags, ctypes.byref(handle)), 'pin')
        finally:
            if fd is None:
                os.close(opened)
        return handle.value

    def unpin(self, handle):
        check(self.lib.pinfs_unpin(handle), 'unpin')

    def repin(self, handle):
        check(self.lib.pinfs_repin(handle), 'repin')

    def forget(self, handle):
        check(self.lib.pinfs_forget(handle), 'forget')

    def id(self, handle):
        return self.lib.pinfs_id(handle)

    def address(self, handle):
        return self.lib.pinfs_addr(handle)

    def extents(self, handle):
        extents = ctypes.POINTER(Extent)()
        count = ctypes.c_size_t()
        check(self.lib.pinfs_extents(handle, ctypes.byref(extents), ctypes.byref(count)), 'extents')
        return [(e.addr, e.offset, e.length, e.part, e.part_offset) for e in extents[:count.value]]

    def pieces(self, handle, offset, length):
        """(address, length) of a range of a pin: one, or those of its extents if it has no address of its own."""
        address = self.address(handle)
        if address is not None:
            return [(address + offset, length)]
        pieces = []
        for start, at, size, _, _ in self.extents(handle):
            first, last = max(at, offset), min(at + size, offset + length)
            if first < last:
                pieces.append((start + first - at, last - first))
        return pieces

    def store(self, handle, offset, data):
        for address, length in self.pieces(handle, offset, len(data)):
            ctypes.memmove(address, data[:length], length)
            data = data[length:]

    def load(self, handle, offset, length):
        return b''.join(ctypes.string_at(*piece) for piece in self.pieces(handle, offset, length))

    def persist(self, handle, offset=0, length=0):
        check(self.lib.pinfs_persist(handle, offset, length), 'persist')

    def commit(self, handle, offset=0, length=0):
        check(self.lib.pinfs_commit(handle, offset, length), 'commit')

    def event(self, seconds=WAIT):
        """(kind, reason, pin, file, offset, length, deadline), or None after so many seconds."""
        end = time.monotonic() + seconds
        event = Event()
        while True:
            result = self.lib.pinfs_next_event(self.fs, ctypes.byref(event))
            if result == 0:
                return tuple(getattr(event, name) for name, _ in Event._fields_)
            if result not in (-errno.EAGAIN, -errno.ENOTCONN):
                check(result, 'next_event')
            left = end - time.monotonic()
            if left <= 0:
                return None
            select.select([self.lib.pinfs_event_fd(self.fs)], [], [], left)

    def disconnect(self):
        self.lib.pinfs_disconnect(self.fs)

    # What a holder does besides pinning.

    def write(self, path, offset, data):
        with open(path, 'r+b', buffering=0) as file:
            return os.pwrite(file.fileno(), data, offset)

    def truncate(self, path, size):
        os.truncate(path, size)

    def pin_until_empty(self, path):
        """Pins and unpins until the file is empty; how often."""
        count = 0
        while True:
            try:
                pin = self.pin(path, 0, BLOCK, READ)
            except OSError as error:
                if error.errno == errno.ERANGE:
                    return count
                raise
            self.unpin(pin)
            count += 1


class Holder:
    """A process with a session. holder.pin(...) and so on are done there; start() begins one and result() ends it."""

    def __init__(self, path, user=None):
        script = os.environ['MT_SCRATCH'] + '/bin/pinfs.py'  # where other users can read it
        self.process = subprocess.Popen([sys.executable, script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        user=user, cwd='/')
        self.pid = self.process.pid
        PIPES.add(self.process.stdin)
        self.result()

    def start(self, name, *args, **keywords):
        data = pickle.dumps((name, args, keywords))
        self.process.stdin.write(struct.pack('=I', len(data)) + data)
        self.process.stdin.flush()

    def result(self, seconds=WAIT * 2):
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise TimeoutError(f'holder {self.pid} does not answer')
        head = self.process.stdout.read(4)
        if len(head) < 4:
            raise EOFError(f'holder {self.pid} is gone')
        good, value = pickle.loads(self.process.stdout.read(struct.unpack('=I', head)[0]))
        if not good:
            raise value
        return value

    def __getattr__(self, name):
        def remote(*args, **keywords):
            self.start(name, *args, **keywords)
            return self.result()
        return remote

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)

    def wait(self):
        return self.process.wait(WAIT)

    def end(self):
        """A normal exit, without a goodbye."""
        PIPES.discard(self.process.stdin)
        self.process.stdin.close()
        return self.wait()


def serve(path):
    def answer(*result):
        data = pickle.dumps(result)
        os.write(1, struct.pack('=I', len(data)) + data)

    try:
        session = Session(path)
    except OSError as error:
        answer(False, error)
        return
    answer(True, None)
    while True:
        head = sys.stdin.buffer.read(4)
        if len(head) < 4:
            os._exit(0)
        name, args, keywords = pickle.loads(sys.stdin.buffer.read(struct.unpack('=I', head)[0]))
        try:
            answer(True, getattr(session, name)(*args, **keywords))
        except OSError as error:
            answer(False, error)


if __name__ == '__main__':
    serve(sys.argv[1])
