"""Pins on a real mount: pins.py CASE. Each case makes its own pool."""
import sys

import pins_access
import pins_break
import pins_holder

for module in (pins_access, pins_break, pins_holder):
    if hasattr(module, sys.argv[1]):
        getattr(module, sys.argv[1])()
        break
else:
    sys.exit(f'{sys.argv[1]}: no such case')
