"""The space of every head and every unit (Klein et al., TMLR 2024, section 3)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from compressor.errors import SearchSpaceError
from compressor.network.sub_network import SubNetwork
from compressor.spaces.bits import bits_to_text, draw_subset, text_to_bits
from compressor.spaces.space import Config, SearchSpace


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
        from compressor.spaces.subsets import SubsetDomain

        return {key: SubsetDomain(length) for key, length in self._lengths.items()}

    @property
    def size(self) -> int:
        return int(2 ** sum(self._lengths.values()))

    def draw_config(self, rng: np.random.Generator) -> Config:
        return {key: bits_to_text(draw_subset(length, rng)) for key, length in self._lengths.items()}

    def mutate_config(self, config: Config, rng: np.random.Generator) -> Config:
        key = ("heads", "units")[int(rng.integers(2))]
        bits = text_to_bits(config[key], self._lengths[key]).copy()
        # one bit or a share of all: small steps refine a front, large ones reach other sizes
        share = (0.0, 0.01, 0.05, 0.2)[int(rng.integers(4))]
        count = max(1, round(share * len(bits)))
        kept, dropped = np.flatnonzero(bits), np.flatnonzero(~bits)
        grow, shrink = ((True, False), (False, True), (True, True))[int(rng.integers(3))]  # or swap
        if grow or not kept.size:
            # `dropped` and `kept` are of before: a swap never takes back what it has just set.
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
            # Bits of all layers one after another become a row for each layer, [layers, members].
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
