"""One process of the load that a daemon is killed under, and what must be there of it afterwards.

kill_load.py FOLDER JOURNAL SEED   works in FOLDER until the filesystem is gone. Each operation is written to JOURNAL, outside
                                   of the mount, before it begins ('B'), and again when it was answered ('E'). JOURNAL begins
                                   with what is there (pickled, in JOURNAL.start)
"""
import errno
import os
import pickle
import random
import sys

import calls

GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ENODEV)
FILES, FOLDERS, SIZE_MAX, WRITE_MAX = 16, 4, 200000, 60000
NAMES = 'abcdefgh'
ATTRIBUTES = ('user.a', 'user.b', 'user.c')


class File:
    """`versions`: contents since the last one that is known to be durable, that one first."""

    def __init__(self, data=b''):
        self.data = data
        self.versions = [data]
        self.xattrs = {}

    def put(self, data):
        self.data = bytes(data)
        self.versions.append(self.data)

    def synced(self):
        self.versions = [self.data]


class Tree:
    """Paths to files, or to None: folders. Two paths to one file are hard links."""

    def __init__(self):
        self.nodes = {}

    def files(self):
        return sorted(path for path, node in self.nodes.items() if node is not None)

    def folders(self):
        return sorted(path for path, node in self.nodes.items() if node is None)

    def apply(self, op):
        getattr(self, 'do_' + op[0])(*op[1:])

    def do_create(self, path):
        self.nodes[path] = File()

    def do_mkdir(self, path):
        self.nodes[path] = None

    def do_unlink(self, path):
        del self.nodes[path]

    do_rmdir = do_unlink

    def do_link(self, path, other):
        self.nodes[other] = self.nodes[path]

    def do_rename(self, path, other):
        moved = {name: node for name, node in self.nodes.items() if name == path or name.startswith(path + '/')}
        if self.nodes.get(other) is self.nodes[path] and self.nodes[path] is not None:
            return  # two names of one file: nothing happens
        for name in moved:
            del self.nodes[name]
        for name, node in moved.items():
            self.nodes[other + name[len(path):]] = node

    def do_write(self, path, offset, length, seed):
        file = self.nodes[path]
        data = bytearray(file.data.ljust(offset, b'\0'))
        data[offset:offset + length] = content(seed, length)
        file.put(data)

    def do_append(self, path, length, seed):
        self.do_write(path, len(self.nodes[path].data), length, seed)

    def do_truncate(self, path, size):
        self.nodes[path].put(self.nodes[path].data[:size].ljust(size, b'\0'))

    def do_clear(self, path, mode, offset, length):
        data = bytearray(self.nodes[path].data)
        end = min(offset + length, len(data))
        if offset < end:
            data[offset:end] = bytes(end - offset)
        self.nodes[path].put(data)

    def do_allocate(self, path, offset, length):
        pass

    def do_fsync(self, path):
        self.nodes[path].synced()

    def do_setxattr(self, path, name, length, seed):
        self.nodes[path].xattrs[name] = content(seed, length)

    def do_removexattr(self, path, name):
        del self.nodes[path].xattrs[name]


def content(seed, length):
    return random.Random(seed).randbytes(length)


def whole(done, length):
    """The kernel makes several requests of a large write: the end of the daemon may come between them."""
    if done != length:
        raise OSError(errno.EIO, f'{done} of {length} bytes')


