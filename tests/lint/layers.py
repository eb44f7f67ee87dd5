"""An #include of src goes down a layer, or stays in its folder: never up, never sideways. layers.py ROOT

Prints each that does not; exit status 1 if there is one.
"""
import pathlib
import re
import sys

LAYERS = [['base'], ['format', 'wire', 'device'], ['region', 'alloc', 'pin', 'meta'], ['fs', 'check', 'rescue'],
          ['front', 'ctl', 'repair', 'daemon']]
# daemon joins front and ctl: they do not know it.
LEVEL = {folder: level for level, folders in enumerate(LAYERS) for folder in folders} | {'daemon': len(LAYERS)}
# The client library shares the messages with the daemon, and nothing else.
CLIENT = {'base', 'wire', 'client'}
# For other machines: they have a filesystem by <pinfs.h> only, and nobody below the programs has them.
APART = {'remote': {'base', 'remote'}, 'rdma': {'rdma'}}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def wrong(folder, target):
    if target == folder:
        return None
    if folder == 'client':
        return None if target in CLIENT else 'the client library includes base and wire only'
    if folder in APART:
        return None if target in APART[folder] else f'{folder} includes {" and ".join(sorted(APART[folder]))} only'
    if target in APART:
        return f'nothing of src includes {target}'
    if target == 'client':
        return 'nothing of the daemon includes the client library'
    if target not in LEVEL:
        return f'{target} has no layer: see tests/lint/layers.py'
    if LEVEL[target] == LEVEL[folder]:
        return f'sideways: {folder} and {target} do not know each other'
    return None if LEVEL[target] < LEVEL[folder] else f'up: {target} lies above {folder}'


def main():
    root = pathlib.Path(sys.argv[1])
    count = 0
    for file in sorted((root / 'src').glob('*/**/*.[ch]')):
        folder = file.relative_to(root / 'src').parts[0]
        if folder not in LEVEL and folder != 'client' and folder not in APART:
            print(f'{file.relative_to(root)}: folder {folder} has no layer: see tests/lint/layers.py')
            count += 1
            continue
        text = file.read_text()
        for match in INCLUDE.finditer(text):
            line = text.count('\n', 0, match.start(1)) + 1
            name = match[1]
            reason = wrong(folder, name.split('/')[0]) if '/' in name else 'write "folder/file.h"'
            if not (root / 'src' / name).is_file() and not reason:
                reason = 'no such file in src'
            if reason:
                print(f'{file.relative_to(root)}:{line}: "{name}": {reason}')
                count += 1
    sys.exit(1 if count else 0)


main()
