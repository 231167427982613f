"""The commands end to end on a tiny encoder: what they write, log and print, and every mistake of a hurried person."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from compressor.evaluation.predictions import read_predictions
from compressor.limits import LIMITS, Limit
from conftest import WORDS, copy_database, sentence_rows, tiny_config, tiny_model
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
def run_cli(capsys: pytest.CaptureFixture[str], mlflow_uri: str) -> RunCli:
    """Runs a command in the test's folder, with its own MLflow database."""

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


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, base_model_dir: Path, migrated_database: Path) -> Path:
    """A folder with rows, a tiny super-network trained by the command, a search of it, and the database of both."""
    import datasets.config

    folder = tmp_path_factory.mktemp("made-once")
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sentence_rows(80)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        uri = copy_database(migrated_database, folder)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        main([str(word) for word in [*train_words(base_model_dir, folder / "train.jsonl"), "--output-dir", "net"]])
        shutil.copyfile("mlflow.db", "trained.db")
        main(["search", "--supernet", "net", "--num-samples", "3", "--output-dir", "search"])
    return folder


def _bring(source: Path, database: str, folder: Path, *names: str) -> None:
    """Copies what was made once into a test's folder, where the files then say that it was made."""
    copy_database(source / database, folder)
    for name in ("train.jsonl", *names):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
        else:
            shutil.copytree(source / name, folder / name)
            for file in (folder / name).glob("*.json"):
                file.write_text(file.read_text().replace(str(source), str(folder)))


@pytest.fixture
def trained(run_cli: RunCli, made_once: Path, tmp_path: Path) -> Path:
    """The super-network `net`, trained by the command."""
    _bring(made_once, "trained.db", tmp_path, "net")
    return tmp_path / "net"


@pytest.fixture
def searched(trained: Path, made_once: Path, tmp_path: Path) -> Path:
    """The search `search` of three sub-networks of `net`, made by the command."""
    _bring(made_once, "mlflow.db", tmp_path, "search")
    return tmp_path / "search"


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
        ".compressor",
        "search_results.json",
        "validation_predictions.safetensors",
        "evaluations.jsonl",
        "pareto_front.png",
        "pareto_front.csv",
        "pareto_front.html",
    }
    known = read_predictions(tmp_path / "search")
    assert known is not None
    assert list(known.by_name) == [evaluation["name"] for evaluation in results["evaluations"]]
    for evaluation in results["evaluations"]:
        assert np.mean(known.by_name[evaluation["name"]] != known.labels) == pytest.approx(evaluation["error"])
    assert results["trivial"]["name"] in ("always '0'", "always '1'")
    assert results["trivial"]["name"] in outcome.out
    outcome = run_cli("extract", "--search", "search", "--index", 0, "--output-dir", "model")
    assert outcome.code == 0, outcome.err
    assert f"Chosen: {results['evaluations'][results['front'][0]]['name']}, " in outcome.out
    parity = json.loads((tmp_path / "model" / "parity.json").read_text())
    assert max(parity["sliced"], parity["loaded"]) <= 1e-5
    assert parity["error_searched"] == parity["error_loaded"]
    for name, model in (("onnx", "model"), ("dense", "net")):
        outcome = run_cli("export", "--model", model, "--output-dir", name, "--max-int8-loss", 1)
        assert outcome.code == 0, outcome.err
        assert "Serve it: mlflow models serve -m models:/" in outcome.out
    assert {file.name for file in (tmp_path / "onnx" / "onnx").iterdir()} == {"model.onnx", "model_quantized.onnx"}
    assert json.loads((tmp_path / "onnx" / "config.json").read_text())["model_type"] == "bert"
    words = ["--model", "dense", "--model", "onnx", "--model", "model"]
    outcome = run_cli("benchmark", *words, "--runs", 2, "--lengths", "8")
    assert outcome.code == 0, outcome.err
    assert "of dense's p50 (95 %)" in outcome.out
    report = json.loads(outcome.last_line)  # one JSON line last, for machines
    assert {name: model["precision"] for name, model in report["models"].items()} == {
        "dense": "fp32",
        "dense-int8": "int8",
        "onnx": "fp32",
        "onnx-int8": "int8",
        "model-pytorch": "fp32",
    }
    assert {row["length"] for row in report["latencies"]} == {8, "real"}
    assert all(model["peak_mb"] > 10 for model in report["models"].values())
    benchmarked = next((tmp_path / "compressor-output").glob("benchmark-*"))
    for file in (
        tmp_path / "onnx" / "export.json",
        tmp_path / "model" / "sub_network.json",
        benchmarked / "latency.json",
    ):
        told = file.read_text().replace(str(tmp_path / "train.jsonl"), "")  # the rows are needed, and asked for there
        assert str(tmp_path) not in told, file
    assert (benchmarked / report["models"]["onnx"]["path"]).resolve() == tmp_path / "onnx" / "model.onnx"
    outcome = run_cli("export", "--model", "onnx", "--output-dir", "again")
    assert "must hold safetensors weights, but" in outcome.error_lines[0]  # its config.json makes no model of it
    made = {file.name for file in benchmarked.iterdir()}
    assert made == {".compressor", "latency.json", "latency.csv", "latency.png"}


