"""The contract of every search space, and what DESIGN says of each."""

import json

import numpy as np
import pytest

from compressor.errors import SearchSpaceError
from compressor.network.dimensions import EncoderDimensions
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.spaces import SEARCH_SPACES, create_search_space
from compressor.spaces.space import SearchSpace
from conftest import DIMENSIONS

SIX_HEADS = EncoderDimensions(num_layers=2, num_heads=6, num_units=4, hidden_size=24, head_size=4)


@pytest.fixture(params=list(SEARCH_SPACES))
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return create_search_space(request.param, DIMENSIONS)


def test_config_round_trips(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    for sub_network in [*(space.draw(rng) for _ in range(50)), space.smallest, space.middle, space.largest]:
        config = space.to_config(sub_network)
        assert json.loads(json.dumps(config)) == config
        assert space.from_config(config) == sub_network.check(DIMENSIONS)


def test_the_seed_alone_decides(space: SearchSpace) -> None:
    np.random.seed(1)
    first = [space.draw(np.random.default_rng(5)) for _ in range(3)]
    np.random.seed(2)
    assert first == [space.draw(np.random.default_rng(5)) for _ in range(3)]


def test_a_trainable_draw_is_a_member_that_sees_the_text(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    drawn = [space.draw_trainable(rng) for _ in range(200)]
    for sub_network in drawn:
        assert space.from_config(space.to_config(sub_network)) == sub_network
        assert any(sub_network.heads)
    assert len({sub_network.hash for sub_network in drawn}) >= min(100, space.size // 2)


def test_config_space_has_a_domain_per_key(space: SearchSpace) -> None:
    config_space = space.config_space()
    assert set(config_space) == set(space.draw_config(np.random.default_rng(0)))
    for _ in range(20):
        state = np.random.RandomState(4)
        space.from_config({key: domain.sample(random_state=state) for key, domain in config_space.items()})


def test_config_space_accepts_the_initial_design(space: SearchSpace) -> None:
    for sub_network in (space.smallest, space.middle, space.largest):
        for key, value in space.to_config(sub_network).items():
            assert space.config_space()[key].is_valid(value)
            assert space.config_space()[key].cast(value) == value


def test_unknown_keys_and_values_are_refused(space: SearchSpace) -> None:
    config = space.draw_config(np.random.default_rng(0))
    key = next(iter(config))
    for wrong in ({**config, key: 10_000}, {**config, key: None}, {**config, "more": 1}, {}):
        with pytest.raises(SearchSpaceError):
            space.from_config(wrong)


def test_unknown_space() -> None:
    with pytest.raises(SearchSpaceError) as raised:
        create_search_space("tiny", DIMENSIONS)
    assert str(raised.value) == (
        f"the search space must be one of {', '.join(SEARCH_SPACES)}, but got 'tiny'. Correct --search-space."
    )


def test_smallest_of_each_space() -> None:
    def counts(name: str) -> tuple[list[int], list[int]]:
        smallest = create_search_space(name, DIMENSIONS).smallest
        return [len(kept) for kept in smallest.heads], [len(kept) for kept in smallest.units]

    assert counts("small_ordered") == ([0, 0, 1], [0, 0, 1])
    assert counts("small") == counts("small_power2") == counts("large") == ([1, 0, 0], [1, 0, 0])
    assert counts("medium") == ([1, 1, 1], [1, 1, 1])
    assert counts("layer") == counts("sublayer") == ([0, 0, 0], [0, 0, 0])


@pytest.mark.parametrize("name", [name for name in SEARCH_SPACES if name != "small_power2"])
def test_largest_is_the_super_network(name: str) -> None:
    assert create_search_space(name, SIX_HEADS).largest == full_sub_network(SIX_HEADS)


def test_sizes_by_counting() -> None:
    tiny = EncoderDimensions(num_layers=2, num_heads=2, num_units=2, hidden_size=4, head_size=2)
    # small: 2 layers x 2 heads x 2 units + no layer; medium: (3 x 3)^2; layer 2^2; sublayer 2^4; large 2^(4 + 4)
    for name, size in (
        ("small", 9),
        ("small_ordered", 9),
        ("small_power2", 9),
        ("medium", 81),
        ("layer", 4),
        ("sublayer", 16),
        ("large", 256),
    ):
        space = create_search_space(name, tiny)
        rng = np.random.default_rng(0)
        assert space.size == size
        assert len({space.draw(rng).hash for _ in range(6000)}) == size


@pytest.mark.parametrize("name", ["layer", "sublayer", "large"])
def test_all_sizes_come_up_alike(name: str) -> None:
    space = create_search_space(name, DIMENSIONS)
    rng = np.random.default_rng(0)
    heads = [space.draw(rng).num_heads for _ in range(800)]
    assert min(heads) == 0
    assert max(heads) == 12
    assert 4.5 < np.mean(heads) < 7.5  # uniform over 0..12 has mean 6


def test_prefixes_come_first() -> None:
    for name in ("small", "medium"):
        drawn = create_search_space(name, DIMENSIONS).draw(np.random.default_rng(2))
        assert all(kept == tuple(range(len(kept))) for kept in drawn.heads + drawn.units)


def test_a_sub_network_outside_is_refused() -> None:
    odd = SubNetwork(heads=((1, 3), (), (0,)), units=((), (0,), (5, 7)))
    for name in ("small", "medium", "layer", "sublayer"):
        with pytest.raises(SearchSpaceError, match=f"of the search space {name} must"):
            create_search_space(name, DIMENSIONS).to_config(odd)
    large = create_search_space("large", DIMENSIONS)
    assert large.from_config(large.to_config(odd)) == odd
