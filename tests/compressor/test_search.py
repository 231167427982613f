"""The search loop: its initial design, its memory, its end, and the contract of every search method."""

import numpy as np
import pytest

from compressor.costs import CostModel, create_cost_model
from compressor.dimensions import EncoderDimensions
from compressor.errors import SearchError
from compressor.search import EvaluatedSubNetwork, SearchResult, run_search
from compressor.search_methods import SEARCH_METHODS
from compressor.search_spaces import SEARCH_SPACES, create_search_space
from compressor.sub_network import SubNetwork, full_sub_network
from conftest import DIMENSIONS, tiny_model


@pytest.fixture(scope="module")
def cost_model() -> CostModel:
    return create_cost_model(tiny_model())


def surface(sub_network: SubNetwork) -> float:
    """A closed-form error: falls with heads and units, 0.9 for nothing, 0.1 for everything."""
    return 0.9 - 0.4 * sub_network.num_heads / 12 - 0.4 * sub_network.num_units / 72


@pytest.mark.parametrize("space_name", list(SEARCH_SPACES))
@pytest.mark.parametrize("method", list(SEARCH_METHODS))
class TestContract:
    def search(self, cost_model: CostModel, method: str, space_name: str, seed: int = 0) -> SearchResult:
        space = create_search_space(space_name, DIMENSIONS)
        return run_search(space, cost_model, surface, method=method, num_samples=8, seed=seed)

    def test_the_seed_decides_everything(self, cost_model: CostModel, method: str, space_name: str) -> None:
        results = []
        for state, seed in ((1, 0), (2, 0), (3, 1)):
            np.random.seed(state)
            result = self.search(cost_model, method, space_name, seed)
            results.append([e.sub_network for e in result.evaluations])
        assert results[0] == results[1]
        if space_name != "layer":  # all eight sub-networks of this space come up whatever the seed
            assert results[0] != results[2]

    def test_begins_with_the_super_network_and_the_design(
        self, cost_model: CostModel, method: str, space_name: str
    ) -> None:
        space = create_search_space(space_name, DIMENSIONS)
        first = [e.sub_network for e in self.search(cost_model, method, space_name).evaluations[:3]]
        assert first == [full_sub_network(DIMENSIONS), space.smallest, space.middle]

    def test_nothing_is_evaluated_twice(self, cost_model: CostModel, method: str, space_name: str) -> None:
        evaluations = self.search(cost_model, method, space_name).evaluations
        assert len({e.sub_network.hash for e in evaluations}) == len(evaluations) == 8

    def test_front_and_hypervolume(self, cost_model: CostModel, method: str, space_name: str) -> None:
        result = self.search(cost_model, method, space_name)
        assert result.front == [e for e in sorted(result.evaluations, key=lambda e: e.error) if e.on_front]
        assert list(result.hypervolumes) == sorted(result.hypervolumes)
        assert len(result.hypervolumes) == len(result.evaluations)


@pytest.mark.parametrize("method", list(SEARCH_METHODS))
def test_stops_when_the_space_is_exhausted(cost_model: CostModel, method: str) -> None:
    space = create_search_space("layer", DIMENSIONS)
    result = run_search(space, cost_model, surface, method=method, num_samples=50)
    assert len(result.evaluations) == 8


def test_the_super_network_comes_first_even_outside_of_the_space(cost_model: CostModel) -> None:
    dimensions = EncoderDimensions(num_layers=3, num_heads=3, num_units=24, hidden_size=16, head_size=4)
    space = create_search_space("small_power2", dimensions)
    result = run_search(space, cost_model, surface, num_samples=4)
    assert result.evaluations[0].sub_network == full_sub_network(dimensions)
    assert result.evaluations[0].config is None
    assert result.evaluations[1].sub_network == space.largest


def test_each_result_is_reported_once_and_in_order(cost_model: CostModel) -> None:
    seen: list[tuple[EvaluatedSubNetwork, float]] = []
    space = create_search_space("small", DIMENSIONS)
    result = run_search(space, cost_model, surface, num_samples=5, on_evaluation=lambda e, h: seen.append((e, h)))
    assert [e.index for e, _ in seen] == [0, 1, 2, 3, 4]
    assert [h for _, h in seen] == list(result.hypervolumes)
    assert [e.name for e, _ in seen][4] == "subnet-004"


def test_bad_settings(cost_model: CostModel) -> None:
    space = create_search_space("small", DIMENSIONS)
    with pytest.raises(SearchError) as raised:
        run_search(space, cost_model, surface, num_samples=0)
    assert str(raised.value) == "--num-samples must be at least 1, but got 0. Raise it."
    with pytest.raises(SearchError, match="the search strategy must be one of .*, but got 'grid'"):
        run_search(space, cost_model, surface, method="grid")
