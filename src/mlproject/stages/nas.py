"""The stage `nas`: sub-networks that are trained one by one, as nested runs that can be watched while they train."""

from pathlib import Path

from compressor.cluster.options import TrialsOnCluster
from compressor.data.sources import DataSource
from compressor.evaluation.latency_table import LatencyTable
from compressor.search.options import NasOptions
from compressor.search.record import SearchResult
from compressor.standard_nas.search import NasInputs, search_by_training
from compressor.standard_nas.tuner import FAILED, FINISHED, STOPPED, RunningTrial
from compressor.training.precision import Precision
from compressor.training.settings import ModelOptions, TrainingSettings
from exporters.timing.latency_table import measure_latency_table
from mlproject.inputs.models import open_rows
from mlproject.stages.log import describe_rows, log_data, log_files, option_params, print_notes
from mlproject.stages.search_runs import architecture, child_metrics, child_tags, finish_search
from mlproject.tracking.tracker import StageRun


def nas(
    output_dir: Path,
    source: DataSource,
    model_options: ModelOptions,
    settings: TrainingSettings,
    options: NasOptions,
    cluster: TrialsOnCluster,
    run: StageRun,
) -> SearchResult:
    """Train sub-networks one by one; writes what `search` writes, and the front members' weights below `trials/`."""
    data = open_rows(source, model_options, output_dir)
    print_notes(data.all_notes)
    settings = settings.for_rows(len(data.train))
    inputs = NasInputs(model=model_options, data=data, settings=settings, options=options, cluster=cluster)
    given = {name: value for name, value in inputs.training_options.items() if value is not None}
    run.log_params(option_params(source, options) | given | {"model_name_or_path": model_options.model_name_or_path})
    log_data(run, data, source)
    trials = _TrialRuns(run, inputs)

    def on_start(precision: Precision, table: LatencyTable | None) -> None:
        run.log_params({"bf16": precision.bf16})
        print(precision.describe())
        print_notes([] if table is None else [table.describe()])
        print(describe_rows(data, "Training each sub-network"))

    result = search_by_training(
        inputs,
        output_dir,
        resume=run.tracker.resumes,
        measure_table=measure_latency_table,
        on_start=on_start,
        on_trial=trials.log,
    )
    finish_search(result, output_dir, run, lambda member: trials.runs[member.name], how=" trained alone")
    for member in result.front:
        if member.model is not None:
            log_files(run, output_dir / member.model, member.model)
    return result


class _TrialRuns:
    """The nested MLflow runs of the trials."""

    def __init__(self, run: StageRun, inputs: NasInputs) -> None:
        self._run = run
        self.runs: dict[str, StageRun] = {}
        """By the names of the trials."""
        options, name = inputs.options, inputs.model.model_name_or_path
        task_name = inputs.data.source.task_name
        self._tags = child_tags(run, name, task_name, options.search_space, options.search_strategy)

    def log(self, trial: RunningTrial) -> None:
        """Log what is new of a trial: that it started, an epoch, its end."""
        # The first news of a trial is that it has started.
        if trial.name not in self.runs:
            params = architecture(trial.sub_network, trial.config)
            self.runs[trial.name] = self._run.open_child(trial.name, params=params, tags=self._tags)
            return
        child = self.runs[trial.name]
        report = trial.report
        # While it runs, each report is an epoch.
        if trial.status is None and report is not None:
            child.log_metrics({"epoch/loss": report.loss, "epoch/epoch_error": report.epoch_error}, report.epoch)
        if trial.status is None:
            return
        if trial.evaluation is not None and report is not None:
            metrics = child_metrics(trial.evaluation, trial.hypervolume)
            child.log_metrics(metrics | {"epochs": float(report.epoch)})
        # A trial that the method stopped early has done what it was to do.
        status = {FINISHED: "FINISHED", STOPPED: "FINISHED", FAILED: "FAILED"}.get(trial.status, "KILLED")
        tags = {"trial_status": trial.status} | ({"error": trial.problem} if trial.problem else {})
        child.end(status, tags)
