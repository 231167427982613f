"""A trial's keeper on a node, called as Ray calls it: what it hands over, what it leaves, whose folders it removes."""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import compressor
from compressor.standard_nas.trial_actor import TrialActor

TRIAL = """
import os, sys, time
from pathlib import Path
directory = Path(sys.argv[1])
assert (directory.parent / "inputs" / "rows").read_bytes() == b"rows"
assert os.environ["OMP_NUM_THREADS"] == "3" and os.environ["COMPRESSOR_TRIAL_PARENT"] == str(os.getppid())
print("begun", directory.name, (directory / "trial.json").read_text(), flush=True)
(directory / "epoch-1").mkdir()
(directory / "epoch-1" / "weights").write_text("some")
print("half a", end="", flush=True)
print("on the way", file=sys.stderr, flush=True)
while not (directory.parent / "go").exists():
    time.sleep(0.01)
sys.exit(" line")
"""


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_trial_on_a_node(scratch: Path) -> None:
    inputs = {"rows": np.frombuffer(b"rows", np.uint8)}
    actor = TrialActor(compressor.__version__, "7", inputs, {"spec.json": "{}", "7/trial.json": "what"})
    actor.start([sys.executable, "-c", TRIAL], {"OMP_NUM_THREADS": "3"})
    told = ["", ""]
    while not all(told):
        code, printed, logged = actor.look()
        assert code is None, logged
        told = [told[0] + printed, told[1] + logged]
        time.sleep(0.01)
    assert told == ["begun 7 what\n", "on the way\n"]  # whole lines alone
    (folder,) = scratch.glob("compressor-trial-*")
    assert {name: bytes(array) for name, array in actor.hand_over("epoch-1").items()} == {"weights": b"some"}
    assert not (folder / "7" / "epoch-1").exists()
    (folder / "go").touch()
    code, logged = None, ""
    while code is None:
        time.sleep(0.01)
        code, printed, more = actor.look()
        logged += more
    assert (code, printed, logged) == (1, "half a", " line\n")
    actor.close()
    assert list(scratch.iterdir()) == []


def test_another_version_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"^this node has mlflow-compressor \S+, the search has 0\.0\.0$"):
        TrialActor("0.0.0", "0", {}, {})
