"""The outbox: in order, once, across processes, through damage, without a trace where nothing was made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import OutputError
from compressor.files import STATE_FOLDER, append_json_line
from mlproject.tracking.events import (
    CreateRun,
    EndRun,
    Event,
    LogDataset,
    LogEvaluation,
    LogMetrics,
    LogOnnxModel,
    LogParams,
    LogServedModel,
    MeasureModel,
    Point,
    ReopenRun,
    SaveView,
    SetTags,
    Upload,
    UseModels,
    parse_event,
)
from mlproject.tracking.outbox import TOP, Header, Outbox, clear


def metrics(*points: Point, run: str = TOP, now_ms: int = 0) -> LogMetrics:
    return LogMetrics(run=run, metrics=points, now_ms=now_ms)


def metric(value: float, now_ms: int = 0) -> LogMetrics:
    return metrics(("error", value, 0), now_ms=now_ms)


def create(run: str) -> CreateRun:
    return CreateRun(run=run, parent=TOP, name=run, tags={}, start_ms=0)


def test_what_was_said_is_not_said_again_whenever_it_was_said(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    assert outbox.add(metric(0.5, now_ms=1))
    assert not outbox.add(metric(0.5, now_ms=2))
    assert outbox.add(metric(0.6))
    assert not Outbox(tmp_path).add(metric(0.6, now_ms=3))  # nor by another process
    for event in (changing := [SetTags(run=TOP, tags={}), Upload(run=TOP, path="x", folder=None), ReopenRun(run=TOP)]):
        assert outbox.add(event) and outbox.add(event)  # what they name may have changed
    assert Outbox(tmp_path).num_pending == 2 + 2 * len(changing)


def test_of_a_series_only_the_new_points_are_told(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    points = [("hypervolume", step / 10, step) for step in range(3)]
    outbox.add(metrics(*points[:2]))
    other = Outbox(tmp_path)
    assert other.add(metrics(*points, now_ms=1))
    other.mark_delivered(next(other.pending()))
    assert next(other.pending()) == metrics(*points[2:])
    assert other.add(metrics(*points, run="another", now_ms=1))


def test_delivery_goes_on_in_another_process(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for event in (create("subnet-000"), metric(0.5), metric(0.6)):
        outbox.add(event)
    outbox.mark_delivered(next(outbox.pending()), "id-0")
    other = Outbox(tmp_path)
    assert (other.num_pending, other.run_ids) == (2, {"subnet-000": "id-0"})
    assert next(other.pending()) == metric(0.5)


def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    Outbox(tmp_path).add(metric(0.5))
    with (tmp_path / STATE_FOLDER / "entries.jsonl").open("a") as file:
        file.write('{"kind": "lo')
    outbox = Outbox(tmp_path)
    assert outbox.num_pending == 1
    outbox.add(metric(0.6))
    assert Outbox(tmp_path).num_pending == 2


HEADER = Header("search", {}, "sqlite:///mlflow.db")


def test_the_header_is_there_before_anything_else(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()
    outbox.begin(HEADER)
    assert Outbox(tmp_path / "deep" / "out").header == HEADER
    outbox.add(metric(0.5))
    assert Outbox(tmp_path / "deep" / "out").num_pending == 1


def test_a_command_that_has_made_nothing_leaves_nothing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "deep" / "out")
    outbox.begin(HEADER)
    outbox.add(metric(0.5))
    outbox.forget_if_empty()
    assert (tmp_path / "deep" / "out").is_dir()  # MLflow is to be told
    outbox.mark_delivered(next(outbox.pending()))
    (tmp_path / "deep" / "out" / "result").touch()
    outbox.forget_if_empty()
    assert Outbox(tmp_path / "deep" / "out").header == HEADER
    (tmp_path / "deep" / "out" / "result").unlink()
    outbox.forget_if_empty()
    assert not (tmp_path / "deep").exists()


def test_a_directory_that_was_there_stays(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.begin(HEADER)
    outbox.forget_if_empty()
    assert list(tmp_path.iterdir()) == []


DAMAGED = {
    "binary": b"\xff\xfe\x00\n",
    "cut": b'{"kind": "log", "ru\n',
    "other JSON": b"[1, 2]\n",
    "a number": b"7\n",
    "wrong keys": b'{"kind": 3, "run": "top"}\n',
    "wrong points": b'{"kind": "log", "run": "top", "metrics": [[1]]}\n',
    "nested too deep": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("name", ["entries.jsonl", "delivered.jsonl"])
def test_damaged_lines_are_passed_over(damage: bytes, name: str, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for event in (create("subnet-000"), metric(0.5), metric(0.6)):
        outbox.add(event)
    outbox.mark_delivered(next(outbox.pending()), "id-0")
    outbox.mark_delivered(next(outbox.pending()))
    lines = (tmp_path / STATE_FOLDER / name).read_bytes().splitlines(keepends=True)
    (tmp_path / STATE_FOLDER / name).write_bytes(lines[0] + damage + b"".join(lines[2:]))
    other = Outbox(tmp_path)
    assert other.damaged and other.is_old
    assert other.run_ids == {"subnet-000": "id-0"}
    assert other.num_pending == (1 if name == "entries.jsonl" else 3)
    told = []
    while other.num_pending:
        told.append(next(other.pending()))
        other.mark_delivered(told[-1])
    assert told[-1] == metric(0.6)
    assert other.add(metric(0.5)) == (name == "entries.jsonl")  # what a damaged line said can be said again


@pytest.mark.parametrize("content", ["", "{", "[]", '{"command": "search"}', '{"command": 1, "options": {}}', "\0\0"])
def test_a_damaged_header_is_a_sentence(content: str, tmp_path: Path) -> None:
    Outbox(tmp_path).begin(HEADER)
    (tmp_path / STATE_FOLDER / "command.json").write_text(content)
    with pytest.raises(OutputError) as raised:
        Outbox(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path}/{STATE_FOLDER}/command.json must say which command was begun there, but it is damaged. Results "
        "beside it are whole; choose another --output-dir, or begin anew with --overwrite-output-dir."
    )
    assert clear(tmp_path) is None
    assert Outbox(tmp_path).header is None


def test_a_run_that_was_opened_again_has_no_end(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    assert outbox.last_status(TOP) is None
    end = EndRun(run=TOP, status="FINISHED", end_ms=1)
    assert outbox.add(end)
    assert outbox.says_finished and Outbox(tmp_path).says_finished
    assert not outbox.add(replace(end, end_ms=2)) and not Outbox(tmp_path).add(replace(end, end_ms=3))
    outbox.add(ReopenRun(run=TOP))
    assert not outbox.says_finished and not Outbox(tmp_path).says_finished
    assert outbox.add(end) and outbox.says_finished


def test_what_came_of_an_entry_is_known_to_the_next_process(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    model = LogOnnxModel(run=TOP, name="m", path="model.onnx", inputs={"ids": [[1]]}, logits=[[0.5]], digest="abc")
    assert outbox.add(model) and outbox.result(model) is None
    assert not outbox.add(model)  # it is pending
    outbox.mark_delivered(model, result="models:/m-1")
    other = Outbox(tmp_path)
    assert not other.add(model) and other.result(replace(model)) == "models:/m-1"
    assert other.num_pending == 0
    assert other.result(replace(model, digest="other")) is None


def test_a_model_that_was_refused_is_told_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    model = LogOnnxModel(run=TOP, name="m", path="model.onnx", inputs={}, logits=[])
    for _ in range(2):
        assert outbox.add(model)
        outbox.mark_delivered(model)
    assert Outbox(tmp_path).add(model) and not Outbox(tmp_path).add(model)


def test_runs_that_have_not_ended_are_known(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for name in ("search", "search/subnet-000", "search/subnet-001", "export"):
        outbox.add(create(name))
    outbox.add(EndRun(run="search/subnet-000", status="FINISHED", end_ms=1))
    assert outbox.open_below("search") == ["search/subnet-001"]
    assert outbox.open_below(TOP) == ["search", "search/subnet-001", "export"]


LINES: list[tuple[dict[str, Any], Event]] = [
    (
        {"kind": "create", "run": "a", "parent": "top", "name": "a", "tags": {"stage": "x"}, "start_ms": 7},
        CreateRun(run="a", parent=TOP, name="a", tags={"stage": "x"}, start_ms=7),
    ),
    (
        {"kind": "log", "run": "top", "params": {"a": "1"}, "new_params_only": True, "now_ms": 7},
        LogParams(run=TOP, params={"a": "1"}, new_params_only=True),
    ),
    ({"kind": "log", "run": "a", "params": {}, "now_ms": 7}, LogParams(run="a", params={})),
    (
        {"kind": "log", "run": "top", "metrics": [["error", 0.5, 0], ["mb", 2, 1]], "now_ms": 7},
        metrics(("error", 0.5, 0), ("mb", 2.0, 1)),
    ),
    (
        {"kind": "log", "run": "top", "tags": {"a": "b"}, "now_ms": 7, "again": True},
        SetTags(run=TOP, tags={"a": "b"}),
    ),
    (
        {"kind": "artifact", "run": "top", "path": "x", "folder": None, "again": True},
        Upload(run=TOP, path="x", folder=None),
    ),
    (
        {"kind": "dataset", "run": "top", "dataset": {"name": "n", "profile": "{}"}, "context": "train"},
        LogDataset(run=TOP, dataset={"name": "n", "profile": "{}"}, context="train"),
    ),
    (
        {
            "kind": "evaluation", "run": "top", "path": "a.jsonl", "columns": ["text"], "label": "label",
            "answer": "answer",
            "model_type": "classifier", "model_id": None, "dataset": {"name": "new", "digest": "abc"},
            "label_names": ["no", "yes"], "metrics": {"error": 0.5},
        },
        LogEvaluation(
            run=TOP, path="a.jsonl", columns=("text",), label="label", answer="answer", model_type="classifier",
            model_id=None, dataset={"name": "new", "digest": "abc"}, label_names=("no", "yes"), metrics={"error": 0.5},
        ),
    ),
    (
        {"kind": "view", "run": "top", "name": "n", "key": "k", "state": {"x": [1]}, "now_ms": 7, "again": True},
        SaveView(run=TOP, name="n", key="k", state={"x": [1]}, now_ms=7),
    ),
    (
        {
            "kind": "served_model", "run": "top", "again": True, "name": "n", "code": "c.py",
            "artifacts": {"g": "g.onnx"}, "config": {"kind": "single"},
            "example": ["text"], "requirements": ["mlflow==3"], "metadata": {"params": 3},
            "metrics": {"error": 0.5, "params": 3}, "description": "d", "register_as": "r", "alias": None,
            "digest": "abc",
        },
        LogServedModel(
            run=TOP, name="n", code="c.py", artifacts={"g": "g.onnx"}, config={"kind": "single"}, example=["text"],
            requirements=("mlflow==3",), metadata={"params": 3}, metrics={"error": 0.5, "params": 3}, description="d",
            register_as="r", alias=None, digest="abc",
        ),
    ),
    (
        {
            "kind": "onnx_model", "run": "top", "again": True, "name": "n", "path": "g.onnx", "inputs": {"ids": [[1]]},
            "logits": [[0.5]], "metrics": {"error": 0.5}, "digest": "abc",
        },
        LogOnnxModel(
            run=TOP, name="n", path="g.onnx", inputs={"ids": [[1]]}, logits=[[0.5]], metrics={"error": 0.5},
            digest="abc",
        ),
    ),
    (
        {"kind": "end", "run": "a", "status": "KILLED", "tags": {"error": "e"}, "end_ms": 7, "again": True},
        EndRun(run="a", status="KILLED", tags={"error": "e"}, end_ms=7),
    ),
    ({"kind": "reopen", "run": "top", "again": True}, ReopenRun(run=TOP)),
    (
        {"kind": "models_used", "run": "top", "computes_with": ["abc", "def"]},
        UseModels(run=TOP, computes_with=("abc", "def")),
    ),
    (
        {
            "kind": "measured_model", "run": "a", "name": "n", "metrics": {"mb": 1.5}, "computes_with": "abc",
            "model_type": "sub-network", "params": {"params": "3"}, "tags": {"task": "t"}, "step": 1, "own": False,
            "judged": [["error", 0.5, "t-validation", "d"]], "if_made": {"mb": 2.0}, "now_ms": 7,
        },
        MeasureModel(
            run="a", name="n", metrics={"mb": 1.5}, computes_with="abc", model_type="sub-network",
            params={"params": "3"}, tags={"task": "t"}, step=1, own=False,
            judged=(("error", 0.5, "t-validation", "d"),), if_made={"mb": 2.0}, now_ms=7,
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("line", "event"), LINES, ids=[type(event).__name__ for _, event in LINES])
def test_an_outbox_that_version_0_1_0_has_left_is_delivered(line: dict[str, Any], event: Event, tmp_path: Path) -> None:
    (tmp_path / STATE_FOLDER).mkdir()
    append_json_line(tmp_path / STATE_FOLDER / "entries.jsonl", line)
    outbox = Outbox(tmp_path)
    assert next(outbox.pending()) == event and not outbox.damaged
    assert outbox.add(event) == (not event.keys() and not isinstance(event, EndRun))


@pytest.mark.parametrize("event", [event for _, event in LINES], ids=lambda event: type(event).__name__)
def test_an_event_is_the_same_when_it_is_read_again(event: Event, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    assert outbox.add(event)
    [read] = Outbox(tmp_path)._events
    assert vars(read) == vars(event)  # the times too
    assert (read.identity, read.keys(), parse_event(event.to_json())) == (event.identity, event.keys(), event)
