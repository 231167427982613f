"""The stage `nas`: sub-networks that are trained one by one, as nested runs that can be watched while they train."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.data.sources import DataSource, load_task_data
from compressor.files import append_json_line
from compressor.training.settings import TrainingSettings
from mlproject.settings import ModelOptions, NasOptions
from mlproject.stage_log import log_data, log_files, option_params, print_notes
from mlproject.tracking.tracker import StageRun

if TYPE_CHECKING:
    import numpy as np

    from compressor.data.batches import EncodedRows
    from compressor.data.tasks import Task
    from compressor.search.loop import EvaluatedSubNetwork, SearchResult
    from compressor.search.standard_nas import RunningTrial


def nas(
    output_dir: Path,
    source: DataSource,
    model_options: ModelOptions,
    settings: TrainingSettings,
    options: NasOptions,
    run: StageRun,
) -> "SearchResult":
    """Trains sub-networks one by one; writes what `search` writes, and the front members' weights below `trials/`."""
    import numpy as np

    from compressor.data.batches import encode
    from compressor.data.trivial import find_trivial
    from compressor.evaluation.predictions import ValidationPredictions
    from compressor.network.costs import create_cost_model
    from compressor.network.families import get_dimensions, max_positions
    from compressor.network.loading import digest_model, load_base_model
    from compressor.search.standard_nas import run_standard_nas
    from compressor.spaces import create_search_space
    from mlproject.journal import JOURNAL_FILE
    from mlproject.search_report import mark_front_member, show_result, write_search_results

    alone = {name: value for name, value in asdict(settings).items() if name not in _OF_SUPER_NETWORKS}
    set_already = {name: value for name, value in alone.items() if value is not None}
    model_name = {"model_name_or_path": model_options.model_name_or_path}
    run.log_params(option_params(source, options) | set_already | model_name)
    data = load_task_data(source)
    print_notes(data.notes)
    log_data(run, data, source)
    settings = settings.for_rows(len(data.train))
    alone["num_train_epochs"] = settings.epochs
    run.log_params({"num_train_epochs": settings.epochs})
    base_model: dict[str, Any] = {
        "name_or_path": _absolute(model_options.model_name_or_path),
        "attn_implementation": model_options.attn_implementation,
        "trust_remote_code": model_options.trust_remote_code,
    }
    model, tokenizer = load_base_model(task=data.task, label_names=data.label_names, seed=settings.seed, **base_model)
    space, cost_model = create_search_space(options.search_space, get_dimensions(model)), create_cost_model(model)
    positions = max_positions(model)
    validation, test = (encode(rows, data.task, tokenizer, positions) for rows in (data.validation, data.test))
    encode(data.train, data.task, tokenizer, positions)  # so that the trials find the tokens in the cache
    length = int(np.median(validation.lengths))
    print(
        f"Training each sub-network on {len(data.train):,} rows, validating on {len(validation):,}"
        + (f"; labels: {', '.join(data.label_names[:10])}" if data.label_names else "")
    )
    trials = _TrialRuns(run, source, model_options, options)
    (output_dir / JOURNAL_FILE).unlink(missing_ok=True)

    def observe(trial: "RunningTrial") -> None:
        if trial.evaluation is not None:
            append_json_line(output_dir / JOURNAL_FILE, trial.evaluation.to_json())
        trials.log(trial)

    result = run_standard_nas(
        space,
        cost_model,
        output_dir,
        {
            "source": source.to_json(),
            "base_model": base_model,
            "settings": asdict(settings),
            "depends_on": {
                "model": digest_model(base_model["name_or_path"]),
                "data_digest": data.digest,
                "label_names": list(data.label_names),
            },
        },
        num_epochs=settings.epochs,
        sequence_length=length,
        observe=observe,
        method=options.search_strategy,
        objectives=options.objectives,
        num_trials=options.num_trials,
        max_wallclock_time=options.max_wallclock_time,
        num_workers=options.num_workers,
        seed=options.seed,
        resume=run.tracker.goes_on,
    )
    result, predictions = _examine_front(result, output_dir, data.task, validation, test)
    result = replace(result, trivial=find_trivial(data))
    write_search_results(
        output_dir,
        result,
        origin={
            "model_name_or_path": model_options.model_name_or_path,
            "source": source.to_json(),
            "data_digest": data.digest,
            "options": asdict(options) | alone,
            "measured_at": {"length": length},
        },
        space=space,
        title=f"{source.task_name}: {len(result.evaluations)} sub-networks trained alone, {options.search_space} space",
        seconds=trials.seconds,
        predictions=ValidationPredictions(labels=validation.labels, by_name=predictions),
    )
    for place, member in enumerate(result.front):
        mark_front_member(trials.run(member.name), member, place, run)
        if member.model is not None:
            log_files(run, output_dir / member.model, member.model)
    show_result(result, output_dir, run, "Standard NAS")
    return result


