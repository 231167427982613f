"""Which member of a front each way to choose takes."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor.data.metrics.trivial import TrivialPredictor
from compressor.data.sources import DataSource
from compressor.errors import OptionError, SearchError, SearchSpaceError
from compressor.evaluation.predictions import ValidationPredictions
from compressor.search.choosing import Chosen, Rivals, choose
from compressor.search.options import Choice
from compressor.search.record import EvaluatedSubNetwork, SearchOrigin, SearchResult, summarise
from compressor.spaces import SEARCH_SPACES, create_search_space
from conftest import DIMENSIONS

SPACE = create_search_space("small", DIMENSIONS)


def member(number: int, error: float, params: int, **more: Any) -> EvaluatedSubNetwork:
    config = {"num_layers": 1 + number % 3, "num_heads": 1 + number % 4, "num_units": 2 + number}
    return EvaluatedSubNetwork(
        **{
            "index": number,
            "name": f"subnet-{number:03d}",
            "config": config,
            "sub_network": SPACE.from_config(config),
            "error": error,
            "params": params,
            "relative_params": params / 1000,
            "encoder_params": params,
            "relative_encoder_params": params / 1000,
            "eval_seconds": 1.0,
            **more,
        }
    )


ORIGIN = SearchOrigin(
    source=DataSource(task_name="demo"),
    data_digest="0123456789abcdef",
    options={"search_space": "small", "search_strategy": "random_search", "seed": 0},
    dimensions=DIMENSIONS,
    seconds=1.0,
    supernet="/somewhere",
)


def result_of(evaluations: Sequence[EvaluatedSubNetwork]) -> SearchResult:
    numbered = [replace(evaluation, index=index) for index, evaluation in enumerate(evaluations)]
    return replace(summarise(numbered, (), ("error", "params"), {"params": 1000.0}), origin=ORIGIN)


def results(**more: Any) -> SearchResult:
    """A front of five, and a dominated one; the super-network first."""
    return result_of(
        [
            member(0, 0.20, 1000, **more),
            member(1, 0.50, 900, **more),
            member(2, 0.21, 800, **more),
            member(3, 0.22, 500, **more),
            member(4, 0.35, 450, **more),
            member(5, 0.60, 100, **more),
        ]
    )


@pytest.mark.parametrize(
    ("errors", "params", "name"),
    [
        ((0.20, 0.21, 0.215, 0.30), (1000, 800, 300, 100), "subnet-002"),  # the smallest that loses nothing
        ((0.20, 0.21, 0.23, 0.30), (1000, 800, 500, 100), "subnet-001"),  # however large it is
        ((0.20, 0.21, 0.23, 0.30), (1000, 800, 700, 600), "subnet-001"),  # none is small
        ((0.20,), (1000,), "subnet-000"),
    ],
)
def test_default(errors: tuple[float, ...], params: tuple[int, ...], name: str) -> None:
    evaluations = [member(number, *values) for number, values in enumerate(zip(errors, params, strict=True))]
    assert list(choose(result_of(evaluations), Choice())) == [name]


def test_without_the_super_network_the_default_is_the_knee() -> None:
    found = result_of(results().evaluations[1:])
    assert choose(found, Choice()) == choose(found, Choice(knee=True))


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (Choice(), "subnet-002"),
        (Choice(knee=True), "subnet-003"),
        (Choice(index=0), "subnet-000"),
        (Choice(index=4), "subnet-005"),
        (Choice(max_params=0.5), "subnet-003"),
        (Choice(max_params=0.49), "subnet-004"),
        (Choice(max_params=800), "subnet-002"),
        (Choice(max_params=1), "subnet-000"),
        (Choice(max_error_increase=0.02), "subnet-003"),
        (Choice(max_error_increase=0.0), "subnet-000"),
        (Choice(max_error_increase=0.5), "subnet-005"),
    ],
)
def test_one_member(choice: Choice, name: str) -> None:
    assert list(choose(results(), choice)) == [name]


def test_latency() -> None:
    with pytest.raises(SearchError, match="--max-latency-ms must have values of latency_ms to look at"):
        choose(results(), Choice(max_latency_ms=3))
    measured = result_of([replace(e, costs={"latency_ms": e.params / 100}) for e in results().evaluations])
    assert list(choose(measured, Choice(max_latency_ms=5))) == ["subnet-003"]
    assert list(choose(measured, Choice(max_cost=("latency_ms", 5)))) == ["subnet-003"]


@pytest.mark.parametrize(
    ("most", "name"), [(("size_mb", 5e-3), "subnet-003"), (("params", 0.9e3), "subnet-002"), (("params", 0.9), None)]
)
def test_any_cost(most: tuple[str, float], name: str | None) -> None:
    """Numbers are never shares of the super-network's here."""
    measured = result_of([replace(e, costs={"size_mb": e.params / 1e5}) for e in results().evaluations])
    if name is not None:
        assert list(choose(measured, Choice(max_cost=most))) == [name]
    else:
        with pytest.raises(SearchError, match="--max-cost must be met by a member of the front, but none has 0.9 or"):
            choose(measured, Choice(max_cost=most))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(index=5), r"--index must lie on the front, in 0\.\.4, but got 5"),
        (
            Choice(max_params=0.05),
            "--max-params must be met by a member of the front, but none has 0.05 or less; the nearest is subnet-005 "
            r"with 0.1 \(error 0.6000\). Raise --max-params",
        ),
        (
            Choice(max_error_increase=-0.1),
            r"--max-error-increase must be met by a member of the front, but none is at most -0\.1",
        ),
        (Choice(tiers=tuple("abcdef")), "--tiers must be at most as many as the front has members, 5, but got 6"),
    ],
)
def test_what_nothing_meets(choice: Choice, message: str) -> None:
    with pytest.raises(SearchError, match=message):
        choose(results(), choice)


