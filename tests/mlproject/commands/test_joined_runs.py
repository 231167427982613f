"""Runs that `mlflow run` made and handed over: how they end, and what it logged there."""

from pathlib import Path
from typing import Any

import mlflow
import pytest

from running import RunCli


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
