"""Warns of files over 600 lines and C functions over 40: as a rule, they should be shorter. sizes.py FILE..."""
import re
import sys

FILE_LINES = 600
FUNCTION_LINES = 40
NAME = re.compile(r'(\w+)\(')


def functions(lines):
    """Name, first line and length of each function: in this style a body's braces stand in the first column."""
    start = None
    for number, line in enumerate(lines, 1):
        if line.startswith('{'):
            start = number
        elif line.startswith('}') and start is not None:
            if line.rstrip() == '}':
                head = ' '.join(lines[max(0, start - 4):start - 1])
                names = NAME.findall(head)
                yield names[-1] if names else '?', start, number - start - 1
            start = None


def main():
    for path in sys.argv[1:]:
        with open(path, encoding='utf-8') as file:
            lines = file.read().splitlines()
        if len(lines) > FILE_LINES:
            print(f'warning: {path}: {len(lines)} lines')
        if path.endswith(('.c', '.h')):
            for name, line, length in functions(lines):
                if length > FUNCTION_LINES:
                    print(f'warning: {path}:{line}: {name}() has {length} lines')


main()
