"""The files between a search of standard NAS and its trials: written alike by all versions, read with types."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from compressor.digests import Inputs
from compressor.errors import FileError
from compressor.network.sub_network import WrittenSubNetwork, full_sub_network
from compressor.standard_nas.record import (
    REPORTS_FILE,
    SPEC_FILE,
    TRIAL_FILE,
    TrialReport,
    TrialSpec,
    TrialTask,
    known_reports,
)
from conftest import DIMENSIONS

GOLDEN = Path(__file__).parents[2] / "golden"
LINE = {"epoch": 1, "epoch_error": 0.5, "loss": 0.9, "error": 0.5, "best_epoch": 1, "params": 7, "macs": 9}


def report(line: dict[str, Any]) -> TrialReport:
    costs = {name: line[name] for name in ("params", "macs")}
    return TrialReport(costs=costs, **{name: value for name, value in line.items() if name not in costs})


def test_a_search_of_the_version_before_is_resumed() -> None:
    """What is written now is what its files hold, to the key."""
    folder = GOLDEN / "0.2.0" / "nas" / "trials"
    assert Inputs(values=TrialSpec.load(folder).to_json()).are_in(folder / SPEC_FILE)
    for trial in (folder / "0", folder / "1"):
        task = TrialTask.load(trial)
        assert Inputs(values=asdict(task)).are_in(trial / TRIAL_FILE)
        assert task.kept == WrittenSubNetwork.of(task.kept.read(), DIMENSIONS)
        assert [report.epoch for report in known_reports(trial)] == [1]


def test_the_first_version_s_files_are_read() -> None:
    folder = GOLDEN / "0.1.0" / "nas" / "trials"
    assert TrialSpec.load(folder).depends_on is None
    assert TrialTask.load(folder / "0").kept.read() == full_sub_network(DIMENSIONS)
    assert known_reports(folder / "0")[0].costs == TrialTask.load(folder / "0").costs


@pytest.mark.parametrize(
    "second",
    [
        {},
        None,
        [1],
        LINE,
        LINE | {"epoch": 3},
        LINE | {"epoch": 2, "error": -1},
        LINE | {"epoch": 2, "loss": None},
        LINE | {"epoch": 2, "best_epoch": "1"},
    ],
)
def test_what_comes_after_a_damaged_line_is_dropped(second: Any, tmp_path: Path) -> None:
    file = tmp_path / REPORTS_FILE
    third = LINE | {"epoch": 3, "seconds": 2.5}
    file.write_text("".join(json.dumps(line) + "\n" for line in (LINE, second, third)))
    assert known_reports(tmp_path) == [report(LINE)]
    assert [json.loads(line) for line in file.read_text().splitlines()] == [LINE]
    report(LINE | {"epoch": 2, "seconds": 2.5}).append(tmp_path)
    assert [report.seconds for report in known_reports(tmp_path)] == [None, 2.5]


def test_a_broken_task_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / TRIAL_FILE).write_text('{"kept": {}, "costs": {"params": 1, "macs": 2}}')
    with pytest.raises(FileError, match=r"must be as it was written, but kept lacks 'dimensions'\. Restore it or"):
        TrialTask.load(tmp_path)