def test_nas_trains_each_sub_network_alone_and_extract_takes_it(
    run_cli: RunCli, base_model_dir: Path, write_rows: WriteRows, tmp_path: Path
) -> None:
    """The paper's own option names, real trial processes, a folder with a space."""
    file = write_rows(sentence_rows(80))
    words = ["--model_name", base_model_dir, "--train-file", file, "--num_train_epochs", 2, "--seed", 0]
    more = ["--method", "random_search", "--num-trials", 3, "--num-workers", 2, "--output_dir=my nas"]
    outcome = run_cli("nas", *words, *more)
    assert outcome.code == 0, outcome.err
    path = tmp_path / "my nas"
    assert outcome.last_line == (
        f"Made the Pareto front of 3 trials in {path}. Next: compressor extract --search '{path}'"
    )
    results = json.loads((path / "search_results.json").read_text())
    assert len((path / "evaluations.jsonl").read_text().splitlines()) == 3
    by_name = {run.info.run_name: run for run in runs() if run.data.tags["stage"] == "subnet"}
    top = next(run for run in runs() if run.data.tags["stage"] == "nas")
    assert sorted(by_name) == ["trial-000", "trial-001", "trial-002"]
    client = mlflow.MlflowClient()
    for evaluation in results["evaluations"]:
        run = by_name[evaluation["name"]]
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == top.info.run_id
        assert run.data.metrics["error"] == pytest.approx(evaluation["error"])
        errors = [point.value for point in client.get_metric_history(run.info.run_id, "epoch/epoch_error")]
        assert len(errors) == 2
        assert min(errors) == pytest.approx(evaluation["error"])
        assert (run.data.tags["pareto"] == "true") == evaluation["on_front"]
        assert evaluation["model"] is None or (path / evaluation["model"] / "model.safetensors").is_file()
    full = next(e for e in results["evaluations"] if e["relative_params"] == 1)
    assert full["test_error"] is not None
    assert full["error_interval"][0] <= full["error"] <= full["error_interval"][1]
    for index in range(len(results["front"])):
        outcome = run_cli("extract", "--search", path, "--index", index, "--output-dir", f"model-{index}")
        assert outcome.code == 0, outcome.err
    parity = json.loads((tmp_path / "model-0" / "parity.json").read_text())
    assert parity["error_searched"] == parity["error_loaded"]
    outcome = run_cli("export", "--model", "model-0", "--output-dir", "onnx")
    assert outcome.code == 0, outcome.err


def test_nas_tells_what_goes_wrong(run_cli: RunCli, base_model_dir: Path, write_rows: WriteRows) -> None:
    words = ["nas", "--model-name", base_model_dir, "--train-file", write_rows(sentence_rows(80))]
    outcome = run_cli(*words, "--objectives", "error,latency_ms")
    assert outcome.error_lines == [
        "Error: --objectives of compressor nas must be of error, params and macs, but got latency_ms: trials that run "
        "side by side would time each other. Drop it, or use compressor search."
    ]
    outcome = run_cli(*words, "--num-workers", 0)
    assert outcome.error_lines == ["Error: --num-workers must be at least 1, but got 0. Raise it."]
    huge = [{**row, "label": 1e30 * (number % 7)} for number, row in enumerate(sentence_rows(80))]  # squares overflow
    write_rows(huge)
    outcome = run_cli(*words, "--regression", "--num-trials", 3, "--output-dir", "nan")
    assert outcome.error_lines[-1].startswith(
        "Error: a trial must finish an epoch, but all failed, the first so: the loss must be a finite number, but is "
    )
    ends = {run.info.run_name: run.info.status for run in runs() if run.data.tags["stage"] == "subnet"}
    assert ends == {"trial-000": "FAILED", "trial-001": "FAILED", "trial-002": "FAILED"}


