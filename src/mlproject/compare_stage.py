"""The stage `compare`: the fronts of several searches in one picture, with hypervolumes under one reference point."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from compressor.files import new_directory, require_other_directory, write_json, write_text
from compressor.markdown import markdown_table, markdown_text
from compressor.search.comparing import Compared, Comparison, Group, compare_searches, front_members
from mlproject import page
from mlproject.charts import DENSE, PALETTE, SHAPES, Band, Mark, PointChart, Series
from mlproject.paper_charts import save_figures
from mlproject.report_figures import COST_AXES, ERROR_AXIS
from mlproject.sources import find_super_network
from mlproject.tables import print_table
from mlproject.tracking.tracker import StageRun

JSON_FILE, CSV_FILE, HTML_FILE = "compare.json", "compare.csv", "compare.html"
_STEM, _HYPERVOLUME_STEM = "compare", "compare_hypervolume"
_SHARES = {"params": "parameters", "macs": "multiply-accumulates", "latency_ms": "latency"}
_ONE_MACHINE = " Latencies compare only where all searches ran on one machine."
_COLORS = [place for place in range(len(PALETTE)) if place != DENSE]


def compare(output_dir: Path, search_dirs: Sequence[Path], run: StageRun) -> dict[str, Any]:
    """Compares the fronts of searches; what `compare.json` says.

    Raises:
        SearchError: the errors of the searches do not compare.
    """
    require_other_directory(output_dir, *search_dirs)
    comparison = compare_searches(search_dirs, find_super_network)
    written = _to_json(comparison)
    header, rows = _table(written)
    front, over = _front_chart(comparison), _hypervolume_chart(comparison)
    with new_directory(output_dir) as temporary:
        write_json(temporary / JSON_FILE, written)
        _write_csv(comparison, temporary / CSV_FILE)
        save_figures(front, temporary)
        save_figures(over, temporary)
        sections = [
            page.section("Fronts", page.figure(front), page.table(header, rows)),
            page.section("How the searches went", page.figure(over)),
            page.section(
                "The searches",
                page.table(["directory", "search", "seeds (search, training)"], _origins(comparison), words=True),
            ),
        ]
        title = f"{comparison.task}: {len(comparison.groups)} kinds of search compared"
        write_text(temporary / HTML_FILE, page.render_page(title, _lead(comparison), sections))
    run.log_params(
        {
            "searches": ", ".join(map(str, search_dirs)),
            "cost": written["cost"],
            "reference": written["hypervolume_reference"],
            "data_digest": comparison.data_digest,
        }
    )
    run.set_tags({"task": comparison.task})
    run.log_metrics({f"hypervolume/{group['name']}": group["hypervolume"] for group in written["groups"]})
    for path in sorted(output_dir / name for name in _files()):
        run.log_artifact(path)
    spare = ["front members", "evaluations", "searches", "smallest error"]
    print_table(f"Fronts of {len(search_dirs)} searches, {comparison.task}", header, rows, spare=spare)
    run.describe(
        f"{markdown_text(_lead(comparison))}\n\n{markdown_table(header, rows)}\n\n"
        f"![Fronts](get-artifact?path={_STEM}.png&run_uuid={run.run_id})"
    )
    return written


def _files() -> list[str]:
    figures = [f"{stem}.{kind}" for stem in (_STEM, _HYPERVOLUME_STEM) for kind in ("png", "svg")]
    return [JSON_FILE, CSV_FILE, HTML_FILE, *figures]


def _lead(comparison: Comparison) -> str:
    error, cost = comparison.reference
    point = f"({error:g}, {cost:g})" if comparison.shared_base else f"({error:g}, {_absolute(comparison, cost)})"
    return (
        f"The error is 1 − {comparison.metric} on the same validation rows (data digest {comparison.data_digest}); "
        f"hypervolumes are shares of the area of error and {_SHARES[comparison.cost]} up to {point}, higher is better."
    )


def _absolute(comparison: Comparison, cost: float) -> str:
    _, factor, unit = COST_AXES[comparison.cost]
    return f"{cost * factor:,.2f} {unit}"


def _to_json(comparison: Comparison) -> dict[str, Any]:
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
    several = len(values) > 1
    return {
        "name": group.name,
        "identity": group.searches[0].identity,
        "hypervolume": fmean(values),
        "hypervolume_standard_error": stdev(values) / len(values) ** 0.5 if several else None,
        "attainment": dict(zip(("best", "median", "worst"), comparison.surfaces(group), strict=True))
        if several
        else None,
        "searches": searches,
    }


def _table(written: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the groups, the best hypervolume first."""
    header = ["search", "searches", "evaluations", "hypervolume", "± standard error", "smallest error", "front members"]
    rows = [
        [
            group["name"],
            str(len(group["searches"])),
            _span([search["num_evaluations"] for search in group["searches"]]),
            f"{group['hypervolume']:.4f}",
            "" if group["hypervolume_standard_error"] is None else f"{group['hypervolume_standard_error']:.4f}",
            f"{min(member['error'] for search in group['searches'] for member in search['front']):.4f}",
            _span([len(search["front"]) for search in group["searches"]]),
        ]
        for group in sorted(written["groups"], key=lambda group: -group["hypervolume"])
    ]
    return header, rows