def test_several() -> None:
    assert list(choose(results(), Choice(all=True))) == [f"subnet-{i:03d}" for i in (0, 2, 3, 4, 5)]
    tiers = choose(results(), Choice(tiers=("S", "M", "L")))
    assert {name: chosen.name for name, chosen in tiers.items()} == {
        "S": "subnet-005",
        "M": "subnet-004",
        "L": "subnet-002",
    }
    assert len({e.name for e in choose(results(), Choice(tiers=tuple("abcde"))).values()}) == 5


def test_tiers_of_given_sizes() -> None:
    """Each is what `--max-params` takes: a share up to 1, above it a number."""
    found = choose(results(), Choice(tiers=("large=0.9", "small=300")))
    assert {name: chosen.name for name, chosen in found.items()} == {
        "large": next(iter(choose(results(), Choice(max_params=0.9)))),
        "small": next(iter(choose(results(), Choice(max_params=300)))),
    }
    with pytest.raises(SearchError) as raised:
        choose(results(), Choice(tiers=("a=0.9", "b=0.91")))
    assert str(raised.value) == (
        f"--tiers must be of different members, but a and b are both {found['large'].name} "
        f"({found['large'].evaluation.params:,} parameters). Move their sizes apart, or search longer."  # type: ignore[union-attr]
    )
    with pytest.raises(
        SearchError, match=r"^--tiers small= must be met by a member of the front, but none has 0\.01 or"
    ):
        choose(results(), Choice(tiers=("small=0.01",)))


