"""The daemon is killed at random moments under a load that knows what it was told.

kill.py ROUNDS OPTIONS SEED   several processes make all kinds of changes, each in a folder of its own (kill_load.py), one
                              pins; after each kill: fsck, mount, and all of it is as they were told

Seen to fail with these bugs: setxattr answered 5 ms before it is done; pins not recorded; orphans not evicted by the next
mount. Not seen, in 170 rounds: stores without an undo log, setxattr answered just before it is done: the moment is too short
to be hit by chance. tests/crash is for those: it takes each.
"""
import os
import pickle
import random
import subprocess
import sys
import threading
import time

import kill_load
from pins_pool import MNT, Pool, until
from pinfs import BLOCK, READ, WRITE, Holder

CASE = os.environ['MT_CASE']
WORKERS = 3
PINNED_BLOCKS = 32
PINS_MAX = 6


class Load:
    """The processes that change files."""

    def __init__(self):
        self.trees = [kill_load.Tree() for _ in range(WORKERS)]
        self.answers = 0
        for i in range(WORKERS):
            os.mkdir(f'{MNT}/{i}')

    def start(self, seed):
        self.starts, self.processes = [], []
        for i, tree in enumerate(self.trees):
            self.starts.append(pickle.dumps(tree))
            with open(f'{CASE}/journal{i}.start', 'wb') as file:
                file.write(self.starts[-1])
            command = [sys.executable, kill_load.__file__, f'{MNT}/{i}', f'{CASE}/journal{i}', f'{seed}{i}']
            self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))

    def running(self):
        return all(process.poll() is None for process in self.processes)

    def begun(self):
        """All of them have had their first answers."""
        return all(os.path.exists(f'{CASE}/journal{i}') and os.stat(f'{CASE}/journal{i}').st_size > 100 for i in range(WORKERS))

    def end(self):
        for process in self.processes:
            assert process.wait(60) == 0, 'a process of the load has failed'

    def verify(self, loose):
        for i in range(WORKERS):
            self.trees[i], count = kill_load.verify(f'{MNT}/{i}', self.starts[i], f'{CASE}/journal{i}', loose)
            self.answers += count
            os.unlink(f'{CASE}/journal{i}')


class Pins:
    """A holder that outlives all daemons, and what it must have."""

    def __init__(self):
        self.path = f'{MNT}/pinned'
        self.data = bytearray(os.urandom(PINNED_BLOCKS * BLOCK))
        with open(self.path, 'wb') as file:
            file.write(self.data)
            os.fsync(file.fileno())
        self.holder = Holder(MNT)
        self.held = {}
        self.changes = 0

    def start(self, seed):
        self.stop, self.error = threading.Event(), None
        # A daemon: a round that fails ends the test, whatever this does.
        self.thread = threading.Thread(target=self.run, args=(random.Random(seed),), daemon=True)
        self.thread.start()

    def run(self, rng):
        try:
            while not self.stop.is_set():
                self.step(rng)
                self.changes += 1
        except OSError as error:
            if error.errno not in kill_load.GONE or not self.stop.is_set():
                self.error = error
        except Exception as error:  # pylint: disable=broad-except # told by end()
            self.error = error

    def step(self, rng):
        if self.held and (len(self.held) == PINS_MAX or rng.random() < 0.3):
            pin = rng.choice(sorted(self.held))
            self.holder.start('unpin', pin)
            # Answered or not: it is not held any more.
            del self.held[pin]
            self.holder.result()
        elif self.held and rng.random() < 0.6:
            self.store(rng, rng.choice(sorted(self.held)))
        else:
            self.take(rng)

    def take(self, rng):
        first = rng.randrange(PINNED_BLOCKS)
        length = rng.randrange(1, PINNED_BLOCKS - first + 1) * BLOCK
        flags = rng.choice((READ, READ | WRITE))
        pin = self.holder.pin(self.path, first * BLOCK, length, flags)
        self.held[pin] = (first * BLOCK, length, flags, self.holder.extents(pin))

    def store(self, rng, pin):
        offset, length, flags, _ = self.held[pin]
        if not flags & WRITE:
            return
        at, data = rng.randrange(length), rng.randbytes(rng.randrange(1, 3000))
        data = data[:length - at]
        self.data[offset + at:offset + at + len(data)] = data
        self.holder.store(pin, at, data)
        self.holder.persist(pin, at, len(data))
        self.holder.commit(pin, at, len(data))

    def end(self):
        self.thread.join(90)
        assert not self.thread.is_alive(), 'the holder hangs'
        if self.error is not None:
            raise self.error

    def verify(self, pool):
        # Whatever it asks for, it finds the new daemon by it.
        self.holder.unpin(self.holder.pin(self.path, 0, BLOCK, READ))
        until(lambda: pool.pins('pins') == len(self.held), f'the daemon knows {len(self.held)} pins')
        for pin, (offset, length, _, extents) in self.held.items():
            assert self.holder.extents(pin) == extents, f'pin of {offset}+{length} is elsewhere'
            assert self.holder.load(pin, 0, length) == self.data[offset:offset + length], f'pin of {offset}+{length}: bytes'
        assert self.holder.event(0) is None, 'a pin was taken away'
        with open(self.path, 'rb') as file:
            assert file.read() == self.data, 'the pinned file'

    def drop(self):
        for pin in self.held:
            self.holder.unpin(pin)
        self.held = {}


def round_(pool, load, pins, rng, loose):
    load.start(rng.getrandbits(30))
    pins.start(rng.getrandbits(30))
    until(lambda: load.begun() or not load.running(), 'the load begins')
    # The moment is by chance, not awaited.
    time.sleep(rng.uniform(0, 0.4))
    assert load.running(), 'a process of the load has ended by itself'
    pins.stop.set()
    pool.kill()
    load.end()
    pool.fsck()
    pool.mount()
    pins.end()
    load.verify(loose)
    pins.verify(pool)


def used(pool):
    status = pool.status()
    return status['space']['used_bytes'], status['inodes']['used'], status['pins']['canaries'], status['space']['bad_frees']


def tidy_up(pool, load, pins, before):
    """Nothing is left over."""
    pins.drop()
    for i in range(WORKERS):
        subprocess.run(['rm', '-rf', f'{MNT}/{i}'], check=True)
    os.unlink(pins.path)
    pool.quiet()
    until(lambda: used(pool) == before, f'as many blocks and inodes are used as before: {before}')
    pins.holder.end()
    pool.finish()
    print(f'{load.answers} answered operations and {pins.changes} of pins')


def main():
    rounds, options, seed = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    rng = random.Random(seed)
    pool = Pool(options, data='96M')
    before = used(pool)
    load, pins = Load(), Pins()
    for i in range(rounds):
        print(f'round {i} of seed {seed}', flush=True)
        round_(pool, load, pins, rng, 'writeback' in options)
        if i % 8 == 7:
            # A clean unmount, too: its pins are kept for who lives.
            pins.drop()
            pool.quiet()
            pool.umount()
            pool.fsck()
            pool.mount()
    tidy_up(pool, load, pins, before)


main()
