"""Locks between processes: one holder, gone with its process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compressor.files import module_environment
from compressor.locks import LockedError, hold, renewed_directory

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


def test_a_directory_is_renewed_where_its_files_are_others(tmp_path: Path) -> None:
    """Whoever reads there keeps what it reads as long as that is what is there."""
    path = tmp_path / "cache" / "model"

    def renew(text: str) -> int:
        with renewed_directory(path) as new:
            (new / "folder").mkdir()
            (new / "folder" / "weights").write_text(text)
        assert [file.read_text() for file in path.rglob("weights")] == [text]
        return (path / "folder" / "weights").stat().st_ino

    first = renew("first")
    with (path / "folder" / "weights").open() as reading:
        assert renew("first") == first
        assert renew("second") != first
        assert reading.read() == "first"
    with pytest.raises(ValueError, match="cut short"), renewed_directory(path) as new:
        (new / "half").touch()
        raise ValueError("cut short")
    assert [file.read_text() for file in path.rglob("weights")] == ["second"]
    assert [file.name for file in path.parent.iterdir()] == ["model"]
