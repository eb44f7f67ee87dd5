"""Lost memory (rule 20), on real mounts: what is cut off a part, or the meta part, is a SIGBUS at the next access."""
import errno
import json
import mmap
import os
import signal
import subprocess
import sys
import threading

import pinfs
from pinfs import BLOCK, READ, WAIT, WRITE, Holder
from pins_pool import DATA, Doer, META, MNT, Pool, make, punch, read, refused, until, zero

SIZE = 16 * BLOCK


class Cut:
    """A file that is cut off at a byte, and can get back its size, or all that it had."""

    def __init__(self, path, at):
        self.path, self.at = path, at
        with open(path, 'rb') as file:
            file.seek(at)
            self.tail = file.read()
        os.truncate(path, at)

    def zeros(self):
        """Its size, and of what it had only the last block: a part's copy of its header."""
        os.truncate(self.path, self.at + len(self.tail))
        self.patch(len(self.tail) - BLOCK)

    def whole(self):
        self.patch(0)

    def patch(self, start):
        with open(self.path, 'r+b') as file:
            file.seek(self.at + start)
            file.write(self.tail[start:])


def place(path):
    """Where a small file's bytes are in the data part."""
    holder = Holder(MNT)
    pin = holder.pin(path, 0, os.stat(path).st_size, READ)
    extents = holder.extents(pin)
    holder.unpin(pin)
    holder.end()
    assert len(extents) == 1
    return extents[0][4]


def two_files():
    """The one that is cut off is the second."""
    return sorted((make('one', SIZE), make('two', SIZE)), key=place)


def alive(pool):
    assert pool.status()['pid'] == pool.daemon and not pool.status()['read_only']


def fsck():
    done = subprocess.run(['pinfs', 'fsck', '--json', META], capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report['errors'] == 0, report
    return report


def touch(path):
    """Ends by SIGBUS if the mount has no such page."""
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), SIZE, prot=mmap.PROT_READ) as pages:
        return pages[5 * BLOCK]


def ends_by_sigbus(function, *args):
    assert Doer(function, *args).result() == -signal.SIGBUS


def copy(source, target):
    with open(source, 'rb') as a, open(target, 'wb') as b:
        os.copy_file_range(a.fileno(), b.fileno(), SIZE)


def send(source, target):
    with open(source, 'rb') as a, open(target, 'wb') as b:
        os.sendfile(b.fileno(), a.fileno(), 0, SIZE)


def splice(source):
    reader, writer = os.pipe()
    with open(source, 'rb') as file:
        try:
            os.splice(file.fileno(), writer, SIZE)
        finally:
            os.close(reader)
            os.close(writer)


def lost_is(pool, count):
    """Until so many bytes are recorded as lost: of a read that ends in the middle the kernel tells its caller first."""
    until(lambda: pool.status()['space']['bad_bytes'] == count, f'{count} bytes are lost')


def write(path, offset, data):
    """Durable, or the error."""
    fd = os.open(path, os.O_RDWR)
    try:
        done = os.pwrite(fd, data, offset)
        os.fsync(fd)
        return done
    finally:
        os.close(fd)


