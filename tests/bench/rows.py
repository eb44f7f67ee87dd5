"""The table: what is measured, on which filesystems, and the aims (of the project; they are no tests)."""
from dataclasses import dataclass, field

# FUSE peers by what they have in common; each row counts the best of them.
READERS = ['memfs', 'memfs-clone', 'memfs-uring', 'hp', 'hp-uring', 'hp-single', 'pmemobjfs']
PAST_CACHE = ['memfs-direct', 'memfs-direct-uring', 'hp-direct', 'hp-direct-uring', 'hp-direct-nosplice']
THROUGH = ['memfs', 'memfs-clone', 'memfs-uring', 'hp-through', 'hp-through-uring', 'hp-direct', 'hp-direct-uring',
           'pmemobjfs']
NAMES = ['memfs', 'memfs-clone', 'memfs-uring', 'hp', 'hp-uring', 'hp-single', 'pmemobjfs']


@dataclass
class Aim:
    """pinfs beside `peer` ('fuse': the best FUSE peer; None: the value itself), at least or at most `number`."""
    number: float
    peer: str = None
    at_most: bool = False


@dataclass
class Row:
    key: str  # of what the program prints
    title: str
    unit: str  # op/s, MiB/s: more is better; ns, us, ms, s, MiB, B: less is; MiB huge: told only
    aims: list = field(default_factory=list)
    case: object = None

    @property
    def less_is_better(self):
        return self.unit in ('ns', 'us', 'ms', 's', 'MiB', 'B')


@dataclass
class Case:
    """One call of a program: `arguments` gets the place and the system. Without a program: a function of special.py."""
    name: str
    group: str
    program: str
    arguments: object
    rows: list
    pinfs: str = 'pinfs'
    peers: list = field(default_factory=list)
    fuse: list = field(default_factory=list)
    slow: bool = False  # with --quick only pinfs
    rounds: int = None  # less than the others

    def systems(self):
        return [self.pinfs] + self.peers + self.fuse


def at_least(number, peer):
    return Aim(number, peer)


def at_most(number, peer=None):
    return Aim(number, peer, at_most=True)


def reads(place, system, *steps):
    direct = ['--direct'] if system.direct else []
    return [*direct, f'{system.run_in()}/f', place.sizes['read'], *steps]


def writes(block, size, *steps):
    return lambda place, system: [f'{system.run_in()}/f', place.sizes[size], block, *steps]


def names(count, *steps):
    return lambda place, system: [system.run_in(), place.sizes[count], *steps]


def fuse(number):
    return at_least(number, 'fuse')


def write_case(name, mode, pinfs, peers, fuse_peers, aims_small, aims_large):
    """The four kinds of write, in one cache mode."""
    suffix = f', {mode}' if mode else ''
    return [
        Case(f'{name}-4k', 'writes', 'writes', writes(4096, 'write4k', 'overwrite', 'append'),
             [Row('overwrite', f'4 KiB overwrite{suffix}', 'op/s', aims_small),
              Row('append', f'4 KiB append{suffix}', 'op/s', aims_small)], pinfs, peers, fuse_peers),
        Case(f'{name}-1m', 'writes', 'writes', writes(1 << 20, 'write1m', 'overwrite', 'append'),
             [Row('overwrite', f'1 MiB overwrite{suffix}', 'MiB/s', aims_large),
              Row('append', f'1 MiB append{suffix}', 'MiB/s', aims_large)], pinfs, peers, fuse_peers),
    ]


