"""Trees, damage and comparison for the tests of `pinfs fsck --rescue`.

rescue.py tree FOLDER             a tree with everything in it; its secrets are deleted again
rescue.py groups META             how many groups the meta part has
rescue.py damage META WHAT SEED   super | super0 | heap | lanes | header N | page
rescue.py damage META WHAT INO    slot (a word of it) | wipe (all of it) | inner (nodes above others) | names (headers of pages)
rescue.py verify SOURCE DIR SAID  all is equal, or SAID names it; nothing is anybody else's
"""
import os
import random
import re
import stat
import sys

GRID = 8192 + 1024 * 3072 + 1024 + 64 + 8 * 65528
CHUNK = 256 << 10
BLOCK = 4096
SECRET = b'SECRET--'
ACL = bytes.fromhex('02000000' '01000600ffffffff' '02000600e8030000' '04000000ffffffff' '10000600ffffffff' '20000000ffffffff')


def tree(top):
    os.chdir(top)
    rng = random.Random(4711)

    def fragmented(path, blocks, gap=True):
        with open(path, 'wb', buffering=0) as file:
            for i in range(blocks):
                os.pwrite(file.fileno(), rng.randbytes(BLOCK), i * BLOCK * (2 if gap else 1))
            file.truncate(blocks * 2 * BLOCK + 77)

    # Data that is freed again must never be seen.
    for i in range(40):
        with open(f'secret{i}', 'wb') as file:
            file.write(SECRET * 512 * 16)
            os.fsync(file.fileno())
    os.makedirs('a/b/c')
    for i in range(40):
        os.unlink(f'secret{i}')
    os.mkdir('many')
    for i in range(600):
        with open(f'many/file number {i}', 'w') as file:
            file.write(f'{i}\n')
    fragmented('a/fragments', 400)
    fragmented('a/more', 900)
    fragmented('a/few', 3)
    with open('a/big', 'wb') as file:
        file.write(rng.randbytes(2500003))
    os.link('a/big', 'a/b/linked')
    os.link('a/big', 'third')
    os.symlink('../target', 'a/short')
    os.symlink('t' * 3000, 'a/long')
    os.mkfifo('a/fifo', 0o640)
    os.mknod('a/null', 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.setxattr('a/few', 'user.small', b'value')
    os.setxattr('a/few', 'user.big', rng.randbytes(20000))
    for i in range(100):
        os.setxattr('a/b', f'user.number {i}', str(i).encode() * 20)
    os.setxattr('a/more', 'system.posix_acl_access', ACL)
    os.setxattr('a/b', 'system.posix_acl_default', ACL)
    os.makedirs('/'.join(['deep'] * 150))
    with open('/'.join(['deep'] * 150) + '/leaf', 'w') as file:
        file.write('deep')
    with open(b'a/\x1b[31m\n\xff', 'w') as file:
        file.write('odd name')
    os.chown('a/few', 1000, 1001)
    os.chmod('a/few', 0o4751)
    os.chown('a/b/c', 1234, 5678)
    os.chmod('a/b/c', 0o1777)
    os.chown('a/short', 12, 34, follow_symlinks=False)
    os.utime('a/short', ns=(10**18 + 1, 10**18 + 2), follow_symlinks=False)
    os.utime('a/b/c', ns=(981173106123456789, 981173106123456781))
    os.utime('a/few', ns=(-12345, 999))


# ---- Damage ----

def groups(meta):
    size = os.path.getsize(meta)
    with open(meta, 'rb') as file:
        places = []
        for at in range(GRID, size, CHUNK):
            file.seek(at + 16)
            if file.read(4) == b'Pgrp':
                places.append(at)
    return places


def used_pages(file, places):
    """Frames of inodes, and pages that say what they are."""
    used = []
    for place in places:
        file.seek(place)
        group = file.read(CHUNK)
        frames = int.from_bytes(group[32:40], 'little')
        for i in range(64):
            frame = group[i * BLOCK:(i + 1) * BLOCK]
            holds_inodes = frames >> i & 1 and any(frame[at:at + 4] == b'Pino' for at in range(0, BLOCK, 256))
            if holds_inodes or frame[:4] in (b'Pnod', b'Pnam', b'Pblb'):
                used.append(place + i * BLOCK)
    return used


def places_by_number(file, places):
    numbers = {}
    for place in places:
        file.seek(place + 24)
        numbers[int.from_bytes(file.read(8), 'little')] = place
    return numbers


def damage(meta, what, seed, *rest):
    rng = random.Random(seed)
    places = groups(meta)
    with open(meta, 'r+b') as file:

        def write(at, data):
            file.seek(at)
            file.write(data)

        if what in ('super', 'super0'):
            file.seek(6144)
            root = int.from_bytes(file.read(8), 'little')
            write(root, bytes(4080) if what == 'super0' else rng.randbytes(4080))
            write(6144, rng.randbytes(8))
        elif what == 'heap':
            write(GRID - 8 * 65528 - 64 - 1024, rng.randbytes(1024 + 64 + 4096))
            write(0, rng.randbytes(4096))
        elif what == 'lanes':
            write(8192, rng.randbytes(3072 * 1024))
        elif what == 'header':
            write(places[int(seed)], rng.randbytes(256))
        elif what == 'page':
            write(rng.choice(used_pages(file, places)), rng.randbytes(BLOCK))
        elif what in ('slot', 'wipe'):
            ino = int(seed)
            at = places_by_number(file, places)[ino >> 10] + (ino & 1023) * 256
            write(at + 32 if what == 'slot' else at, rng.randbytes(8 if what == 'slot' else 256))
        elif what in ('inner', 'names'):
            hit = 0
            for at in used_pages(file, places):
                file.seek(at)
                page = file.read(64)
                owner, level = int.from_bytes(page[8:16], 'little'), page[21]
                if owner == int(seed) and (page[:4] == b'Pnod' and level > 0 if what == 'inner' else page[:4] == b'Pnam'):
                    write(at, rng.randbytes(64))
                    hit += 1
            if not hit:
                sys.exit(f'inode {seed} has no such page')
        else:
            sys.exit(f'what is {what}?')


# ---- Comparison ----

def attributes(path):
    st = os.lstat(path)
    fields = [oct(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns]
    if not stat.S_ISDIR(st.st_mode):
        fields += [st.st_size]
    if stat.S_ISCHR(st.st_mode):
        fields.append(st.st_rdev)
    if stat.S_ISLNK(st.st_mode):
        fields.append(os.readlink(path))
    names = sorted(os.listxattr(path, follow_symlinks=False))
    fields.append([(n, os.getxattr(path, n, follow_symlinks=False)) for n in names])
    return fields


def content(path):
    with open(path, 'rb') as file:
        return file.read()


def walk(top):
    """Names in it, as bytes, the folder itself as b''."""
    top = os.fsencode(top)
    yield b''
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            yield os.path.relpath(os.path.join(folder, name), top)


def printable(name):
    """As rescue writes a path."""
    out = ''
    for char in name.decode('utf-8', 'surrogateescape'):
        code = ord(char)
        if 0xdc80 <= code <= 0xdcff:
            out += f'\\{code - 0xdc00:03o}'
        elif code < 32 or code == 127:
            out += f'\\{code:03o}'
        else:
            out += char
    return '/' + out


def named(name, said):
    """True if a line is about this, or about a folder that it is in."""
    parts = printable(name).split('/')
    return any('/'.join(parts[:i]) in said or (i == 1 and '/' in said) for i in range(len(parts), 0, -1))


def blocks_of(data):
    return [data[at:at + BLOCK] for at in range(0, len(data), BLOCK)]


def is_part_of(got, want):
    """No block is another one than the file's own: those that are lost are zeros."""
    want = want.ljust(len(got), b'\0')
    return all(g == w or not any(g) for g, w in zip(blocks_of(got), blocks_of(want)))


def verify(source, out, said_path):
    with open(said_path, encoding='utf-8') as file:
        lines = [line.rstrip('\n').split(': ', 1)[1] for line in file]
    said = {line.split(': ')[0] for line in lines}
    src, dst = os.fsencode(source), os.fsencode(out)
    want, got = set(walk(source)), set(walk(out))
    sources, links = {}, {}
    for name in want:
        path = os.path.join(src, name)
        links.setdefault(os.lstat(path).st_ino, []).append(name)
        if stat.S_ISREG(os.lstat(path).st_mode):
            sources[name] = content(path)
    count = {'equal': 0, 'damaged': 0, 'missing': 0, 'lost+found': 0}
    for name in sorted(want):
        path, copy = os.path.join(src, name), os.path.join(dst, name)
        if name not in got:
            count['missing'] += 1
            if not named(name, said):
                sys.exit(f'{name} is missing, and nothing says so')
            continue
        same = attributes(path) == attributes(copy) and (name not in sources or sources[name] == content(copy))
        count['equal' if same else 'damaged'] += 1
        # What a file has lost is told once, under one of its names.
        if not same and not any(named(other, said) for other in links[os.lstat(path).st_ino]):
            sys.exit(f'{name} is not equal, and nothing says so: {attributes(path)} {attributes(copy)}')
        if name in sources and not is_part_of(content(copy), sources[name]):
            sys.exit(f'{name} has blocks that are not its own')
    whole = set(sources.values())
    for name in sorted(got - want):
        if not name.startswith(b'lost+found'):
            sys.exit(f'{name} has come from nowhere')
        path = os.path.join(dst, name)
        count['lost+found'] += 1
        if stat.S_ISREG(os.lstat(path).st_mode):
            data = content(path)
            if SECRET in data:
                sys.exit(f'{name} has freed data')
            if data not in whole and not any(is_part_of(data, other) for other in sources.values()):
                sys.exit(f'{name} is no file of the source')
    print(', '.join(f'{number} {word}' for word, number in count.items()), f'{len(lines) - 1} lines')


def main():
    command, rest = sys.argv[1], sys.argv[2:]
    if command == 'tree':
        tree(*rest)
    elif command == 'groups':
        print(len(groups(*rest)))
    elif command == 'damage':
        damage(*rest)
    elif command == 'verify':
        verify(*rest)
    else:
        sys.exit(__doc__)


main()
