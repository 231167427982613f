"""What the stages of `compress` depend on: whatever changes a result is among their inputs."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest

from compressor.data.sources import DataSource
from compressor.digests import Inputs
from compressor.errors import ModelError
from compressor.extraction.options import ExtractionOptions
from compressor.search.options import Choice, SearchOptions
from compressor.training.settings import ModelOptions, TrainingSettings
from conftest import sentence_rows
from exporters.options import BenchmarkOptions
from mlproject.inputs.cache import stage_inputs, write_record
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


def inputs_of(
    source: DataSource,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    search: SearchOptions | None = None,
    export: LoggedExportOptions | None = None,
) -> dict[str, Inputs]:
    """What each stage says that it depends on; the stages themselves leave the same files whatever they are given."""
    found: dict[str, Inputs] = {}

    def run(_: object, folder: str, inputs: Inputs, _work: object, **_more: object) -> Path:
        assert folder in pipeline._FOLDERS
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
            search=search or SearchOptions(),
            choice=Choice(),
            extraction=ExtractionOptions(finetune_epochs=0),
            export=export or LoggedExportOptions(),
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


@pytest.mark.parametrize("change", [{"max_int8_loss": 0.5}, {"confidence": 0.5}, {"portable": True}])
def test_forms_that_are_accepted_otherwise_are_timed_anew(
    change: dict[str, Any], source: DataSource, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inputs_of(source, base, monkeypatch)
    after = inputs_of(source, base, monkeypatch, export=LoggedExportOptions(**change))
    assert changed(before, after) == {"export-dense", "export", "benchmark"}
    after = inputs_of(source, base, monkeypatch, export=LoggedExportOptions(register_as="moods", alias="champion"))
    assert changed(before, after) == {"export"}


def test_what_another_machine_has_timed_is_timed_anew(
    source: DataSource, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = SearchOptions(objectives=("error", "latency_ms"))
    before, before_timed = (inputs_of(source, base, monkeypatch, search) for search in (None, timed))
    monkeypatch.setattr(pipeline, "cpu_name", lambda: "another")
    assert changed(before, inputs_of(source, base, monkeypatch)) == {"benchmark"}
    assert changed(before_timed, inputs_of(source, base, monkeypatch, timed)) == {"search", "benchmark"}


class Finished:
    """What stages see of an output directory, and of finished runs of the same experiment."""

    def __init__(self, *found: Path, own: Sequence[str] = ()) -> None:
        self.outbox = SimpleNamespace(run_ids=dict.fromkeys(own, "its id"))
        self.resumes, self._found = bool(own), found

    def find_finished(self, _: str) -> list[tuple[str, Path]]:
        return [("another id", path) for path in self._found]

    def end_stage(self, _: str) -> None:
        pass

    @contextmanager
    def start_stage(self, *_: object) -> Iterator[MagicMock]:
        yield MagicMock()


def stages(out: Path, tracker: Finished, *, use_cache: bool = True) -> pipeline._Stages:
    return pipeline._Stages(out, MagicMock(), cast(Any, tracker), {}, use_cache)


def test_a_folder_that_another_stage_has_begun_to_write_is_not_taken(tmp_path: Path) -> None:
    """First one is finished there, then another overwrites its files and fails: the first one is no longer there."""
    first, second = stage_inputs("extract", seed=1), stage_inputs("extract", seed=2)

    def write(text: str, *, fails: bool = False) -> Any:
        def work(folder: Path, _: object) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "model").write_text(text)
            if fails:
                raise ModelError("it is refused")

        return work

    out = tmp_path / "out"
    stages(out, Finished()).run("model", first, write("first"))
    with pytest.raises(ModelError):
        stages(out, Finished()).run("model", second, write("second", fails=True))
    folder = stages(out, Finished(out / "model")).run("model", first, write("first again"))
    assert (folder / "model").read_text() == "first again"


def test_a_model_is_registered_again_by_another_command(tmp_path: Path) -> None:
    inputs, ran = stage_inputs("export", register_as="moods", alias="champion"), list[str]()
    elsewhere = tmp_path / "earlier" / "onnx"
    for folder in (elsewhere, tmp_path / "out" / "onnx"):
        folder.mkdir(parents=True)
        write_record(folder, inputs)

    def run(tracker: Finished, *, registers: bool) -> Path:
        (tmp_path / "out" / "onnx").mkdir(exist_ok=True)
        found = stages(tmp_path / "out", tracker)
        return found.run("onnx", inputs, lambda *_: ran.append("export"), registers=registers)

    assert run(Finished(elsewhere), registers=False) == tmp_path / "out" / "onnx" and not ran
    assert run(Finished(elsewhere), registers=True) == tmp_path / "out" / "onnx" and ran == ["export"]
    assert run(Finished(elsewhere, own=["export"]), registers=True) and ran == ["export"]  # resumed


def test_to_begin_anew_leaves_other_commands_alone(tmp_path: Path) -> None:
    for name in ("supernet", "mine"):
        (tmp_path / name / ".compressor").mkdir(parents=True)
        (tmp_path / name / ".compressor" / "command.json").write_text("{}")
    stages(tmp_path, Finished(), use_cache=False)
    assert not (tmp_path / "supernet" / ".compressor" / "command.json").exists()
    assert (tmp_path / "mine" / ".compressor" / "command.json").exists()
