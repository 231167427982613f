"""Spaces of three numbers: layers, heads and units, the same in every kept layer (Klein et al., TMLR 2024)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.errors import SearchSpaceError
from compressor.network.sub_network import SubNetwork
from compressor.spaces.space import Config, IntegerSpace


class SmallSpace(IntegerSpace):
    """`num_layers` in 0..L (the first ones), `num_heads` in 1..H, `num_units` in 1..U, the same in every kept layer."""

    name = "small"

    @property
    def allowed_heads(self) -> Sequence[int]:
        """The head counts a kept layer can have; without 1, half of all and all override `middle` and `largest` too."""
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
        # Without a layer heads and units say nothing: one sub-network, and not H · U of them.
        return self.dimensions.num_layers * len(self.allowed_heads) * self.dimensions.num_units + 1

    def from_config(self, config: Mapping[str, Any]) -> SubNetwork:
        return self._first(**self._values(config, self.ranges))

    def to_config(self, sub_network: SubNetwork) -> Config:
        kept = sub_network.num_layers
        # The counts of any kept layer; whether all have the same is seen when the sub-network is made again from them.
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
        # All up to H: the bit length of 12 is 4, and its powers are 1, 2, 4 and 8.
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
            # The class is frozen.
            object.__setattr__(self, "layer_order", (last, *range(last)))
        if sorted(self.layer_order) != list(range(last + 1)):
            raise SearchSpaceError(
                f"an order of layers must be a permutation of 0..{last}, but got {self.layer_order}. Search again."
            )

    def _first(self, num_layers: int, num_heads: int, num_units: int) -> SubNetwork:
        return self._of_layers(self.layer_order[:num_layers], num_heads, num_units)
