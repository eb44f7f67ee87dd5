"""Breaks: who waits, who is woken, who loses what (rules 1, 4 to 9, 12)."""
import ctypes
import errno
import os
import signal
import subprocess
import threading
import time

import pinfs
from pinfs import BLOCK, CACHED, NONBLOCK, READ, WAIT, WRITE, Holder, Session
from pins_pool import CASE, DOORS, Doer, FALLOC_KEEP, LIBC, META, MNT, Pool, best_latency, fallocate, fill, keeps_its_blocks, make, punch, read, refused, run, until

# ---- Rules 1, 7, 12: no reuse ----

def rule1_detached():
    pool = Pool('break_timeout=0', data='24M')
    size = 1 << 20
    path = make('file', size)
    holder = Holder(MNT)
    pin = holder.pin(path, 0, size, WRITE)
    free = os.statvfs(MNT).f_bfree
    os.truncate(path, 0)
    assert os.stat(path).st_size == 0 and os.stat(path).st_blocks == 0
    assert pool.pins('limbo_bytes') == size
    assert os.statvfs(MNT).f_bfree == free, 'limbo counts as used'
    event = holder.event()
    assert event is not None and event[0] in (pinfs.RECALL, pinfs.DETACHED), event
    keeps_its_blocks(pool, holder, pin, size)
    refused(errno.ESTALE, holder.commit, pin)
    holder.unpin(pin)
    pool.quiet()
    assert os.statvfs(MNT).f_bfree == size // BLOCK
    pool.finish()


def rule12_unlinked():
    pool = Pool(data='24M')
    size = 1 << 20
    path = make('file', size)
    holder = Holder(MNT)
    pin = holder.pin(path, 0, size, WRITE)
    os.unlink(path)
    until(lambda: pool.pins('limbo_bytes') == size, 'the inode is evicted')
    refused(errno.ENOENT, os.stat, path)
    keeps_its_blocks(pool, holder, pin, size)
    refused(errno.ESTALE, holder.commit, pin)
    holder.kill()
    pool.quiet()
    assert os.statvfs(MNT).f_bfree == size // BLOCK
    pool.finish()


def rule12_rename_over():
    pool = Pool(data='24M')
    size = 1 << 20
    path = make('file', size)
    holder = Holder(MNT)
    pin = holder.pin(path, 0, size, WRITE)
    os.rename(make('other', 5), path)
    until(lambda: pool.pins('limbo_bytes') == size, 'the inode is evicted')
    assert read(path) == b'aaaaa'
    keeps_its_blocks(pool, holder, pin, size)
    holder.unpin(pin)
    pool.quiet()
    pool.finish()


def rule12_open_file():
    """Unlinked, but open: no eviction, and a holder may commit."""
    pool = Pool()
    path = make('file')
    holder = Holder(MNT)
    pin = holder.pin(path, 0, BLOCK, WRITE)
    with open(path, 'rb', buffering=0) as file:
        os.unlink(path)
        holder.store(pin, 0, b'late')
        holder.commit(pin, 0, 4)
        assert file.read(4) == b'late'
        assert pool.pins('limbo_bytes') == 0
    until(lambda: pool.pins('limbo_bytes') == BLOCK, 'the inode is evicted')
    refused(errno.ESTALE, holder.commit, pin)
    holder.end()
    pool.quiet()
    pool.finish()


# ---- Rules 4, 9: waits, and is woken ----

def rule4_doors():
    pool = Pool('break_timeout=60')
    holder = Holder(MNT)
    for name, door in DOORS.items():
        path = make(name)
        before = read(path)
        pin = holder.pin(path, 0, BLOCK, READ)
        doer = Doer(door, path)
        pool.waiting()
        assert doer.running()
        assert read(path) == before, f'{name}: changed before its time'
        holder.unpin(pin)
        assert doer.result() == 0, name
        assert read(path) != before, f'{name}: has done nothing'
    assert pool.pins('timeouts') == 0
    pool.quiet()
    pool.finish()