def test_extraction_proves_distills_and_describes(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    assert run_cli("search", "--supernet", "net", "--num-samples", 8, "--output-dir", "s").code == 0
    outcome = run_cli("extract", "--search", "s", "--max-error-increase", 1, "--output-dir", "one")
    assert outcome.code == 0, outcome.err
    report = json.loads((tmp_path / "one" / "extraction.json").read_text())
    parity, tuned, test = report["parity"], report["finetuning"], report["test"]
    assert parity["error_searched"] == parity["error_loaded"] == tuned["error_before"] == report["chosen"]["error"]
    assert parity["label_agreement"] == 1.0
    assert report["error"] == min((tuned["error_before"], *tuned["errors"]))
    assert test["error"] == report["extracted"]["test_error"]
    assert test["base_error"] == report["super_network"]["test_error"]
    assert test["interval"][0] <= test["difference"] <= test["interval"][1]
    assert f"error {parity['error_loaded']:.4f} as searched" in outcome.out
    assert re.search("^Repair without training (lowered|was tried and left out: )", outcome.out, flags=re.M)
    assert re.search("^Distillation (lowered|was tried and left out: )", outcome.out, flags=re.M)
    assert "On the test rows: error" in outcome.out
    card = (tmp_path / "one" / "README.md").read_text()
    assert f"| parameters (M) | {report['super_network']['params'] / 1e6:.2f} |" in card
    assert "library_name: transformers" in card.split("---")[1]
    assert ("trust_remote_code=True" in card) == (tmp_path / "one" / "modeling_sliced.py").is_file()
    run = next(run for run in runs() if run.data.tags["stage"] == "extract")
    assert run.data.metrics["error_before_finetuning"] == pytest.approx(tuned["error_before"])
    assert run.data.metrics["error"] == pytest.approx(report["error"])
    outcome = run_cli("export", "--model", "one", "--output-dir", "onnx")  # law 4 holds for the distilled weights
    assert outcome.code == 0, outcome.err

    outcome = run_cli("extract", "--search", "s", "--all", "--finetune-epochs", 0, "--output-dir", "front")
    assert outcome.code == 0, outcome.err
    front = json.loads((tmp_path / "s" / "search_results.json").read_text())["front"]
    assert sorted(path.name for path in (tmp_path / "front").glob("subnet-*")) == [
        f"subnet-{i:03d}" for i in sorted(front)
    ]
    assert f"Made {len(front)} sliced models in {tmp_path}/front. Next: compressor export --model" in outcome.last_line

    (tmp_path / "mine.json").write_text('{"num_layers": 2, "num_heads": 3, "num_units": 17}')
    outcome = run_cli("extract", "--search", "s", "--config", "mine.json", "--output-dir", "mine")
    assert outcome.code == 0, outcome.err
    assert sorted(json.loads((tmp_path / "mine" / "extraction.json").read_text())["kept"]["heads"]) == [0, 3, 3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--index", 0, "--knee"], "one way to choose must be given, but got --knee and --index. Drop all but one."),
        (["--index", 40], "--index must lie on the front, in 0.."),
        (["--max-params", 0.001], "--max-params must be met by a member of the front, but none has 0.001 or less"),
        (["--finetune-epochs", -1], "--finetune-epochs must be at least 0, but got -1. Raise it."),
        (["--config", "nowhere.json"], "must exist, but it does not. Check the path."),
    ],
)
def test_extraction_tells_what_goes_wrong(
    words: list[object], message: str, run_cli: RunCli, searched: Path, tmp_path: Path
) -> None:
    outcome = run_cli("extract", "--search", "search", *words, "--output-dir", "out")
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1
    assert message in outcome.error_lines[0]
    assert not (tmp_path / "out").exists()


