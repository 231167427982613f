"""The stage `evaluate`: a served model on new rows, beside a baseline, with a gate; MLflow evaluates the answers."""

from pathlib import Path

from compressor.drawing.terminal import print_table
from compressor.errors import GateError
from compressor.markdown import markdown_table, markdown_text
from exporters.options import ColumnOptions, GateOptions
from exporters.served.evaluation import ANSWERS_FILE, EVALUATION_FILE, Evaluation, evaluate_served
from mlproject.inputs.served import find_served
from mlproject.stages.log import option_params
from mlproject.tracking.delivery import find_failed_thresholds
from mlproject.tracking.events import LogEvaluation
from mlproject.tracking.logged_models import hash_files
from mlproject.tracking.tracker import StageRun

_MODEL_TYPES = {"classification": "classifier", "multiple_choice": "classifier", "regression": "regressor"}
"""What MLflow calls models of a head, where it has a name."""


def evaluate(
    output_dir: Path, model: str, file: Path, columns: ColumnOptions, options: GateOptions, run: StageRun
) -> Evaluation:
    """Judge a served model on the rows of a file; log and show it.

    Raises:
        GateError: the model does not keep what was asked of it; everything is written and logged.
    """
    run.log_params({"model": model, "data": str(file), **option_params(options)})
    served = find_served(model)
    baseline = None if options.baseline is None else find_served(options.baseline)
    made = evaluate_served(served, file, columns, options, baseline)
    made.save(output_dir)
    _log(made, output_dir, run)
    _show(made)
    _require_passed(made)
    return made


def _log(made: Evaluation, output_dir: Path, run: StageRun) -> None:
    run.set_tags({"task": made.task.name})
    for file in (EVALUATION_FILE, ANSWERS_FILE):
        run.log_artifact(output_dir / file)
    run.tracker.add(_event(made, "answer", output_dir, run))
    if made.comparison is not None and made.baseline is not None:
        low, high = made.comparison.interval
        found = {"baseline_error": made.comparison.base_error, "difference": made.comparison.difference}
        p_value = {} if made.comparison.mcnemar_p is None else {"mcnemar_p": made.comparison.mcnemar_p}
        run.log_metrics({**found, "difference_low": low, "difference_high": high, **p_value})
        child = run.open_child(
            "baseline", params={"model": made.baseline.model.name}, tags={"stage": "evaluate-baseline"}
        )
        run.tracker.add(_event(made, "baseline", output_dir, child))
        child.end()
    run.log_metrics({gate.metric: gate.value for gate in made.gates})
    header, rows = made.table()
    verdict = "" if made.comparison is None else f"\n\n{markdown_text(made.comparison.describe())}"
    run.describe(f"{markdown_table(header, rows)}{verdict}")


def _event(made: Evaluation, name: str, output_dir: Path, run: StageRun) -> LogEvaluation:
    """Return what MLflow is to evaluate of one of the models."""
    judged, head = made.models[name], made.task.head.name
    classes = made.labels if head == "classification" else ()
    return LogEvaluation(
        run=run.name,
        path=run.tracker.seen_from_output(output_dir / ANSWERS_FILE),
        columns=(*made.task.text_columns, *made.task.choice_columns),
        label=made.columns["label"],
        answer=made.columns[name],
        model_type=_MODEL_TYPES.get(head),
        model_id=judged.model.model_id,
        computes_with=hash_files(judged.model.files) if judged.model.files else "",
        dataset={"name": made.file.stem, "source": str(made.file), "digest": made.rows.digest},
        label_names=classes,
        metrics=judged.metrics,
    )


def _show(made: Evaluation) -> None:
    judged = f"{made.rows.num_judged:,} {made.task.judged}"
    print_table(f"{judged} of {made.file.name}", *made.table())
    if made.comparison is not None:
        print(f"Beside the baseline: {made.comparison.describe()}.")
    for gate in made.gates:
        outcome = "passed" if gate.passed else "FAILED"
        print(f"Gate {gate.describe()} with {100 * made.confidence:g} % confidence: {outcome}.")


def _require_passed(made: Evaluation) -> None:
    failed = [gate for gate in made.gates if not gate.passed]
    reason = find_failed_thresholds(
        {gate.metric: gate.value for gate in made.gates}, {gate.metric: gate.limit for gate in made.gates}
    )
    if reason is not None:
        raise GateError(
            f"{made.judged.model.name} must pass the gate, but it does not keep "
            f"{' and '.join(gate.describe() for gate in failed)} ({100 * made.confidence:g} % confidence, "
            f"{made.rows.num_judged:,} {made.task.judged}). Keep the model that is served, or give more rows."
        )
