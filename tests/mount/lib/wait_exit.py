"""Waits until process PID has ended: exit status 1 if it has not within SECONDS."""
import os
import select
import sys

try:
    fd = os.pidfd_open(int(sys.argv[1]))
except ProcessLookupError:
    sys.exit(0)
sys.exit(0 if select.select([fd], [], [], float(sys.argv[2]))[0] else 1)
