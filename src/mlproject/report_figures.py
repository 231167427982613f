"""What the pictures of a report show: the front, what is kept per layer, hypervolume, errors, latencies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compressor.extraction.record import ExtractionReport
from compressor.network.dimensions import EncoderDimensions
from compressor.search.objectives import REFERENCE, main_cost
from compressor.search.record import EvaluatedSubNetwork, SearchResult
from exporters.benchmark_record import Benchmark
from exporters.timing.latency import Latency
from mlproject.charts import DENSE, FRONT, Bar, BarChart, HeatMap, Mark, Panel, PointChart, Series

ERROR_AXIS = "error (1 − metric), lower is better"
COST_AXES = {
    "params": ("parameters in millions, lower is better", 1e-6, "M parameters"),
    "macs": ("multiply-accumulates per text in millions, lower is better", 1e-6, "M multiply-accumulates"),
    "latency_ms": ("median latency of one text in ms, lower is better", 1.0, "ms"),
}
"""Of each cost: what its axis says, by what it is multiplied, the unit after a number."""
_ABOVE_THE_LINE = "What lies on or above the dashed line has learnt nothing from the texts. "
MAX_HEAT_ROWS = 30
"""Of a heat map, so that page and paper can hold it."""
_EXTRACTED = 2
"""Place in the palette of what was extracted, in fp32; smaller precisions follow."""


def front_chart(result: SearchResult, title: str, extraction: ExtractionReport | None = None) -> PointChart:
    """Error against cost: every sub-network pale, the front with intervals and its members' indices, dense marked.

    With `extraction`, the report of an extracted member, that model is marked too.
    """
    cost = main_cost(result.objectives)
    axis, factor, _ = COST_AXES[cost]
    places = {member.name: str(index) for index, member in enumerate(result.front)}
    flat = set(result.objectives) == {"error", cost}

    def mark(e: EvaluatedSubNetwork, labelled: bool = False) -> Mark:
        low, high = (e.error_interval or (None, None)) if labelled else (None, None)
        label = places.get(e.name, "") if labelled else ""
        return Mark(x=getattr(e, cost) * factor, y=e.error, low=low, high=high, label=label, note=_describe(e, places))

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
    if extraction is not None:
        groups.append(_extracted_series(result, extraction, cost, factor))
    best, smallest = result.front[0], min(result.front, key=lambda e: getattr(e, cost))
    return PointChart(
        stem="pareto_front",
        title=title,
        caption="Down and left is better. No evaluated sub-network beats a member of the front in every objective "
        f"({', '.join(result.objectives)}); its number is its index in the table. "
        + ("" if result.trivial is None else _ABOVE_THE_LINE)
        + "Intervals come from the number of validation rows; the front is picked on these rows, so only the table's "
        "test errors are free of the pick.",
        alt=f"{len(result.evaluations)} sub-networks, {len(result.front)} on the front: from error {best.error:.4f} at "
        f"{_cost_text(best, cost)} to error {smallest.error:.4f} at {_cost_text(smallest, cost)}."
        + ("" if result.trivial is None else f" The trivial predictor is {result.trivial}."),
        x_label=axis,
        y_label=ERROR_AXIS,
        series=tuple(group for group in groups if group.marks),
    )


def _trivial_series(result: SearchResult, cost: str, factor: float) -> Series:
    """The trivial predictor's error as a line across the chart: a model above it has learnt nothing."""
    trivial, costs = result.trivial, [getattr(e, cost) * factor for e in result.evaluations]
    assert trivial is not None
    note = f"trivial predictor: {trivial}"
    marks = tuple(Mark(x=x, y=trivial.error, note=note) for x in sorted({min(costs), max(costs)}))
    return Series(name=note, marks=marks, size=0, line="straight", dashed=True)


def _extracted_series(result: SearchResult, extraction: ExtractionReport, cost: str, factor: float) -> Series:
    """The chosen sub-network as it was extracted: at its final error, with the cost it has or was searched with."""
    extracted, name = extraction.extracted, extraction.name
    searched = next((e for e in result.evaluations if e.name == name), None)
    x = getattr(extracted, cost, None) or (None if searched is None else getattr(searched, cost))
    if x is None:
        return Series(name="", marks=())
    low, high = extracted.error_interval
    note = f"{name}, extracted\nerror {extracted.error:.4f} (95 %: {low:.3f}–{high:.3f})"
    if searched is not None and searched.error != extracted.error:
        note += f", {searched.error:.4f} as searched"
    mark = Mark(x=x * factor, y=extracted.error, low=low, high=high, note=note)
    return Series(name=f"chosen: {name}, as extracted", marks=(mark,), color=_EXTRACTED, shape="diamond", size=6)


def _describe(e: EvaluatedSubNetwork, places: Mapping[str, str]) -> str:
    index = f" (front, index {places[e.name]})" if e.name in places else ""
    interval = "" if e.error_interval is None else " (95 %: {:.3f}–{:.3f})".format(*e.error_interval)
    costs = [_cost_text(e, name) for name in COST_AXES if getattr(e, name) is not None]
    kept = e.sub_network
    return (
        f"{e.name}{index}\nerror {e.error:.4f}{interval}\n{', '.join(costs)}; {e.relative_encoder_params:.1%} of the "
        f"encoder\n{kept.num_layers} layers, {kept.num_heads} heads, {kept.num_units} units"
    )


def _cost_text(e: EvaluatedSubNetwork, cost: str) -> str:
    _, factor, unit = COST_AXES[cost]
    return f"{getattr(e, cost) * factor:,.2f} {unit}"


