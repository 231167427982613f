"""The space of a number of heads and a number of units for each layer (Klein et al., TMLR 2024, section 3)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compressor.network.sub_network import SubNetwork, first_members
from compressor.spaces.small import SmallOrderedSpace
from compressor.spaces.space import Config, IntegerSpace

_ALIKE = 0.85
"""The share of mutations that change all kept layers alike; the others change one block. Sub-networks that were trained
with shared weights gain little by unlike widths, and one block moves little: with half of each, 60 evaluations found
worse fronts (`benchmarks/LOG.md`)."""


class MediumSpace(IntegerSpace):
    """`num_heads_i` in 0..H and `num_units_i` in 0..U for every layer i: the first ones."""

    name = "medium"
    measures_blocks = True

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
            heads=tuple(first_members(values[f"num_heads_{i}"]) for i in layers),
            units=tuple(first_members(values[f"num_units_{i}"]) for i in layers),
        )

    def to_config(self, sub_network: SubNetwork) -> Config:
        # Members are ascending: they are the first k just where the last one is k − 1.
        if any(kept and kept[-1] + 1 != len(kept) for kept in sub_network.heads + sub_network.units):
            raise self._outside(sub_network, "keep the first heads and units of each layer")
        heads = {f"num_heads_{i}": len(kept) for i, kept in enumerate(sub_network.heads)}
        return heads | {f"num_units_{i}": len(kept) for i, kept in enumerate(sub_network.units)}

    @property
    def smallest(self) -> SubNetwork:
        return self._first(self.dimensions.num_layers, 1, 1)

    def mutate_config(self, config: Config, rng: np.random.Generator) -> Config:
        """Return a config whose kept layers are changed alike, or that differs in one block.

        As `small_ordered` mutates: fewer or more layers, by their importance, or other heads or units in all of them,
        whose widths stay in proportion.
        """
        counts = {
            name: [config[f"{name}_{i}"] for i in range(self.dimensions.num_layers)]
            for name in ("num_heads", "num_units")
        }
        kept = {i for i, pair in enumerate(zip(*counts.values(), strict=True)) if any(pair)}
        if rng.random() >= _ALIKE or not kept:
            return super().mutate_config(config, rng)
        small = SmallOrderedSpace(self.dimensions, self.layer_order)
        means = {name: max(1, round(sum(values) / len(kept))) for name, values in counts.items()}
        wanted = small.mutate_config({"num_layers": len(kept), **means}, rng)
        by_importance = sorted(kept, key=small.layer_order.index)
        others = [i for i in small.layer_order if i not in kept]
        stay = set(by_importance[: wanted["num_layers"]])
        new = set(others[: max(0, wanted["num_layers"] - len(kept))])
        for name, values in counts.items():
            factor, most = wanted[name] / means[name], self.ranges[f"{name}_0"][-1]
            for i, value in enumerate(values):
                scaled = min(most, max(1, round(value * factor))) if value else 0
                values[i] = wanted[name] if i in new else scaled if i in stay else 0
        return {f"{name}_{i}": value for name, values in counts.items() for i, value in enumerate(values)}