def doors(cache):
    """Each way into a file: EIO for what is lost, and nothing else; the daemon lives."""
    pool = Pool(f'cache={cache}', data='16M')
    kept, lost = two_files()
    cut = Cut(DATA, place(lost))
    refused(errno.EIO, read, lost)
    refused(errno.EIO, read, lost, 7 * BLOCK + 1, 10)
    if cache == 'none' and Doer(touch, kept).result() == errno.ENODEV:
        print('# no mmap of files: this libfuse has none without caches', flush=True)
    else:
        ends_by_sigbus(touch, lost)
    refused(errno.EIO, copy, lost, MNT + '/copy')
    refused(errno.EIO, send, lost, '/dev/null')
    refused(errno.EIO, splice, lost)
    refused(errno.EIO, write, lost, 5 * BLOCK + 1, b'x')
    alive(pool)
    assert pool.pins('lost_blocks') >= 16
    assert read(kept) == b'a' * SIZE
    write(kept, 100, b'b' * 5000)
    assert read(kept, 100, 5001) == b'b' * 5000 + b'a'
    # What takes bytes away succeeds, at edges, too.
    zero(lost, 3 * BLOCK + 10, 2 * BLOCK)
    assert read(lost, 4 * BLOCK, BLOCK) == bytes(BLOCK)
    punch(lost, 8 * BLOCK + 10, 3 * BLOCK)
    assert read(lost, 9 * BLOCK, BLOCK) == bytes(BLOCK)
    refused(errno.EIO, read, lost, 8 * BLOCK, 10)
    os.truncate(lost, 2 * BLOCK + 10)
    os.truncate(lost, 4 * BLOCK)
    assert read(lost, 3 * BLOCK, BLOCK) == bytes(BLOCK)
    refused(errno.EIO, read, lost, 2 * BLOCK, 1)
    os.unlink(lost)
    os.unlink(MNT + '/copy')
    alive(pool)
    cut.zeros()
    bad = pool.status()['space']['bad_bytes']
    assert bad >= SIZE
    # All else can be used up.
    size = os.statvfs(MNT).f_bfree * BLOCK
    assert size == 16 * 1024 * 1024 - 2 * BLOCK - SIZE - bad
    make('all', size)
    assert os.statvfs(MNT).f_bfree == 0
    assert read(MNT + '/all') == b'a' * size
    pool.finish()
    assert fsck()['bad_bytes'] == bad


def stays_lost():
    """Lost is lost: after a kill, a remount, and although the memory works again."""
    pool = Pool('cache=none', data='16M')
    kept, lost = two_files()
    cut = Cut(DATA, place(lost) + 3 * BLOCK)
    refused(errno.EIO, read, lost)
    lost_is(pool, SIZE - 3 * BLOCK)
    cut.zeros()
    pool.kill()
    report = fsck()
    assert report['bad_bytes'] == SIZE - 3 * BLOCK and report['notes'] >= 1, report
    pool.mount()
    assert pool.pins('lost_blocks') == 13
    assert read(lost, 0, 3 * BLOCK) == b'a' * 3 * BLOCK
    refused(errno.EIO, read, lost, 3 * BLOCK, 1)
    refused(errno.EIO, read, lost)
    pool.umount()
    pool.mount('ro')
    refused(errno.EIO, read, lost, 3 * BLOCK, 1)
    pool.umount()
    pool.mount('cache=auto')
    # Whatever the kernel asks for at once: what is beside a lost block can be read.
    assert read(lost, 0, 3 * BLOCK) == b'a' * 3 * BLOCK
    refused(errno.EIO, read, lost, SIZE - 1, 1)
    assert read(kept) == b'a' * SIZE
    text = subprocess.run(['pinfs', 'stat', MNT], capture_output=True, text=True, check=True).stdout
    assert '13 blocks of 4 KiB are lost' in text, text
    pool.finish()


def overwritten():
    """A write over all of a lost block gives the file another one; mmap and the kernel's write-back do so, too."""
    for cache in ('none', 'auto', 'writeback'):
        pool = Pool('cache=' + cache, data='16M') if cache == 'none' else pool
        if cache != 'none':
            pool.mount('cache=' + cache)
        _, lost = two_files()
        before = pool.status()['space']['bad_bytes']
        cut = Cut(DATA, place(lost))
        refused(errno.EIO, read, lost)
        lost_is(pool, before + SIZE)
        cut.zeros()
        assert write(lost, 2 * BLOCK, b'n' * 3 * BLOCK) == 3 * BLOCK
        assert read(lost, 2 * BLOCK, 3 * BLOCK) == b'n' * 3 * BLOCK
        refused(errno.EIO, write, lost, 6 * BLOCK + 1, b'n' * BLOCK)
        with open(lost, 'r+b') as file:
            file.seek(0)
            assert file.write(b'o' * SIZE) == SIZE
            file.flush()
            os.fsync(file.fileno())
        assert read(lost) == b'o' * SIZE
        alive(pool)
        assert pool.status()['space']['bad_bytes'] == before + SIZE
        os.unlink(MNT + '/one')
        os.unlink(MNT + '/two')
        pool.umount()
        fsck()


