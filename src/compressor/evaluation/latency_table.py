"""How long the parts of a served model take, from which the latency of every sub-network follows without a clock.

A graph computes one thing after the other, so its time is a sum: what is outside of the encoder layers, and of each
kept layer an attention block with so many heads and a feed-forward block with so many units. Within a block time grows
nearly linearly with the members that are kept, so three sizes tell the rest by interpolation. The last layer has times
of its own, since a graph may compute its first token alone.

Parts cannot be timed by themselves as they run within a graph: a dozen small whole graphs are, and the parts are solved
for. `exporters` makes and times these graphs; here is what they are of, and what follows from their times.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressor.errors import SearchError
from compressor.network.dimensions import EncoderDimensions
from compressor.network.sub_network import SubNetwork
from compressor.records import Amount, Count, Positive, Share, Size, read_record, write_record

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TABLE_FILE = "latency_table.json"
ON_GPU = ("onnx-cuda-fp32", "onnx-cuda-fp16")
"""Runtime, provider and precision of what is served on a GPU."""
SERVED = ("onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-bf16", "openvino-int8", *ON_GPU)
PYTORCH = "pytorch"
"""Timed sub-network by sub-network; above, runtime and precision of what a table can be of."""
LATENCIES_OF = (*SERVED, PYTORCH)
_MIDDLE_LAYERS = 3
"""Before the last layer of a graph that is timed: the more there are, the less a reading's error counts."""


@dataclass(frozen=True, kw_only=True)
class LatencyKind:
    """What is timed."""

    latency_of: str
    """One of `LATENCIES_OF`."""
    threads: Count
    batch_size: Count
    """Texts that are computed at once."""
    length: Count
    """Tokens of each."""

    @property
    def provider(self) -> str:
        """The execution provider that computes it, by the name users know."""
        return "cuda" if self.latency_of in ON_GPU else "cpu"

    def __str__(self) -> str:
        threads, texts = (
            f"{number} {what}{'' if number == 1 else 's'}"
            for number, what in ((self.threads, "thread"), (self.batch_size, "text"))
        )
        return f"{self.latency_of}, {threads}, {texts} of {self.length} tokens"


@dataclass(frozen=True, kw_only=True)
class BlockTimes:
    """How long a block takes by how many of its members are kept; without members it is gone."""

    members: tuple[Size, ...]
    """Rising, from 1."""
    ms: tuple[Amount, ...]

    def __post_init__(self) -> None:
        rising = list(self.members) == sorted(set(self.members))
        if not self.members or not rising or len(self.ms) != len(self.members):
            raise ValueError("a block must have a time for each of its sizes, which rise")

    def at(self, kept: int) -> float:
        """Return milliseconds with so many members, between the nearest sizes in proportion."""
        return float(np.interp(kept, self.members, self.ms)) if kept else 0.0


@dataclass(frozen=True, kw_only=True)
class LayerTimes:
    """How long a layer takes."""

    attention: BlockTimes
    """By heads."""
    feed_forward: BlockTimes
    """By units."""

    def of(self, heads: int, units: int) -> float:
        """Return milliseconds of a layer that keeps so many heads and units."""
        return self.attention.at(heads) + self.feed_forward.at(units)


@dataclass(frozen=True, kw_only=True)
class TableCheck:
    """A graph that was timed but not used, against what the table says of it."""

    timed_ms: Positive
    predicted_ms: Amount

    @property
    def error(self) -> float:
        """By what share the prediction is too high."""
        return self.predicted_ms / self.timed_ms - 1


@dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """The times of a super-network's parts, as they are served."""

    kind: LatencyKind
    model_type: str
    """The encoder's family."""
    dimensions: EncoderDimensions
    rest_ms: Amount
    """Embeddings and task head."""
    layer: LayerTimes
    """The times of all layers but the last."""
    last_layer: LayerTimes
    shared_ms: Amount = 0.0
    """What is computed once for all attention blocks, if there is one: a bias of relative positions."""
    check: TableCheck | None = None
    cpu: str | None = None
    """On which it was measured."""
    waited: Share | None = None
    """The share of its time that the measurement waited for others on the machine."""

    def predict(self, sub_network: SubNetwork) -> float:
        """Return the median latency of a sub-network in milliseconds."""
        kept = _kept_layers(sub_network)
        outside = self.rest_ms + (self.shared_ms if sub_network.num_heads else 0.0)
        whole = sum(self.layer.of(*counts) for counts in kept[:-1])
        return outside + whole + sum(self.last_layer.of(*counts) for counts in kept[-1:])

    def describe(self) -> str:
        """Return one sentence for people."""
        said = f"latency_ms is predicted from timed parts: {self.kind}"
        if self.check is None:
            return f"{said}."
        return (
            f"{said}; a graph that was not used for it took {self.check.timed_ms:.3g} ms, predicted "
            f"{self.check.predicted_ms:.3g} ({self.check.error:+.1%})."
        )

    @classmethod
    def load(cls, path: Path) -> "LatencyTable":
        """Load a table from its file.

        Raises:
            FileError: it is not there or broken.
        """
        return read_record(path, cls, "Delete it, and it is measured again")

    def save(self, path: Path) -> Path:
        """Write the table to its file."""
        return write_record(path, self)


MeasureTable = Callable[["PreTrainedModel", "PreTrainedTokenizerBase", LatencyKind], LatencyTable]
"""How a table of a super-network is measured: `exporters.measure_latency_table`."""


def open_latency_table(
    directory: Path | None,
    kind: LatencyKind,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    dimensions: EncoderDimensions,
    measure: MeasureTable | None,
    *,
    resume: bool,
) -> LatencyTable:
    """Measure the table of a super-network and leave it in a directory.

    With `resume` one that is there is taken, so that a resumed search uses the same times.

    Raises:
        SearchError: there is none, and nothing is given to measure it.
        FileError: the table in the directory is broken.
    """
    path = None if directory is None else directory / TABLE_FILE
    # Only a table of the same model and conditions counts: times at another length or of another form do not compare.
    if resume and path is not None and path.is_file():
        table = LatencyTable.load(path)
        if (table.kind, table.model_type, table.dimensions) == (kind, model.config.model_type, dimensions):
            return table
    if measure is None:
        raise SearchError(
            f"a search by latency_ms of {kind.latency_of} must be given how a latency table is measured, but was not. "
            f"Pass measure_table=exporters.measure_latency_table, or latency_of={PYTORCH!r}."
        )
    # Before the search begins: one that is interrupted right away has measured once, and resumes with the same times.
    table = measure(model, tokenizer, kind)
    if path is not None:
        table.save(path)
    return table


def sub_networks_to_time(dimensions: EncoderDimensions) -> list[SubNetwork]:
    """Return the sub-networks whose graphs tell the times of all parts.

    Graphs of the last layer alone tell what it and the rest take; those with more layers before a whole last one what a
    layer takes: with both blocks, with attention alone, and with fewer heads or units. One whose last layer has no
    attention tells what attention blocks share.
    """
    heads, units = dimensions.num_heads, dimensions.num_units
    sizes_of_heads, sizes_of_units = _sizes(heads), _sizes(units)
    lasts = [(heads, units), (heads, 0), (0, units), (1, units), (heads, 1)]
    middles = [(heads, units), (heads, 0)]
    # The whole layer stands there already, so the largest size is left out here.
    middles += [(size, units) for size in sizes_of_heads[:-1]] + [(heads, size) for size in sizes_of_units[:-1]]
    found = [_sub_network([last], dimensions) for last in lasts]
    count = _num_middle_layers(dimensions)
    if count:
        found += [_sub_network([middle] * count + [(heads, units)], dimensions) for middle in middles]
        found.append(_sub_network([(heads, units)] * count + [(0, units)], dimensions))
    # Small encoders give some of them twice; the order stays that of the list.
    return list(dict.fromkeys(found))


