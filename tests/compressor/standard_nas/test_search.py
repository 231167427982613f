"""Standard NAS as a whole: trials that are there say what those to come compute in."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from compressor.data.rows import Rows, TaskData
from compressor.data.sources import DataSource
from compressor.data.tasks import TASKS
from compressor.errors import OptionError
from compressor.files import write_json
from compressor.search.options import NasOptions
from compressor.standard_nas.record import SPEC_FILE, BaseModel, TrialSpec
from compressor.standard_nas.search import NasInputs, _known_precision
from compressor.standard_nas.tuner import TRIALS_DIR
from compressor.training.precision import Precision
from compressor.training.settings import ModelOptions, TrainingSettings


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


def test_a_teacher_has_nothing_to_say_to_models_that_are_trained_alone() -> None:
    none = Rows(texts=(), labels=np.zeros(0))
    data = TaskData(task=TASKS["custom"], train=none, validation=none, test=none, label_names=())
    model = ModelOptions(teacher_model="large")
    with pytest.raises(OptionError, match="--teacher-model must be left out where .* labels alone, but got large"):
        NasInputs(model=model, data=data, settings=TrainingSettings(), options=NasOptions())
