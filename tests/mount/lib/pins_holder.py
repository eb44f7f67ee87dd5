"""Holders: death, the ledger, teardown (rules 10, 11, 13)."""
import errno
import mmap
import os
import select
import signal
import subprocess
import threading
import time

import pinfs
from pinfs import BLOCK, CACHED, READ, WAIT, WRITE, Holder, Session
from pins_pool import DATA, Doer, LIBC, META, MNT, Pool, best_latency, fill, keeps_its_blocks, make, punch, read, refused, run, until, verify

# ---- Rule 10: death ----

def hold(path, flags, then, *args):
    """A process that pins and then does something; returns when it says that it is about to."""
    reader, writer = os.pipe()
    doer = Doer(_hold, path, flags, writer, then, *args)
    os.close(writer)
    assert os.read(reader, 1) == b'x', 'the holder could not pin'
    os.close(reader)
    return doer


def _hold(path, flags, writer, then, *args):
    session = Session(MNT)
    pin = session.pin(path, 0, BLOCK, flags)
    then(session, pin, path, lambda: os.write(writer, b'x'), *args)


def sleeping(session, pin, path, ready):
    ready()
    signal.pause()


def in_write(session, pin, path, ready):
    fd = os.open(path, os.O_RDWR)
    ready()
    while True:  # The kernel queues it behind the truncate.
        os.pwrite(fd, b'w' * BLOCK, 0)


def closing_dirty(session, pin, path, ready):
    while True:
        fd = os.open(path, os.O_RDWR)
        with mmap.mmap(fd, BLOCK) as page:
            page[0:4] = b'dirt'
            if ready is not None:
                ready()
                ready = None
            page.flush()
        os.close(fd)


def stopped(session, pin, path, ready):
    ready()
    os.kill(os.getpid(), signal.SIGSTOP)
    signal.pause()


def traced(session, pin, path, ready):
    """By its own child, which has stopped it."""
    if os.fork() == 0:
        LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        assert LIBC.ptrace(16, os.getppid(), None, None) == 0  # PTRACE_ATTACH
        os.waitpid(os.getppid(), 0x40000000)  # __WALL
        ready()
        signal.pause()
    signal.pause()


def leader_gone(session, pin, path, ready):
    def rest():
        until(lambda: 'Z (zombie)' in open(f'/proc/self/task/{os.getpid()}/status').read(), 'the leader is gone')
        ready()
        signal.pause()
    threading.Thread(target=rest).start()
    LIBC.syscall(60, 0)  # exit(2) of this thread only


def child_alive(session, pin, path, ready):
    if os.fork() == 0:
        os.setsid()
        signal.alarm(2 * WAIT)
        signal.pause()
        os._exit(0)
    ready()
    signal.pause()


def execs(session, pin, path, ready):
    os.set_inheritable(1, True)
    ready()
    os.execv('/bin/sleep', ['sleep', str(2 * WAIT)])


def rule10_death():
    pool = Pool('break_timeout=inf')
    for how in (sleeping, in_write, closing_dirty, stopped, leader_gone, child_alive, traced):
        def once(how=how):
            path = make(how.__name__)
            holder = hold(path, READ, how)
            doer = Doer(os.truncate, path, 0)
            pool.waiting()
            start = time.monotonic()
            holder.signal(signal.SIGKILL)
            assert doer.result() == 0, how.__name__
            holder.result()
            return doer.ended - start
        print(f'{how.__name__}: {best_latency(3, once) * 1000:.1f} ms', flush=True)
    # exec takes the mapping away, not the process: the pin stays until that ends.
    path = make('exec')
    holder = hold(path, READ, execs)
    doer = Doer(os.truncate, path, 0)
    pool.waiting()
    holder.signal(signal.SIGKILL)
    assert doer.result() == 0
    holder.result()
    pool.quiet()
    pool.finish()


def rule10_leader_gone_lives():
    """A process whose leader has exited is alive: nobody takes its blocks."""
    pool = Pool('break_timeout=inf')
    path = make('file')
    holder = hold(path, READ, leader_gone)
    doer = Doer(os.truncate, path, 0)
    pool.waiting()
    assert not select.select([doer.pidfd], [], [], 0.5)[0], 'the truncate did not wait for a living process'
    holder.signal(signal.SIGKILL)
    assert doer.result() == 0
    holder.result()
    pool.finish()


# ---- Rule 11: the ledger ----

def rule11_daemon_killed():
    """The daemon is killed while a file is pinned and another pin is in limbo; the holder goes on, and so do its pins."""
    pool = Pool('break_timeout=0', data='24M')
    size = 1 << 20
    path, gone = make('file', size), make('gone', size)
    holder = Holder(MNT)
    pin = holder.pin(path, 0, size, WRITE)
    limbo = holder.pin(gone, 0, size, WRITE)
    os.unlink(gone)
    until(lambda: pool.pins('limbo_bytes') == size, 'the inode is evicted')
    pool.kill()
    holder.store(pin, 0, b'b' * size)
    holder.persist(pin)
    pool.mount()
    assert pool.pins('pins') == 2 and pool.pins('limbo_bytes') == size
    # Before it comes back: nobody gets its blocks.
    os.unlink(path)
    sums = fill(pool)
    holder.event(0.3)
    assert holder.load(pin, 0, size) == b'b' * size
    keeps_its_blocks(pool, holder, pin, size, sums)
    keeps_its_blocks(pool, holder, limbo, size, sums)
    holder.unpin(pin)
    holder.unpin(limbo)
    pool.quiet()
    assert os.statvfs(MNT).f_bfree == 2 * size // BLOCK
    holder.end()
    pool.finish()


