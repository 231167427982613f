"""Several searches brought to one scale: groups that differ only in seeds, one cost, one reference point.

Errors compare on the same rows and by the same metric only. Costs are shares of the super-network's where all searches
have the same one, absolute where the base models differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.data.sources import DataSource
from compressor.errors import SearchError
from compressor.search.loop import REFERENCE, EvaluatedSubNetwork, SearchResult
from compressor.search.pareto import attainment_surfaces, compute_hypervolume, find_front
from mlproject.report_figures import main_cost
from mlproject.search_report import read_search_result
from mlproject.sources import find_super_network
from mlproject.written import read_search_results

Identity = dict[str, Any]
_NAMES = ("kind", "model_name_or_path", "search_space", "search_strategy", "sampling_strategy", "objectives")
"""Of what tells groups apart, those whose values explain themselves."""
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
    """Of the search, and of the training where it is known."""
    result: SearchResult
    points: tuple[tuple[float, float], ...]
    """Error and cost of each evaluation."""
    front: tuple[int, ...]
    """Of the points, by rising error."""


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
        """The share of the area up to the reference point that the points dominate."""
        error, cost = self.reference
        return compute_hypervolume([(e / error, c / cost) for e, c in points], (1.0, 1.0))

    def surfaces(self, group: Group) -> list[list[tuple[float, ...]]]:
        """Best, median and worst attainment surface of a group, points of error and cost."""
        return attainment_surfaces([[search.points[i] for i in search.front] for search in group.searches])


def compare_searches(paths: Sequence[Path]) -> Comparison:
    """The searches of these directories on one scale, grouped.

    Raises:
        SearchError: there are too few, one is given twice, or their errors do not compare.
    """
    _require_several(paths)
    results = {path: read_search_results(path) for path in paths}
    _require_one_task(results)
    read = {path: read_search_result(one) for path, one in results.items()}
    full_params = {path: _full_cost(result, "params") for path, result in read.items()}
    first = next(iter(results.values()))
    shared_base = len({(*r["dimensions"].values(), full_params[p]) for p, r in results.items()}) == 1
    cost = _common_cost(results, read)
    full_costs = {path: _full_cost(result, cost) or 1.0 for path, result in read.items()}
    searches = [
        _compared(path, results[path], read[path], cost, full_costs[path] if shared_base else 1.0) for path in paths
    ]
    return Comparison(
        task=first["source"]["task_name"],
        metric=DataSource.from_json(first["source"]).task.metric,
        data_digest=first["data_digest"],
        cost=cost,
        shared_base=shared_base,
        reference=(REFERENCE, REFERENCE if shared_base else max(full_costs.values())),
        groups=_group(searches),
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


def _require_one_task(results: Mapping[Path, Mapping[str, Any]]) -> None:
    """Nothing, if the errors of all searches are of the same rows and metric.

    Raises:
        SearchError: they are not.
    """
    found: dict[tuple[str, str, str], Path] = {}
    for path, one in results.items():
        task = DataSource.from_json(one["source"]).task
        found.setdefault((one["source"]["task_name"], task.metric, one["data_digest"]), path)
    if len(found) > 1:
        texts = [f"{task}, {metric}, {digest} in {path}" for (task, metric, digest), path in found.items()]
        raise SearchError(
            "searches to compare must be of one task, metric and data digest, since errors on other rows do not "
            f"compare, but got {'; '.join(texts)}. Search again on the data of one of them."
        )


def _common_cost(results: Mapping[Path, Mapping[str, Any]], read: Mapping[Path, SearchResult]) -> str:
    """The one cost that all searches minimised under equal conditions, or else parameters, which all know."""
    costs = {main_cost(result.objectives) for result in read.values()}
    conditions = {str(one.get("measured_at")) for one in results.values()}
    cost = costs.pop()
    if costs or cost == "params" or len(conditions) > 1 or any(r.full is None for r in read.values()):
        return "params"
    return cost


def _full_cost(result: SearchResult, cost: str) -> float | None:
    if cost == "params":
        e = result.evaluations[0]
        return float(round(e.params / e.relative_params))
    value = None if result.full is None else getattr(result.full, cost)
    return None if value is None else float(value)


def _compared(path: Path, results: Mapping[str, Any], result: SearchResult, cost: str, scale: float) -> Compared:
    points = tuple((e.error, getattr(e, cost) / scale) for e in result.evaluations)
    identity = _identity(path, results)
    return Compared(
        path=path,
        identity={key: value for key, value in identity.items() if key not in _SEEDS},
        seeds=tuple(identity[key] for key in _SEEDS if key in identity),
        result=result,
        points=points,
        front=tuple(find_front(points)),
    )


def _identity(path: Path, results: Mapping[str, Any]) -> Identity:
    """Everything that a search's outcome depends on, flat; without what only its time depends on."""
    options = {key: value for key, value in results["options"].items() if key not in _SAME_RESULT}
    if results.get("supernet") is None:
        return {"kind": "standard NAS", "model_name_or_path": results["model_name_or_path"], **options}
    kind = {"kind": "shared weights", **options}
    from compressor.network.loading import read_super_network

    written = read_super_network(find_super_network(results, path))
    if "source" not in written:
        return kind | {"weights": results["supernet_digest"]}
    settings = {key: value for key, value in written["settings"].items() if key not in _SAME_RESULT}
    settings["training_seed"] = settings.pop("seed")
    settings["training_space"] = settings.pop("search_space")
    return settings | {"model_name_or_path": written["model_name_or_path"]} | kind


def _group(searches: Sequence[Compared]) -> tuple[Group, ...]:
    """The searches by identity, named by what tells them apart."""
    members: dict[str, list[Compared]] = {}
    for search in searches:
        members.setdefault(str(sorted(search.identity.items())), []).append(search)
    identities = [group[0].identity for group in members.values()]
    return tuple(Group(name=_name(group[0].identity, identities), searches=tuple(group)) for group in members.values())


def _name(identity: Identity, others: Sequence[Identity]) -> str:
    """The values in which this one differs from any other that has them too; space and method where none does."""
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
    """The front of a search on the common scale."""
    return [(search.result.evaluations[place], search.points[place]) for place in search.front]
