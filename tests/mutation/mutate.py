"""Compiles one source file with one rule broken, links it before the libraries into a unit test, and expects the test
to fail. The build folder is read, not changed: it must be built. The text of a mutation must be in its file exactly
once, so that a change of the code cannot leave a mutation behind that mutates nothing.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from mutations import MUTATIONS

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A test that hangs is no finding, unless it has failed before, or the mutation says so: a lost wake-up shows in no
# other way. A mutant may take this long, or this many times what the test takes without it.
LEAST_SECONDS = 30
TIMES = 6


FAILED = re.compile(r'^not ok \d+ - (\S+)', re.M)
ASSERTION = re.compile(r"Assertion `(.*?)' failed")


class Failure(Exception):
    pass


def call(command, folder):
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors='replace', check=False)
    if done.returncode != 0:
        raise Failure(f'{command[0]} fails:\n{done.stdout[-3000:]}')
    return done.stdout


class Build:
    """What the build folder says about how things are made."""

    def __init__(self, folder):
        self.folder = folder
        with open(folder / 'compile_commands.json', encoding='utf-8') as file:
            entries = json.load(file)
        self.compile = {(folder / entry['file']).resolve(): shlex.split(entry['command']) for entry in entries
                        if not entry['output'].startswith('tests/')}

    def compile_command(self, source, mutant, target):
        command = self.compile.get(source)
        if command is None:
            raise Failure('the build does not compile this file')
        result = []
        words = iter(command)
        for word in words:
            if word in ('-o', '-MF', '-MQ', '-c'):
                next(words)
            elif word not in ('-MD', '-Werror'):
                result.append(word)
        return result + ['-w', '-o', str(target), '-c', str(mutant)]

    def link_command(self, test, mutant, target):
        lines = call(['ninja', '-C', str(self.folder), '-t', 'commands', '-s', program(test)], self.folder).splitlines()
        command = shlex.split(lines[-1])
        if '-o' not in command:
            raise Failure(f'no command links {program(test)}')
        place = command.index('-o')
        # Before the libraries: the member that it replaces is never asked for.
        return command[:place] + ['-o', str(target), str(mutant)] + command[place + 2:]


def program(test):
    return f'tests/unit/unit-{test}'


def scratch_folder():
    """For what a test that is broken off leaves behind: on tmpfs, as the tests would choose it."""
    base = os.environ.get('TMPDIR') or ('/dev/shm' if os.access('/dev/shm', os.W_OK) else None)
    return tempfile.TemporaryDirectory(prefix='mutation.', dir=base)


def execute(path, seconds):
    """Exit status (None: it hangs) and output of a test program, in a group of its own that does not outlive it."""
    with scratch_folder() as scratch, tempfile.TemporaryFile() as output:
        environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT='TAP', TMPDIR=scratch)
        child = subprocess.Popen([path], env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = child.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        output.seek(0)
        return status, output.read().decode(errors='replace')


def mutate(source, old, new):
    text = source.read_text(encoding='utf-8')
    if text.count(old) != 1:
        raise Failure(f'its text is in the file {text.count(old)} times, not once: bring '
                      'tests/mutation/mutations.py up to date')
    return text.replace(old, new)


def noticed(status, output):
    """What shows that the test has noticed."""
    assertion = ASSERTION.search(output)
    if assertion:
        return f'assertion {assertion[1]}'
    failed = FAILED.search(output)
    if failed:
        return failed[1]
    if status is None:
        return 'hangs'
    return f'signal {signal.Signals(-status).name}' if status < 0 else f'exit status {status}'


def examine(build, mutation, work, seconds):
    name, _, path, old, new, test, expected = mutation
    folder = work / name
    folder.mkdir()
    try:
        source = ROOT / path
        mutant = folder / source.name
        mutant.write_text(mutate(source, old, new), encoding='utf-8')
        call(build.compile_command(source.resolve(), mutant, folder / 'mutant.o'), build.folder)
        call(build.link_command(test, folder / 'mutant.o', folder / 'test'), build.folder)
        status, output = execute(folder / 'test', seconds)
        if status == 0:
            raise Failure(f'{test} does not notice')
        if status is None and 'hangs' not in expected and not FAILED.search(output):
            raise Failure(f'{test} hangs:\n{output[-1500:]}')
        return noticed(status, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Report:
    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.skipped = 0

    def line(self, name, text, error):
        if error is None:
            self.passed += 1
            print(f'ok mutation/{name} ({text})', flush=True)
            return
        self.failed += 1
        print(f'not ok mutation/{name} ({text})', flush=True)
        print('    | ' + str(error).replace('\n', '\n    | '), flush=True)


def unmutated(build, tests, report):
    """Runs each test as it is; how long a mutant may take. None: it does not pass, so that it can notice nothing."""
    limits = {}
    for test in tests:
        begun = time.monotonic()
        path = build.folder / program(test)
        status, output = execute(path, 300) if path.exists() else (1, f'{path} is not built')
        taken = time.monotonic() - begun
        limits[test] = max(LEAST_SECONDS, TIMES * taken) if status == 0 else None
        report.line(f'none/{test}', f'{taken:.1f} s', None if status == 0 else output[-1500:])
    return limits


def chosen(names):
    unknown = set(names) - {mutation[0] for mutation in MUTATIONS}
    if unknown:
        print(f'tests/mutation/run: no such mutation: {" ".join(sorted(unknown))}', file=sys.stderr)
        sys.exit(2)
    return [mutation for mutation in MUTATIONS if not names or mutation[0] in names]


def built(build, mutations, report):
    """Those of files that the build has: what needs libfabric may not be among them."""
    for mutation in mutations:
        if mutation[2].startswith('src/rdma/') and (ROOT / mutation[2]).resolve() not in build.compile:
            report.skipped += 1
            print(f'skip mutation/{mutation[0]} # libfabric was missing when it was built')
        else:
            yield mutation


def run_all(build, mutations, report):
    mutations = list(built(build, mutations, report))
    limits = unmutated(build, sorted({mutation[5] for mutation in mutations}), report)
    with tempfile.TemporaryDirectory() as work, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        pending = {}
        for mutation in mutations:
            seconds = limits[mutation[5]]
            if seconds is None:
                report.line(mutation[0], mutation[1], f'{mutation[5]} does not pass without it')
            else:
                pending[pool.submit(examine, build, mutation, pathlib.Path(work), seconds)] = mutation
        for future in concurrent.futures.as_completed(pending):
            name, rule, *_ = pending[future]
            try:
                report.line(name, f'{rule}: {future.result()}', None)
            except Failure as failure:
                report.line(name, rule, failure)


def main():
    parser = argparse.ArgumentParser(prog='tests/mutation/run', description='Breaks rules of pins in the code, one at '
                                     'a time, and expects a unit test to notice.')
    default = pathlib.Path(os.environ.get('CHECK_BUILD', ROOT / 'build'))
    parser.add_argument('--build', type=pathlib.Path, default=default,
                        help='the build folder, built (default: CHECK_BUILD, or build in the checkout)')
    parser.add_argument('name', nargs='*', help='mutations (default: all of tests/mutation/mutations.py)')
    arguments = parser.parse_args()
    mutations = chosen(arguments.name)
    report = Report()
    if not (arguments.build / 'compile_commands.json').exists():
        print(f'not ok mutation # {arguments.build} is not built')
        report.failed = 1
    else:
        run_all(Build(arguments.build.resolve()), mutations, report)
    print(f'{report.passed} passed, {report.failed} failed, {report.skipped} skipped')
    sys.exit(1 if report.failed else 0)


main()
