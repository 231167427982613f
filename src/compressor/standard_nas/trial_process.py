"""How standard NAS starts a trial: this file as a script, before any package is loaded, which takes seconds.

From its first moment on the process ends with the search that started it, however that goes: the search may be started
again, and two trials must not train into one directory.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from contextlib import suppress

PARENT_VARIABLE = "COMPRESSOR_TRIAL_PARENT"
"""In a trial's environment: the process id of the search that started it."""
_LOOK_AT_PARENT_S = 0.5
_PR_SET_PDEATHSIG = 1
"""Of Linux's prctl: the signal that a process gets when its parent dies."""


def end_with_parent() -> None:
    """Ends this process as soon as its parent is gone: at once on Linux, elsewhere within half a second."""
    parent = int(os.environ.get(PARENT_VARIABLE, os.getppid()))
    with suppress(OSError, AttributeError):  # of another operating system
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_watch, args=[parent], daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_AT_PARENT_S)
    os._exit(1)


if __name__ == "__main__":
    sys.path.pop(0)  # this file's folder, whose modules are the package's
    end_with_parent()
    from compressor.standard_nas.trial import main

    main()
