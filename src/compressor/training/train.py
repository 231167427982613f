"""Training a super-network from a pre-trained encoder: loaded, trained, the best epoch kept."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from compressor.data.batches import EncodedRows, encode, join_rows
from compressor.data.overlap import TrainingRows
from compressor.data.rows import TaskData
from compressor.data.tasks import Task
from compressor.device import pick_device
from compressor.digests import Inputs
from compressor.errors import ModelError, OptionError, TaskDataError
from compressor.evaluation.answers import ask_teacher, label_answered, require_same_units
from compressor.evaluation.evaluator import Evaluator
from compressor.files import STATE_FOLDER
from compressor.network.families import get_dimensions, max_positions
from compressor.network.loading import digest_model, load_base_model
from compressor.spaces import create_search_space
from compressor.training.loop import Teacher, train_shared_weights
from compressor.training.precision import Precision, decide_precision
from compressor.training.ranks import Ranks, current_ranks
from compressor.training.settings import ModelOptions, TrainingSettings
from compressor.training.state import EpochReport, TrainingStates
from compressor.training.super_network import (
    SUPER_NETWORK_FILE,
    SuperNetwork,
    TrainingRecord,
    load_super_network,
)

_TEACHER = "teacher"
"""The folder of a model that is fine-tuned first, to answer texts without labels."""


@dataclass(frozen=True, kw_only=True)
class PreparedTraining:
    """What is known before the first step."""

    net: SuperNetwork
    """Its head is new, its record without epochs but those that were trained before."""
    task: Task
    train: EncodedRows
    """Those without labels too, behind the others."""
    validation: EncodedRows
    settings: TrainingSettings
    """With the number of epochs and the precision filled in."""
    precision: Precision
    teacher: Teacher | None = None
    """Whose outputs are learnt beside the labels."""


def train_super_network(
    model: str | Path | ModelOptions,
    data: TaskData,
    settings: TrainingSettings | None = None,
    *,
    directory: Path | None = None,
    run_id: str | None = None,
    on_start: Callable[[PreparedTraining], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> SuperNetwork:
    """Train a super-network: one encoder whose sub-networks of a search space all do the task.

    `model` is a directory, a name on the Hub, "demo" or "demo-base". The best epoch's weights are the result; with the
    strategy `auto`, or where no checkpoints are to be saved, that is the last one. In a `directory` a checkpoint is
    kept of each epoch, an interrupted training of the same rows and settings resumes after its last epoch, and the
    result is saved; without one nothing is written.

    Rows whose labels are a fine-tuned model's answers (`answer_texts`) train that model: its outputs are the teacher
    throughout, and `auto` starts with the ordering. Where the data has rows without labels beside those with, the model
    is first fine-tuned on the latter alone; what it answers then is learnt in the same way, of all rows. An epoch of
    the settings is one of both. A `teacher_model` of the options answers in its place, and rows with labels as well;
    then the encoder learns the task from the labels and these answers, and is ordered when it knows it.

    Where `settings.bf16` is None, a few steps decide what is faster; what is resumed keeps its precision.

    Where PyTorch has a process group, its processes train together: each calls this with the same model, rows and
    settings, and gets the result. The first one alone has the `directory`, calls `on_start` and `on_epoch`, and
    evaluates; the others write nothing.

    Raises:
        ModelError: the model or its teacher cannot be found, is of an unsupported family, or is another one than the
            rows' answers are of; the teacher is not fine-tuned for the task.
        TaskDataError: another process has other rows, or another model.
        TrainingError: the loss is no longer a number; checkpoints made before stay.
    """
    options = model if isinstance(model, ModelOptions) else ModelOptions(model_name_or_path=str(model))
    ranks, settings = current_ranks(), settings or TrainingSettings()
    if ranks.size > 1:
        settings = replace(settings, num_processes=ranks.size)
    # The other processes compute, and neither write nor report.
    if not ranks.is_first:
        directory, on_start, on_epoch = None, None, None
    keeps_states = directory is not None and options.save_checkpoints
    folder = directory / STATE_FOLDER / "training" if directory is not None and keeps_states else None
    # The first one tokenises into the cache, where the others find it, instead of all doing the same work.
    with ranks.in_turn():
        unsettled = _prepare(options, data, settings, run_id)
    _require_same_inputs(ranks, data, options)
    if options.teacher_model is not None and data.answers is None:
        unsettled = _ask_teacher(unsettled, options, data)
    elif data.unlabeled is not None:
        teacher = None if folder is None else folder.with_name(_TEACHER)
        unsettled = _answer_unlabeled(unsettled, options, data, settings, teacher)
    prepared, states = _begin(unsettled, options, data, folder)
    net, settings = prepared.net, prepared.settings
    kept = _Epochs(
        net=net,
        keeps_last=settings.keeps_last_epoch or not options.save_checkpoints,
        directory=directory if options.save_checkpoints else None,
        ranks=ranks,
    )
    # All processes note what an interrupted training had behind it, though the first alone can read it.
    for values in ranks.agree(lambda: [] if states is None else [asdict(report) for report in states.reports]):
        kept.add(EpochReport(**values))
    if on_start is not None:
        on_start(replace(prepared, net=kept.current))

    def end_epoch(report: EpochReport) -> None:
        kept.add(report)
        kept.keep(report)
        if on_epoch is not None:
            on_epoch(report)

    rows = (prepared.train, prepared.validation)
    train_shared_weights(net.model, data.task, *rows, settings, end_epoch, states, prepared.teacher)
    trained = kept.finish()
    if directory is not None:
        # Result first, then checkpoints and states go: killed in between, the training is found as finished or resumes.
        trained = trained.save(directory)
        kept.drop_checkpoints()
        if states is not None:
            states.clear()
            shutil.rmtree(states.directory.with_name(_TEACHER), ignore_errors=True)
    return trained


def prepare_training(model: ModelOptions, data: TaskData, settings: TrainingSettings) -> PreparedTraining:
    """Load and encode what a training begins with, and decide its precision; nothing is trained or written.

    Raises:
        ModelError: as `train_super_network`.
    """
    return _begin(_prepare(model, data, settings, None), model, data, None)[0]


def _prepare(options: ModelOptions, data: TaskData, settings: TrainingSettings, run_id: str | None) -> PreparedTraining:
    """Load the encoder onto its device, and encode the rows; the precision is not decided yet."""
    settings = settings.for_rows(data.num_train_rows)
    if data.answers is not None and digest_model(options.full_model) != data.answers.asked.model:
        raise ModelError(
            f"the model that is trained without labels must be the one that has answered the texts, "
            f"{data.answers.full_model}, but {options.full_model} is another. Train that one, or name it as teacher."
        )
    if options.teacher_model is not None and data.task.head.learns_reference:
        raise OptionError(
            f"--teacher-model must be left out for --task-name {data.task.name}, which learns its own model's vectors, "
            f"but got {options.teacher_model}. Leave it out."
        )
    model, tokenizer = load_base_model(
        options.model_name_or_path,
        data.task,
        data.label_names,
        seed=settings.seed,
        attn_implementation=options.attn_implementation,
        trust_remote_code=options.trust_remote_code,
        start=data.task.head.start(data),
    )
    dimensions, positions = get_dimensions(model), max_positions(model)
    # For its errors alone, before the first epoch.
    create_search_space(settings.search_space, dimensions)
    record = TrainingRecord(
        run_id=run_id,
        source=data.source,
        data_digest=data.digest,
        label_names=data.label_names,
        training_rows=TrainingRows.note(data.parts, data.unlabeled),
        unlabeled_digest=None if data.unlabeled is None else data.unlabeled.digest,
        model_name_or_path=options.model_name_or_path,
        teacher_model=options.teacher_model,
        settings=settings,
        dimensions=dimensions,
        attn_implementation=options.attn_implementation,
        params=sum(parameter.numel() for parameter in model.parameters()),
        epochs=(),
    )
    train, *more = (
        encode(rows, data.task, tokenizer, positions) for rows in (data.train, data.unlabeled) if rows is not None
    )
    validation = encode(data.validation, data.task, tokenizer, positions)
    if data.answers is not None and data.answers.words is not None:
        # Answers for words are of those that the full model reads; another student may read others.
        for name, rows in (("train", train), ("validation", validation)):
            answered = np.bincount(data.answers.words[name][:, 0], minlength=len(rows))
            require_same_units(answered, np.diff(rows.unit_bounds), options.full_model)
    return PreparedTraining(
        net=SuperNetwork(model=model.to(pick_device()), tokenizer=tokenizer, record=record),
        task=data.task,
        train=join_rows(train, *more) if more else train,
        validation=validation,
        settings=settings,
        precision=Precision(bf16=False, reason="nothing is decided yet"),
        teacher=None if data.answers is None else _as_teacher(data.answers.outputs["train"], options),
    )


def _taught(prepared: PreparedTraining, options: ModelOptions, data: TaskData, outputs: np.ndarray) -> PreparedTraining:
    """Return the training with a teacher's outputs of all rows; its answers are the labels of those that have none."""
    rows = label_answered(prepared.train, len(data.train), outputs, data.task.head)
    return replace(prepared, train=rows, teacher=_as_teacher(outputs, options))


