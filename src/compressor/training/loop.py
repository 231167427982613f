"""Training a super-network: a step updates the sub-networks its sampling strategy names (Klein et al., TMLR 2024).

A plain PyTorch loop: AdamW, linear schedule with warm-up, gradient clipping. Every sub-network trains through slices
of the shared weights, so a small one costs little. Data order, sub-networks and dropout all come from the seed.
`fine_tune` is the same loop for a model that is trained alone.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from compressor.data.batches import (
    Batch,
    EncodedRows,
    collate,
    count_units,
    outputs_of,
    training_picks,
    units_of,
)
from compressor.data.heads.head import Head
from compressor.data.tasks import Task
from compressor.device import Pieces, fork_random_state, half_type, to_device
from compressor.errors import TrainingError
from compressor.evaluation.evaluator import Evaluator
from compressor.network.execution import activate, replaced
from compressor.network.families import (
    forget_orders,
    get_dimensions,
    get_layer_order,
    set_layer_order,
    shift_outputs,
)
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.progress import progress_bar
from compressor.spaces import SEARCH_SPACES, create_search_space
from compressor.spaces.space import SearchSpace
from compressor.training.importance import order_layers, sort_by_importance
from compressor.training.ranks import ALONE, Ranks, current_ranks
from compressor.training.settings import TrainingSettings
from compressor.training.state import EpochReport, TrainingState, TrainingStates
from compressor.training.strategies import Step, Update, count_warm_up_epochs, get_strategy

if TYPE_CHECKING:
    from tqdm import tqdm
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Whose answers are learnt beside the labels; it does not change meanwhile."""

    outputs: np.ndarray
    """Its outputs of the training rows [units, outputs]."""
    is_itself: bool
    """Whether it is the model that is trained, as it was before, and so does the task already."""


def train_shared_weights(
    model: "PreTrainedModel",
    task: Task,
    train: EncodedRows,
    validation: EncodedRows,
    settings: TrainingSettings,
    on_epoch: Callable[[EpochReport], bool | None],
    states: TrainingStates | None = None,
    teacher: Teacher | None = None,
) -> list[EpochReport]:
    """Return the reports of all epochs; `model` is trained in place, on the device it is on.

    The super-network and all sub-networks learn to answer as a `teacher` does. Where that is the model as it is, which
    does the task already, what is ordered is so from the start.
    Where PyTorch has a process group, its processes train together: each calls this with the same arguments, the first
    one alone evaluates and has `states`, and all get its reports.
    `on_epoch` is called after each epoch, to keep a checkpoint; a true value ends the training. With `states` the
    training resumes after the last epoch that is there, and ends with the weights of one that was never interrupted.

    Raises:
        TrainingError: the loss is no longer a number; checkpoints made before stay.
    """
    dimensions, settings = get_dimensions(model), settings.for_rows(len(train))
    forget_orders(model)  # of another training
    strategy = get_strategy(settings.sampling_strategy, settings.num_random_sub_nets)
    is_fine_tuned = teacher is not None and teacher.is_itself
    warm_up = count_warm_up(task, settings, is_fine_tuned=is_fine_tuned)

    def current_space() -> SearchSpace:
        """Return the space, which ordering the layers changes."""
        return create_search_space(settings.search_space, dimensions, get_layer_order(model))

    if current_space().orders_layers and settings.sampling_strategy != "standard":
        set_layer_order(model, current_space().layer_order)  # what sub-networks are trained in, till it is measured

    learns = teacher is not None
    job = _Job(
        model=model,
        task=task,
        train=train,
        validation=validation,
        settings=settings,
        plan=lambda step: [
            replace(update, distill=update.distill or learns) for update in strategy(current_space(), step)
        ],
        teacher=None if teacher is None else teacher.outputs,
        is_fine_tuned=is_fine_tuned,
        smallest=lambda: current_space().smallest,
        warm_up=warm_up,
        ranks=current_ranks(),
    )
    return _train(job, on_epoch, states)


def count_warm_up(task: Task, settings: TrainingSettings, *, is_fine_tuned: bool = False) -> int | None:
    """Return the epochs before the ordering: none where the model that is trained does the task already."""
    knows_task = is_fine_tuned or task.reference is not None
    return count_warm_up_epochs(settings.sampling_strategy, settings.epochs, is_fine_tuned=knows_task)


