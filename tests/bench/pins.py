"""The table of what tests/bench/pins.c has printed in several rounds: pins.py FILE"""
import statistics
import sys

values, units = {}, {}
for line in open(sys.argv[1], encoding='ascii'):
    what, value, unit = line.rstrip('\n').split('\t')
    values.setdefault(what, []).append(float(value))
    units[what] = unit

middle = {what: statistics.median(numbers) for what, numbers in values.items()}
print(f"{'pins':<34} {'unit':<16} {'median':>12} {'least-most':^23}")
for what, numbers in values.items():
    digits = 1 if units[what] == 'ns' and middle[what] < 10000 else 0
    print(f'{what:<34} {units[what]:<16} {middle[what]:>12,.{digits}f} {min(numbers):>11,.{digits}f}-{max(numbers):<11,.{digits}f}')


def ratio(what, peer):
    if what in middle and peer in middle:
        print(f'{what} / {peer}: {middle[what] / middle[peer]:.2f}')


ratio('first pin of 4 KiB', 'bare socket round trip')
ratio('its unpin (4 KiB)', 'bare socket round trip')
ratio('store through a pin', 'store, raw mmap of the part')
ratio('load through a pin', 'load, raw mmap of the part')
ratio('load through a pin', 'pread 1 MiB, tmpfs')
ratio('4 KiB random pread, tmpfs', '4 KiB random load through a pin')