def _as_teacher(outputs: np.ndarray, options: ModelOptions) -> Teacher:
    """Return the outputs of the training rows as those of a teacher: the model itself, unless another is named."""
    return Teacher(outputs=outputs, is_itself=options.teacher_model is None)


def _ask_teacher(prepared: PreparedTraining, options: ModelOptions, data: TaskData) -> PreparedTraining:
    """Return the training with the answers of the model that is named as its teacher, to rows without labels too.

    Raises:
        ModelError: it is not fine-tuned, its head is for another task, or it reads other words.
        TaskDataError: a label of the data is none of its labels.
    """
    assert options.teacher_model is not None
    ranks = current_ranks()
    num_units = np.diff(prepared.train.unit_bounds)
    # The first process asks for all: a teacher is mostly large.
    asked: dict[str, Tensor] = {}
    if ranks.is_first:
        outputs = ask_teacher(options.teacher_model, data, num_units, trust_remote_code=options.trust_remote_code)
        asked = {_OUTPUTS: torch.from_numpy(outputs)}
    return _taught(prepared, options, data, ranks.share(asked)[_OUTPUTS].numpy())


def _answer_unlabeled(
    prepared: PreparedTraining, options: ModelOptions, data: TaskData, settings: TrainingSettings, folder: Path | None
) -> PreparedTraining:
    """Fine-tune the model on the rows with labels, and return the training with its answers to those without.

    The fine-tuned model is kept in a `folder` until the training is over, and taken from there if it is interrupted.
    """
    assert data.unlabeled is not None
    labelled = replace(data, unlabeled=None)
    # The epochs that are asked for are of all rows; so few rows get their own.
    alone = replace(settings, sampling_strategy="standard", num_train_epochs=None)
    ranks, model = current_ranks(), prepared.net.model
    # All that it depends on: of other rows or settings it is another one.
    wanted = {
        "data": data.digest,
        "labels": data.label_names,
        "source": replace(data.source, unlabeled_file=None).to_json(),
        "settings": alone.identity,
        "model": digest_model(options.model_name_or_path),
        "attention": options.attn_implementation,
    }
    name = Inputs(values=wanted).hash
    folder = None if folder is None else folder / name
    if ranks.agree(lambda: folder is not None and (folder / SUPER_NETWORK_FILE).is_file()):
        net = load_super_network(folder) if folder is not None else prepared.net
    else:
        if ranks.is_first:
            print(
                f"Fine-tuning on the {len(data.train):,} rows with labels first; that model answers the "
                f"{len(data.unlabeled):,} texts without."
            )
        net = train_super_network(options, labelled, alone, directory=folder)
    # The first process's weights and answers are those of all: others may not have read the folder.
    tensors: dict[str, Tensor] = {}
    if ranks.is_first:
        taught, size = net.model.to(model.device), settings.per_device_eval_batch_size
        outputs = Evaluator(taught, data.task, prepared.train, size).compute_logits()
        tensors = {**taught.state_dict(), _OUTPUTS: torch.from_numpy(outputs)}
    shared = ranks.share(tensors)
    outputs = shared.pop(_OUTPUTS).numpy()
    model.load_state_dict(shared)
    return _taught(prepared, options, data, outputs)


