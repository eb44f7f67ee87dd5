"""Shared mappings of files that are opened past the kernel's cache: what is stored is read, written is seen, both stay.

shared.py FOLDER.
"""
import mmap
import os
import sys

from calls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, equal, fallocate, opened, read_file

RW = os.O_RDWR | os.O_CREAT
SIZE = 1 << 20


def data_of(fd):
    return os.lseek(fd, 0, os.SEEK_DATA)


def main():
    os.chdir(sys.argv[1])
    with opened('f', RW) as fd:
        os.ftruncate(fd, SIZE)
        with mmap.mmap(fd, SIZE) as mapping:
            mapping[8192:8200] = b'stored 1'
            equal(data_of(fd), 8192, 'what is dirty is no hole')
            equal(os.pread(fd, 8, 8192), b'stored 1', 'read(2) of what was stored')
            mapping[8192:8200] = b'stored 2'
            equal(os.pread(fd, 8, 8192), b'stored 2', 'read(2) of what was stored again')
            os.pwrite(fd, b'written', 8200)
            equal(mapping[8192:8207], b'stored 2written', 'what write(2) wrote, mapped')
            mapping[SIZE - 1:] = b'e'
            with opened('f', os.O_RDONLY) as other, mmap.mmap(other, SIZE, prot=mmap.PROT_READ) as reader:
                equal(reader[8192:8207], b'stored 2written', 'another mapping')
                os.pwrite(fd, b'WRITTEN', 8200)
                equal(reader[8200:8207], b'WRITTEN', 'another mapping, after a write(2)')
            fallocate(fd, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, 8192, 4096)
            equal(mapping[8192:8207], bytes(15), 'a hole that was punched, mapped')
            mapping[4096:4100] = b'last'
            mapping.flush()
    equal(read_file('f')[4096:4100], b'last', 'what was flushed')
    with opened('late', RW) as fd:
        os.ftruncate(fd, SIZE)
        mapping = mmap.mmap(fd, SIZE)
        mapping[5:9] = b'late'
    mapping.close()  # dirty; whoever unmounts writes it back


main()
