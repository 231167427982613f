"""The searchers alone: what they begin with, what they remember, which sub-networks they are drawn to.

The contract of every search method is in `test_methods.py`.
"""

import numpy as np
import pytest

from compressor.search.methods import SEARCH_METHODS
from compressor.search.searchers import EvolutionSearcher, LocalSearcher, Nsga2Searcher, SeededSearcher
from compressor.spaces import create_search_space
from compressor.spaces.space import Config, SearchSpace
from conftest import DIMENSIONS


@pytest.fixture
def space() -> SearchSpace:
    return create_search_space("medium", DIMENSIONS)


def tell(searcher: SeededSearcher, count: int) -> None:
    """Evaluate so many proposals: the error falls with units, the cost rises with them."""
    for number in range(count):
        config = searcher.suggest()
        share = searcher.space.from_config(config).num_units / 72
        searcher.on_trial_complete(number, config, [1 - share, share])


@pytest.mark.parametrize("name", list(SEARCH_METHODS))
def test_the_design_comes_first_and_proposals_are_new(name: str, space: SearchSpace) -> None:
    design = [space.to_config(space.largest), space.to_config(space.smallest)]
    searcher = SEARCH_METHODS[name](space, list(design), 0)
    assert isinstance(searcher, SeededSearcher)
    suggested = []
    for number in range(14):
        config = searcher.suggest()
        suggested.append(config)
        searcher.on_trial_complete(number, config, [1 / (1 + number), float(number)])
    assert suggested[:2] == design
    assert not any(map(searcher.is_new, suggested))
    if name != "random_search":  # whose draws are independent
        assert len({space.from_config(config).hash for config in suggested}) == 14
    assert searcher.points[1] == [0.5, 1.0]


def test_a_wide_gap_of_the_front_is_searched_more(space: SearchSpace) -> None:
    """Of the members at 0, 0.1 and 1 the middle one has all of both gaps beside it, the last one the wide gap."""
    searcher = LocalSearcher(space, [], 0)
    searcher.points = [[0.0, 1.0], [0.1, 0.9], [1.0, 0.0]]
    np.testing.assert_allclose(searcher._gaps([0, 1, 2]), np.array([0.2, 2.0, 1.8]) / 4, atol=1e-6)
    searcher.points = [[0.5, 0.5]]
    assert searcher._gaps([0]).tolist() == [1.0]


def test_local_search_proposes_neighbours_of_the_front(space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher, mutate = LocalSearcher(space, [], 0), type(space).mutate_config
    mutated: list[tuple[Config, Config]] = []

    def note(self: SearchSpace, config: Config, rng: np.random.Generator) -> Config:
        neighbour = mutate(self, config, rng)
        mutated.append((config, neighbour))
        return neighbour

    monkeypatch.setattr(type(space), "mutate_config", note)
    tell(searcher, searcher.num_random)
    before = searcher.rng.bit_generator.state
    proposal = searcher.propose()
    searcher.rng.bit_generator.state = before
    assert proposal == searcher.propose()  # the generator alone decides
    member, neighbour = mutated[-1]
    assert neighbour == proposal
    assert member in [searcher.configs[place] for place in searcher.front]


def test_evolution_keeps_the_front_alive(space: SearchSpace) -> None:
    searcher = EvolutionSearcher(space, [], 0)
    searcher.points = [[float(number), float(-number)] for number in range(5)] + [[9.0, 9.0]]
    assert {searcher._tournament([0, 5]) for _ in range(10)} == {0}  # the dominated one never wins


def test_a_generation_is_bred_at_once(space: SearchSpace) -> None:
    searcher = Nsga2Searcher(space, [], 0)
    tell(searcher, searcher.population_size)
    searcher.propose()
    assert 0 < len(searcher._offspring) < searcher.population_size


def test_a_generation_is_bred_from_the_ranks_that_survive(space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others change nothing: offspring are the same where all points are given to the selection."""
    searcher = Nsga2Searcher(space, [], 0)
    for number in range(60):  # in few ranks, some of them equal
        config = searcher.suggest()
        searcher.on_trial_complete(number, config, [float(number % 7), float((3 * number) % 5)])
    before = searcher.rng.bit_generator.state
    bred = searcher._breed()
    searcher.rng.bit_generator.state = before
    monkeypatch.setattr("moocore.pareto_rank", lambda points: np.zeros(len(points), dtype=int))
    assert bred == searcher._breed()