_OUTPUTS = "outputs of all rows"
"""Beside the names of weights, none of which has a space."""


def _begin(
    prepared: PreparedTraining, options: ModelOptions, data: TaskData, folder: Path | None
) -> tuple[PreparedTraining, TrainingStates | None]:
    """Return the training with its precision decided by the first process, and its states in `folder`, which decide."""
    record, ranks = prepared.net.record, current_ranks()
    assert record is not None
    identity = _identity(record, options, data) if folder is not None else {}

    # The precision is a setting, and settings are what states are compared with: each precision has its own.
    def of(precision: Precision) -> tuple[PreparedTraining, TrainingStates | None]:
        settings = replace(prepared.settings, bf16=precision.bf16)
        net = replace(prepared.net, record=replace(record, settings=settings))
        run = identity | {"settings": settings.identity}
        states = None if folder is None else TrainingStates(directory=folder, inputs=Inputs(values=run))
        return replace(prepared, net=net, settings=settings, precision=precision), states

    def decide() -> Precision:
        if prepared.settings.bf16 is None:
            # The state was written with the precision decided; whichever it fits is the one that it was begun with.
            for bf16 in (False, True):
                begun = Precision(bf16=bf16, reason="as it was begun")
                _, states = of(begun)
                if states is not None and states.reports:
                    return begun
        return decide_precision(prepared.net.model, prepared.task, prepared.train, prepared.settings)

    return of(Precision(**ranks.agree(lambda: asdict(decide()))))