def rule11_reclaim():
    """After the daemon's death the holder's next call finds the new one: pins, commits, cached pins go on."""
    pool = Pool('break_timeout=60')
    path = make('file', 16 * BLOCK)
    holder = Holder(MNT)
    pin = holder.pin(path, 0, BLOCK, WRITE)
    cached = holder.pin(path, 8 * BLOCK, BLOCK, READ | CACHED)
    holder.unpin(cached)
    pool.kill()
    pool.mount()
    holder.store(pin, 0, b'back')
    holder.commit(pin, 0, 4)
    assert read(path, 0, 5) == b'backa'
    holder.repin(cached)
    doer = Doer(punch, path, 8 * BLOCK, BLOCK)
    pool.waiting()
    holder.unpin(cached)
    assert doer.result() == 0
    holder.unpin(pin)
    holder.end()
    pool.quiet()
    pool.finish()


def rule11_dead_holder():
    """Holder and daemon die: the next mount frees what only the holder kept."""
    pool = Pool('break_timeout=0', data='24M')
    path = make('file', 1 << 20)
    free = os.statvfs(MNT).f_bfree
    holder = Holder(MNT)
    holder.pin(path, 0, 1 << 20, WRITE)
    os.unlink(path)
    until(lambda: pool.pins('limbo_bytes') == 1 << 20, 'the inode is evicted')
    pool.kill()
    holder.kill()
    holder.wait()
    pool.mount()
    assert pool.pins('pins') == 0
    until(lambda: os.statvfs(MNT).f_bfree == free + (1 << 20) // BLOCK, 'all is free')
    pool.finish()


def rule11_dies_later():
    """A holder that does not come back keeps its blocks until it dies."""
    pool = Pool('break_timeout=inf', data='24M')
    path = make('file', 1 << 20)
    holder = Holder(MNT)
    holder.pin(path, 0, 1 << 20, WRITE)
    holder.kill(signal.SIGSTOP)
    pool.kill()
    pool.mount()
    os.unlink(path)
    until(lambda: pool.pins('limbo_bytes') == 1 << 20, 'the inode is evicted')
    sums = fill(pool)
    verify(sums)
    assert pool.pins('limbo_bytes') == 1 << 20
    holder.kill()
    pool.quiet()
    pool.finish()


def rule11_mkfs():
    """mkfs --force respects a living holder."""
    pool = Pool()
    path = make('file')
    holder = Holder(MNT)
    holder.pin(path, 0, BLOCK, READ)
    pool.kill()
    got = subprocess.run(['pinfs', 'mkfs', '--force', '--meta-size', '32M', '--data', f'{DATA}:64M', META], capture_output=True,
                         text=True, stdin=subprocess.DEVNULL)
    print(got.stderr)
    assert got.returncode == 1 and str(holder.pid) in got.stderr, got
    pool.fsck()
    holder.kill()
    holder.wait()
    run('pinfs', 'mkfs', '--force', '--meta-size', '32M', '--data', f'{DATA}:64M', META)


# ---- Rule 13: teardown ----

def rule13_sigterm():
    pool = Pool('break_timeout=60')
    path = make('file')
    holder = Holder(MNT)
    pin = holder.pin(path, 0, BLOCK, WRITE)
    os.kill(pool.daemon, signal.SIGTERM)
    assert holder.event()[0] == pinfs.SHUTDOWN
    refused(errno.ESHUTDOWN, holder.pin, path, 0, BLOCK)
    holder.store(pin, 0, b'last')
    holder.commit(pin, 0, 4)
    holder.unpin(pin)
    pool.wait_ended()
    holder.end()
    pool.fsck()
    pool.mount()
    assert read(path, 0, 5) == b'lasta'
    pool.finish()


def rule13_umount_with_pins():
    """The wait is bounded; what stays pinned stays out of reach in the next mount, too."""
    pool = Pool('break_timeout=0.2', data='24M')
    size = 1 << 20
    path = make('file', size)
    holder = Holder(MNT)
    pin = holder.pin(path, 0, size, WRITE)
    pool.umount()
    pool.fsck()
    pool.mount()
    os.unlink(path)
    until(lambda: pool.pins('limbo_bytes') == size, 'the inode is evicted')
    keeps_its_blocks(pool, holder, pin, size)
    holder.unpin(pin)
    holder.end()
    pool.quiet()
    pool.finish()


def rule13_second_sigterm():
    pool = Pool('break_timeout=inf')
    path = make('file')
    holder = Holder(MNT)
    holder.pin(path, 0, BLOCK, WRITE)
    os.kill(pool.daemon, signal.SIGTERM)
    assert holder.event()[0] == pinfs.SHUTDOWN
    os.kill(pool.daemon, signal.SIGTERM)
    pool.wait_ended()
    holder.end()
    pool.fsck()


def rule13_remount_ro():
    pool = Pool()
    path = make('file')
    holder = Holder(MNT)
    pin = holder.pin(path, 0, BLOCK, WRITE)
    got = subprocess.run(['pinfs', 'mount', '-o', 'remount,ro', META, MNT], capture_output=True, text=True)
    print(got)
    assert got.returncode == 1, got
    make('still')
    holder.unpin(pin)
    holder.end()
    pool.finish()
