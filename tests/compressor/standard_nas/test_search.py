"""Standard NAS as a whole: trials that are there say what those to come compute in."""

from dataclasses import asdict
from pathlib import Path

import pytest

from compressor.data.sources import DataSource
from compressor.files import write_json
from compressor.standard_nas.record import SPEC_FILE, BaseModel, TrialSpec
from compressor.standard_nas.search import _known_precision
from compressor.standard_nas.tuner import TRIALS_DIR
from compressor.training.precision import Precision
from compressor.training.settings import TrainingSettings


@pytest.mark.parametrize("begun", [True, False])
def test_trials_go_on_in_the_precision_of_those_before(begun: bool, tmp_path: Path) -> None:
    assert _known_precision(tmp_path, TrainingSettings()) is None
    spec = TrialSpec(
        source=DataSource(), base_model=BaseModel(name_or_path="demo"), settings=TrainingSettings(bf16=begun)
    )
    (tmp_path / TRIALS_DIR).mkdir()
    write_json(tmp_path / TRIALS_DIR / SPEC_FILE, asdict(spec))
    assert _known_precision(tmp_path, TrainingSettings()) == Precision(bf16=begun, reason="as it was begun")
    assert _known_precision(tmp_path, TrainingSettings(bf16=not begun)) is None