def fine_tune(
    model: "PreTrainedModel",
    task: Task,
    train: EncodedRows,
    validation: EncodedRows,
    settings: TrainingSettings,
    on_epoch: Callable[[EpochReport], bool | None],
    teacher: np.ndarray | None = None,
) -> list[EpochReport]:
    """Return the reports of the epochs of a model that is trained alone, in place; it may be a sliced one.

    It learns from the labels and, where given, from a `teacher`'s logits of the training rows [units, outputs]. A true
    value of `on_epoch` ends the training.

    Raises:
        TrainingError: the loss is no longer a number; checkpoints made before stay.
    """
    # Each step is one update, of the whole model: a sub-network that is cut out has no others within it.
    updates, settings = [Update(None, distill=teacher is not None)], settings.for_rows(len(train))
    job = _Job(
        model=model,
        task=task,
        train=train,
        validation=validation,
        settings=settings,
        plan=lambda _: updates,
        teacher=teacher,
    )
    return _train(job, on_epoch)


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """What distilling a super-network into one of its sub-networks came to."""

    error_before: float
    """Validation error."""
    errors: tuple[float, ...]
    """Validation error after each epoch."""
    kept_epoch: int
    """Whose weights the model has now, from 1; 0 where no epoch was better than before."""

    @property
    def error(self) -> float:
        """Validation error of the model as it is now."""
        return self.errors[self.kept_epoch - 1] if self.kept_epoch else self.error_before


def distill(
    model: "PreTrainedModel",
    task: Task,
    train: EncodedRows,
    validation: EncodedRows,
    teacher: np.ndarray,
    settings: TrainingSettings,
    error_before: float | None = None,
) -> Distillation:
    """Fine-tune a sliced sub-network, in place, on the labels and its super-network's logits of the training rows.

    The weights of the best epoch are kept, of the last of several that are as good; those from before where none is
    better. All epochs are made: the learning rate falls to 0 with the last one, which mostly is the best. The
    `error_before` is computed where nobody knows it.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    before = error_before
    if before is None:
        before = Evaluator(model, task, validation, settings.per_device_eval_batch_size).evaluate().error
    # Clones: a state dict holds the very weights, which training changes in place.
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    best, kept_epoch = before, 0

    def on_epoch(report: EpochReport) -> None:
        nonlocal best, kept_epoch
        if report.error < before and report.error <= best:
            best, kept_epoch = report.error, report.epoch
            kept.update({name: tensor.clone() for name, tensor in model.state_dict().items()})

    reports = fine_tune(model, task, train, validation, settings, on_epoch, teacher)
    # Those from before, where no epoch was better.
    model.load_state_dict(kept)
    errors = tuple(report.error for report in reports)
    return Distillation(error_before=before, errors=errors, kept_epoch=kept_epoch)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What is trained on what."""

    model: "PreTrainedModel"
    task: Task
    train: EncodedRows
    validation: EncodedRows
    settings: TrainingSettings
    plan: Callable[[Step], list[Update]]
    """What a step updates."""
    smallest: Callable[[], SubNetwork] | None = None
    """The sub-network that is reported beside the super-network; None where a model is trained alone."""
    teacher: np.ndarray | None = None
    """Outputs that are learnt [units, outputs]."""
    is_fine_tuned: bool = False
    """Whether the model does the task before the first epoch."""
    warm_up: int | None = None
    """After so many epochs, if that is a number, heads and units are put in order of importance, the optimizer's
    moments with them: nothing restarts. Layers are ordered too where the search space asks for it, unless the task
    head has learnt nothing yet: before the first epoch it has only where the model is fine-tuned."""
    ranks: Ranks = ALONE
    pieces: Pieces = field(default_factory=Pieces)
    """Into which each batch is cut, where the device's memory asks for it."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of the training rows."""
        return math.ceil(len(self.train) / self.settings.rows_per_step)

    @property
    def num_steps(self) -> int:
        """Of all epochs."""
        return self.steps_per_epoch * self.settings.epochs


