"""Signals at each phase of a mount's start.

start.py WHOM SIGNAL STEPS META MOUNTPOINT    WHOM: daemon, or parent (the process that the user waits for)

Mounts again and again; each time the signal comes at another moment: at each event of the start, then at STEPS moments
spread over the time that a start takes. Whatever the moment: the daemon ends by itself, or serves until it is
unmounted; nothing is left mounted, and the process that was not killed says what happened. Prints the outcomes.
"""
import collections
import os
import select
import signal
import subprocess
import sys
import time

from calls import equal

WHOM, SIGNAL, STEPS, META, MOUNTPOINT = sys.argv[1:]
LIMIT = 30.0


def contents(path):
    try:
        with open(path, 'rb') as file:
            return file.read()
    except OSError:  # it has just ended
        return b''


def processes():
    """Those that were called with the mountpoint, and have not ended."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        if os.fsencode(MOUNTPOINT) in contents(f'/proc/{pid}/cmdline').split(b'\0') and int(pid) != os.getpid():
            found.append(int(pid))
    return found


def child_of(pid):
    """The daemon, for as long as the process waits for it."""
    children = contents(f'/proc/{pid}/task/{pid}/children').split()
    return int(children[0]) if children else None


def has_open(pid, path):
    try:
        return any(os.readlink(f'/proc/{pid}/fd/{fd}') == path for fd in os.listdir(f'/proc/{pid}/fd'))
    except OSError:
        return False


def is_mounted():
    return os.fsencode(f' {MOUNTPOINT} ') in contents('/proc/self/mountinfo')


def until(condition, process):
    """Looks without a pause, so as to be as close behind the event as can be. False if the start was over first."""
    while not condition():
        if process.poll() is not None:
            return False
    return True


def spent(seconds):
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def ends(fd):
    return bool(select.select([fd], [], [], LIMIT)[0])


def settle():
    """Until no daemon runs: one that serves is unmounted."""
    end = time.monotonic() + LIMIT
    unmounted = False
    while (left := processes()):
        assert time.monotonic() < end, f'process {left} neither serves nor ends'
        if is_mounted():
            unmounted |= subprocess.run(['umount', MOUNTPOINT], check=False, stderr=subprocess.DEVNULL).returncode == 0
    if is_mounted():
        assert (WHOM, SIGNAL) == ('daemon', 'SIGKILL'), 'the daemon has ended, its mount has not'
        subprocess.run(['umount', MOUNTPOINT], check=True)
    return unmounted


def start_and_signal(name, reached):
    """reached(parent, daemon) says when."""
    with subprocess.Popen(['pinfs', 'mount', META, MOUNTPOINT], stderr=subprocess.PIPE) as process:
        daemon = None

        def forked():
            nonlocal daemon
            daemon = child_of(process.pid)
            return daemon is not None

        started = until(forked, process)
        started = started and until(lambda: reached(process.pid, daemon), process)
        if started:
            try:
                os.kill(daemon if WHOM == 'daemon' else process.pid, getattr(signal, SIGNAL))
            except ProcessLookupError:
                pass
        said = process.communicate(timeout=LIMIT)[1].decode()
    status = process.returncode
    if WHOM == 'daemon' or not started:
        assert status == 0 or (status == 1 and MOUNTPOINT in said), f'{name}: status {status}: {said}'
    else:
        assert status in (0, -getattr(signal, SIGNAL)), f'{name}: status {status}: {said}'
    # A daemon that was told to end does, if the signal reached it.
    if WHOM == 'daemon' and started:
        wait_for_end(name)
    unmounted = settle()
    return f'status {status}' + (', served' if unmounted else '')


def wait_for_end(name):
    for pid in processes():
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        assert ends(fd), f'{name}: the daemon {pid} does not end'
        os.close(fd)


def duration():
    begin = time.monotonic()
    subprocess.run(['pinfs', 'mount', META, MOUNTPOINT], check=True)
    end = time.monotonic()
    equal(settle(), True, 'a start without a signal')
    return end - begin


def main():
    whole = duration()
    moments = [('forked', lambda parent, daemon: True),
               ('pool open', lambda parent, daemon: has_open(daemon, META)),
               ('session open', lambda parent, daemon: has_open(daemon, '/dev/fuse')),
               ('mounted', lambda parent, daemon: is_mounted())]
    outcomes = collections.Counter()
    for name, reached in moments:
        outcomes[f'{name}: {start_and_signal(name, reached)}'] += 1
    for i in range(int(STEPS)):
        over = spent(whole * 1.2 * i / int(STEPS))
        outcome = start_and_signal(f'step {i} of {STEPS}', lambda parent, daemon, over=over: over())
        outcomes[f'at a moment: {outcome}'] += 1
    for name, count in sorted(outcomes.items()):
        print(count, name)


main()
