"""File handles (name_to_handle_at, open_by_handle_at). handles.py take|open|gone|connectable FOLDER [FILE]

take    handles of some files and folders, to FILE
open    after a while: all of them are what they were
"""
import ctypes
import errno
import json
import os
import sys

from calls import AT_FDCWD, equal, fails, read_file, write_file

AT_EMPTY_PATH = 0x1000
AT_HANDLE_CONNECTABLE = 0x002
_libc = ctypes.CDLL(None, use_errno=True)
COMMAND, FOLDER = sys.argv[1:3]
NAMES = ('.', 'folder', 'folder/deep', 'folder/deep/file', 'top', 'folder/second')


class Handle(ctypes.Structure):
    _fields_ = [('bytes', ctypes.c_uint), ('type', ctypes.c_int), ('data', ctypes.c_ubyte * 128)]


def take(path, flags=0):
    handle, mount = Handle(128), ctypes.c_int()
    if _libc.name_to_handle_at(AT_FDCWD, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return [handle.type, bytes(handle.data[:handle.bytes]).hex()]


def opened(handle, flags=os.O_RDONLY):
    data = bytes.fromhex(handle[1])
    raw = Handle(len(data), handle[0], (ctypes.c_ubyte * 128)(*data))
    mount = os.open('.', os.O_RDONLY | os.O_DIRECTORY)
    try:
        fd = _libc.open_by_handle_at(mount, ctypes.byref(raw), flags)
        if fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(handle))
        return fd
    finally:
        os.close(mount)


def make():
    os.makedirs('folder/deep')
    write_file('folder/deep/file', b'deep')
    write_file('top', b'top')
    os.link('top', 'folder/second')


def check(handles):
    for name, (handle, ino) in handles.items():
        fd = opened(handle)
        equal(os.fstat(fd).st_ino, ino, name)
        if name == 'folder/deep/file':
            equal(os.read(fd, 9), b'deep')
        # The kernel finds the way up from a folder by "..".
        if name in ('folder', 'folder/deep'):
            equal(os.readlink(f'/proc/self/fd/{fd}'), os.path.realpath(name), 'the path of a folder')
        os.close(fd)


def drop_caches():
    with open('/proc/sys/vm/drop_caches', 'w', encoding='ascii') as file:
        file.write('2')


def gone():
    """What is removed is stale, also when its number is another file's; what is open still can be opened."""
    write_file('victim', b'victim')
    os.mkdir('removed')
    handles = [take('victim'), take('removed')]
    ino = os.stat('victim').st_ino
    fd = os.open('victim', os.O_RDONLY)
    os.unlink('victim')
    os.rmdir('removed')
    os.close(opened(handles[0]))
    os.close(fd)
    drop_caches()
    for handle in handles:
        with fails(errno.ESTALE):
            opened(handle)
    made = 0
    while True:
        write_file(f'n{made}')
        made += 1
        if os.stat(f'n{made - 1}').st_ino == ino:
            break
        assert made < 100000, f'the number {ino} does not come back'
    with fails(errno.ESTALE):
        opened(handles[0])
    os.close(opened(take(f'n{made - 1}')))
    # Numbers that no name leads to, and nonsense.
    kind, data = take('.')
    for number in (0, 2, 3, 4, 15, 2**20, 2**63, 2**64 - 1):
        with fails(errno.ESTALE):
            opened([kind, number.to_bytes(8, 'little').hex() + data[16:]] if kind != 0x81
                   else [kind, (number >> 32 & 0xffffffff).to_bytes(4, 'little').hex() +
                         (number & 0xffffffff).to_bytes(4, 'little').hex() + data[16:]])
    print(made, 'files until the number came back')


def connectable():
    """The handle knows the parent: the file opens under its path, with all caches cold."""
    make()
    try:
        handle = take('folder/deep/file', AT_HANDLE_CONNECTABLE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        sys.exit(77)
    path = os.path.realpath('folder/deep/file')
    drop_caches()
    fd = opened(handle)
    equal(os.read(fd, 9), b'deep')
    equal(os.readlink(f'/proc/self/fd/{fd}'), path, 'the path of the file')


def main():
    os.chdir(FOLDER)
    if COMMAND == 'take':
        make()
        with open(sys.argv[3], 'w', encoding='ascii') as file:
            json.dump({name: (take(name), os.stat(name).st_ino) for name in NAMES}, file)
    elif COMMAND == 'open':
        check(json.loads(read_file(sys.argv[3])))
    else:
        {'gone': gone, 'connectable': connectable}[COMMAND]()


main()