def rule4_others_go_on():
    """A break of other blocks of the file does not wait; nor does anything else of the mount."""
    pool = Pool('break_timeout=inf')
    path = make('file', 64 * BLOCK)
    holder = Holder(MNT)
    pin = holder.pin(path, 8 * BLOCK, 4 * BLOCK, READ)
    for offset, length in ((0, 8), (12, 20)):
        assert Doer(punch, path, offset * BLOCK, length * BLOCK).result() == 0
    assert Doer(os.truncate, path, 12 * BLOCK).result() == 0
    assert read(path) == bytes(8 * BLOCK) + b'a' * 4 * BLOCK
    doer = Doer(os.truncate, path, 12 * BLOCK - 1)
    pool.waiting()
    make('another')
    os.mkdir(MNT + '/directory')
    assert os.stat(path).st_size == 12 * BLOCK
    holder.unpin(pin)
    assert doer.result() == 0
    pool.finish()


def rule4_eof_of_part():
    """Up, and to a block's end that is not pinned: nothing to wait for."""
    pool = Pool('break_timeout=inf')
    path = make('file', 2 * BLOCK + 100)
    holder = Holder(MNT)
    pin = holder.pin(path, 0, 2 * BLOCK + 100, WRITE)
    assert Doer(os.truncate, path, 10 * BLOCK).result() == 0
    assert Doer(fallocate, path, FALLOC_KEEP, 0, 20 * BLOCK).result() == 0
    assert Doer(os.truncate, path, 3 * BLOCK).result() == 0
    assert read(path) == b'a' * (2 * BLOCK + 100) + bytes(BLOCK - 100)
    holder.unpin(pin)
    pool.finish()


def rule9_latency():
    """A waiting truncate ends by unpin, goodbye, exit and SIGKILL of its holder."""
    pool = Pool('break_timeout=inf')

    def once(how):
        path = make('file')
        holder = Holder(MNT)
        pin = holder.pin(path, 0, BLOCK, READ)
        doer = Doer(os.truncate, path, 0)
        pool.waiting()
        start = time.monotonic()
        how(holder, pin)
        assert doer.result() == 0
        if holder.process.poll() is None:
            holder.kill()
        return doer.ended - start

    ways = {'unpin': lambda holder, pin: holder.unpin(pin), 'disconnect': lambda holder, pin: holder.disconnect(),
            'exit': lambda holder, pin: holder.end(), 'kill': lambda holder, pin: holder.kill()}
    for name, how in ways.items():
        print(f'{name}: {best_latency(5, lambda how=how: once(how)) * 1000:.1f} ms')
    pool.quiet()
    pool.finish()


def rule9_rounds(rounds=100000):
    """Many rounds of pin, truncate, unpin at the same time: no wake-up is lost."""
    pool = Pool('break_timeout=inf')
    path = make('file')
    session = Session(MNT)

    def truncater():
        for _ in range(rounds):
            os.truncate(path, 0)
            os.truncate(path, BLOCK)

    thread = threading.Thread(target=truncater, daemon=True)
    thread.start()
    count = 0
    while thread.is_alive():
        try:
            pin = session.pin(path, 0, BLOCK, WRITE)
        except OSError as error:
            assert error.errno == errno.ERANGE, error
            continue
        session.unpin(pin)
        count += 1
    thread.join()
    status = pool.status()['pins']
    print(f'{count} pins, {rounds} truncates, {status["breaks_waited"]} of them waited')
    assert status['timeouts'] == 0
    session.disconnect()
    pool.quiet()
    pool.finish()


# ---- Rule 5: a stream of pins does not starve a break ----

