"""Remote access to pinned ranges: rdma.py CASE. The target is in one network namespace, its peers in another."""
import errno
import hashlib
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from pins_pool import CASE, LIBC, MNT, Doer, Pool, WAIT, fill, make, read, until, verify

TARGET, PEER, PORT = '10.213.0.1', '10.213.0.2', 7436
SECRET = CASE + '/secret'
FULL = os.environ.get('MT_FULL') == '1'
MAGIC = 0x4d445250


class Namespace:
    """A network namespace, as old as a process in it."""

    def __init__(self):
        self.holder = subprocess.Popen(['unshare', '--net', 'sh', '-c', 'echo; exec sleep infinity'], stdout=subprocess.PIPE,
                                       stdin=subprocess.DEVNULL)
        assert self.holder.stdout.readline() == b'\n', 'unshare --net'

    def words(self, *command):
        return ['nsenter', f'--net=/proc/{self.holder.pid}/ns/net', *command]

    def run(self, *command):
        print('+', *command, flush=True)
        subprocess.run(self.words(*command), check=True, stdin=subprocess.DEVNULL)

    def connect(self, port=PORT):
        """A socket there: it is of the namespace that its thread was in."""
        result = []

        def dial():
            with open(f'/proc/{self.holder.pid}/ns/net') as namespace:
                LIBC.setns(namespace.fileno(), 0x40000000)
            result.append(socket.create_connection((TARGET, port), WAIT))

        thread = threading.Thread(target=dial)
        thread.start()
        thread.join()
        return result[0]


class World:
    """A pool, two namespaces that are joined, a server in the first."""

    def __init__(self, *arguments, options='break_timeout=60', data='64M', write=('file',)):
        self.pool = Pool(options, data=data)
        self.target, self.peer = Namespace(), Namespace()
        self.target.run('ip', 'link', 'add', 'left', 'type', 'veth', 'peer', 'name', 'right', 'netns',
                        str(self.peer.holder.pid))
        for space, name, address in ((self.target, 'left', TARGET), (self.peer, 'right', PEER)):
            space.run('ip', 'address', 'add', address + '/24', 'dev', name)
            space.run('ip', 'link', 'set', name, 'up')
            space.run('ip', 'link', 'set', 'lo', 'up')
        with open(SECRET, 'w', opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write('a secret of the tests, and of nobody else\n')
        for name in write:
            make(name, 1 << 20)
        make('readable', 5000, b'r')
        self.start(*arguments, write=write)

    def start(self, *arguments, write=('file',)):
        words = ['pinfs-rdma-serve', '--secret', SECRET, '--listen', TARGET, *arguments]
        for name in write:
            words += ['--write', f'{MNT}/{name}']
        self.log = open(CASE + '/serve.log', 'ab')
        self.server = subprocess.Popen(self.target.words(*words), stdout=subprocess.PIPE, stderr=self.log,
                                       stdin=subprocess.DEVNULL)
        line = self.server.stdout.readline()
        assert line == b'ready %d\n' % PORT, (line, self.said())

    def said(self):
        with open(CASE + '/serve.log', encoding='utf-8') as file:
            return file.read()

    def begin(self, command, name, *arguments, secret=SECRET, **keywords):
        keywords = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE} | keywords
        return subprocess.Popen(self.peer.words('pinfs-rdma', command, '--secret', secret, TARGET, name, *arguments),
                                **keywords)

    def do(self, command, name, *arguments, data=None):
        peer = self.begin(command, name, *arguments, stdin=subprocess.PIPE)
        out, said = peer.communicate(data, WAIT * 4)
        assert peer.returncode == 0, said
        return out

    def refused(self, words, command, name, *arguments, **keywords):
        failed(self.begin(command, name, *arguments, **keywords), words)

    def received(self):
        with open(f'/proc/{self.target.holder.pid}/net/dev', encoding='ascii') as file:
            return int(re.search(r'left:\s*(\d+)', file.read())[1])

    def flows(self, start=None):
        """Until some megabytes have come in: a transfer is in its midst."""
        start = self.received() if start is None else start
        until(lambda: self.received() - start > 4 << 20, 'bytes flow')

    def stopped_put(self, size=256 << 20):
        """A put that was stopped in its midst, its lease held."""
        source = sparse_file('source', size)
        for _ in range(10):  # on a busy machine we may be late
            start = self.received()
            peer = self.begin('put', 'file', source)
            pinned(self)
            self.flows(start)
            peer.send_signal(signal.SIGSTOP)
            if self.pool.pins('pins') > 0 and self.received() - start < size:
                return peer
            peer.send_signal(signal.SIGCONT)
            assert peer.wait(WAIT) == 0, peer.stderr.read()
        raise AssertionError('each of ten transfers had ended before it was stopped')

    def stop(self):
        self.server.terminate()
        assert self.server.wait(WAIT) == 0, self.said()

    def finish(self):
        """Everything is released, and the pool sound."""
        self.pool.quiet()
        self.stop()
        self.pool.finish()


