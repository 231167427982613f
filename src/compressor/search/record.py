"""What a search found: every evaluated sub-network, the front, and where they come from. One type, one JSON form."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PlainValidator

from compressor.data.metrics.trivial import TrivialPredictor, is_useful
from compressor.data.sources import DataSource
from compressor.errors import SearchError
from compressor.evaluation.latency_table import LatencyKind
from compressor.evaluation.pareto import compute_hypervolume, find_front
from compressor.evaluation.predictions import (
    PREDICTIONS_FILE,
    ValidationPredictions,
    read_predictions,
    write_predictions,
)
from compressor.files import is_plain_name, new_directory, write_json
from compressor.network.dimensions import EncoderDimensions
from compressor.network.sub_network import SubNetwork
from compressor.records import (
    Amount,
    Count,
    ErrorInterval,
    Errors,
    Positive,
    broken,
    parse_record,
    read_versioned,
    require_keys,
)
from compressor.search.choosing import Chosen, choose
from compressor.search.objectives import DEFAULT_OBJECTIVES, OBJECTIVES, REFERENCE, OtherCosts, other_cost_names
from compressor.search.options import Choice
from compressor.spaces import create_search_space

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

RESULTS_FILE = "search_results.json"
_NEXT_STEP = "Point to the output directory of compressor search or nas"


def _check_sets(value: Any) -> Any:
    """Return index sets as they are written; which sub-network they are is known once the sizes are read."""
    for name in ("heads", "units"):
        sets = value.get(name) if isinstance(value, dict) else None
        if not isinstance(sets, list) or not all(isinstance(one, str) for one in sets):
            raise ValueError(name)
    return value


@dataclass(frozen=True, kw_only=True)
class EvaluatedSubNetwork:
    """One evaluated sub-network."""

    index: Count
    """Position in the result, from 0."""
    name: str
    """Its run's name, such as subnet-007."""
    config: dict[str, int | str] | None
    """Its point in the search space; None where the super-network itself lies outside."""
    sub_network: Annotated[SubNetwork, Field(validation_alias="kept"), PlainValidator(_check_sets)]
    error: Errors
    """1 − metric on the validation rows."""
    params: Count
    relative_params: Positive
    encoder_params: Count
    relative_encoder_params: Amount
    eval_seconds: Amount
    costs: OtherCosts = field(default_factory=dict)
    """What it costs besides parameters, by the objective's name, for texts of the median length; `latency_ms` only
    where it is an objective."""
    error_interval: ErrorInterval | None = None
    """95 % interval of the error, from the rows it was measured on; front members only."""
    on_front: bool = False
    test_error: Errors | None = None
    """1 − metric on the test rows; front members only."""
    epochs: Count | None = None
    """Epochs it was trained alone; None where the weights are the super-network's."""
    model: str | None = None
    """Directory of its own trained weights, from the result's; None where the weights are the super-network's."""

    @property
    def objectives(self) -> dict[str, float]:
        """Its numbers by the objectives' names, as far as they are known."""
        return {"error": self.error, "params": self.params, **self.costs}

    @property
    def error_range(self) -> tuple[float, float]:
        """The error's 95 % interval, or the error twice where none is known."""
        return self.error_interval or (self.error, self.error)

    @property
    def is_full(self) -> bool:
        """Whether it is the super-network itself."""
        return self.relative_encoder_params == 1

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name; the sub-network as its hash and its numbers of layers, heads and units."""
        sub_network = self.sub_network
        values = {f.name: getattr(self, f.name) for f in fields(self)} | {"sub_network": sub_network.hash}
        costs = values.pop("costs")
        values |= {name: costs.get(name) for name in other_cost_names()}
        return values | {name: getattr(sub_network, name) for name in ("num_layers", "num_heads", "num_units")}


@dataclass(frozen=True, kw_only=True)
class MeasuredAt:
    """What costs are of that depend on a text's length, and what was timed."""

    length: Count
    """Tokens of the text."""
    batch_size: Count | None = None
    threads: Count | None = None
    latency_of: str | None = None
    """The variant that is timed: a runtime and a precision."""
    latency_length: Count | None = None
    """Tokens of the texts that it is of."""

    @classmethod
    def of(cls, length: int, kind: LatencyKind | None) -> "MeasuredAt":
        """Return what costs are of, and what the latency is of if it is an objective."""
        if kind is None:
            return cls(length=length)
        return cls(
            length=length,
            batch_size=kind.batch_size,
            threads=kind.threads,
            latency_of=kind.latency_of,
            latency_length=kind.length,
        )


