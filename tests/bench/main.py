"""Measures pinfs beside its peers: see `tests/bench/run --help`, which calls this."""
import argparse
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

import measure
import plot
import report
import rows
import systems

URING = '/sys/module/fuse/parameters/enable_uring'


class Place:
    """Where things are, and how much is done."""

    def __init__(self, options):
        self.root, self.pinfs, self.build = options.root, options.pinfs, options.build
        self.peers, self.why_no_peers = options.peers, options.why_no_peers
        self.quick = options.quick
        self.sizes = {name: sizes[options.quick] for name, sizes in rows.SIZES.items()}
        self.mount_counts = [100] if options.quick else [10000, 100000, 1000000] + [10000000] * options.full
        self.seconds = 0.01 if options.quick else options.seconds
        self.few = 1 if options.quick else 3
        self.pool_mib = 192 if options.quick else 1024
        self.ext4_bytes = (256 if options.quick else 2048) << 20
        self.pinfs_options = options.option
        self.mounted, self.notes = {}, []
        base = '/dev/shm' if tmpfs('/dev/shm') else os.environ.get('TMPDIR', '/tmp')
        self.scratch = tempfile.mkdtemp(prefix='pinfs-bench.', dir=base)
        self.uring = switch_on_uring()
        self.systems = systems.all_systems(self)
        crowd = systems.Pinfs(self, 'pinfs-crowd', ['break_timeout=inf'])
        self.systems[crowd.name] = crowd

    def program(self, name):
        return os.path.join(self.build, 'tests/bench/bench-' + name)

    def peer(self, name):
        return os.path.join(self.peers, name)

    def plain(self):
        """A folder on tmpfs, for programs that bring their own peer."""
        folder = os.path.join(self.scratch, 'plain')
        os.makedirs(folder, exist_ok=True)
        return folder

    def umount_all(self):
        """All are tried; the last failure is told."""
        failure = None
        for system in list(self.mounted.values()):
            try:
                system.umount()
            except systems.CannotMount as why:
                failure = why
            for end in ('.meta', '.data', '.image', '.source', '.pool'):
                remove(system.folder + end)
            if os.path.isdir(system.folder) and not os.path.ismount(system.folder):
                os.rmdir(system.folder)
        self.mounted.clear()
        if failure is not None:
            raise failure

    def clean_up(self):
        try:
            self.umount_all()
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.exists(path):
        os.unlink(path)


def tmpfs(path):
    return subprocess.run(['stat', '-f', '-c', '%T', path], stdout=subprocess.PIPE, check=False).stdout.strip() == b'tmpfs'


def switch_on_uring():
    """New mounts may use io_uring then. A switch of the whole machine: it is left on, for others may have mounted since."""
    try:
        with open(URING, 'r+', encoding='ascii') as file:
            if file.read(1) != 'Y':
                file.seek(0)
                file.write('Y')
        return True
    except OSError:
        return False


def parse(arguments):
    parser = argparse.ArgumentParser(add_help=False)
    for name in ('root', 'pinfs', 'build', 'peers', 'why-no-peers', 'output', 'json', 'plot', 'markdown', 'again'):
        parser.add_argument('--' + name)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--seconds', type=float, default=0.2)
    parser.add_argument('--option', action='append', default=[])
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--full', action='store_true')
    parser.add_argument('names', nargs='*')
    return parser.parse_args(arguments)


def chosen(names):
    """Cases by the names of groups, of cases, or of rows; of a row the whole case is measured."""
    def wanted(case, name):
        return name in (case.group, case.name) or any(name == row.key for row in case.rows)

    for name in names:
        if not any(wanted(case, name) for case in rows.CASES):
            print(f'tests/bench/run: {name}: no such group, case or row: '
                  + ', '.join(sorted({case.group for case in rows.CASES} | {case.name for case in rows.CASES})), file=sys.stderr)
            sys.exit(2)
    return [case for case in rows.CASES if not names or any(wanted(case, name) for name in names)]


def head_of(place, options, samples):
    version = systems.run(place.pinfs, '--version').splitlines()[0]
    return [f'{version} with libfuse {samples.libfuse} on Linux {platform.release()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, '
            f'{1 if options.quick else options.rounds} rounds' + (', quick: the numbers mean nothing' if place.quick else ''),
            'pinfs is durable when a call returns (but with cache=writeback), as on persistent memory: '
            'PMEM_IS_PMEM_FORCE=1 on tmpfs. No peer is.']


def write_files(options, place, cases, samples):
    """After each case, so that an interrupted run is not lost."""
    head = head_of(place, options, samples)
    if options.output:
        report.write_tsv(options.output, samples, cases)
    if options.json:
        report.write_json(options.json, samples, cases, head)
    write_pictures(options, [line.as_dict() for line in report.lines_of(samples, cases)], head)


def write_pictures(options, facts, head):
    if options.plot:
        plot.write(options.plot, facts, head)
    if options.markdown:
        report.write_markdown(options.markdown, facts, head)


def again(options):
    """What --json of an earlier run has written, as a picture or a table."""
    try:
        with open(options.again, encoding='utf-8') as file:
            table = json.load(file)
        facts, head = table['rows'], table['head']
    except (OSError, ValueError, KeyError, TypeError) as why:
        sys.exit(f'tests/bench/run: {options.again}: is no table of --json: {why}')
    write_pictures(options, facts, head)


def main():
    options = parse(sys.argv[1:])
    if options.again:
        again(options)
        return
    cases = chosen(options.names)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard) if hard != soft else (soft, hard))
    os.environ['PMEM_IS_PMEM_FORCE'] = '1'
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(130))
    place = Place(options)
    rows.set_mount_counts(place.mount_counts)
    without = [case for case in cases if case.program and not os.path.exists(place.program(case.program))]
    cases = [case for case in cases if case not in without]
    for case in without:
        print(f'skip bench/{case.name} # bench-{case.program} was not built: libfabric is missing')
    try:
        rounds = 1 if options.quick else options.rounds
        samples, failures = measure.measure(place, cases, rounds, lambda so_far: write_files(options, place, cases, so_far))
        report.print_all(samples, cases, head_of(place, options, samples) + place.notes)
    finally:
        place.clean_up()
    for failure in failures:
        print(f'not ok bench/{failure}')
    print(f'{len(cases) - len(failures)} passed, {len(failures)} failed, {len(without)} skipped')
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main()
