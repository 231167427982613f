"""A trial's process ends with the search that started it, also while it is still loading its libraries."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compressor.standard_nas import trial_process
from compressor.standard_nas.tuner import TRIAL_COMMAND

SEARCH = """
import os, subprocess, sys, time
environment = {**os.environ, sys.argv[1]: str(os.getpid())}
print(subprocess.Popen(sys.argv[2:], env=environment, stderr=subprocess.DEVNULL).pid, flush=True)
time.sleep(60)
"""


def state(pid: int) -> str:
    """The letter of a process's state; Z where it has ended and nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs the process table of Linux")
def test_it_dies_with_its_search(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SEARCH, trial_process.PARENT_VARIABLE, *TRIAL_COMMAND, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as search:
        assert search.stdout is not None
        trial = int(search.stdout.readline())
        time.sleep(0.5)
        assert state(trial) != "Z"
        search.kill()
    deadline = time.monotonic() + 5
    while state(trial) != "Z" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state(trial) == "Z"


def test_it_ends_where_its_search_is_gone_already(tmp_path: Path) -> None:
    environment = {**os.environ, trial_process.PARENT_VARIABLE: "1"}
    ended = subprocess.run([*TRIAL_COMMAND, str(tmp_path)], env=environment, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_without_the_help_of_the_operating_system_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    parents, ends = iter([7, 7, 1]), []
    monkeypatch.setattr(trial_process.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(trial_process.os, "_exit", ends.append)
    monkeypatch.setattr(trial_process, "_LOOK_AT_PARENT_S", 0.0)
    trial_process._watch(7)
    assert ends == [1]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
