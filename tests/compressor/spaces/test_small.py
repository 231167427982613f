"""The spaces in which all layers are alike: which layers go first, how many heads there may be."""

import numpy as np
import pytest

from compressor.errors import SearchSpaceError
from compressor.network.dimensions import EncoderDimensions
from compressor.network.sub_network import full_sub_network
from compressor.spaces import create_search_space
from conftest import DIMENSIONS

SIX_HEADS = EncoderDimensions(num_layers=2, num_heads=6, num_units=4, hidden_size=24, head_size=4)


@pytest.mark.parametrize(("order", "kept"), [((), {0, 2}), ((2, 1, 0), {1, 2}), ((1, 0, 2), {0, 1})])
def test_the_least_important_layer_goes_first(order: tuple[int, ...], kept: set[int]) -> None:
    space = create_search_space("small_ordered", DIMENSIONS, order)
    config = {"num_layers": 2, "num_heads": 3, "num_units": 5}
    found = space.from_config(config)
    assert {i for i, heads in enumerate(found.heads) if heads} == kept
    assert {i for i, units in enumerate(found.units) if units} == kept
    assert {*found.heads, *found.units} == {(), (0, 1, 2), (0, 1, 2, 3, 4)}
    assert space.to_config(found) == config
    other = create_search_space("small_ordered", DIMENSIONS, (0, 1, 2))
    if kept != {0, 1}:
        with pytest.raises(SearchSpaceError, match="of the most important layers"):
            other.to_config(found)


@pytest.mark.parametrize("order", [(0, 1), (0, 1, 1), (1, 2, 3)])
def test_an_order_of_other_layers_is_refused(order: tuple[int, ...]) -> None:
    with pytest.raises(SearchSpaceError, match=r"must be a permutation of 0\.\.2"):
        create_search_space("small_ordered", DIMENSIONS, order)


def test_power_of_two_heads() -> None:
    space = create_search_space("small_power2", SIX_HEADS)
    drawn = [space.draw(np.random.default_rng(seed)) for seed in range(60)]
    assert {len(s.heads[0]) for s in drawn if s.num_layers} == {1, 2, 4}
    assert len(space.largest.heads[0]) == 4
    with pytest.raises(SearchSpaceError, match="of the search space small_power2 must"):
        space.to_config(full_sub_network(SIX_HEADS))
