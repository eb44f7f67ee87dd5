"""Processes that move money between the accounts of one SQLite database, each transaction with a row of the history.

bank.py make DATABASE JOURNAL-MODE
bank.py work DATABASE JOURNAL-MODE PROCESSES SECONDS LOG
                                    process N appends to LOG.N the number of each transaction it has committed
bank.py check DATABASE PROCESSES LOG    nothing is lost: sums, the history, what the logs say
"""
import multiprocessing
import os
import random
import sqlite3
import sys
import time

ACCOUNTS = 1000
EACH = 100


def connect(path):
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    connection.execute('pragma synchronous = full')
    return connection


def make(path, mode):
    connection = connect(path)
    got = connection.execute(f'pragma journal_mode = {mode}').fetchone()[0]
    assert got == mode, f'journal mode {got}, not {mode}'
    connection.executescript('''
        create table account(id integer primary key, balance integer not null, filler text);
        create table history(process integer, number integer, source integer, target integer, amount integer,
                             unique(process, number));''')
    connection.execute('begin')
    connection.executemany('insert into account values(?, ?, ?)', [(i, EACH, 'x' * 100) for i in range(ACCOUNTS)])
    connection.execute('commit')


def move(connection, process, number, choice):
    source, target, amount = choice.randrange(ACCOUNTS), choice.randrange(ACCOUNTS), choice.randrange(100)
    connection.execute('begin immediate')
    connection.execute('update account set balance = balance - ? where id = ?', (amount, source))
    connection.execute('update account set balance = balance + ? where id = ?', (amount, target))
    connection.execute('insert into history values(?, ?, ?, ?, ?)', (process, number, source, target, amount))
    connection.execute('commit')


def work_one(path, mode, process, end, log):
    connection = connect(path)
    # Of the modes only wal is kept in the database.
    if mode != 'wal':
        connection.execute(f'pragma journal_mode = {mode}')
    choice = random.Random(process)
    number = connection.execute('select coalesce(max(number), 0) from history where process = ?',
                                (process,)).fetchone()[0]
    with open(f'{log}.{process}', 'a', encoding='ascii', buffering=1) as file:
        while time.monotonic() < end:
            number += 1
            move(connection, process, number, choice)
            file.write(f'{number}\n')
            if number % 50 == 0:
                total = connection.execute('select sum(balance) from account').fetchone()[0]
                assert total == ACCOUNTS * EACH, f'process {process}: the sum is {total}'


def work(path, mode, processes, seconds, log):
    end = time.monotonic() + float(seconds)
    started = [multiprocessing.Process(target=work_one, args=(path, mode, i, end, log)) for i in range(int(processes))]
    for each in started:
        each.start()
    for each in started:
        each.join()
    sys.exit(any(each.exitcode for each in started))


def logged(path):
    """A torn last line cannot be: a write of a few bytes into a file elsewhere."""
    if not os.path.exists(path):
        return 0
    with open(path, encoding='ascii') as file:
        return max(map(int, file), default=0)


def check(path, processes, log):
    connection = connect(path)
    assert connection.execute('pragma integrity_check').fetchall() == [('ok',)], 'integrity_check'
    total = connection.execute('select sum(balance) from account').fetchone()[0]
    assert total == ACCOUNTS * EACH, f'the sum is {total}'
    moved = dict.fromkeys(range(ACCOUNTS), EACH)
    for source, target, amount in connection.execute('select source, target, amount from history'):
        moved[source] -= amount
        moved[target] += amount
    balances = dict(connection.execute('select id, balance from account'))
    assert moved == balances, 'the balances are not what the history says'
    rows = 0
    for process in range(int(processes)):
        count, last = connection.execute('select count(*), coalesce(max(number), 0) from history where process = ?',
                                         (process,)).fetchone()
        said = logged(f'{log}.{process}')
        assert count == last, f'process {process}: {count} transactions, the last is number {last}'
        # One may have been committed and not logged when the daemon died.
        assert last - said in (0, 1), f'process {process}: {said} transactions were committed, {last} are there'
        rows += count
    print(f'{rows} transactions')


{'make': make, 'work': work, 'check': check}[sys.argv[1]](*sys.argv[2:])
