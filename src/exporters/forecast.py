"""What the stages of `compress` are going to take, worked out from the few steps that `training.forecast` has timed.

It is an estimate: what MLflow takes is left out but for the logging of models, the chosen sub-network is taken to be of
mean size, and distillation to run to its last epoch. The constants of exports are CPU seconds as measured on a server
(benchmarks/LOG.md); those of logging and of loading are guesses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from compressor.data.rows import TaskData
from compressor.extraction.candidates import TRIED_EPOCHS
from compressor.extraction.repair import NUM_REPAIR_ROWS
from compressor.network.families import max_positions
from compressor.training.forecast import Forecast, forecast, format_duration
from compressor.training.train import PreparedTraining

EXPORT_S, EXPORT_S_PER_MILLION = 5.0, 0.05
"""Tracing a graph: whatever it is of, and for each million parameters."""
QUANTIZE_S_PER_MILLION = 0.1
OPENVINO_S_PER_MILLION = 0.15
"""Seconds per million parameters of each form: what calibration takes, spread over all."""
LOG_MODELS_S = 10.0
"""Logging a served model and its graph."""
FOOTPRINT_S = 4.0
"""A process that loads the libraries and a model."""
NUM_FORWARDS = 5
"""Of the sub-network over the validation rows, in extraction: shared, sliced, loaded, repaired, distilled."""
WARM_UP_RUNS = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `compress` is asked to do once the super-network is trained."""

    num_samples: int
    finetune_epochs: int
    num_candidates: int
    """Others that are distilled for an epoch before one is taken."""
    num_precisions: int
    """ONNX graphs of each exported model, fp32 included."""
    num_openvino_forms: int = 0
    """The OpenVINO variants of the sub-network beside them."""
    batch_sizes: Sequence[int]
    lengths: Sequence[int]
    runs: int


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What it is done with."""

    params: int
    train_rows: int
    validation_rows: int
    test_rows: int
    mean_length: float
    """Tokens of a validation row."""
    max_positions: int


def forecast_stages(expected: Forecast, plan: Plan, sizes: Sizes, left: float = 1.0) -> dict[str, float]:
    """Return seconds by stage; `left` is the part of the training that is still to be done."""
    rows, share, row_s = sizes.validation_rows, expected.share, expected.row_s
    # The super-network answers all rows once (teacher, judging), and gives the moments of the repair.
    once = sizes.train_rows + rows + sizes.test_rows + min(NUM_REPAIR_ROWS, sizes.train_rows)
    others = plan.num_candidates if plan.finetune_epochs else 0
    epochs = (plan.finetune_epochs + TRIED_EPOCHS * others) * (expected.epoch_s + row_s * rows)
    forwards = row_s * (NUM_FORWARDS * (1 + others) * rows + sizes.test_rows)
    extraction_s = row_s * once + share * (forwards + epochs)
    millions, smaller, more = sizes.params / 1e6, plan.num_precisions - 1, plan.num_openvino_forms
    graphs = 2 * (EXPORT_S + (EXPORT_S_PER_MILLION + QUANTIZE_S_PER_MILLION * smaller) * millions)
    graphs += more * OPENVINO_S_PER_MILLION * millions
    answers = row_s * rows * ((1 + share) * (1 + plan.num_precisions) + share * more)  # PyTorch, and each form
    forms = plan.num_precisions + 1  # and PyTorch, of the dense and of the pruned model
    tokens = sum(min(length, sizes.max_positions) for length in plan.lengths) + sizes.mean_length
    round_s = sum(plan.batch_sizes) * tokens * expected.token_s * ((1 + share) * forms + share * more)
    return {
        "super-network": left * expected.training_s,
        "search": plan.num_samples * expected.evaluation_s,
        "extraction": extraction_s,
        "export": graphs + answers + LOG_MODELS_S,
        "benchmark": (plan.runs + WARM_UP_RUNS) * round_s + (2 * forms + more) * FOOTPRINT_S,
    }


def forecast_training(
    prepared: PreparedTraining, data: TaskData, plan: Plan | None = None, *, num_done: int = 0
) -> str:
    """Return in a sentence what a training takes, and the stages that a plan says; `num_done` epochs are behind it."""
    net, train, validation, settings = prepared.net, prepared.train, prepared.validation, prepared.settings
    assert net.record is not None and net.record.params is not None
    # Texts without labels are answered by the model as it is then, whose super-network starts with the ordering; unless
    # a teacher answers them.
    is_fine_tuned = net.record.source.unlabeled_file is not None and net.record.teacher_model is None
    expected = forecast(net.model, prepared.task, train, validation, settings, is_fine_tuned=is_fine_tuned)
    if data.unlabeled is not None and is_fine_tuned and prepared.teacher is None:
        alone = replace(settings, num_train_epochs=None).for_rows(len(data.train))
        before_s = alone.epochs * expected.epoch_s * len(data.train) / len(train)
        expected = replace(expected, training_s=expected.training_s + before_s)
    # The share of the training that is still to be done.
    left = 1 - num_done / settings.epochs
    if plan is None:
        return describe_stages({"super-network": left * expected.training_s})
    sizes = Sizes(
        params=net.record.params,
        train_rows=len(train),
        validation_rows=len(validation),
        test_rows=len(data.test),
        mean_length=float(validation.lengths.mean()),
        max_positions=max_positions(net.model),
    )
    return describe_stages(forecast_stages(expected, plan, sizes, left))


def describe_stages(seconds: Mapping[str, float]) -> str:
    """Return one sentence for people."""
    parts = ", ".join(f"{stage} {format_duration(value)}" for stage, value in seconds.items())
    total = f"; {format_duration(sum(seconds.values()))} in all" if len(seconds) > 1 else ""
    return f"Estimated from a few steps on this machine: {parts}{total}."
