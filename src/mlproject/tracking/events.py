"""What is to be logged to MLflow, as values: a frozen dataclass for each kind, which is also a line of the outbox.

An event is known by its identity: what it says, whenever that was said. One that is known is not logged again, so
that a resumed command may log everything once more. Of metrics each point is known; what may have changed since
(tags, files, views, that a run is reopened) is logged each time.
"""

import json
from collections.abc import Hashable, Mapping, Set
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar

from compressor.records import parse_record

Point = tuple[str, float, int]
"""A metric's name, value and step."""
Judged = tuple[str, float, str, str]
"""A metric's name and value, and the name and digest of the rows that it was measured on."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something about a run."""

    kind: ClassVar[str]
    """What a line of the outbox calls it."""
    repeats: ClassVar[bool] = False
    """Whether it is logged each time: what it names may have changed since."""
    run: str
    """Our own name for the run."""

    @property
    def identity(self) -> str:
        """What it says, whenever that was said."""
        # Times of the clock are fields that do not compare.
        said = {one.name: getattr(self, one.name) for one in fields(self) if one.compare}
        return json.dumps({"kind": self.kind, **said}, sort_keys=True)

    def keys(self) -> frozenset[Hashable]:
        """Return what it is known by."""
        return frozenset() if self.repeats else frozenset({self.identity})

    def without(self, known: Set[Hashable]) -> "Event | None":
        """Return what of it is not known by these keys, None where all is."""
        return None if not self.repeats and self.identity in known else self

    def to_json(self) -> dict[str, Any]:
        """Return its line of the outbox."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class CreateRun(Event):
    """A run below another one begins."""

    kind = "create"
    parent: str
    name: str
    tags: Mapping[str, str]
    start_ms: int = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class LogParams(Event):
    """Parameters, which never change."""

    kind = "params"
    params: Mapping[str, str]
    new_params_only: bool = False
    """Whether those that the run has already are left out: `mlflow run` logs the declared ones before we start."""


@dataclass(frozen=True, kw_only=True)
class LogMetrics(Event):
    """Points of metrics."""

    kind = "metrics"
    metrics: tuple[Point, ...]
    now_ms: int = field(compare=False)

    def keys(self) -> frozenset[Hashable]:
        """Return its points, so that of a series that has grown the new ones alone are logged."""
        return frozenset((self.run, *point) for point in self.metrics)

    def without(self, known: Set[Hashable]) -> "LogMetrics | None":
        """Return the points that are not known, None where all are."""
        new = tuple(point for point in self.metrics if (self.run, *point) not in known)
        return replace(self, metrics=new) if new else None


@dataclass(frozen=True, kw_only=True)
class SetTags(Event):
    """Tags, which replace what they were before."""

    kind, repeats = "tags", True
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Upload(Event):
    """A file, or the files of a directory, as artifacts."""

    kind, repeats = "artifact", True
    path: str
    """Seen from the output directory."""
    folder: str | None
    """The folder of the artifacts."""


@dataclass(frozen=True, kw_only=True)
class LogDataset(Event):
    """Which rows were used."""

    kind = "dataset"
    dataset: Mapping[str, str | None]
    """As `describe_dataset` gives it."""
    context: str


@dataclass(frozen=True, kw_only=True)
class SaveView(Event):
    """A view of the runs page, kept in the experiment."""

    kind, repeats = "view", True
    name: str
    key: str
    """By which a link names it."""
    state: Mapping[str, Any]
    now_ms: int = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class UseModels(Event):
    """A run has used models, which are found by their files; those that MLflow does not know are left out."""

    kind = "models_used"
    computes_with: tuple[str, ...] = ()
    model_ids: tuple[str, ...] = ()
    """MLflow's, of those whose id is known."""


