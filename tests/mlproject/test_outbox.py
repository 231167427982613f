"""The outbox: in order, once, across processes, without a trace before there are results."""

from pathlib import Path

from mlproject.outbox import FOLDER, Entry, Outbox


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


def test_nothing_is_written_before_the_directory_is_there(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "out")
    outbox.begin({"command": "search"})
    outbox.add(metric(0.5))
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    outbox.add(metric(0.6))
    assert (Outbox(tmp_path / "out").num_pending, Outbox(tmp_path / "out").header) == (2, {"command": "search"})


def test_it_makes_the_directory_where_it_has_to(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "out")
    outbox.add(metric(0.5))
    outbox.write(make_directory=True)
    assert Outbox(tmp_path / "out").num_pending == 1