@dataclass(frozen=True, kw_only=True)
class SearchOrigin:
    """What was searched, on which rows, and how."""

    source: Annotated[DataSource, require_keys("task_name", "text_columns", "dataset_seed")]
    data_digest: str
    options: Annotated[
        dict[str, int | float | str | bool | tuple[str, ...] | None],
        require_keys("search_space", "search_strategy", "seed"),
    ]
    """Of the search, or of standard NAS and the training of its trials."""
    dimensions: EncoderDimensions
    layer_order: tuple[Count, ...] = ()
    seconds: Amount
    measured_at: MeasuredAt | None = None
    supernet: str | None = None
    """The super-network's directory; None where each sub-network was trained alone."""
    supernet_from_here: str | None = None
    """The same as seen from the result's directory."""
    supernet_digest: str | None = None
    supernet_files: dict[str, str] | None = None
    supernet_run_id: str | None = None
    model_name_or_path: str | None = None
    """The pre-trained encoder of standard NAS."""

    @property
    def is_shared(self) -> bool:
        """Whether all sub-networks have one super-network's weights; else each was trained alone."""
        return self.model_name_or_path is None

    @property
    def search_space(self) -> str:
        """The name of the search space."""
        return str(self.options["search_space"])

    @property
    def search_strategy(self) -> str:
        """The name of the search method."""
        return str(self.options["search_strategy"])

    @property
    def seed(self) -> int:
        """Of the search."""
        seed = self.options["seed"]
        assert isinstance(seed, int)
        return seed

    @property
    def eval_batch_size(self) -> int:
        """Rows of a batch in which errors were measured."""
        size = self.options.get("per_device_eval_batch_size")
        return size if isinstance(size, int) else 64