def holders():
    pool = Pool('cache=none,break_timeout=60', data='16M')
    _, lost = two_files()
    holder = Holder(MNT)
    pin = holder.pin(lost, 2 * BLOCK, 3 * BLOCK, WRITE)
    cut = Cut(DATA, place(lost) + 4 * BLOCK)
    refused(errno.EIO, read, lost)
    event = holder.event()
    assert event[0] == pinfs.POISON and event[4:6] == (4 * BLOCK, BLOCK), event
    refused(errno.EIO, holder.pin, lost, 4 * BLOCK, BLOCK, READ)
    refused(errno.EIO, holder.pin, lost, 0, SIZE, READ)
    other = holder.pin(lost, 0, 4 * BLOCK, READ)
    assert holder.load(other, 0, 4 * BLOCK) == b'a' * 4 * BLOCK
    holder.unpin(other)
    cut.zeros()
    # Pinned: nobody changes its place. Unpinned: a write does.
    refused(errno.EIO, write, lost, 4 * BLOCK, b'n' * BLOCK)
    # The daemon dies: who comes back is told again, as it may not have heard.
    pool.kill()
    pool.mount()
    holder.commit(pin, 0, 4)
    event = holder.event()
    assert event[0] == pinfs.POISON and event[4:6] == (4 * BLOCK, BLOCK), event
    holder.unpin(pin)
    pool.quiet()
    assert write(lost, 4 * BLOCK, b'n' * BLOCK) == BLOCK
    pin = holder.pin(lost, 4 * BLOCK, BLOCK, READ)
    assert holder.load(pin, 0, BLOCK) == b'n' * BLOCK
    holder.unpin(pin)
    holder.end()
    pool.quiet()
    pool.finish()


def holder_touches_it():
    """A holder that looks at what is lost ends by SIGBUS: itself, and nobody else; its pins go."""
    pool = Pool('cache=none,break_timeout=60', data='16M')
    kept, lost = two_files()
    holder = Holder(MNT)
    pin = holder.pin(lost, 0, SIZE, READ)
    cut = Cut(DATA, place(lost))
    try:
        holder.load(pin, 0, 1)
        raise AssertionError('it could load what is lost')
    except (EOFError, BrokenPipeError):
        pass
    assert holder.wait() == -signal.SIGBUS
    os.truncate(lost, 0)  # waits for no pin
    pool.quiet()
    alive(pool)
    assert read(kept) == b'a' * SIZE
    cut.zeros()
    pool.finish()


