"""The tracking server: away at the start, lost in the middle, displeased with one entry."""

import socket
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests

from mlproject.tracking import StageRun, Tracker, TrackingError


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    return Tracker()


def test_a_server_that_is_away_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    mlflow.set_tracking_uri(uri)
    message = f"the MLflow server {uri} must answer, but it does not"
    with pytest.raises(TrackingError, match=message), Tracker().start_run("search", {}):
        pass


def test_a_lost_server_costs_the_log_alone(
    tracker: Tracker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracker.start_run("search", {"stage": "search"}) as run:
        run.log_metrics({"before": 1.0})

        def away(*_: Any, **__: Any) -> None:
            raise requests.ConnectionError("connection refused")

        with monkeypatch.context() as patch:
            patch.setattr(type(tracker.client), "log_batch", away)
            patch.setattr(type(tracker.client), "create_run", away)
            run.log_metrics({"after": 1.0})
            child = run.log_child("subnet-000", metrics={"error": 0.5}, params={}, tags={})
            assert child.result() is None
            run.describe("text")
        run_id = run.run_id
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning")]
    assert len(warnings) == 1
    assert "does not answer (connection refused). The work goes on" in warnings[0]
    finished = tracker.client.get_run(run_id)
    assert finished.info.status == "FINISHED"  # the server was back for the last call
    assert finished.data.metrics == {"before": 1.0}


def test_one_refused_entry_does_not_stop_the_log(tracker: Tracker, capsys: pytest.CaptureFixture[str]) -> None:
    with tracker.start_run("search", {}) as run:
        run.log_metrics({"too long" * 100: 1.0})
        run.log_metrics({"odd(name)": 2.0})
    assert "MLflow refuses a log entry" in capsys.readouterr().err
    assert tracker.client.get_run(run.run_id).data.metrics == {"odd_name_": 2.0}


def test_a_failed_block_fails_the_run_with_its_message(tracker: Tracker) -> None:
    stages: list[StageRun] = []
    with pytest.raises(TrackingError), tracker.start_run("compress", {}) as run:
        stages.append(run)
        with tracker.start_stage(run, "search", {"model": "demo"}) as stage:
            stages.append(stage)
            raise TrackingError("the law, but got this. Do that.")
    for stage in stages:
        failed = tracker.client.get_run(stage.run_id)
        assert failed.info.status == "FAILED"
        assert failed.data.tags["error"] == "the law, but got this. Do that."


def test_children_are_logged_in_the_background(tracker: Tracker) -> None:
    with tracker.start_run("search", {}) as run:
        futures = [
            run.log_child(
                f"subnet-{i:03d}", metrics={"error": i / 10}, params={"num_layers": i}, tags={"stage": "subnet"}
            )
            for i in range(3)
        ]
        run.log_series("search/hypervolume", [0.1, 0.2])
    for index, future in enumerate(futures):
        child = tracker.client.get_run(str(future.result()))
        assert child.info.run_name == f"subnet-{index:03d}"
        assert child.data.metrics == {"error": index / 10}
        assert child.data.params == {"num_layers": str(index)}
        assert child.data.tags["mlflow.parentRunId"] == run.run_id
        assert child.info.status == "FINISHED"
    history = tracker.client.get_metric_history(run.run_id, "search/hypervolume")
    assert [(point.step, point.value) for point in history] == [(0, 0.1), (1, 0.2)]
