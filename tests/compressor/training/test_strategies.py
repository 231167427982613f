"""Which sub-networks a step updates: the contract of every strategy, from the seed alone and without a model."""

import numpy as np
import pytest

from compressor.errors import StrategyError
from compressor.network.sub_network import full_sub_network
from compressor.spaces import create_search_space
from compressor.training.strategies import (
    SAMPLING_STRATEGIES,
    STRATEGY_ALIASES,
    Step,
    Update,
    count_warm_up_epochs,
    get_strategy,
)
from conftest import DIMENSIONS

SPACE = create_search_space("small", DIMENSIONS)
FULL, SMALLEST = Update(full_sub_network(DIMENSIONS)), SPACE.smallest


def plan(name: str, index: int = 0, num_steps: int = 10, k: int = 2, seed: int = 0, warm_up: int = 0) -> list[Update]:
    rng = np.random.default_rng(seed)
    step = Step(index=index, num_steps=num_steps, num_random_sub_nets=k, rng=rng, num_warm_up_steps=warm_up)
    return get_strategy(name, k)(SPACE, step)


def drawn(k: int, seed: int = 0, distill: bool = False) -> list[Update]:
    rng = np.random.default_rng(seed)
    return [Update(SPACE.draw(rng), distill) for _ in range(k)]


@pytest.mark.parametrize("name", list(SAMPLING_STRATEGIES))
def test_the_seed_alone_decides(name: str) -> None:
    for index in range(4):
        np.random.seed(index)
        first = plan(name, index, seed=9)
        np.random.seed(index + 1)
        assert plan(name, index, seed=9) == first


@pytest.mark.parametrize("name", list(SAMPLING_STRATEGIES))
def test_the_teacher_goes_first(name: str) -> None:
    for index in range(4):
        updates = plan(name, index)
        if any(update.distill for update in updates):
            assert updates[0].sub_network == FULL.sub_network
            assert not updates[0].distill


def test_updates_of_each_strategy() -> None:
    assert plan("standard") == [FULL]
    assert plan("random") == drawn(2)
    assert plan("sandwich") == [FULL, Update(SMALLEST), *drawn(2)]
    assert plan("kd") == [FULL, *drawn(2, distill=True)]
    assert plan("one_shot") == [FULL, Update(SMALLEST, distill=True), *drawn(2, distill=True)]
    assert plan("ats", index=0) == drawn(2)
    assert plan("ats", index=1) == [FULL]
    assert plan("ats", index=2) == drawn(2)


def test_auto_starts_with_the_super_network_alone() -> None:
    assert plan("auto", index=3, warm_up=4) == [FULL]
    full, *others = plan("auto", index=4, warm_up=4)
    assert full == FULL
    assert len(others) == 2
    assert all(update.distill for update in others)


def test_only_auto_orders() -> None:
    assert [count_warm_up_epochs("auto", epochs) for epochs in range(1, 8)] == [0, 1, 1, 1, 2, 2, 2]
    assert {count_warm_up_epochs(name, 3) for name in SAMPLING_STRATEGIES if name != "auto"} == {None}


def test_linear_random_goes_from_the_super_network_to_random_ones() -> None:
    share = [
        np.mean([plan("linear_random", index, 10, seed=seed) != [FULL] for seed in range(300)]) for index in (0, 5, 9)
    ]
    assert share[0] == 0.0
    assert 0.4 < share[1] < 0.6
    assert 0.83 < share[2] < 0.97


def test_number_of_random_sub_networks() -> None:
    assert [len(plan("one_shot", k=k)) for k in (1, 2, 5)] == [3, 4, 7]


def test_aliases_of_the_paper() -> None:
    for alias, name in STRATEGY_ALIASES.items():
        assert get_strategy(alias, 1) is SAMPLING_STRATEGIES[name]
    assert STRATEGY_ALIASES == {"full": "one_shot", "random_linear": "linear_random"}


def test_standard_needs_no_random_sub_networks() -> None:
    assert plan("standard", k=0) == [FULL]


@pytest.mark.parametrize("name", [name for name in SAMPLING_STRATEGIES if name != "standard"])
def test_the_others_need_some(name: str) -> None:
    with pytest.raises(StrategyError) as raised:
        get_strategy(name, 0)
    assert str(raised.value) == (
        f"--num-random-sub-nets must be at least 1 with --sampling-strategy {name}, but got 0. "
        "Raise it or use --sampling-strategy standard."
    )


def test_unknown_strategy() -> None:
    with pytest.raises(StrategyError, match="must be one of auto, standard, .*, but got 'sandwhich'"):
        get_strategy("sandwhich", 1)