def failed(peer, words, seconds=WAIT * 2):
    """It ends with status 1 and says these words."""
    peer.wait(seconds)  # with its standard input open
    out, said = peer.communicate()
    said = said.decode()
    print(said)
    assert peer.returncode == 1 and re.search(words, said), (peer.returncode, said)
    return said


def digest(path):
    return hashlib.sha256(read(path)).hexdigest()


def random_file(name, size):
    path = f'{CASE}/{name}'
    with open('/dev/urandom', 'rb') as random, open(path, 'wb') as file:
        for at in range(0, size, 1 << 20):
            file.write(random.read(min(1 << 20, size - at)))
    return path


def sparse_file(name, size):
    path = f'{CASE}/{name}'
    with open(path, 'wb') as file:
        file.truncate(size)
    return path


def pinned(world):
    until(lambda: world.pool.pins('pins') > 0, 'the range is pinned')


# ---- What it is for ----

def put_get():
    size = (1 << 30) + 12345 if FULL else (48 << 20) + 12345
    world = World(data=f'{size // (1 << 20) + 64}M', write=('file', 'small'))
    other = make('other', 3 << 20, b'o')
    before = digest(other), digest(f'{MNT}/small')
    source = random_file('source', size)
    for _ in range(2):  # into blocks that are made for it, and into those that are there
        old = os.stat(f'{MNT}/file')
        world.do('put', 'file', source)
        now = os.stat(f'{MNT}/file')
        assert now.st_size == size and now.st_mtime_ns > old.st_mtime_ns, now
        assert digest(f'{MNT}/file') == digest(source)
    world.do('get', 'file', CASE + '/got')
    assert digest(CASE + '/got') == digest(source)
    os.unlink(CASE + '/got')
    # Ranges: any offset and length, in the midst and over the end.
    whole = read(source, 0, 9 << 20)
    assert world.do('get', 'file', '--offset', '4097', '--length', '5000000') == whole[4097:5004097]
    assert world.do('get', 'file', '--offset', str(size - 7)) == read(source, size - 7)
    assert world.do('get', 'file', '--offset', str(size)) == b''
    world.do('put', 'small', '--offset', '1000001', data=whole[:777777])
    small = read(f'{MNT}/small')
    assert small == b'a' * 1000001 + whole[:777777], len(small)
    # Whole: what is behind goes.
    world.do('put', 'small', data=b'short')
    assert read(f'{MNT}/small') == b'short' and os.stat(f'{MNT}/small').st_blocks == 8
    world.do('put', 'small', data=b'')
    assert os.stat(f'{MNT}/small').st_size == 0
    assert digest(other) == before[0]
    # What was answered is durable: the daemon dies, and nothing is lost.
    world.do('put', 'small', data=whole[:2000000])
    world.pool.quiet()
    world.stop()
    world.pool.kill()
    world.pool.mount()
    assert read(f'{MNT}/small') == whole[:2000000] and digest(f'{MNT}/file') == digest(source)
    world.pool.finish()


