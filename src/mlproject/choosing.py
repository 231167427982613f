"""Which members of a front are extracted: one by place, knee or constraint, several, or any sub-network of a file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from compressor.dimensions import EncoderDimensions
from compressor.errors import SearchError
from compressor.files import read_json
from compressor.limits import Problem, check_numbers, refuse
from compressor.pareto import find_knee
from compressor.search_spaces import create_search_space
from compressor.sub_network import SubNetwork
from mlproject.sources import full_evaluation

SMALL_ENCODER = 0.5
"""The share of the encoder that the default choice wants at most."""
SMALL_INCREASE = 0.015
"""Of the error: what the default choice takes for nothing lost."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """At most one of these; none is the smallest with little error lost, or the best with half of the encoder."""

    knee: bool = False
    """The front member farthest below the line between the front's ends, objectives scaled to 0..1."""
    index: int | None = None
    """Place on the front, by rising error, from 0."""
    max_params: float | None = None
    """Parameters; up to 1 a share of the super-network's."""
    max_error_increase: float | None = None
    """Above the super-network's validation error."""
    max_latency_ms: float | None = None
    config: str | None = None
    """A JSON file: a config of the search space, or kept heads and units as in `sub_network.json`."""
    all: bool = False
    """The whole front."""
    tiers: tuple[str, ...] = ()
    """Names, from the smallest to the largest, spread over the front by size."""

    def __post_init__(self) -> None:
        given = [f"--{field.name.replace('_', '-')}" for field in fields(self) if self._is_given(field.name)]
        wrong = []
        if len(given) > 1:
            wrong.append(
                Problem(option="one way to choose", law="given", value=" and ".join(given), remedy="Drop all but one.")
            )
        unfit = [name for name in self.tiers if not re.fullmatch(r"[^\W_][\w-]{0,49}", name)]
        if len(set(self.tiers)) < len(self.tiers) or unfit:
            wrong.append(
                Problem(
                    option="--tiers",
                    law="different names of letters and digits, up to 50 of them",
                    value=repr(",".join(self.tiers)[:100]),
                    remedy="Write them as S,M,L.",
                )
            )
        check_numbers(self, ("index", "max_params", "max_error_increase", "max_latency_ms"), wrong)

    def _is_given(self, name: str) -> bool:
        value = getattr(self, name)
        return value is not None and value is not False and value != ()  # an index of 0 is given

    @property
    def several(self) -> bool:
        """Whether more than one model is made, each in a folder of its own."""
        return self.all or bool(self.tiers)


def require_fit(choice: Choice, objectives: Sequence[str], num_samples: int) -> None:
    """Raises where no search with these objectives and so many samples can give what the choice asks for.

    Raises:
        OptionError: it cannot.
    """
    problems = []
    if choice.max_latency_ms is not None and "latency_ms" not in objectives:
        problems.append(
            Problem(
                option="--max-latency-ms",
                law="given with the objective latency_ms",
                value=f"--objectives {','.join(objectives)}",
                remedy="Add --objectives error,latency_ms.",
            )
        )
    if choice.index is not None and choice.index >= num_samples:
        problems.append(
            Problem(
                option="--index",
                law=f"below --num-samples, {num_samples}",
                value=str(choice.index),
                remedy="Lower it, or search for longer.",
            )
        )
    refuse(problems)


def choose(results: Mapping[str, Any], choice: Choice) -> dict[str, dict[str, Any]]:
    """The chosen evaluations of a written search result, by the names of their folders.

    A sub-network of a file has no error yet, unless it was searched.

    Raises:
        SearchError: an index off the front, a constraint that nothing meets, or a file that holds no sub-network.
    """
    front = [dict(results["evaluations"][position]) for position in results["front"]]
    if choice.config is not None:
        chosen = _from_file(results, Path(choice.config).expanduser())
    elif choice.all:
        return {member["name"]: member for member in front}
    elif choice.tiers:
        return _spread(front, choice.tiers)
    elif choice.index is not None:
        if not 0 <= choice.index < len(front):
            raise SearchError(
                f"--index must lie on the front, in 0..{len(front) - 1}, but got {choice.index}. Correct --index."
            )
        chosen = front[choice.index]
    else:
        chosen = _by_constraint(results, front, choice) or _by_default(results, front, choice.knee)
    return {chosen["name"]: chosen}


