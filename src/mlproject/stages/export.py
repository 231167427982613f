"""The stage `export`: a model as ONNX in one or more precisions, logged, shown, and registered where that is wanted."""

from pathlib import Path

from exporters.export import export_model
from exporters.export_record import EXPORT_FILE, Export
from exporters.opened_model import open_model
from mlproject.stages.log import log_files
from mlproject.tracking.registration import LoggedExportOptions
from mlproject.tracking.served_model import log_served_models, show_serving
from mlproject.tracking.tracker import StageRun


def export(
    output_dir: Path,
    model_dir: Path,
    options: LoggedExportOptions,
    run: StageRun,
    name: str = "onnx",
    *,
    log_models: bool = True,
) -> Export:
    """Exports a sliced model or a super-network, logs and shows what was made.

    `name` is the prefix of its metrics and the folder of its artifacts in MLflow; with `log_models` the smallest
    accepted precision is logged as a model that MLflow serves, and fp32 as ONNX.

    Raises:
        ParityError: the fp32 graph computes something else than PyTorch; nothing is written.
        TrackingError: MLflow refuses to register the model; everything else is done.
    """
    run.log_params({f"{name}_model": str(model_dir), "precision": ",".join(options.precision)})
    opened = open_model(model_dir)
    data = opened.load_data()
    made = export_model(opened, data, output_dir, options)
    for precision, form in made.forms.items():
        prefix = name if precision == "fp32" else f"{name}_{precision}"
        run.log_metrics({f"{prefix}/error": form.error, f"{prefix}/mb": form.mb})
    run.log_metrics({f"{name}/parity": max(made.fp32.parity.values())})
    if log_models:
        log_files(run, output_dir, name)
    else:
        run.log_artifact(output_dir / EXPORT_FILE, name)
    _show(made, f"{data.validation.num_judged:,} validation {data.task.judged}")
    if log_models:
        uri = log_served_models(made, data.task, options, run, name)
        show_serving(uri, data.task)
        run.tracker.require_registered()
    return made


_ONE_ROW_NOTE = (
    "int8 rounds numbers by their range over a whole batch, so an answer depends on the rows beside it: the served "
    "model computes row by row, and so was the error measured. Do so too where you run the graph yourself."
)


def _show(made: Export, judged: str) -> None:
    fp32 = made.fp32
    print(
        f"Exported {made.path()} ({fp32.mb:.1f} MB): ONNX = PyTorch within {max(fp32.parity.values()):.1e} on "
        f"{len(fp32.parity)} checks, error {fp32.error:.4f}."
    )
    for precision, form in made.smaller.items():
        agreement = "" if form.label_agreement is None else f", {form.label_agreement:.1%} of the labels agree"
        print(f"{precision}: {form.file} ({form.mb:.1f} MB), error {form.error:.4f} ({form.loss:+.4f}{agreement}).")
        if not form.accepted:
            print(
                f"Note: {precision} may lose more than --max-int8-loss {form.max_loss:g}: at most "
                f"{form.loss_at_most:.4f} with {100 * (form.confidence or 0):.4g} % confidence, as far as {judged} "
                "can tell. So it is not registered and not counted as a result. More of them tell more; or allow more."
            )
    if "int8" in made.smaller:
        print(_ONE_ROW_NOTE)
