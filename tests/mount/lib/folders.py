"""Reading folders. folders.py FOLDER COMMAND [COUNT]; see main() for the commands."""
import collections
import errno
import multiprocessing
import os
import random
import sys

from calls import Directory, RENAME_EXCHANGE, equal, fails, opened, renameat2, write_file

CHANGERS, STEPS, STAY = 3, 1200, 700


def change(number, left):
    """Makes, renames and removes names of its own; what stays is not touched, but for other names beside it."""
    rand = random.Random(number)
    mine = []
    for step in range(STEPS):
        way = rand.randrange(5)
        name = f'busy/{number}-{step}' + 'n' * rand.randrange(100)
        if way < 2 or len(mine) < 3:
            if way == 0:
                os.mkdir(name)
            else:
                write_file(name)
            mine.append(name)
        elif way == 2:
            victim = mine.pop(rand.randrange(len(mine)))
            (os.rmdir if os.path.isdir(victim) else os.unlink)(victim)
        elif way == 3:
            at = rand.randrange(len(mine))
            os.rename(mine[at], name)
            mine[at] = name
        else:
            renameat2(*rand.sample(mine, 2), RENAME_EXCHANGE)
    with left.get_lock():
        left.value -= 1


def all_of(folder):
    names = []
    while (name := folder.read()) is not None:
        names.append(name)
    return names


def read_whole(left, wants):
    """Each reading has every name that stays, once, and none twice."""
    readings = 0
    folder = Directory('busy')
    while left.value or not readings:
        folder.seek(0)
        names = all_of(folder)
        twice = [name for name, count in collections.Counter(names).items() if count > 1]
        assert not twice, f'reading {readings}: twice: {twice[:5]}'
        missing = wants - set(names)
        assert not missing, f'reading {readings}: {len(missing)} missing: {sorted(missing)[:5]}'
        readings += 1
    folder.close()


