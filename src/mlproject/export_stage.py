"""The stage `export`: a model as ONNX in one or more precisions, proven equal to PyTorch or judged by its error."""

import json
import shlex
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.data.sources import in_order_of, load_task_data
from compressor.data.tasks import Task
from compressor.digests import FILES_KEY, digest_files
from compressor.files import new_directory, seen_from, write_json
from exporters.export_record import EXPORT_FILE, ONNX_FILE
from mlproject.settings import LoggedExportOptions
from mlproject.sources import OpenedModel, open_model, require_other_directory, require_same_rows
from mlproject.stage_log import log_files
from mlproject.tracking.tracker import StageRun

if TYPE_CHECKING:
    import numpy as np

    from compressor.data.batches import EncodedRows

_MAX_LENGTHS = 1000


def export(
    output_dir: Path,
    model_dir: Path,
    options: LoggedExportOptions,
    run: StageRun,
    name: str = "onnx",
    *,
    log_models: bool = True,
) -> dict[str, Any]:
    """Exports a sliced model or a super-network; what its `export.json` says.

    fp32 is `model.onnx`, proven equal on many shapes and on all validation rows; int8 and fp16 are made from it and
    judged by their validation error. `name` is the prefix of its metrics and the folder of its artifacts in MLflow;
    with `log_models` the smallest accepted precision is logged as a model that MLflow serves, and fp32 as ONNX.

    Raises:
        ParityError: the fp32 graph computes something else than PyTorch; nothing is written.
        TrackingError: MLflow refuses to register the model; everything else is done.
    """
    from compressor.data.batches import encode, evaluation_batches
    from compressor.evaluation.evaluator import Evaluator
    from compressor.network.families import max_positions
    from compressor.network.saving import require_error
    from exporters.graph.hub_layout import link_graphs, write_stock_config
    from exporters.graph.onnx_export import export_onnx
    from exporters.graph.parity import check_onnx_parity, onnx_logits
    from exporters.graph.sessions import create_session

    require_other_directory(output_dir, model_dir)
    opened = open_model(model_dir)
    model, tokenizer = opened.model, opened.tokenizer
    run.log_params({f"{name}_model": str(model_dir), "precision": ",".join(options.precision)})
    data = in_order_of(load_task_data(opened.source), opened.metadata["labels"])
    require_same_rows(data, opened.made_with, "the model was made with", "make the model again")
    validation = encode(data.validation, data.task, tokenizer, max_positions(model))
    batches = evaluation_batches(validation, 64)
    with new_directory(output_dir) as temporary:
        path = export_onnx(
            model, tokenizer, temporary / ONNX_FILE, _metadata(opened, validation), portable=options.portable
        )
        differences = check_onnx_parity(path, model, tokenizer, batches)
        logits = onnx_logits(create_session(path, threads=1), batches)
        error = _error(opened, logits, validation)
        searched = opened.searched_error
        expected = Evaluator(model, data.task, validation).evaluate().error if searched is None else searched
        require_error(expected, error, logits)
        interval = _interval(opened, logits, validation)
        forms = {"fp32": _form(path) | {"error": error, "error_interval": interval, "parity": differences}}
        for precision in options.precision:
            if precision != "fp32":
                forms[precision] = _smaller(path, precision, opened, validation, logits, options)
        report = {
            "model": seen_from(output_dir, model_dir),
            "task": opened.source.task_name,
            "portable": options.portable,
            "params": sum(parameter.numel() for parameter in model.parameters()),
            "lengths": sorted(validation.lengths.tolist())[:: max(1, len(validation) // _MAX_LENGTHS)],
            "forms": forms,
        }
        tokenizer.save_pretrained(temporary)
        write_stock_config(temporary, model, opened.metadata["labels"])
        link_graphs(temporary, {name: form["file"] for name, form in forms.items() if form.get("accepted", True)})
        report |= {"model_files": digest_files(model_dir), "data_digest": data.digest}
        write_json(temporary / EXPORT_FILE, report | {FILES_KEY: digest_files(temporary)})
    for variant, form in forms.items():
        prefix = name if variant == "fp32" else f"{name}_{variant}"
        run.log_metrics({f"{prefix}/error": form["error"], f"{prefix}/mb": form["mb"]})
    run.log_metrics({f"{name}/parity": max(differences.values())})
    if log_models:
        log_files(run, output_dir, name)
    else:
        run.log_artifact(output_dir / EXPORT_FILE, name)
    _show(output_dir, forms, len(validation))
    if log_models:
        uri = log_models_of(output_dir, model_dir, opened.source.task, report, options, run, name)
        _show_serving(uri, opened.source.task)
        run.tracker.require_registered()
    return report


def log_models_of(
    output_dir: Path,
    model_dir: Path,
    task: Task,
    report: Mapping[str, Any],
    options: LoggedExportOptions,
    run: StageRun,
    name: str,
) -> str | None:
    """Logs the smallest accepted precision as a served model, and fp32 in MLflow's ONNX flavour; the first's URI."""
    import exporters
    from compressor.extraction.card import CARD_FILE
    from exporters.timing.runners import make_inputs, open_runner

    forms = {precision: form for precision, form in report["forms"].items() if form.get("accepted", True)}
    precision = "int8" if "int8" in forms else "fp32"
    artifacts = {"graph": output_dir / forms[precision]["file"], "tokenizer": output_dir / "tokenizer.json"}
    if (model_dir / CARD_FILE).is_file():
        artifacts["model_card"] = model_dir / CARD_FILE
    kind, example = _example(task)
    uri = run.log_served_model(
        f"{name}-{precision}",
        code=Path(exporters.__file__).parent / "servable.py",
        artifacts=artifacts,
        config={"kind": kind},
        example=example,
        requirements=[f"{package}=={version(package)}" for package in _SERVING_PACKAGES],
        metadata={"task": task.name, "metric": task.metric, "precision": precision, "params": report["params"]},
        metrics=_model_metrics(report, precision),
        description=_describe_model(task, report, precision),
        register_as=options.register_as,
        alias=options.alias,
    )
    graph = output_dir / ONNX_FILE
    runner = open_runner(graph, threads=1)
    inputs = make_inputs(runner, [8])
    run.log_onnx_model(f"{name}-graph", graph, inputs, runner.run(inputs), _model_metrics(report, "fp32"))
    return uri


def _model_metrics(report: Mapping[str, Any], precision: str) -> dict[str, float]:
    form = report["forms"][precision]
    return {"error": form["error"], "mb": form["mb"], "params": report["params"]}


def _describe_model(task: Task, report: Mapping[str, Any], precision: str) -> str:
    """What a version of a registered model is, in a sentence."""
    form = report["forms"][precision]
    low, high = form["error_interval"]
    return (
        f"Task {task.name}: error (1 − {task.metric}) **{form['error']:.4f}** (95 % {low:.3f}–{high:.3f}) on the "
        f"validation rows; {precision} ONNX, {form['mb']:.1f} MB, {report['params'] / 1e6:.2f} M parameters."
    )


_SERVING_PACKAGES = ("mlflow", "onnxruntime", "tokenizers", "numpy", "pydantic")
"""What `servable.py` imports; pinned to the versions it was logged with."""


def _example(task: Task) -> tuple[str, list[Any]]:
    """The kind of texts a task reads, as `servable.py` calls it, and a row of that kind."""
    if task.multiple_choice:
        return "choices", [{"text": "The door opens.", "start": "She", "choices": ["walks in.", "is a door."]}]
    if len(task.text_columns) == 2:
        return "pair", [{"text": "A film to remember.", "text_pair": "The film is memorable."}]
    return "single", ["A film to remember."]


def _show_serving(uri: str | None, task: Task) -> None:
    """Prints how the logged model is served and asked."""
    if uri is not None:
        body = json.dumps({"inputs": _example(task)[1]})
        print(f"Serve it: mlflow models serve -m {uri} --env-manager local -p 5001")
        print(
            f"Ask it: curl http://localhost:5001/invocations -H 'Content-Type: application/json' -d {shlex.quote(body)}"
        )


def _metadata(opened: OpenedModel, validation: "EncodedRows") -> dict[str, Any]:
    """What the exported file says of itself."""
    import torch
    import transformers

    import compressor
    from compressor.network.families import max_positions

    task = opened.source.task
    return opened.metadata | {
        "task": opened.source.task_name,
        "max_length": min(task.max_length, max_positions(opened.model)),
        "regression": task.regression,
        "num_texts": len(task.text_columns),
        "pad_values": validation.pad_values,
        "versions": {
            "mlflow-compressor": compressor.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _smaller(
    path: Path,
    precision: str,
    opened: OpenedModel,
    validation: "EncodedRows",
    logits: "np.ndarray",
    options: LoggedExportOptions,
) -> dict[str, Any]:
    """The int8 or fp16 form of an exported graph, beside it, and how far it is from fp32.

    Where int8 embedding tables cost too much, they stay fp32.
    """
    from exporters.graph.quantization import FP16_SUFFIX, INT8_SUFFIX, convert_fp16, needs_reduced_range, quantize_int8

    if precision == "fp16":
        file = convert_fp16(path, path.with_name(path.stem + FP16_SUFFIX))
        return _judge(file, opened, validation, logits, options, num_tries=1)
    found: dict[str, Any] = {}
    tries = (True, False)
    for tables in tries:
        file = path.with_name(path.stem + INT8_SUFFIX)
        quantize_int8(path, file, reduce_range=needs_reduced_range(), tables=tables)
        found = _judge(file, opened, validation, logits, options, len(tries)) | {"int8_embeddings": tables}
        if found["accepted"]:
            break
    return found


def _judge(
    file: Path,
    opened: OpenedModel,
    validation: "EncodedRows",
    logits: "np.ndarray",
    options: LoggedExportOptions,
    num_tries: int,
) -> dict[str, Any]:
    """How far a smaller form is from the fp32 `logits` of the validation rows, and whether it is accepted.

    It is where it surely loses no more error than is allowed: by a bound over all `num_tries`, as a member is chosen.
    """
    import numpy as np

    from compressor.data.batches import evaluation_batches
    from compressor.data.metrics import label_agreement, predict
    from compressor.evaluation.bounds import compare_with_base
    from exporters.graph.parity import onnx_logits
    from exporters.graph.quantization import INT8_SUFFIX
    from exporters.graph.sessions import create_session

    rows = 1 if file.name.endswith(INT8_SUFFIX) else 64  # as it is served: int8 answers depend on their batch
    smaller = onnx_logits(create_session(file, threads=1), evaluation_batches(validation, rows))
    task = opened.source.task
    both = [predict(of, task.regression) for of in (logits, smaller)]
    losses = compare_with_base(task.metric, both[0], both[1:], validation.labels, num_candidates=num_tries)
    (accepted,), (at_most,) = losses.holding(options.max_int8_loss, options.confidence)
    scale = max(float(np.abs(logits).max()), 1e-6)
    return _form(file) | {
        "error": _error(opened, smaller, validation),
        "error_interval": _interval(opened, smaller, validation),
        "loss": float(losses.values[0]),
        "loss_at_most": float(at_most),
        "confidence": options.confidence,
        "max_loss": options.max_int8_loss,
        "accepted": bool(accepted),
        "label_agreement": label_agreement(logits, smaller),
        "difference": float(np.abs(smaller - logits).max()) / scale,
    }


def _form(path: Path) -> dict[str, Any]:
    data = path.with_name(f"{path.name}.data")
    return {"file": path.name, "mb": (path.stat().st_size + (data.stat().st_size if data.is_file() else 0)) / 1e6}


def _error(opened: OpenedModel, logits: "np.ndarray", validation: "EncodedRows") -> float:
    from compressor.data.metrics import compute_error, predict

    task = opened.source.task
    return compute_error(task.metric, predict(logits, task.regression), validation.labels)


def _interval(opened: OpenedModel, logits: "np.ndarray", validation: "EncodedRows") -> tuple[float, float]:
    from compressor.data.metrics import error_interval, predict

    task = opened.source.task
    return error_interval(task.metric, predict(logits, task.regression), validation.labels)


_ONE_ROW_NOTE = (
    "int8 rounds numbers by their range over a whole batch, so an answer depends on the rows beside it: the served "
    "model computes row by row, and so was the error measured. Do so too where you run the graph yourself."
)


def _show(output_dir: Path, forms: Mapping[str, Mapping[str, Any]], num_rows: int) -> None:
    fp32 = forms["fp32"]
    print(
        f"Exported {output_dir / ONNX_FILE} ({fp32['mb']:.1f} MB): ONNX = PyTorch within "
        f"{max(fp32['parity'].values()):.1e} on {len(fp32['parity'])} checks, error {fp32['error']:.4f}."
    )
    for precision, form in forms.items():
        if precision != "fp32":
            agreement = (
                "" if form["label_agreement"] is None else f", {form['label_agreement']:.1%} of the labels agree"
            )
            print(
                f"{precision}: {form['file']} ({form['mb']:.1f} MB), error {form['error']:.4f} "
                f"({form['loss']:+.4f}{agreement})."
            )
            if not form["accepted"]:
                print(
                    f"Note: {precision} may lose more than --max-int8-loss {form['max_loss']:g}: at most "
                    f"{form['loss_at_most']:.4f} with {100 * form['confidence']:.4g} % confidence, as far as "
                    f"{num_rows:,} validation rows can tell. So it is not registered and not counted as a result. More "
                    "validation rows tell more; or allow more."
                )
    if "int8" in forms:
        print(_ONE_ROW_NOTE)