def rule5_barrier(clients=64):
    pool = Pool('break_timeout=inf')
    path = make('file')
    holders = [Holder(MNT) for _ in range(clients)]
    for holder in holders:
        holder.start('pin_until_empty', path)
    until(lambda: pool.pins('grants') > 10 * clients, 'all clients pin')
    assert Doer(os.truncate, path, 0).result() == 0
    assert sum(holder.result() for holder in holders) > 10 * clients
    assert pool.pins('timeouts') == 0
    for holder in holders:
        holder.end()
    pool.quiet()
    pool.finish()


def rule5_elsewhere():
    """While a break waits a new pin of its range waits or says so; pins elsewhere are granted."""
    pool = Pool('break_timeout=60')
    path = make('file', 64 * BLOCK)
    first, second = Holder(MNT), Holder(MNT)
    pin = first.pin(path, 0, 2 * BLOCK, READ)
    doer = Doer(punch, path, 0, 4 * BLOCK)
    pool.waiting()
    refused(errno.EAGAIN, second.pin, path, 3 * BLOCK, BLOCK, READ | NONBLOCK)
    second.unpin(second.pin(path, 4 * BLOCK, BLOCK, READ))
    second.start('pin', path, 3 * BLOCK, BLOCK, READ)
    until(lambda: pool.pins('waiting') == 2, 'the second pin waits')
    first.unpin(pin)
    assert doer.result() == 0
    handle = second.result()
    assert second.load(handle, 0, BLOCK) == bytes(BLOCK), 'the pin was granted before the punch'
    second.end()
    first.end()
    pool.quiet()
    pool.finish()


# ---- Rule 6: recall ----

def rule6_recall():
    pool = Pool('break_timeout=60')
    path = make('file', 16 * BLOCK)
    holder = Holder(MNT)
    pin = holder.pin(path, 0, 16 * BLOCK, READ)
    other = holder.pin(path, 0, BLOCK, READ)
    doer = Doer(os.truncate, path, 4 * BLOCK)
    kind, reason, number, file, offset, length, deadline = holder.event()
    assert (kind, reason, number) == (pinfs.RECALL, pinfs.UNMAP, holder.id(pin))
    assert file == os.stat(path).st_ino and (offset, length) == (4 * BLOCK, 12 * BLOCK)
    assert 0 < deadline - time.monotonic_ns() <= 60 * 10**9
    assert holder.event(0) is None, 'the other pin is not concerned'
    holder.unpin(pin)
    assert doer.result() == 0
    holder.unpin(other)
    holder.end()
    pool.finish()


def rule6_cached():
    """An idle cached pin goes without its holder's help, even if that is stopped; one in use rings at its end."""
    pool = Pool('break_timeout=inf')
    path = make('file', 16 * BLOCK)
    holder = Holder(MNT)
    pin = holder.pin(path, 0, BLOCK, READ | CACHED)
    holder.unpin(pin)
    for _ in range(3):
        holder.repin(pin)
        holder.unpin(pin)
    assert pool.pins('pins') == 1
    holder.kill(signal.SIGSTOP)
    assert Doer(punch, path, 0, BLOCK).result() == 0
    holder.kill(signal.SIGCONT)
    refused(errno.ESTALE, holder.repin, pin)
    holder.forget(pin)
    busy = holder.pin(path, 4 * BLOCK, BLOCK, READ | CACHED)
    holder.repin(busy)
    doer = Doer(punch, path, 4 * BLOCK, BLOCK)
    pool.waiting()
    refused(errno.ESTALE, holder.repin, busy)
    holder.unpin(busy)
    assert doer.running()
    holder.unpin(busy)
    assert doer.result() == 0
    holder.end()
    pool.quiet()
    pool.finish()


# ---- Rule 7: bounded ----

