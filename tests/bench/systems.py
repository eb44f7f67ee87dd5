"""The filesystems that are measured: pinfs in its modes, and the peers. Each is mounted in a folder of the scratch space."""
import json
import os
import select
import shutil
import signal
import subprocess
import time

MIB = 1 << 20


class CannotMount(Exception):
    """Why a system is not there; the rest goes on without it."""


def run(*command, **options):
    """Runs a command; its output is the error's text if it fails."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, **options)
    text = done.stdout.decode(errors='replace').strip()
    if done.returncode != 0:
        raise CannotMount(f'{os.path.basename(str(command[0]))}: {text[-500:] or done.returncode}')
    return text


def wait_for(condition, what, seconds=30, process=None):
    """Mounts tell nobody that they are there."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end or process is not None and process.poll() is not None:
            raise CannotMount(what)
        time.sleep(0.01)


class System:
    """A folder on some filesystem. `direct`: the programs open files with O_DIRECT, for want of a cache=none."""
    fuse = False

    def __init__(self, place, name, direct=False):
        self.place, self.name, self.direct = place, name, direct
        self.folder = os.path.join(place.scratch, name)

    def mount(self):
        os.makedirs(self.folder)

    def umount(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def run_in(self):
        """An empty folder for a program."""
        folder = os.path.join(self.folder, 'work')
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        return folder


class Mounted(System):
    process = None

    def umount(self):
        if os.path.ismount(self.folder):
            try:
                run('umount', self.folder)
            except CannotMount:
                subprocess.run(['umount', '-l', self.folder], check=False)
        self.end_process()

    def end_process(self):
        """Some of libfuse's examples do not end by themselves."""
        if self.process is None:
            return
        for ending in (lambda: None, self.process.terminate, self.process.kill):
            ending()
            try:
                self.process.wait(0.5)
                break
            except subprocess.TimeoutExpired:
                pass
        self.process = None


class Ext4(Mounted):
    """ext4 in a file on tmpfs. Everything is made at mkfs, so that no thread of its own does it while we measure."""

    def mount(self):
        os.makedirs(self.folder)
        image = self.folder + '.image'
        with open(image, 'wb') as file:
            file.truncate(self.place.ext4_bytes)
        run('mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', image)
        run('mount', '-o', 'loop,noatime', image, self.folder)


class FusePeer(Mounted):
    """A daemon in the foreground. `uring`: it shall talk to the kernel over io_uring."""
    fuse = True

    def __init__(self, place, name, options=(), direct=False):
        super().__init__(place, name, direct)
        self.options = list(options)

    def command(self):
        raise NotImplementedError

    def start(self, command):
        os.makedirs(self.folder)
        if not os.path.exists(command[0]):
            raise CannotMount(self.place.why_no_peers or f'{command[0]} is not built')
        log = self.folder + '.log'
        with open(log, 'wb') as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        wait_for(lambda: os.path.ismount(self.folder), f'{self.name}: no mount: see {log}', process=self.process)

    def mount(self):
        if any('io_uring' in option for option in self.options) and not self.place.uring:
            raise CannotMount('the kernel does not offer FUSE over io_uring (fuse.enable_uring)')
        self.start(self.command())


class Memfs(FusePeer):
    def command(self):
        return [self.place.peer('memfs_ll'), '-f', *self.options, self.folder]


class PassthroughHp(FusePeer):
    """passthrough_hp over a folder on tmpfs."""

    def command(self):
        source = self.folder + '.source'
        os.makedirs(source, exist_ok=True)
        return [self.place.peer('passthrough_hp'), '--foreground', *self.options, source, self.folder]


class Pmemobjfs(FusePeer):
    """PMDK's example: one thread, by its own README."""

    def command(self):
        pool = self.folder + '.pool'
        program = self.place.peer('pmemobjfs')
        if os.path.exists(program) and not os.path.exists(pool):
            run(self.place.peer('mkfs.pmemobjfs'), '-s', f'{self.place.pool_mib}M', '-b', '4096', pool)
        return [program, '-f', '-s', '-obig_writes,default_permissions,hard_remove', pool, self.folder]


class Pinfs(Mounted):
    fuse = True

    def __init__(self, place, name, options=(), data=None, meta_mib=256):
        super().__init__(place, name)
        self.options, self.data_mib, self.meta_mib = list(options), data or place.pool_mib, meta_mib
        self.meta = self.folder + '.meta'
        self.data = self.folder + '.data'

    def make(self):
        run(self.place.pinfs, 'mkfs', '--quiet', '--meta-size', f'{self.meta_mib}M', '--data',
            f'{self.data}:{self.data_mib}M', self.meta)

    def mount(self):
        """In the foreground, as the peers: a session of its own can be scheduled otherwise (sched_autogroup)."""
        os.makedirs(self.folder, exist_ok=True)
        if not os.path.exists(self.meta):
            self.make()
        log = self.folder + '.log'
        with open(log, 'wb') as out:
            self.process = subprocess.Popen(self.command('-f'), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        wait_for(lambda: os.path.ismount(self.folder), f'{self.name}: no mount: see {log}', process=self.process)
        os.stat(self.folder)

    def command(self, *flags):
        options = self.options + self.place.pinfs_options
        return [self.place.pinfs, 'mount', *flags, *(['-o', ','.join(options)] if options else []), self.meta, self.folder]

    def mount_again(self):
        """As users do. Seconds that the command took."""
        start = time.monotonic()
        run(*self.command())
        return time.monotonic() - start

    def status(self):
        return json.loads(run(self.place.pinfs, 'stat', '--json', self.folder))

    def daemon(self):
        return self.status()['pid']

    def ends(self, action):
        """The daemon is gone, after an action that shall end it."""
        daemon = self.daemon()
        fd = os.pidfd_open(daemon)
        try:
            action(daemon)
            if not select.select([fd], [], [], 60)[0]:
                raise CannotMount(f'{self.name}: the daemon {daemon} does not end')
        finally:
            os.close(fd)
        self.end_process()

    def umount(self):
        if os.path.ismount(self.folder):
            self.ends(lambda daemon: super(Pinfs, self).umount())

    def kill(self):
        """As a crash of the daemon."""
        self.ends(lambda daemon: os.kill(daemon, signal.SIGKILL))
        run('umount', self.folder)

    def remove(self):
        for path in (self.meta, self.data):
            if os.path.exists(path):
                os.unlink(path)


def all_systems(place):
    """Name to system, none of them mounted. FUSE peers come in all transports: the best one counts in each row."""
    uring = ('-o', 'io_uring')
    copy = '--nopassthrough'  # each byte goes through the daemon
    found = [
        Pinfs(place, 'pinfs'),
        Pinfs(place, 'pinfs-none', ['cache=none']),
        Pinfs(place, 'pinfs-writeback', ['cache=writeback']),
        System(place, 'tmpfs'),
        Ext4(place, 'ext4'),
        Memfs(place, 'memfs'),
        Memfs(place, 'memfs-clone', ['-o', 'clone_fd']),
        Memfs(place, 'memfs-uring', uring),
        Memfs(place, 'memfs-direct', direct=True),
        Memfs(place, 'memfs-direct-uring', uring, direct=True),
        PassthroughHp(place, 'hp-kernel'),  # the kernel reads and writes the file below by itself
        PassthroughHp(place, 'hp', [copy]),
        PassthroughHp(place, 'hp-uring', [copy, *uring]),
        PassthroughHp(place, 'hp-single', [copy, '--single']),
        PassthroughHp(place, 'hp-through', [copy, '--nocache']),  # no write-back: each write reaches the daemon
        PassthroughHp(place, 'hp-through-uring', [copy, '--nocache', *uring]),
        PassthroughHp(place, 'hp-direct', [copy, '--direct-io']),
        PassthroughHp(place, 'hp-direct-uring', [copy, '--direct-io', *uring]),
        PassthroughHp(place, 'hp-direct-nosplice', [copy, '--direct-io', '--nosplice']),
        Pmemobjfs(place, 'pmemobjfs'),
    ]
    return {system.name: system for system in found}