def concurrent():
    os.mkdir('busy')
    stay = {f'stay{number:04}' + 's' * (number % 90) for number in range(STAY)}
    for name in stay:
        write_file('busy/' + name)
    left = multiprocessing.Value('i', CHANGERS)
    processes = [multiprocessing.Process(target=change, args=(number, left)) for number in range(CHANGERS)]
    processes += [multiprocessing.Process(target=read_whole, args=(left, stay | {'.', '..'})) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert not any(process.exitcode for process in processes), [process.exitcode for process in processes]
    # In the end it has what each look-up finds, and the types agree.
    with os.scandir('busy') as entries:
        for entry in entries:
            st = os.lstat(entry.path)
            equal((entry.inode(), entry.is_dir()), (st.st_ino, os.path.isdir(entry.path)), entry.path)


def together():
    """Several processes make the same names: each is made once. They remove them: each is removed once."""
    os.mkdir('same')

    def every(call, code):
        def body(count):
            for number in range(300):
                try:
                    call(f'same/{number}')
                except OSError as error:
                    assert error.errno == code, error
                else:
                    with count.get_lock():
                        count.value += 1
        count = multiprocessing.Value('i', 0)
        processes = [multiprocessing.Process(target=body, args=(count,)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            equal(process.exitcode, 0, 'exit code')
        equal(count.value, 300, call.__name__)

    every(os.mkdir, errno.EEXIST)
    equal(len(os.listdir('same')), 300)
    equal(os.stat('same').st_nlink, 302)
    every(os.rmdir, errno.ENOENT)
    equal((os.listdir('same'), os.stat('same').st_nlink), ([], 2))


def positions():
    """telldir and seekdir: from each position the rest follows, also when others have gone; rewinddir sees the new ones."""
    os.mkdir('seek')
    for number in range(300):
        write_file(f'seek/{number:03}' + 'x' * (number % 50))
    folder = Directory('seek')
    places, names = [folder.tell()], []
    while (name := folder.read()) is not None:
        names.append(name)
        places.append(folder.tell())
    equal(len(set(names)), 302, 'names')
    equal(len(set(places)), 303, 'positions')
    for at in (0, 1, 2, 5, 100, 299, 301, 302, 17):
        folder.seek(places[at])
        equal(all_of(folder), names[at:], f'from position {at} on')
    gone = [name for name in names[50:150] if name[0] != '.']
    for name in gone:
        os.unlink('seek/' + name)
    for at in (0, 60, 100, 149, 200):
        folder.seek(places[at])
        equal(all_of(folder), [name for name in names[at:] if name not in gone], f'from {at} on, some have gone')
    write_file('seek/new')
    folder.seek(places[0])
    equal(sorted(all_of(folder)), sorted({*names, 'new'} - set(gone)), 'rewound')
    folder.close()


def removed():
    os.mkdir('gone')
    write_file('gone/x')
    folder = Directory('gone')
    with opened('gone', os.O_RDONLY) as fd:
        os.unlink('gone/x')
        os.rmdir('gone')
        equal([name for name in all_of(folder) if name not in ('.', '..', 'x')], [], 'a removed folder')
        equal(os.listdir(fd), [], 'a removed folder, anew')
        with fails(errno.ENOENT):
            os.open('y', os.O_CREAT, dir_fd=fd)
        os.mkdir('gone')
        write_file('gone/other')
        equal(os.listdir(fd), [], 'another one of its name')
        equal(os.fstat(fd).st_nlink, 0, 'links')
    folder.close()
    here = os.open('.', os.O_RDONLY)
    os.mkdir('left')
    os.chdir('left')
    os.rmdir('../left')
    with fails(errno.ENOENT):
        os.getcwd()
    with fails(errno.ENOENT):
        write_file('x')
    os.fchdir(here)
    os.close(here)


def deep():
    """Deeper than a path can say; a path of 4095 bytes works, one more does not."""
    os.mkdir('deep')
    here = os.open('deep', os.O_RDONLY)
    for level in range(60):
        os.mkdir('d' * 200, dir_fd=here)
        below = os.open('d' * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    start = os.open('.', os.O_RDONLY)
    os.fchdir(here)
    write_file('bottom', b'deep')
    for level in range(61):
        equal(os.path.exists('bottom'), level == 0, f'{level} up')
        os.chdir('..')
    equal(os.stat('.').st_ino, os.fstat(start).st_ino, 'back at the top')
    os.fchdir(start)
    os.close(start)
    os.close(here)
    path = 'deep' + ('/' + 'd' * 200) * 20  # 4024 bytes
    last = path + '/' + 'e' * (4095 - len(path) - 1)
    os.mkdir(last)
    equal(os.stat(last).st_nlink, 2)
    with fails(errno.ENAMETOOLONG):
        os.mkdir(last + 'e')
    count = sum(1 for _ in os.fwalk('deep'))
    equal(count, 62, 'folders')


def small():
    for case in (concurrent, together, positions, removed):
        case()


def name_of(number):
    return f'{number:06}' + 'l' * (number % 30)


def large(count):
    os.mkdir('large')
    os.chdir('large')
    for number in range(count):
        os.close(os.open(name_of(number), os.O_CREAT | os.O_EXCL))
    large_again(count, '.')


def large_again(count, folder='large'):
    os.chdir(folder)
    equal(sorted(os.listdir('.')), [name_of(number) for number in range(count)], 'names')
    for number in range(0, count, 997):
        assert os.path.exists(name_of(number))
        assert not os.path.exists(name_of(number) + 'l')
    # A removal while reading, as rm -r does it.
    if folder != '.':
        os.chdir('..')
        seen = set()
        with os.scandir(folder) as entries:
            for entry in entries:
                assert entry.name not in seen, entry.name
                seen.add(entry.name)
                os.unlink(entry.path)
        equal(len(seen), count, 'removed while they were read')
        equal(os.listdir(folder), [])
        os.rmdir(folder)


def main():
    folder, command, *rest = sys.argv[1:]
    os.chdir(folder)
    globals()[command](*map(int, rest))


main()
