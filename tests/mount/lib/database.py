"""A SQLite database whose filesystem dies.

database.py insert DB MODE ROWS BATCH             inserts rows; prints each committed number of rows
database.py kill DB MODE ROWS BATCH LOG PID AT    runs that, logs what it says, and kills PID once AT rows are committed
database.py check DB LOG                          integrity, and every committed row with its content
MODE is a journal mode: wal, delete, truncate, persist.
"""
import os
import signal
import sqlite3
import subprocess
import sys


def row(number):
    return (number, f'row {number} ' + chr(97 + number % 26) * (number % 200))


def insert(path, mode, rows, batch):
    db = sqlite3.connect(path, isolation_level=None)
    got = db.execute(f'pragma journal_mode={mode}').fetchone()[0]
    assert got == mode, f'journal mode {got}, not {mode}'
    db.execute('pragma synchronous=full')
    db.execute('create table if not exists t (id integer primary key, text)')
    db.execute('create index if not exists i on t (text)')
    first = db.execute('select coalesce(max(id), 0) from t').fetchone()[0] + 1
    for start in range(first, first + rows, batch):
        db.execute('begin')
        last = min(start + batch, first + rows)
        db.executemany('insert into t values (?, ?)', map(row, range(start, last)))
        db.execute('commit')
        print(last - 1, flush=True)
    db.close()


def kill(path, mode, rows, batch, log, pid, at):
    command = [sys.executable, __file__, 'insert', path, mode, str(rows), str(batch)]
    committed, killed = 0, False
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer, open(log, 'w', encoding='ascii') as file:
        for line in writer.stdout:
            committed = int(line)
            print(committed, file=file, flush=True)
            if committed >= at and not killed:
                os.kill(pid, signal.SIGKILL)
                killed = True
        writer.wait()
    assert killed, f'only {committed} rows were committed'
    assert writer.returncode != 0, 'the writer did not notice the death of its filesystem'


def check(path, log):
    with open(log, encoding='ascii') as file:
        committed = int(file.readlines()[-1])
    db = sqlite3.connect(path)
    result = db.execute('pragma integrity_check').fetchall()
    assert result == [('ok',)], result
    found = db.execute('select id, text from t order by id').fetchall()
    assert len(found) >= committed, f'{len(found)} rows of {committed} committed ones'
    for number, got in enumerate(found, 1):
        assert got == row(number), f'row {number} is {got}'
    print(f'{committed} committed, {len(found)} there')
    db.close()


def main():
    command, path, *rest = sys.argv[1:]
    if command == 'insert':
        insert(path, rest[0], *map(int, rest[1:]))
    elif command == 'kill':
        kill(path, rest[0], int(rest[1]), int(rest[2]), rest[3], int(rest[4]), int(rest[5]))
    else:
        check(path, rest[0])


main()
