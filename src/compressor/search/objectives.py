"""What a search can minimise: an entry for each objective, which all tables, axes, files and options read.

Apart from the search so that `--help` need not load it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from compressor.errors import SearchError
from compressor.evaluation.memory import BYTES, count_live_bytes
from compressor.records import Amount, Count, Inline

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compressor.evaluation.latency_table import LatencyKind, LatencyTable
    from compressor.network.costs import CostModel
    from compressor.network.dimensions import EncoderDimensions
    from compressor.network.sub_network import SubNetwork

DEFAULT_OBJECTIVES = ("error", "params")
REFERENCE = 1.0
"""Every coordinate of the hypervolume's reference point: an error of 1, the costs of the full super-network."""
PEAK_BATCH = 64
"""Texts of the batch whose memory is `peak_mb`."""


@dataclass(frozen=True, kw_only=True)
class Measurable:
    """A sub-network, and what its costs are measured by."""

    sub_network: "SubNetwork"
    cost_model: "CostModel"
    dimensions: "EncoderDimensions"
    length: int
    """Tokens of a text."""
    model: "PreTrainedModel | None" = None
    """The super-network; None where nothing is timed."""
    latency_kind: "LatencyKind | None" = None
    """Of what the latency is; None where it is no objective."""
    latency_table: "LatencyTable | None" = None
    """From which it follows; None where each sub-network is timed."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What one objective is, how it is measured and how it is shown. Less of it is better."""

    label: str
    """What it is, on axes and in rows of tables."""
    short: str
    """The same in a word, in headers of columns and after numbers."""
    unit: str = ""
    scale: float = 1.0
    """By which numbers are multiplied to be in that unit."""
    measure: Callable[[Measurable], float] | None = None
    """Its number for a sub-network; None for the error, which the validation rows give."""
    by_length: bool = False
    """Whether it depends on the length of the text."""
    timed: bool = False
    """Whether a clock measures it, of each sub-network or of the parts of all: then it is known only where it is an
    objective."""
    shown: bool = False
    """Whether a front's table has it where it is no objective too."""

    @property
    def axis(self) -> str:
        """The title of an axis."""
        return f"{self._with_unit(self.label)}, lower is better"

    @property
    def row(self) -> str:
        """The title of a row."""
        return self._with_unit(self.label)

    @property
    def column(self) -> str:
        """The header of a column."""
        return self._with_unit(self.short)

    def show(self, value: float | None) -> str:
        """Return a number in a cell, empty where it is not known."""
        return "" if value is None else f"{value * self.scale:,.1f}"

    def describe(self, value: float) -> str:
        """Return a number in a sentence."""
        return f"{value * self.scale:,.2f} {self.unit} {self.short}"

    def _with_unit(self, text: str) -> str:
        return f"{text} ({self.unit})" if self.unit else text


def _time(of: Measurable) -> float:
    # Nothing runs where a table tells the time.
    if of.latency_table is not None:
        return of.latency_table.predict(of.sub_network)
    from compressor.evaluation.latency import measure_latency_ms  # which loads PyTorch

    kind = of.latency_kind
    assert of.model is not None  # sub-networks are timed one by one in searches over shared weights alone
    assert kind is not None
    return measure_latency_ms(of.model, of.sub_network, kind.length, batch_size=kind.batch_size, threads=kind.threads)


def _count_params(of: Measurable) -> int:
    return of.cost_model.costs(of.sub_network).params


def _count_bytes(of: Measurable) -> int:
    """Return the size of the weights that the graph has."""
    return BYTES * (_count_params(of) - of.cost_model.unread_params)


OBJECTIVES: dict[str, Objective] = {
    "error": Objective(label="error (1 − metric)", short="error"),
    "params": Objective(label="parameters", short="params", unit="M", scale=1e-6, measure=_count_params),
    "macs": Objective(
        label="MACs per text",
        short="MACs",
        unit="M",
        scale=1e-6,
        measure=lambda of: of.cost_model.macs(of.sub_network, of.length),
        by_length=True,
        shown=True,
    ),
    "latency_ms": Objective(
        label="median latency", short="latency", unit="ms", measure=_time, by_length=True, timed=True
    ),
    "size_mb": Objective(
        label="weights of the fp32 ONNX graph",
        short="size",
        unit="MB",
        measure=lambda of: _count_bytes(of) / 1e6,
    ),
    "peak_mb": Objective(
        label=f"peak memory of {PEAK_BATCH} texts",
        short="peak",
        unit="MB",
        measure=lambda of: (
            (_count_bytes(of) + count_live_bytes(of.sub_network, of.dimensions, PEAK_BATCH, of.length)) / 1e6
        ),
        by_length=True,
    ),
}
"""What a search can minimise, two or three of them; MB are 10⁶ bytes. `error` comes first, then what it costs."""


def cost_names() -> tuple[str, ...]:
    """Return the names of all objectives but the error."""
    return tuple(name for name in OBJECTIVES if name != "error")


def other_cost_names() -> tuple[str, ...]:
    """Return the names of the costs besides parameters, which every record of a sub-network has as a field."""
    return tuple(name for name in cost_names() if name != "params")


Cost = Count | Amount
OtherCosts = Annotated[dict[str, Cost], Inline(other_cost_names)]
"""What a sub-network costs besides parameters, by the objective's name, as far as it was measured."""


def measure_costs(of: Measurable, objectives: Collection[str] = ()) -> dict[str, float]:
    """Return all costs of a sub-network by name; those that are timed only where they are objectives."""
    # What is only counted takes no time and is of use in tables; a clock is asked only where it must be.
    return {
        name: objective.measure(of)
        for name, objective in OBJECTIVES.items()
        if objective.measure is not None and (name in objectives or not objective.timed)
    }


def check_objectives(objectives: Sequence[str]) -> tuple[str, ...]:
    """Return the objectives if a search can minimise them.

    Raises:
        SearchError: there are not two or three different ones, or one is unknown.
    """
    unknown = [name for name in objectives if name not in OBJECTIVES]
    if unknown or not 2 <= len(set(objectives)) == len(objectives) <= 3:
        raise SearchError(
            f"--objectives must be two or three of {', '.join(OBJECTIVES)}, but got {','.join(objectives)!r}. "
            "Write them as error,params."
        )
    return tuple(objectives)


def main_cost(objectives: Sequence[str]) -> str:
    """Return the first cost that was minimised."""
    return next((name for name in objectives if name != "error"), "params")
