"""A process ends with its parent, however that ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compressor import parent_process
from compressor.files import module_environment

CHILD = """
import sys, time
from compressor.parent_process import end_with_parent
end_with_parent(int(sys.argv[1]))
print("watching", flush=True)
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def state(pid: int) -> str:
    """The letter of a process's state; Z where it has ended and nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs the process table of Linux")
def test_it_dies_with_its_parent() -> None:
    words = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=module_environment()) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert state(child) != "Z"
        parent.kill()
    deadline = time.monotonic() + 5
    while state(child) != "Z" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state(child) == "Z"


def test_without_the_help_of_the_operating_system_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    parents, ends = iter([7, 7, 1]), []
    monkeypatch.setattr(parent_process.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(parent_process.os, "_exit", ends.append)
    monkeypatch.setattr(parent_process, "_LOOK_AT_PARENT_S", 0.0)
    parent_process._watch(7)
    assert ends == [1]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
