"""MLflow's addresses and databases: odd ones, one that two processes make at once, a server that hangs."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import mlflow
import pytest

from compressor.files import module_environment
from mlproject.tracking import delivery as mlflow_log
from mlproject.tracking.delivery import (
    Delivery,
    MlflowLog,
    TrackingError,
    deliver,
    find_failed_thresholds,
    make_database,
    require_server,
)
from mlproject.tracking.events import LogEvaluation
from mlproject.tracking.outbox import Command, Header
from mlproject.tracking.tracker import Tracker

COMMAND = Command("search", {})


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("postgresql://me:secret@localhost/x", "No module named 'psycopg"),
        ("foo://bar", "Model registry functionality is unavailable; got unsupported URI 'foo://bar'"),
        ("file:mlruns", "The filesystem tracking backend"),
        ("folder", "The filesystem tracking backend"),
        ("sqlite:///folder", "it is a directory"),
        ("sqlite:///text.db", "(sqlite3.DatabaseError) file is not a database"),
        ("sqlite:////proc/none/x.db", "[Errno 2] No such file or directory"),
        ("https://[::1", "Invalid IPv6 URL"),
    ],
)
def test_an_odd_address_is_a_sentence(uri: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.db").write_text("no database " * 1000)
    mlflow.set_tracking_uri(uri)
    with pytest.raises(TrackingError) as raised, Tracker(tmp_path / "out").start_run("search", {}, COMMAND):
        pass
    message = str(raised.value)
    assert message.startswith("MLFLOW_TRACKING_URI must name an MLflow server or database that can be used, but ")
    assert f"cannot: {reason}" in message
    assert message.endswith(". Give it as http://host:port or sqlite:///mlflow.db, or unset it.")
    assert "secret" not in message and "\n" not in message
    assert not (tmp_path / "out").exists()


MAKE = "import mlproject, sys; from mlproject.tracking.delivery import MlflowLog\n"
MAKE += "sys.stdin.readline(); print(MlflowLog().client.search_experiments()[0].name)"


def test_two_processes_at_once_make_one_database(tmp_path: Path) -> None:
    environment = {**module_environment(), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/new/mlflow.db"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    both = [
        subprocess.Popen([sys.executable, "-c", MAKE], text=True, env=environment, **pipes)  # type: ignore[call-overload]
        for _ in range(2)
    ]
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=120) for process in both]
    assert [out for out, _ in told] == ["Default\n"] * 2, told
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mlflow.db"]


def test_a_database_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_short(self: object) -> None:
        raise KeyboardInterrupt

    left = tmp_path / ".mlflow.db.compressor-tmp"
    left.write_text("half of one, of a process that was killed")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(mlflow.MlflowClient, "search_experiments", lambda *_, **__: cut_short(None))
        make_database(f"sqlite:///{tmp_path}/mlflow.db")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("folder", "written"), [("a b", "a b"), ("100%", "100%25"), ("why?", "why%3F")])
def test_a_folder_may_have_an_odd_name(folder: str, written: str, tmp_path: Path) -> None:
    """MLflow names the database of the current folder with %20 for a space."""
    (tmp_path / folder).mkdir()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/{quote(folder)}/mlflow.db")
    log = MlflowLog()
    assert log.uri == f"sqlite:///{tmp_path}/{written}/mlflow.db"
    assert [path.name for path in (tmp_path / folder).iterdir()] == ["mlflow.db"]
    assert log.client.search_experiments()[0].name == "Default"
    mlflow.set_tracking_uri(log.uri)  # as a message names it
    assert MlflowLog().uri == log.uri
    assert [path.name for path in (tmp_path / folder).iterdir()] == ["mlflow.db"]


class _Hanging(BaseHTTPRequestHandler):
    """Answers that it is well, and nothing else."""

    def do_GET(self) -> None:
        if self.path != "/health":
            return self.do_POST()
        self.send_response(200)
        self.end_headers()
        return None

    def do_POST(self) -> None:
        self.server.released.wait(60)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def hanging_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hanging)
    server.released = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.released.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_hangs_is_away(hanging_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_log, "_SERVER_TIMEOUT_S", 0.2)
    with pytest.raises(TrackingError) as raised:
        require_server(hanging_server)
    assert str(raised.value) == (
        f"the MLflow server {hanging_server} must answer, but it does not (ReadTimeout). "
        "Start it or unset MLFLOW_TRACKING_URI to log into mlflow.db in this folder."
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MLFLOW_TRACKING_INSECURE_TLS", "true", {"verify": False, "cert": None}),
        ("MLFLOW_TRACKING_SERVER_CERT_PATH", "ca.pem", {"verify": "ca.pem", "cert": None}),
        ("MLFLOW_TRACKING_CLIENT_CERT_PATH", "me.pem", {"verify": True, "cert": "me.pem"}),
    ],
)
def test_a_server_is_asked_with_the_certificates_that_mlflow_has(
    name: str, value: str, expected: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, object]] = []
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("requests.get", lambda *_, **options: asked.append(options))
    require_server("https://tracking.example.com")
    assert [{key: one[key] for key in expected} for one in asked] == [expected] * 2


def test_what_comes_over_a_network_is_not_taken_from_who_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commands with the same address: the second one fetches it while the first reads."""

    def fetch(artifact_uri: str, dst_path: str) -> str:
        (Path(dst_path) / "net").mkdir()
        (Path(dst_path) / "net" / "config.json").write_text(artifact_uri)
        return f"{dst_path}/net"

    monkeypatch.setattr(mlflow_log, "require_server", lambda _: None)
    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", fetch)
    mlflow.set_tracking_uri("http://localhost:1")
    first = mlflow_log.download("runs:/1/net", tmp_path / "cache" / "key")
    assert first == tmp_path / "cache" / "key" / "net"
    inode = (first / "config.json").stat().st_ino
    assert mlflow_log.download("runs:/1/net", tmp_path / "cache" / "key") == first
    assert (first / "config.json").stat().st_ino == inode