@dataclass(frozen=True, kw_only=True)
class _Written:
    """What a result file holds besides the origin."""

    objectives: tuple[str, ...]
    hypervolume_reference: tuple[Amount, ...]
    hypervolumes: tuple[Amount, ...]
    front: tuple[Count, ...]
    evaluations: tuple[EvaluatedSubNetwork, ...]
    trivial: TrivialPredictor | None = None


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Everything a search evaluated."""

    evaluations: tuple[EvaluatedSubNetwork, ...]
    hypervolumes: tuple[float, ...]
    """After each evaluation, of `relative_objectives` up to `REFERENCE` in each."""
    full_costs: Mapping[str, float]
    """The full super-network's costs, those that are objectives."""
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    interrupted: bool = False
    """Whether the user stopped it before it was done."""
    trivial: TrivialPredictor | None = None
    """What knows the labels but no text; None where an older version wrote the result."""
    origin: SearchOrigin | None = None
    """What was searched; None for a search that only had functions to call."""
    known_predictions: ValidationPredictions | None = field(default=None, repr=False)
    """Predictions of the validation rows; None where they are in the result's directory, or not known."""
    folder: Path | None = None
    """The directory that it was read from."""

    @property
    def front(self) -> list[EvaluatedSubNetwork]:
        """The Pareto front, by rising first objective."""
        # Not by the flags `on_front`, which a file could have wrong: the front follows from the numbers.
        points = relative_objectives(self.evaluations, self.objectives, self.full_costs)
        return [self.evaluations[index] for index in find_front(points)]

    @property
    def full(self) -> EvaluatedSubNetwork | None:
        """The full super-network; a search has it always, standard NAS unless its trial was cut short."""
        return next((e for e in self.evaluations if e.is_full), None)

    @property
    def against_full_model(self) -> bool:
        """Whether errors are disagreement with a full model's answers, since no labels were given."""
        return self.origin is not None and self.origin.source.has_no_labels

    @property
    def useless(self) -> list[int]:
        """Places on the front of members that are no better than the trivial predictor."""
        return [place for place, member in enumerate(self.front) if not is_useful(member.error_range, self.trivial)]

    @property
    def reported_names(self) -> set[str]:
        """The names of the front's members and of the full super-network."""
        return {member.name for member in (*self.front, self.full) if member is not None}

    @property
    def shown_costs(self) -> list[str]:
        """Costs besides parameters that tables of the front have: objectives, and what is always of interest."""
        names = [name for name in other_cost_names() if name in self.objectives or OBJECTIVES[name].shown]
        return [name for name in names if all(name in member.costs for member in self.front)]

    @property
    def predictions(self) -> ValidationPredictions | None:
        """The validation predictions; None where an older version kept none.

        Raises:
            SearchError: their file cannot be read.
        """
        if self.known_predictions is not None or self.folder is None:
            return self.known_predictions
        return read_predictions(self.folder)

    @property
    def super_network(self) -> Path:
        """Where the super-network is: where it was, or else as far from the search as before."""
        there = Path(self.made_of.supernet or "")
        moved = (self.folder or Path()) / (self.made_of.supernet_from_here or ".")
        # The absolute path first: a search may have been copied away from its super-network, which is where it was.
        return moved if not there.is_dir() and (moved / "config.json").is_file() else there

    @property
    def made_of(self) -> SearchOrigin:
        """What was searched.

        Raises:
            SearchError: that is not known, since the search only had functions to call.
        """
        if self.origin is None:
            raise SearchError(
                "a search result must say what was searched, but this one has no origin. "
                "Search with search_sub_networks."
            )
        return self.origin

    def choose(self, **choice: Any) -> Chosen:
        """Choose one member, as `compressor extract` does: the fields of `Choice` are its options.

        Raises:
            SearchError: nothing fits the choice, or it is of several members.
            OptionError: an option is out of its range.
        """
        wanted = Choice(**choice)
        found = choose(self, wanted)
        if wanted.several:
            raise SearchError("choose must be asked for one member, but all or tiers was given. Use choose_several.")
        return next(iter(found.values()))

    def choose_several(self, **choice: Any) -> dict[str, Chosen]:
        """Choose several members by the names of their folders: `all=True` or `tiers=("S", "M", "L")`.

        Raises:
            SearchError: the front has too few members for the tiers.
        """
        return choose(self, Choice(**choice))

    def to_frame(self) -> "pd.DataFrame":
        """Return all evaluated sub-networks as a table, one per line."""
        import pandas as pd

        # Named, because the file's other keys are for programs.
        columns = ["name", "on_front", "error", "test_error", "params", "relative_params", "relative_encoder_params"]
        columns += ["num_layers", "num_heads", "num_units", *other_cost_names(), "eval_seconds", "sub_network"]
        return pd.DataFrame([evaluation.to_json() for evaluation in self.evaluations])[columns]

    def plot(self) -> "Figure":
        """Draw error against the first cost: every sub-network, the front with intervals, the super-network."""
        from compressor.search.figures import draw_front  # which reads results

        return draw_front(self)

    def to_json(self) -> dict[str, Any]:
        """Return what `search_results.json` holds."""
        origin = self.made_of
        return {
            "format": 1,
            # What is not known is left out, not written as null.
            **{name: value for name, value in asdict(origin).items() if value is not None},
            "trivial": None if self.trivial is None else asdict(self.trivial),
            "objectives": list(self.objectives),
            "hypervolume_of": "the error as it is, costs as shares of the full super-network's",
            "hypervolume_reference": [REFERENCE] * len(self.objectives),
            "hypervolumes": list(self.hypervolumes),
            "front": [member.index for member in self.front],
            "evaluations": [e.to_json() | {"kept": e.sub_network.to_json(origin.dimensions)} for e in self.evaluations],
        }

    def write(self, directory: Path, place: Path | None = None) -> Path:
        """Write result and predictions as files into an existing directory.

        `place` is where they will lie, if elsewhere: their way to the super-network is seen from there.
        """
        values, origin = self.to_json(), self.made_of
        if origin.supernet is not None:
            # Relative too, so that search and super-network can move together.
            values["supernet_from_here"] = os.path.relpath(origin.supernet, (place or directory).resolve())
        elif origin.model_name_or_path is None:
            raise unsaved_super_network()
        if (predictions := self.predictions) is not None:
            write_predictions(directory / PREDICTIONS_FILE, predictions)
        return write_json(directory / RESULTS_FILE, values)

    def save(self, directory: str | Path) -> Path:
        """Save result and predictions as a directory that `load` and `compressor extract --search` read."""
        with new_directory(Path(directory)) as temporary:
            self.write(temporary, Path(directory))
        return Path(directory)

    @classmethod
    def load(cls, path: str | Path) -> "SearchResult":
        """Load a result from the directory of a search or of standard NAS, or from its result file.

        Raises:
            FileError: there is no such file, or it is broken.
            SearchError: its parts do not belong together.
        """
        path = Path(path)
        file = path / RESULTS_FILE if path.is_dir() else path
        value = read_versioned(file)
        try:
            return replace(cls.from_json(value), folder=file.parent)
        except ValueError as error:
            raise broken(file, error, _NEXT_STEP) from None
        except _PartsError:
            raise SearchError(
                f"--search must be made by compressor search or nas, but the parts of {file} do not belong together. "
                "Restore it, or search again."
            ) from None

    @classmethod
    def from_json(cls, value: Any) -> "SearchResult":
        """Return the result of what `to_json` made.

        Raises:
            ValueError: it was made by something else.
            SubNetworkError: a sub-network is none of the super-network's.
            SearchSpaceError: there is no such space, or a config lies outside of it.
        """
        origin, written = parse_record(SearchOrigin, value), parse_record(_Written, value)
        _require_whole(origin, written)
        evaluations = []
        space = create_search_space(origin.search_space, origin.dimensions, origin.layer_order)
        for e, of in zip(written.evaluations, value["evaluations"], strict=True):
            sub_network = SubNetwork.from_json(e.sub_network, origin.dimensions)  # only now its sizes are known
            # Config, index sets and hash say the same three times: a file that was edited by hand betrays itself.
            same = e.config is None or space.from_config(e.config) == sub_network
            if not same or sub_network.hash != of.get("sub_network"):
                raise _PartsError
            evaluations.append(replace(e, sub_network=sub_network))
        full = next((e for e in evaluations if e.is_full), None)
        # Without the full super-network any scale does: it changes no order.
        costs = {name: float(full.objectives[name]) if full else 1.0 for name in written.objectives if name != "error"}
        result = summarise(evaluations, written.hypervolumes, written.objectives, costs)
        return replace(result, trivial=written.trivial, origin=origin)


