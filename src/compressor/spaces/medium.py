"""The space of a number of heads and a number of units for each layer (Klein et al., TMLR 2024, section 3)."""

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.network.sub_network import SubNetwork, first_members
from compressor.spaces.space import Config, IntegerSpace


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