def _by_default(results: Mapping[str, Any], front: list[dict[str, Any]], knee: bool) -> dict[str, Any]:
    """The smallest member with little error above the super-network's; where that has more than half of the encoder,
    the best of those that have not, if there are any: distillation after extraction lowers its error further.

    The knee on request, and where standard NAS did not finish the super-network. A wide gap in a front attracts it, so
    it can cost much error.
    """
    full = full_evaluation(results)
    if knee or full is None:
        return front[find_knee([(member["error"], member["relative_params"]) for member in front])]
    good = [member for member in front if member["error"] <= full["error"] + SMALL_INCREASE + 1e-12]
    small = [member for member in front if member["relative_encoder_params"] <= SMALL_ENCODER]
    chosen = min(good, key=lambda member: (member["params"], member["error"]))
    return (
        chosen if chosen in small or not small else min(small, key=lambda member: (member["error"], member["params"]))
    )


def _by_constraint(results: Mapping[str, Any], front: list[dict[str, Any]], choice: Choice) -> dict[str, Any] | None:
    """The best front member that meets the constraint; None without one.

    Raises:
        SearchError: none meets it; the message names the nearest.
    """
    if choice.max_params is not None:
        key = "relative_params" if choice.max_params <= 1 else "params"
        return _best(front, key, choice.max_params, "--max-params", by="error")
    if choice.max_latency_ms is not None:
        if any(member.get("latency_ms") is None for member in front):
            raise SearchError(
                "--max-latency-ms must have latencies to look at, but the search did not measure any. "
                "Search with --objectives error,latency_ms."
            )
        return _best(front, "latency_ms", choice.max_latency_ms, "--max-latency-ms", by="error")
    if choice.max_error_increase is not None:
        full = full_evaluation(results)
        if full is None:
            raise SearchError(
                "--max-error-increase must have the super-network's error to start from, but its trial did not end. "
                "Use --index or --max-params."
            )
        for member in front:
            member["error_increase"] = member["error"] - full["error"]
        limit = choice.max_error_increase + 1e-12
        found = _best(front, "error_increase", limit, "--max-error-increase", by="params")
        return {key: value for key, value in found.items() if key != "error_increase"}
    return None


def _best(front: list[dict[str, Any]], key: str, limit: float, option: str, *, by: str) -> dict[str, Any]:
    meeting = [member for member in front if member[key] <= limit]
    if not meeting:
        nearest = min(front, key=lambda member: member[key])
        raise SearchError(
            f"{option} must be met by a member of the front, but none has {limit:g} or less; the nearest is "
            f"{nearest['name']} with {nearest[key]:.6g} (error {nearest['error']:.4f}). Raise {option}"
            + (" (up to 1 a share, above 1 a number of parameters)." if option == "--max-params" else ".")
        )
    return min(meeting, key=lambda member: (member[by], member[key]))


def _spread(front: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Different members nearest to evenly spaced sizes, from the smallest to the largest that is pruned at all."""
    if len(front) < len(names):
        raise SearchError(
            f"--tiers must be at most as many as the front has members, {len(front)}, but got {len(names)}. "
            "Name fewer, or search longer."
        )
    pruned = [member for member in front if member["relative_encoder_params"] < 1]
    by_size = sorted(pruned if len(pruned) >= len(names) else front, key=lambda member: member["params"])
    low, high = by_size[0]["params"], by_size[-1]["params"]
    chosen: dict[str, dict[str, Any]] = {}
    first = 0
    for number, name in enumerate(names):
        share = number / (len(names) - 1) if len(names) > 1 else 0.5
        target = low + (high - low) * share
        last = len(by_size) - (len(names) - number)  # leaves a member for each tier that follows
        place = min(range(first, last + 1), key=lambda place: abs(by_size[place]["params"] - target))
        chosen[name] = by_size[place]
        first = place + 1
    return chosen


def _from_file(results: Mapping[str, Any], path: Path) -> dict[str, Any]:
    written = read_json(path)
    dimensions = EncoderDimensions.from_json(results["dimensions"])
    if isinstance(written, dict) and "sub_network" in written:
        written = written["sub_network"]
    if isinstance(written, dict) and "heads" in written:
        sub_network = SubNetwork.from_json(written, dimensions)
    else:
        if not isinstance(written, dict):
            raise SearchError(
                f"--config must hold a JSON object, but {path} holds {type(written).__name__}. "
                "Write a config or a sub_network.json."
            )
        space = create_search_space(results["options"]["search_space"], dimensions, results.get("layer_order", ()))
        sub_network = space.from_config(written)
    known = {evaluation["sub_network"]: evaluation for evaluation in results["evaluations"]}
    found = known.get(sub_network.hash)
    return dict(found) if found is not None else {"name": path.stem, "kept": sub_network.to_json(dimensions)}
