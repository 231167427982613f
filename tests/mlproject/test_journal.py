"""The journal belongs to one search, and goes with it."""

from pathlib import Path

from compressor.files import append_json_line
from mlproject.journal import JOURNAL_FILE, copy_journal, open_journal


def test_a_journal_is_read_again_by_the_same_search_alone(tmp_path: Path) -> None:
    search = {"seed": 0, "objectives": ("error", "params")}
    assert open_journal(tmp_path / "a", search) == {}
    line = {"sub_network": "abc", "error": 0.5}
    append_json_line(tmp_path / "a" / JOURNAL_FILE, line)
    with (tmp_path / "a" / JOURNAL_FILE).open("a") as file:
        file.write('{"sub_netw')  # killed while it was written
    assert open_journal(tmp_path / "a", search) == {"abc": line}
    copy_journal(tmp_path / "a", tmp_path / "b")
    assert open_journal(tmp_path / "b", search) == {"abc": line}
    assert open_journal(tmp_path / "a", search | {"seed": 1}) == {}
    assert not (tmp_path / "a" / JOURNAL_FILE).exists()
