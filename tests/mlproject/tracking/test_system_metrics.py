"""System metrics: curves that are delivered like all else; no outage and nothing unreadable makes a command fail."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests

from mlproject.tracking.delivery import _active
from mlproject.tracking.outbox import Command
from mlproject.tracking.system_metrics import log_system_metrics
from mlproject.tracking.tracker import StageRun, Tracker, sync

COMMAND = Command("search", {})
CPU, MEMORY = "system/cpu_utilization_percentage", "system/system_memory_usage_percentage"


@pytest.fixture
def new_tracker(tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Tracker]:
    """A process's tracker, with readings every few milliseconds."""
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.02")
    (tmp_path / "out").mkdir()
    return lambda: Tracker(tmp_path / "out")


def steps(run: StageRun, name: str = CPU) -> list[int]:
    return [point.step for point in mlflow.MlflowClient().get_metric_history(run.run_id, name)]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def told(run: StageRun) -> int:
    return run.tracker.outbox.next_step(run.name, "system/")


def test_curves_go_on_where_a_run_goes_on(new_tracker: Callable[[], Tracker]) -> None:
    seen = 0
    for _ in range(2):
        tracker = new_tracker()
        with tracker.start_run("search", {}, COMMAND) as run:
            with log_system_metrics(run):
                wait_for(lambda run=run, seen=seen: told(run) >= seen + 3)
            seen = told(run)
        tracker.close()
    assert steps(run) == steps(run, MEMORY) == list(range(seen))
    values = mlflow.MlflowClient().get_run(run.run_id).data.metrics
    assert 0 < values[MEMORY] < 100
    assert values["system/disk_usage_percentage"] > 0
    history = mlflow.MlflowClient().get_metric_history(run.run_id, CPU)
    assert [point.timestamp for point in history] == sorted(point.timestamp for point in history)


def test_means_of_several_readings_and_the_last_ones(
    new_tracker: Callable[[], Tracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "1000000")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_NODE_ID", "node-7")
    readings = iter([50.0, 10.0, *[30.0] * 1_000_000])
    taken = []
    monkeypatch.setattr("psutil.cpu_percent", lambda: taken.append(next(readings)) or taken[-1])
    with new_tracker().start_run("search", {}, COMMAND) as run, log_system_metrics(run):
        wait_for(lambda: len(taken) > 3)
    values = mlflow.MlflowClient().get_run(run.run_id).data.metrics
    counted = taken[1:]  # the first is of before
    assert values["system/node-7/cpu_utilization_percentage"] == round(sum(counted) / len(counted), 1)


def test_a_lost_server_gets_the_whole_curve_later(
    new_tracker: Callable[[], Tracker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise requests.ConnectionError("connection refused")

    tracker = new_tracker()
    with monkeypatch.context() as patch:
        with tracker.start_run("search", {}, COMMAND) as run, log_system_metrics(run):
            run_id = run.run_id
            for name in ("log_batch", "set_terminated", "set_tag"):
                patch.setattr(type(tracker.log.client), name, away)
            wait_for(lambda: told(run) >= 3)
        assert tracker.outbox.num_pending > 3
    tracker.close()
    sync(tmp_path / "out")
    assert mlflow.MlflowClient().get_run(run_id).info.status == "FINISHED"
    assert steps(run) == list(range(told(run)))


def test_a_server_that_does_not_answer_holds_nothing_up(
    new_tracker: Callable[[], Tracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, tracker = threading.Event(), new_tracker()
    log_batch = tracker.log.client.log_batch

    def answer_late(*words: Any, **more: Any) -> None:
        answer.wait(20)
        log_batch(*words, **more)

    monkeypatch.setattr(tracker.log.client, "log_batch", answer_late)
    with tracker.start_run("search", {}, COMMAND) as run:
        with log_system_metrics(run):
            wait_for(lambda: told(run) >= 2)
            begun = time.monotonic()
        assert time.monotonic() - begun < 5
        assert not answer.is_set()
        answer.set()
    assert steps(run) == list(range(told(run)))


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without network counters, as some sandboxes are."""
    monkeypatch.setattr("psutil.net_io_counters", lambda: None)
    yield


@pytest.mark.usefixtures("unreadable")
def test_what_cannot_be_read_costs_one_warning(
    new_tracker: Callable[[], Tracker], capsys: pytest.CaptureFixture[str]
) -> None:
    with new_tracker().start_run("search", {}, COMMAND) as run, log_system_metrics(run):
        run.log_metrics({"error": 0.5})
    assert mlflow.MlflowClient().get_run(run.run_id).data.metrics == {"error": 0.5}
    [warning] = capsys.readouterr().err.splitlines()
    assert warning.startswith("Warning: system metrics end here (")


def test_mlflow_s_own_monitor_is_never_started(
    new_tracker: Callable[[], Tracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    with new_tracker().start_run("search", {}, COMMAND) as run, log_system_metrics(run), _active(run.run_id):
        wait_for(lambda: told(run) >= 1)
        names = [thread.name for thread in threading.enumerate()]
    assert "system-metrics" in names
    assert "SystemMetricsMonitor" not in names
