"""What is not a program of one process: trees of files, building, mounting, the daemon's memory."""
import os
import random
import shutil
import subprocess
import tarfile
import time

from systems import Pinfs, run


def timed(*command, **options):
    start = time.monotonic()
    run(*command, **options)
    return time.monotonic() - start


# ---- Trees ----

def archive(place):
    """A tar of files of 0 to 16 KiB in folders of a hundred; the same in each run."""
    path = os.path.join(place.plain(), 'tree.tar')
    if os.path.exists(path):
        return path
    source = os.path.join(place.plain(), 'tree')
    numbers = random.Random(1)
    data = numbers.randbytes(1 << 20)
    for i in range(place.sizes['tree']):
        folder = f'{source}/{i // 1000}/{i // 100 % 10}'
        if i % 100 == 0:
            os.makedirs(folder)
        with open(f'{folder}/{i}', 'wb') as file:
            size = min(int(numbers.expovariate(1 / 4096)), 16384)
            at = numbers.randrange(len(data) - size)
            file.write(data[at:at + size])
    with tarfile.open(path, 'w') as tar:
        tar.add(source, 'tree')
    shutil.rmtree(source)
    return path


def tree(place, system):
    tar, folder = archive(place), system.run_in()
    yield 'untar', timed('tar', '-xf', tar, '-C', folder)
    with tarfile.open(tar) as packed:
        expected = sum(member.isfile() for member in packed)
    found = sum(len(files) for _, _, files in os.walk(folder))
    if found != expected:
        raise OSError(f'{system.name}: {found} files of {expected} are there')
    yield 'remove', timed('rm', '-rf', os.path.join(folder, 'tree'))


def build(place, system):
    """Sources and build folder are on the mount; compiler and libraries are not."""
    folder = system.run_in()
    source = os.path.join(folder, 'source')
    shutil.copytree(place.root, source, ignore=shutil.ignore_patterns('build*', '.git'))
    output = os.path.join(folder, 'build')
    run('meson', 'setup', '-Dbuildtype=debugoptimized', output, source)
    targets = ['src/base/libbase.a'] if place.quick else ['tools/pinfs']
    yield 'build', timed('ninja', '-j2', '-C', output, *targets)
    shutil.rmtree(folder)


# ---- Mounting ----

FILE_COST = 4096 * 9 // 8 + 560  # bytes that a file of a block needs


def room(place):
    found = os.statvfs(place.scratch)
    return found.f_bavail * found.f_frsize


def mount(place, system):
    """A pool that grows; at each size it is mounted clean, and after SIGKILL, a few times."""
    del system
    full = max((count for count in place.mount_counts if count * FILE_COST < 0.8 * room(place)), default=0)
    largest = place.mount_counts[-1]
    if full < largest:
        place.notes.append(f'mount: no room for so much data in {place.scratch}: files after the first {full:,} are empty')
    pool = Pinfs(place, 'pinfs-grown', data=64 + (full * 4096 * 9 // 8 >> 20), meta_mib=64 + (largest * 560 >> 20))
    pool.mount()
    place.mounted[pool.name] = pool
    folder = os.path.join(pool.folder, 'files')
    os.mkdir(folder)
    below = 0
    for count in place.mount_counts:
        run(place.program('fill'), folder, below, count, 4096 if count <= full else 0)
        below = count
        pool.umount()
        for _ in range(place.few):
            yield f'clean-{count}', pool.mount_again() * 1000
            pool.umount()
        pool.mount_again()
        for turn in range(place.few):
            os.mkdir(os.path.join(pool.folder, f'changed-{count}-{turn}'))
            pool.kill()
            yield f'killed-{count}', pool.mount_again() * 1000
    del place.mounted[pool.name]
    pool.umount()
    pool.remove()


# ---- Memory ----

def private_bytes(pid):
    """What only the process has: not the pool, which is mapped, and is the storage itself; with its programs' text."""
    with open(f'/proc/{pid}/status', encoding='ascii') as file:
        fields = dict(line.split(':', 1) for line in file)
    return sum(int(fields[key].split()[0]) * 1024 for key in ('RssAnon', 'RssFile'))


def memory(place, system):
    del system
    pool = Pinfs(place, 'pinfs-memory', data=max(64, place.sizes['inodes'] >> 8), meta_mib=128)
    pool.mount()
    place.mounted[pool.name] = pool
    yield 'idle', private_bytes(pool.daemon()) / (1 << 20)
    folder = os.path.join(pool.folder, 'files')
    os.mkdir(folder)
    run(place.program('fill'), folder, 0, place.sizes['inodes'], 0)
    pool.umount()
    pool.mount_again()
    before = private_bytes(pool.daemon())
    run(place.program('fill'), '--stat', folder, place.sizes['inodes'])
    status = pool.status()
    yield 'inode', (private_bytes(status['pid']) - before) / status['inodes']['cached']
    del place.mounted[pool.name]
    pool.umount()
    pool.remove()
    yield from sparse(place)


def used_bytes(path):
    return os.stat(path).st_blocks * 512


def sparse(place):
    """A data part of 1 TiB that has no blocks yet; one small file in it."""
    pool = Pinfs(place, 'pinfs-sparse')
    with open(pool.data, 'wb') as file:
        file.truncate(1 << 40)
    run(place.pinfs, 'mkfs', '--quiet', '--meta-size', '64M', '--data', pool.data, pool.meta)
    pool.mount()
    place.mounted[pool.name] = pool
    with open(os.path.join(pool.folder, 'small'), 'wb') as file:
        file.write(bytes(4096))
    yield 'sparse', private_bytes(pool.daemon()) / (1 << 20)
    yield 'media', (used_bytes(pool.data) + used_bytes(pool.meta) - (64 << 20)) / (1 << 20)
    del place.mounted[pool.name]
    pool.umount()
    pool.remove()


def run_special(place, case, system):
    return {'tree': tree, 'build': build, 'mount': mount, 'memory': memory}[case.arguments](place, system)