def test_tiers_say_whether_they_surely_lose_little() -> None:
    found = choose(results(), Choice(tiers=("S", "M", "L")))
    full = results().full
    assert full is not None
    for chosen in found.values():
        assert chosen.evaluation is not None
        assert chosen.holds == (chosen.evaluation.error <= full.error + 0.015)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"index": 0, "knee": True}, "one way to choose must be given, but got --knee and --index. Drop all but one."),
        ({"all": True, "max_params": 0.5}, "but got --max-params and --all"),
        ({"max_params": 0.0}, "--max-params must be above 0, but got 0"),
        ({"index": -1}, "--index must be at least 0, but got -1"),
        ({"tiers": ("S", "S")}, "--tiers must be different names"),
        ({"tiers": ("../S", "M")}, "--tiers must be different names of letters and digits"),
        ({"tiers": ("S=0.5", "S=0.8")}, "--tiers must be different names of letters and digits"),
        ({"tiers": ("S=0.5", "M")}, "--tiers must be names alone, or each with its most parameters, above 0, but got"),
        ({"tiers": ("S=0",)}, "or each with its most parameters, above 0, but got 'S=0'. Write them as S,M,L or"),
        ({"tiers": ("S=nan",)}, "or each with its most parameters, above 0, but got 'S=nan'"),
        ({"tiers": ("S=",)}, "or each with its most parameters, above 0, but got 'S='"),
    ],
)
def test_wrong_choices(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Choice(**values)


def test_any_sub_network_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"

    def chosen(value: object) -> Chosen:
        file.write_text(json.dumps(value))
        return next(iter(choose(results(), Choice(config=str(file))).values()))

    config = {"num_layers": 3, "num_heads": 2, "num_units": 20}
    assert chosen(config) == Chosen(name="mine", sub_network=SPACE.from_config(config))
    written = SPACE.from_config(config).to_json(DIMENSIONS)
    assert chosen(written) == chosen({"sub_network": written}) == chosen(config)
    searched = results().evaluations[1]
    assert chosen(searched.sub_network.to_json(DIMENSIONS)).evaluation == searched  # its error is known
    origin = replace(ORIGIN, options={**ORIGIN.options, "search_space": "small_ordered"}, layer_order=(1, 2, 0))
    file.write_text(json.dumps(config | {"num_layers": 1}))
    cut = next(iter(choose(replace(results(), origin=origin), Choice(config=str(file))).values()))
    assert [layer for layer, heads in enumerate(cut.sub_network.heads) if heads] == [1]
    with pytest.raises(SearchSpaceError):
        chosen({"num_layers": 9, "num_heads": 2, "num_units": 20})
    with pytest.raises(SearchError, match="--config must hold a JSON object"):
        chosen([1, 2])


def test_a_sub_network_of_a_file_takes_no_name_of_another_one(tmp_path: Path) -> None:
    """A copy of one that was searched, edited."""
    file = tmp_path / f"{results().evaluations[1].name}.json"
    file.write_text(json.dumps({"num_layers": 3, "num_heads": 2, "num_units": 20}))
    (chosen,) = choose(results(), Choice(config=str(file))).values()
    assert chosen.evaluation is None
    assert chosen.name == file.name


@pytest.mark.parametrize("name", list(SEARCH_SPACES))
def test_a_config_of_any_space(name: str, tmp_path: Path) -> None:
    origin = replace(ORIGIN, options={**ORIGIN.options, "search_space": name}, layer_order=(1, 2, 0))
    space = create_search_space(name, DIMENSIONS, origin.layer_order)
    wanted = space.draw(np.random.default_rng(0))
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(space.to_config(wanted)))
    (chosen,) = choose(replace(results(), origin=origin), Choice(config=str(file))).values()
    assert chosen.sub_network == wanted


NUM_ROWS = 1000


def told(wrong: float, *, alike: int = 0) -> np.ndarray:
    """Predictions of rows whose label is 0: a share is wrong, first `alike` of the super-network's own mistakes."""
    guesses = np.zeros(NUM_ROWS, dtype=np.int64)
    guesses[:alike] = 1
    guesses[500 : 500 + round(wrong * NUM_ROWS) - alike] = 1
    return guesses


def searched(members: dict[str, tuple[float, np.ndarray]]) -> SearchResult:
    """A search of members with sizes and predictions, all on the front; the first is the super-network."""
    labels = np.zeros(NUM_ROWS, dtype=np.int64)
    evaluations = []
    for number, (name, (size, guesses)) in enumerate(members.items()):
        error = float(np.mean(guesses != labels))
        evaluations.append(member(number, error, int(1000 * size), name=name, error_interval=(error, error)))
    by_name = {name: guesses for name, (_, guesses) in members.items()}
    result = result_of(evaluations)
    assert [one.name for one in result.front] == list(members)
    return replace(result, known_predictions=ValidationPredictions(labels=labels, by_name=by_name))


