"""The stage `train-supernet`.

Each stage reads files, works with the library, writes files, then logs what it made. A stage can be run alone: between
stages only directories travel. `compress` runs all of them in one process.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.data.overlap import note_rows
from compressor.data.sources import DataSource, load_task_data
from compressor.training.settings import TrainingSettings
from mlproject.settings import ModelOptions
from mlproject.stage_log import log_data, log_files, option_params, print_notes
from mlproject.tracking.outbox import FOLDER
from mlproject.tracking.tracker import StageRun

if TYPE_CHECKING:
    from compressor.training.state import EpochReport
    from mlproject.stage_forecast import Plan


def train_supernet(
    output_dir: Path,
    source: DataSource,
    model_options: ModelOptions,
    settings: TrainingSettings,
    run: StageRun,
    plan: "Plan | None" = None,
) -> Path:
    """Trains a super-network into `output_dir`, a checkpoint per epoch; the best epoch's weights are the result.

    With the strategy `auto` that is the last epoch's. Where an interrupted training of the same rows and settings is
    in `output_dir`, it goes on after its last epoch. What it will take is told first, and where a `plan` says what
    follows that too.
    """
    import shutil

    from safetensors.torch import load_file
    from tqdm import tqdm

    from compressor.data.batches import encode
    from compressor.network.families import get_dimensions, max_positions
    from compressor.network.loading import digest_model, load_base_model, pick_device, save_super_network
    from compressor.spaces import create_search_space
    from compressor.training.forecast import forecast
    from compressor.training.loop import train_super_network
    from compressor.training.state import EpochReport, TrainingStates
    from mlproject.stage_forecast import Sizes, describe_stages, forecast_stages

    run.log_params(option_params(source, model_options, settings))
    data = load_task_data(source)
    print_notes(data.notes)
    settings = settings.for_rows(len(data.train))
    run.log_params({"num_train_epochs": settings.epochs})
    log_data(run, data, source)
    model, tokenizer = load_base_model(
        model_options.model_name_or_path,
        data.task,
        data.label_names,
        seed=settings.seed,
        attn_implementation=model_options.attn_implementation,
        trust_remote_code=model_options.trust_remote_code,
    )
    create_search_space(settings.search_space, get_dimensions(model))
    train, validation = (
        encode(rows, data.task, tokenizer, max_positions(model)) for rows in (data.train, data.validation)
    )
    print(
        f"Training on {len(train):,} rows, validating on {len(validation):,}"
        + (f"; labels: {', '.join(data.label_names[:10])}" if data.label_names else "")
    )
    info: dict[str, Any] = {
        "format": 1,
        "run_id": run.run_id,
        "source": source.to_json(),
        "data_digest": data.digest,
        "label_names": list(data.label_names),
        "training_rows": note_rows(data.parts),
        "model_name_or_path": model_options.model_name_or_path,
        "settings": asdict(settings),
        "dimensions": get_dimensions(model).to_json(),
        "attn_implementation": model_options.attn_implementation,
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": [],
    }
    depends = ("source", "data_digest", "label_names", "model_name_or_path", "settings", "dimensions", "params")
    of = {name: info[name] for name in depends} | {"model": digest_model(model_options.model_name_or_path)}
    states = TrainingStates(directory=output_dir / FOLDER / "training", run=of)
    best: list[EpochReport] = []

    def remember(report: EpochReport) -> None:
        info["epochs"].append(asdict(report))
        if not best or settings.keeps_last_epoch or report.error <= best[0].error:
            best[:] = [report]

    def on_epoch(report: EpochReport) -> None:
        remember(report)
        if model_options.save_checkpoints:
            save_super_network(output_dir / f"checkpoint-epoch-{report.epoch}", model, tokenizer, info)
        metrics = {"loss": report.own_loss, "sub_network_loss": report.sub_network_loss}
        metrics |= {"error": report.error, "smallest_error": report.smallest_error}
        run.log_metrics({f"train/{name}": value for name, value in metrics.items() if value is not None}, report.epoch)
        tqdm.write(
            f"Epoch {report.epoch}: {_losses(report)}error {report.error:.4f} (super-network), "
            f"{report.smallest_error:.4f} (smallest sub-network)"
        )

    for report in states.reports:
        remember(report)
    if best:
        print(f"Going on after epoch {len(info['epochs'])}, which was finished before.")
    run.keep()
    model.to(pick_device())
    expected = forecast(model, data.task, train, validation, settings)
    left = 1 - len(info["epochs"]) / settings.epochs
    seconds = {"super-network": left * expected.training_s}
    if plan is not None:
        sizes = Sizes(
            params=info["params"],
            train_rows=len(train),
            validation_rows=len(validation),
            test_rows=len(data.test),
            mean_length=float(validation.lengths.mean()),
            max_positions=max_positions(model),
        )
        seconds = forecast_stages(expected, plan, sizes, left)
    print(describe_stages(seconds))
    reports = train_super_network(
        model,
        data.task,
        train,
        validation,
        settings,
        on_epoch,
        states if model_options.save_checkpoints else None,
    )
    kept = best[0] if model_options.save_checkpoints else reports[-1]
    if kept != reports[-1]:
        model.load_state_dict(load_file(output_dir / f"checkpoint-epoch-{kept.epoch}" / "model.safetensors"))
    save_super_network(output_dir, model, tokenizer, info | {"best_epoch": kept.epoch})
    for report in reports:
        if report != kept:
            shutil.rmtree(output_dir / f"checkpoint-epoch-{report.epoch}", ignore_errors=True)
    run.log_metrics({"error": kept.error, "params": info["params"]})
    log_files(run, output_dir, "supernet")
    states.clear()
    return output_dir


def _losses(report: "EpochReport") -> str:
    """The losses of an epoch in words, those that there are."""
    named = {"super-network": report.own_loss, "sub-networks": report.sub_network_loss}
    found = ", ".join(f"{loss:.3f} ({name})" for name, loss in named.items() if loss is not None)
    return f"loss {found}, "
