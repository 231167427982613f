"""The search spaces: which sub-networks exist and how one is drawn (Klein et al., TMLR 2024, section 3, and others).

A space is one small class: its Syne Tune config space, its size, a seeded draw, and the way from a config to a
sub-network and back. "The first k" heads or units are the first in the super-network's own order. To add a space,
write its class and list it in `SEARCH_SPACES`; the contract tests take it from there.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from compressor.dimensions import EncoderDimensions
from compressor.errors import SearchSpaceError
from compressor.sub_network import SubNetwork

Config = dict[str, Any]
"""A point of a search space as the search methods see it: JSON values by name."""


@dataclass(frozen=True)
class SearchSpace(ABC):
    """A set of sub-networks of an encoder of given sizes, with a way to draw one."""

    dimensions: EncoderDimensions
    layer_order: tuple[int, ...] = ()
    """All layers, the most important first, for spaces that drop the others first."""

    name: ClassVar[str]
    orders_layers: ClassVar[bool] = False
    """Whether `layer_order` decides which layers go."""

    @abstractmethod
    def config_space(self) -> dict[str, Any]:
        """The space in Syne Tune's terms: a domain per config key."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many different sub-networks the space holds."""

    @abstractmethod
    def draw_config(self, rng: np.random.Generator) -> Config:
        """The config of a random sub-network; its randomness comes from `rng` alone."""

    @abstractmethod
    def mutate_config(self, config: Config, rng: np.random.Generator) -> Config:
        """A config that differs in one key, by a small step or a large one."""

    @abstractmethod
    def to_vector(self, config: Config) -> np.ndarray:
        """A config as coordinates in 0..1, shape [dimensions], for methods that compute with it."""

    @abstractmethod
    def from_vector(self, vector: np.ndarray) -> Config:
        """The config nearest to coordinates made by `to_vector`."""

    @abstractmethod
    def from_config(self, config: Mapping[str, Any]) -> SubNetwork:
        """The sub-network of a config.

        Raises:
            SearchSpaceError: a key is missing or a value lies outside of the space.
        """

    @abstractmethod
    def to_config(self, sub_network: SubNetwork) -> Config:
        """The config of a sub-network; `from_config` gives the sub-network back.

        Raises:
            SearchSpaceError: the sub-network lies outside of the space.
        """

    @property
    @abstractmethod
    def smallest(self) -> SubNetwork:
        """The sub-network that sandwich training always updates."""

    @property
    def largest(self) -> SubNetwork:
        """The largest sub-network of the space: the super-network wherever the space holds it."""
        return self._first(*self._all)

    @property
    def middle(self) -> SubNetwork:
        """Half of everything, rounded up: the third point of every search's initial design."""
        return self._first(*((count + 1) // 2 for count in self._all))

    def draw(self, rng: np.random.Generator) -> SubNetwork:
        """A random sub-network; its randomness comes from `rng` alone."""
        return self.from_config(self.draw_config(rng))

    def draw_trainable(self, rng: np.random.Generator) -> SubNetwork:
        """A random sub-network that can learn; its randomness comes from `rng` alone.

        As a share of as many whole layers as it has, it keeps at least a sixth of the heads, and a 24th of the units
        if any. So one head is left: without any the first token, which the task head reads, never sees the text.
        """
        _, num_heads, num_units = self._all
        while True:
            drawn = self.draw(rng)
            enough_heads = 6 * drawn.num_heads >= num_heads * drawn.num_layers > 0
            if enough_heads and (not drawn.num_units or 24 * drawn.num_units >= num_units * drawn.num_layers):
                return drawn

    def _first(self, num_layers: int, num_heads: int, num_units: int) -> SubNetwork:
        """The first heads and units of the layers that the space drops last."""
        return self._of_layers(range(num_layers), num_heads, num_units)

    def _of_layers(self, layers: Sequence[int], num_heads: int, num_units: int) -> SubNetwork:
        heads, units, kept = tuple(range(num_heads)), tuple(range(num_units)), set(layers)
        return SubNetwork(
            heads=tuple(heads if layer in kept else () for layer in range(self.dimensions.num_layers)),
            units=tuple(units if layer in kept else () for layer in range(self.dimensions.num_layers)),
        )

    @property
    def _all(self) -> tuple[int, int, int]:
        return self.dimensions.num_layers, self.dimensions.num_heads, self.dimensions.num_units

    def _values(self, config: Mapping[str, Any], ranges: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """The integers of a config, checked against the allowed values of each key."""
        wrong = [
            f"{key} must be {_describe(allowed)}, but got {config.get(key)!r}"
            for key, allowed in ranges.items()
            if not isinstance(config.get(key), int | np.integer)
            or isinstance(config[key], bool)  # true is 1 to Python
            or config[key] not in allowed
        ]
        unknown = sorted(set(config) - set(ranges))
        if unknown:
            wrong.append(f"keys must be {', '.join(list(ranges)[:6])}, but got {', '.join(unknown)} too")
        if wrong:
            raise SearchSpaceError(f"in the search space {self.name} {'; '.join(wrong)}. Correct the config.")
        return {key: int(config[key]) for key in ranges}

    def _outside(self, sub_network: SubNetwork, law: str) -> SearchSpaceError:
        return SearchSpaceError(
            f"a sub-network of the search space {self.name} must {law}, but sub-network {sub_network.hash} does not. "
            "Choose a wider space, such as large."
        )


class IntegerSpace(SearchSpace):
    """A space whose configs are a few whole numbers."""

    @property
    @abstractmethod
    def ranges(self) -> dict[str, Sequence[int]]:
        """The allowed values of each key, ascending."""

    def config_space(self) -> dict[str, Any]:
        return _integer_domains(self.ranges)

    def draw_config(self, rng: np.random.Generator) -> Config:
        return _draw_independently(self.ranges, rng)

    def mutate_config(self, config: Config, rng: np.random.Generator) -> Config:
        keys = [key for key, allowed in self.ranges.items() if len(allowed) > 1]
        key = keys[int(rng.integers(len(keys)))]
        allowed = self.ranges[key]
        position, last = allowed.index(config[key]), len(allowed) - 1
        if rng.random() < 0.5:
            step = max(1, round(abs(rng.normal(0.0, 0.1)) * last))
            moved = position + (step if rng.random() < 0.5 else -step)
            moved = min(max(moved, 0), last)
        else:
            moved = int(rng.integers(last))
            moved += moved >= position
        if moved == position:  # pushed against an end: step away from it
            moved = position + 1 if position == 0 else position - 1
        return {**config, key: int(allowed[moved])}

    def to_vector(self, config: Config) -> np.ndarray:
        positions = [allowed.index(config[key]) / max(1, len(allowed) - 1) for key, allowed in self.ranges.items()]
        return np.asarray(positions, dtype=np.float64)

    def from_vector(self, vector: np.ndarray) -> Config:
        pairs = zip(self.ranges.items(), np.clip(vector, 0.0, 1.0), strict=True)
        return {key: int(allowed[round(float(x) * (len(allowed) - 1))]) for (key, allowed), x in pairs}


class SmallSpace(IntegerSpace):
    """`num_layers` in 0..L (the first ones), `num_heads` in 1..H, `num_units` in 1..U, the same in every kept layer."""

    name = "small"

    @property
    def allowed_heads(self) -> Sequence[int]:
        """The head counts a kept layer can have."""
        return range(1, self.dimensions.num_heads + 1)

    @property
    def ranges(self) -> dict[str, Sequence[int]]:
        return {
            "num_layers": range(self.dimensions.num_layers + 1),
            "num_heads": self.allowed_heads,
            "num_units": range(1, self.dimensions.num_units + 1),
        }

    @property
    def size(self) -> int:
        return self.dimensions.num_layers * len(self.allowed_heads) * self.dimensions.num_units + 1

    def from_config(self, config: Mapping[str, Any]) -> SubNetwork:
        return self._first(**self._values(config, self.ranges))

    def to_config(self, sub_network: SubNetwork) -> Config:
        kept = sub_network.num_layers
        heads, units = (max(map(len, sets)) if kept else 1 for sets in (sub_network.heads, sub_network.units))
        config = {"num_layers": kept, "num_heads": heads, "num_units": units}
        if heads not in self.allowed_heads or not units or sub_network != self._first(**config):
            layers = "most important" if self.orders_layers else "first"
            raise self._outside(sub_network, f"keep the first heads and units, equally many, of the {layers} layers")
        return config

    @property
    def smallest(self) -> SubNetwork:
        return self._first(1, 1, 1)


class SmallPowerOfTwoSpace(SmallSpace):
    """`small` with a power of two of heads; the super-network itself is outside where H is not one."""

    name = "small_power2"

    @property
    def allowed_heads(self) -> Sequence[int]:
        return [2**power for power in range(self.dimensions.num_heads.bit_length())]

    @property
    def largest(self) -> SubNetwork:
        return self._first(self.dimensions.num_layers, self.allowed_heads[-1], self.dimensions.num_units)

    @property
    def middle(self) -> SubNetwork:
        layers, half, units = ((count + 1) // 2 for count in self._all)
        return self._first(layers, max(heads for heads in self.allowed_heads if heads <= half), units)


@dataclass(frozen=True)
class SmallOrderedSpace(SmallSpace):
    """`small`, its layers kept by importance: the least important one is dropped first, wherever it is.

    Task heads read the first token of the last layer, so keeping the first layers cuts off those that write it. Where
    `layer_order` is not known, the last layer counts as the most important one, then come the first ones.
    """

    name = "small_ordered"
    orders_layers = True

    def __post_init__(self) -> None:
        last = self.dimensions.num_layers - 1
        if not self.layer_order:
            object.__setattr__(self, "layer_order", (last, *range(last)))
        if sorted(self.layer_order) != list(range(last + 1)):
            raise SearchSpaceError(
                f"an order of layers must be a permutation of 0..{last}, but got {self.layer_order}. Search again."
            )

    def _first(self, num_layers: int, num_heads: int, num_units: int) -> SubNetwork:
        return self._of_layers(self.layer_order[:num_layers], num_heads, num_units)


class MediumSpace(IntegerSpace):
    """`num_heads_i` in 0..H and `num_units_i` in 0..U for every layer i: the first ones."""

    name = "medium"

    @property
    def ranges(self) -> dict[str, Sequence[int]]:
        dimensions = self.dimensions
        heads: dict[str, Sequence[int]] = {
            f"num_heads_{i}": range(dimensions.num_heads + 1) for i in range(dimensions.num_layers)
        }
        units = {f"num_units_{i}": range(dimensions.num_units + 1) for i in range(dimensions.num_layers)}
        return heads | units

    @property
    def size(self) -> int:
        return int(((self.dimensions.num_heads + 1) * (self.dimensions.num_units + 1)) ** self.dimensions.num_layers)

    def from_config(self, config: Mapping[str, Any]) -> SubNetwork:
        values = self._values(config, self.ranges)
        layers = range(self.dimensions.num_layers)
        return SubNetwork(
            heads=tuple(tuple(range(values[f"num_heads_{i}"])) for i in layers),
            units=tuple(tuple(range(values[f"num_units_{i}"])) for i in layers),
        )

    def to_config(self, sub_network: SubNetwork) -> Config:
        if any(kept and kept[-1] + 1 != len(kept) for kept in sub_network.heads + sub_network.units):
            raise self._outside(sub_network, "keep the first heads and units of each layer")
        heads = {f"num_heads_{i}": len(kept) for i, kept in enumerate(sub_network.heads)}
        return heads | {f"num_units_{i}": len(kept) for i, kept in enumerate(sub_network.units)}

    @property
    def smallest(self) -> SubNetwork:
        return self._first(self.dimensions.num_layers, 1, 1)


class LayerSpace(IntegerSpace):
    """Every layer kept whole or dropped; drawn as how many, then which, so that all sizes come up."""

    name = "layer"

    @property
    def _keys(self) -> list[str]:
        return [f"layer_{i}" for i in range(self.dimensions.num_layers)]

    @property
    def ranges(self) -> dict[str, Sequence[int]]:
        return dict.fromkeys(self._keys, range(2))

    @property
    def size(self) -> int:
        return int(2 ** len(self._keys))

    def draw_config(self, rng: np.random.Generator) -> Config:
        return dict(zip(self._keys, draw_subset(len(self._keys), rng).astype(int).tolist(), strict=True))

    def from_config(self, config: Mapping[str, Any]) -> SubNetwork:
        values = list(self._values(config, self.ranges).values())
        return self._whole_blocks(values, values)

    def to_config(self, sub_network: SubNetwork) -> Config:
        kept = [int(bool(heads)) for heads in sub_network.heads]
        if sub_network != self._whole_blocks(kept, kept):
            raise self._outside(sub_network, "keep each layer whole or not at all")
        return dict(zip(self._keys, kept, strict=True))

    @property
    def smallest(self) -> SubNetwork:
        return self._first(0, 0, 0)

    @property
    def middle(self) -> SubNetwork:
        return self._first((self._all[0] + 1) // 2, *self._all[1:])

    def _whole_blocks(self, attention: Sequence[int], feed_forward: Sequence[int]) -> SubNetwork:
        heads, units = tuple(range(self.dimensions.num_heads)), tuple(range(self.dimensions.num_units))
        return SubNetwork(
            heads=tuple(heads if kept else () for kept in attention),
            units=tuple(units if kept else () for kept in feed_forward),
        )


class SublayerSpace(LayerSpace):
    """Every attention block and every feed-forward block kept whole or dropped; drawn as how many, then which."""

    name = "sublayer"

    @property
    def _keys(self) -> list[str]:
        layers = range(self.dimensions.num_layers)
        return [f"attention_{i}" for i in layers] + [f"feed_forward_{i}" for i in layers]

    def from_config(self, config: Mapping[str, Any]) -> SubNetwork:
        values = list(self._values(config, self.ranges).values())
        return self._whole_blocks(values[: self.dimensions.num_layers], values[self.dimensions.num_layers :])

    def to_config(self, sub_network: SubNetwork) -> Config:
        attention = [int(bool(heads)) for heads in sub_network.heads]
        feed_forward = [int(bool(units)) for units in sub_network.units]
        if sub_network != self._whole_blocks(attention, feed_forward):
            raise self._outside(sub_network, "keep each attention and feed-forward block whole or not at all")
        return dict(zip(self._keys, attention + feed_forward, strict=True))


class LargeSpace(SearchSpace):
    """Every head and every unit kept or dropped; drawn as how many, then which, over all layers together.

    A config holds two subsets as hexadecimal bit strings ("heads" and "units", layer after layer), which stays small
    and fast where a domain per unit would not: BERT-base has 37,008 of them.
    """

    name = "large"

    @property
    def _lengths(self) -> dict[str, int]:
        dimensions = self.dimensions
        return {
            "heads": dimensions.num_layers * dimensions.num_heads,
            "units": dimensions.num_layers * dimensions.num_units,
        }

    def config_space(self) -> dict[str, Any]:
        from compressor.subset_domain import SubsetDomain

        return {key: SubsetDomain(length) for key, length in self._lengths.items()}

    @property
    def size(self) -> int:
        return int(2 ** sum(self._lengths.values()))

    def draw_config(self, rng: np.random.Generator) -> Config:
        return {key: bits_to_text(draw_subset(length, rng)) for key, length in self._lengths.items()}

    def mutate_config(self, config: Config, rng: np.random.Generator) -> Config:
        key = ("heads", "units")[int(rng.integers(2))]
        bits = text_to_bits(config[key], self._lengths[key]).copy()
        share = (0.0, 0.01, 0.05, 0.2)[int(rng.integers(4))]
        count = max(1, round(share * len(bits)))
        kept, dropped = np.flatnonzero(bits), np.flatnonzero(~bits)
        grow, shrink = ((True, False), (False, True), (True, True))[int(rng.integers(3))]  # or swap
        if grow or not kept.size:
            bits[rng.permutation(dropped)[:count]] = True
        if shrink or not dropped.size:
            bits[rng.permutation(kept)[:count]] = False
        return {**config, key: bits_to_text(bits)}

    def to_vector(self, config: Config) -> np.ndarray:
        return np.concatenate([text_to_bits(config[key], length) for key, length in self._lengths.items()]).astype(
            float
        )

    def from_vector(self, vector: np.ndarray) -> Config:
        heads, units = np.split(vector > 0.5, [self._lengths["heads"]])
        return {"heads": bits_to_text(heads), "units": bits_to_text(units)}

    def from_config(self, config: Mapping[str, Any]) -> SubNetwork:
        if set(config) != {"heads", "units"}:
            raise SearchSpaceError(
                f"in the search space large keys must be heads and units, but got {', '.join(config)}. "
                "Correct the config."
            )
        sets = {}
        for key, length in self._lengths.items():
            rows = text_to_bits(config[key], length).reshape(self.dimensions.num_layers, -1)
            sets[key] = tuple(tuple(np.flatnonzero(row).tolist()) for row in rows)
        return SubNetwork(**sets)

    def to_config(self, sub_network: SubNetwork) -> Config:
        sub_network.check(self.dimensions)
        config = {}
        for key, kept_sets in (("heads", sub_network.heads), ("units", sub_network.units)):
            bits = np.zeros((self.dimensions.num_layers, self._lengths[key] // self.dimensions.num_layers), dtype=bool)
            for row, kept in zip(bits, kept_sets, strict=True):
                row[list(kept)] = True
            config[key] = bits_to_text(bits.ravel())
        return config

    @property
    def smallest(self) -> SubNetwork:
        return self._first(1, 1, 1)


def create_search_space(name: str, dimensions: EncoderDimensions, layer_order: Sequence[int] = ()) -> SearchSpace:
    """The search space of that name over an encoder of these sizes, whose layers have this order of importance.

    Raises:
        SearchSpaceError: there is no such space; the message lists those there are.
    """
    if name not in SEARCH_SPACES:
        raise SearchSpaceError(
            f"the search space must be one of {', '.join(SEARCH_SPACES)}, but got {name!r}. Correct --search-space."
        )
    return SEARCH_SPACES[name](dimensions, tuple(layer_order))


def draw_subset(length: int, rng: np.random.Generator) -> np.ndarray:
    """A random subset as `length` booleans: first how many, uniformly, then which ones."""
    bits = np.zeros(length, dtype=bool)
    bits[rng.permutation(length)[: rng.integers(length + 1)]] = True
    return bits


def bits_to_text(bits: np.ndarray) -> str:
    """Booleans as hexadecimal text, eight to two digits."""
    return np.packbits(bits).tobytes().hex()


def text_to_bits(text: Any, length: int) -> np.ndarray:
    """The first `length` booleans of a text made by `bits_to_text`.

    Raises:
        SearchSpaceError: the text does not hold exactly that many.
    """
    digits = 2 * ((length + 7) // 8)
    try:
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8)).astype(bool)
    except (TypeError, ValueError):
        bits = np.zeros(0, dtype=bool)
    if len(bits) != digits * 4 or bits[length:].any():
        raise SearchSpaceError(
            f"a subset of {length} must be {digits} hexadecimal digits with no bit set beyond the {length}th, but got "
            f"{str(text)[:40]!r}. Correct the config."
        )
    return bits[:length]


def _draw_independently(ranges: Mapping[str, Sequence[int]], rng: np.random.Generator) -> Config:
    return {key: int(allowed[int(rng.integers(len(allowed)))]) for key, allowed in ranges.items()}


def _integer_domains(ranges: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    from syne_tune.config_space import ordinal, randint

    return {
        key: randint(allowed[0], allowed[-1]) if isinstance(allowed, range) else ordinal(list(allowed), kind="equal")
        for key, allowed in ranges.items()
    }


def _describe(allowed: Sequence[int]) -> str:
    return f"in {allowed[0]}..{allowed[-1]}" if isinstance(allowed, range) else f"one of {list(allowed)}"


SEARCH_SPACES: dict[str, type[SearchSpace]] = {
    space.name: space
    for space in (
        SmallOrderedSpace,
        SmallSpace,
        SmallPowerOfTwoSpace,
        MediumSpace,
        LayerSpace,
        SublayerSpace,
        LargeSpace,
    )
}
