"""Exclusive pins, coherence, limits, access, edges (rules 15, 17 to 19, 21), and the commands."""
import ctypes
import errno
import hashlib
import json
import mmap
import os
import resource
import signal
import socket
import stat
import subprocess

import pinfs
from pinfs import BLOCK, EXCLUSIVE, EXTEND, NONBLOCK, READ, WAIT, WRITE, Holder, Session
from pins_pool import DATA, DEVICE, META, CASE, Doer, LIBC, MNT, Pool, fallocate, make, read, refused, run, until

# ---- Rule 15: exclusive ----

def rule15_exclusive():
    pool = Pool('break_timeout=60')
    path = make('file', 16 * BLOCK)
    holder, other = Holder(MNT), Holder(MNT)
    pin = holder.pin(path, 0, 4 * BLOCK, WRITE | EXCLUSIVE)
    assert holder.write(path, 0, b'own') == 3
    other.unpin(other.pin(path, 0, BLOCK, READ))
    refused(errno.EAGAIN, other.pin, path, 0, BLOCK, WRITE | NONBLOCK)
    other.unpin(other.pin(path, 4 * BLOCK, BLOCK, WRITE))
    other.start('write', path, 0, b'other')
    event = holder.event()
    assert event[0:2] == (pinfs.RECALL, pinfs.OTHERS_WRITE), event
    assert holder.load(pin, 0, 5) == b'ownaa'
    holder.unpin(pin)
    assert other.result() == 5
    assert read(path, 0, 5) == b'other'
    other.end()
    holder.end()
    pool.quiet()
    pool.finish()


def rule15_loses():
    """At the timeout the pin stays and loses its exclusivity."""
    pool = Pool('break_timeout=0.05')
    path = make('file')
    holder = Holder(MNT)
    pin = holder.pin(path, 0, BLOCK, WRITE | EXCLUSIVE)
    with open(path, 'r+b', buffering=0) as file:
        assert file.write(b'other') == 5
    assert [holder.event()[0:2] for _ in range(2)] == [(pinfs.RECALL, pinfs.OTHERS_WRITE), (pinfs.DETACHED, pinfs.OTHERS_WRITE)]
    assert holder.load(pin, 0, 5) == b'other', 'what write(2) returned for is there at once'
    holder.store(pin, 0, b'mine ')
    holder.commit(pin, 0, 5)
    assert read(path, 0, 5) == b'mine '
    holder.end()
    pool.quiet()
    pool.finish()


def rule15_copy_range():
    """copy_file_range(2) onto an exclusive pin waits as write(2) does; out of it, it does not."""
    pool = Pool('break_timeout=60')
    path, source = make('file'), make('source', byte=b's')
    holder = Holder(MNT)
    pin = holder.pin(path, 0, BLOCK, WRITE | EXCLUSIVE)

    def copy(origin, target):
        with open(origin, 'rb') as one, open(target, 'r+b') as two:
            os.copy_file_range(one.fileno(), two.fileno(), 100, 0, 0)

    assert Doer(copy, path, source).result() == 0
    doer = Doer(copy, source, path)
    pool.waiting()
    holder.unpin(pin)
    assert doer.result() == 0
    holder.end()
    pool.finish()


def rule15_deadlock():
    """A new pin of a holder, behind a break that waits for this very holder."""
    pool = Pool('break_timeout=60')
    path = make('file')
    holder = Holder(MNT)
    pin = holder.pin(path, 0, BLOCK, READ)
    doer = Doer(os.truncate, path, 0)
    pool.waiting()
    refused(errno.EDEADLK, holder.pin, path, 0, 2 * BLOCK)
    holder.unpin(pin)
    assert doer.result() == 0
    holder.end()
    pool.finish()


