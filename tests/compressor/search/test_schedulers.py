"""Schedulers of trials: different sub-networks alone, the super-network first, and its trial is never stopped."""

from typing import Any

import pytest
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.scheduler import SchedulerDecision

from compressor.errors import SearchError
from compressor.network.sub_network import full_sub_network
from compressor.search.loop import initial_design
from compressor.search.schedulers import DistinctTrials, create_scheduler, create_trial_scheduler
from compressor.spaces import create_search_space
from conftest import DIMENSIONS


def scheduler(space_name: str = "small", method: str = "random_search", **more: Any) -> DistinctTrials:
    space = create_search_space(space_name, DIMENSIONS)
    values = {"num_trials": None, "num_epochs": 3, "seed": 0} | more
    return create_trial_scheduler(method, space, ("error", "params"), initial_design(space), **values)


def suggested(made: DistinctTrials, most: int = 100) -> list[str]:
    """The hashes of the sub-networks that it suggests, until it has no more."""
    found = []
    for _ in range(most):
        suggestion = made.suggest()
        if suggestion is None:
            break
        found.append(made.sub_network(suggestion.config).hash)
    return found


@pytest.mark.parametrize("method", ["random_search", "moasha"])
def test_sub_networks_are_different_and_the_super_network_is_first(method: str) -> None:
    found = suggested(scheduler(method=method), 20)
    assert len(set(found)) == len(found) == 20
    assert found[0] == full_sub_network(DIMENSIONS).hash


def test_it_ends_with_the_space_or_the_number_of_trials() -> None:
    assert len(suggested(scheduler("layer"))) == 8
    assert len(suggested(scheduler("layer", num_trials=3))) == 3


def test_the_super_network_is_never_stopped() -> None:
    made = scheduler(method="moasha")
    decisions: dict[int, str] = {}
    for number in range(12):
        suggestion = made.suggest()
        assert suggestion is not None
        trial = Trial(trial_id=number, config=suggestion.config, creation_time=None)
        made.on_trial_add(trial)
        worse = 0.1 if number else 1.0  # the super-network is the worst of all
        decisions[number] = made.on_trial_result(
            trial, {"epoch": 1, "error": worse + number / 100, "params": number + 1}
        )
    assert decisions[0] == SchedulerDecision.CONTINUE
    assert SchedulerDecision.STOP in decisions.values()


def test_unknown_methods() -> None:
    space = create_search_space("small", DIMENSIONS)
    with pytest.raises(SearchError, match="the search strategy must be one of random_search, .*, but got 'grid'"):
        create_scheduler("grid", space, ("error", "params"), [], 0)
    with pytest.raises(SearchError, match="must be one of random_search, .*, moasha, but got 'grid'"):
        scheduler(method="grid")
