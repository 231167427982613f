"""Standard NAS as a whole: sub-networks cut out of the pre-trained encoder, each trained alone by its own process."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.cluster.connection import connect
from compressor.cluster.options import TrialsOnCluster
from compressor.data.batches import EncodedParts, encode_parts, with_reference
from compressor.data.metrics import error_interval
from compressor.data.rows import TaskData
from compressor.device import pick_device
from compressor.errors import FileError, OptionError
from compressor.evaluation.evaluator import Evaluator
from compressor.evaluation.latency_table import LatencyTable, MeasureTable, open_latency_table
from compressor.evaluation.predictions import ValidationPredictions
from compressor.network.costs import create_cost_model
from compressor.network.families import get_dimensions, max_positions
from compressor.network.loading import digest_model, load_base_model
from compressor.network.saving import load_sliced_model, require_error
from compressor.search.journal import JOURNAL_FILE, add_to_journal
from compressor.search.options import NasOptions
from compressor.search.record import EvaluatedSubNetwork, MeasuredAt, SearchOrigin, SearchResult
from compressor.spaces import create_search_space
from compressor.spaces.space import SearchSpace
from compressor.standard_nas.inputs import pack_inputs
from compressor.standard_nas.ray_backend import RemoteTrials
from compressor.standard_nas.record import BaseModel, TrialSpec
from compressor.standard_nas.tuner import TRIALS_DIR, NasProblem, RunningTrial, run_standard_nas
from compressor.training.precision import Precision, decide_precision
from compressor.training.settings import ModelOptions, TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_OF_SUPER_NETWORKS = (
    *("search_space", "sampling_strategy", "num_random_sub_nets", "temperature", "seed"),
    "num_processes",
)
"""Training settings that say nothing of a model that is trained alone, or that the search names too."""


@dataclass(frozen=True, kw_only=True)
class NasInputs:
    """What standard NAS works on."""

    model: ModelOptions
    data: TaskData
    settings: TrainingSettings
    """The settings of each trial."""
    options: NasOptions
    cluster: TrialsOnCluster = field(default_factory=TrialsOnCluster)
    """Where trials run; by default they are processes of this machine."""

    def __post_init__(self) -> None:
        if self.data.unlabeled is not None:
            raise OptionError(
                "--unlabeled-file must be left out where sub-networks are trained one by one, since no teacher answers "
                f"its texts, but got {self.data.source.unlabeled_file}. Leave it out, or use compressor compress."
            )
        if self.model.teacher_model is not None:
            raise OptionError(
                "--teacher-model must be left out where sub-networks are trained one by one, since each learns the "
                f"labels alone, but got {self.model.teacher_model}. Leave it out, or use compressor compress."
            )

    @property
    def training_options(self) -> dict[str, Any]:
        """The settings that a model trained alone has."""
        return {name: value for name, value in asdict(self.settings).items() if name not in _OF_SUPER_NETWORKS}


def search_by_training(
    inputs: NasInputs,
    directory: Path,
    *,
    resume: bool = False,
    measure_table: MeasureTable | None = None,
    on_start: Callable[[Precision, LatencyTable | None], None] | None = None,
    on_trial: Callable[[RunningTrial], None] | None = None,
) -> SearchResult:
    """Search sub-networks that are trained one by one; the front members' weights are kept below `trials/`.

    With `resume` trials of the same inputs that are in the directory report what they know at once. Where
    `settings.bf16` is None, a few steps of the whole encoder decide for all trials. Where `latency_ms` is an objective,
    `measure_table` (that is `exporters.measure_latency_table`) times the parts of its graphs. Both before `on_start`.

    Raises:
        SearchError: there is no such method, no trial has finished an epoch, or a latency is an objective that nothing
            measures.
        ParityError: a saved model's validation error is not the one its trial reported.
        ClusterError: a cluster is asked for, and it cannot be reached.
    """
    data, settings = inputs.data, inputs.settings.for_rows(len(inputs.data.train))
    base_model = BaseModel(
        name_or_path=_absolute(inputs.model.model_name_or_path),
        attn_implementation=inputs.model.attn_implementation,
        trust_remote_code=inputs.model.trust_remote_code,
    )
    model, tokenizer = load_base_model(
        task=data.task, label_names=data.label_names, seed=settings.seed, **asdict(base_model)
    )
    rows = encode_parts(data, tokenizer, max_positions(model))  # all, so that trials find their tokens in the cache
    length, dimensions = rows.validation.median_length, get_dimensions(model)
    kind, table = inputs.options.latency_kind(inputs.options.objectives, length, max_positions(model)), None
    if kind is not None:
        table = open_latency_table(directory, kind, model, tokenizer, dimensions, measure_table, resume=resume)
    problem = _problem(inputs, model, settings.epochs, length, table)
    # Measured again, a resumed search might compute in other numbers than the trials that it counts.
    precision = _known_precision(directory, settings) if resume else None
    precision = precision or decide_precision(model.to(pick_device()), data.task, rows.train, settings)
    model.cpu()  # trials need the room
    inputs = replace(inputs, settings=replace(settings, bf16=precision.bf16))
    if on_start is not None:
        on_start(precision, table)
    # Trials that are known report again at once, so the journal is written anew from its first line.
    (directory / JOURNAL_FILE).unlink(missing_ok=True)

    def observe(trial: RunningTrial) -> None:
        if trial.evaluation is not None:
            add_to_journal(directory, trial.evaluation)
        if on_trial is not None:
            on_trial(trial)

    started = time.perf_counter()
    # After the precision: trials read it, and a search with another one is another search.
    spec = _spec(inputs, base_model)
    with _remote_trials(inputs, base_model, rows) as remote:
        result = run_standard_nas(problem, directory, spec, inputs.options, observe, resume=resume, remote=remote)
    seconds = time.perf_counter() - started
    # Only now, and for the front alone, test rows are looked at.
    result, predictions = _examine_front(result, directory, data, rows)
    origin = _origin(inputs, problem.space, MeasuredAt.of(length, kind), seconds)
    validation = rows.validation
    known = ValidationPredictions(labels=validation.labels, by_name=predictions, structure=validation.structure)
    return replace(
        result,
        trivial=data.task.head.find_trivial(with_reference(data, rows.validation, rows.test)),
        origin=origin,
        known_predictions=known,
    )


def _problem(
    inputs: NasInputs, model: "PreTrainedModel", num_epochs: int, length: int, table: LatencyTable | None
) -> NasProblem:
    """Return what trials are of: sub-networks of the space, and what they cost for texts of this length."""
    return NasProblem(
        space=create_search_space(inputs.options.search_space, get_dimensions(model)),
        cost_model=create_cost_model(model),
        num_epochs=num_epochs,
        sequence_length=length,
        latency_table=table,
    )


def _origin(inputs: NasInputs, space: SearchSpace, measured_at: MeasuredAt, seconds: float) -> SearchOrigin:
    """Return what the result is of."""
    return SearchOrigin(
        model_name_or_path=inputs.model.model_name_or_path,
        source=inputs.data.source,
        data_digest=inputs.data.digest,
        options=asdict(inputs.options) | inputs.training_options,
        dimensions=space.dimensions,
        layer_order=space.layer_order,
        measured_at=measured_at,
        seconds=seconds,
    )


@contextmanager
def _remote_trials(inputs: NasInputs, base_model: BaseModel, rows: EncodedParts) -> Iterator[RemoteTrials | None]:
    """Give the cluster that trials run on, with all they need, for the time of the block; None without one."""
    address = inputs.cluster.ray
    if address is None:
        yield None
        return
    with connect(address) as ray:
        yield RemoteTrials.send(ray, inputs.cluster, pack_inputs(base_model, inputs.data, rows))


def _known_precision(directory: Path, settings: TrainingSettings) -> Precision | None:
    """Return what trials that are in the directory compute in; None where there are none, or the settings say it."""
    try:
        begun = TrialSpec.load(directory / TRIALS_DIR).settings.bf16
    except FileError:
        return None
    return None if begun is None or settings.bf16 is not None else Precision(bf16=begun, reason="as it was begun")


def _spec(inputs: NasInputs, base_model: BaseModel) -> TrialSpec:
    """Return what trials read, and what their results depend on besides."""
    depends_on = {
        "model": digest_model(base_model.name_or_path),
        "data_digest": inputs.data.digest,
        "label_names": list(inputs.data.label_names),
    }
    return TrialSpec(source=inputs.data.source, base_model=base_model, settings=inputs.settings, depends_on=depends_on)


def _examine_front(
    result: SearchResult, directory: Path, data: TaskData, rows: EncodedParts
) -> tuple[SearchResult, dict[str, np.ndarray]]:
    """Add intervals and test errors of the front and of the super-network, from their saved weights.

    Returns their validation predictions by name too.
    """
    task, validation = data.task, rows.validation
    wanted = result.reported_names
    predictions: dict[str, np.ndarray] = {}

    def examine(e: EvaluatedSubNetwork) -> EvaluatedSubNetwork:
        if e.name not in wanted or e.model is None:
            return replace(e, model=None)  # its weights are gone: it is dominated
        model = load_sliced_model(directory / e.model).model.to(pick_device())
        evaluation = Evaluator(model, task, validation).evaluate()
        # Law 4: the error that the trial reported is that of the weights it has left.
        require_error(e.error, evaluation.error, evaluation.logits, task, validation)
        predictions[e.name] = task.head.judge(evaluation.logits, validation.reference)
        interval = error_interval(task.metric, predictions[e.name], validation.labels, validation.structure)
        test_error = Evaluator(model, task, rows.test).evaluate().error
        return replace(e, error_interval=interval, test_error=test_error)

    examined = tuple(map(examine, result.evaluations))
    return replace(result, evaluations=examined), predictions


def _absolute(name_or_path: str) -> str:
    path = Path(name_or_path).expanduser()
    return str(path.absolute()) if path.is_dir() else name_or_path
