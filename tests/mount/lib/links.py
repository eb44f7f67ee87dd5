"""Counts the links of everything under FOLDER by hand: link counts and inode types must agree. links.py FOLDER"""
import collections
import os
import stat
import sys

from calls import equal


def main():
    names = collections.defaultdict(list)
    for folder, folders, files in os.walk(sys.argv[1]):
        inside = 0
        for name in folders + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            if stat.S_ISDIR(st.st_mode):
                inside += 1
                equal(os.stat(path + '/..').st_ino, os.stat(folder).st_ino, f'.. of {path}')
            else:
                names[st.st_ino].append((path, st.st_nlink))
        equal(os.lstat(folder).st_nlink, 2 + inside, f'links of {folder}')
    for inode, found in names.items():
        equal([links for _, links in found], [len(found)] * len(found), f'links of inode {inode}: {found}')


main()