def test_a_registered_model_serves_and_one_that_loses_too_much_is_not_int8(
    run_cli: RunCli, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = mlflow.MlflowClient()
    monkeypatch.setitem(LIMITS, "max_int8_loss", Limit(least=-1, most=1, reason="a gate that nothing passes"))
    for loss, precision in ((1, "int8"), (-1, "fp32")):
        words = ["--max-int8-loss", loss, "--register-as", "moods", "--alias", "champion"]
        outcome = run_cli("export", "--model", "net", "--output-dir", f"onnx-{precision}", *words)
        assert outcome.code == 0, outcome.err
        assert "Serve it: mlflow models serve -m models:/moods@champion" in outcome.out
        assert ("Note: int8 may lose more than --max-int8-loss" in outcome.out) == (loss == -1)
        served = mlflow.pyfunc.load_model("models:/moods@champion")
        assert served.metadata.metadata["precision"] == precision
        assert served.predict(["w1 w5", ""])[0].label in ("0", "1")
        flavor = served.metadata.flavors["python_function"]
        uris = [artifact["uri"] for artifact in flavor["artifacts"].values()]
        assert not any(Path(path).is_absolute() for path in [flavor["model_code_path"], *uris])
    versions = client.search_model_versions("name='moods'")
    assert [int(v.version) for v in versions] == [2, 1]
    for version, precision in zip(versions, ("fp32", "int8"), strict=True):
        form = json.loads((tmp_path / f"onnx-{precision}" / "export.json").read_text())["forms"][precision]
        assert f"error (1 − accuracy) **{form['error']:.4f}** (95 % " in version.description
        assert f"{precision} ONNX, {form['mb']:.1f} MB, " in version.description
        assert (version.tags["precision"], version.tags["task"]) == (precision, "custom")
        assert version.tags["error"] == f"{form['error']:.4g}"
        assert {"mb", "params", "metric"} <= version.tags.keys()
    run = next(run for run in runs() if run.data.tags["stage"] == "export")
    assert {model.name for model in run.outputs and client.search_logged_models([run.info.experiment_id])} == {
        "onnx-int8",
        "onnx-fp32",
        "onnx-graph",
    }
    logged = {model.name: model for model in client.search_logged_models([run.info.experiment_id])}
    forms = json.loads((tmp_path / "onnx-int8" / "export.json").read_text())["forms"]
    for name, precision in (("onnx-graph", "fp32"), ("onnx-int8", "int8")):
        told = {m.key: m.value for m in logged[name].metrics if m.key in ("error", "mb")}
        assert len([m for m in logged[name].metrics if m.key in ("error", "mb")]) == 2
        assert told == {key: forms[precision][key] for key in ("error", "mb")}
    graph = mlflow.pyfunc.load_model(logged["onnx-graph"].model_uri)
    for shape in ((1, 5), (3, 17)):  # it was logged with one text of 8 tokens
        ids = np.full(shape, 7)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        assert graph.predict(given)["logits"].shape == (shape[0], 2)
    outcome = run_cli("export", "--model", "net", "--alias", "champion")
    assert outcome.error_lines[0].startswith(
        "Error: --alias must be given with --register-as, but got 'champion' alone"
    )
    outcome = run_cli("export", "--model", "net", "--precision", "int4")
    assert outcome.error_lines[0].startswith(
        "Error: --precision must be of fp32, int8, fp16, each once, but got 'int4'"
    )


def test_an_export_that_is_killed_registers_its_model_once(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    words = ["export", "--model", "net", "--precision", "fp32", "--register-as", "moods", "--output-dir", "onnx"]
    assert run_cli(*words).code == 0
    entries, delivered = (tmp_path / "onnx" / ".compressor" / name for name in ("entries.jsonl", "delivered.jsonl"))
    told = entries.read_text().splitlines(keepends=True)
    served = next(number for number, line in enumerate(told) if json.loads(line)["kind"] == "served_model")
    marks = delivered.read_text().splitlines(keepends=True)
    for known in (len(told) - 1, served):  # killed before its end; while MLflow made the version
        entries.write_text("".join(told[: max(known, served + 1)]))
        delivered.write_text("".join(marks[:known]))
        outcome = run_cli(*words)
        assert outcome.code == 0, outcome.err
        assert "Serve it: mlflow models serve -m models:/" in outcome.out
    assert len(mlflow.MlflowClient().search_model_versions("name = 'moods'")) == 1
    assert [run.info.status for run in runs() if run.data.tags["stage"] == "export"] == ["FINISHED"]


def test_a_refused_registration_fails_and_keeps_the_files(
    run_cli: RunCli, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise mlflow.MlflowException("no permission.")

    words = ["export", "--model", "net", "--precision", "fp32", "--register-as", "moods", "--alias", "champion"]
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_registered_model_alias", refuse)
        outcome = run_cli(*words, "--output-dir", "onnx")
    assert outcome.code == 1
    assert outcome.error_lines[-1] == (
        "Error: the model must be registered as 'moods', but MLflow refuses: no permission. All files are kept in "
        f"{tmp_path}/onnx; once the reason is gone give the same command again, or export the model with another "
        "--register-as."
    )
    assert (tmp_path / "onnx" / "model.onnx").is_file()
    run = next(run for run in runs() if run.data.tags["stage"] == "export")
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", outcome.error_lines[-1].removeprefix("Error: "))
    outcome = run_cli(*words, "--output-dir", "onnx")  # in the same run
    assert outcome.code == 0, outcome.err
    assert mlflow.MlflowClient().get_run(run.info.run_id).info.status == "FINISHED"
    assert mlflow.MlflowClient().get_model_version_by_alias("moods", "champion")
    outcome = run_cli("export", "--model", "net", "--register-as", "a/b", "--alias", "v1")
    assert outcome.error_lines[0].startswith(
        "Error: --register-as must be a name that MLflow takes (Invalid model name"
    )


def test_no_stage_writes_over_what_it_reads(run_cli: RunCli, searched: Path) -> None:
    for words in (
        ["search", "--supernet", "net", "--output-dir", "net"],
        ["extract", "--search", "search", "--output-dir", "search"],
        ["extract", "--search", "search", "--output-dir", "net"],
        ["export", "--model", "net", "--output-dir", "net"],
    ):
        outcome = run_cli(*words, "--overwrite-output-dir")
        assert outcome.code == 1
        assert outcome.error_lines[0].startswith("Error: --output-dir must not be what is read, but ")


def test_compress_logs_parent_stages_and_every_sub_network(
    run_cli: RunCli, base_model_dir: Path, write_rows: WriteRows, tmp_path: Path
) -> None:
    words = train_words(base_model_dir, write_rows(sentence_rows(80)))
    more = ["--num-samples", 5, "--runs", 2, "--lengths", 8, "--output-dir", "out"]
    more += ["--knee"]  # of so few rows the default choice can promise nothing of a smaller member
    outcome = run_cli("compress", *words[1:], *more)
    assert outcome.code == 0, outcome.err
    everything = runs()
    assert {run.info.status for run in everything} == {"FINISHED"}
    by_stage: dict[str, list[Any]] = {}
    for run in everything:
        by_stage.setdefault(run.data.tags["stage"], []).append(run)
    stages = ["train-supernet", "search", "extract", "export-dense", "export", "benchmark"]
    assert sorted(by_stage) == sorted(["compress", *stages, "subnet", "benchmark-model"])
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
    assert {len(child.data.metrics) - child.data.metrics.__contains__("test_error") for child in children} == {7}
    history = mlflow.MlflowClient().get_metric_history(search.info.run_id, "search/hypervolume")
    assert [point.value for point in history] == pytest.approx(results["hypervolumes"])
    assert [entry.dataset.digest for entry in search.inputs.dataset_inputs]
    story = parent.data.tags["mlflow.note.content"]
    assert "| error (validation) |" in story
    pruned = [
        (n, i) for n, i in enumerate(results["front"]) if results["evaluations"][i]["relative_encoder_params"] < 1
    ]
    chosen = json.loads((tmp_path / "out" / "model" / "extraction.json").read_text())["name"]
    for number, index in pruned:
        name = f"subnet-{index:03d}"
        assert f"| {name}{' ← chosen' if name == chosen else ''} | {number} |" in story  # what --index takes
    assert story.count("← chosen") == 1
    experiment = mlflow.get_experiment(parent.info.experiment_id)
    assert any(tag.startswith("mlflow.sharedViewState.") for tag in experiment.tags)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["pruned"]["params"] < summary["dense"]["params"]
    assert f"and the report {tmp_path}/out/report.html." in outcome.last_line
    artifacts = {file.path for file in mlflow.MlflowClient().list_artifacts(parent.info.run_id)}
    assert {"report.html", "figures"} <= artifacts
    page = (tmp_path / "out" / "report.html").read_text()
    sections = ["At a glance", "The Pareto front", "What is kept per layer", "Dense against extracted"]
    sections += ["Parity: nothing changed on the way", "How the search went", "Environment", "Make it again"]
    assert [name for name in sections if f"<h2>{name}</h2>" in page] == sections


def test_the_same_seed_gives_the_same_front(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    fronts = []
    for name in ("first", "second"):
        assert run_cli("search", "--supernet", "net", "--num-samples", 6, "--output-dir", name).code == 0
        results = json.loads((tmp_path / name / "search_results.json").read_text())
        fronts.append([(e["sub_network"], e["error"]) for e in results["evaluations"]])
    assert fronts[0] == fronts[1]


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
@pytest.mark.parametrize("task", ["regression", "stsb", "swag", "rte"])
def test_other_tasks_train_and_search(
    task: str,
    model_type: str,
    run_cli: RunCli,
    base_model_dir: Path,
    write_rows: WriteRows,
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    if model_type == "roberta":
        tiny_model("roberta").base_model.save_pretrained(tmp_path / "roberta")
        tokenizer.save_pretrained(tmp_path / "roberta")
        base_model_dir = tmp_path / "roberta"
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
    assert run_cli("search", "--supernet", "net", "--num-samples", 3, "--regression").code == 1
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
        "'tiny' is not one of 'small_ordered', 'small', 'small_power2', 'medium', 'layer', 'sublayer', 'large'.",
    ),
    "unknown strategy": (
        ["train-supernet", "--sampling-strategy", "x"],
        "'x' is not one of 'auto', 'standard', 'random', 'linear_random', 'sandwich', 'kd', 'one_shot', 'ats'",
    ),
    "unknown method": (
        ["search", "--supernet", "net", "--method", "grid"],
        "'grid' is not one of 'random_search', 'local_search'",
    ),
    "unknown task": (["train-supernet", "--task_name", "rtee"], "'rtee' is not one of 'demo', 'custom', 'rte'"),
    "unknown option": (["search", "--supernet", "net", "--num-sample", 3], "No such option '--num-sample'"),
    "unknown command": (["serch"], "No such command 'serch'"),
    "nothing given": (["search"], "Missing option '--supernet'"),
    "no file": (["train-supernet", "--train-file", "no.csv"], "no.csv must exist, but it does not. Check the path."),
    "no random sub-networks": (
        ["train-supernet", "--num-random-sub-nets", 0],
        "--num-random-sub-nets must be at least 1 with --sampling-strategy auto, but got 0.",
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
        "--output-dir must be of compressor search, but ",
    ),
    "not a model": (["export", "--model", "none"], "--model must be a directory, but "),
    "not exported": (["benchmark", "--model", "search"], "--model must be made by compressor export, extract or "),
    "batch sizes": (["benchmark", "--model", "net", "--batch-sizes", "a"], "'a' is not a list of whole numbers"),
}


def test_mistakes_get_one_line_and_leave_nothing(run_cli: RunCli, searched: Path, tmp_path: Path) -> None:
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


def test_a_changed_super_network_is_noticed(run_cli: RunCli, searched: Path, trained: Path) -> None:
    from transformers import BertForSequenceClassification

    BertForSequenceClassification(tiny_config("bert")).save_pretrained(trained)
    outcome = run_cli("extract", "--search", "search")
    assert outcome.code == 1
    assert "must be as super_network.json names them, but config.json was changed" in outcome.error_lines[0]
    _forget_files(trained / "super_network.json")
    outcome = run_cli("extract", "--search", "search")
    assert "must be as search_results.json names them, but config.json was changed" in outcome.error_lines[0]
    _forget_files(searched / "search_results.json")  # as an older version left them
    outcome = run_cli("extract", "--search", "search")
    assert "the super-network must be the one that was searched" in outcome.error_lines[0]


def _forget_files(path: Path) -> None:
    """Takes the hashes of a model's files out of a record."""
    record = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in record.items() if not key.endswith("files")}))