def reason(chosen: Chosen) -> str:
    assert chosen.reason is not None
    return chosen.reason


def as_measured(result: SearchResult) -> SearchResult:
    return replace(result, known_predictions=None)


FULL = (1.0, told(0.20, alike=200))
SURE = (0.6, told(0.204, alike=200))  # 4 rows newly wrong: an increase of 0.004, at most 0.010
LUCKY = (0.3, told(0.205, alike=100))  # nearly the same error, but 205 rows differ


def test_the_luckiest_is_not_chosen() -> None:
    found = searched({"full": FULL, "sure": SURE, "lucky": LUCKY})
    assert list(choose(as_measured(found), Choice())) == ["lucky"]
    chosen = choose(found, Choice())
    assert list(chosen) == ["sure"]
    assert re.fullmatch(
        r"at most 0\.015 worse than the super-network with 95 % confidence, as far as 1,000 validation rows can tell "
        r"\(measured \+0\.0040, at most \+0\.0(09|10)\d\)\.",
        reason(chosen["sure"]),
    )
    assert list(choose(found, Choice(max_error_increase=0.05))) == ["lucky"]
    assert list(choose(found, Choice(max_error_increase=0.02, confidence=0.5))) == ["lucky"]


def test_where_the_rows_cannot_tell_the_super_network_is_taken_and_told_why() -> None:
    found = searched({"full": FULL, "lucky": LUCKY})
    chosen = choose(found, Choice())
    assert list(chosen) == ["full"]
    assert re.fullmatch(
        "the super-network itself, as no smaller member of the front is at most 0.015 worse than the super-network "
        r"with 95 % confidence, as far as 1,000 validation rows can tell\. The nearest is lucky with 30\.0% of the "
        r"encoder \(measured \+0\.0050, at most \+0\.0\d\d\d\)\. More validation rows tell more; or accept more: "
        r"--max-error-increase 0\.0\d+, or --index 1\.",
        reason(chosen["full"]),
    )
    accepted = re.search(r"--max-error-increase (\S+),", reason(chosen["full"]))
    assert accepted is not None
    assert list(choose(found, Choice(max_error_increase=float(accepted[1])))) == ["lucky"]


def test_of_more_candidates_more_is_asked() -> None:
    """Trials of standard NAS off the front have left no predictions, yet the luckiest was picked among them."""
    found = searched({"full": FULL, "sure": (0.6, told(0.203, alike=198))})
    assert list(choose(found, Choice())) == ["sure"]
    others = [member(9, 0.5, 700, name=f"trial-{number}") for number in range(10_000)]
    found = replace(result_of([*found.evaluations, *others]), known_predictions=found.known_predictions)
    assert list(choose(found, Choice())) == ["full"]


def test_every_choice_says_what_is_known() -> None:
    found = searched({"full": FULL, "sure": SURE, "lucky": LUCKY})
    by_tier = choose(found, Choice(tiers=("S", "M")))
    assert re.fullmatch(
        r"measured \+0\.0050, at most \+0\.0\d\d\d of error above the super-network's with 95 % confidence\.",
        reason(by_tier["S"]),
    )
    assert reason(by_tier["M"]).startswith("at most 0.015 worse")
    old = reason(choose(as_measured(found), Choice(index=1))["sure"])
    assert old == (
        "at most 0.015 worse than the super-network as measured (no predictions are kept to judge by) "
        "(measured +0.0040)."
    )