def under_load():
    """Readers and writers while the part is cut and comes back: no thread is lost, no lock is kept."""
    pool = Pool('cache=none', data='16M')
    paths = [make(f'file{i}', SIZE) for i in range(6)]
    stop = threading.Event()
    wrong = []

    def work(path, seed):
        while not stop.is_set():
            for what in (lambda: write(path, seed * BLOCK, b'w' * BLOCK), lambda: read(path),
                         lambda: write(path, 10, b'x' * 9000), lambda: zero(path, 100, BLOCK)):
                try:
                    what()
                except OSError as error:
                    if error.errno != errno.EIO:
                        wrong.append(error)

    middle = sorted(place(path) for path in paths)[3]
    threads = [threading.Thread(target=work, args=(path, i), daemon=True) for i, path in enumerate(paths)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        before = pool.status()['operations']['read']['count']
        cut = Cut(DATA, middle)
        until(lambda: pool.status()['operations']['read']['count'] > before + 12, 'reads go on')
        cut.zeros()
    stop.set()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()
    assert not wrong, wrong
    alive(pool)
    assert pool.pins('lost_blocks') > 0
    for path in paths:
        assert write(path, 0, b'z' * SIZE) == SIZE
        assert read(path) == b'z' * SIZE
    pool.finish()
    fsck()


# ---- The meta part ----

def gone(function, *args):
    """The daemon has ended under it, or before."""
    try:
        function(*args)
    except OSError as error:
        assert error.errno in (errno.ENOTCONN, errno.ECONNABORTED), error
        return
    raise AssertionError('the mount answers')


def meta():
    """The daemon ends, and the mount says so; pins are restored by the next one."""
    pool = Pool('cache=none,break_timeout=60')
    path = make('file', SIZE)
    holder = Holder(MNT)
    pin = holder.pin(path, 0, SIZE, WRITE)
    holder.store(pin, 0, b'mine')
    parked = Doer(os.truncate, path, 0)
    pool.waiting()
    cut = Cut(META, 1 << 20)
    gone(make, 'new')
    pool.wait_ended()
    # The request that waited for the pin is answered, too.
    assert parked.result() in (errno.ENOTCONN, errno.ECONNABORTED)
    gone(os.stat, MNT + '/other')
    subprocess.run(['umount', '-l', MNT], check=True)
    # Too short for any pool, and half of one.
    for size in (1 << 20, 24 << 20):
        os.truncate(META, size)
        done = subprocess.run(['pinfs', 'mount', META, MNT], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and META in done.stderr, done
        done = subprocess.run(['pinfs', 'fsck', META], capture_output=True, text=True, check=False)
        assert done.returncode in (4, 8) and META in done.stdout + done.stderr, done
    cut.whole()
    pool.mount()
    assert pool.pins('pins') == 1
    assert holder.load(pin, 0, 5) == b'minea'
    holder.commit(pin, 0, 4)
    holder.unpin(pin)
    holder.end()
    assert read(path, 0, 5) == b'minea'
    pool.quiet()
    pool.finish()


def meta_foreground():
    """The words name the file and the byte."""
    pool = Pool()
    make('file', SIZE)
    pool.umount()
    log = os.environ['MT_CASE'] + '/said'
    with open(log, 'w') as said:
        daemon = subprocess.Popen(['pinfs', 'mount', '-f', '-o', 'cache=none', META, MNT], stderr=said)
    until(lambda: os.path.ismount(MNT), 'mounted')
    cut = Cut(META, 1 << 20)
    gone(make, 'new')
    assert daemon.wait(WAIT) == -signal.SIGBUS
    text = open(log).read()
    assert f'{META}: at byte ' in text and 'the file was truncated' in text and 'pinfs fsck' in text, text
    subprocess.run(['umount', '-l', MNT], check=True)
    cut.whole()
    pool.mount('')
    assert read(MNT + '/file') == b'a' * SIZE
    pool.finish()


def meta_unreadable():
    """Pages that cannot be read when the pool is opened: holes of a file on a full tmpfs."""
    pool = Pool()
    make('file', SIZE)
    pool.umount()
    small = os.environ['MT_CASE'] + '/small'
    os.mkdir(small)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=33M', 'tmpfs', small], check=True)
    copied = small + '/meta'
    subprocess.run(['cp', '--sparse=always', META, copied], check=True)
    fd = os.open(small + '/rest', os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(fd, bytes(1 << 20))
    except OSError as error:
        assert error.errno == errno.ENOSPC
    done = subprocess.run(['pinfs', 'mount', copied, MNT], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and f'{copied}: memory error' in done.stderr and 'pinfs fsck' in done.stderr, done
    assert not os.path.ismount(MNT)
    done = subprocess.run(['pinfs', 'fsck', copied], capture_output=True, text=True, check=False)
    assert done.returncode == 4 and 'I1' in done.stdout and 'memory error' in done.stdout, done
    os.close(fd)
    os.unlink(small + '/rest')
    subprocess.run(['pinfs', 'fsck', copied], check=True)
    subprocess.run(['umount', small], check=True)
    pool.mount()
    pool.finish()


def hwpoison():
    """As hardware does it: one page of the part."""
    pool = Pool('cache=none', data='16M')
    kept, lost = two_files()
    offset = place(lost) + 5 * BLOCK
    with open(DATA, 'r+b') as part, mmap.mmap(part.fileno(), 0) as pages:
        assert pages[offset] == ord('a')
        pages.madvise(100, offset, BLOCK)  # MADV_HWPOISON
    refused(errno.EIO, read, lost)
    lost_is(pool, BLOCK)
    assert read(lost, 0, 5 * BLOCK) == b'a' * 5 * BLOCK
    assert read(kept) == b'a' * SIZE
    assert write(lost, 5 * BLOCK, b'n' * BLOCK) == BLOCK
    assert read(lost, 5 * BLOCK, BLOCK) == b'n' * BLOCK
    pool.finish()


if __name__ == '__main__':
    globals()[sys.argv[1]](*sys.argv[2:])