class Worker:
    def __init__(self, folder, journal, seed, tree):
        self.tree = tree
        self.rng = random.Random(seed)
        self.journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        # From here all paths are: where the dead mount was there is another folder.
        os.chdir(folder)

    # ---- Which operation is next: one that must succeed, or None ----

    def new_name(self):
        folder = self.rng.choice([''] + [path + '/' for path in self.tree.folders()])
        name = folder + self.rng.choice(NAMES) + str(self.rng.randrange(10))
        return None if name in self.tree.nodes else name

    def file(self):
        files = self.tree.files()
        return self.rng.choice(files) if files else None

    def pick(self):
        kind = self.rng.choice(('create', 'create', 'write', 'write', 'write', 'append', 'append', 'truncate', 'rename', 'rename',
                                'link', 'unlink', 'unlink', 'mkdir', 'rmdir', 'fsync', 'fsync', 'setxattr', 'removexattr',
                                'clear', 'allocate'))
        path = self.file()
        if path is None or len(self.tree.nodes) > FILES + FOLDERS:
            kind = 'create' if path is None else 'unlink'
        args = getattr(self, 'pick_' + kind, self.pick_path)(path)
        return None if args is None else (kind, *args)

    def pick_path(self, path):
        return (path,)

    def pick_create(self, _):
        name = self.new_name()
        return name and (name,)

    def pick_mkdir(self, _):
        name = f'd{self.rng.randrange(FOLDERS)}'
        return None if name in self.tree.nodes else (name,)

    def pick_rmdir(self, _):
        empty = [path for path in self.tree.folders() if not any(name.startswith(path + '/') for name in self.tree.nodes)]
        return (self.rng.choice(empty),) if empty else None

    def pick_link(self, path):
        name = self.new_name()
        return name and (path, name)

    def pick_rename(self, path):
        if self.rng.random() < 0.2 and self.tree.folders():
            name = f'd{self.rng.randrange(FOLDERS)}'
            return None if name in self.tree.nodes else (self.rng.choice(self.tree.folders()), name)
        if self.rng.random() < 0.4:
            other = self.file()
            return None if other == path else (path, other)
        return self.pick_link(path)

    def pick_write(self, path):
        offset = self.rng.randrange(SIZE_MAX - WRITE_MAX)
        return path, offset, self.rng.randrange(1, WRITE_MAX), self.rng.getrandbits(32)

    def pick_append(self, path):
        length = self.rng.randrange(1, 9000)
        return None if len(self.tree.nodes[path].data) + length > SIZE_MAX else (path, length, self.rng.getrandbits(32))

    def pick_truncate(self, path):
        return path, self.rng.randrange(SIZE_MAX)

    def pick_clear(self, path):
        mode = self.rng.choice((calls.FALLOC_PUNCH_HOLE, calls.FALLOC_ZERO_RANGE)) | calls.FALLOC_KEEP_SIZE
        return path, mode, self.rng.randrange(SIZE_MAX), self.rng.randrange(1, SIZE_MAX)

    def pick_allocate(self, path):
        return path, self.rng.randrange(SIZE_MAX), self.rng.randrange(1, SIZE_MAX)

    def pick_setxattr(self, path):
        return path, self.rng.choice(ATTRIBUTES), self.rng.choice((10, 200, 3000)), self.rng.getrandbits(32)

    def pick_removexattr(self, path):
        names = sorted(self.tree.nodes[path].xattrs)
        return (path, self.rng.choice(names)) if names else None

    # ---- Doing it ----

    def run(self, op):
        kind, path, *args = op
        if kind in ('rename', 'link'):
            getattr(os, kind)(path, args[0])
        elif kind in ('mkdir', 'rmdir', 'unlink', 'truncate', 'removexattr'):
            getattr(os, kind)(path, *args)
        elif kind == 'setxattr':
            os.setxattr(path, args[0], content(args[2], args[1]))
        else:
            flags = {'create': os.O_CREAT | os.O_EXCL, 'append': os.O_APPEND}.get(kind, 0)
            fd = os.open(path, os.O_RDWR | flags, 0o644)
            try:
                self.run_opened(fd, kind, *args)
            finally:
                os.close(fd)

    @staticmethod
    def run_opened(fd, kind, *args):
        if kind == 'write':
            whole(os.pwrite(fd, content(args[2], args[1]), args[0]), args[1])
        elif kind == 'append':
            whole(os.write(fd, content(args[1], args[0])), args[0])
        elif kind == 'clear':
            calls.fallocate(fd, *args)
        elif kind == 'allocate':
            calls.fallocate(fd, calls.FALLOC_KEEP_SIZE, *args)
        elif kind == 'fsync':
            os.fsync(fd)

    def work(self):
        while True:
            op = self.pick()
            if op is None:
                continue
            os.write(self.journal, f'B{op!r}\n'.encode())
            self.run(op)
            os.write(self.journal, b'E\n')
            self.tree.apply(op)