def rule15_writeback():
    """The kernel's write-back of a page that somebody stored to: refused, and the holder is told."""
    pool = Pool()
    path = make('file')
    holder = Holder(MNT)
    pin = holder.pin(path, 0, BLOCK, WRITE | EXCLUSIVE)
    holder.store(pin, 0, b'mine')
    holder.persist(pin)
    fd = os.open(path, os.O_RDWR)
    page = mmap.mmap(fd, BLOCK)
    page[0:4] = b'thef'
    refused(errno.EIO, page.flush)
    assert holder.event()[0] == pinfs.CONFLICT
    assert holder.load(pin, 0, 4) == b'mine'
    holder.commit(pin)
    holder.end()
    try:
        page.close()
        os.close(fd)
    except OSError:
        pass
    pool.quiet()
    pool.finish()


# ---- Rule 17: coherence ----

def coherence(options):
    pool = Pool(options)
    writeback = 'writeback' in options
    path = make('file', 4 * BLOCK)
    holder = Holder(MNT)
    fd = os.open(path, os.O_RDWR)
    view = mmap.mmap(fd, 4 * BLOCK, mmap.MAP_SHARED if 'none' not in options else mmap.MAP_PRIVATE, mmap.PROT_READ)
    assert view[0:4] == b'aaaa' and os.pread(fd, 4, 0) == b'aaaa'
    before = os.fstat(fd)
    # What the kernel holds dirty is in place before a write pin is granted.
    os.pwrite(fd, b'dirty', BLOCK)
    if 'none' not in options:
        with mmap.mmap(fd, 4 * BLOCK) as page:
            page[2 * BLOCK:2 * BLOCK + 6] = b'mapped'
    pin = holder.pin(path, 0, 4 * BLOCK, WRITE)
    assert holder.load(pin, BLOCK, 5) == b'dirty'
    if 'none' not in options:
        assert holder.load(pin, 2 * BLOCK, 6) == b'mapped'
    # What is committed is seen by everybody at once.
    for turn in range(20):
        text = b'%04d' % turn
        holder.store(pin, 0, text)
        holder.store(pin, 3 * BLOCK + 5, text)
        if 'none' in options:
            assert os.pread(fd, 4, 0) == text
        holder.commit(pin, 0, 4 * BLOCK)
        assert os.pread(fd, 4, 0) == text and os.pread(fd, 4, 3 * BLOCK + 5) == text
        if 'none' not in options:
            assert view[0:4] == text and view[3 * BLOCK + 5:3 * BLOCK + 9] == text
    after = os.stat(path)
    assert after.st_mtime_ns > before.st_mtime_ns and after.st_ctime_ns > before.st_ctime_ns
    # What write(2) has returned for is seen by the holder at once; with a writeback cache after fsync.
    for turn in range(20):
        text = b'%05d' % turn
        os.pwrite(fd, text, BLOCK + 100)
        if writeback:
            os.fsync(fd)
        assert holder.load(pin, BLOCK + 100, 5) == text
    # The size grows by a commit of an extending pin.
    grown = holder.pin(path, 4 * BLOCK, 4 * BLOCK, WRITE | EXTEND)
    holder.store(grown, 0, b'more')
    assert os.fstat(fd).st_size == 4 * BLOCK
    holder.commit(grown, 0, 4)
    assert os.stat(path).st_size == 4 * BLOCK + 4 and os.pread(fd, 100, 4 * BLOCK) == b'more'
    view.close()
    os.close(fd)
    holder.end()
    pool.quiet()
    assert read(path)[4 * BLOCK:] == b'more'
    pool.umount()
    pool.fsck()
    pool.mount()
    assert read(path)[4 * BLOCK:] == b'more' and read(path, BLOCK + 100, 5) == b'00019'
    pool.finish()


def rule17_auto():
    coherence('cache=auto')


def rule17_none():
    coherence('cache=none')


def rule17_writeback():
    coherence('cache=writeback')


