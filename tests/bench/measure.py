"""Rounds: each system in turn, the order changing, so that pairs of one round meet the same machine."""
import json
import os
import subprocess
import sys
import time
from collections import defaultdict

import special
from systems import CannotMount


class Failed(Exception):
    pass


def requests(status):
    """Number of requests by kind. FORGETs come in batches, are not answered, and nobody waits for them."""
    return {kind: numbers['count'] for kind, numbers in status['operations'].items() if kind != 'forget'}


class Samples:
    """Values of each row and system, one a round, and what a row's operations cost in requests."""

    def __init__(self):
        self.values = defaultdict(lambda: defaultdict(dict))  # row title: system: round: value
        self.requests = defaultdict(dict)  # row title: system: kind: requests of an operation
        self.libfuse = 'not known'  # of pinfs
        self.missing = {}  # system, or case on system: why

    def add(self, row, system, number, value):
        self.values[row.title][system][number] = value


def value_of(unit, operations, size, seconds):
    if unit == 'op/s':
        return operations / seconds
    if unit == 'MiB/s':
        return size / seconds / (1 << 20)
    return seconds / operations * {'ns': 1e9, 'us': 1e6, 'ms': 1e3}.get(unit, 1)


def difference(before, after, operations):
    """Requests of an operation, by kind; None if they were not counted."""
    if before is None or after is None:
        return None
    before['getxattr'] = before.get('getxattr', 0) + 1  # the one that asked
    kinds = {kind: (count - before.get(kind, 0)) / operations for kind, count in after.items()}
    return {kind: each for kind, each in kinds.items() if each > 0.0005}


def run_program(place, case, system, samples):
    """Steps that a program did: name, system, operations, bytes, seconds, requests of an operation."""
    command = [place.program(case.program), *[str(word) for word in case.arguments(place, system)]]
    environment = dict(os.environ, BENCH_SECONDS=str(place.seconds))
    counts = system.name.startswith('pinfs')
    if counts:
        environment['BENCH_STATUS'] = system.folder
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=900, check=False)
    if done.returncode != 0:
        raise Failed(f'{case.program}: {done.stderr.decode(errors="replace").strip()}')
    before = after = None
    for line in done.stdout.decode().splitlines():
        word, _, rest = line.partition('\t')
        if word == 'before':
            status = json.loads(rest)
            samples.libfuse = status['libfuse']
            before = requests(status)
        elif word == 'after':
            after = requests(json.loads(rest))
        elif word == 'step':
            name, of, *numbers = rest.split('\t')
            operations, size, seconds = (float(number) for number in numbers)
            yield name, of, operations, size, seconds, difference(before, after, operations)
            before = after = None


def measure_one(place, case, system, number, samples):
    rows = {row.key: row for row in case.rows}
    if case.program is None:
        for key, value in special.run_special(place, case, system):
            # A key that comes several times: rounds of its own.
            found = samples.values[rows[key].title][system.name]
            samples.add(rows[key], system.name, number if number not in found else len(found), value)
        return
    best = {}
    for name, of, operations, size, seconds, kinds in run_program(place, case, system, samples):
        row = rows.get(name)
        if row is None:
            continue
        value = value_of(row.unit, operations, size, seconds)
        of = system.name if of == '-' else of
        # A step that was repeated counts with its best.
        if (row.key, of) not in best or (value < best[row.key, of]) == row.less_is_better:
            best[row.key, of] = value
        samples.add(row, of, number, best[row.key, of])
        if kinds is not None:
            samples.requests[row.title][of] = kinds


def mount(place, system, samples):
    """Mounts it, unless it is mounted or known not to be there."""
    if system.name in samples.missing:
        return False
    if system.name in place.mounted:
        return True
    try:
        system.mount()
    except CannotMount as why:
        samples.missing[system.name] = str(why)
        return False
    place.mounted[system.name] = system
    return True


def measure(place, cases, rounds, after_each):
    """All cases; failures of pinfs count, those of a peer only end that peer."""
    samples, failures = Samples(), []
    for case in cases:
        start = time.monotonic()
        systems = [place.systems[name] for name in ([case.pinfs] if place.quick and case.slow else case.systems())]
        systems = [system for system in systems if mount(place, system, samples)]
        if place.systems[case.pinfs] not in systems:
            failures.append(f'{case.name}: {samples.missing[case.pinfs]}')
        for number in range(min(rounds, case.rounds or rounds)):
            # pinfs is now before, now behind its peers.
            for system in systems if number % 2 == 0 else systems[::-1]:
                name = f'{case.name} on {system.name}'
                if name in samples.missing:
                    continue
                try:
                    measure_one(place, case, system, number, samples)
                except (Failed, CannotMount, OSError, subprocess.SubprocessError) as why:
                    samples.missing[name] = str(why)
                    if system.name == case.pinfs:
                        failures.append(f'{name}: {why}')
        try:
            place.umount_all()
        except CannotMount as why:
            failures.append(f'{case.name}: {why}')
        after_each(samples)
        print(f'# {case.name}: {time.monotonic() - start:.0f} s', file=sys.stderr, flush=True)
    return samples, failures
