"""The stage `train-supernet`.

Each stage opens its inputs, calls the library, and logs what it made. A stage can be run alone: between stages only
directories travel. `compress` runs all of them in one process.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from compressor.data.batches import temporary_cache
from compressor.data.rows import TaskData
from compressor.data.sources import DataSource
from compressor.training.ranks import current_ranks
from compressor.training.settings import ModelOptions, TrainingSettings
from compressor.training.state import EpochReport
from compressor.training.train import PreparedTraining, prepare_training, train_super_network
from exporters.export import require_servable_tokenizer
from exporters.forecast import Plan, forecast_training
from mlproject.inputs.models import open_rows
from mlproject.stages.log import describe_rows, log_data, log_files, option_params, print_notes
from mlproject.tracking.logged_models import know_super_network, log_model_in_pytorch, rows_name
from mlproject.tracking.tracker import StageRun

Made = TypeVar("Made")


def train_supernet(
    output_dir: Path,
    source: DataSource,
    model_options: ModelOptions,
    settings: TrainingSettings,
    run: StageRun,
    plan: Plan | None = None,
) -> Path:
    """Train a super-network into `output_dir`, a checkpoint per epoch; the best epoch's weights are the result.

    With the strategy `auto` that is the last epoch's. Where an interrupted training of the same rows and settings is
    in `output_dir`, it resumes after its last epoch. An estimate of its time is printed first; where a `plan` says what
    follows that too.
    """
    run.log_params(option_params(source, model_options, settings))
    data = _open_in_turn(source, model_options, output_dir)
    print_notes(data.all_notes)
    run.log_params({"num_train_epochs": settings.for_rows(data.num_train_rows).epochs})
    log_data(run, data, source)

    def on_start(prepared: PreparedTraining) -> None:
        if plan is not None:  # an export follows: here, and not hours later when it begins
            require_servable_tokenizer(prepared.net.tokenizer)
        print(describe_rows(data))
        # Before the first epoch of this process, the record has those of an interrupted training.
        done = 0 if prepared.net.record is None else len(prepared.net.record.epochs)
        if done:
            print(f"Resuming after epoch {done}, which was finished before.")
        run.log_params({"bf16": prepared.settings.bf16})
        print(prepared.precision.describe())
        run.keep()
        # After `keep`: from here on there is work to lose, a forecast that is interrupted included.
        print(forecast_training(prepared, data, plan, num_done=done))

    def on_epoch(report: EpochReport) -> None:
        metrics = {"loss": report.own_loss, "sub_network_loss": report.sub_network_loss}
        metrics |= {"error": report.error, "smallest_error": report.smallest_error}
        run.log_metrics({f"train/{name}": value for name, value in metrics.items() if value is not None}, report.epoch)
        tqdm.write(
            f"Epoch {report.epoch}: {_losses(report)}error {report.error:.4f} (super-network), "
            f"{report.smallest_error:.4f} (smallest sub-network)"
        )

    net = train_super_network(
        model_options,
        data,
        settings,
        directory=output_dir,
        run_id=run.run_id,
        on_start=on_start,
        on_epoch=on_epoch,
    )
    assert net.record is not None and net.record.error is not None and net.record.params is not None
    judged = ("error", net.record.error, rows_name(data.source, "validation"), data.validation.digest)
    known, costs = know_super_network(source.task_name, net.record.params), {"params": float(net.record.params)}
    log_model_in_pytorch(run, output_dir, known, [judged], costs)
    log_files(run, output_dir, "supernet")
    return output_dir


def preview(
    source: DataSource, model_options: ModelOptions, settings: TrainingSettings, plan: Plan | None = None
) -> None:
    """Print what there is to know before a training: its rows, and what it and what follows by a `plan` will take.

    Nothing is kept: neither the rows' tokens nor the model's answers to texts without labels.
    """
    with temporary_cache():
        data = open_rows(source, model_options, None)
        print_notes(data.all_notes)
        prepared = prepare_training(model_options, data, settings)
        if plan is not None:  # an export follows
            require_servable_tokenizer(prepared.net.tokenizer)
        print(f"{describe_rows(data)}; {len(data.test):,} test rows")
        print(f"{prepared.settings.epochs} epochs. {prepared.precision.describe()}")
        print(forecast_training(prepared, data, plan))


def follow(source: DataSource, model_options: ModelOptions, settings: TrainingSettings) -> None:
    """Take part in the training of another process that runs `train_supernet`."""
    train_super_network(model_options, _open_in_turn(source, model_options, None), settings)


def in_turn(make: Callable[[], Made]) -> Made:
    """Return what each process of a training makes, the first one before the others."""
    with current_ranks().in_turn():
        return make()


def _open_in_turn(source: DataSource, model_options: ModelOptions, output_dir: Path | None) -> TaskData:
    """Return the rows; where the first process's output directory is on this disk, its answers are read there."""
    folder = Path(current_ranks().agree(lambda: str(output_dir)))
    return in_turn(lambda: open_rows(source, model_options, output_dir or (folder if folder.is_dir() else None)))


def _losses(report: EpochReport) -> str:
    """Return the losses of an epoch in words, those that there are."""
    named = {"super-network": report.own_loss, "sub-networks": report.sub_network_loss}
    found = ", ".join(f"{loss:.3f} ({name})" for name, loss in named.items() if loss is not None)
    return f"loss {found}, "
