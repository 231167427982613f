"""Which members of a front are extracted: one by place, knee or constraint, several, or any sub-network of a file.

What is promised of a choice holds with the wanted confidence: an error increase is judged by a bound over all the
sub-networks that were tried, not by the error of the luckiest. No way to choose that looks at errors takes a member
that is no better than the trivial predictor.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.data.metrics import compute_error
from compressor.data.metrics.trivial import is_useful
from compressor.errors import SearchError
from compressor.evaluation.bounds import compare_with_base
from compressor.evaluation.pareto import find_knee
from compressor.evaluation.predictions import PREDICTIONS_FILE, ValidationPredictions
from compressor.files import read_json
from compressor.network.sub_network import SubNetwork
from compressor.search.options import NUM_RIVALS, SMALL_INCREASE, Choice
from compressor.spaces import create_search_space

if TYPE_CHECKING:
    from compressor.search.record import EvaluatedSubNetwork, SearchResult


_LEAST_SHARE = 0.25
"""Rivals that are to be smaller have at least this share of the encoder parameters of the one whose place they want."""
_NEAR_COST = 0.7
"""Rivals within a cost have at least this share of what the chosen one costs: they are to use what may be spent."""


@dataclass(frozen=True, kw_only=True)
class Rivals:
    """Members of the front that may take a chosen one's place once they are distilled: ranks change by that."""

    members: "tuple[EvaluatedSubNetwork, ...]"
    limit: float | None
    """The smallest whose error is then surely at most so far above the super-network's is taken; None: the one of the
    smallest error."""
    confidence: float
    num_tried: int
    """Sub-networks that were evaluated, among which the lucky ones were found."""

    def spread(self, num: int) -> "tuple[EvaluatedSubNetwork, ...]":
        """Return at most `num` of them, evenly spread from the largest to the smallest, or the `num` best."""
        if self.limit is None or len(self.members) <= num or num == 0:
            return self.members[:num]
        # Not the largest itself: it is the least gain.
        places = [round((step + 1) * len(self.members) / num) - 1 for step in range(num)]
        return tuple(self.members[place] for place in places)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A sub-network that was chosen, and why."""

    name: str
    sub_network: SubNetwork
    evaluation: "EvaluatedSubNetwork | None" = None
    """None for a sub-network of a file that was not searched."""
    reason: str | None = None
    """What is promised of its error, in a sentence."""
    holds: bool = False
    """Whether its error is surely at most so far above the super-network's as it was chosen by, by default 0.015."""
    rivals: Rivals | None = None
    """Who may take its place once distilled; None where one member was named, or several."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the validation rows say of a member's error above the super-network's."""

    increase: float
    """As measured."""
    at_most: float | None
    """With the wanted confidence; None where the search has kept no predictions."""
    holds: bool
    """Whether the true increase is within the limit, as sure as is wanted; as measured without predictions."""

    @property
    def bound(self) -> float:
        """The increase that is to be reckoned with."""
        return self.increase if self.at_most is None else self.at_most

    def __str__(self) -> str:
        return f"measured {self.increase:+.4f}" + ("" if self.at_most is None else f", at most {self.at_most:+.4f}")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A search result and what its validation rows say of the front's members."""

    result: "SearchResult"
    front: "list[EvaluatedSubNetwork]"
    by_name: Mapping[str, Judgement]
    """Judgements of the front's members; empty where the super-network's error is not known."""
    limit: float
    """The limit of the error's increase."""
    confidence: float
    num_rows: int | None
    """Validation rows behind the bounds, of a reranker queries; None without predictions."""

    @property
    def useful(self) -> "list[EvaluatedSubNetwork]":
        """The front's members that are better than the trivial predictor."""
        return [member for member in self.front if self.is_useful(member)]

    def is_useful(self, evaluation: "EvaluatedSubNetwork") -> bool:
        """Return whether an evaluation is better than the trivial predictor: by more than its interval, if known."""
        return is_useful(evaluation.error_range, self.result.trivial)

    @property
    def sure(self) -> str:
        """The confidence in words."""
        return describe_confidence(self.confidence)

    @property
    def rows(self) -> str:
        """What is judged as one."""
        return self.result.made_of.source.task.judged

    @property
    def promise(self) -> str:
        """What a member promises that holds, as far as the rows can tell."""
        if self.num_rows is None:
            return (
                f"at most {self.limit:g} worse than the super-network as measured (no predictions are kept to judge by)"
            )
        return (
            f"at most {self.limit:g} worse than the super-network {self.sure}, as far as {self.num_rows:,} validation "
            f"{self.rows} can tell"
        )


