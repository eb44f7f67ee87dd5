"""Work that survives the death of the daemon.

crash.py round FOLDER LOG PID SEED   four writers work in FOLDER; PID is killed somewhere; LOG (outside of the pool, one
                                     line appended for each) says what was acknowledged before. PID shutdown-MODE: the
                                     filesystem is shut down by ioctl instead; PID reset: the machine is reset, and each
                                     writer has a log of its own, LOG.N
crash.py verify FOLDER LOG           everything acknowledged is there, and nothing else but the step each writer was in

Each writer appends checksummed records to a file of its own (fsync'd), makes files and renames them into place (the file
and the folder fsync'd), overwrites blocks in place and unlinks files.
"""
import os
import random
import selectors
import signal
import struct
import subprocess
import sys
import zlib

import flags

WRITERS = 4
HEADER = struct.Struct('<QII')  # number, length, crc of the body
BLOCKS = 16


def body(writer, number):
    return random.Random(writer << 32 | number).randbytes(1 + number * 7919 % 6000)


def record(writer, number):
    data = body(writer, number)
    return HEADER.pack(number, len(data), zlib.crc32(data)) + data


def records(path):
    """How many whole records a log has, the bytes they take, and what follows them: all of it is what was written."""
    writer = int(path.split('/')[-2])
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except FileNotFoundError:
        return 0, 0, 0
    count = at = 0
    while True:
        want = record(writer, count)
        got = data[at:at + len(want)]
        if got != want[:len(got)]:
            wrong = [at + i for i, (a, b) in enumerate(zip(got, want)) if a != b]
            raise AssertionError(f'{path}: record {count}: {len(wrong)} bytes are wrong, from {wrong[0]} on; '
                                 f'it has {at} to {at + len(want)} of {len(data)}')
        if len(got) < len(want):
            return count, at, len(got)
        count, at = count + 1, at + len(want)


def blocks(folder):
    """The numbers that are in each block: one, or two if a write into it was interrupted; 0 is a hole."""
    try:
        with open(folder + '/blocks', 'rb') as file:
            data = file.read()
    except FileNotFoundError:
        return []
    return [set(struct.unpack('<512Q', data[at:at + 4096])) for at in range(0, len(data), 4096)]


def top_block(numbers):
    return max((max(n) for n in numbers), default=0)


