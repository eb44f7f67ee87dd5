"""Sums up what `python -m test --junit-xml` wrote. junit.py XML [XML-OF-ANOTHER-FILESYSTEM]

Prints PASSED FAILED SKIPPED; then the tests that failed here alone, and a line on those that fail elsewhere too. Exit
status 0 if none failed, or only those.
"""
import sys
import xml.etree.ElementTree as ElementTree


def results(path):
    found = {'passed': set(), 'failed': set(), 'skipped': set()}
    for case in ElementTree.parse(path).iter('testcase'):
        name = case.get('name')
        if case.find('failure') is not None or case.find('error') is not None:
            found['failed'].add(name)
        elif case.find('skipped') is not None or case.get('status') == 'notrun':
            found['skipped'].add(name)
        else:
            found['passed'].add(name)
    return found


def main():
    here = results(sys.argv[1])
    both = set()
    if len(sys.argv) > 2:
        both = here['failed'] & results(sys.argv[2])['failed']
    failed = here['failed'] - both
    print(len(here['passed']), len(failed), len(here['skipped']) + len(both))
    for name in sorted(failed):
        print(f'failed: {name}')
    if both:
        print('failed on another filesystem too:', *sorted(both))
    sys.exit(1 if failed else 0)


main()
