"""A sub-network: which attention heads and which feed-forward units are kept in each layer.

The written form is JSON with index sets as ranges ("0-3,7"), so that a file of a BERT-base sub-network stays readable.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from compressor.errors import SubNetworkError
from compressor.network.dimensions import EncoderDimensions

_MAX_INDEX = 1_000_000
"""No encoder has so many units per layer: a file that says so is broken."""

IndexSets = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class SubNetwork:
    """The kept head and unit indices of every layer of the super-network, ascending; an empty set drops the block."""

    heads: IndexSets
    """Kept attention heads, one ascending tuple per layer of the super-network."""
    units: IndexSets
    """Kept feed-forward units, one ascending tuple per layer of the super-network."""

    def __post_init__(self) -> None:
        if len(self.heads) != len(self.units):
            raise SubNetworkError(
                f"a sub-network must name heads and units for the same layers, but got {len(self.heads)} layers of "
                f"heads and {len(self.units)} of units. Give one set of each per layer."
            )
        for name, sets in (("heads", self.heads), ("units", self.units)):
            for layer, kept in enumerate(sets):
                # By NumPy: a super-network may have 10⁵ units, and searches make 10⁵ sub-networks.
                steps = np.diff(np.asarray(kept, dtype=np.int64))
                if (kept and kept[0] < 0) or (steps.size and steps.min() < 1):
                    raise SubNetworkError(
                        f"{name} of layer {layer} must be different, ascending and not negative, but got "
                        f"{_shorten(kept)}. Sort them and drop the repeated ones."
                    )

    @property
    def num_layers(self) -> int:
        """Layers that keep at least one head or unit."""
        return sum(1 for heads, units in zip(self.heads, self.units, strict=True) if heads or units)

    @property
    def num_heads(self) -> int:
        """Kept heads over all layers."""
        return sum(map(len, self.heads))

    @property
    def num_units(self) -> int:
        """Kept units over all layers."""
        return sum(map(len, self.units))

    @cached_property
    def hash(self) -> str:
        """A content hash of 16 hexadecimal digits: equal if and only if the same heads and units are kept."""
        # Of the ranges, not of the indices: files, journals and runs of all versions know sub-networks by this hash.
        text = json.dumps([_to_ranges_all(self.heads), _to_ranges_all(self.units)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def check(self, dimensions: EncoderDimensions) -> "SubNetwork":
        """Raise unless an encoder of these sizes has it; return the sub-network itself.

        Raises:
            SubNetworkError: the number of layers differs or an index is too large; all wrong layers are named.
        """
        next_step = 'This sub-network was made for another encoder (see "dimensions").'
        if len(self.heads) != dimensions.num_layers:
            raise SubNetworkError(
                f"a sub-network must name {dimensions.num_layers} layers, but got {len(self.heads)}. {next_step}"
            )
        # Gathered, so that one message names all wrong layers.
        problems = []
        for name, sets, size in (
            ("heads", self.heads, dimensions.num_heads),
            ("units", self.units, dimensions.num_units),
        ):
            for layer, kept in enumerate(sets):
                # Ascending, so the last one is the largest.
                if kept and kept[-1] >= size:
                    wrong = [index for index in kept if index >= size]
                    problems.append(f"{name} of layer {layer} must lie in 0..{size - 1}, but got {_shorten(wrong)}")
        if problems:
            raise SubNetworkError(f"{'; '.join(problems)}. {next_step}")
        return self

    def to_json(self, dimensions: EncoderDimensions) -> dict[str, Any]:
        """Return the written form: sizes of the super-network and index sets as ranges."""
        return {
            "dimensions": dimensions.to_json(),
            "heads": _to_ranges_all(self.heads),
            "units": _to_ranges_all(self.units),
            "hash": self.hash,
        }

    @classmethod
    def from_json(cls, value: Any, dimensions: EncoderDimensions) -> "SubNetwork":
        """Return the sub-network of a written form, checked against the encoder it is wanted for.

        Raises:
            SubNetworkError: the form is broken or was made for an encoder of other sizes.
        """
        if not isinstance(value, dict) or not {"heads", "units"} <= value.keys():
            raise SubNetworkError(
                'a sub-network file must be a JSON object with "heads" and "units", but got '
                f"{_shorten(list(value)) if isinstance(value, dict) else type(value).__name__}. "
                "Use a sub_network.json as this tool writes it."
            )
        # A file that a user wrote by hand may leave dimensions and hash out.
        made_for = value.get("dimensions", dimensions.to_json())
        if made_for != dimensions.to_json():
            raise SubNetworkError(
                f"a sub-network must be made for an encoder of the sizes {dimensions.to_json()}, but got {made_for}. "
                "Use the super-network it was made for."
            )
        sub_network = cls(heads=_from_ranges_all(value["heads"]), units=_from_ranges_all(value["units"]))
        # A file that was edited, or put together of two, may hold legal indices; only the hash tells.
        if value.get("hash", sub_network.hash) != sub_network.hash:
            raise SubNetworkError(
                f"a sub-network file must have the hash of its content, {sub_network.hash}, but says {value['hash']}. "
                "It was changed: make it again."
            )
        return sub_network.check(dimensions)


@dataclass(frozen=True, kw_only=True)
class WrittenSubNetwork:
    """A sub-network as JSON files hold it, with the sizes of the super-network that it is of."""

    dimensions: EncoderDimensions
    heads: tuple[str, ...]
    """Kept heads of each layer as ranges."""
    units: tuple[str, ...]
    hash: str | None = None

    @classmethod
    def of(cls, sub_network: SubNetwork, dimensions: EncoderDimensions) -> "WrittenSubNetwork":
        """Return the written form of a sub-network."""
        return cls(
            dimensions=dimensions,
            heads=tuple(_to_ranges_all(sub_network.heads)),
            units=tuple(_to_ranges_all(sub_network.units)),
            hash=sub_network.hash,
        )

    def read(self) -> SubNetwork:
        """Return the sub-network.

        Raises:
            SubNetworkError: it is none of an encoder of these sizes, or has another hash.
        """
        written: dict[str, Any] = {"heads": list(self.heads), "units": list(self.units)}
        if self.hash is not None:
            written["hash"] = self.hash
        return SubNetwork.from_json(written, self.dimensions)


@cache
def first_members(count: int) -> tuple[int, ...]:
    """Return the indices 0 to count - 1, the same objects each time: else 10⁵ sub-networks would fill the memory."""
    # A prefix of a cached power of two: its integers are the same objects, only the tuple of pointers is new.
    return tuple(range(count)) if count.bit_count() == 1 else first_members(1 << count.bit_length())[:count]


def full_sub_network(dimensions: EncoderDimensions) -> SubNetwork:
    """Return the super-network itself: every head and unit of every layer."""
    heads, units = first_members(dimensions.num_heads), first_members(dimensions.num_units)
    return SubNetwork(heads=(heads,) * dimensions.num_layers, units=(units,) * dimensions.num_layers)


def keep_layers(sub_network: SubNetwork, layers: Collection[int]) -> SubNetwork:
    """Return a sub-network without all layers but these."""
    heads, units = (
        tuple(members if layer in layers else () for layer, members in enumerate(sets))
        for sets in (sub_network.heads, sub_network.units)
    )
    return SubNetwork(heads=heads, units=units)


def to_ranges(indices: Iterable[int]) -> str:
    """Return ascending indices as text, runs written as ranges: (0, 1, 2, 7) becomes "0-2,7"."""
    array = np.asarray(list(indices), dtype=np.int64)
    if not array.size:
        return ""
    # A range ends where the next index is not its successor.
    breaks = np.flatnonzero(np.diff(array) != 1)
    starts = array[np.concatenate(([0], breaks + 1))].tolist()
    ends = array[np.concatenate((breaks, [array.size - 1]))].tolist()
    return ",".join(f"{start}" if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True))


def from_ranges(text: str) -> tuple[int, ...]:
    """Return the indices of a text made by `to_ranges`.

    Raises:
        SubNetworkError: the text has another form.
    """
    indices: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        # `partition` gives "3-" an empty end too, as it does "3".
        wellformed = first.isdecimal() and (last.isdecimal() or not last) and not part.endswith("-")
        if not wellformed or not int(first) <= int(last or first) < _MAX_INDEX:
            raise SubNetworkError(f'index ranges must look like "0-3,7", but got {text!r}. Correct the file.')
        indices.extend(range(int(first), int(last or first) + 1))
    return tuple(indices)


def _to_ranges_all(sets: IndexSets) -> list[str]:
    return [to_ranges(kept) for kept in sets]


def _from_ranges_all(texts: Any) -> IndexSets:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise SubNetworkError(f'index sets must be a list of texts like "0-3,7", but got {texts!r}. Correct the file.')
    return tuple(map(from_ranges, texts))


def _shorten(values: Sequence[Any], limit: int = 8) -> str:
    shown = ", ".join(map(str, values[:limit]))
    return f"[{shown}, …]" if len(values) > limit else f"[{shown}]"
