"""What the pictures of a comparison show: all fronts, and hypervolumes over evaluations."""

from statistics import median

from compressor.comparison.searches import Compared, Comparison, Group, front_members
from compressor.drawing.charts import DENSE, PALETTE, SHAPES, Band, Mark, PointChart, Series
from compressor.search.objectives import OBJECTIVES

STEM, HYPERVOLUME_STEM = "compare", "compare_hypervolume"
_ONE_MACHINE = " Times compare only where all searches ran on one machine."
# The super-network keeps its colour in every picture.
_COLORS = [place for place in range(len(PALETTE)) if place != DENSE]


def fronts_chart(comparison: Comparison) -> PointChart:
    cost = OBJECTIVES[comparison.cost]
    # Shares of the same super-network need no unit; costs in their own unit are scaled to it, such as to millions.
    scale = 1.0 if comparison.shared_base else cost.scale
    series, bands = [], []
    for number, group in enumerate(comparison.groups):
        # Colours and shapes go round together where there are more groups than colours.
        color, shape = _COLORS[number % len(_COLORS)], SHAPES[number % len(SHAPES)]
        marks = tuple(mark for search in group.searches for mark in _marks(comparison, search, group, scale))
        # One search is its own line of steps; several of a group, which differ in their seeds, become a band and a
        # median.
        if len(group.searches) == 1:
            name = f"{group.name}, hypervolume {comparison.mean_hypervolume(group):.4f}"
            series.append(Series(name=name, marks=marks, color=color, shape=shape, line="steps"))
            continue
        # A surface is pairs of (error, cost); the picture has the cost on its x-axis.
        best, middle, worst = (
            tuple((x * scale, error) for error, x in surface) for surface in comparison.surfaces(group)
        )
        line = tuple(Mark(x=x, y=y) for x, y in middle)
        name = (
            f"{group.name}, {len(group.searches)} searches, mean hypervolume {comparison.mean_hypervolume(group):.4f}"
        )
        bands.append(Band(best=best, worst=worst, color=color))
        series.append(Series(name=name, marks=line, color=color, size=0, line="steps"))
        series.append(Series(name="", marks=marks, color=color, shape=shape, size=2.8))
    dense = _dense_marks(comparison, scale)
    if dense:
        series.append(Series(name="super-network (dense)", marks=dense, color=DENSE, shape="star", size=7))
    share = f"{cost.label} as a share of the super-network's, lower is better"
    groups = ", ".join(f"{group.name} {comparison.mean_hypervolume(group):.4f}" for group in comparison.groups)
    return PointChart(
        stem=STEM,
        title=f"Fronts of {sum(len(group.searches) for group in comparison.groups)} searches, {comparison.task}",
        caption="Down and left is better. Of searches that differ only in their seeds, the band reaches from what at "
        "least one of them attains to what all attain, the line is what at least half attain, and points are their "
        "fronts. Stars are super-networks." + (_ONE_MACHINE if cost.timed else ""),
        alt=f"Hypervolumes: {groups}.",
        x_label=share if comparison.shared_base else cost.axis,
        y_label=OBJECTIVES["error"].axis,
        series=tuple(series),
        bands=tuple(bands),
    )


def _marks(comparison: Comparison, search: Compared, group: Group, scale: float) -> list[Mark]:
    of = OBJECTIVES[comparison.cost]
    return [
        Mark(
            x=cost * scale,
            y=error,
            note=f"{group.name}, seed {search.seeds[0]}: {e.name}\nerror {error:.4f}\n"
            f"{of.describe(e.objectives[comparison.cost])}, {e.relative_encoder_params:.1%} of the encoder",
        )
        for e, (error, cost) in front_members(search)
    ]


def _dense_marks(comparison: Comparison, scale: float) -> tuple[Mark, ...]:
    """Return the full super-networks, each once."""
    found: dict[tuple[float, float], Mark] = {}
    for group in comparison.groups:
        for search in group.searches:
            if search.result.full is not None:
                error, cost = search.points[search.result.full.index]
                note = f"super-network of {group.name}\nerror {error:.4f}"
                found.setdefault((error, cost), Mark(x=cost * scale, y=error, note=note))
    return tuple(found.values())


def hypervolumes_chart(comparison: Comparison) -> PointChart:
    """Return the hypervolume after each evaluation, the median over a group's searches as far as all of them went."""
    series = []
    for number, group in enumerate(comparison.groups):
        # Searches of a group may differ in length: a median over those that went further alone would jump.
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
        stem=HYPERVOLUME_STEM,
        title="Hypervolume over evaluations",
        caption="Of several searches in a group, the median. One evaluation of standard NAS trains a sub-network, "
        "one of a search over shared weights only runs it.",
        alt="; ".join(f"{one.name} ends at {one.marks[-1].y:.4f}" for one in series) + ".",
        x_label="evaluated sub-networks",
        y_label="hypervolume, higher is better",
        series=tuple(series),
    )
