"""Served models as they are found: exports of this and older versions, and what is none."""

from pathlib import Path

import pytest

from asking import write_rows
from compressor.errors import ModelError
from exporters.options import ColumnOptions
from exporters.served.models import describe_served, open_served
from exporters.served.rows import predict_rows, read_labelled

GOLDEN = Path(__file__).parents[2] / "golden"


def test_a_model_of_others_is_told() -> None:
    with pytest.raises(ModelError, match="a served model must be made by compressor export, but it does not say its"):
        describe_served("it", "single", {}, lambda requests: requests)


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_an_export_is_opened_as_it_is_served(version: str, tmp_path: Path) -> None:
    """Of older versions too, whose graphs do not name their columns."""
    model = open_served("old", GOLDEN / version / "onnx")
    file = write_rows(tmp_path / "new.jsonl", {"text": "w1 w2", "label": model.labels[1]}, {"text": "", "label": 0})
    rows, task = read_labelled(file, model, ColumnOptions())
    assert rows.labels.tolist() == [1, 0]
    assert set(predict_rows(model, rows, task, model.labels)) <= {0, 1}
    assert (model.kind, model.task.name, model.task.label_column) == ("single", "custom", "label")


def test_a_directory_that_is_no_export_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a served model must be made by compressor export, but .* is not. Run it"):
        open_served("none", tmp_path)