def rule7_detach():
    """The timeout detaches: the operation is done, the holder keeps its bytes, edges are copied."""
    pool = Pool('break_timeout=0.05')
    path = make('file', 4 * BLOCK)
    holder = Holder(MNT)
    pin = holder.pin(path, 0, 4 * BLOCK, WRITE)
    assert Doer(os.truncate, path, BLOCK + 100).result() == 0
    assert os.stat(path).st_size == BLOCK + 100
    assert read(path) == b'a' * (BLOCK + 100)
    assert holder.load(pin, 0, 4 * BLOCK) == b'a' * 4 * BLOCK, 'the holder keeps what it had'
    assert holder.event()[0] == pinfs.RECALL
    lost = set()
    while len(lost) < 3:  # told in one event, or in several
        event = holder.event()
        assert event[0:2] == (pinfs.DETACHED, pinfs.UNMAP), event
        lost |= set(range(event[4] // BLOCK, (event[4] + event[5]) // BLOCK))
    assert lost == {1, 2, 3}
    holder.store(pin, BLOCK, b'z' * BLOCK)
    holder.persist(pin)
    os.truncate(path, 2 * BLOCK)
    assert read(path) == b'a' * (BLOCK + 100) + bytes(BLOCK - 100)
    holder.store(pin, 0, b'kept')
    holder.commit(pin, 0, 4)
    assert read(path, 0, 5) == b'kepta'
    refused(errno.ESTALE, holder.commit, pin, 0, 2 * BLOCK)
    assert pool.pins('limbo_bytes') == 3 * BLOCK
    holder.unpin(pin)
    pool.quiet()
    for name, door in DOORS.items():
        path = make(name)
        pin = holder.pin(path, 0, 8 * BLOCK, WRITE)
        assert Doer(door, path).result() == 0, name
        assert holder.load(pin, 0, 8 * BLOCK) == b'a' * 8 * BLOCK, f'{name}: the holder lost bytes'
        data = read(path)
        holder.store(pin, 0, b'!' * BLOCK)
        holder.persist(pin)
        assert read(path) == data, f'{name}: a detached holder stores into the file'
        holder.unpin(pin)
    pool.quiet()
    pool.finish()


def rule7_fail():
    pool = Pool('break_timeout=0.05,break_policy=fail')
    holder = Holder(MNT)
    for name, door in DOORS.items():
        path = make(name)
        before = (read(path), os.stat(path))
        pin = holder.pin(path, 0, BLOCK, READ)
        assert Doer(door, path).result() == errno.EBUSY, name
        after = os.stat(path)
        assert (read(path), after.st_size, after.st_blocks, after.st_mtime_ns) == \
            (before[0], before[1].st_size, before[1].st_blocks, before[1].st_mtime_ns), name
        holder.unpin(pin)
        assert Doer(door, path).result() == 0, name
    assert pool.pins('detaches') == 0
    pool.quiet()
    pool.finish()


# ---- Rule 8: interruptible ----

def rule8_interrupt():
    pool = Pool('break_timeout=inf')
    holder = Holder(MNT)

    for name in ('truncate', 'punch', 'zero_range'):
        path = make(name)
        before = read(path)
        pin = holder.pin(path, 0, BLOCK, READ)
        for number in (signal.SIGINT, signal.SIGKILL):
            doer = Doer(DOORS[name], path)
            pool.waiting()
            doer.signal(number)
            assert doer.result() != 0
            until(lambda: pool.pins('waiting') == 0, 'nothing waits any more')
            assert read(path) == before
            assert os.stat(path).st_size == len(before)
        holder.unpin(pin)
    assert pool.pins('interrupts') >= 6
    pool.quiet()
    pool.finish()


def truncate_once(path):
    """With a handler that lets the system call end: Python itself would call again."""
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    signal.siginterrupt(signal.SIGUSR1, True)
    if LIBC.truncate(os.fsencode(path), ctypes.c_long(0)) != 0:
        raise OSError(ctypes.get_errno(), 'truncate')


def rule8_eintr():
    pool = Pool('break_timeout=inf')
    path = make('file')
    before = os.stat(path)
    holder = Holder(MNT)
    pin = holder.pin(path, 0, BLOCK, READ)
    doer = Doer(truncate_once, path)
    pool.waiting()
    doer.signal(signal.SIGUSR1)
    assert doer.result() == errno.EINTR
    after = os.stat(path)
    assert (after.st_size, after.st_blocks, after.st_mtime_ns) == (before.st_size, before.st_blocks, before.st_mtime_ns)
    holder.unpin(pin)
    assert Doer(truncate_once, path).result() == 0
    pool.quiet()
    pool.finish()


# ---- Item 9: who has the space ----

def limbo_is_named():
    """A full filesystem with blocks in limbo: the log says who holds them."""
    pool = Pool('break_timeout=0', data='16M')
    path = make('file', 4 << 20)
    pool.umount()
    with open(CASE + '/log', 'wb') as log:
        daemon = subprocess.Popen(['pinfs', 'mount', '-f', '-o', 'break_timeout=0', META, MNT], stderr=log)
    until(lambda: os.path.exists(path), 'it is mounted')
    holder = Holder(MNT)
    holder.pin(path, 0, 4 << 20, READ)
    os.truncate(path, 0)
    fill(pool)
    text = open(CASE + '/log').read()
    print(text)
    assert 'limbo' in text and str(holder.pid) in text
    holder.end()
    run('umount', MNT)
    assert daemon.wait(WAIT) == 0
    pool.fsck()


# ---- Item 2: many waiters ----

def all_sleep(pid, count):
    """True if that process has so many threads beside the first, and each is in a system call that waits."""
    states = []
    for thread in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{thread}/stat', encoding='ascii') as file:
            states.append(file.read().rsplit(') ', 1)[1][0])
    return len(states) == count + 1 and set(states) <= {'S', 'D'}


def await_recalls(session, count):
    """Until so many pins are in somebody's way. The mount is asked for nothing: that could help a request on."""
    recalled = set()
    while len(recalled) < count:
        event = session.event()
        assert event is not None, f'{len(recalled)} of {count} pins were recalled'
        assert event[0] == pinfs.RECALL, event
        recalled.add(event[2])


def held_at_once():
    """All requests are there before the first is taken: over io_uring more than a core's queue has entries."""
    many_waiters(200, at_once=True)


def many_waiters(count=int(os.environ.get('MT_WAITERS', '10000')), at_once=False):
    """Truncates of so many files wait: no thread more, everything else goes on, all are answered."""
    pool = Pool('break_timeout=inf', data='256M', meta='64M')
    os.mkdir(MNT + '/d')
    session = Session(MNT)
    pins = []
    for i in range(count):
        path = f'{MNT}/d/{i}'
        with open(path, 'wb') as file:
            file.write(b'a')
        pins.append(session.pin(path, 0, 1, READ))
    threads = len(os.listdir(f'/proc/{pool.daemon}/task'))
    if at_once:
        os.kill(pool.daemon, signal.SIGSTOP)
    waiter = subprocess.Popen(['waiters', MNT + '/d', str(count)])
    if at_once:
        until(lambda: all_sleep(waiter.pid, count), f'{count} truncates have been sent')
        os.kill(pool.daemon, signal.SIGCONT)
        await_recalls(session, count)
    pool.waiting(count)
    now = len(os.listdir(f'/proc/{pool.daemon}/task'))
    assert now <= max(threads, 64), f'{now} threads, and {threads} before'
    make('elsewhere', 1 << 20)
    assert read(MNT + '/elsewhere') == b'a' * (1 << 20)
    os.mkdir(MNT + '/e')
    for pin in pins:
        session.unpin(pin)
    assert waiter.wait(2 * WAIT) == 0
    for i in range(count):
        assert os.stat(f'{MNT}/d/{i}').st_size == 0
    assert pool.pins('timeouts') == 0
    session.disconnect()
    pool.quiet()
    pool.finish()
