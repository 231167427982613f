"""An export as models of MLflow: its best form as a served model that takes texts, fp32 in the ONNX flavour."""

import json
import shlex
from importlib.metadata import version
from pathlib import Path

import numpy as np

import exporters
from compressor.data.tasks import Task
from compressor.extraction.card import CARD_FILE
from exporters.export_record import Export
from exporters.graph.sessions import installed_package
from exporters.options import FORMS, RUNTIME_NAMES, Form
from exporters.served.models import served_files
from exporters.timing.runners import make_inputs, open_runner
from mlproject.tracking.events import LogOnnxModel, LogServedModel
from mlproject.tracking.logged_models import KnownModel, hash_files, hash_model, model_name
from mlproject.tracking.registration import LoggedExportOptions
from mlproject.tracking.tracker import StageRun

_SERVING_PACKAGES = ("mlflow", "tokenizers", "numpy", "pydantic")
"""What `servable.py` imports besides the runtime; pinned to the versions it was logged with."""


def log_served_models(
    export: Export,
    task: Task,
    options: LoggedExportOptions,
    run: StageRun,
    known: KnownModel,
    further_aliases: tuple[str, ...] = (),
) -> str | None:
    """Log the best accepted form as a served model, and fp32 in MLflow's ONNX flavour; the first's URI."""
    form, graph = export.best, export.path()
    runtime, precision = FORMS[form]
    artifacts = served_files(export, form)
    # Only extracted models have a card.
    if export.model is not None and (export.model / CARD_FILE).is_file():
        artifacts["model_card"] = export.model / CARD_FILE
    kind, example = task.head.ask(task)
    served = LogServedModel(
        run=run.name,
        digest=hash_files(artifacts.values()),
        computes_with=hash_model(export.path(form)),
        **known.described(form, runtime, precision),
        code=str(Path(exporters.__file__).parent / "servable.py"),
        artifacts={key: run.tracker.seen_from_output(path) for key, path in artifacts.items()},
        # Where it computes, unless that is the CPU.
        config={"kind": kind, "answers": "full"} | ({} if export.provider == "cpu" else {"provider": export.provider}),
        example=[example],
        requirements=(
            installed_package(runtime),
            *(f"{package}=={version(package)}" for package in _SERVING_PACKAGES),
        ),
        metadata={
            "task": task.name,
            "metric": task.metric,
            "runtime": runtime,
            "precision": precision,
            "params": export.params,
            "model": known.name,
        },
        metrics=_metrics(export, form),
        description=_describe(export, task, form),
        register_as=options.register_as,
        alias=options.alias,
        further_aliases=further_aliases if options.register_as else (),
    )
    uri = run.log_model(served)
    runner = open_runner(graph, threads=1)
    # Eight tokens: an example whose answer is logged with it, so that whoever serves the graph can compare.
    inputs = make_inputs(runner, [8])
    described = known.described("fp32", *FORMS["fp32"])
    # Both models are of one run: two of the same name could not be told apart.
    if form == "fp32":
        described["name"] = model_name(f"{known.name}-graph")
    run.tracker.add(
        LogOnnxModel(
            run=run.name,
            **described,
            path=run.tracker.seen_from_output(graph),
            inputs={key: values.tolist() for key, values in inputs.items()},
            logits=np.asarray(runner.run(inputs)).tolist(),
            metrics=_metrics(export, "fp32"),
            digest=hash_files([graph]),
            computes_with=hash_model(graph),
        )
    )
    return uri


def _metrics(export: Export, name: Form) -> dict[str, float]:
    form = export.forms[name]
    return {"error": form.error, "mb": form.mb, "params": export.params}


def _describe(export: Export, task: Task, name: Form) -> str:
    """Return what a version of a registered model is, in a sentence."""
    form, (runtime, precision) = export.forms[name], FORMS[name]
    low, high = form.error_interval
    return (
        f"Task {task.name}: error (1 − {task.metric}) **{form.error:.4f}** (95 % {low:.3f}–{high:.3f}) on the "
        f"validation rows; {precision} {RUNTIME_NAMES[runtime]}, {form.mb:.1f} MB, {export.params / 1e6:.2f} M "
        "parameters."
    )


def show_serving(uri: str | None, task: Task) -> None:
    """Print how the logged model is served and asked."""
    if uri is not None:
        body = json.dumps({"inputs": [task.head.ask(task)[1]]})
        print(f"Serve it: mlflow models serve -m {shlex.quote(uri)} --env-manager local -p 5001")
        print(
            f"Query: curl http://localhost:5001/invocations -H 'Content-Type: application/json' -d {shlex.quote(body)}"
        )
