"""MLflow's table of models: a row for each model and form, which later commands find again, told once."""

import json
from pathlib import Path
from typing import Any

import mlflow
import pytest

from running import RunCli, runs


def experiment() -> str:
    return str(runs()[0].info.experiment_id)


def logged() -> dict[str, Any]:
    """The logged models by name, each name once."""
    found = mlflow.search_logged_models(experiment_ids=[experiment()], output_format="list")
    assert len({model.name for model in found}) == len(found)
    return {model.name: model for model in found}


def measured(model: Any) -> dict[str, tuple[float, str | None]]:
    """What is told of a model, each metric once, with the name of its rows."""
    assert len({metric.key for metric in model.metrics}) == len(model.metrics)
    return {metric.key: (metric.value, metric.dataset_name) for metric in model.metrics}


@pytest.mark.usefixtures("quick_footprint")
def test_the_table_of_models_is_error_size_and_latency(run_cli: RunCli, searched: Path, tmp_path: Path) -> None:
    words = ["--finetune-epochs", 0]
    assert run_cli("extract", "--search", "search", "--index", 0, *words, "--output-dir", "model").code == 0
    assert run_cli("export", "--model", "model", "--max-int8-loss", 1, "--output-dir", "onnx").code == 0
    assert run_cli("report", "--search", "search", "--model", "model", "--onnx", "onnx").code == 0
    words = ["--model", "onnx", "--model", "model", "--runs", 2, "--lengths", 8]
    assert run_cli("benchmark", *words, "--output-dir", "times").code == 0
    report, export, times = (
        json.loads((tmp_path / file).read_text())
        for file in ("model/extraction.json", "onnx/export.json", "times/latency.json")
    )
    name, models = report["name"], logged()
    assert set(models) == {"super-network-pytorch", *(f"{name}-{form}" for form in ("pytorch", "fp32", "int8"))}
    rows = {"error": "custom-validation", "test_error": "custom-test"}
    for form, timed in (("pytorch", "model-pytorch"), ("fp32", "onnx"), ("int8", "onnx-int8")):
        model = models[f"{name}-{form}"]
        found, told = measured(model), export["forms"].get(form, {})
        expected = told if form == "int8" else report["extracted"]
        for key in ("error",) if form == "int8" else ("error", "test_error"):
            ends = dict(zip((f"{key}_low", f"{key}_high"), expected[f"{key}_interval"], strict=True))
            for metric, value in {key: expected[key], **ends}.items():
                assert found[metric] == (pytest.approx(value, abs=6e-5), rows[key])
        assert ("test_error" in found) == (form != "int8")  # of int8 nobody has looked at it
        assert found["mb"] == (pytest.approx(told.get("mb", report["extracted"]["model_mb"]), abs=6e-4), None)
        [row] = (row for row in times["latencies"] if (row["model"], row["batch_size"], row["length"]) == (timed, 1, 8))
        assert found["latency_ms_p50"] == found["p50_ms_b1_l8"] == (pytest.approx(row["p50_ms"], abs=6e-4), None)
        assert found["p99_ms_b1_l8"] == (pytest.approx(row["p99_ms"], abs=6e-4), None)
        assert (model.model_type, model.tags["task"], str(model.status)) == ("sub-network", "custom", "READY")
        assert model.params["num_heads"] == str(sum(report["kept"]["heads"]))
        assert not [metric for metric in found if "/" in metric]  # nothing of its run, nor of another model
    rows_of = {given.dataset.name: given.dataset.digest for run in runs() for given in run.inputs.dataset_inputs}
    for metric in models[f"{name}-fp32"].metrics:
        assert metric.dataset_digest == rows_of.get(metric.dataset_name)
    used = {f"{name}-{form}" for form in ("pytorch", "fp32", "int8")}
    by_id = {model.model_id: model.name for model in models.values()}
    for stage in ("benchmark", "report"):
        run = mlflow.get_run(next(run.info.run_id for run in runs() if run.data.tags["stage"] == stage))
        assert {by_id[given.model_id] for given in run.inputs.model_inputs} == used
    by_size = [{"field_name": "metrics.mb", "ascending": True}]
    limit = export["forms"]["int8"]["error"] + 1e-6
    smallest = mlflow.search_logged_models([experiment()], f"metrics.error < {limit}", order_by=by_size)
    told = {key: {name: value for name, (value, _) in measured(model).items()} for key, model in models.items()}
    good = [key for key, values in told.items() if values["error"] < limit]
    assert list(smallest["name"]) == sorted(good, key=lambda key: told[key]["mb"])
    on_test = [{"dataset_name": "custom-test"}]
    assert set(mlflow.search_logged_models([experiment()], datasets=on_test)["name"]) == used - {f"{name}-int8"}
    assert mlflow.pyfunc.load_model(models[f"{name}-int8"].model_uri).predict(["w1"])[0].label in ("0", "1")


def test_a_model_that_mlflow_does_not_know_gets_its_row_from_the_benchmark(
    run_cli: RunCli, trained: Path, quick_footprint: None
) -> None:
    words = ["--model", "net", "--runs", 2, "--lengths", 8]
    client = mlflow.MlflowClient()
    for model in logged().values():
        client.delete_logged_model(model.model_id)
    for place in ("one", "two"):  # the second finds the row of the first
        assert run_cli("benchmark", *words, "--output-dir", place).code == 0
    [model] = logged().values()
    assert (model.name, model.model_type) == ("net-pytorch", "model")
    told = {metric.key for metric in model.metrics}
    assert {"error", "mb", "latency_ms_p50", "p50_ms_b8_l8"} <= told
    assert len([metric for metric in model.metrics if metric.key == "mb"]) == 1
    assert len([metric for metric in model.metrics if metric.key == "latency_ms_p50"]) == 2