def _span(counts: Sequence[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)}–{max(counts)}"


def _origins(comparison: Comparison) -> list[list[str]]:
    return [
        [str(search.path), group.name, ", ".join(map(str, search.seeds))]
        for group in comparison.groups
        for search in group.searches
    ]


def _write_csv(comparison: Comparison, path: Path) -> None:
    """The fronts' members, one per line."""
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


def _front_chart(comparison: Comparison) -> PointChart:
    scale = 1.0 if comparison.shared_base else COST_AXES[comparison.cost][1]
    series, bands = [], []
    for number, group in enumerate(comparison.groups):
        color, shape = _COLORS[number % len(_COLORS)], SHAPES[number % len(SHAPES)]
        marks = tuple(mark for search in group.searches for mark in _marks(comparison, search, group, scale))
        if len(group.searches) == 1:
            name = f"{group.name}, hypervolume {_mean(comparison, group):.4f}"
            series.append(Series(name=name, marks=marks, color=color, shape=shape, line="steps"))
            continue
        best, middle, worst = (
            tuple((cost * scale, error) for error, cost in surface) for surface in comparison.surfaces(group)
        )
        line = tuple(Mark(x=x, y=y) for x, y in middle)
        name = f"{group.name}, {len(group.searches)} searches, mean hypervolume {_mean(comparison, group):.4f}"
        bands.append(Band(best=best, worst=worst, color=color))
        series.append(Series(name=name, marks=line, color=color, size=0, line="steps"))
        series.append(Series(name="", marks=marks, color=color, shape=shape, size=2.8))
    dense = _dense_marks(comparison, scale)
    if dense:
        series.append(Series(name="super-network (dense)", marks=dense, color=DENSE, shape="star", size=7))
    share = f"{_SHARES[comparison.cost]} as a share of the super-network's, lower is better"
    groups = ", ".join(f"{group.name} {_mean(comparison, group):.4f}" for group in comparison.groups)
    return PointChart(
        stem=_STEM,
        title=f"Fronts of {sum(len(group.searches) for group in comparison.groups)} searches, {comparison.task}",
        caption="Down and left is better. Of searches that differ only in their seeds, the band reaches from what at "
        "least one of them attains to what all attain, the line is what at least half attain, and points are their "
        "fronts. Stars are super-networks." + (_ONE_MACHINE if comparison.cost == "latency_ms" else ""),
        alt=f"Hypervolumes: {groups}.",
        x_label=share if comparison.shared_base else COST_AXES[comparison.cost][0],
        y_label=ERROR_AXIS,
        series=tuple(series),
        bands=tuple(bands),
    )


def _mean(comparison: Comparison, group: Group) -> float:
    return fmean(comparison.hypervolume(search.points) for search in group.searches)


def _marks(comparison: Comparison, search: Compared, group: Group, scale: float) -> list[Mark]:
    return [
        Mark(
            x=cost * scale,
            y=error,
            note=f"{group.name}, seed {search.seeds[0]}: {e.name}\nerror {error:.4f}\n"
            f"{_absolute(comparison, getattr(e, comparison.cost))}, {e.relative_encoder_params:.1%} of the encoder",
        )
        for e, (error, cost) in front_members(search)
    ]


def _dense_marks(comparison: Comparison, scale: float) -> tuple[Mark, ...]:
    """The full super-networks, each once."""
    found: dict[tuple[float, float], Mark] = {}
    for group in comparison.groups:
        for search in group.searches:
            if search.result.full is not None:
                error, cost = search.points[search.result.full.index]
                note = f"super-network of {group.name}\nerror {error:.4f}"
                found.setdefault((error, cost), Mark(x=cost * scale, y=error, note=note))
    return tuple(found.values())


def _hypervolume_chart(comparison: Comparison) -> PointChart:
    """The hypervolume after each evaluation, the median over a group's searches as far as all of them went."""
    series = []
    for number, group in enumerate(comparison.groups):
        length = min(len(search.points) for search in group.searches)
        values = [
            median(comparison.hypervolume(search.points[:count]) for search in group.searches)
            for count in range(1, length + 1)
        ]
        marks = tuple(
            Mark(x=count, y=value, note=f"{group.name}\nafter {count} evaluations\nhypervolume {value:.4f}")
            for count, value in enumerate(values, start=1)
        )
        color, dashed = _COLORS[number % len(_COLORS)], number >= len(_COLORS)
        series.append(Series(name=group.name, marks=marks, color=color, size=2, line="steps", dashed=dashed))
    return PointChart(
        stem=_HYPERVOLUME_STEM,
        title="Hypervolume over evaluations",
        caption="Of several searches in a group, the median. One evaluation of standard NAS trains a sub-network, "
        "one of a search over shared weights only runs it.",
        alt="; ".join(f"{one.name} ends at {one.marks[-1].y:.4f}" for one in series) + ".",
        x_label="evaluated sub-networks",
        y_label="hypervolume, higher is better",
        series=tuple(series),
    )
