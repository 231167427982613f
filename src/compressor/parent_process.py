"""Ending with the process that started this one, however that ends. Light: it is called before all else is loaded."""

import ctypes
import os
import signal
import threading
import time
from contextlib import suppress

_LOOK_AT_PARENT_S = 0.5
_PR_SET_PDEATHSIG = 1
"""The option of Linux's prctl: the signal that a process gets when its parent dies."""


def end_with_parent(parent: int) -> None:
    """End this process as soon as its parent, of that id, is gone: at once on Linux, elsewhere within half a second."""
    with suppress(OSError, AttributeError):  # of another operating system
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the line above, and then no signal comes.
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_watch, args=[parent], daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_AT_PARENT_S)
    os._exit(1)
