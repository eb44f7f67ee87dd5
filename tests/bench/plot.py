"""A picture of the ratios, as SVG: one bar a row, from the peer's own speed; to the right is better. No library is needed."""
import math
from xml.sax.saxutils import escape

from report import PEERS

WIDTH, LABELS, VALUES = 1060, 470, 110
ROW, GROUP, TOP, BOTTOM = 20, 34, 92, 46
LEAST, MOST = 1 / 8, 8  # of the axis; what is beyond is cut off, and its number says so
COLORS = {True: '#2b7a5b', False: '#d98324', None: '#5b7fa6'}  # aim reached, missed, none
INK, FAINT, PAPER = '#1f2933', '#d5dbe1', '#ffffff'
GROUPS = {'reads': 'Reads', 'writes': 'Writes', 'names': 'Names', 'trees': 'Trees of files', 'pins': 'Pins',
          'crowd': 'Other files while there are many pins and breaks'}


def better(fact, name='ratio'):
    """How many times as good as the peer."""
    value = fact[name]
    return 1 / value if fact['less_is_better'] else value


def place(value):
    value = min(max(value, LEAST), MOST)
    return LABELS + (math.log2(value) - math.log2(LEAST)) / (math.log2(MOST) - math.log2(LEAST)) * (WIDTH - LABELS - VALUES)


def text(x, y, words, size=12, anchor='start', color=INK, weight='normal'):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def line(x1, y1, x2, y2, color=INK, width=1, dash=''):
    dashes = f' stroke-dasharray="{dash}"' if dash else ''
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-width="{width}"{dashes}/>')


def times(value):
    return f'{value:.0f}' if value >= 10 else f'{value:.2g}' if value < 1 else f'{value:.1f}'


def peer_name(fact):
    name = PEERS.get(fact['peer'], fact['peer'])
    return f'{name} (best FUSE)' if fact['aim_peer'] == 'fuse' else name


def bar(fact, y):
    value, middle = better(fact), y + ROW / 2
    low, high = sorted((better(fact, 'ratio_low'), better(fact, 'ratio_high')))
    left, right = sorted((place(1), place(value)))
    yield text(LABELS - 10, middle + 4, f"{fact['row']}  /  {peer_name(fact)}", 11, 'end')
    yield (f'<rect x="{left:.1f}" y="{y + 3:.1f}" width="{max(right - left, 1.5):.1f}" height="{ROW - 6}" rx="2" '
           f'fill="{COLORS[fact["reached"]]}"/>')
    yield line(place(low), middle, place(high), middle)
    for end in (low, high):
        yield line(place(end), middle - 3, place(end), middle + 3)
    if fact['aim'] is not None:
        aim = 1 / fact['aim'] if fact['less_is_better'] else fact['aim']
        yield line(place(aim), y + 1, place(aim), y + ROW - 1, '#b3261e', 2)
    yield text(WIDTH - VALUES + 14, middle + 4, f'{times(value)} ×', 11)


def axis(bottom):
    for power in range(int(math.log2(LEAST)), int(math.log2(MOST)) + 1):
        value = 2.0 ** power
        yield line(place(value), TOP - 8, place(value), bottom, INK if power == 0 else FAINT, 1)
        yield text(place(value), TOP - 14, f'{value:g}' if value >= 1 else f'1/{1 / value:g}', 11, 'middle')


def legend(y):
    x = LABELS
    for words, color in (('aim reached', COLORS[True]), ('aim missed', COLORS[False]), ('no aim', COLORS[None])):
        yield f'<rect x="{x}" y="{y - 10}" width="12" height="12" rx="2" fill="{color}"/>'
        yield text(x + 17, y, words, 11)
        x += 105
    yield line(x + 4, y - 11, x + 4, y + 3, '#b3261e', 2)
    yield text(x + 11, y, 'aim', 11)
    yield text(x + 48, y, 'whisker: middle half', 11)


def body(facts):
    y, group = TOP, None
    bars = []
    for fact in facts:
        if fact['group'] != group:
            group = fact['group']
            bars.append(text(14, y + GROUP - 12, GROUPS.get(group, group), 13, weight='bold'))
            y += GROUP
        bars.extend(bar(fact, y))
        y += ROW
    return y, bars


def write(path, facts, head):
    facts = [fact for fact in facts if fact['ratio']]
    bottom, bars = body(facts)
    height = bottom + BOTTOM
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
             'font-family="DejaVu Sans, Verdana, Helvetica, sans-serif">',
             f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
             text(14, 26, 'How many times as fast as its peer is pinfs?', 17, weight='bold'),
             text(14, 46, head[0], 11, color='#52606d'), *axis(bottom), *bars, *legend(bottom + 28), '</svg>']
    with open(path, 'w', encoding='utf-8') as file:
        file.write('\n'.join(parts) + '\n')