@dataclass(frozen=True, kw_only=True)
class _Moving:
    """What moves from step to step besides the weights."""

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    order: np.random.Generator
    """The random order of the rows."""
    draw: np.random.Generator
    """The random draw of the sub-networks."""
    scaler: torch.amp.GradScaler
    """Of the loss, where training computes in float16, in which small gradients would be 0."""

    @property
    def generators(self) -> dict[str, np.random.Generator]:
        """By name, as a training state keeps them."""
        return {"order": self.order, "draw": self.draw}

    def scale(self, device: torch.device) -> float:
        """Return what the loss is multiplied by."""
        return float(self.scaler.scale(torch.ones((), device=device))) if self.scaler.is_enabled() else 1.0


_Everything = tuple[
    "PreTrainedModel",
    torch.optim.Optimizer,
    torch.optim.lr_scheduler.LRScheduler,
    dict[str, np.random.Generator],
    torch.amp.GradScaler,
]
"""What a training state is captured from."""


def _train(
    job: _Job, on_epoch: Callable[[EpochReport], bool | None], states: TrainingStates | None = None
) -> list[EpochReport]:
    """Run the loop itself; return its reports."""
    model, settings, ranks = job.model, job.settings, job.ranks
    evaluator = Evaluator(model, job.task, job.validation, settings.per_device_eval_batch_size)
    optimizer, schedule = create_optimizer(model, settings, job.num_steps)
    order, draw = np.random.default_rng([settings.seed, 1]), np.random.default_rng([settings.seed, 2])
    scaler = torch.amp.GradScaler(model.device.type, enabled=_computes_fp16(model, settings))
    moving = _Moving(optimizer=optimizer, schedule=schedule, order=order, draw=draw, scaler=scaler)
    everything = (model, optimizer, schedule, moving.generators, scaler)
    state = None if states is None else states.load()
    reports = [] if state is None else list(state.reports)
    what = "fine-tuning" if job.smallest is None else "super-network"
    with (
        fork_random_state(),
        progress_bar(total=len(job.train) * settings.epochs, unit="row", desc=what, disable=not ranks.is_first) as bar,
    ):
        # Dropout; before `restore`, which sets it to where the interrupted training stood.
        torch.manual_seed(settings.seed)
        if state is not None:
            state.restore(*everything)
            bar.update(len(reports) * len(job.train))
        reports = _take_over(ranks, reports, everything)
        for epoch in range(len(reports) + 1, settings.epochs + 1):
            # Between two epochs, so that a state on disk is always of before or after the ordering, never of the
            # middle.
            if job.warm_up is not None and epoch == job.warm_up + 1:
                if ranks.is_first:
                    _order(job, optimizer)
                _take_over(ranks, reports, everything)
            # Other rows want other dropout: with the same state all processes would drop the same units.
            ranks.seed_epoch(settings.seed, epoch)
            losses = _train_epoch(job, epoch, moving, bar)
            shift = _shift_outputs(job, evaluator)
            # After the shift, since the checkpoint of this epoch has it.
            report = _report(job, evaluator, epoch, *losses)
            reports.append(report)
            if on_epoch(report):
                break
            if shift and epoch < settings.epochs:  # the next one starts from the weights of this one
                shift_outputs(model, -shift)
            if states is not None:
                states.save(TrainingState.capture(reports, *everything))
            _take_over(ranks, reports, everything)
    return reports


def _take_over(ranks: Ranks, reports: list[EpochReport], everything: "_Everything") -> list[EpochReport]:
    """Return the first process's reports; the other processes take over its state."""
    if ranks.size == 1:
        return reports
    state = TrainingState.capture(reports, *everything).shared_by(ranks)
    if not ranks.is_first:
        state.restore(*everything)
    return list(state.reports)


def _order(job: _Job, optimizer: torch.optim.Optimizer) -> None:
    """Put heads and units in order of importance, and note that of the layers where it matters and can be measured."""
    model, settings = job.model, job.settings
    sort_by_importance(model, job.task, job.train, optimizer, seed=settings.seed)
    knows_task = job.warm_up or job.is_fine_tuned or job.task.reference is not None
    if knows_task and SEARCH_SPACES[settings.search_space].orders_layers:
        set_layer_order(model, order_layers(model, job.task, job.train, seed=settings.seed))


def _shift_outputs(job: _Job, evaluator: Evaluator) -> float:
    """Return what was added to the outputs, so that predictions have the smallest validation error; mostly nothing."""
    best_shift, rows = job.task.head.best_shift, job.validation
    if best_shift is None:
        return 0.0
    shift = job.ranks.agree(lambda: best_shift(evaluator.compute_logits(), rows.labels, job.task.metric))
    shift_outputs(job.model, shift)
    return shift


