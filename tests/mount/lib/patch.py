"""Damages a pool's files as a test wants.

patch.py flip FILE OFFSET          inverts the byte there
patch.py newer-part FILE           a data part of the next format version, with its checksum right (src/format/format.h)
patch.py newer-super FILE          the same of a meta part's superblock
patch.py feature-super FILE        an incompat feature bit that nobody knows, checksum right
patch.py ro-feature-super FILE     a ro_compat bit
patch.py ro-feature-part FILE      the same of a data part
"""
import struct
import sys

PART_MAGIC = b'pinsPART'
SUPER_MAGIC = b'pnfsSUPO'
SUPER_SIZE = 240 + 240 * 16
VERSION_AT, CRC_AT = 8, 12
SUPER_INCOMPAT_AT = 24
RO_COMPAT_AT = 20  # of both


def crc32c(data):
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0x82f63b78 if i & 1 else 0)
        table.append(i)
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


assert crc32c(b'123456789') == 0xe3069283


def put(record, at, value):
    record[at:at + 4] = struct.pack('<I', value)


def get(record, at):
    return struct.unpack_from('<I', record, at)[0]


def seal(record, uncovered):
    """The checksum, with itself and `uncovered` ranges as zeros."""
    copy = bytearray(record)
    for start, end in [(CRC_AT, CRC_AT + 4)] + uncovered:
        copy[start:end] = bytes(end - start)
    return crc32c(copy)


def change(path, find, size, uncovered, edit):
    with open(path, 'r+b') as file:
        at = find(file)
        file.seek(at)
        record = bytearray(file.read(size))
        if get(record, CRC_AT) != seal(record, uncovered):
            raise SystemExit(f'{path}: the record at {at} is not as src/format/format.h says')
        edit(record)
        put(record, CRC_AT, seal(record, uncovered))
        file.seek(at)
        file.write(record)


def find_super(file):
    """The root object lies on an unknown, 16-byte aligned place."""
    base, chunk = 0, 1 << 20
    while data := file.read(chunk):
        at = data.find(SUPER_MAGIC)
        while at >= 0:
            if (base + at) % 16 == 0:
                return base + at
            at = data.find(SUPER_MAGIC, at + 1)
        base += len(data)
    raise SystemExit('no superblock found')


def newer(record):
    put(record, VERSION_AT, get(record, VERSION_AT) + 1)


def feature(record):
    put(record, SUPER_INCOMPAT_AT, 1 << 31)


def ro_feature(record):
    put(record, RO_COMPAT_AT, 1 << 31)


SUPER_EDITS = {'newer-super': newer, 'feature-super': feature, 'ro-feature-super': ro_feature}
PART_EDITS = {'newer-part': newer, 'ro-feature-part': ro_feature}


def main():
    command, path = sys.argv[1:3]
    if command == 'flip':
        with open(path, 'r+b') as file:
            file.seek(int(sys.argv[3]))
            byte = file.read(1)[0]
            file.seek(-1, 1)
            file.write(bytes([byte ^ 0xff]))
    elif command in PART_EDITS:
        change(path, lambda file: 0, 4096, [], PART_EDITS[command])
    else:
        # magic, state and mounts are not covered
        change(path, find_super, SUPER_SIZE, [(0, 8), (100, 112)], SUPER_EDITS[command])


main()
