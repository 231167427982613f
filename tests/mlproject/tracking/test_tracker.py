"""The tracking server: away at the start, lost in the middle, back again, displeased with one entry."""

import json
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import mlflow
import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from compressor.files import STATE_FOLDER
from mlproject.tracking import delivery
from mlproject.tracking.delivery import MlflowLog, TrackingError, is_random_name
from mlproject.tracking.outbox import Command, read_header
from mlproject.tracking.tracker import StageRun, Tracker, sync

COMMAND = Command("search", {})


@pytest.fixture
def new_tracker(tmp_path: Path, mlflow_uri: str) -> Callable[[], Tracker]:
    """A process's tracker; every call stands for another process with the same output directory."""
    return lambda: Tracker(tmp_path / "out")


@pytest.fixture
def tracker(new_tracker: Callable[[], Tracker]) -> Tracker:
    return new_tracker()


def away(*_: Any, **__: Any) -> None:
    raise requests.ConnectionError("connection refused")


def answer_of(status: int) -> requests.Response:
    found = requests.Response()
    found.status_code = status
    return found


def lose(tracker: Tracker, patch: pytest.MonkeyPatch) -> None:
    """Every call that writes fails from now on."""
    for name in ("log_batch", "create_run", "set_terminated", "log_artifact", "set_experiment_tag", "set_tag"):
        patch.setattr(type(tracker.log.client), name, away)


