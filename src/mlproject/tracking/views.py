"""Saved views and deep links of the MLflow (>= 3.15) runs page.

A saved view is one experiment tag ``mlflow.sharedViewState.<key>``: a JSON envelope
around the deflated page state.  The state holds filter, sort, columns and charts; whether
the page opens as chart or as table is not part of it but of the link (``compareRunsMode``).
Fields left out of the state take the page's defaults.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote, urlencode

Mode = Literal["CHART", "TABLE"]
State = dict[str, Any]

TAG_PREFIX = "mlflow.sharedViewState."
MAX_TAG_LENGTH = 20_000  # mlflow.utils.validation.MAX_EXPERIMENT_TAG_VAL_LENGTH, and the page's own limit
SECTION = "compressor"


def pareto_view(search_run_id: str, params: list[str], cost: str = "params") -> State:
    """Return sub-networks of one search: error against a cost, parallel coordinates, table by error."""
    charts = [
        _scatter("pareto-scatter", x=cost, y="error"),
        {
            "uuid": "pareto-parallel",
            "type": "PARALLEL",
            "metricSectionId": SECTION,
            "deleted": False,
            "isGenerated": False,
            "selectedParams": params,
            "selectedMetrics": [cost, "error"],  # the last one colours the lines
            "showAllRuns": True,
        },
    ]
    metrics = _columns("metrics", list(dict.fromkeys(["error", cost, "params", "relative_params"])))
    columns = [*metrics, *_columns("params", params), *_columns("tags", ["pareto"])]
    search_filter = f"tags.`compressor.search_run_id` = '{search_run_id}'"
    return _state(search_filter, "error", columns, charts)


def latency_view(benchmark_run_id: str) -> State:
    """Return the models of one benchmark: error against median latency, table by latency."""
    charts = [_scatter("latency-scatter", x="latency_ms_p50", y="error")]
    metrics = _columns("metrics", ["latency_ms_p50", "error", "mb", "peak_mb"])
    columns = [*metrics, *_columns("tags", ["runtime", "precision"])]
    return _state(f"tags.`compressor.benchmark_run_id` = '{benchmark_run_id}'", "latency_ms_p50", columns, charts)


def view_key(name: str, state: State) -> str:
    """Return what a view is found by: the same name and filter give the same key."""
    return hashlib.sha256(f"{name}\n{state['searchFilter']}".encode()).hexdigest()[:16]


def encode_view(name: str, state: State, now_ms: int) -> str:
    """Return the value of a view's tag.

    Raises:
        ValueError: it is longer than a tag may be.
    """
    # zlib's format, header included, as in the views that the page itself saves.
    deflated = base64.b64encode(zlib.compress(_dumps(state).encode(), 9)).decode()
    value = _dumps({"name": name, "createdAt": now_ms, "updatedAt": now_ms, "state": f"deflate;{deflated}"})
    if len(value) > MAX_TAG_LENGTH:
        raise ValueError(f"saved view {name!r} is too long for an experiment tag: {len(value)} > {MAX_TAG_LENGTH}")
    return value


def view_link(base_url: str, experiment_id: str, key: str, mode: Mode = "CHART") -> str:
    """Link to a saved view.  Filter or sort in the link would switch the view off, so it has none."""
    return _link(base_url, experiment_id, {"compareRunsMode": mode, "viewStateShareKey": key})


def runs_link(base_url: str, experiment_id: str, search_filter: str, order_by: str, ascending: bool, mode: Mode) -> str:
    """Link to filtered, sorted runs without a saved view: default columns and charts."""
    order = {"orderByKey": order_by, "orderByAsc": str(ascending).lower()}
    return _link(base_url, experiment_id, {"compareRunsMode": mode, "searchFilter": search_filter, **order})


def _link(base_url: str, experiment_id: str, query: dict[str, str]) -> str:
    encoded = urlencode({"workflowType": "machine_learning", **query}, quote_via=quote, safe="")
    return f"{base_url.rstrip('/')}/#/experiments/{quote(experiment_id, safe='')}/runs?{encoded}"


def _state(search_filter: str, order_by: str, columns: list[str], charts: list[State]) -> State:
    # The page adds a bar chart for every metric to the section "Model metrics": it stays folded below ours.
    sections = [
        {"uuid": SECTION, "name": "Compressor", "display": True, "columns": 1, "cardHeight": 480},
        {"uuid": "model", "name": "Model metrics", "display": False},
    ]
    return {
        "searchFilter": search_filter,
        "orderByKey": f"metrics.`{order_by}`",
        "orderByAsc": True,
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsHiddenMode": "SHOW_ALL",  # the default draws only the first 10 runs
        "isAccordionReordered": True,  # keeps the order of the sections
        "compareRunCharts": charts,
        "compareRunSections": [{"isReordered": False, **section} for section in sections],
    }


def _scatter(uuid: str, x: str, y: str) -> State:
    config = {"uuid": uuid, "type": "SCATTER", "metricSectionId": SECTION, "deleted": False, "isGenerated": False}
    axes = {"xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
    return {**config, "runsCountToCompare": 100, **axes}


def _columns(kind: str, names: Sequence[str]) -> list[str]:
    return [f"{kind}.`{name}`" for name in names]


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
