"""The search loop: its initial design, its memory, its end, and the contract of every search method."""

import pytest

from compressor.errors import OptionError, SearchError
from compressor.network.costs import CostModel, create_cost_model
from compressor.network.dimensions import EncoderDimensions
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.search.loop import run_search
from compressor.search.options import SearchOptions
from compressor.search.record import EvaluatedSubNetwork
from compressor.spaces import create_search_space
from conftest import DIMENSIONS, tiny_model


@pytest.fixture(scope="module")
def cost_model() -> CostModel:
    return create_cost_model(tiny_model())


def surface(sub_network: SubNetwork) -> float:
    """A closed-form error: falls with heads and units, 0.9 for nothing, 0.1 for everything."""
    return 0.9 - 0.4 * sub_network.num_heads / 12 - 0.4 * sub_network.num_units / 72


def test_the_super_network_comes_first_even_outside_of_the_space(cost_model: CostModel) -> None:
    dimensions = EncoderDimensions(num_layers=3, num_heads=3, num_units=24, hidden_size=16, head_size=4)
    space = create_search_space("small_power2", dimensions)
    result = run_search(space, cost_model, surface, SearchOptions(search_strategy="random_search", num_samples=4))
    assert result.evaluations[0].sub_network == full_sub_network(dimensions)
    assert result.evaluations[0].config is None
    assert result.evaluations[1].sub_network == space.largest


def test_each_result_is_reported_once_and_in_order(cost_model: CostModel) -> None:
    seen: list[tuple[EvaluatedSubNetwork, float]] = []
    space = create_search_space("small", DIMENSIONS)
    result = run_search(
        space,
        cost_model,
        surface,
        SearchOptions(search_strategy="random_search", num_samples=5),
        on_evaluation=lambda e, h: seen.append((e, h)),
    )
    assert [e.index for e, _ in seen] == [0, 1, 2, 3, 4]
    assert [h for _, h in seen] == list(result.hypervolumes)
    assert [e.name for e, _ in seen][4] == "subnet-004"


def test_bad_settings(cost_model: CostModel) -> None:
    space = create_search_space("small", DIMENSIONS)
    with pytest.raises(OptionError) as raised:
        run_search(space, cost_model, surface, SearchOptions(search_strategy="random_search", num_samples=0))
    assert str(raised.value) == "--num-samples must be at least 1, but got 0. Raise it."
    with pytest.raises(SearchError, match="the search strategy must be one of .*, but got 'grid'"):
        run_search(space, cost_model, surface, SearchOptions(search_strategy="grid"))


def test_an_evaluation_that_is_cut_short_while_it_is_told_does_not_count(cost_model: CostModel) -> None:
    def interrupted(evaluation: EvaluatedSubNetwork, _: float) -> None:
        if evaluation.index == 2:
            raise KeyboardInterrupt

    space = create_search_space("small", DIMENSIONS)
    result = run_search(
        space,
        cost_model,
        surface,
        SearchOptions(search_strategy="random_search", num_samples=5),
        on_evaluation=interrupted,
    )
    assert result.interrupted
    assert len(result.evaluations) == len(result.hypervolumes) == 2