@pytest.mark.filterwarnings("ignore")
def test_a_server_that_begins_to_hang_is_lost_after_two_tries(
    hanging_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(mlflow_log, "_SERVER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(MlflowLog, "start_run", lambda *_: ("run-0", "0"))
    monkeypatch.setattr("mlproject.tracking.tracker.require_server", lambda _: None)
    mlflow.set_tracking_uri(hanging_server)
    started = time.monotonic()
    tracker = Tracker(tmp_path / "out")
    with tracker.start_run("search", {}, COMMAND) as run:
        run.log_metrics({"error": 0.5})
        tracker.wait()
        monkeypatch.setattr("mlproject.tracking.tracker.require_server", require_server)
    assert tracker.lost and tracker.outbox.num_pending == 2
    assert time.monotonic() - started < 20
    assert f"MLflow at {hanging_server} does not answer" in capsys.readouterr().err


def test_what_an_overwritten_directory_left_running_is_killed(mlflow_uri: str, tmp_path: Path) -> None:
    before = Tracker(tmp_path / "out")
    run_id, before.experiment_id = before.log.start_run("search", {}, "key")
    child = before.log.client.create_run(before.experiment_id, tags={"mlflow.parentRunId": run_id})
    done = before.log.client.create_run(before.experiment_id, tags={"mlflow.parentRunId": run_id})
    before.log.client.set_terminated(done.info.run_id, "FINISHED")
    Tracker(tmp_path / "other").end_overwritten(Header("search", {}, mlflow_uri, run_id=run_id))
    found = [before.log.client.get_run(each).info.status for each in (run_id, child.info.run_id, done.info.run_id)]
    assert found == ["KILLED", "KILLED", "FINISHED"]


def test_a_run_whose_id_was_not_noted_is_found_by_its_key(mlflow_uri: str) -> None:
    log = MlflowLog()
    first = log.start_run("search", {}, "a-key")
    assert log.start_run("search", {}, "a-key") == first
    assert log.start_run("search", {}, "another-key") != first
    log.kill("a-key")
    assert log.client.get_run(first[0]).info.status == "KILLED"
    assert os.environ["MLFLOW_TRACKING_URI"] == mlflow_uri


@pytest.mark.usefixtures("mlflow_uri")
@pytest.mark.parametrize(
    ("model_type", "label", "answer", "names", "of_mlflow"),
    [
        ("classifier", ["no", "yes", "no"], ["no", "yes", "yes"], ("no", "yes"), {"accuracy_score": 2 / 3}),
        ("classifier", ["a", "a", "a"], ["a", "a", "a"], ("a", "b", "c"), {"accuracy_score": 1.0}),
        ("regressor", [1.0, 2.0, 3.0], [1.5, 2.5, 2.5], (), {"mean_absolute_error": 0.5}),
        (None, ["a, b", "", "b"], ["a", "", "b"], (), {}),
    ],
)
def test_mlflow_evaluates_what_is_answered(
    model_type: str | None,
    label: list[object],
    answer: list[object],
    names: tuple[str, ...],
    of_mlflow: dict[str, float],
    tmp_path: Path,
) -> None:
    rows = [{"text": f"w{n}", "label": a, "answer": b} for n, (a, b) in enumerate(zip(label, answer, strict=True))]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    client = mlflow.MlflowClient()
    run_id = client.create_run("0").info.run_id
    event = LogEvaluation(
        run="top",
        path="answers.jsonl",
        columns=("text",),
        label="label",
        answer="answer",
        model_type=model_type,
        model_id=None,
        dataset={"name": "new", "source": "new.csv", "digest": "abc"},
        label_names=names,
        metrics={"error": 0.25, "error_low": 0.0},
    )
    deliver(event, Delivery(client, "0", {"top": run_id}, tmp_path, False))
    run = client.get_run(run_id)
    expected = {"error": 0.25, "error_low": 0.0, **of_mlflow}
    assert {name: run.data.metrics[name] for name in expected} == pytest.approx(expected)
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("new", "abc")


def test_mlflow_judges_the_gate() -> None:
    assert find_failed_thresholds({"error_at_most": 0.2}, {"error_at_most": 0.2}) is None
    told = find_failed_thresholds({"a": 0.3, "b": 0.1}, {"a": 0.2, "b": 0.2})
    assert told is not None
    assert told.startswith("Metric a value threshold check failed: candidate model a = 0.3, a threshold = 0.2.")
    assert "Metric b" not in told