def rule17_commit_while_parked():
    """A commit while a break waits on the file is durable and ends: with success, or EAGAIN."""
    pool = Pool('break_timeout=60')
    path = make('file', 4 * BLOCK)
    holder = Holder(MNT)
    pin = holder.pin(path, 0, 4 * BLOCK, WRITE)
    doer = Doer(os.truncate, path, 0)
    pool.waiting()
    fd = os.open(path, os.O_RDWR)
    with mmap.mmap(fd, 4 * BLOCK) as page:
        page[3 * BLOCK] = 1
        holder.store(pin, 0, b'x')
        try:
            holder.commit(pin)
        except OSError as error:
            assert error.errno == errno.EAGAIN
        assert doer.running()
        holder.unpin(pin)
        assert doer.result() == 0
    os.close(fd)
    holder.end()
    pool.quiet()
    pool.finish()


def rule17_setuid():
    """A commit takes setuid, setgid and capabilities away, as write(2) would."""
    pool = Pool()
    path = make('file')
    os.chmod(path, 0o6755)
    holder = Holder(MNT)
    pin = holder.pin(path, 0, BLOCK, WRITE)
    holder.store(pin, 0, b'x')
    holder.commit(pin, 0, 1)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o755
    holder.end()
    pool.finish()


# ---- Rules 18, 19: limits and access ----

NOBODY = 65534


def rule18_limit():
    pool = Pool('allow_other,pin_access=all,pin_limit=1M')
    os.chmod(CASE, 0o755)
    path = make('file', 4 << 20)
    os.chmod(path, 0o666)
    holder = Holder(MNT, user=NOBODY)
    pins = [holder.pin(path, 0, 512 << 10, READ), holder.pin(path, 512 << 10, 512 << 10, WRITE)]
    refused(errno.ENOMEM, holder.pin, path, 1 << 20, BLOCK)
    holder.unpin(pins.pop())
    pins.append(holder.pin(path, 1 << 20, BLOCK))
    root = Holder(MNT)
    root.pin(path, 0, 4 << 20, READ)
    os.unlink(path)
    until(lambda: pool.pins('limbo_bytes') > 0, 'the inode is evicted')
    path = make('second', 4 << 20)
    os.chmod(path, 0o666)
    refused(errno.ENOMEM, holder.pin, path, 0, 1 << 20)
    holder.end()
    root.end()
    pool.quiet()
    pool.finish()


def rule19_descriptors():
    pool = Pool()
    path = make('file')
    session = Session(MNT)
    other = CASE + '/other'
    with open(other, 'wb') as file:
        file.write(bytes(BLOCK))
    for code, mode, flags in ((errno.EBADF, os.O_RDONLY, WRITE), (errno.EBADF, os.O_WRONLY, READ),
                              (errno.EBADF, os.O_RDWR | os.O_APPEND, WRITE), (errno.EBADF, os.O_PATH, READ),
                              (errno.EBADF, os.O_WRONLY, WRITE)):
        refused(code, session.pin, path, 0, BLOCK, flags, mode)
    refused(errno.ENODEV, session.pin, other, 0, BLOCK, READ)
    reader, writer = os.pipe()
    refused(errno.ENODEV, session.pin, path, 0, BLOCK, READ, fd=reader)
    refused(errno.EBADF, session.pin, path, 0, BLOCK, READ, fd=999)
    directory = os.open(MNT, os.O_RDONLY)
    refused(errno.EISDIR, session.pin, path, 0, BLOCK, READ, fd=directory)
    os.close(directory)
    refused(errno.EINVAL, session.pin, path, 0, 0)
    refused(errno.EINVAL, session.pin, path, -1, BLOCK)
    refused(errno.EINVAL, session.pin, path, 0, BLOCK, READ | EXCLUSIVE)
    refused(errno.EINVAL, session.pin, path, 0, BLOCK, READ | EXTEND)
    refused(errno.EINVAL, session.pin, path, 0, BLOCK, 1 << 20)
    refused(errno.ERANGE, session.pin, path, 0, 9 * BLOCK)
    refused(errno.ERANGE, session.pin, path, 2**62, BLOCK)
    assert pool.pins('grants') == 0
    session.disconnect()
    os.close(writer)
    pool.finish()


