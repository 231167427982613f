"""Spaces of whole blocks: layers, or attention and feed-forward blocks, kept or dropped (Klein et al., TMLR 2024)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compressor.network.sub_network import SubNetwork
from compressor.spaces.bits import draw_subset
from compressor.spaces.space import Config, IntegerSpace


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
        # How many, then which: a coin for each layer would hardly ever draw very small or very large ones.
        return dict(zip(self._keys, draw_subset(len(self._keys), rng).astype(int).tolist(), strict=True))

    def from_config(self, config: Mapping[str, Any]) -> SubNetwork:
        values = list(self._values(config, self.ranges).values())
        return self._whole_blocks(values, values)

    def to_config(self, sub_network: SubNetwork) -> Config:
        # By the heads; whether the units agree shows when the sub-network is made again from these values.
        kept = [int(bool(heads)) for heads in sub_network.heads]
        if sub_network != self._whole_blocks(kept, kept):
            raise self._outside(sub_network, "keep each layer whole or not at all")
        return dict(zip(self._keys, kept, strict=True))

    @property
    def smallest(self) -> SubNetwork:
        return self._first(0, 0, 0)

    @property
    def middle(self) -> SubNetwork:
        # Half of the layers, whole: half of the heads lies outside of this space.
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
        # As in `_keys`: attention blocks of all layers first, then their feed-forward blocks.
        return self._whole_blocks(values[: self.dimensions.num_layers], values[self.dimensions.num_layers :])

    def to_config(self, sub_network: SubNetwork) -> Config:
        attention = [int(bool(heads)) for heads in sub_network.heads]
        feed_forward = [int(bool(units)) for units in sub_network.units]
        if sub_network != self._whole_blocks(attention, feed_forward):
            raise self._outside(sub_network, "keep each attention and feed-forward block whole or not at all")
        return dict(zip(self._keys, attention + feed_forward, strict=True))
