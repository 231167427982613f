"""Locks between processes: one holder, gone with its process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compressor.files import module_environment
from compressor.locks import LockedError, hold

HOLD = "import mlproject, sys, time; from pathlib import Path; from compressor.locks import hold\n"
HOLD += "with hold(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"

"""`mlproject` first: without it `compressor` imports PyTorch."""


def test_a_second_holder_is_told_who_the_first_is_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, env=module_environment(), text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(LockedError) as raised, hold(path):
        pass
    assert raised.value.holder == str(other.pid)
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    other.stdout.close()
    with hold(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_the_file_goes_where_it_is_to_go(tmp_path: Path) -> None:
    with hold(tmp_path / "lock", remove=True):
        assert (tmp_path / "lock").exists()
    assert not (tmp_path / "lock").exists()


def test_who_waits_gets_the_file_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    wait = (
        f"from pathlib import Path; from compressor.locks import hold\nwith hold(Path({str(path)!r}), wait=True): pass"
    )
    with hold(path, remove=True):
        other = subprocess.Popen([sys.executable, "-c", wait], env=module_environment())
        time.sleep(0.5)
        assert other.poll() is None
    assert other.wait(timeout=60) == 0
    assert path.exists()


def test_without_locks_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.locks._flock", lambda: None)
    with hold(tmp_path / "lock"), hold(tmp_path / "lock"):
        pass