def stream():
    world = World(data='96M')
    peer = world.begin('stream', 'file', '--offset', '1M', stdin=subprocess.PIPE)
    done = 1 << 20
    for number in range(20):
        data = bytes([number + 1]) * (100000 * number + 1)
        peer.stdin.write(data)
        peer.stdin.flush()
        while len(data) > 0:
            word, offset = peer.stdout.readline().split()
            part = int(offset) - done
            # Others see it as soon as it is said.
            assert word == b'committed' and 0 < part <= len(data)
            assert read(f'{MNT}/file', done, part) == data[:part]
            done += part
            data = data[part:]
    assert os.stat(f'{MNT}/file').st_size == done
    out, said = peer.communicate(None, WAIT)
    assert peer.returncode == 0 and out == b'', said
    world.finish()


def everywhere():
    """Without --listen: by each address; names, and addresses of both kinds."""
    world = World()
    world.stop()
    server = subprocess.Popen(world.target.words('pinfs-rdma-serve', '-s', SECRET, MNT + '/readable'),
                              stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert server.stdout.readline() == b'ready 7436\n'
    for host in ('localhost', '127.0.0.1:7436', '[::1]:7436', '::1', TARGET):
        done = subprocess.run(world.target.words('pinfs-rdma', 'get', '-q', '-s', SECRET, host, 'readable'),
                              capture_output=True, check=True, stdin=subprocess.DEVNULL, timeout=WAIT)
        assert done.stdout == b'r' * 5000, host
    for host in ('', ':7436', 'host:', 'host:0', 'host:65536', 'host:1x', '[::1', '[]:1', '[::1]x'):
        done = subprocess.run(['pinfs-rdma', 'get', '-q', '-s', SECRET, host, 'readable'], capture_output=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=WAIT)
        assert done.returncode == 2 and b'is no HOST[:PORT]' in done.stderr, (host, done)
    server.terminate()
    assert server.wait(WAIT) == 0
    world.pool.quiet()
    world.pool.finish()


def leases():
    """Longer than one lease; two peers at once; a fragmented file."""
    world = World('--max', '1M', data='96M', write=('file', 'other'))
    source = random_file('source', (7 << 20) + 5)
    peers = [world.begin('put', name, source) for name in ('file', 'other')]
    for peer in peers:
        assert peer.wait(WAIT) == 0, peer.stderr.read()
    for name in ('file', 'other'):
        assert digest(f'{MNT}/{name}') == digest(source)
        assert world.do('get', name) == read(source)
    for at in range(0, 4 << 20, 16384):  # every fourth block anew
        with open(f'{MNT}/file', 'r+b', buffering=0) as file:
            subprocess.run(['fallocate', '-p', '-o', str(at), '-l', '4096', file.name], check=True)
            os.pwrite(file.fileno(), b'x' * 4096, at)
    world.do('put', 'file', source)
    assert digest(f'{MNT}/file') == digest(source)
    assert world.do('get', 'file') == read(source)
    world.finish()


# ---- What others want ----

def truncate():
    """A truncate while a peer writes: it waits, the peer is told, stops; nothing else is touched."""
    world = World(data='320M')
    other = make('other', 5 << 20, b'o')
    peer = world.stopped_put()
    start = time.monotonic()
    doer = Doer(os.truncate, f'{MNT}/file', 100)
    world.pool.waiting()
    peer.send_signal(signal.SIGCONT)
    assert doer.result() == 0
    took = time.monotonic() - start
    failed(peer, 'recalled: somebody truncates')
    assert took < WAIT and world.pool.pins('timeouts') == 0, took
    assert os.stat(f'{MNT}/file').st_size == 100
    sums = fill(world.pool)
    assert read(other) == b'o' * (5 << 20)
    verify(sums)
    # One that holds a lease, and has nothing to say just now.
    for path in sums:
        os.unlink(path)
    peer = world.begin('stream', 'file', stdin=subprocess.PIPE)
    peer.stdin.write(b'line')
    peer.stdin.flush()
    assert peer.stdout.readline() == b'committed 4\n'
    assert Doer(os.truncate, f'{MNT}/file', 2).result() == 0
    failed(peer, 'recalled: somebody truncates')
    assert read(f'{MNT}/file') == b'li'
    world.finish()


def truncate_stopped():
    """The peer stops in the midst of a transfer, and does not hear: its access ends before the blocks are others'."""
    world = World('--lease', '60', options='break_timeout=4', data='320M')
    for _ in range(3):
        peer = world.stopped_put()
        assert Doer(os.truncate, f'{MNT}/file', 0).result() == 0
        assert world.pool.pins('timeouts') == 0, 'it was ended in time, not detached'
        sums = fill(world.pool)
        peer.send_signal(signal.SIGCONT)
        failed(peer, 'recalled|ended the lease')
        verify(sums)
        for path in sums:
            os.unlink(path)
    world.finish()


def truncate_deaf():
    """As before, by a peer that goes on writing whatever it is told: the rest of what was half sent goes nowhere."""
    world = World('--lease', '60', options='break_timeout=4', data='64M')
    for _ in range(4):
        make('file', 8 << 20)
        peer = subprocess.Popen(world.peer.words('pinfs-rdma-rogue', 'deaf', SECRET, TARGET, 'file'), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE)
        pinned(world)
        world.flows()
        peer.send_signal(signal.SIGSTOP)
        assert Doer(os.truncate, f'{MNT}/file', 0).result() == 0
        assert world.pool.pins('timeouts') == 0, 'it was ended in time, not detached'
        sums = fill(world.pool)
        peer.send_signal(signal.SIGCONT)
        out, _ = peer.communicate(None, WAIT)
        assert (peer.returncode, out) == (0, b'broken\n')
        verify(sums)
        for path in sums:
            os.unlink(path)
    world.finish()


def detached():
    """break_timeout=0: no time to ask. The peer is told, and what it wrote last is nobody's."""
    world = World(options='break_timeout=0', data='32M')
    peer = world.begin('stream', 'file', stdin=subprocess.PIPE)
    peer.stdin.write(b'line')
    peer.stdin.flush()
    assert peer.stdout.readline() == b'committed 4\n'
    assert Doer(os.truncate, f'{MNT}/file', 1).result() == 0
    failed(peer, 'recalled|no longer the file')
    assert read(f'{MNT}/file') == b'l'
    world.finish()


# ---- Ends ----

def peer_killed():
    world = World(data='320M')
    other = make('other', 5 << 20, b'o')
    peer = world.stopped_put()
    peer.send_signal(signal.SIGCONT)
    peer.kill()
    peer.wait()
    start = time.monotonic()
    world.pool.quiet()
    assert time.monotonic() - start < 5
    assert Doer(os.truncate, f'{MNT}/file', 0).result() == 0
    verify(fill(world.pool))
    assert read(other) == b'o' * (5 << 20)
    world.finish()


def daemon_killed():
    world = World(data='320M')
    other = make('other', 5 << 20, b'o')
    peer = world.stopped_put()
    world.pool.kill()
    peer.send_signal(signal.SIGCONT)
    failed(peer, 'daemon of the target.s mount is gone|hung up|ended the lease')
    world.pool.mount()
    world.pool.quiet()
    assert read(other) == b'o' * (5 << 20)
    # The same server serves the new one.
    world.do('put', 'file', data=b'again')
    assert read(f'{MNT}/file') == b'again'
    world.finish()


def server_ends():
    """By SIGTERM, or killed: its peers' leases end with it."""
    world = World(data='32M')
    for number in (signal.SIGTERM, signal.SIGKILL):
        peer = world.begin('stream', 'file', stdin=subprocess.PIPE)
        peer.stdin.write(b'line')
        peer.stdin.flush()
        assert peer.stdout.readline() == b'committed 4\n'
        world.server.send_signal(number)
        world.server.wait(WAIT)
        failed(peer, 'hung up|reset')
        world.pool.quiet()
        world.start()
    world.finish()


def link_down():
    """The network is cut in mid-transfer: both sides notice within the lease."""
    world = World('--lease', '2', data='320M')
    peer = world.stopped_put()
    world.target.run('ip', 'link', 'set', 'left', 'down')
    peer.send_signal(signal.SIGCONT)
    start = time.monotonic()
    world.pool.quiet()
    took = time.monotonic() - start
    assert took < 10, took
    failed(peer, 'not been heard|is the network cut')
    assert 'silent for too long' in world.said()
    world.target.run('ip', 'link', 'set', 'left', 'up')
    world.do('put', 'file', data=b'again')
    world.finish()


def silent():
    world = World('--lease', '0.5', data='32M')
    peer = world.begin('stream', 'file', stdin=subprocess.PIPE)
    peer.stdin.write(b'line')
    peer.stdin.flush()
    assert peer.stdout.readline() == b'committed 4\n'
    # While it beats, it holds.
    assert not select.select([peer.stdout, peer.stderr], [], [], 1.5)[0] and world.pool.pins('pins') == 1
    peer.send_signal(signal.SIGSTOP)
    world.pool.quiet()
    peer.send_signal(signal.SIGCONT)
    failed(peer, 'ended|hung up|reset')
    assert 'silent for too long' in world.said()
    world.finish()


# ---- Bad input ----

def write_secret(name, text, mode=0o600):
    path = f'{CASE}/{name}'
    with open(path, 'w', opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def secrets():
    world = World()
    wrong = write_secret('wrong', 'a secret of the tests, and of nobody elsf\n')
    world.refused('it has another secret', 'get', 'file', secret=wrong)
    until(lambda: 'it has another secret' in world.said(), 'the server says so')
    assert world.pool.pins('pins') == 0
    world.refused('others may read the secret', 'get', 'file', secret=write_secret('open', 'x' * 30, 0o640))
    world.refused('a secret has 16 to 4096 bytes', 'get', 'file', secret=write_secret('short', 'x' * 15 + '\n'))
    world.refused('a secret has 16 to 4096 bytes', 'get', 'file', secret=write_secret('long', 'x' * 4097))
    world.refused('No such file', 'get', 'file', secret=CASE + '/none')
    # The line's end is not part of it.
    same = write_secret('same', 'a secret of the tests, and of nobody else')
    assert world.begin('get', 'file', '/dev/null', secret=same).wait(WAIT) == 0
    world.finish()


def closed(sock, seconds=WAIT):
    """Bytes that came before the other side closed."""
    sock.settimeout(seconds)
    got = b''
    while True:
        try:
            data = sock.recv(4096)
        except ConnectionResetError:
            return got
        if not data:
            return got
        got += data


def strangers():
    """Who has not proven anything is given nothing, and not waited for long."""
    world = World('--peers', '1')
    hello = struct.pack('<IHH', MAGIC, 1, 1) + os.urandom(32)
    # Nothing, half of a hello, a hello and no proof: five seconds.
    start = time.monotonic()
    mute = [world.peer.connect() for _ in range(3)]
    mute[1].sendall(hello[:20])
    mute[2].sendall(hello)
    # Rubbish: at once, and without a word.
    rubbish = world.peer.connect()
    rubbish.sendall(b'GET / HTTP/1.0\r\nHost: localhost\r\nAccept: everything\r\n\r\n')
    assert closed(rubbish) == b''
    # A proof of nothing.
    guess = world.peer.connect()
    guess.sendall(hello + struct.pack('<II', MAGIC, 0) + os.urandom(56))
    got = closed(guess)
    assert len(got) == 48 + 64 and struct.unpack_from('<II', got, 48) == (MAGIC, errno.EACCES) and not any(got[56:]), got
    # Somebody else's proof, heard before: the nonces are others. It is as good as the one above.
    lengths = [len(closed(sock)) for sock in mute]
    took = time.monotonic() - start
    assert lengths == [0, 0, 48] and 4 < took < 15, (lengths, took)
    # Too many: of those who are proven, and the unproven do not count.
    peer = world.begin('stream', 'file', stdin=subprocess.PIPE)
    peer.stdin.write(b'line')
    peer.stdin.flush()
    assert peer.stdout.readline() == b'committed 4\n'
    world.refused('too many peers', 'get', 'file')
    more = [world.peer.connect() for _ in range(40)]
    assert any(closed(sock, 1) == b'' for sock in more[-1:]), 'more than 32 are closed at once'
    for sock in more:
        sock.close()
    peer.communicate(None, WAIT)
    assert peer.returncode == 0
    until(lambda: world.begin('get', 'file', '/dev/null').wait(WAIT) == 0, 'there is room again')
    world.finish()


def probe():
    """A peer that knows the secret reaches what it has leased, and nothing else."""
    world = World(data='64M')
    sums = {make(f'around{number}', 1 << 20, b'%d' % number): hashlib.sha256(b'%d' % number * (1 << 20)).digest()
            for number in range(9)}
    done = subprocess.run(world.peer.words('pinfs-rdma-rogue', 'probe', SECRET, TARGET, 'file'), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=WAIT * 3)
    print(done.stdout, done.stderr)
    assert done.returncode == 0 and done.stdout.count('ok ') == 8, done
    verify(sums)
    now = read(f'{MNT}/file')
    assert now[:4096] + now[8192:] == b'a' * ((1 << 20) - 4096), 'more than what was leased and written'
    world.finish()


def versions():
    world = World()
    later = world.peer.connect()
    later.sendall(struct.pack('<IHH', MAGIC, 7, 9) + os.urandom(32))
    got = closed(later)
    magic, low, high, version, error = struct.unpack_from('<IHHII', got)
    assert (magic, low, high, version, error) == (MAGIC, 1, 1, 0, errno.EPROTONOSUPPORT) and not any(got[16:]), got
    assert 'another version of the protocol' in world.said()
    world.stop()
    # A server of another version, and one that is none.
    for answer, words in ((struct.pack('<IHHII', MAGIC, 7, 9, 0, errno.EPROTONOSUPPORT) + bytes(32),
                           'speaks versions 7 to 9 of the protocol, this program 1 to 1'),
                          (b'220 mail.example.org ESMTP ready, and more to make it long enough\r\n', 'does not speak this'),
                          (struct.pack('<IHHII', MAGIC, 1, 1, 1, 0) + os.urandom(32) + struct.pack('<II', MAGIC, 0) +
                           os.urandom(56), 'does not know the secret'),
                          (b'', 'hung up')):
        server = subprocess.Popen(world.target.words(sys.executable, '-c', '''if True:
            import socket, sys
            sock = socket.create_server(("%s", %d), reuse_port=True)
            print(flush=True)
            peer = sock.accept()[0]
            peer.recv(40, socket.MSG_WAITALL)
            peer.sendall(sys.stdin.buffer.read())
            try:
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(4096): pass
            except OSError: pass  # it has hung up first
            ''' % (TARGET, PORT)), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        server.stdin.write(answer)
        server.stdin.close()
        server.stdout.readline()
        world.refused(words, 'get', 'file')
        assert server.wait(WAIT) == 0
    world.refused('Connection refused', 'get', 'file')
    world.start()
    world.finish()


def refusals():
    world = World(f'{MNT}/readable', write=('other',))
    world.refused('no file of that name', 'get', 'file')
    world.refused('no file of that name', 'get', '../other')
    world.refused('lets it be read only', 'put', 'readable', data_file())
    assert world.do('get', 'readable') == b'r' * 5000
    world.refused('the file ends before the range does', 'get', 'readable', '--length', '5001')
    world.refused('File too large|too large', 'put', 'other', '--offset', str((1 << 63) - 1), data_file())
    world.refused('No space left', 'put', 'other', sparse_file('huge', 1 << 30))
    world.refused('No such file', 'put', 'other', CASE + '/none')
    assert read(f'{MNT}/other') == b'a' * (1 << 20)
    # The server says at once what cannot be.
    for words, arguments in (('is not on a pinfs mount', [SECRET]), ('No such file', [MNT + '/none']),
                             ('no device for', ['--provider', 'verbs', MNT + '/other']),
                             ('others do not let the target end', ['--provider', 'shm', MNT + '/other']),
                             ('two files of the name', ['a=' + SECRET, 'a=' + SECRET]),
                             ('is missing', None), ('no file to serve', []),
                             ('cannot listen: Address already in use', [MNT + '/other'])):
        words_of = ['pinfs-rdma-serve'] + (['-s', SECRET, '-a', TARGET, *arguments] if arguments is not None else [])
        done = subprocess.run(world.target.words(*words_of), capture_output=True, text=True, timeout=WAIT,
                              stdin=subprocess.DEVNULL)
        assert done.returncode in (1, 2) and re.search(words, done.stderr) and not done.stdout, (words, done)
    world.finish()


def data_file():
    return random_file('data', 5000)


if sys.argv[1] not in globals():
    sys.exit(f'{sys.argv[1]}: no such case')
globals()[sys.argv[1]]()