def describe_confidence(confidence: float) -> str:
    """Return how sure a promise is, in words."""
    return f"with {100 * confidence:.4g} % confidence"


def choose(result: "SearchResult", choice: Choice) -> dict[str, Chosen]:
    """Choose sub-networks of a search result, by the names of their folders.

    Without predictions (as an older version left a search) increases of the error are taken as measured, and the reason
    says so. A sub-network of a file has no error yet, unless it was searched.

    Raises:
        SearchError: an index off the front, a constraint that nothing meets, or a file that holds no sub-network.
    """
    # A file names the sub-network itself, whatever the front is.
    if choice.config is not None:
        chosen = _from_file(result, Path(choice.config).expanduser())
        return {chosen.name: chosen}
    limit = SMALL_INCREASE if choice.max_error_increase is None else choice.max_error_increase
    judged = judge(result, limit, choice.confidence)
    front = judged.front
    # `Choice` lets through one of these ways; those that name members have no rivals, as they say whom they want.
    if choice.all:
        found = {member.name: member for member in front}
    elif choice.tiers:
        found = _by_tier(judged, choice)
    elif choice.index is not None:
        if not 0 <= choice.index < len(front):
            raise SearchError(
                f"--index must lie on the front, in 0..{len(front) - 1}, but got {choice.index}. Correct --index."
            )
        found = {front[choice.index].name: front[choice.index]}
    # `_by_cost` gives None where no cost is limited: then the error decides.
    else:
        member = _by_cost(judged, choice) or _by_error(judged, choice)
        # None holds what is asked for: the super-network itself is taken, and the reason says why.
        if member is None:
            assert result.full is not None
            member, reason = result.full, _describe_none(judged, result.full)
        else:
            reason = _describe(judged, member)
        return {member.name: replace(_chosen(judged, member, reason), rivals=_rivals(judged, choice, member))}
    return {name: _chosen(judged, member, _describe(judged, member)) for name, member in found.items()}


def _chosen(judged: "Judged", member: "EvaluatedSubNetwork", reason: str) -> Chosen:
    known = judged.by_name.get(member.name)
    holds = member.is_full or (known is not None and known.holds)
    return Chosen(name=member.name, sub_network=member.sub_network, evaluation=member, reason=reason, holds=holds)


def _rivals(judged: "Judged", choice: Choice, chosen: "EvaluatedSubNetwork") -> Rivals | None:
    """Return who may take the place of a member that was chosen by its error or by a cost; None where nobody may."""
    if choice.knee or judged.result.full is None or (choice.limited_cost is None and judged.num_rows is None):
        return None
    others = [m for m in judged.useful if m.name != chosen.name and m.relative_encoder_params < 1]
    # By the error: smaller members than the chosen one, the largest of them first, as it is the likeliest to hold.
    if choice.limited_cost is None:
        least = _LEAST_SHARE * chosen.encoder_params
        members = [m for m in others if least <= m.encoder_params and m.params < chosen.params]
        members.sort(key=lambda member: -member.params)
    # By a cost: members within the limit that cost about as much as the chosen one, the best first.
    else:
        _, cost, most = choice.limited_cost
        wanted = _costs(chosen)[cost]
        members = [m for m in others if _NEAR_COST * wanted <= _costs(m)[cost] <= most]
        members.sort(key=lambda member: (member.error, member.params))
    return Rivals(
        members=tuple(members[:NUM_RIVALS]),
        limit=judged.limit if choice.limited_cost is None else None,
        confidence=judged.confidence,
        num_tried=sum(e.relative_encoder_params < 1 for e in judged.result.evaluations),
    )


