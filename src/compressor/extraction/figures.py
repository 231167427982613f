"""What the pictures of an extraction show: the model on the front it was chosen from, and errors side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compressor.drawing.charts import EXTRACTED, Bar, BarChart, Mark, Panel, Series, bar_color
from compressor.extraction.record import ExtractionReport
from compressor.search.objectives import OBJECTIVES, main_cost
from compressor.search.record import SearchResult


def extracted_series(
    result: SearchResult, extraction: ExtractionReport, title: str = "chosen", color: int = EXTRACTED
) -> Series:
    """Return the chosen sub-network as extracted: at its final error, with the cost it has or was searched with."""
    cost = main_cost(result.objectives)
    factor, extracted, name = OBJECTIVES[cost].scale, extraction.extracted, extraction.name
    searched = next((e for e in result.evaluations if e.name == name), None)
    # The later ones count: what was measured of the extracted model before what was searched.
    known = ({} if searched is None else searched.objectives) | extracted.costs | {"params": extracted.params}
    x = known.get(cost)
    if x is None:
        return Series(name="", marks=())
    low, high = extracted.error_interval
    note = f"{name}, extracted\nerror {extracted.error:.4f} (95 %: {low:.3f}–{high:.3f})"
    if searched is not None and searched.error != extracted.error:
        note += f", {searched.error:.4f} as searched"
    mark = Mark(x=x * factor, y=extracted.error, low=low, high=high, note=note)
    return Series(name=f"{title}: {name}, as extracted", marks=(mark,), color=color, shape="diamond", size=6)


@dataclass(frozen=True, kw_only=True)
class NamedError:
    """A model's error on some rows, with its 95 % interval where that is known."""

    name: str
    error: float
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        return f"{self.error:.4f}" + ("" if self.interval is None else " ({:.3f}–{:.3f})".format(*self.interval))


def error_chart(
    panels: Mapping[str, Sequence[NamedError]], metric: str, whose: str = "dense against extracted"
) -> BarChart | None:
    """Return errors with their intervals; of each panel the models. None where no error is known."""
    # In order and once each: a model has the same colour in every panel.
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
                    color=bar_color(names.index(model.name)),
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
        title=f"Error, {whose}",
        caption="Whiskers and brackets are 95 % intervals from the number of rows; models whose intervals overlap may "
        "still differ: all are judged on the same rows.",
        alt="; ".join(f"{p.title}: " + ", ".join(f"{b.label} {b.text}" for b in p.bars) for p in made) + ".",
        x_label=f"error (1 − {metric}), lower is better",
        panels=made,
    )
