"""Which members of a front are extracted: one by place, knee or constraint, several, or any sub-network of a file.

What is promised of a choice holds with the wanted confidence: an error increase is judged by a bound over all the
sub-networks that were tried, not by the error of the luckiest. No way to choose that looks at errors takes a member
that is no better than the trivial predictor.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from compressor.data.metrics import compute_error
from compressor.data.sources import DataSource
from compressor.data.trivial import TrivialPredictor, is_useful
from compressor.errors import SearchError
from compressor.evaluation.bounds import CONFIDENCE, compare_with_base
from compressor.evaluation.predictions import PREDICTIONS_FILE, ValidationPredictions
from compressor.files import read_json
from compressor.limits import Problem, check_numbers, refuse
from compressor.network.dimensions import EncoderDimensions
from compressor.network.sub_network import SubNetwork
from compressor.search.pareto import find_knee
from compressor.spaces import create_search_space
from mlproject.sources import full_evaluation, read_trivial

SMALL_INCREASE = 0.015
"""Of the error: what the default choice loses at most."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """At most one of these; none is the smallest that surely loses at most `SMALL_INCREASE` of error."""

    knee: bool = False
    """The front member farthest below the line between the front's ends, objectives scaled to 0..1."""
    index: int | None = None
    """Place on the front, by rising error, from 0."""
    max_params: float | None = None
    """Parameters; up to 1 a share of the super-network's."""
    max_error_increase: float | None = None
    """Of the true error above the super-network's, with `confidence`."""
    confidence: float = CONFIDENCE
    """That the increase is no larger."""
    max_latency_ms: float | None = None
    config: str | None = None
    """A JSON file: a config of the search space, or kept heads and units as in `sub_network.json`."""
    all: bool = False
    """The whole front."""
    tiers: tuple[str, ...] = ()
    """Names, from the smallest to the largest, spread over the front by size."""

    def __post_init__(self) -> None:
        ways = [field.name for field in fields(self) if field.name != "confidence"]
        given = [f"--{name.replace('_', '-')}" for name in ways if self._is_given(name)]
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
        check_numbers(self, ("index", "max_params", "max_error_increase", "confidence", "max_latency_ms"), wrong)

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


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the validation rows tell of a member's error above the super-network's."""

    increase: float
    """As measured."""
    at_most: float | None
    """With the wanted confidence; None where the search has kept no predictions."""
    holds: bool
    """Whether the true increase is within the limit, as sure as is wanted; as measured without predictions."""

    def __str__(self) -> str:
        return f"measured {self.increase:+.4f}" + ("" if self.at_most is None else f", at most {self.at_most:+.4f}")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A written search result and what its validation rows tell of the front's members."""

    results: Mapping[str, Any]
    front: list[dict[str, Any]]
    by_name: Mapping[str, Judgement]
    """Of the front's members; empty where the super-network's error is not known."""
    limit: float
    """Of the error's increase."""
    confidence: float
    num_rows: int | None
    """Validation rows behind the bounds; None without predictions."""

    @property
    def trivial(self) -> TrivialPredictor | None:
        """None where an older version wrote the result."""
        return read_trivial(self.results)

    @property
    def useful(self) -> list[dict[str, Any]]:
        """The front's members that are better than the trivial predictor."""
        return [member for member in self.front if self.is_useful(member)]

    def is_useful(self, evaluation: Mapping[str, Any]) -> bool:
        """Whether an evaluation is better than the trivial predictor, by more than its interval where that is known."""
        low, high = evaluation.get("error_interval") or (evaluation["error"], evaluation["error"])
        return is_useful((low, high), self.trivial)

    @property
    def sure(self) -> str:
        """The confidence in words."""
        return f"with {100 * self.confidence:.4g} % confidence"

    @property
    def promise(self) -> str:
        """What a member promises that holds, as far as the rows can tell."""
        if self.num_rows is None:
            return (
                f"at most {self.limit:g} worse than the super-network as measured (no predictions are kept to judge by)"
            )
        return (
            f"at most {self.limit:g} worse than the super-network {self.sure}, as far as {self.num_rows:,} validation "
            "rows can tell"
        )