def rule19_owner():
    """By default only root and the mount's owner."""
    pool = Pool('allow_other')
    os.chmod(CASE, 0o755)
    os.chmod(make('file'), 0o666)
    refused(errno.EACCES, Holder, MNT, user=NOBODY)
    pool.finish()


def rule19_read_only_mapping():
    """A read pin's memory cannot be stored to, nor can the descriptor of the part be mapped for it."""
    pool = Pool()
    path = make('file')

    def store():
        session = Session(MNT)
        pin = session.pin(path, 0, BLOCK, READ)
        address = session.address(pin)
        LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        assert LIBC.mprotect(address & ~4095, BLOCK, 3) == -1 and ctypes.get_errno() == errno.EACCES
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        session.store(pin, 0, b'x')

    assert Doer(store).result() == -signal.SIGSEGV
    pool.quiet()
    assert read(path) == b'a' * 8 * BLOCK
    pool.finish()


def rule19_rubbish():
    """Whoever sends rubbish, half a message, or nothing, hurts only itself."""
    pool = Pool()
    path = make('file')
    address = os.getxattr(MNT, 'pinfs.socket').decode()
    good = Holder(MNT)
    silent = []
    for seed in range(200):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(WAIT)
        sock.connect(address)
        data = hashlib.shake_128(b'%d' % seed).digest(1 + seed * 37 % 5000)
        if seed % 3 == 0:  # a head that looks good
            data = b'PINS' + (1 + seed % 10).to_bytes(2, 'little') + bytes(2) + len(data).to_bytes(4, 'little') + data[12:]
        try:
            if seed % 4 == 0:
                silent.append(sock)
                if len(silent) > 40:
                    silent.pop(0).close()
                continue
            if seed % 5 == 0:
                with open(path, 'rb') as file:
                    socket.send_fds(sock, [data], [file.fileno()] * 3)
            else:
                sock.send(data)
            while sock.recv(8192):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass
        sock.close()
        pin = good.pin(path, 0, BLOCK, READ)
        good.unpin(pin)
    assert os.path.exists(f'/proc/{pool.daemon}')
    for sock in silent:
        sock.close()
    good.end()
    pool.quiet()
    pool.finish()


# ---- Rule 20: loss ----

def place(holder, path):
    """Where a small file's bytes are in the data part."""
    pin = holder.pin(path, 0, os.stat(path).st_size, READ)
    extents = holder.extents(pin)
    holder.unpin(pin)
    assert len(extents) == 1
    return extents[0][4]


def rule20_lost_memory():
    """A part that somebody truncates: EIO for what is lost, the holder is told, everything else goes on."""
    pool = Pool('cache=none,break_timeout=60', data='16M')
    size = 16 * BLOCK
    holder = Holder(MNT)
    kept, lost = sorted((make('one', size), make('two', size)), key=lambda path: place(holder, path))
    pin = holder.pin(lost, 2 * BLOCK, BLOCK, READ)
    part = os.stat(DATA).st_size
    with open(DATA, 'rb') as file:
        file.seek(-BLOCK, os.SEEK_END)
        header = file.read()  # its copy in the last block
    os.truncate(DATA, place(holder, lost))
    refused(errno.EIO, read, lost)
    event = holder.event()
    assert event[0] == pinfs.POISON and event[4:6] == (2 * BLOCK, BLOCK), event
    fd = os.open(lost, os.O_RDWR)
    try:
        assert os.pwrite(fd, b'x' * BLOCK, 5 * BLOCK) == BLOCK
        assert read(lost, 5 * BLOCK, BLOCK) == b'x' * BLOCK
    except OSError as error:
        assert error.errno == errno.EIO, error  # the blocks that were tried for it are lost, too
    os.close(fd)
    assert read(kept) == b'a' * size
    until(lambda: pool.pins('lost_blocks') >= 16, 'all of the file is known to be lost')
    bad = pool.status()['space']['bad_bytes']
    assert bad == pool.pins('lost_blocks') * BLOCK
    os.truncate(DATA, part)
    with open(DATA, 'r+b') as file:
        file.seek(-BLOCK, os.SEEK_END)
        file.write(header)
    with open(kept, 'r+b', buffering=0) as file:
        assert file.write(b'alive') == 5
    assert read(kept, 0, 6) == b'alivea'
    holder.unpin(pin)
    holder.end()
    os.unlink(lost)
    pool.quiet()
    pool.umount()
    report = json.loads(subprocess.run(['pinfs', 'fsck', '--json', META], capture_output=True, text=True, check=True).stdout)
    assert report['bad_bytes'] == bad, report
    pool.mount()
    assert read(kept, 0, 6) == b'alivea'
    pool.finish()


