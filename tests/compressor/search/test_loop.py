"""The search loop: its initial design, its memory, its end, and the contract of every search method."""

from collections.abc import Sequence

import pytest

from compressor.errors import OptionError, SearchError
from compressor.network.costs import CostModel, create_cost_model
from compressor.network.dimensions import EncoderDimensions
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.search.journal import Recorded
from compressor.search.loop import Beginning, run_search
from compressor.search.options import SearchOnCluster, SearchOptions
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


@pytest.mark.parametrize("method", ["random_search", "local_search", "morea", "nsga2"])
def test_a_batch_is_announced_before_it_is_evaluated_in_order(method: str, cost_model: CostModel) -> None:
    events: list[tuple[str, str]] = []

    def evaluate(sub_network: SubNetwork) -> float:
        events.append(("evaluated", sub_network.hash))
        return surface(sub_network)

    def announce(sub_networks: Sequence[SubNetwork]) -> None:
        events.extend(("announced", one.hash) for one in sub_networks)

    options = SearchOptions(search_strategy=method, num_samples=17, batch_of_proposals=4)
    result = run_search(create_search_space("medium", DIMENSIONS), cost_model, evaluate, options, announce=announce)
    assert len(result.evaluations) == 17
    hashes = [e.sub_network.hash for e in result.evaluations]
    assert [hash for kind, hash in events if kind == "evaluated"] == hashes
    kinds = "".join(kind[0] for kind, _ in events)
    assert kinds == "aaaaeeee" * 4 + "ae"  # the last batch is no larger than what is left
    assert sorted(hash for kind, hash in events if kind == "announced") == sorted(hashes)


def test_what_is_recorded_is_not_announced_and_the_batch_is_as_before(cost_model: CostModel) -> None:
    space, announced = create_search_space("medium", DIMENSIONS), []
    options = SearchOptions(search_strategy="local_search", num_samples=15, batch_of_proposals=5)
    whole = run_search(space, cost_model, surface, options)
    recorded = {
        e.sub_network.hash: Recorded(sub_network=e.sub_network.hash, error=e.error, eval_seconds=1.0)
        for e in whole.evaluations[:7]  # killed within the second batch
    }
    again = run_search(
        space,
        cost_model,
        surface,
        options,
        announce=lambda some: announced.extend(one.hash for one in some),
        beginning=Beginning(recorded=recorded),
    )
    assert [e.sub_network for e in again.evaluations] == [e.sub_network for e in whole.evaluations]
    assert again.hypervolumes == whole.hypervolumes
    assert announced == [e.sub_network.hash for e in whole.evaluations[7:]]


def test_methods_that_base_each_proposal_on_all_before_take_no_batches() -> None:
    with pytest.raises(OptionError) as raised:
        SearchOptions(search_strategy="ehvi", batch_of_proposals=8)
    assert str(raised.value) == (
        "--batch-of-proposals of ehvi must be 1, as it bases each proposal on all that were evaluated, but got 8. "
        "Lower it, or choose another --search-strategy."
    )


def test_workers_are_those_of_a_cluster() -> None:
    with pytest.raises(OptionError, match=r"^--num-workers must be given with --ray, but got it alone\. Add --ray, or"):
        SearchOnCluster(num_workers=2)
    with pytest.raises(OptionError, match=r"^--num-workers must be at most 256, but got 300\. Lower it\.$"):
        SearchOnCluster(ray="local", num_workers=300)


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