def judge(result: "SearchResult", limit: float, confidence: float) -> Judged:
    """Judge each front member's increase by the validation rows; the bounds hold for all evaluated ones at once.

    Raises:
        SearchError: the predictions are not those of the search.
    """
    front, full, predictions = result.front, result.full, result.predictions
    by_name: dict[str, Judgement] = {}
    num_rows = None
    if full is not None:
        for member in front:
            increase = member.error - full.error
            by_name[member.name] = Judgement(
                increase=increase, at_most=None, holds=increase <= limit + 1e-12
            )  # 0.3 - 0.2
    if full is not None and predictions is not None and full.name in predictions.by_name:
        metric = result.made_of.source.task.metric
        _require_same_errors(result, predictions, metric)
        # All that were tried, not the front alone: the front is already the luckiest of them.
        pruned = [e.name for e in result.evaluations if e.relative_encoder_params < 1]
        known = [name for name in pruned if name in predictions.by_name]
        base, others = predictions.by_name[full.name], [predictions.by_name[name] for name in known]
        increases = compare_with_base(
            metric, base, others, predictions.labels, predictions.structure, num_candidates=len(pruned)
        )
        holding, bounds = increases.holding(limit, confidence)
        for name, increase, bound, holds in zip(known, increases.values, bounds, holding, strict=True):
            if name in by_name:
                by_name[name] = Judgement(increase=float(increase), at_most=float(bound), holds=bool(holds))
        num_rows = increases.effects.shape[1]
    if full is not None and full.name in by_name:
        # Against itself nothing is estimated: the increase is 0 for certain.
        by_name[full.name] = Judgement(increase=0.0, at_most=None if num_rows is None else 0.0, holds=limit >= 0)
    return Judged(result=result, front=front, by_name=by_name, limit=limit, confidence=confidence, num_rows=num_rows)


def _require_same_errors(result: "SearchResult", predictions: ValidationPredictions, metric: str) -> None:
    for evaluation in result.evaluations:
        predicted = predictions.by_name.get(evaluation.name)
        if predicted is None:
            continue
        error = compute_error(metric, predicted, predictions.labels, predictions.structure)
        if abs(error - evaluation.error) > 1e-6:  # predictions are kept as float32
            raise SearchError(
                f"{PREDICTIONS_FILE} must be of the search, but its error of {evaluation.name} is not the "
                f"{evaluation.error:.4f} of the results. Search again."
            )


def _require_useful(
    judged: Judged, option: str, members: "Sequence[EvaluatedSubNetwork]"
) -> "Sequence[EvaluatedSubNetwork]":
    useful = [member for member in members if judged.is_useful(member)]
    full = judged.result.full
    if full is not None and not judged.is_useful(full):
        return members  # nothing has learnt anything, which a note says of whatever is chosen
    if not useful:
        raise SearchError(
            f"{option} must find a member of the front that is better than {judged.result.trivial}, but none that fits "
            "is by more than its interval. Train the super-network longer or on more rows, or name a member with "
            "--index."
        )
    return useful


