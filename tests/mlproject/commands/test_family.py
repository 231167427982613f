"""A family through all commands: tiers of a front, versions of one registered model, its page."""

import json
import re
from pathlib import Path
from typing import Any

import mlflow
import pytest

from compressor.extraction.family import Family
from compressor.files import read_json
from mlproject.tracking.registration import find_aliases
from running import RunCli, runs


def test_a_registry_calls_members_by_their_tiers() -> None:
    assert find_aliases(("S", "M", "L"), "M") == {"S": ("small",), "M": ("medium", "champion"), "L": ("large",)}
    assert find_aliases(("tiny", "huge"), "tiny") == {"tiny": ("tiny", "champion"), "huge": ("huge",)}


def versions(name: str) -> dict[str, str]:
    """The versions of a registered model by alias."""
    return {alias: str(number) for alias, number in mlflow.MlflowClient().get_registered_model(name).aliases.items()}


@pytest.fixture
def tiers(run_cli: RunCli, searched: Path, tmp_path: Path) -> Path:
    """A family of two, of any sub-networks, since the front of the tests' search has one member."""
    for name, units in (("S", 3), ("L", 17)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"num_layers": 2, "num_heads": 2, "num_units": units}))
        words = ("--config", f"{name}.json", "--finetune-epochs", 0, "--output-dir", tmp_path / "tiers" / name)
        assert run_cli("extract", "--search", "search", *words).code == 0
    return Family(members=("S", "L"), champion="L", tiers=("S", "L")).save(tmp_path / "tiers").parent


def test_tiers_are_a_family(run_cli: RunCli, searched: Path, tmp_path: Path) -> None:
    extract = ("extract", "--search", "search", "--finetune-epochs", 0)
    outcome = run_cli(*extract, "--tiers", "v1=1", "--output-dir", "tiers")
    assert outcome.code == 0, outcome.err
    assert Family.load(tmp_path / "tiers") == Family(members=("v1",), champion="v1", tiers=("v1=1",))
    assert "Champion: v1, the best, as none is surely at most 0.015 worse than the super-network." in outcome.out
    assert outcome.last_line == (
        f"Made 1 sliced models in {tmp_path}/tiers. Next: compressor export --model {tmp_path}/tiers"
    )
    export = ("export", "--model", "tiers", "--register-as", "moods")
    outcome = run_cli(*export, "--alias", "mine")
    assert outcome.error_lines == [
        "Error: --alias must be left out for a family, whose versions are v1, champion, but got 'mine'. Leave it out."
    ]
    outcome = run_cli(*export)
    assert outcome.error_lines[0].startswith("Error: --alias must be a name that MLflow takes (")
    assert not list((tmp_path / "compressor-output").glob("export-*"))


@pytest.mark.usefixtures("quick_footprint")
def test_a_family_is_registered_timed_and_shown(run_cli: RunCli, tiers: Path, tmp_path: Path) -> None:
    words = ("export", "--model", "tiers", "--max-int8-loss", 1, "--output-dir", "onnx")
    outcome = run_cli(*words, "--register-as", "moods")
    assert outcome.code == 0, outcome.err
    assert outcome.last_line.startswith(f"Made 2 ONNX models in {tmp_path}/onnx. Next: compressor benchmark --model ")
    assert versions("moods") == {"small": "1", "large": "2", "champion": "2"}
    for name, alias in (("S", "small"), ("L", "large")):
        export = json.loads((tmp_path / "onnx" / name / "export.json").read_text())
        version = mlflow.MlflowClient().get_model_version_by_alias("moods", alias)
        assert (version.tags["model"], version.tags["params"]) == (name, str(export["params"]))
        assert mlflow.pyfunc.load_model(f"models:/moods@{alias}").predict(["w1 w5"])[0].label in ("0", "1")
    logged = mlflow.search_logged_models(experiment_ids=[runs()[0].info.experiment_id], output_format="list")
    assert {f"{name}-{form}" for name in "SL" for form in ("pytorch", "fp32", "int8")} < {m.name for m in logged}
    given = run_cli("benchmark", "--model", "onnx", "--runs", 2, "--lengths", 8, "--output-dir", "times")
    assert given.code == 0, given.err
    assert list(json.loads(given.last_line)["models"]) == ["S", "S-int8", "L", "L-int8"]
    words = ("--search", "search", "--model", "tiers", "--onnx", "onnx", "--benchmark", "times", "--output-dir", "page")
    outcome = run_cli("report", *words)
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "page" / "report.html").read_text()
    assert re.findall("<h1>(.*?)</h1>", page) == ["Family report, custom: a family of 2"]
    for line in ("extract --search search --tiers S,L", "export --model tiers", "benchmark --model onnx --"):
        assert f"compressor {line}" in re.sub("</?span>", "", page)
    run = mlflow.get_run(next(run.info.run_id for run in runs() if run.data.tags["stage"] == "report"))
    assert len(run.inputs.model_inputs) == 6
    assert "L ← champion" in run.data.tags["mlflow.note.content"]


