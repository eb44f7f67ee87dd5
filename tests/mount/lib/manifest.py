"""Prints everything that must survive about a tree, one line a name, sorted: what `cmp` then compares.

manifest.py [--loose] FOLDER
--loose leaves out inode numbers, allocated blocks, ctime and the times of folders: for copies of a tree.
"""
import hashlib
import os
import stat
import sys


def content(path):
    digest = hashlib.sha256()
    with open(path, 'rb', buffering=0) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def xattrs(path):
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return ','.join(f'{n}={hashlib.sha256(os.getxattr(path, n, follow_symlinks=False)).hexdigest()[:16]}'
                    for n in names)


def line(path, name, loose):
    st = os.lstat(path)
    fields = [name, oct(st.st_mode), st.st_uid, st.st_gid]
    if not stat.S_ISDIR(st.st_mode) or not loose:
        fields += [st.st_nlink, st.st_size, st.st_mtime_ns]
    if not loose:
        fields += [st.st_ino, st.st_blocks, st.st_ctime_ns]
    if stat.S_ISREG(st.st_mode):
        fields.append(content(path))
    elif stat.S_ISLNK(st.st_mode):
        fields.append(os.readlink(path))
    elif stat.S_ISBLK(st.st_mode) or stat.S_ISCHR(st.st_mode):
        fields.append(st.st_rdev)
    fields.append(xattrs(path))
    return ascii(fields)


def main():
    loose = sys.argv[1] == '--loose'
    top = os.fsencode(sys.argv[-1])
    names = [b'.']
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            names.append(os.path.relpath(os.path.join(folder, name), top))
    for name in sorted(names):
        print(line(os.path.join(top, name), name, loose))


main()