def choose(
    results: Mapping[str, Any], choice: Choice, predictions: ValidationPredictions | None = None
) -> dict[str, dict[str, Any]]:
    """The chosen evaluations of a written search result, by the names of their folders; `reason` says why each.

    `predictions` are those of the search's validation rows; without them (as an older version left a search) increases
    of the error are taken as measured, and the reason says so. A sub-network of a file has no error yet, unless it was
    searched.

    Raises:
        SearchError: an index off the front, a constraint that nothing meets, or a file that holds no sub-network.
    """
    front = [dict(results["evaluations"][position]) for position in results["front"]]
    if choice.config is not None:
        chosen = _from_file(results, Path(choice.config).expanduser())
        return {chosen["name"]: chosen}
    limit = SMALL_INCREASE if choice.max_error_increase is None else choice.max_error_increase
    judged = judge(results, front, predictions, limit, choice.confidence)
    if choice.all:
        found = {member["name"]: member for member in front}
    elif choice.tiers:
        found = _spread(_require_useful(judged, "--tiers", front), choice.tiers)
    elif choice.index is not None:
        if not 0 <= choice.index < len(front):
            raise SearchError(
                f"--index must lie on the front, in 0..{len(front) - 1}, but got {choice.index}. Correct --index."
            )
        found = {front[choice.index]["name"]: front[choice.index]}
    else:
        chosen = _by_cost(judged, choice) or _by_error(judged, choice)
        found = {chosen["name"]: chosen}
    return {name: {"reason": _describe(judged, member), **member} for name, member in found.items()}


def judge(
    results: Mapping[str, Any],
    front: list[dict[str, Any]],
    predictions: ValidationPredictions | None,
    limit: float,
    confidence: float,
) -> Judged:
    """What the validation rows tell of each front member's increase; the bounds hold for all evaluated ones at once.

    Raises:
        SearchError: the predictions are not those of the search.
    """
    full = full_evaluation(results)
    by_name: dict[str, Judgement] = {}
    num_rows = None
    if full is not None:
        for member in front:
            increase = member["error"] - full["error"]
            by_name[member["name"]] = Judgement(increase=increase, at_most=None, holds=increase <= limit + 1e-12)
    if full is not None and predictions is not None and full["name"] in predictions.by_name:
        metric = DataSource.from_json(results["source"]).task.metric
        _require_same_errors(results, predictions, metric)
        pruned = [e["name"] for e in results["evaluations"] if e["relative_encoder_params"] < 1]
        known = [name for name in pruned if name in predictions.by_name]
        base, others = predictions.by_name[full["name"]], [predictions.by_name[name] for name in known]
        increases = compare_with_base(metric, base, others, predictions.labels, num_candidates=len(pruned))
        holding, bounds = increases.holding(limit, confidence)
        for name, increase, bound, holds in zip(known, increases.values, bounds, holding, strict=True):
            if name in by_name:
                by_name[name] = Judgement(increase=float(increase), at_most=float(bound), holds=bool(holds))
        num_rows = len(predictions.labels)
    if full is not None and full["name"] in by_name:
        by_name[full["name"]] = Judgement(increase=0.0, at_most=None if num_rows is None else 0.0, holds=limit >= 0)
    return Judged(results=results, front=front, by_name=by_name, limit=limit, confidence=confidence, num_rows=num_rows)


def _require_same_errors(results: Mapping[str, Any], predictions: ValidationPredictions, metric: str) -> None:
    for evaluation in results["evaluations"]:
        told = predictions.by_name.get(evaluation["name"])
        if told is not None and abs(compute_error(metric, told, predictions.labels) - evaluation["error"]) > 1e-6:
            raise SearchError(
                f"{PREDICTIONS_FILE} must be of the search, but its error of {evaluation['name']} is not the "
                f"{evaluation['error']:.4f} of the results. Search again."
            )


def _require_useful(judged: Judged, option: str, members: list[dict[str, Any]]) -> list[dict[str, Any]]:
    useful = [member for member in members if judged.is_useful(member)]
    full = full_evaluation(judged.results)
    if full is not None and not judged.is_useful(full):
        return members  # nothing has learnt anything, which a note says of whatever is chosen
    if not useful:
        raise SearchError(
            f"{option} must find a member of the front that is better than {judged.trivial}, but none that fits is by "
            "more than its interval. Train the super-network longer or on more rows, or name a member with --index."
        )
    return useful