def _by_error(judged: Judged, choice: Choice) -> "EvaluatedSubNetwork | None":
    """Return the smallest useful member that surely loses at most `limit` of error; None where there is none.

    The knee on request, and where standard NAS did not finish the super-network. A wide gap in a front attracts it, so
    it can cost much error.

    Raises:
        SearchError: an increase is asked for that cannot be judged, or one below 0 that no member has.
    """
    full, useful = judged.result.full, judged.useful
    if full is None and choice.max_error_increase is not None:
        raise SearchError(
            "--max-error-increase must have the super-network's error to start from, but its trial did not end. "
            "Use --index or --max-params."
        )
    if choice.knee or full is None:
        # Where nothing is better than the trivial predictor there is still a knee among all.
        members = useful or judged.front
        return members[find_knee([(member.error, member.relative_params) for member in members])]
    # Share 1 is the super-network itself, which would always hold.
    holding = [m for m in useful if m.relative_encoder_params < 1 and judged.by_name[m.name].holds]
    if holding:
        # By parameters whatever was minimised: every search knows them.
        return min(holding, key=lambda member: (member.params, member.error))
    # A limit below 0 asks for a gain, which the super-network has no more than others: it is no answer here.
    if judged.limit < 0:
        raise SearchError(
            f"--max-error-increase must be met by a member of the front, but none is {judged.promise}. Raise it."
        )
    return None


def _describe_none(judged: Judged, full: "EvaluatedSubNetwork") -> str:
    """Say why the super-network itself is taken."""
    trivial = judged.result.trivial
    if not judged.is_useful(full):
        return f"the super-network itself is no better than {trivial}. Train it longer or on more rows."
    pruned = [member for member in judged.useful if member.relative_encoder_params < 1]
    reason = f"the super-network itself, as no smaller member of the front is {judged.promise}"
    if not pruned:
        return f"{reason} and better than {trivial}."
    # By the bound, because that is what a larger limit would be compared with.
    nearest = min(pruned, key=lambda member: judged.by_name[member.name].bound)
    found = judged.by_name[nearest.name]
    return (
        f"{reason}. The nearest is {nearest.name} with {nearest.relative_encoder_params:.1%} of the encoder ({found}). "
        f"More validation {judged.rows} tell more; or accept more: "
        f"--max-error-increase {math.ceil(1000 * found.bound) / 1000:g}"
        f", or --index {judged.front.index(nearest)}."
    )


def _describe(judged: Judged, member: "EvaluatedSubNetwork") -> str:
    """Say in a sentence what is known of the error of a member that was chosen."""
    found = judged.by_name.get(member.name)
    if found is None:
        return "the super-network's error is not known."
    if found.holds:
        return f"{judged.promise} ({found})."
    return f"{found} of error above the super-network's{'' if judged.num_rows is None else f' {judged.sure}'}."


def _by_cost(judged: Judged, choice: Choice) -> "EvaluatedSubNetwork | None":
    """Return the best front member within the cost that is asked for; None where none is asked for.

    Raises:
        SearchError: none is within it; the message names the nearest.
    """
    if choice.limited_cost is None:
        return None
    option, cost, limit = choice.limited_cost
    if any(cost not in _costs(member) for member in judged.front):
        raise SearchError(
            f"{option} must have values of {cost} to look at, but the search did not measure any. "
            f"Search with --objectives error,{cost}."
        )
    return _best(judged, cost, limit, option)


def _costs(member: "EvaluatedSubNetwork") -> dict[str, float]:
    return member.objectives | {"relative_params": member.relative_params}


def _best(judged: Judged, cost: str, limit: float, option: str) -> "EvaluatedSubNetwork":
    def cost_of(member: "EvaluatedSubNetwork") -> float:
        return float(_costs(member)[cost])

    meeting = [member for member in judged.front if cost_of(member) <= limit]
    if not meeting:
        # Named in the message, so that the user sees how far to raise the limit.
        nearest = min(judged.front, key=cost_of)
        raise SearchError(
            f"{option} must be met by a member of the front, but none has {limit:g} or less; the nearest is "
            f"{nearest.name} with {cost_of(nearest):.6g} (error {nearest.error:.4f}). Raise {option}"
            + (
                " (up to 1 a share, above 1 a number of parameters)."
                if option.startswith(("--max-params", "--tiers"))
                else "."
            )
        )
    # Of equal errors the cheaper one.
    return min(_require_useful(judged, option, meeting), key=lambda member: (member.error, cost_of(member)))


