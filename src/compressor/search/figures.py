"""What the pictures of a search show: the front, what is kept per layer, the hypervolume."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.data.heads.answers import name_error
from compressor.drawing.charts import DENSE, FRONT, HeatMap, Mark, PointChart, Series
from compressor.drawing.files import save_figure
from compressor.drawing.page import Table, figure, render_page
from compressor.drawing.plots import draw_figure
from compressor.network.dimensions import EncoderDimensions
from compressor.search.objectives import OBJECTIVES, REFERENCE, main_cost
from compressor.search.record import EvaluatedSubNetwork, SearchResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_ROWS = 100
"""Rows of the front's table on its page."""
_ABOVE_THE_LINE = "What lies on or above the dashed line has learnt nothing from the texts. "
MAX_HEAT_ROWS = 30
"""Rows of a heat map, so that page and paper can hold it."""


def front_chart(result: SearchResult, title: str, more: Sequence[Series] = ()) -> PointChart:
    """Return error against cost: sub-networks pale, the front with intervals and its members' indices, dense marked.

    `more` are drawn on top, such as a member as it was extracted.
    """
    cost = main_cost(result.objectives)
    factor = OBJECTIVES[cost].scale
    places = {member.name: str(index) for index, member in enumerate(result.front)}
    # A front of three objectives is no line in a picture of two.
    flat = set(result.objectives) == {"error", cost}

    def mark(e: EvaluatedSubNetwork, labelled: bool = False) -> Mark:
        # Intervals and indices of the front alone: those of all others would hide it.
        low, high = (e.error_interval or (None, None)) if labelled else (None, None)
        label = places.get(e.name, "") if labelled else ""
        return Mark(
            x=e.objectives[cost] * factor, y=e.error, low=low, high=high, label=label, note=_describe(e, places)
        )

    groups = [
        Series(
            name="evaluated sub-network",
            marks=tuple(mark(e) for e in result.evaluations if not e.on_front),
            size=3.2,
        ),
        Series(
            name="Pareto front, with 95 % intervals",
            marks=tuple(mark(e, True) for e in result.front),
            color=FRONT,
            size=4.5,
            line="steps" if flat else "none",
        ),
    ]
    if result.full is not None:
        full = Series(name="super-network (dense)", marks=(mark(result.full),), color=DENSE, shape="star", size=8)
        groups.append(full)
    if result.trivial is not None:
        groups.append(_trivial_series(result, cost, factor))
    groups.extend(more)
    best, smallest = result.front[0], min(result.front, key=lambda e: e.objectives[cost])
    return PointChart(
        stem="pareto_front",
        title=title,
        caption="Down and left is better. No evaluated sub-network is better than a front member in all objectives "
        f"({', '.join(result.objectives)}); its number is its index in the table. "
        + ("" if result.trivial is None else _ABOVE_THE_LINE)
        + "Intervals come from the number of validation rows; the front is picked on these rows, so only the table's "
        "test errors are free of the pick.",
        alt=f"{len(result.evaluations)} sub-networks, {len(result.front)} on the front: from error {best.error:.4f} at "
        f"{OBJECTIVES[cost].describe(best.objectives[cost])} to error {smallest.error:.4f} at "
        f"{OBJECTIVES[cost].describe(smallest.objectives[cost])}."
        + ("" if result.trivial is None else f" The trivial predictor is {result.trivial}."),
        x_label=OBJECTIVES[cost].axis,
        y_label=name_error(OBJECTIVES["error"].axis, result.against_full_model),
        series=tuple(group for group in groups if group.marks),
    )


def _trivial_series(result: SearchResult, cost: str, factor: float) -> Series:
    """Return the trivial predictor's error as a line across the chart: a model above it has learnt nothing."""
    trivial, costs = result.trivial, [e.objectives[cost] * factor for e in result.evaluations]
    assert trivial is not None
    note = f"trivial predictor: {trivial}"
    marks = tuple(Mark(x=x, y=trivial.error, note=note) for x in sorted({min(costs), max(costs)}))
    return Series(name=note, marks=marks, size=0, line="straight", dashed=True)


def _describe(e: EvaluatedSubNetwork, places: Mapping[str, str]) -> str:
    index = f" (front, index {places[e.name]})" if e.name in places else ""
    interval = "" if e.error_interval is None else " (95 %: {:.3f}–{:.3f})".format(*e.error_interval)
    costs = [OBJECTIVES[name].describe(value) for name, value in e.objectives.items() if name != "error"]
    sub_network = e.sub_network
    return (
        f"{e.name}{index}\nerror {e.error:.4f}{interval}\n{', '.join(costs)}; {e.relative_encoder_params:.1%} of the "
        f"encoder\n{sub_network.num_layers} layers, {sub_network.num_heads} heads, {sub_network.num_units} units"
    )