# ---- Rule 21: edges ----

def rule21_ranges():
    pool = Pool()
    path = make('file', 100)
    holder = Holder(MNT)
    pin = holder.pin(path, 10, 50, READ)
    assert holder.load(pin, 0, 50) == b'a' * 50 and holder.address(pin) % BLOCK == 10
    holder.unpin(pin)
    refused(errno.ERANGE, holder.pin, path, 90, 11)
    # Holes and unwritten blocks become zeros, also for reading.
    sparse = MNT + '/sparse'
    with open(sparse, 'wb') as file:
        file.truncate(8 * BLOCK)
    fallocate(sparse, 0, 4 * BLOCK, 2 * BLOCK)
    pin = holder.pin(sparse, 0, 8 * BLOCK, READ)
    assert holder.load(pin, 0, 8 * BLOCK) == bytes(8 * BLOCK)
    assert os.stat(sparse).st_blocks == 8 * 8
    holder.unpin(pin)
    # Beyond the end nothing is seen before the commit, and other's growth shows zeros.
    pin = holder.pin(path, 0, 4 * BLOCK, WRITE | EXTEND)
    holder.store(pin, 0, b'n' * 4 * BLOCK)
    holder.persist(pin)
    assert os.stat(path).st_size == 100
    os.truncate(path, 2 * BLOCK)
    assert read(path) == b'n' * 100 + bytes(2 * BLOCK - 100)
    holder.store(pin, 0, b'm' * 4 * BLOCK)
    holder.commit(pin, 0, 3 * BLOCK)
    assert read(path) == b'm' * 3 * BLOCK
    holder.unpin(pin)
    os.truncate(path, 4 * BLOCK)
    assert read(path) == b'm' * 3 * BLOCK + bytes(BLOCK)
    holder.end()
    pool.quiet()
    pool.finish()


def rule21_read_only_mount():
    pool = Pool()
    path = make('file', 4 * BLOCK)
    os.truncate(path, 8 * BLOCK)
    pool.umount()
    pool.mount('ro')
    try:
        holder = Holder(MNT)
        pin = holder.pin(path, 0, 8 * BLOCK, READ)
        assert holder.load(pin, 0, 8 * BLOCK) == b'a' * 4 * BLOCK + bytes(4 * BLOCK)
        refused(errno.EROFS, holder.pin, path, 0, BLOCK, WRITE)
        holder.end()
    except OSError as error:
        assert error.errno == errno.EROFS, error
    pool.umount()


def reader_no_sigbus():
    """A load through a pin never gets SIGBUS by a truncate; through a mapping of the file it does."""
    pool = Pool('break_timeout=0')
    path = make('file')

    def reads(pinned):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        session = Session(MNT)
        pin = session.pin(path, 0, 8 * BLOCK, READ)
        fd = os.open(path, os.O_RDONLY)
        view = mmap.mmap(fd, 8 * BLOCK, mmap.MAP_SHARED, mmap.PROT_READ)
        os.truncate(path, 0)
        assert session.load(pin, 0, 8 * BLOCK) == b'a' * 8 * BLOCK
        if not pinned:
            view[0]

    assert Doer(reads, True).result() == 0
    make('file')
    assert Doer(reads, False).result() == -signal.SIGBUS
    pool.quiet()
    pool.finish()