def _by_tier(judged: Judged, choice: Choice) -> "dict[str, EvaluatedSubNetwork]":
    """Return a member of the front for each tier: spread by size, or each the best within its own size.

    Raises:
        SearchError: there are too few members, none is within a size, or one would be of two tiers.
    """
    sizes = {name: size for name, size in choice.tier_sizes.items() if size is not None}
    # Names without sizes: tiers are spread over what the front has.
    if not sizes:
        return _spread(_require_useful(judged, "--tiers", judged.front), choice.tiers)
    found = {
        # Up to 1 a size is a share of the parameters, above 1 a number of them.
        name: _best(judged, "relative_params" if size <= 1 else "params", size, f"--tiers {name}=")
        for name, size in sizes.items()
    }
    # By each member the first tier that got it.
    first: dict[str, str] = {}
    for name, member in found.items():
        if first.setdefault(member.name, name) != name:
            raise SearchError(
                f"--tiers must be of different members, but {first[member.name]} and {name} are both {member.name} "
                f"({member.params:,} parameters). Move their sizes apart, or search longer."
            )
    return found


def _spread(front: "Sequence[EvaluatedSubNetwork]", names: tuple[str, ...]) -> "dict[str, EvaluatedSubNetwork]":
    """Return different members nearest to evenly spaced sizes, from the smallest to the largest that is pruned."""
    if len(front) < len(names):
        raise SearchError(
            f"--tiers must be at most as many as the front has members, {len(front)}, but got {len(names)}. "
            "Name fewer, or search longer."
        )
    # Without the whole network, if others are enough: a family of which one is unpruned is none that anybody wants.
    pruned = [member for member in front if member.relative_encoder_params < 1]
    by_size = sorted(pruned if len(pruned) >= len(names) else front, key=lambda member: member.params)
    low, high = by_size[0].params, by_size[-1].params
    chosen: dict[str, EvaluatedSubNetwork] = {}
    first = 0
    for number, name in enumerate(names):
        share = number / (len(names) - 1) if len(names) > 1 else 0.5
        target = low + (high - low) * share
        last = len(by_size) - (len(names) - number)  # leaves a member for each tier that follows
        place = min(range(first, last + 1), key=lambda place: abs(by_size[place].params - target))
        chosen[name] = by_size[place]
        first = place + 1
    return chosen


def _from_file(result: "SearchResult", path: Path) -> Chosen:
    written, origin = read_json(path), result.made_of
    # What an extraction writes has the sub-network below a key of its own.
    if isinstance(written, dict) and "sub_network" in written:
        written = written["sub_network"]
    if not isinstance(written, dict):
        raise SearchError(
            f"--config must hold a JSON object, but {path} holds {type(written).__name__}. "
            "Write a config or a sub_network.json."
        )
    space = create_search_space(origin.search_space, origin.dimensions, origin.layer_order)
    # A config of `large` has the keys of a written sub-network, its sets as text.
    has_text = isinstance(written.get("heads"), str) and "heads" in space.to_config(space.smallest)
    if "heads" in written and not has_text:
        sub_network = SubNetwork.from_json(written, origin.dimensions)
    else:
        sub_network = space.from_config(written)
    # One that was searched keeps its name, and with it error and costs.
    found = next((e for e in result.evaluations if e.sub_network == sub_network), None)
    if found is None:
        # Not the name of another one, as of a copy that was edited: by it a report would show that one's figures.
        taken = {e.name for e in result.evaluations}
        return Chosen(name=path.name if path.stem in taken else path.stem, sub_network=sub_network)
    return Chosen(name=found.name, sub_network=sub_network, evaluation=found)
