"""The stage `export`: a model in its forms for the runtimes, logged, shown, and registered where that is wanted."""

from dataclasses import replace
from pathlib import Path

from compressor.data.rows import TaskData
from compressor.digests import digest_files
from compressor.extraction.family import Family, is_family
from compressor.files import require_other_directory
from exporters.export import export_model
from exporters.export_record import EXPORT_FILE, Export, VerifiedForm
from exporters.opened_model import open_model
from mlproject.inputs.cache import forget_record, read_record, stage_inputs, write_record
from mlproject.stages.log import log_files
from mlproject.tracking.logged_models import know_directory, log_forms
from mlproject.tracking.registration import LoggedExportOptions, find_aliases, require_aliases
from mlproject.tracking.served_model import log_served_models, show_serving
from mlproject.tracking.tracker import StageRun


def export_all(
    output_dir: Path, model_dir: Path, options: LoggedExportOptions, run: StageRun, name: str = "onnx"
) -> Export | dict[str, Export]:
    """Export a model, or each of a family by its name; see `export` and `export_family`."""
    if is_family(model_dir):
        return export_family(output_dir, model_dir, options, run)
    return export(output_dir, model_dir, options, run, name)


def export(
    output_dir: Path,
    model_dir: Path,
    options: LoggedExportOptions,
    run: StageRun,
    name: str = "onnx",
    *,
    log_models: bool = True,
) -> Export:
    """Export a sliced model or a super-network; log and show what was made.

    `name` is the prefix of its metrics and the folder of its artifacts in MLflow; with `log_models` the best
    accepted form is logged as a model that MLflow serves, and fp32 as ONNX.

    Raises:
        ParityError: an fp32 form computes something else than PyTorch; nothing is written.
        TrackingError: MLflow refuses to register the model; everything else is done.
    """
    run.log_params({f"{name}_model": str(model_dir), **_option_params(options)})
    made, data = _export(model_dir, output_dir, options)
    known = know_directory(model_dir, data, made.params)
    _log(run, made, name, files=log_models)
    uri = log_served_models(made, data.task, options, run, known) if log_models else None
    log_forms(run, made, known, data)
    show_serving(uri, data.task)
    run.tracker.require_registered()
    return made


def export_family(output_dir: Path, family_dir: Path, options: LoggedExportOptions, run: StageRun) -> dict[str, Export]:
    """Export each member of a family into a folder of its own; register all once all are verified.

    They become versions of one registered model with the aliases of their tiers, and `champion`. Members that a killed
    command has exported are not exported again.

    Raises:
        OptionError: an alias is given, or a name of a member is none that MLflow takes.
        ParityError: an fp32 form computes something else than PyTorch; nothing is registered.
        TrackingError: MLflow refuses to register a model; everything else is done.
    """
    family = Family.load(family_dir)
    aliases = find_aliases(family.members, family.champion)
    require_aliases(options, family.members)
    require_other_directory(output_dir, family_dir)
    run.log_params({"family": str(family_dir), "members": ", ".join(family.members), **_option_params(options)})
    exported = {}
    for name in family.members:
        model_dir, target = family.folder_of(family_dir, name), output_dir / name
        given = stage_inputs(_MEMBER, options, model=digest_files(model_dir))
        # What a killed command has finished is kept, if its record says that it was made of the same.
        if run.tracker.resumes and read_record(target, given) is not None:
            print(f"{name} was exported before.")
            exported[name] = Export.load(target), open_model(model_dir).load_data()
        else:
            forget_record(target)
            exported[name] = _export(model_dir, target, options)
            write_record(target, given)
    run.log_artifact(family.save(output_dir))
    # Only now, when all are exported and verified: a family is registered whole or not at all.
    num_logged = 0
    for name, (made, data) in exported.items():
        first, *more = aliases[name]
        registered = replace(options, alias=first if options.register_as else None)
        known = know_directory(family.folder_of(family_dir, name), data, made.params, name)
        _log(run, made, name)
        uri = log_served_models(made, data.task, registered, run, known, tuple(more))
        log_forms(run, made, known, data, num_logged)
        num_logged += len(made.accepted)
        show_serving(uri, data.task)
    run.tracker.require_registered()
    return {name: made for name, (made, _) in exported.items()}


_MEMBER = "export member"
"""What the record of a member of a family is of."""


def _option_params(options: LoggedExportOptions) -> dict[str, str]:
    return {key: ",".join(getattr(options, key)) for key in ("precision", "runtime")}


def _export(model_dir: Path, output_dir: Path, options: LoggedExportOptions) -> tuple[Export, TaskData]:
    """Export a model and show what was made; also the rows that it was judged on."""
    opened = open_model(model_dir)
    data = opened.load_data()
    made = export_model(opened, data, output_dir, options)
    judged = f"{data.validation.num_judged:,} validation {data.task.judged}"
    print(*made.describe(judged, options.forms), sep="\n")
    return made, data


def _log(run: StageRun, made: Export, name: str, *, files: bool = True) -> None:
    """Log the metrics of an export, with `name` as prefix, and its files, or the record of them alone."""
    for form_name, form in made.forms.items():
        # fp32 is what the plain name stands for; the others have theirs behind it.
        prefix = name if form_name == "fp32" else f"{name}_{form_name}"
        run.log_metrics({f"{prefix}/error": form.error, f"{prefix}/mb": form.mb})
        if isinstance(form, VerifiedForm):
            run.log_metrics({f"{prefix}/parity": max(form.parity.values())})
    if files:
        log_files(run, made.directory, name)
    else:
        run.log_artifact(made.directory / EXPORT_FILE, name)