@dataclass(frozen=True, kw_only=True)
class LogModel(Event):
    """A model: it costs much and makes something new each time, whose address is what the delivery gives.

    It is logged again where MLflow has refused it.
    """

    name: str
    metrics: Mapping[str, int | float] = field(default_factory=dict)
    digest: str = ""
    """The digest of its files."""
    computes_with: str = ""
    """A hash of its graph, or of its weights: by it what is measured of it finds it, now and in later commands."""
    model_type: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MeasureModel(LogModel):
    """What was measured of a model, which is made where it is not there; its files stay where they are.

    The run gets the metrics too, at `step`: MLflow keeps no metric of a model without one of a run.
    """

    kind = "measured_model"
    judged: tuple[Judged, ...] = ()
    if_made: Mapping[str, float] = field(default_factory=dict)
    """Metrics of a model that is made here: of one that is known they were logged before."""
    step: int = 0
    own: bool = True
    """Whether it is the run's own model; else that of any run, the newest."""
    now_ms: int = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class LogServedModel(LogModel):
    """A model that MLflow can serve, from its code and files.

    With `register_as` it becomes a version of that registered model, with the description and with metadata and
    metrics as tags, and `alias` points to it.
    """

    kind = "served_model"
    code: str
    artifacts: Mapping[str, str]
    """Paths of its files, seen from the output directory, by what the code calls them."""
    config: Mapping[str, Any]
    example: Any
    requirements: tuple[str, ...]
    metadata: Mapping[str, Any]
    description: str = ""
    register_as: str | None = None
    alias: str | None = None
    further_aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LogOnnxModel(LogModel):
    """An ONNX file in MLflow's own ONNX flavour."""

    kind = "onnx_model"
    path: str
    inputs: Mapping[str, Any]
    logits: Any


@dataclass(frozen=True, kw_only=True)
class LogEvaluation(Event):
    """A model's answers to rows with labels, for MLflow's `evaluate`: metrics and pictures, linked to model and rows.

    It is logged each time: the file may have changed since.
    """

    kind, repeats = "evaluation", True
    path: str
    """The file of the rows, one JSON object a line, seen from the output directory."""
    columns: tuple[str, ...]
    """Those that the model read."""
    label: str
    """The column of the labels."""
    answer: str
    """The column of the answers."""
    model_type: str | None
    """What MLflow calls such models: classifier or regressor; None for others, which get our metrics alone."""
    model_id: str | None
    """MLflow's, of the logged model."""
    computes_with: str = ""
    """A hash of its graph, by which it is found where its id is not known."""
    dataset: Mapping[str, str]
    """Name, source and digest of the rows."""
    label_names: tuple[str, ...]
    metrics: Mapping[str, float]
    """Our own, smaller being better."""


@dataclass(frozen=True, kw_only=True)
class EndRun(Event):
    """A run ends; left out of the outbox where it has ended so and was not opened again."""

    kind, repeats = "end", True
    status: str
    tags: Mapping[str, str] = field(default_factory=dict)
    end_ms: int = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class ReopenRun(Event):
    """A run that has ended is reopened."""

    kind, repeats = "reopen", True


@dataclass(frozen=True, kw_only=True)
class Damaged(Event):
    """A line that cannot be read any more; it says nothing, but all others keep their numbers."""

    kind = "damaged"
    run: str = ""


_KINDS: dict[str, type[Event]] = {
    event.kind: event
    for event in (
        CreateRun, LogParams, LogMetrics, SetTags, Upload, LogDataset, SaveView, UseModels, LogServedModel,
        LogOnnxModel, MeasureModel, LogEvaluation, EndRun, ReopenRun,
    )
}  # fmt: skip


def parse_event(line: Any) -> Event:
    """Return the event that a line of the outbox stands for; `Damaged` where it stands for none."""
    try:
        kind = line["kind"]
        if kind == "log":  # version 0.1.0: one kind for these three
            kind = next((one.kind for one in (LogMetrics, LogParams, SetTags) if one.kind in line), kind)
        return parse_record(_KINDS[kind], line)
    except (TypeError, KeyError, ValueError):
        return Damaged()