def kept_maps(front: Sequence[EvaluatedSubNetwork], dimensions: EncoderDimensions) -> tuple[HeatMap, HeatMap]:
    """How many heads and how many units each member of the front keeps in each layer; of a long front some."""
    last, rows = len(front) - 1, min(len(front), MAX_HEAT_ROWS)
    places = sorted({round(row * last / max(rows - 1, 1)) for row in range(rows)})
    return (
        _kept_map(front, places, "heads", dimensions.num_heads, dimensions.num_layers),
        _kept_map(front, places, "units", dimensions.num_units, dimensions.num_layers),
    )


def _kept_map(
    front: Sequence[EvaluatedSubNetwork], places: Sequence[int], what: str, most: int, layers: int
) -> HeatMap:
    members = [front[place] for place in places]
    counts = [[len(kept) for kept in getattr(e.sub_network, what)] for e in members]
    some = "" if len(members) == len(front) else f" {len(members)} of its {len(front)} members, evenly spread."
    return HeatMap(
        stem=f"kept_{what}",
        title=f"Kept {'attention heads' if what == 'heads' else 'feed-forward units'} per layer, of {most}",
        caption="A row per member of the front, by rising error; a stronger colour keeps more, 0 drops the block."
        f"{some}",
        alt=f"{len(members)} sub-networks by {layers} layers.",
        row_title="sub-network",
        column_title="layer of the super-network",
        rows=tuple(f"{place}: {e.name}" for place, e in zip(places, members, strict=True)),
        columns=tuple(str(layer) for layer in range(layers)),
        shares=tuple(tuple(count / most for count in row) for row in counts),
        texts=tuple(tuple(str(count) for count in row) for row in counts),
        notes=tuple(
            tuple(f"{e.name}, layer {layer}\n{count} of {most} {what}" for layer, count in enumerate(row))
            for e, row in zip(members, counts, strict=True)
        ),
    )


def hypervolume_chart(result: SearchResult) -> PointChart:
    """The hypervolume after each evaluation."""
    values = result.hypervolumes
    point = ", ".join(f"{REFERENCE:g}" for _ in result.objectives)
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


@dataclass(frozen=True, kw_only=True)
class NamedError:
    """A model's error on some rows, with its 95 % interval where that is known."""

    name: str
    error: float
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        return f"{self.error:.4f}" + ("" if self.interval is None else " ({:.3f}–{:.3f})".format(*self.interval))


def error_chart(panels: Mapping[str, Sequence[NamedError]], metric: str) -> BarChart | None:
    """Errors with their intervals; of each panel the models. None where no error is known."""
    names = list(dict.fromkeys(model.name for models in panels.values() for model in models))
    made = tuple(
        Panel(
            title=title,
            bars=tuple(
                Bar(
                    label=model.name,
                    value=max(model.error, 0.0),
                    low=None if model.interval is None else model.interval[0],
                    high=None if model.interval is None else model.interval[1],
                    text=str(model),
                    color=_bar_color(names.index(model.name)),
                    note=f"{model.name}, {title}\nerror {model}",
                )
                for model in models
            ),
        )
        for title, models in panels.items()
        if models
    )
    if not made:
        return None
    return BarChart(
        stem="errors",
        title="Error, dense against extracted",
        caption="Whiskers and brackets are 95 % intervals from the number of rows; models whose intervals overlap may "
        "still differ: all are judged on the same rows.",
        alt="; ".join(f"{p.title}: " + ", ".join(f"{b.label} {b.text}" for b in p.bars) for p in made) + ".",
        x_label=f"error (1 − {metric}), lower is better",
        panels=made,
    )


def latency_chart(benchmark: Benchmark) -> BarChart:
    """Median latencies, a panel for each batch size and length, each with its own scale."""
    panels = []
    for shape in benchmark.shapes:
        batch_size, length = shape
        texts = "1 text" if batch_size == 1 else f"{batch_size} texts"
        kind = f"{length} tokens each" if isinstance(length, int) else "lengths of the validation rows"
        title = f"Batch of {texts}, {kind}"
        rows = enumerate(benchmark.at(shape).values())
        panels.append(Panel(title=title, bars=tuple(_latency_bar(row, place, title) for place, row in rows)))
    environment, runs = benchmark.environment, sorted({row.runs for row in benchmark.latencies})
    return BarChart(
        stem="latency",
        title="Median latency, dense against extracted",
        caption=f"Each panel has its own scale; × is the share of {benchmark.base}'s time. "
        f"{' to '.join(dict.fromkeys((str(runs[0]), str(runs[-1]))))} timed runs, models taking turns, "
        f"{environment.threads} thread(s) of {environment.cpu}, tokenizer not included.",
        alt="; ".join(f"{p.title}: " + ", ".join(f"{b.label} {b.text}" for b in p.bars) for p in panels) + ".",
        x_label="median latency of a batch in ms, lower is better",
        panels=tuple(panels),
        shared_scale=False,
    )


def _latency_bar(row: Latency, place: int, title: str) -> Bar:
    ratio = f"× {row.ratio:.2f} (95 %: {row.ratio_low:.2f}–{row.ratio_high:.2f})"
    return Bar(
        label=row.model,
        value=row.p50_ms,
        text=f"{row.p50_ms:.2f} ms" + (f", × {row.ratio:.2f}" if place else "") + (", noisy" if row.noisy else ""),
        color=_bar_color(place),
        note=f"{row.model}\n{title}\np50 {row.p50_ms:.2f} ms, p90 {row.p90_ms:.2f} ms\n{ratio}",
    )


def _bar_color(place: int) -> int:
    """Dense first, then the front's blue and the colours after it."""
    return (DENSE, FRONT, _EXTRACTED)[place] if place < 3 else place
