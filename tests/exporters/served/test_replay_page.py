"""The page of a replay: verdict, latencies, disagreements; nothing of the requests gets into its markup."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from asking import timed_replay
from exporters.served.replay import Disagreement
from exporters.served.replay_page import latency_chart, write_replay_page


def test_the_page_shows_the_verdict_and_what_differs(tmp_path: Path) -> None:
    label = {"label": "<b>", "score": 0.25, "scores": {}}
    differ = [
        Disagreement(line=n, row="<i>" + "w" * 400, champion=label, challenger={"spans": []}) for n in range(1, 103)
    ]
    made = replace(timed_replay(np.full(200, 4.0), np.full(200, 150.0)), disagreements=tuple(differ))
    text = write_replay_page(tmp_path / "replay.html", made).read_text()
    assert "The models disagree on 102 of 200 rows: 51.00%" in text
    assert "at work 150% of the time" in text
    assert "2 more are in disagreements.jsonl." in text
    assert "&lt;b&gt; <span>(0.250)</span>" in text
    assert "<b>" not in text
    assert "<i>" not in text
    assert "compressor replay --champion &#39;a model&#39; --challenger" in re.sub("</?span>", "", text)
    none = write_replay_page(tmp_path / "none.html", timed_replay(np.ones(9), np.ones(9))).read_text()
    assert "<p>None.</p>" in none


def test_the_chart_says_in_words_what_it_shows() -> None:
    chart = latency_chart(timed_replay(np.full(50, 4.0), np.full(50, 2.0)))
    assert (
        chart.alt
        == "champion: p50 4.00 ms, p95 4.00 ms, p99 4.00 ms; challenger: p50 2.00 ms, p95 2.00 ms, p99 2.00 ms."
    )
    assert [len(series.marks) for series in chart.series] == [99, 99]