# ---- Fragments ----

def fragments():
    """Neighbouring addresses for extents that lie apart, or on a devdax node an address for each and none for all;
    PINFS_CONTIGUOUS puts them together, and then there is one."""
    pool = Pool(data='32M')
    one = MNT + '/one'
    with open(one, 'wb', buffering=0) as file:
        for i in reversed(range(64)):  # from the end: no block continues the one before it
            os.pwrite(file.fileno(), bytes([i]) * BLOCK, i * BLOCK)
            os.fsync(file.fileno())
    expected = read(one)
    holder = Holder(MNT)
    pin = holder.pin(one, 0, 64 * BLOCK, WRITE)
    extents = holder.extents(pin)
    assert holder.load(pin, 0, 64 * BLOCK) == expected
    address = holder.address(pin)
    assert sum(extent[2] for extent in extents) == 64 * BLOCK
    if DEVICE is None:
        assert all(extent[0] == address + extent[1] for extent in extents)
    else:
        assert address is None and all(extent[0] is not None for extent in extents)
    print(len(extents), 'extents')
    holder.unpin(pin)
    pin = holder.pin(one, 0, 64 * BLOCK, WRITE | pinfs.CONTIGUOUS)
    assert len(holder.extents(pin)) == 1 and holder.address(pin) is not None
    assert holder.load(pin, 0, 64 * BLOCK) == expected and read(one) == expected
    assert len(extents) > 1, 'nothing was fragmented'
    holder.end()
    pool.quiet()
    pool.finish()


def after_fork():
    """The child has none of its parent's pins, and may begin anew."""
    pool = Pool()
    path = make('file')
    session = Session(MNT)
    pin = session.pin(path, 0, BLOCK, WRITE)

    def child():
        assert session.address(pin) is None
        refused(errno.EPERM, session.pin, path, 0, BLOCK)
        refused(errno.EPERM, session.commit, pin)
        session.disconnect()
        own = Session(MNT)
        handle = own.pin(path, 0, BLOCK, READ)
        assert own.load(handle, 0, 4) == b'aaaa'
        own.disconnect()

    assert Doer(child).result() == 0
    session.store(pin, 0, b'mine')
    session.commit(pin, 0, 4)
    assert read(path, 0, 4) == b'mine'
    session.disconnect()
    pool.quiet()
    pool.finish()


def commands():
    """pinfs pin, pinfs pins, getfattr."""
    pool = Pool('break_timeout=60')
    path = make('a file', 3 * BLOCK)
    holder = subprocess.Popen(['pinfs', 'pin', '--write', '--until-eof', path, '4K', '8K'], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    pinfs.PIPES.add(holder.stdin)
    line = holder.stdout.readline()
    assert line, 'no extent'
    until(lambda: pool.pins('pins') == 1, 'it is pinned')
    assert os.getxattr(path, 'pinfs.pins') == b'8192'
    doer = Doer(os.truncate, path, 0)
    pool.waiting()
    shown = subprocess.run(['pinfs', 'pins', MNT], capture_output=True, text=True, check=True).stdout
    print(shown)
    assert str(holder.pid) in shown and 'a file' in shown
    for target in (MNT, path):
        listing = json.loads(subprocess.run(['pinfs', 'pins', '--json', target], capture_output=True, text=True,
                                            check=True).stdout)
        print(listing)
        assert [entry['pid'] for entry in listing['pins']] == [holder.pid]
        assert len(listing['waiting']) == 1
    pinfs.PIPES.clear()
    holder.stdin.close()
    assert doer.result() == 0
    assert holder.wait(WAIT) == 0
    run('pinfs', 'pin', make('other'))
    pool.quiet()
    pool.finish()
