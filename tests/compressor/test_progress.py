"""What a log file gets of a progress bar."""

import sys
import time

import pytest
from tqdm import tqdm

from compressor import progress
from compressor.progress import progress_bar


def test_a_line_at_each_tenth_and_no_carriage_return(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(total=1000, unit="row", desc="training") as bar:
        for _ in range(1000):
            bar.update(1)
            bar.set_postfix(loss="0.5", refresh=False)
    text = capsys.readouterr().err
    lines = text.splitlines()
    assert [line.split("|")[0] for line in lines] == [f"training: {10 * tenth:3d}%" for tenth in range(1, 11)]
    assert "500/1000 [00:00<00:00" in lines[4]
    assert "loss=0.5" in lines[4]
    assert "\r" not in text
    assert text.endswith("\n")


def test_a_slow_one_speaks_every_half_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress_bar(total=1000, desc="search") as bar:
        for _ in range(50):
            now[0] += 7.0
            bar.update(1)
    counts = [line.split("|")[2].split("/")[0].strip() for line in capsys.readouterr().err.splitlines()]
    assert counts == ["5", "10", "15", "20", "25", "30", "35", "40", "45", "50"]


def test_what_was_reached_stands_last_and_messages_between(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), progress_bar(total=100) as bar:
        bar.update(42)
        tqdm.write("Epoch 1", file=sys.stderr)
        bar.update(1)
        raise KeyboardInterrupt
    assert [line[:4].strip() for line in capsys.readouterr().err.splitlines()] == ["42%", "Epoc", "43%"]


def test_without_a_total_and_without_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(total=0):
        time.sleep(0)
    with progress_bar(total=None) as bar:
        bar.update(3)
    assert len(capsys.readouterr().err.splitlines()) == 1