FindSuperNetwork = Callable[[SearchResult], Path]
"""Where the super-network of a search is, if not where the result says."""


def unsaved_super_network() -> SearchError:
    """Return the error for a search that is to be found again, while its super-network cannot."""
    return SearchError(
        "a search result must name the directory of its super-network, but that was not saved. "
        "Save the super-network, and search what was saved."
    )


class _PartsError(Exception):
    """Parts of a result do not belong together."""


def _require_whole(origin: SearchOrigin, written: _Written) -> None:
    evaluations, number = written.evaluations, len(written.evaluations)
    whole = (
        bool(written.front)
        and all(place < number for place in written.front)
        and [e.index for e in evaluations] == list(range(number))
        and len(written.hypervolumes) == number
        and all(name in e.objectives for e in evaluations for name in written.objectives)
        and all(is_plain_name(e.name) for e in evaluations)  # models are written into folders so named
        and (origin.model_name_or_path if origin.supernet is None else origin.supernet_digest) is not None
    )
    if not whole:
        raise _PartsError


def relative_objectives(
    evaluations: Iterable[EvaluatedSubNetwork], objectives: Sequence[str], full_costs: Mapping[str, float]
) -> list[tuple[float, ...]]:
    """Return points [evaluations, objectives]: errors as they are, costs as shares of the full super-network's."""
    return [
        tuple(e.error if name == "error" else e.objectives[name] / full_costs[name] for name in objectives)
        for e in evaluations
    ]


def summarise(
    evaluations: Sequence[EvaluatedSubNetwork],
    hypervolumes: Sequence[float],
    objectives: tuple[str, ...],
    full_costs: Mapping[str, float],
) -> SearchResult:
    """Return the result with its front marked."""
    front = set(find_front(relative_objectives(evaluations, objectives, full_costs))) if evaluations else set()
    return SearchResult(
        evaluations=tuple(replace(e, on_front=e.index in front) for e in evaluations),
        hypervolumes=tuple(hypervolumes),
        full_costs=full_costs,
        objectives=objectives,
    )


def hypervolume_of(
    evaluations: Sequence[EvaluatedSubNetwork], objectives: Sequence[str], full_costs: Mapping[str, float]
) -> float:
    """Return what the evaluations dominate, up to `REFERENCE` in each of `relative_objectives`."""
    points = relative_objectives(evaluations, objectives, full_costs)
    return compute_hypervolume(points, [REFERENCE] * len(objectives))
