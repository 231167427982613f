"""The space of unlike layers: how its configs are mutated."""

from collections import Counter

import numpy as np
import pytest

from compressor.network.dimensions import EncoderDimensions
from compressor.spaces import create_search_space
from compressor.spaces.space import Config

SIZES = EncoderDimensions(num_layers=4, num_heads=12, num_units=48, hidden_size=24, head_size=2)
ORDER = (3, 0, 2, 1)
SPACE = create_search_space("medium", SIZES, ORDER)


def config_of(heads: tuple[int, ...], units: tuple[int, ...]) -> Config:
    return {f"num_heads_{i}": count for i, count in enumerate(heads)} | {
        f"num_units_{i}": count for i, count in enumerate(units)
    }


def kept_layers(config: Config) -> set[int]:
    return {i for i in range(SIZES.num_layers) if config[f"num_heads_{i}"] or config[f"num_units_{i}"]}


@pytest.mark.parametrize(
    "config",
    [
        config_of((4, 6, 0, 8), (10, 20, 0, 0)),
        config_of((12, 12, 12, 12), (48, 48, 48, 48)),
        config_of((0, 0, 0, 0), (0, 0, 0, 0)),
        config_of((0, 0, 0, 1), (0, 0, 0, 1)),
        config_of((0, 0, 0, 0), (0, 0, 7, 0)),
    ],
)
def test_neighbours_are_members_of_the_space(config: Config) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        neighbour = SPACE.mutate_config(config, rng)
        assert SPACE.to_config(SPACE.from_config(neighbour)) == neighbour


def test_most_neighbours_change_all_kept_layers_alike() -> None:
    config, rng, seen = config_of((4, 6, 0, 8), (10, 20, 0, 0)), np.random.default_rng(1), Counter[str]()
    for _ in range(1000):
        neighbour = SPACE.mutate_config(config, rng)
        changed = {key for key, value in neighbour.items() if value != config[key]}
        layers = kept_layers(neighbour)
        if len(layers) < 3:
            # The least important of the kept ones go first: 1, then 0.
            assert layers in ({0, 3}, {3}, set(), {0, 1}, {1, 3})
            seen["fewer layers" if layers in ({0, 3}, {3}, set()) else "one block"] += 1
        elif len(layers) > 3:
            assert layers == {0, 1, 2, 3}
            seen["more layers" if len(changed) == 2 else "one block"] += 1
        elif len(changed) == 1:
            seen["one block"] += 1
        else:
            (name,) = {key.rpartition("_")[0] for key in changed}
            counts = [neighbour[f"{name}_{i}"] for i in (0, 1, 3)]
            assert neighbour[f"{name}_2"] == 0
            # Wider stays wider, none stays none.
            assert counts == sorted(counts) if name == "num_heads" else (counts[0] <= counts[1] and not counts[2])
            seen[name] += 1
    assert set(seen) == {"fewer layers", "more layers", "one block", "num_heads", "num_units"}
    assert 100 < seen["one block"] < 300


def test_a_layer_that_comes_back_is_the_most_important_and_as_wide_as_the_others() -> None:
    config, rng = config_of((0, 0, 0, 4), (0, 0, 0, 10)), np.random.default_rng(2)
    for _ in range(500):
        neighbour = SPACE.mutate_config(config, rng)
        changed = {key for key, value in neighbour.items() if value != config[key]}
        if len(changed) == 2:
            assert neighbour == config_of((4, 0, 0, 4), (10, 0, 0, 10))
            return
    raise AssertionError("no neighbour had one layer more")
