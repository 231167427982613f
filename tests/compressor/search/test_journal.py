"""The journal belongs to one search, and goes with it."""

from pathlib import Path

import pytest

from compressor.digests import Inputs
from compressor.evaluation.latency_table import TABLE_FILE
from compressor.files import STATE_FOLDER, append_json_line, write_json
from compressor.search import journal
from compressor.search.journal import JOURNAL_FILE, Recorded, copy_journal, has_journal, open_journal


def whole(name: str) -> Recorded:
    return Recorded(sub_network=name, error=0.5, eval_seconds=1.0, costs={"macs": 10})


def test_a_journal_is_read_again_by_the_same_search_alone(tmp_path: Path) -> None:
    search = Inputs(values={"seed": 0, "objectives": ("error", "params")})
    assert open_journal(tmp_path / "a", search) == {}
    line = {"sub_network": "abc", "error": 0.5, "eval_seconds": 1.0, "macs": 10, "latency_ms": None}
    append_json_line(tmp_path / "a" / JOURNAL_FILE, line)
    with (tmp_path / "a" / JOURNAL_FILE).open("a") as file:
        file.write('{"sub_netw')  # killed while it was written
    assert open_journal(tmp_path / "a", search) == {"abc": whole("abc")}
    copy_journal(tmp_path / "a", tmp_path / "b")
    assert open_journal(tmp_path / "b", search) == {"abc": whole("abc")}
    (tmp_path / "a" / TABLE_FILE).write_text("{}")
    copy_journal(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / TABLE_FILE).read_text() == "{}"
    assert [has_journal(tmp_path / name) for name in "abc"] == [True, True, False]
    assert open_journal(tmp_path / "a", search, ("error", "params")) == {"abc": whole("abc")}
    assert open_journal(tmp_path / "a", search, ("error", "latency_ms")) == {}  # which the line lacks
    assert open_journal(tmp_path / "a", Inputs(values={**search.values, "seed": 1})) == {}
    assert not (tmp_path / "a" / JOURNAL_FILE).exists()


def test_evaluations_of_other_code_are_kept_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    search = Inputs(values={"seed": 0})
    open_journal(tmp_path, search)
    append_json_line(
        tmp_path / JOURNAL_FILE,
        {"sub_network": "abc", "error": 0.5, "eval_seconds": 1.0, "macs": 10, "latency_ms": None},
    )
    assert open_journal(tmp_path, search) == {"abc": whole("abc")}
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(journal, "digest_code", lambda *_: "other")
    assert open_journal(tmp_path, search) == {"abc": whole("abc")}
    note = capsys.readouterr().out
    assert note.startswith(
        f"Note: the search in {tmp_path} was begun by another version of the code. Its evaluations (1) "
    )
    head = tmp_path / STATE_FOLDER / "journal.json"
    write_json(head, {"seed": 0})  # as version 0.1.0 wrote it
    assert open_journal(tmp_path, search) == {"abc": whole("abc")}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\x00\n",
        b"[]\n",
        b"{\n",
        b'{"sub_network": "x"}\n',
        b'{"sub_network": "x", "error": NaN, "eval_seconds": 1, "macs": 1, "latency_ms": 1}\n',
    ],
)
def test_damaged_evaluations_are_made_again(damage: bytes, tmp_path: Path) -> None:
    search = Inputs(values={"seed": 0})
    open_journal(tmp_path, search)
    lines = [
        {"sub_network": name, "error": 0.5, "eval_seconds": 1.0, "macs": 10, "latency_ms": None} for name in ("a", "b")
    ]
    append_json_line(tmp_path / JOURNAL_FILE, lines[0])
    with (tmp_path / JOURNAL_FILE).open("ab") as file:
        file.write(damage)
    append_json_line(tmp_path / JOURNAL_FILE, lines[1])
    assert open_journal(tmp_path, search) == {name: whole(name) for name in ("a", "b")}
