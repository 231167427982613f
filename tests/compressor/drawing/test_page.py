"""Pages of charts, tables and commands, on paper and on a phone."""

import re

from compressor.drawing.charts import Bar, BarChart, Panel
from compressor.drawing.page import commands, figure


def latencies(panels: int, bars: int) -> BarChart:
    made = tuple(
        Panel(title=f"P{place}", bars=tuple(Bar(label=f"b{n}", value=n + 1, text=str(n)) for n in range(bars)))
        for place in range(panels)
    )
    return BarChart(
        stem="b", title="T", caption="", alt="what it says", x_label="in ms", panels=made, shared_scale=False
    )


def test_more_bars_than_a_sheet_of_paper_holds_are_several_drawings_of_whole_panels() -> None:
    wide = figure(latencies(6, 9)).split('<div class="narrow')[0]
    drawings = re.findall("<svg.*?</svg>", wide)
    assert [one.count('class="panel"') for one in drawings] == [4, 2]
    assert wide.count('class="bar ') == 54
    assert (wide.count("in ms</text>"), wide.count("what it says")) == (1, 1)
    assert figure(latencies(4, 9)).split('<div class="narrow')[0].count("<svg") == 1


def test_an_option_of_a_command_is_not_broken_after_its_hyphens() -> None:
    assert commands(["tool a-b --output-dir 'x --y'", "tool -m <x>"]) == (
        "<pre><code>tool a-b <span>--output-dir</span> &#x27;x <span>--y</span>&#x27;\n"
        "tool <span>-m</span> &lt;x&gt;</code></pre>"
    )
