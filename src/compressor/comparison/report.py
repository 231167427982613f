"""What a comparison leaves behind: a page, its pictures, a table of the fronts' members, and all of it as JSON."""

from collections.abc import Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

from compressor.comparison.figures import (
    HYPERVOLUME_STEM,
    STEM,
    fronts_chart,
    hypervolumes_chart,
)
from compressor.comparison.searches import Comparison, Group, front_members
from compressor.drawing.page import Table, figure, render_page
from compressor.files import new_directory, write_json, write_text
from compressor.search.objectives import OBJECTIVES

JSON_FILE, CSV_FILE, HTML_FILE = "compare.json", "compare.csv", "compare.html"
FILES = (
    JSON_FILE,
    CSV_FILE,
    HTML_FILE,
    *(f"{stem}.{kind}" for stem in (STEM, HYPERVOLUME_STEM) for kind in ("png", "svg")),
)


def write_comparison(directory: Path, comparison: Comparison) -> None:
    """Write the page of a comparison with its pictures, CSV and JSON into a directory; whole or not there."""
    with new_directory(directory) as temporary:
        write_json(temporary / JSON_FILE, to_json(comparison))
        _write_csv(comparison, temporary / CSV_FILE)
        kinds, runs = len(comparison.groups), sum(len(group.searches) for group in comparison.groups)
        # Said only where some searches differ in nothing but their seeds.
        of = "" if kinds == runs else f" of {kinds} kind{'s' if kinds > 1 else ''}"
        title = f"{comparison.task}: {runs} searches{of} compared"
        header, rows = groups_table(comparison)
        page = render_page(
            Path(__file__).with_name("comparison.html"),
            title,
            describe_comparison(comparison),
            front=figure(fronts_chart(comparison), temporary),
            over=figure(hypervolumes_chart(comparison), temporary),
            groups=Table(header=header, rows=rows),
            searches=Table(
                header=["directory", "search", "seeds (search, training)"], rows=_origins(comparison), words=True
            ),
        )
        write_text(temporary / HTML_FILE, page)


def describe_comparison(comparison: Comparison) -> str:
    """Say what the errors and hypervolumes of a comparison are."""
    (error, cost), of = comparison.reference, OBJECTIVES[comparison.cost]
    point = f"({error:g}, {cost:g})" if comparison.shared_base else f"({error:g}, {of.describe(cost)})"
    return (
        f"The error is 1 − {comparison.metric} on the same validation rows (data digest {comparison.data_digest}); "
        f"hypervolumes are shares of the area of error and {of.label} up to {point}, higher is better."
    )


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return what `compare.json` holds."""
    return {
        "format": 1,
        "task": comparison.task,
        "metric": comparison.metric,
        "data_digest": comparison.data_digest,
        "cost": comparison.cost,
        "cost_as": "share of the super-network's" if comparison.shared_base else "absolute",
        "hypervolume_of": "error and cost, both as shares of the reference point's",
        "hypervolume_reference": list(comparison.reference),
        "groups": [_group_to_json(comparison, group) for group in comparison.groups],
    }


def _group_to_json(comparison: Comparison, group: Group) -> dict[str, Any]:
    # In the order of `group.searches`, as the zip below relies on.
    values = [comparison.hypervolume(search.points) for search in group.searches]
    searches = [
        {
            "path": str(search.path),
            "seeds": list(search.seeds),
            "num_evaluations": len(search.points),
            "hypervolume": value,
            "front": [
                {"name": e.name, "error": error, "cost": cost, "test_error": e.test_error}
                for e, (error, cost) in front_members(search)
            ],
        }
        for search, value in zip(group.searches, values, strict=True)
    ]
    # One search has no spread: its surfaces would all be its own front.
    several = len(values) > 1
    return {
        "name": group.name,
        "identity": group.searches[0].identity,
        "hypervolume": comparison.mean_hypervolume(group),
        "hypervolume_standard_error": _standard_error(comparison, group),
        "attainment": dict(zip(("best", "median", "worst"), comparison.surfaces(group), strict=True))
        if several
        else None,
        "searches": searches,
    }


def groups_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the groups, the best hypervolume first."""
    header = ["search", "searches", "evaluations", "hypervolume", "± standard error", "smallest error", "front members"]
    rows = []
    for group in sorted(comparison.groups, key=lambda group: -comparison.mean_hypervolume(group)):
        error = _standard_error(comparison, group)
        rows.append(
            [
                group.name,
                str(len(group.searches)),
                _span([len(search.points) for search in group.searches]),
                f"{comparison.mean_hypervolume(group):.4f}",
                "" if error is None else f"{error:.4f}",
                f"{min(search.points[place][0] for search in group.searches for place in search.front):.4f}",
                _span([len(search.front) for search in group.searches]),
            ]
        )
    return header, rows


def _standard_error(comparison: Comparison, group: Group) -> float | None:
    values = [comparison.hypervolume(search.points) for search in group.searches]
    # Of the mean over seeds: standard deviation / √n.
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def _span(counts: Sequence[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)}–{max(counts)}"


def _origins(comparison: Comparison) -> list[list[str]]:
    return [
        [str(search.path), group.name, ", ".join(map(str, search.seeds))]
        for group in comparison.groups
        for search in group.searches
    ]


def _write_csv(comparison: Comparison, path: Path) -> None:
    """Write the fronts' members, one per line."""
    import pandas as pd

    rows = [
        {
            "group": group.name,
            "search": str(search.path),
            "seed": search.seeds[0],
            "name": e.name,
            "error": error,
            "test_error": e.test_error,
            "cost": cost,
            "params": e.params,
            "relative_encoder_params": e.relative_encoder_params,
        }
        for group in comparison.groups
        for search in group.searches
        for e, (error, cost) in front_members(search)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