def _require_same_inputs(ranks: Ranks, data: TaskData, options: ModelOptions) -> None:
    """Raise unless this process has the rows and the model that the first one has.

    Raises:
        TaskDataError: it has others.
    """
    if ranks.size == 1:
        return
    own = [data.digest, digest_model(options.model_name_or_path), *_digest_unlabeled(data).values()]
    first = ranks.agree(lambda: own)
    if own != first:
        raise TaskDataError(
            f"all processes of a training must have the same rows and the same model, but process {ranks.rank} has "
            f"{own} (digests) and the first one {first}. Copy the files to each machine, or put them on a shared disk."
        )


def _digest_unlabeled(data: TaskData) -> dict[str, str]:
    """Return what there is of rows without labels beside those with."""
    return {} if data.unlabeled is None else {"unlabeled": data.unlabeled.digest}


def _identity(record: TrainingRecord, options: ModelOptions, data: TaskData) -> dict[str, object]:
    """Return what a training depends on: another one's state is not taken."""
    depends = ("source", "data_digest", "label_names", "model_name_or_path", "settings", "dimensions", "params")
    values = asdict(record)
    kept = {name: values[name] for name in depends} | _digest_unlabeled(data)
    teacher = {} if options.teacher_model is None else {"teacher": digest_model(options.teacher_model)}
    return kept | teacher | {"model": digest_model(options.model_name_or_path)}


@dataclass(kw_only=True)
class _Epochs:
    """The epochs so far, and the weights of the best one."""

    net: SuperNetwork
    keeps_last: bool
    """Whether the last epoch counts as the best one."""
    directory: Path | None
    """The directory of the checkpoints; None where none are kept."""
    ranks: Ranks
    reports: list[EpochReport] = field(default_factory=list)
    best: EpochReport | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)
    """The best epoch's, where no checkpoint holds them and a later epoch may be worse."""

    @property
    def current(self) -> SuperNetwork:
        """The super-network as it is after the last epoch."""
        assert self.net.record is not None
        return replace(self.net, record=replace(self.net.record, epochs=tuple(self.reports)))

    def add(self, report: EpochReport) -> None:
        """Note an epoch."""
        self.reports.append(report)
        # `<=`: of equals the later one, whose sub-networks have been trained longer.
        if self.best is None or self.keeps_last or report.error <= self.best.error:
            self.best = report

    def keep(self, report: EpochReport) -> None:
        """Keep the weights of the epoch that has just ended."""
        if self.directory is not None:
            self.current.save(self._checkpoint(report))
        elif report == self.best and not self.keeps_last and self.ranks.is_first:
            self.weights = {name: tensor.detach().clone() for name, tensor in self.net.model.state_dict().items()}

    def finish(self) -> SuperNetwork:
        """Return the super-network with the best epoch's weights, ready to evaluate."""
        best = self.best
        assert best is not None
        # After the last epoch the model has these weights already.
        if best != self.reports[-1]:
            checkpoint = None if self.directory is None else self._checkpoint(best)
            # Of the checkpoint on disk, or the copy in memory where none is kept; the first process has either.
            weights = load_file(checkpoint / "model.safetensors") if checkpoint else self.weights
            self.net.model.load_state_dict(self.ranks.share(weights))
        assert self.net.record is not None
        record = replace(self.net.record, epochs=tuple(self.reports), best_epoch=best.epoch)
        return replace(self.net, model=self.net.model.eval(), record=record)

    def drop_checkpoints(self) -> None:
        """Delete the checkpoints of all epochs but the best one."""
        for report in self.reports:
            if report != self.best and self.directory is not None:
                shutil.rmtree(self._checkpoint(report), ignore_errors=True)

    def _checkpoint(self, report: EpochReport) -> Path:
        assert self.directory is not None
        return self.directory / f"checkpoint-epoch-{report.epoch}"