def _report(
    job: _Job, evaluator: Evaluator, epoch: int, losses: list[float], own: list[float], others: list[float]
) -> EpochReport:
    """Return what an epoch ended with, evaluated by the first process."""
    # One process evaluates and all get its numbers, so that all of them keep the same epoch.
    error, smallest_error = job.ranks.agree(
        lambda: (
            evaluator.evaluate().error,
            None if job.smallest is None else evaluator.evaluate(job.smallest()).error,
        )
    )
    return EpochReport(
        epoch=epoch,
        step=epoch * job.steps_per_epoch,
        loss=float(np.mean(losses)),
        error=error,
        smallest_error=smallest_error,
        own_loss=float(np.mean(own)) if own else None,
        sub_network_loss=float(np.mean(others)) if others else None,
    )


def _train_epoch(
    job: _Job, epoch: int, moving: _Moving, bar: "tqdm[Any]"
) -> tuple[list[float], list[float], list[float]]:
    """Make one pass over the rows; return the losses of its steps, of the model as a whole and of its sub-networks."""
    model, settings = job.model, job.settings
    full = None if job.smallest is None else full_sub_network(get_dimensions(model))
    losses: list[float] = []
    own: list[float] = []
    others: list[float] = []
    model.train()
    for picked in training_picks(job.train, settings.rows_per_step, moving.order):
        step = Step(
            index=(epoch - 1) * job.steps_per_epoch + len(losses),
            num_steps=job.num_steps,
            num_random_sub_nets=settings.num_random_sub_nets,
            rng=moving.draw,
            num_warm_up_steps=(job.warm_up or 0) * job.steps_per_epoch,
        )
        updates = job.plan(step)
        found = _add_gradients(job, picked, updates, moving.scale(model.device))
        losses.append(_require_finite(found.sum(), step.index + 1, settings, model))
        for update, loss in zip(updates, found.tolist(), strict=True):
            # The loss that is shown is the super-network's: sub-networks are drawn anew in each step, and their losses
            # jump.
            (own if update.sub_network in (None, full) else others).append(loss)
        # Before clipping, whose limit is of the true gradients.
        moving.scaler.unscale_(moving.optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        moving.scaler.step(moving.optimizer)  # no step where scaled gradients were beyond float16
        moving.scaler.update()
        moving.schedule.step()
        # None and not 0: AdamW would decay and move, by its moments, what no sub-network of the step has touched.
        moving.optimizer.zero_grad(set_to_none=True)
        bar.update(len(picked))
        bar.set_postfix(epoch=epoch, loss=f"{np.mean((own or others)[-20:]):.3f}", refresh=False)
    return losses, own, others


def _computes_fp16(model: "PreTrainedModel", settings: TrainingSettings) -> bool:
    return bool(settings.bf16) and half_type(model.device) is torch.float16


def _add_gradients(job: _Job, picked: np.ndarray, updates: list[Update], scale: float) -> Tensor:
    """Return losses [updates] of a step's rows, which all processes share, and their gradients in the shared weights.

    Losses are means over units: that of a part of the rows counts by the units it has. Gradients are multiplied by
    `scale`.
    """
    model, rows, num_parts = job.model, job.train, job.settings.num_parts
    # Every num_parts-th row: rows of a batch are sorted by length, so all parts get short ones and long ones.
    parts = [picked[part::num_parts] for part in range(job.ranks.rank, num_parts, job.ranks.size)]
    num_units = count_units(rows, picked)

    def run_parts(num_pieces: int) -> Tensor:
        losses = torch.zeros(len(updates), device=model.device)
        for part in (part[piece::num_pieces] for part in parts for piece in range(num_pieces)):
            # Against the units of the whole step, so that losses and gradients of all parts add up to those of the
            # step.
            share = count_units(rows, part) / num_units if num_units else 0.0
            # A part, or all of a step, may hold no unit that is judged; the mean of its loss would be 0 / 0.
            if len(part) == 0 or share == 0:
                continue
            units = units_of(rows, part)
            # [units of this part, …], as the model gives logits for them.
            labels = torch.from_numpy(rows.targets[units]).to(model.device)
            logits = None if job.teacher is None else torch.from_numpy(job.teacher[units]).to(model.device)
            batch = collate(rows, part)
            found = run_updates(model, batch, labels, updates, job.settings, job.task.head, logits, scale * share)
            losses += share * found
        return losses

    # Where memory did not suffice, gradients of the pieces that were done are thrown away before it is tried again.
    losses = job.pieces.run(run_parts, max(map(len, parts)), lambda: model.zero_grad(set_to_none=True))
    return job.ranks.add_up(model, losses)


def run_updates(
    model: "PreTrainedModel",
    batch: Batch,
    labels: Tensor,
    updates: list[Update],
    settings: TrainingSettings,
    head: Head,
    teacher: Tensor | None = None,
    share: float = 1.0,
) -> Tensor:
    """Return the losses (detached) of one step's updates [updates], their gradients added up in the shared weights.

    Gradients are multiplied by the `share` that the batch has in its step.

    Updates that distill learn from the `teacher`'s logits [units, outputs]; without one from the first update's, which
    every such strategy gives to the super-network.
    """
    batch = to_device(batch, model.device)
    autocast = torch.autocast(model.device.type, half_type(model.device)) if settings.bf16 else nullcontext()
    losses: list[Tensor] = []
    with _looking_up_once(model) if len(updates) > 1 else nullcontext():
        for update in updates:
            with nullcontext() if update.sub_network is None else activate(model, update.sub_network):
                with autocast:
                    logits = outputs_of(model, batch)
                if update.distill and teacher is not None:
                    loss = head.distillation_loss(logits, teacher, labels, settings.temperature)
                else:
                    loss = head.loss(logits, labels)
                # Update after update, so that one graph is alive at a time.
                (share * loss).backward()  # type: ignore[no-untyped-call]
            if teacher is None:
                # Of the first update, before any step: all students of a step learn from the same weights.
                teacher = logits.detach()
            losses.append(loss.detach())
    return torch.stack(losses)


@contextmanager
def _looking_up_once(model: "PreTrainedModel") -> Iterator[None]:
    """Let passes over the same tokens share what the embeddings' table holds of them, for the time of the block.

    Its gradient, which is as large as the table however few tokens there are, is then made once, at the end.
    """
    table = model.get_input_embeddings()
    look_up, shared = table.forward, list[tuple[Tensor, Tensor, Tensor]]()

    def forward(ids: Tensor) -> Tensor:
        if not shared:
            vectors: Tensor = look_up(ids)
            shared.append((ids, vectors, vectors.detach().requires_grad_()))
        known, _, leaf = shared[0]
        return leaf.clone() if torch.equal(ids, known) else look_up(ids)  # a leaf may not be changed in place

    with replaced(table, "forward", forward):
        yield
    for _, vectors, leaf in shared:
        if vectors.requires_grad:
            # The leaf has gathered what all passes want of the shared vectors.
            vectors.backward(leaf.grad)  # type: ignore[no-untyped-call]


def create_optimizer(
    model: "PreTrainedModel", settings: TrainingSettings, num_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW without decay of biases and LayerNorms, and a linear schedule with warm-up.

    It is PyTorch's fused kernel: one pass over weights, gradients and moments; the default on a CPU makes a dozen.
    """
    from transformers import get_linear_schedule_with_warmup

    # Vectors are biases and LayerNorms.
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    learning_rate = settings.learning_rate or default_learning_rate(model)
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, fused=True)
    return optimizer, get_linear_schedule_with_warmup(optimizer, round(settings.warmup_ratio * num_steps), num_steps)


def default_learning_rate(model: "PreTrainedModel") -> float:
    """Return peak learning rate where none is given, by the encoder's width: 2e-4 at 384 (demo), 5e-5 at 768 (base)."""
    # a line through both points on log scales, with a cap for tiny encoders
    return float(min(1e-3, 2e-4 * (384 / model.config.hidden_size) ** 2))


def _require_finite(loss: Tensor, step: int, settings: TrainingSettings, model: "PreTrainedModel") -> float:
    value = float(loss)
    if not math.isfinite(value):
        learning_rate = settings.learning_rate or default_learning_rate(model)
        raise TrainingError(
            f"the loss must be a finite number, but is {value} at step {step}. Lower --learning-rate (now "
            f"{learning_rate:g}) or --temperature (now {settings.temperature:g}); checkpoints are kept."
        )
    return value