def sync_folder(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def write_durable(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(fd, data)
    os.fsync(fd)
    os.close(fd)


def acknowledge(*words):
    """To the log of this writer, if it has one: it is on another machine's disk when this returns. And on stdout."""
    line = ' '.join(map(str, words)) + '\n'
    if 'CRASH_LOG' in os.environ:
        with open(os.environ['CRASH_LOG'], 'a', encoding='ascii') as file:
            file.write(line)
    print(line, end='', flush=True)


def resume(folder):
    """Tidies up what the step that was interrupted left, and says what is there."""
    for name in os.listdir(folder + '/files'):
        if name.endswith('.new'):
            os.unlink(f'{folder}/files/{name}')
        else:
            acknowledge('file', name)
    sync_folder(folder + '/files')


def put_block(fd, step):
    os.pwrite(fd, struct.pack('<Q', step) * 512, step % BLOCKS * 4096)
    os.fsync(fd)
    acknowledge('block', step)


def put_file(folder, writer, number):
    path = f'{folder}/files/{number}'
    write_durable(path + '.new', body(writer, number))
    os.rename(path + '.new', path)
    sync_folder(folder + '/files')
    acknowledge('file', number)


def work(folder, writer):
    """Until the filesystem is gone. Acknowledges on stdout: `KIND NUMBER`."""
    os.makedirs(folder + '/files', exist_ok=True)
    resume(folder)
    start, end, _ = records(folder + '/log')
    step = max(top_block(blocks(folder)), 1)
    log = os.open(folder + '/log', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    place = os.open(folder + '/blocks', os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(log, end)  # the kernel may cut one write into several
    sync_folder(folder)
    for number in range(start, 1 << 40):
        data = record(writer, number)
        if os.write(log, data) != len(data):
            raise OSError('short write')
        os.fsync(log)
        acknowledge('record', number)
        put_block(place, step)
        step += 1
        put_file(folder, writer, number)
        if number % 2 and number > 10 and os.path.exists(f'{folder}/files/{number - 10}'):
            acknowledge('unlinking', number - 10)
            os.unlink(f'{folder}/files/{number - 10}')
            sync_folder(folder + '/files')
            acknowledge('unlink', number - 10)


def round_(folder, log, pid, seed):
    children = []
    for i in range(WRITERS):
        os.makedirs(f'{folder}/{i}', exist_ok=True)
        command = [sys.executable, __file__, 'work', f'{folder}/{i}', str(i)]
        logs = {'CRASH_LOG': f'{log}.{i}'} if pid == 'reset' else {}
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                         env=os.environ | logs))
    collect(children, log, lambda: cut(folder, pid), random.Random(seed).randrange(40, 1200))


def cut(folder, pid):
    if pid.startswith('shutdown-'):
        flags.shut_down(folder, int(pid.removeprefix('shutdown-')))
    elif pid == 'reset':
        with open('/proc/sysrq-trigger', 'w', encoding='ascii') as file:
            file.write('b')
    else:
        os.kill(int(pid), signal.SIGKILL)


def collect(children, log, kill, kill_at):
    streams = {child.stdout.fileno(): i for i, child in enumerate(children)}
    selector = selectors.DefaultSelector()
    rest = {fd: b'' for fd in streams}
    for fd in streams:
        selector.register(fd, selectors.EVENT_READ)
    count = 0
    with open(log, 'a', encoding='ascii') as file:
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fd)
                    continue
                *lines, rest[key.fd] = (rest[key.fd] + data).split(b'\n')
                for line in lines:
                    print(streams[key.fd], line.decode(), file=file)
                before, count = count, count + len(lines)
                if before < kill_at <= count:
                    kill()
    for child in children:
        child.wait()
    if count < kill_at:
        raise AssertionError(f'the writers ended by themselves after {count} steps')
    print(f'{count} acknowledged steps')


def logged(log):
    """Lines of the log of all, or of the writers' own: writer, kind, number."""
    for path in [log] + [f'{log}.{i}' for i in range(WRITERS)]:
        if os.path.exists(path):
            with open(path, encoding='ascii') as file:
                for line in file:
                    *writer, kind, number = line.split()
                    yield int(writer[0] if writer else path.rsplit('.', 1)[1]), kind, int(number)


def acknowledged(log):
    """For each writer: the last of each kind, and the sets of files that are there, or may be gone."""
    state = [{'record': -1, 'block': 0, 'files': set(), 'unsure': set()} for _ in range(WRITERS)]
    for writer, kind, number in logged(log):
        mine = state[writer]
        if kind in ('record', 'block'):
            mine[kind] = max(mine[kind], number)
        elif kind == 'file':
            mine['files'].add(number)
        elif kind == 'unlinking':
            mine['files'].discard(number)
            mine['unsure'].add(number)
        else:
            mine['unsure'].discard(number)
    return state


def verify_writer(folder, writer, mine):
    count, end, tail = records(folder + '/log')
    last = mine['record']
    assert last < count <= last + 2 and (count <= last + 1 or not tail), \
        f'{folder}/log: {count} records and {tail} bytes after {end}, acknowledged up to record {last}'
    numbers = blocks(folder)
    top = top_block(numbers)
    assert mine['block'] <= top <= mine['block'] + 1, f'{folder}/blocks: {top}, acknowledged {mine["block"]}'
    for at, found in enumerate(numbers):
        want = max(top - (top - at) % BLOCKS, 0)
        allowed = [{want}]
        if want > mine['block']:  # this write was interrupted
            allowed.append({want, max(want - BLOCKS, 0)})
        assert found in allowed, f'{folder}/blocks: block {at} holds {found}, not {want}'
    verify_files(folder, writer, mine)


def verify_files(folder, writer, mine):
    for name in os.listdir(folder + '/files'):
        number = int(name.removesuffix('.new'))
        with open(f'{folder}/files/{name}', 'rb') as file:
            data = file.read()
        if name.endswith('.new'):
            assert number > max(mine['files'], default=-1), f'{folder}/files/{name} was renamed'
            assert data in (b'', body(writer, number)), f'{folder}/files/{name} has a part of its content'
        else:
            assert data == body(writer, number), f'{folder}/files/{name} is not what was written'
            assert number in mine['files'] | mine['unsure'] or number > max(mine['files'], default=-1), \
                f'{folder}/files/{name} was unlinked'
    missing = [n for n in mine['files'] if not os.path.exists(f'{folder}/files/{n}')]
    assert not missing, f'{folder}/files: {missing[:5]} are missing'


def verify(folder, log):
    for writer, mine in enumerate(acknowledged(log)):
        if os.path.isdir(f'{folder}/{writer}/files'):
            verify_writer(f'{folder}/{writer}', writer, mine)


def main():
    command, folder, *rest = sys.argv[1:]
    if command == 'work':
        work(folder, int(rest[0]))
    elif command == 'round':
        round_(folder, rest[0], rest[1], int(rest[2]))
    else:
        verify(folder, rest[0])


main()