def _by_error(judged: Judged, choice: Choice) -> dict[str, Any]:
    """The smallest useful member that surely loses at most `limit` of error; the super-network where there is none.

    The knee on request, and where standard NAS did not finish the super-network. A wide gap in a front attracts it, so
    it can cost much error.

    Raises:
        SearchError: an increase is asked for that cannot be judged, or one below 0 that no member has.
    """
    full, useful = full_evaluation(judged.results), judged.useful
    if full is None and choice.max_error_increase is not None:
        raise SearchError(
            "--max-error-increase must have the super-network's error to start from, but its trial did not end. "
            "Use --index or --max-params."
        )
    if choice.knee or full is None:
        members = useful or judged.front
        return members[find_knee([(member["error"], member["relative_params"]) for member in members])]
    holding = [m for m in useful if m["relative_encoder_params"] < 1 and judged.by_name[m["name"]].holds]
    if holding:
        return min(holding, key=lambda member: (member["params"], member["error"]))
    if judged.limit < 0:
        raise SearchError(
            f"--max-error-increase must be met by a member of the front, but none is {judged.promise}. Raise it."
        )
    return full | {"reason": _describe_none(judged, full)}


def _describe_none(judged: Judged, full: Mapping[str, Any]) -> str:
    """Why the super-network itself is taken."""
    if not judged.is_useful(full):
        return f"the super-network itself is no better than {judged.trivial}. Train it longer or on more rows."
    pruned = [member for member in judged.useful if member["relative_encoder_params"] < 1]
    reason = f"the super-network itself, as no smaller member of the front is {judged.promise}"
    if not pruned:
        return f"{reason} and better than {judged.trivial}."

    def bound(member: Mapping[str, Any]) -> float:
        found = judged.by_name[member["name"]]
        return found.increase if found.at_most is None else found.at_most

    nearest = min(pruned, key=bound)
    return (
        f"{reason}. The nearest is {nearest['name']} with {nearest['relative_encoder_params']:.1%} of the encoder "
        f"({judged.by_name[nearest['name']]}). More validation rows tell more; or accept more: --max-error-increase "
        f"{math.ceil(1000 * bound(nearest)) / 1000:g}, or --index {judged.front.index(nearest)}."
    )


def _describe(judged: Judged, member: Mapping[str, Any]) -> str:
    """What is known of the error of a member that was chosen, in a sentence."""
    found = judged.by_name.get(member["name"])
    if found is None:
        return "the super-network's error is not known."
    if found.holds:
        return f"{judged.promise} ({found})."
    return f"{found} of error above the super-network's{'' if judged.num_rows is None else f' {judged.sure}'}."


def _by_cost(judged: Judged, choice: Choice) -> dict[str, Any] | None:
    """The best front member within the cost that is asked for; None where none is.

    Raises:
        SearchError: none is within it; the message names the nearest.
    """
    if choice.max_params is not None:
        key = "relative_params" if choice.max_params <= 1 else "params"
        return _best(judged, key, choice.max_params, "--max-params")
    if choice.max_latency_ms is not None:
        if any(member.get("latency_ms") is None for member in judged.front):
            raise SearchError(
                "--max-latency-ms must have latencies to look at, but the search did not measure any. "
                "Search with --objectives error,latency_ms."
            )
        return _best(judged, "latency_ms", choice.max_latency_ms, "--max-latency-ms")
    return None


def _best(judged: Judged, key: str, limit: float, option: str) -> dict[str, Any]:
    meeting = [member for member in judged.front if member[key] <= limit]
    if not meeting:
        nearest = min(judged.front, key=lambda member: member[key])
        raise SearchError(
            f"{option} must be met by a member of the front, but none has {limit:g} or less; the nearest is "
            f"{nearest['name']} with {nearest[key]:.6g} (error {nearest['error']:.4f}). Raise {option}"
            + (" (up to 1 a share, above 1 a number of parameters)." if option == "--max-params" else ".")
        )
    return min(_require_useful(judged, option, meeting), key=lambda member: (member["error"], member[key]))


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
