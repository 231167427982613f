"""Progress bars that do not fill a log file."""

import sys


def bar_interval() -> float:
    """Seconds between two states of a progress bar: a tenth on a terminal, twenty where the output goes to a file."""
    return 0.1 if sys.stderr.isatty() else 20.0