CASES = [
    Case('read-warm', 'reads', 'reads', lambda p, s: reads(p, s, 'random', 'random2', 'sequential'),
         [Row('random', '4 KiB random read, cached', 'op/s', [at_least(0.95, 'tmpfs')]),
          Row('random2', '4 KiB random read, cached, 2 threads', 'op/s', [at_least(0.95, 'tmpfs')]),
          Row('sequential', '1 MiB sequential read, cached', 'MiB/s')], 'pinfs', ['tmpfs'], ['memfs', 'hp']),
    Case('read-cold', 'reads', 'reads', lambda p, s: reads(p, s, 'cold', 'cold', 'cold'),
         [Row('cold', '1 MiB sequential read, cold', 'MiB/s', [fuse(1.2)])],
         'pinfs', ['tmpfs', 'ext4', 'hp-kernel'], READERS),
    Case('read-none', 'reads', 'reads', lambda p, s: reads(p, s, 'random', 'random2', 'sequential'),
         [Row('random', '4 KiB random read, cache=none', 'op/s', [fuse(1.2)]),
          Row('random2', '4 KiB random read, cache=none, 2 threads', 'op/s', [fuse(1.2)]),
          Row('sequential', '1 MiB sequential read, cache=none', 'MiB/s', [fuse(1.2)])],
         'pinfs-none', ['tmpfs'], PAST_CACHE),
    *write_case('write', '', 'pinfs', ['tmpfs', 'ext4'], THROUGH, [fuse(1.2)], [fuse(1.2)]),
    *write_case('write-none', 'cache=none', 'pinfs-none', [], THROUGH, [], []),
    *write_case('write-back', 'cache=writeback', 'pinfs-writeback', ['tmpfs', 'hp-kernel'], ['hp', 'hp-uring'],
                [at_least(0.8, 'tmpfs')], []),
    Case('look', 'names', 'names', names('look', 'open', 'stat', 'list'),
         [Row('open', 'open+close, cached', 'op/s', [at_least(0.9, 'tmpfs')]),
          Row('stat', 'stat, cached', 'op/s', [at_least(0.9, 'tmpfs')]),
          Row('list', 'readdir+stat, cached', 'op/s', [at_least(0.9, 'tmpfs')])],
         'pinfs', ['tmpfs', 'ext4'], ['memfs', 'hp']),
    Case('change', 'names', 'names', names('change', 'create', 'unlink', 'rename', 'mkdir', 'rmdir'),
         [Row(key, key, 'op/s', [fuse(2), at_least(0.7, 'ext4')])
          for key in ('create', 'unlink', 'rename', 'mkdir', 'rmdir')], 'pinfs', ['tmpfs', 'ext4'], NAMES),
    Case('link', 'names', 'names', names('change', 'link'),  # pmemobjfs cannot
         [Row('link', 'link', 'op/s', [fuse(2), at_least(0.7, 'ext4')])], 'pinfs', ['tmpfs', 'ext4'], NAMES[:-1]),
    Case('tree', 'trees', None, 'tree',
         [Row('untar', 'untar of 20,000 files', 's', [at_most(1.15, 'ext4')]),
          Row('remove', 'rm -rf of 20,000 files', 's', [at_most(1.15, 'ext4')])],
         'pinfs', ['tmpfs', 'ext4'], ['memfs', 'hp']),
    Case('build', 'trees', None, 'build', [Row('build', 'building pinfs, ninja -j2', 's', [at_most(1.15, 'ext4')])],
         'pinfs', ['tmpfs', 'ext4'], ['hp'], slow=True, rounds=3),
    Case('pin-calls', 'pins', 'pins_calls', lambda p, s: [s.folder, 'cached', 'first'],
         [Row('cached', 'cached pin+unpin', 'ns', [at_most(50)]),
          Row('revoked', 'cached pin+unpin, broken at 1 kHz', 'ns'),
          Row('pin-4k', 'first pin of 4 KiB', 'us', [at_most(1.3, 'socket')]),
          Row('pin-2m', 'first pin of 2 MiB', 'us', [at_most(1.3, 'socket')]),
          Row('pin-64m', 'first pin of 64 MiB', 'us', [at_most(1.3, 'socket')]),
          Row('unpin-4k', 'unpin of 4 KiB', 'us', [at_most(1.3, 'socket')]),
          Row('unpin-64m', 'unpin of 64 MiB', 'us', [at_most(1.3, 'socket')])]),
    Case('pin-memory', 'pins', 'pins_memory', lambda p, s: [s.folder, s.data, p.plain()],
         [Row('store', 'memcpy to a pin, 64 MiB', 'MiB/s', [at_least(0.97, 'raw')]),
          Row('load', 'memcpy from a pin, 64 MiB', 'MiB/s', [at_least(0.97, 'raw')]),
          Row('touch', 'loads through a pin', 'MiB/s', [at_least(0.97, 'raw')]),
          Row('random', '4 KiB random read through a pin', 'op/s', [at_least(0.97, 'raw'), at_least(4, 'tmpfs')]),
          Row('huge', 'of 64 MiB, in 2 MiB pages', 'MiB huge')]),
    Case('rdma', 'rdma', 'rdma', lambda p, s: [s.folder],
         [Row('remote-write', 'remote write, 1 MiB, 8 in flight', 'MiB/s', [at_least(0.95, 'raw')]),
          Row('remote-read', 'remote read, 1 MiB, 8 in flight', 'MiB/s', [at_least(0.95, 'raw')]),
          Row('remote-write-4k', 'remote write, 4 KiB', 'us', [at_most(1.05, 'raw')]),
          Row('remote-read-4k', 'remote read, 4 KiB', 'us', [at_most(1.05, 'raw')]),
          Row('put-4k', 'remote write and commit, 4 KiB', 'us', [at_most(8, 'raw')]),
          Row('put-64m', 'remote write and commit, 64 MiB', 'MiB/s', [at_least(0.8, 'raw')]),
          Row('register-4k', 'pin, register and end, 4 KiB', 'us'),
          Row('register-64m', 'pin, register and end, 64 MiB', 'us'),
          Row('put-anew', 'write and commit of 4 KiB, registered anew', 'us', [at_most(5, 'kept')])]),
    Case('crowd', 'crowd', 'pins_crowd', lambda p, s: [s.folder, p.sizes['pins'], p.sizes['breaks']],
         [Row('read', '4 KiB read, 100,000 pins, 10,000 breaks', 'op/s', [at_least(0.95, 'quiet')]),
          Row('write', '4 KiB write, 100,000 pins, 10,000 breaks', 'op/s', [at_least(0.95, 'quiet')]),
          Row('create', 'create+unlink, 100,000 pins, 10,000 breaks', 'op/s', [at_least(0.95, 'quiet')])],
         'pinfs-crowd', rounds=3),
    Case('mount', 'mount', None, 'mount', [], rounds=1),  # its rows: set_mount_counts()
    Case('memory', 'memory', None, 'memory',
         [Row('idle', 'daemon: memory when idle', 'MiB', [at_most(30)]),
          Row('inode', 'daemon: memory per cached inode', 'B', [at_most(256)]),
          Row('sparse', 'daemon: memory, 1 TiB sparse pool', 'MiB', [at_most(30)]),
          Row('media', 'tmpfs used by the 1 TiB sparse pool', 'MiB')], rounds=1),
]


def own_rows(case):
    for row in case.rows:
        row.case = case


for each_case in CASES:
    own_rows(each_case)


def set_mount_counts(counts):
    """The rows of the case `mount`: two for each number of files."""
    case = next(case for case in CASES if case.name == 'mount')
    for count in counts:
        full = count == 1000000
        case.rows += [
            Row(f'clean-{count}', f'mount, {count:,} files, clean', 'ms', [at_most(300)] if full else []),
            Row(f'killed-{count}', f'mount, {count:,} files, after SIGKILL', 'ms', [at_most(2000)] if full else [])]
    own_rows(case)


# Of each size: the default, and --quick.
SIZES = {
    'read': (64 << 20, 8 << 20),
    'write4k': (16 << 20, 1 << 20),
    'write1m': (32 << 20, 8 << 20),
    'look': (2016, 192),
    'change': (4000, 192),
    'tree': (20000, 400),
    'pins': (100000, 200),
    'breaks': (10000, 50),
    'inodes': (100000, 1000),
}
