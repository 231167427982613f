"""Deep links and saved views."""

import base64
import json
import zlib
from urllib.parse import parse_qs, urlsplit

import pytest

from mlproject.tracking.views import MAX_TAG_LENGTH, encode_view, pareto_view, runs_link, view_key, view_link


def decode(value: str) -> tuple[dict[str, object], dict[str, object]]:
    envelope = json.loads(value)
    state = envelope["state"].removeprefix("deflate;")
    return envelope, json.loads(zlib.decompress(base64.b64decode(state)))


def test_view_round_trips() -> None:
    view = pareto_view("abc", ["num_layers", "num_heads"])
    value = encode_view("Pareto search", view, 5)
    envelope, state = decode(value)
    assert state == view
    assert (envelope["name"], envelope["createdAt"]) == ("Pareto search", 5)
    assert len(value) < MAX_TAG_LENGTH
    assert view_key("Pareto search", view) == view_key("Pareto search", dict(view)) != view_key("Other", view)


def test_pareto_view_lists_one_search_by_error() -> None:
    view = pareto_view("abc", ["num_layers"])
    assert view["searchFilter"] == "tags.`compressor.search_run_id` = 'abc'"
    assert view["orderByKey"] == "metrics.`error`"
    assert {chart["type"] for chart in view["compareRunCharts"]} == {"SCATTER", "PARALLEL"}


def test_charts_stand_below_each_other() -> None:
    """Beside MLflow's assistant two in a row would be a hand wide each."""
    view = pareto_view("abc", ["num_layers"])
    assert [section.get("columns") for section in view["compareRunSections"]] == [1, None]


def test_links_are_quoted() -> None:
    link = runs_link("http://host:5000/", "1", "tags.`a b` = 'x&y'", "error", True, "TABLE")
    page, _, query = urlsplit(link).fragment.partition("?")
    assert page == "/experiments/1/runs"
    assert parse_qs(query)["searchFilter"] == ["tags.`a b` = 'x&y'"]
    assert view_link("http://host:5000", "1", "k").endswith("compareRunsMode=CHART&viewStateShareKey=k")


def test_a_view_too_long_for_a_tag_is_refused() -> None:
    import random

    names = [f"{random.Random(i).getrandbits(64):x}" for i in range(3000)]
    with pytest.raises(ValueError, match="too long"):
        encode_view("x", pareto_view("abc", names), 0)