_OF_SUPER_NETWORKS = ("search_space", "sampling_strategy", "num_random_sub_nets", "temperature", "seed")
"""Training settings that say nothing of a model that is trained alone, or that the search names too."""


class _TrialRuns:
    """The nested MLflow runs of the trials."""

    def __init__(self, run: StageRun, source: DataSource, model_options: ModelOptions, options: NasOptions) -> None:
        from mlproject.search_report import child_tags

        self._run = run
        self._children: dict[str, StageRun] = {}
        base_model = model_options.model_name_or_path
        self._tags = child_tags(run, base_model, source.task_name, options.search_space, options.search_strategy)
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the first trial could start."""
        return time.perf_counter() - self._started

    def run(self, name: str) -> StageRun:
        """A trial's run."""
        return self._children[name]

    def log(self, trial: "RunningTrial") -> None:
        """Logs what is new of a trial: that it started, an epoch, its end."""
        from compressor.search.standard_nas import FAILED, FINISHED, STOPPED
        from mlproject.search_report import architecture, child_metrics

        if trial.name not in self._children:
            params = architecture(trial.sub_network, trial.config)
            self._children[trial.name] = self._run.open_child(trial.name, params=params, tags=self._tags)
            return
        child = self._children[trial.name]
        if trial.status is None:
            metrics = {f"epoch/{name}": trial.report[name] for name in ("loss", "epoch_error")}
            child.log_metrics(metrics, trial.report["epoch"])
            return
        if trial.evaluation is not None:
            metrics = child_metrics(trial.evaluation, trial.hypervolume)
            child.log_metrics(metrics | {"epochs": float(trial.report["epoch"])})
        status = {FINISHED: "FINISHED", STOPPED: "FINISHED", FAILED: "FAILED"}.get(trial.status, "KILLED")
        tags = {"trial_status": trial.status} | ({"error": trial.problem} if trial.problem else {})
        child.end(status, tags)


def _examine_front(
    result: "SearchResult", output_dir: Path, task: "Task", validation: "EncodedRows", test: "EncodedRows"
) -> "tuple[SearchResult, dict[str, np.ndarray]]":
    """The result with intervals and test errors of the front and of the super-network, from their saved weights, and
    their validation predictions by name.

    Raises:
        ParityError: a saved model's validation error is not the one its trial reported.
    """
    from compressor.data.metrics import error_interval, predict
    from compressor.evaluation.evaluator import Evaluator
    from compressor.network.loading import pick_device
    from compressor.network.saving import load_sliced_model, require_error

    wanted = result.notable
    predictions: dict[str, np.ndarray] = {}

    def examine(e: "EvaluatedSubNetwork") -> "EvaluatedSubNetwork":
        if e.name not in wanted or e.model is None:
            return replace(e, model=None)  # its weights are gone: another one beats it
        model = load_sliced_model(output_dir / e.model).model.to(pick_device())
        evaluation = Evaluator(model, task, validation).evaluate()
        require_error(e.error, evaluation.error, evaluation.logits)
        predictions[e.name] = predict(evaluation.logits, task.regression)
        interval = error_interval(task.metric, predictions[e.name], validation.labels)
        return replace(e, error_interval=interval, test_error=Evaluator(model, task, test).evaluate().error)

    examined = tuple(map(examine, result.evaluations))
    return replace(result, evaluations=examined), predictions


def _absolute(name_or_path: str) -> str:
    path = Path(name_or_path).expanduser()
    return str(path.absolute()) if path.is_dir() else name_or_path