def sub_network_to_check(dimensions: EncoderDimensions) -> SubNetwork:
    """Return a sub-network of uneven layers, whose time is predicted and not used."""
    heads, units = dimensions.num_heads, dimensions.num_units
    uneven = [(-(-heads // 4), -(-3 * units // 4)), (-(-3 * heads // 4), -(-units // 4))]
    count = _num_middle_layers(dimensions)
    middles = [uneven[place % 2] for place in range(count)]
    return _sub_network([*middles, (-(-heads // 2), -(-units // 2))], dimensions)


def solve_latency_table(
    kind: LatencyKind, model_type: str, dimensions: EncoderDimensions, timed: Sequence[tuple[SubNetwork, float]]
) -> LatencyTable:
    """Return the table that explains the times (ms) of sub-networks best, relative to each.

    Parts take no less than nothing, and a block no less with more members: what is solved for are the rises from one
    size to the next, by non-negative least squares.
    """
    from scipy.optimize import nnls

    heads, units = dimensions.num_heads, dimensions.num_units
    sizes = (_sizes(heads), _sizes(units), _ends(heads), _ends(units))
    times = np.array([ms for _, ms in timed])
    rows = np.array([_rises_of(sub_network, sizes) for sub_network, _ in timed])
    # Each equation is divided by its time, so that small graphs count as much as large ones: relative errors.
    rises, _ = nnls(rows / times[:, None], np.ones(len(times)))
    # The first two unknowns are the rest and what attention blocks share.
    parts = np.split(rises[2:], np.cumsum([len(size) for size in sizes])[:-1])
    blocks = [
        BlockTimes(members=size, ms=tuple(np.cumsum(part).tolist())) for size, part in zip(sizes, parts, strict=True)
    ]
    return LatencyTable(
        kind=kind,
        model_type=model_type,
        dimensions=dimensions,
        rest_ms=float(rises[0]),
        shared_ms=float(rises[1]),
        layer=LayerTimes(attention=blocks[0], feed_forward=blocks[1]),
        last_layer=LayerTimes(attention=blocks[2], feed_forward=blocks[3]),
    )


def _rises_of(sub_network: SubNetwork, sizes: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Return how often each rise is in a sub-network's time.

    The rest, what attention blocks share, then of the four blocks from size to size.
    """
    kept = _kept_layers(sub_network)
    whole = [np.zeros(len(size)) for size in sizes]
    for place, counts in enumerate(kept):
        first = 2 if place == len(kept) - 1 else 0
        for block, count in enumerate(counts, start=first):
            whole[block] += _rises_at(count, sizes[block])
    return np.concatenate([[1.0, float(sub_network.num_heads > 0)], *whole])


def _rises_at(count: int, sizes: tuple[int, ...]) -> np.ndarray:
    if not count:
        return np.zeros(len(sizes))
    places = np.arange(len(sizes))
    reached = float(np.interp(count, sizes, places))  # 1.5 is half-way between the second size and the third
    return np.where(places == 0, 1.0, np.clip(reached - places + 1, 0.0, 1.0))


def _kept_layers(sub_network: SubNetwork) -> list[tuple[int, int]]:
    """Return the numbers of heads and units of the layers that are left."""
    counts = [(len(heads), len(units)) for heads, units in zip(sub_network.heads, sub_network.units, strict=True)]
    return [count for count in counts if any(count)]


def _sub_network(counts: Sequence[tuple[int, int]], dimensions: EncoderDimensions) -> SubNetwork:
    """Return the sub-network whose first layers keep so many of the first heads and units, and that has no others."""
    filled = [*counts, *[(0, 0)] * (dimensions.num_layers - len(counts))]
    return SubNetwork(*(tuple(tuple(range(count)) for count in one) for one in zip(*filled, strict=True)))


def _num_middle_layers(dimensions: EncoderDimensions) -> int:
    return min(_MIDDLE_LAYERS, dimensions.num_layers - 1)


def _sizes(whole: int) -> tuple[int, ...]:
    return tuple(sorted({1, -(-whole // 2), whole}))


def _ends(whole: int) -> tuple[int, ...]:
    return tuple(sorted({1, whole}))
