"""What a search space is, and the spaces whose configs are a few whole numbers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from compressor.errors import SearchSpaceError
from compressor.network.dimensions import EncoderDimensions
from compressor.network.sub_network import SubNetwork, first_members

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
    measures_blocks: ClassVar[bool] = False
    """Whether a search begins with what the blocks of the super-network are worth (`evaluation/blocks.py`)."""

    @abstractmethod
    def config_space(self) -> dict[str, Any]:
        """Return the space in Syne Tune's terms: a domain per config key."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many different sub-networks the space holds."""

    @abstractmethod
    def draw_config(self, rng: np.random.Generator) -> Config:
        """Return the config of a random sub-network; its randomness comes from `rng` alone."""

    @abstractmethod
    def mutate_config(self, config: Config, rng: np.random.Generator) -> Config:
        """Return a neighbour of a config: one thing of it differs, by a small step or a large one."""

    @abstractmethod
    def to_vector(self, config: Config) -> np.ndarray:
        """Return a config as coordinates in 0..1, shape [dimensions], for methods that compute with it."""

    @abstractmethod
    def from_vector(self, vector: np.ndarray) -> Config:
        """Return the config nearest to coordinates made by `to_vector`."""

    @abstractmethod
    def from_config(self, config: Mapping[str, Any]) -> SubNetwork:
        """Return the sub-network of a config.

        Raises:
            SearchSpaceError: a key is missing or a value lies outside of the space.
        """

    @abstractmethod
    def to_config(self, sub_network: SubNetwork) -> Config:
        """Return the config of a sub-network; `from_config` gives the sub-network back.

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
        """Return a random sub-network; its randomness comes from `rng` alone."""
        return self.from_config(self.draw_config(rng))

    def draw_trainable(self, rng: np.random.Generator) -> SubNetwork:
        """Return a random sub-network that can learn; its randomness comes from `rng` alone.

        As a share of as many whole layers as it has, it keeps at least a sixth of the heads, and a 24th of the units
        if any. So one head is left: without any the first token, which the task head reads, never sees the text.
        """
        _, num_heads, num_units = self._all
        # Drawn again until it fits, rather than clipped: clipping would draw the bounds more often than anything else.
        while True:
            drawn = self.draw(rng)
            # a sixth of the heads, a 24th of the units: see the docstring
            enough_heads = 6 * drawn.num_heads >= num_heads * drawn.num_layers > 0
            if enough_heads and (not drawn.num_units or 24 * drawn.num_units >= num_units * drawn.num_layers):
                return drawn

    def _first(self, num_layers: int, num_heads: int, num_units: int) -> SubNetwork:
        """Return the first heads and units of the layers that the space drops last."""
        return self._of_layers(range(num_layers), num_heads, num_units)

    def _of_layers(self, layers: Sequence[int], num_heads: int, num_units: int) -> SubNetwork:
        heads, units, kept = first_members(num_heads), first_members(num_units), set(layers)
        return SubNetwork(
            heads=tuple(heads if layer in kept else () for layer in range(self.dimensions.num_layers)),
            units=tuple(units if layer in kept else () for layer in range(self.dimensions.num_layers)),
        )

    @property
    def _all(self) -> tuple[int, int, int]:
        return self.dimensions.num_layers, self.dimensions.num_heads, self.dimensions.num_units

    def _values(self, config: Mapping[str, Any], ranges: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Return the integers of a config, checked against the allowed values of each key."""
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
        # A key of one value cannot change.
        keys = [key for key, allowed in self.ranges.items() if len(allowed) > 1]
        key = keys[int(rng.integers(len(keys)))]
        allowed = self.ranges[key]
        position, last = allowed.index(config[key]), len(allowed) - 1
        if rng.random() < 0.5:
            # A tenth of the range is one standard deviation of a small step.
            step = max(1, round(abs(rng.normal(0.0, 0.1)) * last))
            moved = position + (step if rng.random() < 0.5 else -step)
            moved = min(max(moved, 0), last)
        else:
            moved = int(rng.integers(last))
            # A draw from all other positions: those from the present one on move up by one.
            moved += moved >= position
        if moved == position:  # pushed against an end: step away from it
            moved = position + 1 if position == 0 else position - 1
        return {**config, key: int(allowed[moved])}

    def to_vector(self, config: Config) -> np.ndarray:
        # Equal steps from 0 to 1 whatever the values are; a key of one value lies at 0.
        positions = [allowed.index(config[key]) / max(1, len(allowed) - 1) for key, allowed in self.ranges.items()]
        return np.asarray(positions, dtype=np.float64)

    def from_vector(self, vector: np.ndarray) -> Config:
        pairs = zip(self.ranges.items(), np.clip(vector, 0.0, 1.0), strict=True)
        return {key: int(allowed[round(float(x) * (len(allowed) - 1))]) for (key, allowed), x in pairs}


def _draw_independently(ranges: Mapping[str, Sequence[int]], rng: np.random.Generator) -> Config:
    return {key: int(allowed[int(rng.integers(len(allowed)))]) for key, allowed in ranges.items()}


def _integer_domains(ranges: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    from syne_tune.config_space import ordinal, randint

    # Ranges of numbers, and lists such as powers of two, whose places count as equally far apart.
    return {
        key: randint(allowed[0], allowed[-1]) if isinstance(allowed, range) else ordinal(list(allowed), kind="equal")
        for key, allowed in ranges.items()
    }


def _describe(allowed: Sequence[int]) -> str:
    return f"in {allowed[0]}..{allowed[-1]}" if isinstance(allowed, range) else f"one of {list(allowed)}"