def test_an_export_of_a_family_goes_on(
    run_cli: RunCli, tiers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first member, and again while it registered the second: each is exported and registered once."""
    from mlproject.stages import export as stage

    words = ("export", "--model", "tiers", "--precision", "fp32", "--register-as", "moods", "--output-dir", "onnx")
    made, whole, log = [], stage.export_model, stage.log_forms

    def export_once(opened: Any, data: Any, target: Path, options: Any) -> Any:
        if made and not stopped:
            stopped.append("export")
            raise KeyboardInterrupt
        made.append(target.name)
        return whole(opened, data, target, options)

    def log_once(*given: Any) -> None:
        if len(stopped) == 1:
            stopped.append("log")
            raise KeyboardInterrupt
        log(*given)

    stopped: list[str] = []
    monkeypatch.setattr(stage, "export_model", export_once)
    monkeypatch.setattr(stage, "log_forms", log_once)
    assert [run_cli(*words).code for _ in range(3)] == [1, 1, 0]
    assert (made, stopped) == (["S", "L"], ["export", "log"])
    records = [read_json(tmp_path / "onnx" / name / ".compressor" / "stage.json") for name in "SL"]
    assert [record["stage"] for record in records] == ["export member"] * 2
    assert len(mlflow.MlflowClient().search_model_versions("name = 'moods'")) == 2
    assert {"small", "large", "champion"} == versions("moods").keys()
    found = mlflow.search_logged_models(experiment_ids=[runs()[0].info.experiment_id], output_format="list")
    names = [model.name for model in found]
    assert len(names) == len(set(names))


def test_a_member_is_kept_as_long_as_the_texts_are_those_that_it_was_trimmed_by(
    run_cli: RunCli, searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after its only member, edited, and resumed: the words of the file that is there now are kept."""
    from mlproject.stages import extract as stage

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    texts = tmp_path / "more.txt"
    words = ["extract", "--search", "search", "--tiers", "v1=1", "--finetune-epochs", 0, "--output-dir", "tiers"]
    words += ["--trim-vocabulary", "--vocabulary-file", "more.txt", "--vocabulary-min-count", 2]
    kept = []
    monkeypatch.setattr(stage, "make_family", stop)
    for text in ("w0 w0", "w0 w0", "w0 w0 w54 w54"):
        texts.write_text(text)
        outcome = run_cli(*words)
        assert outcome.error_lines == ["Error: stopped by the user; what was finished is kept."]
        kept.append(" was extracted before." in outcome.out)
    assert kept == [False, True, False]


def test_compress_refuses_names_before_any_work(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    words = ("compress", "--train-file", "train.jsonl", "--output-dir", "out")
    outcome = run_cli(*words, "--tiers", "S,L", "--register-as", "moods", "--alias", "mine")
    assert outcome.error_lines == [
        "Error: --alias must be left out for a family, whose versions are small, large, champion, but got 'mine'. "
        "Leave it out."
    ]
    outcome = run_cli(*words, "--tiers", "dense=0.5,other=1")
    assert outcome.error_lines == [
        "Error: --tiers must be other names than dense, which is the super-network, but got dense=0.5,other=1. "
        "Choose another."
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_footprint")
def test_compress_makes_a_family(run_cli: RunCli, trained: Path, base_model_dir: Path, tmp_path: Path) -> None:
    words = ["--model-name-or-path", base_model_dir, "--train-file", "train.jsonl", "--num-train-epochs", 1]
    words += ["--num-samples", 4, "--runs", 2, "--lengths", 8, "--finetune-epochs", 0, "--runtime", "onnxruntime"]
    words += ["--tiers", "small=1", "--max-int8-loss", 1, "--register-as", "moods"]
    outcome = run_cli("compress", *words, "--output-dir", "out")
    assert outcome.code == 0, outcome.err
    assert "Dense super-network and family, " in outcome.out
    assert versions("moods") == {"small": "1", "champion": "1"}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert list(summary) == ["dense", "dense-int8", "small", "small-int8", "dense-pytorch", "small-pytorch"]
    assert "Family report, custom: a family of 1" in (tmp_path / "out" / "report.html").read_text()
    run = next(run for run in runs() if run.data.tags["stage"] == "compress")
    assert "small ← champion" in run.data.tags["mlflow.note.content"]
