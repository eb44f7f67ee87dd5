"""A sample of OpenMetrics text that pinfs has printed, read by two parsers of others. metrics.py FILE NAME [LABEL=VALUE...]

Prints its value. The whole file must be good for both parsers, and both must say the same.
"""
import sys

import prometheus_client.openmetrics.parser
import prometheus_client.parser


def samples(families):
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def main():
    with open(sys.argv[1]) as file:
        text = file.read()
    wanted = dict(argument.split('=', 1) for argument in sys.argv[3:])
    strict = samples(prometheus_client.openmetrics.parser.text_string_to_metric_families(text))
    older = samples(prometheus_client.parser.text_string_to_metric_families(text))
    key = lambda sample: (sample[0], sorted(sample[1].items()))
    assert sorted(strict, key=key) == sorted(older, key=key), 'the parsers differ'
    found = [value for name, labels, value in strict if name == sys.argv[2] and wanted.items() <= labels.items()]
    assert len(found) == 1, f'{len(found)} samples of {sys.argv[2:]}'
    print(int(found[0]) if found[0] == int(found[0]) else found[0])


main()
