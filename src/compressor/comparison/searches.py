"""Several searches brought to one scale: groups that differ only in seeds, one cost, one reference point.

Errors compare on the same rows and by the same metric only. Costs are shares of the super-network's where all searches
have the same one, absolute where the base models differ.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from compressor.errors import SearchError
from compressor.evaluation.pareto import attainment_surfaces, compute_hypervolume, find_front
from compressor.search.objectives import OBJECTIVES, REFERENCE, main_cost
from compressor.search.record import EvaluatedSubNetwork, FindSuperNetwork, MeasuredAt, SearchOrigin, SearchResult
from compressor.training.super_network import TrainingRecord

Identity = dict[str, Any]
_NAMES = ("kind", "model_name_or_path", "search_space", "search_strategy", "sampling_strategy", "objectives")
"""Names of what tells groups apart, those whose values explain themselves."""
_SEEDS = ("seed", "training_seed")
_SAME_RESULT = ("per_device_eval_batch_size", "num_workers")
"""Options that change the time a search takes, not what is searched."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One search on the common scale."""

    path: Path
    identity: Identity
    """What it is, without its seeds."""
    seeds: tuple[int, ...]
    """The seeds of the search, and of the training where it is known."""
    result: SearchResult
    points: tuple[tuple[float, float], ...]
    """Error and cost of each evaluation."""
    front: tuple[int, ...]
    """The places, in the front, of the points, by rising error."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Searches that differ only in their seeds."""

    name: str
    searches: tuple[Compared, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several searches on one scale."""

    task: str
    metric: str
    data_digest: str
    cost: str
    shared_base: bool
    """Whether all have the same super-network's sizes, so that costs are shares."""
    reference: tuple[float, float]
    """Error and cost of the hypervolumes' reference point."""
    groups: tuple[Group, ...]

    def hypervolume(self, points: Sequence[tuple[float, float]]) -> float:
        """Return the share of the area up to the reference point that the points dominate."""
        error, cost = self.reference
        return compute_hypervolume([(e / error, c / cost) for e, c in points], (1.0, 1.0))

    def mean_hypervolume(self, group: Group) -> float:
        """Return the mean over a group's searches."""
        return fmean(self.hypervolume(search.points) for search in group.searches)

    def surfaces(self, group: Group) -> list[list[tuple[float, ...]]]:
        """Return best, median and worst attainment surface of a group, points of error and cost."""
        return attainment_surfaces([[search.points[i] for i in search.front] for search in group.searches])


def compare_searches(paths: Sequence[Path], find_super_network: FindSuperNetwork) -> Comparison:
    """Bring the searches of these directories to one scale, grouped.

    Raises:
        SearchError: there are too few, one is given twice, or their errors do not compare.
    """
    _require_several(paths)
    results = {path: SearchResult.load(path) for path in paths}
    _require_one_task(results)
    # Two searches share a base where encoder sizes and the parameters of the whole network are equal: a share then
    # means the same in both.
    full_params = {path: _full_cost(result, "params") for path, result in results.items()}
    first = next(iter(results.values())).made_of
    shared_base = len({(result.made_of.dimensions, full_params[path]) for path, result in results.items()}) == 1
    cost = _common_cost(results.values())
    full_costs = {path: _full_cost(result, cost) or 1.0 for path, result in results.items()}

    def bring(path: Path, result: SearchResult) -> Compared:
        trained = TrainingRecord.load(find_super_network(result)) if result.made_of.is_shared else None
        return _compared(path, result, trained, cost, full_costs[path] if shared_base else 1.0)

    return Comparison(
        task=first.source.task_name,
        metric=first.source.task.metric,
        data_digest=first.data_digest,
        cost=cost,
        shared_base=shared_base,
        reference=(REFERENCE, REFERENCE if shared_base else max(full_costs.values())),
        groups=_group([bring(path, result) for path, result in results.items()]),
    )


def _require_several(paths: Sequence[Path]) -> None:
    known = [path.resolve() for path in paths]
    twice = [str(path) for number, path in enumerate(paths) if known[number] in known[:number]]
    if twice:
        raise SearchError(f"--search must be given once for each search, but {twice[0]} is given twice. Drop one.")
    if len(paths) < 2:
        raise SearchError(
            f"--search must be given at least twice, but got {len(paths)}. Name the output directories to compare."
        )


def _require_one_task(results: Mapping[Path, SearchResult]) -> None:
    """Raise unless the errors of all searches are of the same rows and metric.

    Raises:
        SearchError: they are not.
    """
    # One path for each different origin: more than one entry is already the mistake.
    found: dict[tuple[str, str, str], Path] = {}
    for path, result in results.items():
        origin = result.made_of
        found.setdefault((origin.source.task_name, origin.source.task.metric, origin.data_digest), path)
    if len(found) > 1:
        texts = [f"{task}, {metric}, {digest} in {path}" for (task, metric, digest), path in found.items()]
        raise SearchError(
            "searches to compare must be of one task, metric and data digest, since errors on other rows do not "
            f"compare, but got {'; '.join(texts)}. Search again on the data of one of them."
        )


def _common_cost(results: Collection[SearchResult]) -> str:
    """Return the one cost that all searches minimised under equal conditions, or else parameters, which all know."""
    costs = {main_cost(result.objectives) for result in results}
    # What is left in the set are the costs of searches that minimised something else.
    cost = costs.pop()
    conditions = {_conditions(result.made_of.measured_at, cost) for result in results}
    if costs or cost == "params" or len(conditions) > 1 or any(result.full is None for result in results):
        return "params"
    return cost


def _conditions(measured_at: MeasuredAt | None, cost: str) -> MeasuredAt | int | None:
    """Return what a cost depends on besides the sub-network: what was timed, or the length of a text."""
    return measured_at if measured_at is None or OBJECTIVES[cost].timed else measured_at.length


def _full_cost(result: SearchResult, cost: str) -> float | None:
    if cost == "params":
        e = result.evaluations[0]
        # Any evaluation tells the whole network's parameters, also where standard NAS never trained it.
        return float(round(e.params / e.relative_params))
    return None if result.full is None else float(result.full.objectives[cost])


def _compared(path: Path, result: SearchResult, trained: TrainingRecord | None, cost: str, scale: float) -> Compared:
    points = tuple((e.error, e.objectives[cost] / scale) for e in result.evaluations)
    identity = _identity(result.made_of, trained)
    return Compared(
        path=path,
        identity={key: value for key, value in identity.items() if key not in _SEEDS},
        seeds=tuple(identity[key] for key in _SEEDS if key in identity),
        result=result,
        points=points,
        front=tuple(find_front(points)),
    )


def _identity(origin: SearchOrigin, trained: TrainingRecord | None) -> Identity:
    """Return everything that a search's outcome depends on, flat; without what only its time depends on."""
    options = {key: value for key, value in origin.options.items() if key not in _SAME_RESULT}
    if not origin.is_shared:
        return {"kind": "standard NAS", "model_name_or_path": origin.model_name_or_path, **options}
    kind = {"kind": "shared weights", **options}
    if trained is None:
        return kind | {"weights": origin.supernet_digest}
    settings = {key: value for key, value in asdict(trained.settings).items() if key not in _SAME_RESULT}
    settings["training_seed"] = settings.pop("seed")
    # Search and training have options of the same name; both count.
    settings["training_space"] = settings.pop("search_space")
    return settings | {"model_name_or_path": trained.model_name_or_path} | kind


def _group(searches: Sequence[Compared]) -> tuple[Group, ...]:
    """Return the searches by identity, named by what tells them apart."""
    members: dict[str, list[Compared]] = {}
    for search in searches:
        # By its text: an identity holds lists, which cannot be keys.
        members.setdefault(str(sorted(search.identity.items())), []).append(search)
    identities = [group[0].identity for group in members.values()]
    return tuple(Group(name=_name(group[0].identity, identities), searches=tuple(group)) for group in members.values())


def _name(identity: Identity, others: Sequence[Identity]) -> str:
    """Return the values in which this one differs from another that has them too; space and method where none do."""
    parts = []
    for key in sorted(identity, key=lambda key: (_NAMES.index(key) if key in _NAMES else len(_NAMES), key)):
        values = {str(other[key]) for other in others if key in other}
        if len(values) > 1 or (len(others) == 1 and key in ("search_space", "search_strategy")):
            parts.append(_text(key, identity[key]))
    return ", ".join(parts)


def _text(key: str, value: Any) -> str:
    if key == "model_name_or_path":
        return Path(value).name
    plain = "+".join(value) if isinstance(value, list | tuple) else str(value)
    return plain if key in _NAMES else f"{key.replace('_', ' ')} {plain}"


def front_members(search: Compared) -> list[tuple[EvaluatedSubNetwork, tuple[float, float]]]:
    """Return the front of a search on the common scale."""
    return [(search.result.evaluations[place], search.points[place]) for place in search.front]
