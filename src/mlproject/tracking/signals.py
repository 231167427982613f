"""SIGTERM, which schedulers send, and SIGHUP, which a lost terminal sends, end a command as Ctrl-C does."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_REPEAT_S = 2.0
"""A signal that comes again within this time is the same one, sent to the process and to its group."""
_last: "list[StopSignal]" = []
"""The signal that this command was stopped by, if it was."""


class StopSignal(KeyboardInterrupt):
    """A signal that ends the command; whoever keeps what was finished on Ctrl-C keeps it here too."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.by = signal.Signals(number).name
        """The signal's name."""
        # As a shell reports a process that a signal has ended.
        self.exit_code = 128 + number
        self.at = time.monotonic()


@contextmanager
def stop_signals() -> Iterator[None]:
    """Turn the signals into exceptions for the time of the block; one that is ignored (`nohup`) stays ignored."""
    _last.clear()
    main_thread = threading.current_thread() is threading.main_thread()
    # Handlers can be set in the main thread alone; signals that somebody else handles are left to them.
    taken = [number for number in _SIGNALS if main_thread and signal.getsignal(number) == signal.SIG_DFL]
    try:
        for number in taken:
            signal.signal(number, _stop)
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def stopped() -> KeyboardInterrupt:
    """Return what a command that has kept what was finished ends with: the signal it was stopped by, or Ctrl-C."""
    return _last[0] if _last else KeyboardInterrupt()


def _stop(number: int, _frame: FrameType | None) -> None:
    now = StopSignal(number)
    if _last and now.at - _last[0].at < _REPEAT_S:
        return
    _last[:] = [now]
    # In the main thread, between two steps of whatever it does: as Ctrl-C.
    raise now
