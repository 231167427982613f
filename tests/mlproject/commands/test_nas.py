"""`nas`: real trial processes, their runs in MLflow, and what goes wrong."""

import json
from pathlib import Path

import mlflow
import pytest

from compressor.evaluation.latency_table import TABLE_FILE, LatencyTable
from compressor.search.record import SearchResult
from conftest import sentence_rows
from running import RunCli, WriteRows, runs
from samples import sample_table


@pytest.mark.slow
def test_nas_trains_each_sub_network_alone_and_extract_takes_it(
    run_cli: RunCli, base_model_dir: Path, write_rows: WriteRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paper's own option names, real trial processes, a folder with a space, a latency from a table."""
    monkeypatch.setattr("mlproject.stages.nas.measure_latency_table", lambda *of: sample_table(of[-1]))
    file = write_rows(sentence_rows(80))
    words = ["--model_name", base_model_dir, "--train-file", file, "--num_train_epochs", 2, "--seed", 0]
    more = ["--method", "random_search", "--num-trials", 3, "--num-workers", 2, "--output_dir=my nas"]
    more += ["--objectives", "error,size_mb,latency_ms", "--latency-of", "onnx-int8", "--length", 9]
    outcome = run_cli("nas", *words, *more)
    assert outcome.code == 0, outcome.err
    path = tmp_path / "my nas"
    assert outcome.last_line == (
        f"Made the Pareto front of 3 trials in {path}. Next: compressor extract --search '{path}'"
    )
    results = json.loads((path / "search_results.json").read_text())
    assert len((path / "evaluations.jsonl").read_text().splitlines()) == 3
    assert json.loads((path / "trials" / "spec.json").read_text())["settings"]["bf16"] is False  # decided for all
    table = LatencyTable.load(path / TABLE_FILE)
    assert str(table.kind) == "onnx-int8, 1 thread, 1 text of 9 tokens"
    assert "Note: latency_ms is predicted from timed parts: onnx-int8, 1 thread, 1 text of 9 tokens." in outcome.out
    predicted = [table.predict(evaluation.sub_network) for evaluation in SearchResult.load(path).evaluations]
    assert predicted == [evaluation["latency_ms"] for evaluation in results["evaluations"]]
    by_name = {run.info.run_name: run for run in runs() if run.data.tags["stage"] == "subnet"}
    top = next(run for run in runs() if run.data.tags["stage"] == "nas")
    assert top.data.params["bf16"] == "False"
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
        assert run.data.metrics["size_mb"] == evaluation["size_mb"] == 4 * evaluation["params"] / 1e6
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


@pytest.mark.slow
def test_nas_tells_what_goes_wrong(run_cli: RunCli, base_model_dir: Path, write_rows: WriteRows) -> None:
    words = ["nas", "--model-name", base_model_dir, "--train-file", write_rows(sentence_rows(80))]
    outcome = run_cli(*words, "--objectives", "error,latency_ms", "--latency-of", "pytorch")
    assert outcome.error_lines[-1].startswith("Error: Invalid value for '--latency-of': 'pytorch' is not one of 'onnx-")
    outcome = run_cli(*words, "--num-workers", 0)
    assert outcome.error_lines == ["Error: --num-workers must be at least 1, but got 0. Raise it."]
    huge = [{**row, "label": 1e30 * (number % 7)} for number, row in enumerate(sentence_rows(80))]  # squares overflow
    write_rows(huge)
    outcome = run_cli(*words, "--regression", "--num-trials", 2, "--output-dir", "nan")
    assert outcome.error_lines[-1].startswith(
        "Error: a trial must finish an epoch, but all failed, the first so: the loss must be a finite number, but is "
    )
    ends = {run.info.run_name: run.info.status for run in runs() if run.data.tags["stage"] == "subnet"}
    assert ends == {"trial-000": "FAILED", "trial-001": "FAILED"}
