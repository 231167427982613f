"""The stage `export`: a model in its forms for the runtimes, logged, shown, and registered where that is wanted."""

from pathlib import Path

from exporters.export import export_model
from exporters.export_record import EXPORT_FILE, Export, VerifiedForm
from exporters.opened_model import open_model
from exporters.options import FORMS, RUNTIME_NAMES
from mlproject.stages.log import log_files
from mlproject.tracking.logged_models import know_directory, log_forms
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

    `name` is the prefix of its metrics and the folder of its artifacts in MLflow; with `log_models` the best
    accepted form is logged as a model that MLflow serves, and fp32 as ONNX.

    Raises:
        ParityError: an fp32 form computes something else than PyTorch; nothing is written.
        TrackingError: MLflow refuses to register the model; everything else is done.
    """
    run.log_params(
        {f"{name}_model": str(model_dir), **{key: ",".join(getattr(options, key)) for key in ("precision", "runtime")}}
    )
    opened = open_model(model_dir)
    data = opened.load_data()
    made = export_model(opened, data, output_dir, options)
    for form_name, form in made.forms.items():
        prefix = name if form_name == "fp32" else f"{name}_{form_name}"
        run.log_metrics({f"{prefix}/error": form.error, f"{prefix}/mb": form.mb})
        if isinstance(form, VerifiedForm):
            run.log_metrics({f"{prefix}/parity": max(form.parity.values())})
    if log_models:
        log_files(run, output_dir, name)
    else:
        run.log_artifact(output_dir / EXPORT_FILE, name)
    _show(made, options, f"{data.validation.num_judged:,} validation {data.task.judged}")
    known = know_directory(model_dir, data, made.params)
    uri = log_served_models(made, data.task, options, run, known) if log_models else None
    log_forms(run, made, known, data)
    if log_models:
        show_serving(uri, data.task)
        run.tracker.require_registered()
    return made


_ONE_ROW_NOTE = (
    "int8 rounds numbers by their range over a whole batch, so an answer depends on the rows beside it: the served "
    "model computes row by row, and so was the error measured. Do so too where you run the graph yourself."
)


def _show(made: Export, options: LoggedExportOptions, judged: str) -> None:
    for name, fp32 in made.verified.items():
        print(
            f"Exported {made.path(name)} ({fp32.mb:.1f} MB): {RUNTIME_NAMES[FORMS[name][0]]} = PyTorch within "
            f"{max(fp32.parity.values()):.1e} on {len(fp32.parity)} checks, error {fp32.error:.4f}."
        )
    if "openvino-bf16" in options.forms and "openvino-bf16" not in made.forms:
        print("Note: this CPU does not compute in bfloat16, so openvino-bf16 was not made.")
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