# ---- Afterwards ----

def told(tree, journal):
    """The tree after all that was answered, and the operation that was not, or None; how many there were."""
    flight, count = None, 0
    with open(journal, encoding='ascii') as file:
        for line in file:
            if line.startswith('B'):
                flight = eval(line[1:])  # pylint: disable=eval-used # our own words
            else:
                tree.apply(flight)
                flight, count = None, count + 1
    return tree, flight, count


def may_be(got, versions):
    """Each byte is of one of the versions, or of a hole between them; the size is one of theirs or between."""
    sizes = [len(version) for version in versions]
    if got in versions:
        return True
    if not min(sizes) <= len(got) <= max(sizes):
        return False
    return all(any(at < len(version) and version[at] == byte for version in versions) or (byte == 0 and at >= min(sizes))
               for at, byte in enumerate(got))


def may_be_part(got, old, new):
    """A write that was cut off: bytes of the old size are old or new; it has grown by the first requests, whole."""
    return (len(old) <= len(got) <= len(new) and got[len(old):] == new[len(old):len(got)] and
            all(byte in (old[at], new[at]) for at, byte in enumerate(got[:len(old)])))


class Found:
    """What is in a folder of the mount."""

    def __init__(self, folder):
        self.tree = Tree()
        by_number = {}
        for root, folders, files in os.walk(folder):
            for name in folders:
                self.tree.nodes[os.path.relpath(f'{root}/{name}', folder)] = None
            for name in files:
                path = f'{root}/{name}'
                number = os.stat(path).st_ino
                if number not in by_number:
                    with open(path, 'rb') as file:
                        by_number[number] = File(file.read())
                    by_number[number].xattrs = {key: os.getxattr(path, key) for key in os.listxattr(path)}
                self.tree.nodes[os.path.relpath(path, folder)] = by_number[number]

    def difference(self, want, flight, loose):
        """None, or what is wrong, in words. `flight`: the file whose last write may be there in part."""
        got = self.tree.nodes
        if got.keys() != want.nodes.keys():
            return f'names: {sorted(got.keys() ^ want.nodes.keys())} are there or missing'
        twins = {}
        for path, node in want.nodes.items():
            if (node is None) != (got[path] is None):
                return f'{path}: another type'
            if node is None:
                continue
            if twins.setdefault(id(node), got[path]) is not got[path]:
                return f'{path}: no hard link any more'
            if node.xattrs != got[path].xattrs:
                return f'{path}: extended attributes'
            data, cut = got[path].data, flight is not None and want.nodes.get(flight) is node
            if not (data == node.data or loose and may_be(data, node.versions) or
                    cut and may_be_part(data, *node.versions[-2:])):
                return f'{path}: content ({len(got[path].data)} bytes, told {len(node.data)})'
        if len({id(node) for node in got.values() if node}) != len(twins):
            return 'other files share a name'
        return None


def verify(folder, start, journal, loose):
    """Raises AssertionError; returns what is there and how many operations were answered."""
    found = Found(folder)
    before, flight, count = told(pickle.loads(start), journal)
    reasons = [found.difference(before, None, loose)]
    if flight is not None:
        after, _, _ = told(pickle.loads(start), journal)
        after.apply(flight)
        mixed = flight[1] if flight[0] in ('write', 'append') else None
        reasons.append(found.difference(after, mixed, loose))
    if None not in reasons:
        raise AssertionError(f'{folder}: after {count} answers, {flight} in flight: without it: {reasons[0]}; '
                             f'with it: {reasons[-1]}')
    return found.tree, count


def main():
    folder, journal, seed = sys.argv[1:]
    with open(journal + '.start', 'rb') as file:
        tree = pickle.load(file)
    try:
        Worker(folder, journal, int(seed), tree).work()
    except OSError as error:
        if error.errno not in GONE:
            raise


if __name__ == '__main__':
    # Pickled classes are to be found under this name by whoever loads them.
    sys.modules['kill_load'] = sys.modules['__main__']
    main()