def children_of(tracker: Tracker, run_id: str) -> list[Any]:
    found = tracker.log.client.search_runs([tracker.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    return sorted(found, key=lambda run: str(run.info.run_name))


def test_a_server_that_is_away_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    mlflow.set_tracking_uri(uri)
    message = f"the MLflow server {uri} must answer, but it does not"
    with pytest.raises(TrackingError, match=message), Tracker(tmp_path).start_run("search", {}, COMMAND):
        pass


def test_a_lost_server_costs_nothing_once_it_is_synced(
    tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        with tracker.start_run("search", {"stage": "search"}, COMMAND) as run:
            run.log_metrics({"before": 1.0})
            run_id = run.run_id
            tracker.wait()
            lose(tracker, patch)
            run.log_metrics({"after": 2.0})
            child = run.log_child("subnet-000", metrics={"error": 0.5}, params={"num_layers": 2}, tags={"stage": "x"})
            assert child.run_id == "<run id of subnet-000>"
            run.set_tags({"best": child.run_id})
            run.describe("text")
        assert tracker.outbox.num_pending > 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning")]
    assert "does not answer (connection refused). The work continues" in warnings[0]
    before = tracker.log.client.get_run(run_id)
    assert before.data.metrics == {"before": 1.0}
    assert before.info.status == "RUNNING"

    count, synced = sync(tmp_path / "out")
    assert (count > 0, synced.run_id) == (True, run_id)
    after = tracker.log.client.get_run(run_id)
    assert after.data.metrics == {"before": 1.0, "after": 2.0}
    assert after.info.status == "FINISHED"
    assert after.data.tags["mlflow.note.content"] == "text"
    [found] = children_of(tracker, run_id)
    assert (found.data.metrics, found.data.params) == ({"error": 0.5}, {"num_layers": "2"})
    assert (found.info.status, after.data.tags["best"]) == ("FINISHED", found.info.run_id)
    assert sync(tmp_path / "out")[0] == 0
    assert len(children_of(tracker, run_id)) == 1


def test_a_run_whose_creation_was_cut_short_is_not_made_twice(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = type(tracker.log.client).create_run

    def create_without_answer(*args: Any, **options: Any) -> None:
        create(*args, **options)
        away()

    with tracker.start_run("search", {}, COMMAND) as run, monkeypatch.context() as patch:
        tracker.wait()
        patch.setattr(type(tracker.log.client), "create_run", create_without_answer)
        run.log_child("subnet-000", metrics={"error": 0.5}, params={}, tags={})
        tracker.wait()
        assert tracker.lost
    assert not tracker.lost  # the server was back at the end
    assert [child.data.metrics for child in children_of(tracker, run.run_id)] == [{"error": 0.5}]


def test_a_command_that_goes_on_joins_its_run_and_says_nothing_twice(
    new_tracker: Callable[[], Tracker], tmp_path: Path
) -> None:
    ids = []
    for number in range(2):
        tracker = new_tracker()
        with tracker.start_run("search", {}, COMMAND) as run:
            (tmp_path / "out").mkdir(exist_ok=True)
            for index in range(2 + number):
                run.log_child(f"subnet-{index:03d}", metrics={"error": index / 10}, params={}, tags={})
            with tracker.start_stage(run, "extract", {}) as stage:
                stage.log_metrics({"error": 0.25})
            ids.append((run.run_id, stage.run_id))
    assert ids[0] == ids[1]
    names = [child.info.run_name for child in children_of(tracker, ids[0][0])]
    assert names == ["extract", "subnet-000", "subnet-001", "subnet-002"]
    history = tracker.log.client.get_metric_history(ids[0][1], "error")
    assert [point.value for point in history] == [0.25]
    header = read_header(tmp_path / "out")
    assert header is not None and header.run_id == ids[0][0]


def test_another_server_than_the_first_is_refused(new_tracker: Callable[[], Tracker], tmp_path: Path) -> None:
    with new_tracker().start_run("search", {}, COMMAND):
        pass
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/other.db")
    message = (
        f"{tmp_path}/out must be logged to the MLflow it was begun with, sqlite:///{tmp_path}/mlflow.db, but this is "
        f"sqlite:///{tmp_path}/other.db. Set MLFLOW_TRACKING_URI=sqlite:///{tmp_path}/mlflow.db, or choose another "
        "--output-dir."
    )
    with pytest.raises(TrackingError) as raised, new_tracker().start_run("search", {}, COMMAND):
        pass
    assert str(raised.value) == message
    with pytest.raises(TrackingError) as raised:
        sync(tmp_path / "out")
    assert str(raised.value) == message


def test_nothing_is_synced_from_a_directory_of_another_kind(tmp_path: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(TrackingError) as raised:
        sync(tmp_path)
    assert not list(tmp_path.iterdir())
    assert str(raised.value) == (
        f"{tmp_path} must be the output directory of a command, but nothing was logged there. Check the path."
    )


def test_a_command_without_results_leaves_no_directory(tracker: Tracker, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad"), tracker.start_run("search", {}, COMMAND) as run:
        run.log_params({"a": 1})
        raise ValueError("bad")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / STATE_FOLDER).exists()


class Strict(BaseHTTPRequestHandler):
    """A server that lets its users read alone; it answers as MLflow's basic-auth app does."""

    readable: ClassVar[dict[str, Any]] = {
        "/health": {},
        "/api/2.0/mlflow/experiments/search": {},
        "/api/2.0/mlflow/experiments/get-by-name": {"experiment": {"experiment_id": "7", "name": "compressor"}},
        "/api/2.0/mlflow/experiments/get": {"experiment": {"experiment_id": "7", "name": "compressor"}},
        "/api/2.0/mlflow/runs/search": {},
    }
    known = True

    def do_GET(self) -> None:
        found = self.readable.get(self.path.partition("?")[0])
        if self.path == "/health" or (self.known and found is not None):
            self.answer(200, json.dumps(found))
        elif self.known:
            self.answer(403, "Permission denied")
        else:
            self.answer(401, "You are not authenticated.")

    def do_POST(self) -> None:
        self.do_GET()

    def answer(self, status: int, text: str) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def strict_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that lets nobody write."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Strict) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a-password")
        mlflow.set_tracking_uri(uri)
        yield uri
        server.shutdown()


def test_an_experiment_of_a_colleague_names_the_permission_that_is_missing(strict_server: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as error, Tracker(tmp_path).start_run("search", {}, COMMAND):
        pass
    assert str(error.value) == (
        f"MLflow at {strict_server} must let you write into the experiment, but it forbids 'compressor' (experiment 7) "
        "to bob. Ask its owner for the permission EDIT, or use an experiment of your own (--experiment-name with "
        "mlflow run, MLFLOW_EXPERIMENT_NAME with compressor)."
    )


def test_a_wrong_password_is_told_from_a_missing_permission(
    strict_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Strict, "known", False)
    with pytest.raises(TrackingError) as error, Tracker(tmp_path).start_run("search", {}, COMMAND):
        pass
    assert str(error.value) == (
        f"MLflow at {strict_server} must know who you are, but it does not take the password of 'bob'. Set "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to what its admin gave you."
    )
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    with pytest.raises(TrackingError, match="does not take a command without MLFLOW_TRACKING_USERNAME"):
        Tracker(tmp_path / "out").start_run("search", {}, COMMAND).__enter__()


def test_a_permission_that_is_withdrawn_costs_one_warning_and_no_entry(
    tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(*_: Any, **__: Any) -> None:
        raise MlflowException(
            "API request to endpoint /x failed with error code 403 != 200. Response body: 'Permission'"
        )

    with monkeypatch.context() as patch, tracker.start_run("search", {}, COMMAND) as run:
        tracker.wait()
        patch.setattr(type(tracker.log.client), "log_batch", forbid)
        for number in range(3):
            run.log_metrics({"error": 0.5}, number)
        assert tracker.finish() == 3
    warnings = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0] for line in warnings] == [
        f"Warning: MLflow at {tracker.log.uri} does not let you write"
    ]
    assert "with the permission EDIT of the experiment, compressor sync logs the rest later." in warnings[0]
    assert sync(tmp_path / "out")[0] == 3 + 1  # and the end of the run


def test_a_file_that_is_gone_holds_up_nothing_that_comes_after_it(
    tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "large.bin").write_text("weights")
    with monkeypatch.context() as patch, tracker.start_run("search", {}, COMMAND) as run:
        tracker.wait()
        lose(tracker, patch)
        run.log_artifact(tmp_path / "out" / "large.bin")
        run.log_metrics({"error": 0.5})
    (tmp_path / "out" / "large.bin").unlink()
    capsys.readouterr()
    count, synced = sync(tmp_path / "out")
    assert (count, synced.tracker.num_refused) == (2, 1)  # the metric and the end
    assert f"(the file {tmp_path}/out/large.bin must exist, but it does not." in capsys.readouterr().err
    found = tracker.log.client.get_run(run.run_id)
    assert (found.data.metrics, found.info.status) == ({"error": 0.5}, "FINISHED")


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (
            MlflowException("(sqlite3.OperationalError) attempt to write a readonly database", TEMPORARILY_UNAVAILABLE),
            True,
        ),
        (MlflowException("API request to endpoint /x failed with error code 404 != 200. Response body: ''"), True),
        (MlflowException("API request to endpoint /x failed with error code 413 != 200. Response body: ''"), False),
        (requests.HTTPError("413 Client Error", response=answer_of(413)), False),
        (requests.HTTPError("502 Server Error", response=answer_of(502)), True),
        (requests.HTTPError("403 Client Error", response=answer_of(403)), True),  # what follows is forbidden too
        (OSError(28, "No space left on device"), True),
    ],
)
def test_what_is_refused_alone_is_told_from_a_server_that_is_away(
    error: Exception, lost: bool, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    with tracker.start_run("search", {}, COMMAND) as run:
        tracker.wait()
        with monkeypatch.context() as patch:
            patch.setattr(type(tracker.log.client), "log_batch", fail)
            run.log_metrics({"error": 0.5})
            tracker.wait()
        assert (tracker.lost, tracker.outbox.num_pending) == (lost, int(lost))


def test_a_run_that_mlflow_has_lost_is_made_again_with_all_that_was_logged(
    new_tracker: Callable[[], Tracker], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where somebody removes mlflow.db to tidy up: neither resuming nor sync needs it."""
    with new_tracker().start_run("search", {"stage": "search"}, COMMAND) as run:
        run.log_metrics({"before": 1.0})
        run.log_child("subnet-000", metrics={"error": 0.5}, params={}, tags={})
    lost = run.run_id

    def forget(run_id: str) -> None:
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            for table in ("tags", "metrics", "latest_metrics", "params", "runs"):
                database.execute(f"delete from {table} where run_uuid = ?", [run_id])

    forget(lost)
    tracker = new_tracker()
    with tracker.start_run("search", {"stage": "search"}, COMMAND) as run:
        run.log_metrics({"after": 2.0})
    assert f"no longer has the run {lost}. All is logged again, in a new one." in capsys.readouterr().out
    found = tracker.log.client.get_run(run.run_id)
    assert found.data.metrics == {"before": 1.0, "after": 2.0} and found.info.status == "FINISHED"
    assert [child.data.metrics for child in children_of(tracker, run.run_id)] == [{"error": 0.5}]
    assert new_tracker().outbox.num_pending == 0

    forget(run.run_id)
    count, synced = sync(tmp_path / "out")
    assert (count, synced.tracker.num_refused) == (len(tracker.outbox._events), 0)
    found = tracker.log.client.get_run(synced.run_id)
    assert found.data.metrics == {"before": 1.0, "after": 2.0} and found.info.status == "FINISHED"
    assert found.data.tags["stage"] == "search"
    assert sync(tmp_path / "out")[0] == 0


def test_what_was_deleted_in_mlflow_is_named_with_how_it_is_restored(
    new_tracker: Callable[[], Tracker], tmp_path: Path
) -> None:
    with new_tracker().start_run("search", {}, COMMAND) as run:
        pass
    client, number = run.tracker.log.client, run.tracker.experiment_id
    client.delete_run(run.run_id)
    for begin in (lambda: new_tracker().start_run("search", {}, COMMAND).__enter__(), lambda: sync(tmp_path / "out")):
        with pytest.raises(TrackingError) as raised:
            begin()
        assert str(raised.value) == (
            f"the run must take what is logged, but {run.run_id} was deleted in MLflow. Restore it with: mlflow runs "
            f"restore --run-id {run.run_id}, or choose another --output-dir."
        )
    client.restore_run(run.run_id)
    assert sync(tmp_path / "out")[0] == 0
    client.delete_experiment(number)
    with pytest.raises(TrackingError) as raised, Tracker(tmp_path / "new").start_run("search", {}, COMMAND):
        pass
    assert str(raised.value) == (
        "the experiment must take runs, but 'compressor' was deleted in MLflow. Restore it with: mlflow experiments "
        f"restore -x {number}, or use another one (--experiment-name with mlflow run, MLFLOW_EXPERIMENT_NAME with "
        "compressor)."
    )
    assert not (tmp_path / "new").exists()


def test_no_password_is_printed_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(MlflowLog, "start_run", lambda *_: ("run-0", "0"))
    monkeypatch.setattr(MlflowLog, "has_run", lambda *_: True)
    monkeypatch.setattr("mlproject.tracking.tracker.require_server", lambda _: None)
    monkeypatch.setattr("mlproject.tracking.tracker.deliver", away)
    for password in ("secret", "another-secret"):  # which is no reason to begin elsewhere
        mlflow.set_tracking_uri(f"http://bob:{password}@host:5000")
        tracker = Tracker(tmp_path / "out")
        with tracker.start_run("search", {}, COMMAND) as run:
            run.log_metrics({"error": 0.5})
        assert run.link().startswith("http://host:5000/#/")
    assert "secret" not in (tmp_path / "out" / STATE_FOLDER / "command.json").read_text()
    said = capsys.readouterr()
    assert "MLflow at http://bob:…@host:5000 does not answer" in said.err
    assert "secret" not in said.out + said.err
    mlflow.set_tracking_uri("http://bob:secret@127.0.0.1:9")
    monkeypatch.undo()
    with pytest.raises(TrackingError) as raised:
        delivery.require_server("http://bob:secret@127.0.0.1:9")
    assert "secret" not in str(raised.value)


def test_one_refused_entry_does_not_stop_the_log(tracker: Tracker, capsys: pytest.CaptureFixture[str]) -> None:
    with tracker.start_run("search", {}, COMMAND) as run:
        run.log_metrics({"too long" * 100: 1.0})
        run.log_metrics({"odd(name)": 2.0})
    assert "MLflow refuses a log entry" in capsys.readouterr().err
    assert tracker.log.client.get_run(run.run_id).data.metrics == {"odd_name_": 2.0}


def test_a_failed_block_fails_the_run_with_its_message(tracker: Tracker) -> None:
    stages: list[StageRun] = []
    with pytest.raises(TrackingError), tracker.start_run("compress", {}, COMMAND) as run:
        stages.append(run)
        with tracker.start_stage(run, "search", {"model": "demo"}) as stage:
            stages.append(stage)
            raise TrackingError("the law, but got this. Do that.")
    for stage in stages:
        failed = tracker.log.client.get_run(stage.run_id)
        assert failed.info.status == "FAILED"
        assert failed.data.tags["error"] == "the law, but got this. Do that."


def test_a_run_that_succeeds_at_last_says_nothing_of_what_it_failed_of(new_tracker: Callable[[], Tracker]) -> None:
    with pytest.raises(ValueError, match="no space"), new_tracker().start_run("search", {}, COMMAND) as run:
        run.keep()
        raise ValueError("no space")
    assert run.tracker.log.client.get_run(run.run_id).data.tags["error"] == "ValueError: no space"
    with new_tracker().start_run("search", {}, COMMAND) as again:
        assert again.run_id == run.run_id
    found = run.tracker.log.client.get_run(run.run_id)
    assert (found.info.status, "error" in found.data.tags) == ("FINISHED", False)


def test_children_are_logged_in_the_background(tracker: Tracker) -> None:
    with tracker.start_run("search", {}, COMMAND) as run:
        children = [
            run.log_child(
                f"subnet-{i:03d}", metrics={"error": i / 10}, params={"num_layers": i}, tags={"stage": "subnet"}
            )
            for i in range(3)
        ]
        run.log_series("search/hypervolume", [0.1, 0.2])
    for index, known in enumerate(children):
        child = tracker.log.client.get_run(known.run_id)
        assert child.info.run_name == f"subnet-{index:03d}"
        assert child.data.metrics == {"error": index / 10}
        assert child.data.params == {"num_layers": str(index)}
        assert child.data.tags["mlflow.parentRunId"] == run.run_id
        assert child.info.status == "FINISHED"
    history = tracker.log.client.get_metric_history(run.run_id, "search/hypervolume")
    assert [(point.step, point.value) for point in history] == [(0, 0.1), (1, 0.2)]


def test_a_joined_run_gets_our_name_unless_the_user_gave_one(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.utils.name_utils import _generate_random_name

    assert all(is_random_name(_generate_random_name()) for _ in range(50))
    client = mlflow.MlflowClient()
    for given, name in (
        (None, "search"),
        ("intelligent-fly-553", "search"),
        ("sweep-3", "sweep-3"),
        ("a-b-1", "a-b-1"),
    ):
        run_id = client.create_run("0", run_name=given).info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
        MlflowLog().start_run("search", {}, f"key of {given}")
        assert client.get_run(run_id).info.run_name == name
        assert client.get_run(run_id).data.tags["mlflow.runName"] == name
