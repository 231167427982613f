"""Tables keep every number on terminals of any width; text of others stays text."""

import re
from types import SimpleNamespace

import pytest

from compressor.drawing.terminal import print_table
from compressor.search.objectives import DEFAULT_OBJECTIVES
from exporters.report.front import spare_columns

SPARE_COLUMNS = spare_columns(SimpleNamespace(objectives=DEFAULT_OBJECTIVES, against_full_model=False))
FRONT = ["sub-network", "index", "error", "95 % interval", "test error", "params (M)", "of encoder"]
FRONT += ["layers", "heads", "units", "MACs (M)"]
MEMBERS = [
    ["super-network", "", "0.1917", "0.169–0.218", "0.1733", "22.71", "100.0%", "6", "72", "9,216", "1,234.5"],
    ["subnet-007", "12", "0.2042", "0.180–0.231", "0.1800", "15.80", "35.0%", "4", "24", "2,048", "432.1"],
]
LATENCY = ["model", "batch", "length", "p50 ms", "p90 ms", "p99 ms", "rows/s", "of dense's p50 (95 %)"]
TIMED = [["pruned-pytorch", "8", "real", "128.57", "130.20", "140.00", "12345", "28.57 (14.43–30.04)"]]
FORMS = ["", "super-network", "subnet-007"]
COMPARED = [["error (validation)", "0.1917 (0.169–0.218)", "0.2042 (0.180–0.231)"]]
SUMMARY = [["p50 (ms), batch 8, length real", "128.57", "30.20", "12.00"]]
TABLES = [
    (FRONT, MEMBERS, SPARE_COLUMNS),
    (LATENCY, TIMED, ("p99 ms", "rows/s", "p90 ms")),
    (FORMS, COMPARED, ()),
    (["", "dense", "pruned", "pruned-int8"], SUMMARY, ()),
]


def terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the tables are printed to a terminal of that width."""
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": str(width), "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 160])
@pytest.mark.parametrize(("header", "rows", "spare"), TABLES)
def test_no_number_is_cut_however_narrow_the_terminal(
    width: int,
    header: list[str],
    rows: list[list[str]],
    spare: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal(width, monkeypatch)
    print_table("A title", header, rows, spare=spare)
    text = printed(capsys)
    assert "…" not in text
    assert width < 60 or max(map(len, text.splitlines())) <= width
    said = " ".join(text.split()).partition("Left out, as the terminal is narrow: ")[2]
    left_out = said.rstrip(".").split(", ") if said else []
    assert width < 100 or len(left_out) <= 3
    for row in rows:
        for name, cell in zip(header, row, strict=True):
            if name in left_out:
                assert name in spare
            elif name != header[0]:
                assert cell in text


def test_the_front_drops_its_columns_by_rank(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = {}
    for width in (60, 80, 100, 160):
        terminal(width, monkeypatch)
        print_table("Pareto front", FRONT, MEMBERS, spare=SPARE_COLUMNS)
        shown[width] = " ".join(printed(capsys).partition("Left out, as the terminal is narrow: ")[2].split())
    assert shown == {
        60: "MACs (M), units, heads, layers, params (M), 95 % interval.",
        80: "MACs (M), units, heads, layers.",
        100: "MACs (M), units.",
        160: "",
    }


def test_a_table_in_a_log_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    wide = [f"column {number}" for number in range(30)]
    print_table("A title", wide, [["1234567.89"] * 30], spare=wide)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "A title"
    assert lines[-2].count("1234567.89") == 30


def test_names_are_neither_markup_nor_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Rich would take [/x] for markup and fail; a name that nothing can break is written above its numbers."""
    terminal(40, monkeypatch)
    print_table("of [/x]", ["model", "error"], [["[red]a[/x] :smile:", "0.1234"], ["n" * 60, "0.5678"]])
    text = printed(capsys)
    assert "of [/x]" in text
    assert "[red]a[/x] :smile:" in text
    assert "n" * 60 in text.replace("\n", "")
    assert "0.5678" in text
