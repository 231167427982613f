"""Temporary folders: a new one removes those of the dead, and of nobody else."""

import os
from pathlib import Path

from compressor.cluster.scratch import make_scratch


def test_folders_of_the_dead_are_removed(tmp_path: Path) -> None:
    kept = {tmp_path / name for name in (f"trial-{os.getpid()}-x", "trial-notes", "other-999999999-x")}
    for folder in (*kept, tmp_path / "trial-999999999-x"):
        folder.mkdir()
    made = make_scratch("trial", str(tmp_path))
    assert made.name.startswith(f"trial-{os.getpid()}-")
    assert set(tmp_path.iterdir()) == {*kept, made}