def test_changed_rows_are_noticed(run_cli: RunCli, trained: Path, write_rows: WriteRows) -> None:
    write_rows(sentence_rows(80, seed=5))
    outcome = run_cli("search", "--supernet", "net", "--num-samples", 3)
    assert outcome.code == 1
    assert "the rows must be those the super-network was trained on" in outcome.error_lines[0]


@pytest.mark.parametrize("more", [[], ["--max-eval-samples", 9]])
def test_rows_changed_after_the_search_are_noticed(
    more: list[object], run_cli: RunCli, trained: Path, write_rows: WriteRows
) -> None:
    words = ["search", "--supernet", "net", "--num-samples", 3, "--output-dir", "search", *more]
    assert run_cli(*words).code == 0
    write_rows(sentence_rows(80, seed=5))
    outcome = run_cli("extract", "--search", "search", "--index", 0)
    assert outcome.code == 1
    assert "the rows must be those" in outcome.error_lines[0]


def test_moved_directories_are_found(run_cli: RunCli, searched: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    for name in ("net", "search"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    outcome = run_cli("extract", "--search", "moved/search", "--index", 0, "--output-dir", "model")
    assert outcome.code == 0, outcome.err


def test_data_options_of_a_search_change_what_they_name_alone(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    words = ["search", "--supernet", "net", "--num-samples", 3, "--max-eval-samples", 7, "--output-dir", "s"]
    assert run_cli(*words).code == 0
    source = json.loads((tmp_path / "s" / "search_results.json").read_text())["source"]
    assert (source["task_name"], source["max_eval_samples"]) == ("custom", 7)
    assert source["train_file"].endswith("train.jsonl")


def test_overwriting_keeps_files_that_are_not_ours(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "notes.txt").write_text("mine")
    words = ["search", "--supernet", "net", "--num-samples", 3, "--output-dir", "s", "--overwrite-output-dir"]
    for _ in range(2):
        assert run_cli(*words).code == 0
    assert (tmp_path / "s" / "notes.txt").read_text() == "mine"
    assert len((tmp_path / "s" / "evaluations.jsonl").read_text().splitlines()) == 3
    search_run = next(run for run in runs() if run.data.tags["stage"] == "search")
    assert "notes.txt" not in [file.path for file in mlflow.MlflowClient().list_artifacts(search_run.info.run_id)]
    assert (tmp_path / "s" / "search_results.json").is_file()


def test_an_interrupted_search_keeps_its_evaluations(
    run_cli: RunCli, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressor.evaluation.evaluator import Evaluator

    evaluate, calls = Evaluator.evaluate, []

    def interrupted(self: Evaluator, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return evaluate(self, *arguments)

    monkeypatch.setattr(Evaluator, "evaluate", interrupted)
    outcome = run_cli("search", "--supernet", "net", "--num-samples", 6, "--output-dir", "s")
    assert outcome.code == 1
    assert outcome.error_lines == ["Error: stopped by the user; what was finished is kept."]
    lines = (tmp_path / "s" / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == [0, 1, 2]
    assert f"Made the Pareto front {tmp_path}/s. Next: compressor extract" in outcome.out
    assert run_cli("extract", "--search", "s", "--index", 0, "--output-dir", "model").code == 0
    assert [run.data.tags["error"] for run in runs() if run.info.status == "KILLED"] == ["interrupted"]


def test_best_epoch_is_kept_or_the_last(
    run_cli: RunCli, base_model_dir: Path, write_rows: WriteRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation errors by epoch 0.3, 0.1, 0.2: with checkpoints the second epoch's weights are kept, else the last."""
    from safetensors.torch import load_file

    from compressor.training import loop as training

    errors = iter([0.3, 0.1, 0.2] * 2)

    class FakeEvaluator:
        def __init__(self, *_: Any) -> None: ...

        def evaluate(self, sub_network: Any = None) -> Any:
            error = 0.5 if sub_network is not None else next(errors)
            return type("E", (), {"error": error})()

    monkeypatch.setattr(training, "Evaluator", FakeEvaluator)
    words = ["train-supernet", "--model-name-or-path", base_model_dir, "--train-file", write_rows(sentence_rows(60))]
    for name, strategy in (("best", "epoch"), ("last", "no")):
        more = ["--num-train-epochs", 3, "--save-strategy", strategy, "--output-dir", name]
        more += ["--sampling-strategy", "one_shot"]
        assert run_cli(*words, *more).code == 0
    info = {name: json.loads((tmp_path / name / "super_network.json").read_text()) for name in ("best", "last")}
    assert (info["best"]["best_epoch"], info["last"]["best_epoch"]) == (2, 3)
    assert [path.name for path in (tmp_path / "best").glob("checkpoint-*")] == ["checkpoint-epoch-2"]
    assert not list((tmp_path / "last").glob("checkpoint-*"))
    kept = load_file(tmp_path / "best" / "model.safetensors")
    checkpoint = load_file(tmp_path / "best" / "checkpoint-epoch-2" / "model.safetensors")
    last = load_file(tmp_path / "last" / "model.safetensors")
    assert all(kept[key].equal(checkpoint[key]) for key in kept)
    assert any(not kept[key].equal(last[key]) for key in kept)
    assert sorted(run.data.metrics["error"] for run in runs()) == [0.1, 0.2]


def test_without_a_hub_a_name_fails_fast(run_cli: RunCli, write_rows: WriteRows) -> None:
    import time

    start = time.perf_counter()
    file = write_rows(sentence_rows(20))
    outcome = run_cli("train-supernet", "--model-name-or-path", "bert-base-cased", "--train-file", file)
    assert outcome.code == 1
    assert "the model 'bert-base-cased' must be a local directory, 'demo' or a name" in outcome.error_lines[0]
    assert time.perf_counter() - start < 20


def test_corrupt_weights(run_cli: RunCli, trained: Path) -> None:
    (trained / "model.safetensors").write_bytes(b"no safetensors")
    outcome = run_cli("search", "--supernet", "net", "--num-samples", 3)
    assert outcome.code == 1
    assert "model.safetensors must be a whole safetensors file, but it is cut short" in outcome.error_lines[0]
    (trained / ".incomplete").touch()
    outcome = run_cli("search", "--supernet", "net", "--num-samples", 3)
    assert "a model directory must be whole, but writing" in outcome.error_lines[0]


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


def test_a_joined_run_says_how_it_ended(
    run_cli: RunCli, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An output directory that is in use comes before any run is joined, an interruption after it."""
    from compressor.evaluation.evaluator import Evaluator

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    client = mlflow.MlflowClient()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    for folder, status in (("used", "FAILED"), ("new", "KILLED")):
        run_id = client.create_run(client.get_experiment_by_name("compressor").experiment_id).info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
        monkeypatch.setattr(Evaluator, "evaluate", interrupted)
        assert run_cli("search", "--supernet", "net", "--output-dir", folder).code == 1
        assert client.get_run(run_id).info.status == status


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
    assert run.data.params["search_space"] == "small_ordered"


def test_a_search_takes_the_space_of_the_training(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    def results() -> dict[str, Any]:
        return json.loads((tmp_path / "found" / "search_results.json").read_text())

    def search(*more: object) -> None:
        words = ("--supernet", "net", "--num-samples", 3, "--output-dir", "found", "--overwrite-output-dir", "true")
        outcome = run_cli("search", *words, *more)
        assert outcome.code == 0, outcome.err

    config, info = (json.loads((tmp_path / "net" / name).read_text()) for name in ("config.json", "super_network.json"))
    search()
    assert results()["options"]["search_space"] == info["settings"]["search_space"] == "small_ordered"
    assert results()["layer_order"] == config["layer_order"] == [2, 0, 1]  # one epoch: nothing has been measured

    del config["layer_order"]  # a fine-tuned model of someone else's: now it is measured
    (tmp_path / "net" / "config.json").write_text(json.dumps(config))
    del info["files"]
    (tmp_path / "net" / "super_network.json").write_text(json.dumps(info))
    search()
    assert sorted(results()["layer_order"]) == [0, 1, 2]
    (tmp_path / "net" / "super_network.json").write_text(
        json.dumps(info | {"settings": info["settings"] | {"search_space": "layer"}})
    )
    search()
    assert results()["options"]["search_space"] == "layer"
    search("--search-space", "medium")
    assert results()["options"]["search_space"] == "medium"


def test_a_provider_that_is_not_there_is_refused_before_the_work(
    run_cli: RunCli, trained: Path, base_model_dir: Path, tmp_path: Path
) -> None:
    for words in (
        ["benchmark", "--model", "net"],
        ["compress", "--model-name-or-path", base_model_dir, "--train-file", "train.jsonl"],
    ):
        outcome = run_cli(*words, "--provider", "cuda", "--output-dir", "out")
        assert outcome.code == 1
        assert outcome.error_lines[0].startswith("Error: --provider cuda must be there for what is timed, but ")
        assert not list((tmp_path / "out").glob("*.*"))
