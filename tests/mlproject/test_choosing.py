"""Which member of a front each way to choose takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import OptionError, SearchError, SearchSpaceError
from compressor.search_spaces import create_search_space
from conftest import DIMENSIONS
from mlproject.choosing import Choice, choose

SPACE = create_search_space("small", DIMENSIONS)


def member(number: int, error: float, params: int, **more: Any) -> dict[str, Any]:
    sub_network = SPACE.from_config(
        {"num_layers": 1 + number % 3, "num_heads": 1 + number % 4, "num_units": 2 + number}
    )
    return {
        "name": f"subnet-{number:03d}",
        "error": error,
        "params": params,
        "relative_params": params / 1000,
        "relative_encoder_params": params / 1000,
        "sub_network": sub_network.hash,
        "kept": sub_network.to_json(DIMENSIONS),
        **more,
    }


def results(**more: Any) -> dict[str, Any]:
    """A front of five, and a dominated one; the super-network first."""
    evaluations = [
        member(0, 0.20, 1000),
        member(1, 0.50, 900),
        member(2, 0.21, 800),
        member(3, 0.22, 500),
        member(4, 0.35, 450),
        member(5, 0.60, 100),
    ]
    return {
        "evaluations": [evaluation | more for evaluation in evaluations],
        "front": [0, 2, 3, 4, 5],
        "dimensions": DIMENSIONS.to_json(),
        "options": {"search_space": "small"},
    }


@pytest.mark.parametrize(
    ("errors", "params", "name"),
    [
        ((0.20, 0.21, 0.215, 0.30), (1000, 800, 300, 100), "subnet-002"),  # the smallest that loses nothing
        ((0.20, 0.21, 0.23, 0.30), (1000, 800, 500, 100), "subnet-002"),  # that is too large: the best of half of it
        ((0.20, 0.21, 0.23, 0.30), (1000, 800, 700, 600), "subnet-001"),  # none is small
        ((0.20,), (1000,), "subnet-000"),
    ],
)
def test_default(errors: tuple[float, ...], params: tuple[int, ...], name: str) -> None:
    evaluations = [member(number, *values) for number, values in enumerate(zip(errors, params, strict=True))]
    found = {**results(), "evaluations": evaluations, "front": list(range(len(errors)))}
    assert list(choose(found, Choice())) == [name]


def test_without_the_super_network_the_default_is_the_knee() -> None:
    found = results()
    found["front"] = [2, 3, 4, 5]
    found["evaluations"][0]["relative_encoder_params"] = 0.99
    assert choose(found, Choice()) == choose(found, Choice(knee=True))


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (Choice(), "subnet-003"),
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
    with pytest.raises(SearchError, match="--max-latency-ms must have latencies to look at"):
        choose(results(), Choice(max_latency_ms=3))
    measured = results()
    for evaluation in measured["evaluations"]:
        evaluation["latency_ms"] = evaluation["params"] / 100
    assert list(choose(measured, Choice(max_latency_ms=5))) == ["subnet-003"]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(index=5), r"--index must lie on the front, in 0\.\.4, but got 5"),
        (
            Choice(max_params=0.05),
            "--max-params must be met by a member of the front, but none has 0.05 or less; the nearest is subnet-005 "
            r"with 0.1 \(error 0.6000\). Raise --max-params",
        ),
        (Choice(max_error_increase=-0.1), "the nearest is subnet-000 with 0"),
        (Choice(tiers=tuple("abcdef")), "--tiers must be at most as many as the front has members, 5, but got 6"),
    ],
)
def test_what_nothing_meets(choice: Choice, message: str) -> None:
    with pytest.raises(SearchError, match=message):
        choose(results(), choice)


def test_several() -> None:
    assert list(choose(results(), Choice(all=True))) == [f"subnet-{i:03d}" for i in (0, 2, 3, 4, 5)]
    tiers = choose(results(), Choice(tiers=("S", "M", "L")))
    assert {name: chosen["name"] for name, chosen in tiers.items()} == {
        "S": "subnet-005",
        "M": "subnet-004",
        "L": "subnet-002",
    }
    assert len({e["name"] for e in choose(results(), Choice(tiers=tuple("abcde"))).values()}) == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"index": 0, "knee": True}, "one way to choose must be given, but got --knee and --index. Drop all but one."),
        ({"all": True, "max_params": 0.5}, "but got --max-params and --all"),
        ({"max_params": 0.0}, "--max-params must be above 0, but got 0"),
        ({"index": -1}, "--index must be at least 0, but got -1"),
        ({"tiers": ("S", "S")}, "--tiers must be different names"),
        ({"tiers": ("../S", "M")}, "--tiers must be different names of letters and digits"),
    ],
)
def test_wrong_choices(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Choice(**values)


def test_any_sub_network_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"

    def chosen(value: object) -> dict[str, Any]:
        file.write_text(json.dumps(value))
        return next(iter(choose(results(), Choice(config=str(file))).values()))

    config = {"num_layers": 3, "num_heads": 2, "num_units": 20}
    assert chosen(config)["kept"] == SPACE.from_config(config).to_json(DIMENSIONS)
    assert chosen(config)["name"] == "mine"
    written = SPACE.from_config(config).to_json(DIMENSIONS)
    assert chosen(written) == chosen({"sub_network": written}) == chosen(config)
    assert chosen(results()["evaluations"][1]["kept"])["name"] == "subnet-001"  # it was searched: its error is known
    ordered = results() | {"options": {"search_space": "small_ordered"}, "layer_order": [1, 2, 0]}
    file.write_text(json.dumps(config | {"num_layers": 1}))
    cut = next(iter(choose(ordered, Choice(config=str(file))).values()))
    assert [layer for layer, heads in enumerate(cut["kept"]["heads"]) if heads] == [1]
    with pytest.raises(SearchSpaceError):
        chosen({"num_layers": 9, "num_heads": 2, "num_units": 20})
    with pytest.raises(SearchError, match="--config must hold a JSON object"):
        chosen([1, 2])
