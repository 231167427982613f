"""What the stages of `compress` depend on: whatever changes a result is among their inputs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from compressor.data.sources import DataSource
from compressor.digests import Inputs
from compressor.extraction.options import ExtractionOptions
from compressor.search.options import Choice, SearchOptions
from compressor.training.settings import ModelOptions, TrainingSettings
from conftest import sentence_rows
from exporters.options import BenchmarkOptions
from mlproject.stages import compress as pipeline
from mlproject.tracking.registration import LoggedExportOptions

STAGES = ("train-supernet", "search", "extract", "export-dense", "export", "benchmark")


@pytest.fixture
def source(tmp_path: Path) -> DataSource:
    rows = [row | {"label": ("bad", "good")[int(str(row["label"]))]} for row in sentence_rows(60)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataSource(task_name="custom", train_file=str(tmp_path / "train.jsonl"))


@pytest.fixture
def base(base_model_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base_model_dir, tmp_path / "base"))


def inputs_of(source: DataSource, base: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Inputs]:
    """What each stage says that it depends on; the stages themselves leave the same files whatever they are given."""
    found: dict[str, Inputs] = {}

    def run(_: object, folder: str, inputs: Inputs, _work: object) -> Path:
        found[str(inputs.values["stage"])] = inputs
        path = base.parent / folder
        path.mkdir(exist_ok=True)
        (path / "search_results.json").write_text("{}")
        (path / "model.safetensors").write_text(folder)
        return path

    monkeypatch.setattr(pipeline._Stages, "run", run)
    monkeypatch.setattr(pipeline, "_summarise", MagicMock())
    monkeypatch.setattr(pipeline, "read_reported", MagicMock())
    monkeypatch.setattr(pipeline, "write_report", MagicMock())
    pipeline.compress(
        base.parent / "out",
        pipeline.CompressOptions(
            source=source,
            model=ModelOptions(model_name_or_path=str(base)),
            training=TrainingSettings(),
            search=SearchOptions(),
            choice=Choice(),
            extraction=ExtractionOptions(finetune_epochs=0),
            export=LoggedExportOptions(),
            benchmark=BenchmarkOptions(),
        ),
        MagicMock(),
        MagicMock(),
    )
    return found


def changed(before: dict[str, Inputs], after: dict[str, Inputs]) -> set[str]:
    assert set(before) == set(after) == set(STAGES)
    return {stage for stage in STAGES if not before[stage].same_as(after[stage])}


def test_the_same_is_the_same(source: DataSource, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert changed(inputs_of(source, base, monkeypatch), inputs_of(source, base, monkeypatch)) == set()


def test_another_metric_changes_every_result(source: DataSource, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = inputs_of(source, base, monkeypatch)
    after = inputs_of(replace(source, metric="f1"), base, monkeypatch)
    assert changed(before, after) >= set(STAGES) - {"benchmark"}


def test_other_label_names_change_every_result(source: DataSource, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = inputs_of(source, base, monkeypatch)
    file = Path(str(source.train_file))
    file.write_text(file.read_text().replace('"bad"', '"awful"'))
    assert changed(before, inputs_of(source, base, monkeypatch)) == set(STAGES)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("config.json", '"gelu"', '"relu"'),
        ("tokenizer.json", '"w3"', '"w333"'),
        ("tokenizer_config.json", "[SEP]", "w1"),
    ],
)
def test_another_base_model_is_trained_anew(
    file: str, old: str, new: str, source: DataSource, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inputs_of(source, base, monkeypatch)
    text = (base / file).read_text()
    assert old in text
    (base / file).write_text(text.replace(old, new))
    assert "train-supernet" in changed(before, inputs_of(source, base, monkeypatch))


def test_another_super_network_changes_what_follows(
    source: DataSource, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inputs_of(source, base, monkeypatch)
    (base.parent / "supernet" / "tokenizer.json").write_text("{}")  # this stage alone leaves another file now
    after = inputs_of(source, base, monkeypatch)
    assert changed(before, after) == set(STAGES) - {"train-supernet", "export"}
