"""The tables: aims with ratios of the same rounds, all medians, and what was asked of the daemon."""
import json
import statistics



def quartiles(numbers):
    if len(numbers) < 4:
        return min(numbers), max(numbers)
    parts = statistics.quantiles(numbers, n=4, method='inclusive')
    return parts[0], parts[2]


def digits(number):
    return f'{number:,.0f}' if abs(number) >= 100 else f'{number:.1f}' if abs(number) >= 10 else f'{number:.2f}'


class Line:
    """A row with one of its aims, or without any."""

    def __init__(self, samples, row, aim):
        self.row, self.aim, self.case = row, aim, row.case
        self.all = samples.values.get(row.title, {})
        self.values = self.all.get(self.case.pinfs, {})
        self.peer = self.best_peer()
        theirs = self.all.get(self.peer, {})
        self.ratios = [self.values[number] / theirs[number] for number in self.values
                       if number in theirs and theirs[number] > 0]

    def median_of(self, system):
        return statistics.median(self.all[system].values())

    def best_peer(self):
        wanted = self.aim.peer if self.aim else None
        if wanted != 'fuse':
            return wanted if wanted in self.all else None
        found = [system for system in self.case.fuse if self.all.get(system)]
        if not found:
            return None
        return (min if self.row.less_is_better else max)(found, key=self.median_of)

    @property
    def median(self):
        return statistics.median(self.values.values()) if self.values else None

    @property
    def result(self):
        """What is held against the aim."""
        if self.aim is None or not self.values:
            return None
        if self.aim.peer is None:
            return self.median
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def reached(self):
        if self.result is None:
            return None
        return self.result <= self.aim.number if self.aim.at_most else self.result >= self.aim.number

    def as_dict(self):
        low, high = quartiles(list(self.values.values())) if self.values else (None, None)
        ratio_low, ratio_high = quartiles(self.ratios) if self.ratios else (None, None)
        return {'row': self.row.title, 'group': self.case.group, 'unit': self.row.unit, 'pinfs': self.median, 'low': low,
                'high': high, 'peer': self.peer, 'peer_median': self.median_of(self.peer) if self.peer else None,
                'ratio': statistics.median(self.ratios) if self.ratios else None, 'ratio_low': ratio_low,
                'ratio_high': ratio_high, 'aim': self.aim.number if self.aim else None,
                'aim_peer': self.aim.peer if self.aim else None, 'at_most': self.aim.at_most if self.aim else None,
                'reached': self.reached, 'less_is_better': self.row.less_is_better}


def lines_of(samples, cases):
    return [Line(samples, row, aim) for case in cases for row in case.rows if samples.values.get(row.title)
            for aim in row.aims or [None]]


def aim_text(line):
    if line.aim is None:
        return ''
    of = {'fuse': 'best FUSE', None: line.row.unit}.get(line.aim.peer, line.aim.peer)
    return f'{"<=" if line.aim.at_most else ">="} {line.aim.number:g} {of}'


def print_aims(lines):
    print(f"{'':<42} {'unit':<6} {'pinfs':>10} {'middle half':>21}  {'peer':<19} {'its':>10} {'ratio':>6} {'middle half':>13}"
          f"  {'aim':<18}")
    for line in lines:
        facts = line.as_dict()
        spread = f"{digits(facts['low'])} - {digits(facts['high'])}" if line.values else '-'
        pinfs = digits(facts['pinfs']) if line.values else '-'
        peer = digits(facts['peer_median']) if line.peer else ''
        ratio = f"{facts['ratio']:.2f}" if line.ratios else ''
        between = f"{facts['ratio_low']:.2f} - {facts['ratio_high']:.2f}" if line.ratios else ''
        verdict = {True: 'reached', False: 'MISSED', None: ''}[line.reached]
        print(f'{line.row.title:<42} {line.row.unit:<6} {pinfs:>10} {spread:>21}  {line.peer or "":<19} {peer:>10} {ratio:>6} '
              f'{between:>13}  {aim_text(line):<18} {verdict}'.rstrip())


def print_systems(samples, cases):
    print('\nMedians of all systems:')
    for case in cases:
        for row in case.rows:
            found = samples.values.get(row.title, {})
            cells = [f'{system} {digits(statistics.median(values.values()))}' for system, values in found.items()]
            if cells:
                print(f'  {row.title} ({row.unit}): ' + ', '.join(cells))


def print_requests(samples):
    print('\nRequests to the daemon, each operation (without FORGET):')
    for title, systems in samples.requests.items():
        for system, kinds in systems.items():
            text = ', '.join(f'{kind} {each:.3g}' for kind, each in sorted(kinds.items(), key=lambda item: -item[1]))
            print(f'  {title} ({system}): {text or "none"}')


def print_all(samples, cases, head):
    for text in head:
        print(text)
    print()
    print_aims(lines_of(samples, cases))
    print_systems(samples, cases)
    if samples.requests:
        print_requests(samples)
    if samples.missing:
        print('\nNot measured:')
        for system, why in samples.missing.items():
            print(f'  {system}: {why}')


def write_tsv(path, samples, cases):
    with open(path, 'w', encoding='utf-8') as file:
        print('group', 'row', 'unit', 'system', 'round', 'value', sep='\t', file=file)
        for case in cases:
            for row in case.rows:
                for system, values in samples.values.get(row.title, {}).items():
                    for number, value in values.items():
                        print(case.group, row.title, row.unit, system, number, f'{value:.6g}', sep='\t', file=file)


def write_json(path, samples, cases, head):
    with open(path, 'w', encoding='utf-8') as file:
        json.dump({'head': head, 'rows': [line.as_dict() for line in lines_of(samples, cases)],
                   'requests': samples.requests, 'missing': samples.missing}, file, indent=1)


PEERS = {'ext4': 'ext4 on loop', 'raw': 'raw mmap', 'socket': 'bare socket round trip', 'quiet': 'without them'}


def markdown_row(fact):
    peer = f"{digits(fact['peer_median'])}, {PEERS.get(fact['peer'], fact['peer'])}" if fact['peer'] else ''
    ratio = f"{fact['ratio']:.2f} ({fact['ratio_low']:.2f} to {fact['ratio_high']:.2f})" if fact['ratio'] else ''
    aim = ''
    if fact['aim'] is not None:
        aim = f"{'at most' if fact['at_most'] else 'at least'} {fact['aim']:g}{'' if fact['aim_peer'] else ' ' + fact['unit']}"
        aim += '' if fact['reached'] else ' (missed)'
    return f"| {fact['row']} | {digits(fact['pinfs'])} {fact['unit']} | {peer} | {ratio} | {aim} |"


def write_markdown(path, facts, head):
    """A page of its own: medians, and the ratio with its middle half."""
    with open(path, 'w', encoding='utf-8') as file:
        print('# Speed beside its peers\n\nWritten by `tests/bench/run --markdown`; `tests/bench/README.md` says how each row is '
              'measured.\nMedians; of the ratios the middle half, too. What is missed says so.\n', file=file)
        print(head[0] + ':\n\n| | pinfs | beside | ratio | aim |\n| --- | --- | --- | --- | --- |', file=file)
        for fact in facts:
            if fact['pinfs'] is not None:
                print(markdown_row(fact), file=file)
