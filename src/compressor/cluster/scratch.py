"""Temporary folders that carry the number of their process, so that what a killed one left is found and removed."""

import os
import shutil
import tempfile
from pathlib import Path

import psutil


def make_scratch(kind: str, base: str) -> Path:
    """Return a new folder of this process in `base`; those of that kind whose process is gone are removed."""
    for folder in Path(base).glob(f"{kind}-*"):
        owner = folder.name.removeprefix(f"{kind}-").partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{kind}-{os.getpid()}-", dir=base))