def test_nothing_that_is_no_better_than_the_trivial_predictor_is_chosen() -> None:
    found = searched({"full": FULL, "sure": SURE, "lucky": LUCKY})
    trivial = TrivialPredictor(name="always 'x'", error=0.203, test_error=0.2)
    found = replace(found, trivial=trivial)
    chosen = choose(found, Choice(max_error_increase=0.05))
    assert list(chosen) == ["full"]
    assert reason(chosen["full"]).endswith("and better than always 'x' (error 0.2030).")
    with pytest.raises(SearchError, match=r"--max-params must find .*, but none that fits is by more than"):
        choose(found, Choice(max_params=0.9))
    found = replace(found, trivial=replace(trivial, error=0.1))
    assert reason(choose(found, Choice())["full"]) == (
        "the super-network itself is no better than always 'x' (error 0.1000). Train it longer or on more rows."
    )
    assert list(choose(found, Choice(max_params=0.9))) == ["sure"]  # nothing has learnt anything
    assert list(choose(found, Choice(index=2))) == ["lucky"]  # by name anything can be had


def test_predictions_of_another_search_are_refused() -> None:
    found = searched({"full": FULL, "sure": SURE})
    predictions = found.known_predictions
    assert predictions is not None
    wrong = replace(predictions, by_name=dict(predictions.by_name) | {"sure": told(0.5)})
    with pytest.raises(SearchError, match=r"validation_predictions\.safetensors must be of the search, but its error"):
        choose(replace(found, known_predictions=wrong), Choice())


def rivals_of(result: SearchResult, choice: Choice) -> list[str] | None:
    (chosen,) = choose(result, choice).values()
    return None if chosen.rivals is None else [rival.name for rival in chosen.rivals.members]


def test_smaller_members_may_take_the_place_of_one_that_was_chosen_by_its_error() -> None:
    members = {"full": FULL, "sure": SURE, "lucky": LUCKY, "poor": (0.2, told(0.3)), "tiny": (0.1, told(0.4))}
    found = searched(members)
    assert rivals_of(found, Choice()) == ["lucky", "poor"]  # the largest first; a quarter of 60 % is above 10 %
    (chosen,) = choose(found, Choice(max_error_increase=0.02, confidence=0.9)).values()
    assert chosen.rivals is not None
    assert (chosen.rivals.limit, chosen.rivals.confidence, chosen.rivals.num_tried) == (0.02, 0.9, 4)
    unsure = searched({name: one for name, one in members.items() if name != "sure"})
    assert rivals_of(unsure, Choice()) == ["lucky"]  # of the super-network itself too
    useless = replace(found, trivial=TrivialPredictor(name="always 'x'", error=0.203, test_error=0.2))
    assert rivals_of(useless, Choice()) == []


def test_members_of_about_its_cost_may_take_the_place_of_one_that_was_chosen_by_it() -> None:
    sizes = {"full": FULL, "half": (0.5, told(0.21)), "near": (0.45, told(0.22)), "far": (0.3, told(0.23))}
    found = searched(sizes)
    assert list(choose(found, Choice(max_params=0.55))) == ["half"]
    assert rivals_of(found, Choice(max_params=0.55)) == ["near"]
    (chosen,) = choose(found, Choice(max_params=0.55)).values()
    assert chosen.rivals is not None and chosen.rivals.limit is None


@pytest.mark.parametrize("choice", [Choice(index=1), Choice(knee=True), Choice(all=True), Choice(tiers=("S", "M"))])
def test_what_was_named_has_no_rivals(choice: Choice) -> None:
    found = searched({"full": FULL, "sure": SURE, "lucky": LUCKY})
    assert all(chosen.rivals is None for chosen in choose(found, choice).values())


def test_without_predictions_nobody_can_promise_anything() -> None:
    assert rivals_of(as_measured(searched({"full": FULL, "sure": SURE, "lucky": LUCKY})), Choice()) is None


def test_candidates_are_spread_from_the_largest_to_the_smallest() -> None:
    members = tuple(member(number, 0.2 + number / 100, 900 - 50 * number) for number in range(12))
    rivals = Rivals(members=members, limit=0.015, confidence=0.95, num_tried=60)
    assert [members.index(one) for one in rivals.spread(3)] == [3, 7, 11]
    assert rivals.spread(20) == members
    assert rivals.spread(0) == ()
    assert replace(rivals, limit=None).spread(3) == members[:3]  # the best ones
