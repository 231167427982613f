"""The commands end to end on a tiny encoder: what they write, log and print, and every mistake of a hurried person."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from transformers import PreTrainedTokenizerFast

from conftest import WORDS, sentence_rows, tiny_config
from mlproject.cli import main

WriteRows = Callable[..., Path]
RunCli = Callable[..., "Outcome"]


class Outcome:
    """Exit code and output of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def last_line(self) -> str:
        return self.out.strip().splitlines()[-1]

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith(("Error", "Traceback", "Warning"))]


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunCli:
    """Runs a command in the test's folder, with its own MLflow database."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def trained(run_cli: RunCli, base_model_dir: Path, write_rows: WriteRows, tmp_path: Path) -> Path:
    """A tiny super-network, trained by the command."""
    outcome = run_cli(*train_words(base_model_dir, write_rows(sentence_rows(80))), "--output-dir", "net")
    assert outcome.code == 0, outcome.err
    return tmp_path / "net"


def train_words(model: Path, file: Path) -> list[object]:
    return ["train-supernet", "--model_name_or_path", model, "--train-file", file, "--num_train_epochs", 1]


def runs() -> list[Any]:
    client = mlflow.MlflowClient()
    return list(client.search_runs([e.experiment_id for e in client.search_experiments()]))


def test_stages_one_by_one(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    assert (trained / "super_network.json").is_file()
    outcome = run_cli("search", "--supernet", "net", "--num-samples", 6, "--output-dir", "search")
    assert outcome.code == 0, outcome.err
    assert outcome.last_line == (
        f"Made the Pareto front {tmp_path}/search. Next: compressor extract --search {tmp_path}/search"
    )
    results = json.loads((tmp_path / "search" / "search_results.json").read_text())
    assert len(results["evaluations"]) == 6
    assert {file.name for file in (tmp_path / "search").iterdir()} == {
        "search_results.json",
        "pareto_front.png",
        "pareto_front.csv",
        "pareto_front.html",
    }
    outcome = run_cli("extract", "--search", "search", "--index", 0, "--output-dir", "model")
    assert outcome.code == 0, outcome.err
    parity = json.loads((tmp_path / "model" / "parity.json").read_text())
    assert max(parity["sliced"], parity["loaded"]) <= 1e-5
    assert parity["error_searched"] == parity["error_loaded"]
    for name, model in (("onnx", "model"), ("dense", "net")):
        outcome = run_cli("export", "--model", model, "--output-dir", name)
        assert outcome.code == 0, outcome.err
    outcome = run_cli("benchmark", "--model", "dense", "--model", "onnx", "--runs", 2, "--lengths", "8")
    assert outcome.code == 0, outcome.err
    assert "speed-up over dense" in outcome.out


def test_compress_logs_parent_stages_and_every_sub_network(
    run_cli: RunCli, base_model_dir: Path, write_rows: WriteRows, tmp_path: Path
) -> None:
    words = train_words(base_model_dir, write_rows(sentence_rows(80)))
    more = ["--num-samples", 5, "--runs", 2, "--lengths", 8, "--output-dir", "out"]
    outcome = run_cli("compress", *words[1:], *more)
    assert outcome.code == 0, outcome.err
    everything = runs()
    assert {run.info.status for run in everything} == {"FINISHED"}
    by_stage: dict[str, list[Any]] = {}
    for run in everything:
        by_stage.setdefault(run.data.tags["stage"], []).append(run)
    stages = ["train-supernet", "search", "extract", "export", "benchmark"]
    assert sorted(by_stage) == sorted(["compress", *stages, "subnet"])
    parent, search = by_stage["compress"][0], by_stage["search"][0]
    for stage in stages:
        assert [run.data.tags["mlflow.parentRunId"] for run in by_stage[stage]] == [parent.info.run_id]
    children = by_stage["subnet"]
    assert len(children) == 5
    results = json.loads((tmp_path / "out" / "search" / "search_results.json").read_text())
    for child in children:
        evaluation = next(e for e in results["evaluations"] if e["name"] == child.info.run_name)
        assert child.data.tags["mlflow.parentRunId"] == search.info.run_id
        assert child.data.metrics["error"] == pytest.approx(evaluation["error"])
        assert child.data.metrics["params"] == evaluation["params"]
        assert child.data.params["num_layers"] == str(evaluation["num_layers"])
        assert (child.data.tags["pareto"] == "true") == evaluation["on_front"]
    assert {len(child.data.metrics) - child.data.metrics.__contains__("test_error") for child in children} == {6}
    history = mlflow.MlflowClient().get_metric_history(search.info.run_id, "search/hypervolume")
    assert [point.value for point in history] == pytest.approx(results["hypervolumes"])
    assert [entry.dataset.digest for entry in search.inputs.dataset_inputs]
    assert "| error (validation) |" in parent.data.tags["mlflow.note.content"]
    experiment = mlflow.get_experiment(parent.info.experiment_id)
    assert any(tag.startswith("mlflow.sharedViewState.") for tag in experiment.tags)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["pruned"]["params"] < summary["dense"]["params"]


def test_the_same_seed_gives_the_same_front(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    fronts = []
    for name in ("first", "second"):
        assert run_cli("search", "--supernet", "net", "--num-samples", 6, "--output-dir", name).code == 0
        results = json.loads((tmp_path / name / "search_results.json").read_text())
        fronts.append([(e["sub_network"], e["error"]) for e in results["evaluations"]])
    assert fronts[0] == fronts[1]


@pytest.mark.parametrize("task", ["regression", "stsb", "swag", "rte"])
def test_other_tasks_train_and_search(
    task: str, run_cli: RunCli, base_model_dir: Path, write_rows: WriteRows, tmp_path: Path
) -> None:
    texts = [f"{WORDS[i % 50]} {WORDS[(3 * i) % 50]}" for i in range(60)]
    shapes: dict[str, list[dict[str, object]]] = {
        "regression": [{"text": text, "label": i / 7} for i, text in enumerate(texts)],
        "stsb": [{"sentence1": text, "sentence2": texts[i - 1], "label": i / 7} for i, text in enumerate(texts)],
        "rte": [{"sentence1": text, "sentence2": texts[i - 1], "label": i % 2} for i, text in enumerate(texts)],
        "swag": [
            {"sent1": text, "sent2": "w3", **{f"ending{c}": texts[i - c] for c in range(4)}, "label": i % 4}
            for i, text in enumerate(texts)
        ],
    }
    named = ["--regression"] if task == "regression" else ["--task_name", task]
    words = train_words(base_model_dir, write_rows(shapes[task]))
    outcome = run_cli(*words, *named, "--output-dir", "net", "--search-space", "large")
    assert outcome.code == 0, outcome.err
    outcome = run_cli("search", "--supernet", "net", "--search-space", "large", "--num-samples", 5, "--output-dir", "s")
    assert outcome.code == 0, outcome.err
    assert run_cli("extract", "--search", "s", "--output-dir", "model").code == 0


def test_a_plain_checkpoint_is_searched_once_the_data_is_named(
    run_cli: RunCli, trained: Path, write_rows: WriteRows
) -> None:
    (trained / "super_network.json").unlink()
    outcome = run_cli("search", "--supernet", "net", "--num-samples", 3)
    assert outcome.code == 1
    assert "Name the data: --task-name, or --train-file" in outcome.err
    file = write_rows(sentence_rows(80))
    assert run_cli("search", "--supernet", "net", "--num-samples", 3, "--train-file", file).code == 0


MISTAKES: dict[str, tuple[list[object], str]] = {
    "no samples": (["search", "--supernet", "net", "--num-samples", 0], "--num-samples must be at least 1, but got 0."),
    "no super-network": (["search", "--supernet", "none"], "--supernet must be a directory, but "),
    "unknown space": (
        ["search", "--supernet", "net", "--search-space", "tiny"],
        "'tiny' is not one of 'small', 'small_power2', 'medium', 'layer', 'sublayer', 'large'.",
    ),
    "unknown strategy": (
        ["train-supernet", "--sampling-strategy", "x"],
        "'x' is not one of 'standard', 'random', 'linear_random', 'sandwich', 'kd', 'one_shot', 'ats'",
    ),
    "unknown method": (["search", "--supernet", "net", "--method", "grid"], "'grid' is not 'random_search'"),
    "unknown task": (["train-supernet", "--task_name", "rtee"], "'rtee' is not one of 'demo', 'custom', 'rte'"),
    "unknown option": (["search", "--supernet", "net", "--num-sample", 3], "No such option '--num-sample'"),
    "unknown command": (["serch"], "No such command 'serch'"),
    "nothing given": (["search"], "Missing option '--supernet'"),
    "no file": (["train-supernet", "--train-file", "no.csv"], "no.csv must exist, but it does not. Check the path."),
    "no random sub-networks": (
        ["train-supernet", "--num-random-sub-nets", 0],
        "--num-random-sub-nets must be at least 1 with --sampling-strategy one_shot, but got 0.",
    ),
    "temperature": (["train-supernet", "--temperature", 0], "--temperature must be above 0, but got 0.0."),
    "not a number": (["train-supernet", "--learning-rate", "fast"], "'fast' is not a valid float"),
    "model without weights": (
        ["train-supernet", "--model-name-or-path", "empty"],
        "must hold safetensors weights, but ",
    ),
    "off the front": (["extract", "--search", "search", "--index", 99], "--index must lie on the front, in 0.."),
    "not a search": (["extract", "--search", "net"], "search_results.json must exist, but it does not."),
    "used directory": (
        ["search", "--supernet", "net", "--output-dir", "net"],
        "--output-dir must be new or empty, but ",
    ),
    "not a model": (["export", "--model", "none"], "--model must be a directory, but "),
    "not exported": (["benchmark", "--model", "net"], "--model must hold model.onnx, but "),
    "batch sizes": (["benchmark", "--model", "net", "--batch-sizes", "a"], "'a' is not a list of whole numbers"),
}


def test_mistakes_get_one_line_and_leave_nothing(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    assert run_cli("search", "--supernet", "net", "--num-samples", 3, "--output-dir", "search").code == 0
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "bert"}')
    before = sorted(path.name for path in tmp_path.iterdir())
    for name, (words, message) in MISTAKES.items():
        outcome = run_cli(*words)
        assert outcome.code == 1, name
        assert len(outcome.error_lines) == 1, (name, outcome.err)
        assert message in outcome.error_lines[0], (name, outcome.err)
        assert sorted(path.name for path in tmp_path.iterdir()) == before, name
    failed = [run for run in runs() if run.info.status == "FAILED"]
    assert failed
    assert all(run.data.tags["error"] for run in failed)
    assert not [run for run in runs() if run.info.status == "RUNNING"]


def test_a_changed_super_network_is_noticed(run_cli: RunCli, trained: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    from transformers import BertForSequenceClassification

    assert run_cli("search", "--supernet", "net", "--num-samples", 3, "--output-dir", "search").code == 0
    BertForSequenceClassification(tiny_config("bert")).save_pretrained(trained)
    outcome = run_cli("extract", "--search", "search")
    assert outcome.code == 1
    assert "the super-network must be the one that was searched" in outcome.error_lines[0]


def test_changed_rows_are_noticed(run_cli: RunCli, trained: Path, write_rows: WriteRows) -> None:
    write_rows(sentence_rows(80, seed=5))
    outcome = run_cli("search", "--supernet", "net", "--num-samples", 3)
    assert outcome.code == 1
    assert "the rows must be those the super-network was trained on" in outcome.error_lines[0]


def test_debug_shows_the_traceback(run_cli: RunCli) -> None:
    from compressor.errors import ModelError

    with pytest.raises(ModelError):
        run_cli("search", "--supernet", "none", "--debug")


def test_a_joined_run_fails_with_the_message(run_cli: RunCli, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under `mlflow run`, which makes the run and hands it over in MLFLOW_RUN_ID."""
    client = mlflow.MlflowClient()
    for words in (["search", "--supernet", "none"], ["search", "--supernet", "net", "--search-space", "tiny"]):
        run_id = client.create_run(client.get_experiment_by_name("compressor").experiment_id).info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
        assert run_cli(*words).code == 1
        run = client.get_run(run_id)
        assert run.info.status == "FAILED"
        assert "must be a directory" in run.data.tags["error"] or "is not one of" in run.data.tags["error"]


def test_parameters_that_mlflow_run_logged_are_left_alone(
    run_cli: RunCli, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = mlflow.MlflowClient()
    run_id = client.create_run(client.get_experiment_by_name("compressor").experiment_id).info.run_id
    client.log_param(run_id, "num_samples", "3.0")
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    outcome = run_cli("search", "--supernet", "net", "--num-samples", 3)
    assert outcome.code == 0, outcome.err
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["num_samples"] == "3.0"
    assert run.data.params["search_space"] == "small"
