"""The outbox: in order, once, across processes, through damage, without a trace where nothing was made."""

from pathlib import Path

import pytest

from compressor.errors import OutputError
from mlproject.tracking.outbox import FOLDER, TOP, Entry, Outbox, clear, is_finished


def metric(value: float, now_ms: int = 0) -> Entry:
    return {"kind": "log", "run": "top", "metrics": [["error", value, 0]], "now_ms": now_ms}


def test_what_was_said_is_not_said_again_whenever_it_was_said(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    assert outbox.add(metric(0.5, now_ms=1))
    assert not outbox.add(metric(0.5, now_ms=2))
    assert outbox.add(metric(0.6))
    assert not Outbox(tmp_path).add(metric(0.6, now_ms=3))  # nor by another process
    assert outbox.add(metric(0.6) | {"again": True})


def test_of_a_series_only_the_new_points_are_told(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    points = [["hypervolume", step / 10, step] for step in range(3)]
    outbox.add({"kind": "log", "run": "top", "metrics": points[:2], "now_ms": 0})
    other = Outbox(tmp_path)
    assert other.add({"kind": "log", "run": "top", "metrics": points, "now_ms": 1})
    other.mark_delivered(next(other.pending()))
    assert next(other.pending())["metrics"] == points[2:]
    assert other.add({"kind": "log", "run": "another", "metrics": points, "now_ms": 1})


def test_delivery_goes_on_in_another_process(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    created = {"kind": "create", "run": "subnet-000"}
    for entry in (created, metric(0.5), metric(0.6)):
        outbox.add(entry)
    outbox.mark_delivered(next(outbox.pending()), "id-0")
    other = Outbox(tmp_path)
    assert (other.num_pending, other.run_ids) == (2, {"subnet-000": "id-0"})
    assert next(other.pending()) == metric(0.5)


def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    Outbox(tmp_path).add(metric(0.5))
    with (tmp_path / FOLDER / "entries.jsonl").open("a") as file:
        file.write('{"kind": "lo')
    outbox = Outbox(tmp_path)
    assert outbox.num_pending == 1
    outbox.add(metric(0.6))
    assert Outbox(tmp_path).num_pending == 2


HEADER = {"command": "search", "options": {}, "tracking_uri": "sqlite:///mlflow.db"}


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
    for entry in ({"kind": "create", "run": "subnet-000"}, metric(0.5), metric(0.6)):
        outbox.add(entry)
    outbox.mark_delivered(next(outbox.pending()), "id-0")
    outbox.mark_delivered(next(outbox.pending()))
    lines = (tmp_path / FOLDER / name).read_bytes().splitlines(keepends=True)
    (tmp_path / FOLDER / name).write_bytes(lines[0] + damage + b"".join(lines[2:]))
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
    (tmp_path / FOLDER / "command.json").write_text(content)
    with pytest.raises(OutputError) as raised:
        Outbox(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path}/{FOLDER}/command.json must say which command was begun there, but it is damaged. Results beside "
        "it are whole; choose another --output-dir, or begin anew with --overwrite-output-dir."
    )
    assert clear(tmp_path) == {}
    assert not Outbox(tmp_path).header


def test_a_run_that_was_opened_again_has_no_end(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    assert outbox.last_status(TOP) is None
    outbox.add({"kind": "end", "run": TOP, "status": "FINISHED", "tags": {}, "end_ms": 1})
    assert outbox.says_finished and is_finished(tmp_path)
    outbox.add({"kind": "reopen", "run": TOP, "again": True})
    assert not outbox.says_finished and not is_finished(tmp_path)


def test_what_came_of_an_entry_is_known_to_the_next_process(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.add(model := {"kind": "served_model", "run": TOP, "digest": "abc", "again": True})
    assert outbox.is_pending(model) and outbox.result(model) is None
    outbox.mark_delivered(model, result="models:/m-1")
    other = Outbox(tmp_path)
    assert not other.is_pending(model) and other.result(dict(model)) == "models:/m-1"
    assert other.result(model | {"digest": "other"}) is None


def test_runs_that_have_not_ended_are_known(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for name in ("search", "search/subnet-000", "search/subnet-001", "export"):
        outbox.add({"kind": "create", "run": name})
    outbox.add({"kind": "end", "run": "search/subnet-000", "status": "FINISHED"})
    assert outbox.open_below("search") == ["search/subnet-001"]
    assert outbox.open_below(TOP) == ["search", "search/subnet-001", "export"]