def kept_maps(
    front: Sequence[EvaluatedSubNetwork], dimensions: EncoderDimensions, names: Sequence[str] = ()
) -> tuple[HeatMap, HeatMap]:
    """Return how many heads and how many units each member of the front keeps in each layer; of a long front some.

    With `names` those sub-networks are members of a family, in their order.
    """
    last, rows = len(front) - 1, min(len(front), MAX_HEAT_ROWS)
    places = sorted({round(row * last / max(rows - 1, 1)) for row in range(rows)})
    return (
        _kept_map(front, names, places, "heads", dimensions),
        _kept_map(front, names, places, "units", dimensions),
    )


def _kept_map(
    front: Sequence[EvaluatedSubNetwork],
    names: Sequence[str],
    places: Sequence[int],
    what: str,
    dimensions: EncoderDimensions,
) -> HeatMap:
    whole = dimensions.num_heads if what == "heads" else dimensions.num_units
    members, layers = [front[place] for place in places], dimensions.num_layers
    whose = "of the family, from the smallest" if names else "of the front, by rising error"
    # Kept heads or units, [members][layers].
    counts = [[len(kept) for kept in getattr(e.sub_network, what)] for e in members]
    some = "" if len(members) == len(front) else f" {len(members)} of its {len(front)} members, evenly spread."
    return HeatMap(
        stem=f"kept_{what}",
        title=f"Kept {'attention heads' if what == 'heads' else 'feed-forward units'} per layer, of {whole}",
        caption=f"A row per member {whose}; a stronger colour keeps more, 0 drops the block.{some}",
        alt=f"{len(members)} sub-networks by {layers} layers.",
        row_title="sub-network",
        column_title="layer of the super-network",
        rows=tuple(f"{names[place] if names else place}: {e.name}" for place, e in zip(places, members, strict=True)),
        columns=tuple(str(layer) for layer in range(layers)),
        shares=tuple(tuple(count / whole for count in row) for row in counts),
        texts=tuple(tuple(str(count) for count in row) for row in counts),
        notes=tuple(
            tuple(f"{e.name}, layer {layer}\n{count} of {whole} {what}" for layer, count in enumerate(row))
            for e, row in zip(members, counts, strict=True)
        ),
    )


def hypervolume_chart(result: SearchResult) -> PointChart:
    """Return the hypervolume after each evaluation."""
    values = result.hypervolumes
    point = ", ".join(f"{REFERENCE:g}" for _ in result.objectives)
    # The first evaluation that reached the final value: those after it have added nothing.
    last = next(number for number, value in enumerate(values, start=1) if value == values[-1])
    marks = tuple(
        Mark(x=number, y=value, note=f"after {number} evaluations\nhypervolume {value:.4f}")
        for number, value in enumerate(values, start=1)
    )
    return PointChart(
        stem="hypervolume",
        title="Hypervolume over evaluations",
        caption=f"What is dominated in {', '.join(result.objectives)} up to the point ({point}): errors as they are, "
        "costs as shares of the full super-network's. Where the line is flat, more samples found nothing better.",
        alt=f"It ends at {values[-1]:.4f} after {len(values)} evaluations and rose last at evaluation {last}.",
        x_label="evaluated sub-networks",
        y_label=f"hypervolume up to ({point}), higher is better",
        series=(Series(name="", marks=marks, color=FRONT, size=2.2, line="steps"),),
    )


def draw_front(result: SearchResult) -> "Figure":
    """Draw the front as matplotlib's figure."""
    return draw_figure(front_chart(result, f"{len(result.evaluations)} sub-networks"))


def write_front_png(result: SearchResult, path: Path, title: str) -> Path:
    """Save error against cost: every sub-network, the front as a staircase, the super-network marked."""
    return save_figure(front_chart(result, title), path)


def write_front_html(
    result: SearchResult, path: Path, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> Path:
    """Save the same picture with hover, and the front's table, as one file that needs no network."""
    page = render_page(
        Path(__file__).with_name("front.html"),
        title,
        f"{len(result.evaluations)} sub-networks, of which {len(result.front)} are on the Pareto front.",
        front=figure(front_chart(result, "Error against cost")),
        members=Table(header=header, rows=rows[:_MAX_ROWS]),
        more=max(len(rows) - _MAX_ROWS, 0),
    )
    path.write_text(page, encoding="utf-8")
    return path
