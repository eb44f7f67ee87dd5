"""pinfs map on real mounts. map.py CASE"""
import json
import os
import re
import subprocess
import sys
import xml.dom.minidom

import pinfs
from pins_pool import DATA, MNT, Pool, until
from pinfs import BLOCK, WRITE

MIB = 1 << 20
KINDS = ['free_blocks', 'pinned_blocks', 'limbo_blocks', 'lost_blocks']


def ask(*arguments):
    return subprocess.run(['pinfs', 'map', *arguments], check=True, capture_output=True, text=True).stdout


def extents_of(path):
    return json.loads(ask('--json', path))['extents']


def sums(*arguments):
    parts = json.loads(ask('--json', *arguments, MNT))['parts']
    for part in parts:
        cells = -(-part['bytes'] // part['cell_bytes'])
        assert all(len(part[kind]) == cells for kind in KINDS), part
    return {kind: sum(sum(part[kind]) for part in parts) for kind in KINDS}


def status():
    return json.loads(subprocess.run(['pinfs', 'stat', '--json', MNT], check=True, capture_output=True).stdout)


def case_file():
    path = MNT + '/file'
    content = os.urandom(3 * MIB + 100)
    with open(path, 'wb') as file:
        file.write(content)
    got = json.loads(ask('--json', path))
    assert got['schema'] == 1 and got['file'] == path and got['size'] == len(content), got
    assert got['inode'] == os.stat(path).st_ino
    end = 0
    with open(DATA, 'rb') as part:
        for extent in got['extents']:
            assert extent['offset'] == end and extent['part'] == 0 and not extent['unwritten'], extent
            end += extent['length']
            part.seek(extent['part_offset'])
            there = part.read(extent['length'])
            want = content[extent['offset']:end]
            assert there[:len(want)] == want and not any(there[len(want):]), extent
    assert end == -(-len(content) // BLOCK) * BLOCK


def case_file_sparse():
    path = MNT + '/file'
    with open(path, 'wb') as file:
        os.pwrite(file.fileno(), b'x', 40 * BLOCK)
        os.posix_fallocate(file.fileno(), 80 * BLOCK, 4 * BLOCK)
        file.truncate(1 << 40)
    first, second = extents_of(path)
    assert (first['offset'], first['length'], first['unwritten']) == (40 * BLOCK, BLOCK, False), first
    assert (second['offset'], second['length'], second['unwritten']) == (80 * BLOCK, 4 * BLOCK, True), second
    os.truncate(path, 0)
    assert extents_of(path) == []


def case_file_many():
    """More than one answer has room for, each once and in order."""
    path = MNT + '/file'
    with open(path, 'wb') as file:
        for block in range(0, 2400, 2):
            os.pwrite(file.fileno(), b'x', block * BLOCK)
    assert [extent['offset'] for extent in extents_of(path)] == [block * BLOCK for block in range(0, 2400, 2)]


def case_huge():
    path = MNT + '/file'
    with open(path, 'wb') as file:
        os.posix_fallocate(file.fileno(), 0, 8 * MIB)
    assert json.loads(ask('--json', path))['huge_share'] == 1
    with open(path, 'r+b') as file:  # what is left of the second 2 MiB has small pages
        subprocess.run(['fallocate', '-p', '-o', '3M', '-l', '4K', path], check=True)
    share = json.loads(ask('--json', path))['huge_share']
    assert abs(share - 6 * MIB / (8 * MIB - BLOCK)) < 1e-9, share


def case_pool():
    path = MNT + '/file'
    with open(path, 'wb') as file:
        file.write(bytes(100 * BLOCK))
    session = pinfs.Session(MNT)
    pin = session.pin(path, 10 * BLOCK, 20 * BLOCK, WRITE)
    pinned = [extent['pinned'] for extent in extents_of(path)]
    assert any(pinned), pinned
    for cells in ('1', '7', '1000', '65536'):
        got = sums('--cells', cells)
        assert got['free_blocks'] * BLOCK == status()['space']['free_bytes'], (cells, got)
        assert got['pinned_blocks'] == 20 and got['limbo_blocks'] == 0 and got['lost_blocks'] == 0, got
    os.unlink(path)
    until(lambda: sums()['limbo_blocks'] == 20, 'the kernel forgets it')
    got = sums()
    assert got['pinned_blocks'] == 0, got
    assert got['free_blocks'] * BLOCK == status()['space']['free_bytes']
    session.unpin(pin)
    session.disconnect()


def case_pool_lost():
    path = MNT + '/file'
    with open(path, 'wb') as file:
        file.write(bytes(16 * BLOCK))
    (extent, ) = extents_of(path)
    with open(DATA, 'rb') as part:
        part.seek(extent['part_offset'])
        tail = part.read()
    with open(path, 'rb') as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    os.truncate(DATA, extent['part_offset'] + 3 * BLOCK)
    try:
        subprocess.run(['cat', path], capture_output=True, check=False)
    finally:
        with open(DATA, 'r+b') as part:
            part.seek(extent['part_offset'])
            part.write(tail)
    lost = [extent for extent in extents_of(path) if extent['lost']]
    assert lost, extents_of(path)
    assert 0 < sums()['lost_blocks'] <= 13, sums()
    assert sums()['lost_blocks'] * BLOCK == status()['space']['bad_bytes']


def classes(*arguments):
    """What is drawn below the legend."""
    text = ask('--svg', *arguments)
    rects = xml.dom.minidom.parseString(text).getElementsByTagName('rect')
    return {rect.getAttribute('class') for rect in rects if rect.getAttribute('y') != '46'}


def case_svg():
    path = MNT + '/<a & "b">'
    with open(path, 'wb') as file:
        file.write(bytes(100 * BLOCK))
    assert classes(MNT) == {'free', 'used'}  # the part's own headers, too
    assert classes(path) == {'free', 'used', 'file'}, classes(path)
    session = pinfs.Session(MNT)
    pin = session.pin(path, 10 * BLOCK, 20 * BLOCK, WRITE)
    assert classes(path) == {'free', 'used', 'file', 'pinned'}, classes(path)
    os.unlink(path)
    until(lambda: classes(MNT) == {'free', 'used', 'limbo'}, 'the kernel forgets it')
    session.unpin(pin)
    session.disconnect()


def case_text():
    path = MNT + '/file'
    with open(path, 'wb') as file:
        file.write(bytes(8 * MIB))
    assert re.search(r'^ +0 +\d+ +0 +\d+$', ask(path), re.M), ask(path)
    assert re.search(r'extents with 8388608 bytes', ask(path)), ask(path)
    text = ask(MNT)
    assert '\033' not in text and '#' in text and 'P' not in re.sub('P pinned', '', text), text
    session = pinfs.Session(MNT)
    pin = session.pin(path, 0, 8 * MIB, WRITE)
    cells = [line for line in ask(MNT).splitlines() if re.fullmatch(r'[-.:=+*#PLX]+', line)]
    assert sum(line.count('P') for line in cells) >= 8 * MIB // (256 * 1024), cells
    session.unpin(pin)
    session.disconnect()


pool = Pool()
globals()['case_' + sys.argv[1]]()
pool.finish()
