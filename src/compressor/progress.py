"""Progress bars: one that moves on a terminal, a line now and then where the output goes to a file."""

import sys
import time
from typing import Any

from tqdm import tqdm

_LINE_EVERY_S = 30.0
_LINES = 10
"""In all, at least: one each time so large a part of the whole is done."""


def progress_bar(**options: Any) -> "tqdm[Any]":
    """Return a bar of tqdm: on a terminal as it is, elsewhere as lines, at each tenth and every 30 seconds."""
    return tqdm(**options) if sys.stderr.isatty() else _LogBar(**options)


class _LogBar(tqdm):  # type: ignore[type-arg]
    """A bar that a log file can hold."""

    monitor_interval = 0  # its thread would only shorten the intervals between updates that are not drawn

    def __init__(self, **options: Any) -> None:
        self._tenth, self._printed, self._printed_at = 0, 0.0, time.monotonic()
        # tqdm asks `display` at every update; whether a line is due is decided there.
        super().__init__(**{**options, "mininterval": 0, "miniters": 1, "file": sys.stderr})

    def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002
        """Write a line, if it is time for one."""
        tenth = int(_LINES * self.n / self.total) if self.total else 0
        late = time.monotonic() - self._printed_at >= _LINE_EVERY_S
        if self.n > self._printed and (tenth > self._tenth or late):
            self._tenth, self._printed, self._printed_at = tenth, self.n, time.monotonic()
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def clear(self, nolock: bool = False) -> None:
        """Do nothing: lines stay."""

    def close(self) -> None:
        """End the bar; what was reached last stands in the last line."""
        if not self.disable:
            self.disable = True
            if self.n > self._printed:
                self.fp.write(f"{self}\n")
            self._decr_instances(self)  # type: ignore[attr-defined]
