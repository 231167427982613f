"""Pages of charts, tables and commands, on paper and on a phone."""

import re
from pathlib import Path

from compressor.drawing.charts import Bar, BarChart, Mark, Panel, PointChart, Series
from compressor.drawing.page import Table, figure, render_commands, render_page


def latencies(panels: int, bars: int) -> BarChart:
    made = tuple(
        Panel(title=f"P{place}", bars=tuple(Bar(label=f"b{n}", value=n + 1, text=str(n)) for n in range(bars)))
        for place in range(panels)
    )
    return BarChart(
        stem="b", title="T", caption="", alt="what it says", x_label="in ms", panels=made, shared_scale=False
    )


def test_more_bars_than_a_sheet_of_paper_holds_are_several_drawings_of_whole_panels() -> None:
    drawings = figure(latencies(6, 9)).wide
    assert [len(re.findall(">P[0-9]</text>", one)) for one in drawings] == [4, 2]
    assert [len(re.findall(">b[0-9]</text>", one)) for one in drawings] == [36, 18]
    wide = "".join(drawings)
    assert (wide.count("in ms</text>"), wide.count("what it says")) == (1, 1)
    assert len(figure(latencies(4, 9)).wide) == 1


def test_an_option_of_a_command_is_not_broken_after_its_hyphens() -> None:
    assert render_commands(["tool a-b --output-dir 'x --y'", "tool -m <x>"]) == (
        "tool a-b <span>--output-dir</span> &#39;x <span>--y</span>&#39;\ntool <span>-m</span> &lt;x&gt;"
    )


def test_page_and_files_are_one_drawing(tmp_path: Path) -> None:
    """Every text of the file is in the page: in its picture, or as title and legend in HTML."""
    marks = (Mark(x=1, y=2, label="here", note="n"), Mark(x=3, y=4, low=3, high=5))
    series = (Series(name="one", marks=marks, color=0), Series(name="two", marks=marks, shape="star"))
    points = PointChart(
        stem="p", title="T", caption="", alt="A", x_label="x axis", y_label="y axis", series=(*series, *series[:1])
    )
    for chart in (points, latencies(2, 3)):
        shown = figure(chart, tmp_path)
        assert (tmp_path / f"{chart.stem}.png").is_file()
        file = re.findall(r"<text[^>]*>(.*?)</text>", (tmp_path / f"{chart.stem}.svg").read_text())
        page = re.findall(r"<text[^>]*>(.*?)</text>", "".join(shown.wide))
        assert file == [*page, *([shown.title] if isinstance(chart, BarChart) else [])] or set(file) == {
            *page,
            shown.title,
            *(name for _, name in shown.legend),
        }
        assert len(page) > 8
    assert [name for _, name in figure(points).legend] == ["one", "two", "one"]


def test_texts_of_others_are_escaped_in_every_part(tmp_path: Path) -> None:
    template = tmp_path / "all.html"
    template.write_text(
        '{% extends "page.html" %}'
        '{% from "parts.html" import chain, commands, figure, note, paragraph, section, table %}'
        "{% block content %}{% call section(evil) %}{{ paragraph(evil) }}{{ note(evil) }}{{ commands([evil]) }}"
        "{{ chain([(evil, evil)]) }}{{ table(rows) }}{{ figure(drawn) }}{% endcall %}{% endblock %}"
    )
    evil = "<script>\"&'"
    chart = PointChart(
        stem="p",
        title=evil,
        caption=evil,
        alt=evil,
        x_label=evil,
        y_label=evil,
        series=(Series(name=evil, marks=(Mark(x=1, y=1, label=evil, note=evil),), color=0),),
    )
    page = render_page(
        template,
        evil,
        evil,
        evil=evil,
        rows=Table(header=[evil, evil], rows=[[evil, evil]]),
        drawn=figure(chart),
    )
    assert page.count("<script>") == 1
    assert "&lt;script&gt;" in page
    assert evil not in page
