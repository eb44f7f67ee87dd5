"""Damages a pool that nobody has open. damage.py META names|inodes|nodes COUNT

Overwrites with garbage, in COUNT places, evenly over the pool: names: heads of pages of directory entries; inodes: owner
and times in inode records; nodes: heads of map nodes. Prints how many there were.
"""
import mmap
import random
import sys

KINDS = {'names': (b'Pnam', 4096, 4, 120), 'inodes': (b'Pino', 256, 64, 40), 'nodes': (b'Pnod', 4096, 4, 56)}
ENTRIES = 2  # the kind of a page of names


def main():
    magic, step, start, length = KINDS[sys.argv[2]]
    random.seed(1)
    with open(sys.argv[1], 'r+b') as file, mmap.mmap(file.fileno(), 0) as pool:
        places = []
        at = pool.find(magic)
        while at >= 0:
            # Pages and slots lie at multiples of 64 from each other; 16 bytes of an arena's object come before.
            if sys.argv[2] != 'names' or pool[at + 20] == ENTRIES:
                places.append(at)
            at = pool.find(magic, at + step)
        count = min(int(sys.argv[3]), len(places))
        for i in range(count):
            place = places[(i * 2 + 1) * len(places) // (2 * count)]
            pool[place + start:place + start + length] = random.randbytes(length)
    print(len(places))


main()
