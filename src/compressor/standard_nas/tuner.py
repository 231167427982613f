"""Standard NAS: every sub-network is cut out of the pre-trained model first and fine-tuned alone.

The baseline that weight sharing is measured against (Klein et al., TMLR 2024, section 5). Syne Tune's `Tuner` starts a
process per trial (`trial.py`), is reported each epoch, and lets `moasha` stop dominated ones.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from syne_tune import Tuner
from syne_tune.backend.trial_status import Status, Trial
from syne_tune.constants import SYNE_TUNE_ENV_FOLDER
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.tuner_callback import TunerCallback
from tqdm import tqdm

from compressor.digests import Inputs
from compressor.errors import SearchError
from compressor.evaluation.latency_table import LatencyTable
from compressor.files import write_json
from compressor.network.costs import CostModel
from compressor.network.sub_network import SubNetwork, WrittenSubNetwork
from compressor.progress import progress_bar
from compressor.records import parse_record
from compressor.search.loop import initial_design
from compressor.search.objectives import Measurable, measure_costs
from compressor.search.options import LATENCY_OBJECTIVE, NasOptions
from compressor.search.record import EvaluatedSubNetwork, SearchResult, hypervolume_of, summarise
from compressor.search.schedulers import DistinctTrials, create_trial_scheduler
from compressor.spaces.space import Config, SearchSpace
from compressor.standard_nas.backend import TrialBackend
from compressor.standard_nas.ray_backend import RayTrialBackend, RemoteTrials
from compressor.standard_nas.record import SPEC_FILE, TrialReport, TrialSpec, TrialTask
from compressor.standard_nas.trial import epoch_directory
from compressor.standard_nas.trial_actor import TRIAL_COMMAND

TRIALS_DIR = "trials"
FINISHED, STOPPED, UNFINISHED, FAILED = "finished", "stopped early", "unfinished", "failed"
"""How a trial ends: all epochs, stopped by the method, cut short by the budget or the user, crashed."""
_SLEEP_S = 0.5
_MAX_FAILURES = 3
"""Crashes before any trial has reported, after which the search gives up."""


@dataclass(kw_only=True)
class RunningTrial:
    """What is known of a trial so far."""

    trial_id: int
    config: Config
    sub_network: SubNetwork
    started: float = field(default_factory=time.perf_counter)
    report: TrialReport | None = None
    """The last epoch's; None before the first has ended."""
    status: str | None = None
    """None while it runs."""
    problem: str = ""
    """What a crashed one said last."""
    evaluation: EvaluatedSubNetwork | None = None
    """Once it has ended with at least one epoch."""
    hypervolume: float = 0.0
    """The hypervolume of all trials that ended before it and itself."""

    @property
    def name(self) -> str:
        """The run name: trial-007."""
        return f"trial-{self.trial_id:03d}"


TrialObserver = Callable[[RunningTrial], None]
"""Called when a trial starts, after each of its epochs and when it ends."""


@dataclass(frozen=True, kw_only=True)
class NasProblem:
    """What trials of standard NAS are trials of."""

    space: SearchSpace
    cost_model: CostModel
    num_epochs: int
    """Epochs of a trial."""
    sequence_length: int
    """Tokens of the text that costs are of."""
    latency_table: LatencyTable | None = None
    """None where the latency is no objective."""

    def costs(self, sub_network: SubNetwork) -> dict[str, float]:
        """Return what a trial reports beside its error, by the objectives' names."""
        return measure_costs(
            Measurable(
                sub_network=sub_network,
                cost_model=self.cost_model,
                dimensions=self.space.dimensions,
                length=self.sequence_length,
                latency_table=self.latency_table,
            ),
            () if self.latency_table is None else (LATENCY_OBJECTIVE,),
        )

    @property
    def full_costs(self) -> dict[str, float]:
        """The super-network's."""
        return self.costs(self.cost_model.full)


def run_standard_nas(
    problem: NasProblem,
    output_dir: Path,
    spec: TrialSpec,
    options: NasOptions,
    observe: TrialObserver,
    *,
    resume: bool = False,
    command: Sequence[str] = TRIAL_COMMAND,
    remote: RemoteTrials | None = None,
) -> SearchResult:
    """Return the result of the trials that ended with at least one epoch; a trial counts with its best epoch.

    With `resume` trials of the same `spec` that are in `output_dir` report what they know at once; else they go.
    Where trials are `remote` a cluster runs them; they leave here what they leave on one machine.

    `spec` is what trials read. Below `output_dir/trials` each trial has its log, and those on the front
    (and the super-network) keep their weights. An interruption by the user ends the search as an exhausted budget does,
    and is marked in the result.

    Raises:
        SearchError: there is no such method, or no trial has finished an epoch.
        KeyboardInterrupt: the user interrupted before any trial had finished an epoch.
    """
    space = problem.space
    scheduler = create_trial_scheduler(
        options.search_strategy,
        space,
        options.objectives,
        initial_design(space),
        num_trials=options.num_trials,
        num_epochs=problem.num_epochs,
        seed=options.seed,
    )
    trials_dir = output_dir / TRIALS_DIR
    if not (resume and Inputs(values=spec.to_json()).are_in(trials_dir / SPEC_FILE)):
        shutil.rmtree(trials_dir, ignore_errors=True)  # an overwritten directory may hold an older search's
        trials_dir.mkdir(parents=True)
        write_json(trials_dir / SPEC_FILE, spec.to_json())
    total = min(options.num_trials or space.size, space.size)
    with progress_bar(desc="standard NAS", **_bar_of(total, options.max_wallclock_time, options.num_trials)) as bar:
        recorder = _Recorder(problem, scheduler, options, trials_dir, observe, bar)
        interrupted = _tune(recorder, min(options.num_workers, total), list(command), remote)
    if not recorder.evaluations:
        # Logs of trials that did not fail say nothing; an empty folder would only stand in the way.
        if not recorder.num_failed:
            shutil.rmtree(trials_dir, ignore_errors=True)  # logs of crashes stay
        if interrupted:
            raise KeyboardInterrupt
        raise _no_result(recorder.trials, options.max_wallclock_time)
    return replace(recorder.summarise(), interrupted=interrupted)


def _tune(recorder: "_Recorder", num_workers: int, command: list[str], remote: RemoteTrials | None) -> bool:
    """Run Syne Tune's tuner, without its prints and its pickled state; return whether the user interrupted it."""
    start, limit = time.perf_counter(), recorder.options.max_wallclock_time
    scheduler, trials_dir, problem = recorder.scheduler, recorder.trials_dir, recorder.problem

    def describe(config: Config) -> TrialTask:
        sub_network = scheduler.sub_network(config)
        kept = WrittenSubNetwork.of(sub_network, problem.space.dimensions)
        return TrialTask(kept=kept, costs=problem.costs(sub_network))

    def is_over(_: Any) -> bool:
        out_of_time = limit is not None and time.perf_counter() - start > limit
        return out_of_time or (not recorder.any_reported and recorder.num_failed >= _MAX_FAILURES)

    if remote is None:
        backend = TrialBackend(command, describe, max(1, torch.get_num_threads() // num_workers))
    else:
        backend = RayTrialBackend(command, describe, remote, recorder.may_be_on_front)
    recorder.backend = backend
    before = os.environ.get(SYNE_TUNE_ENV_FOLDER)
    os.environ[SYNE_TUNE_ENV_FOLDER] = str(trials_dir.parent)  # the tuner's metadata.json goes beside the trials
    try:
        with Path(os.devnull).open("w") as silence, redirect_stdout(silence):
            tuner = Tuner(
                trial_backend=backend,
                scheduler=scheduler,
                stop_criterion=is_over,
                n_workers=num_workers,
                sleep_time=_SLEEP_S,
                # Its table of trials would break the progress bar.
                print_update_interval=float("inf"),
                # Syne Tune ends at the first failure; here other trials continue, and `is_over` says when to give up.
                max_failures=sys.maxsize,
                tuner_name=TRIALS_DIR,
                suffix_tuner_name=False,
                save_tuner=False,
                callbacks=[recorder],
            )
            tuner.run()
    except KeyboardInterrupt:
        return True
    finally:
        # The tuner stops trials too, but not where an interruption comes while it does.
        backend.kill_all()
        if before is None:
            del os.environ[SYNE_TUNE_ENV_FOLDER]
        else:
            os.environ[SYNE_TUNE_ENV_FOLDER] = before
    return False


class _Recorder(TunerCallback):  # type: ignore[misc]
    """Turns what trials report into evaluations, in the order in which trials end."""

    def __init__(
        self,
        problem: NasProblem,
        scheduler: DistinctTrials,
        options: NasOptions,
        trials_dir: Path,
        observe: TrialObserver,
        bar: Any,
    ) -> None:
        self.problem, self.scheduler, self.options, self.trials_dir = problem, scheduler, options, trials_dir
        self.backend: TrialBackend | None = None
        self.trials: dict[int, RunningTrial] = {}
        self.evaluations: list[EvaluatedSubNetwork] = []
        self.hypervolumes: list[float] = []
        self._full_costs, self._observe, self._bar = problem.full_costs, observe, bar
        self._started = time.perf_counter()

    @property
    def _counts_trials(self) -> bool:
        return self.options.num_trials is not None

    def summarise(self) -> SearchResult:
        """Return the result so far."""
        return summarise(self.evaluations, self.hypervolumes, self.options.objectives, self._full_costs)

    def may_be_on_front(self, trial_id: int, report: TrialReport) -> bool:
        """Return whether a report's weights may be wanted: the full network's, or what no ended trial dominates."""
        if self.trials[trial_id].sub_network == self.problem.cost_model.full:
            return True
        point = {"error": report.error, **report.costs}
        pairs = [[(e.objectives[name], point[name]) for name in self.options.objectives] for e in self.evaluations]
        return not any(all(x <= y for x, y in each) and any(x < y for x, y in each) for each in pairs)

    @property
    def any_reported(self) -> bool:
        """Whether any trial has finished an epoch."""
        return any(trial.report is not None for trial in self.trials.values())

    @property
    def num_failed(self) -> int:
        """Crashed trials."""
        return sum(trial.status == FAILED for trial in self.trials.values())

    def on_start_trial(self, trial: Trial) -> None:
        """Note a new trial."""
        started = RunningTrial(
            trial_id=trial.trial_id, config=trial.config, sub_network=self.scheduler.sub_network(trial.config)
        )
        self.trials[trial.trial_id] = started
        self._observe(started)

    def on_fetch_status_results(self, trial_status_dict: dict[int, Any], new_results: list[Any]) -> None:  # noqa: ARG002
        """Look for crashes, of which the tuner tells nobody else."""
        for trial_id, (_, status) in trial_status_dict.items():
            if status == Status.failed and trial_id in self.trials:  # a stop may come before its start was reported
                self._end(self.trials[trial_id], FAILED)

    def on_trial_result(self, trial: Trial, status: str, result: dict[str, Any], decision: str) -> None:  # noqa: ARG002
        """Note an epoch."""
        known = self.trials.get(trial.trial_id)
        if known is not None and known.status is None:
            before, known.report = known.report, parse_record(TrialReport, result)
            # Weights of the best epoch alone are kept; the trial has saved the new ones before it reported.
            if before is not None and before.best_epoch != known.report.best_epoch:
                weights = epoch_directory(self.trials_dir / str(trial.trial_id), before.best_epoch)
                shutil.rmtree(weights, ignore_errors=True)
            self._observe(known)
            if decision == SchedulerDecision.STOP:
                self._end(known, STOPPED if known.report.epoch < self.problem.num_epochs else FINISHED)

    def on_trial_complete(self, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ARG002
        """Note a trial that ended by itself."""
        if trial.trial_id in self.trials:
            self._end(self.trials[trial.trial_id], FINISHED)

    def on_loop_end(self) -> None:
        """Move the progress bar on."""
        if not self._counts_trials:
            self._bar.update(min(self._bar.total, time.perf_counter() - self._started) - self._bar.n)

    def on_tuning_end(self) -> None:
        """Note the trials that were still running; they count with what they reported."""
        for trial in self.trials.values():
            if trial.status is None:
                self._end(trial, UNFINISHED)

    def _end(self, trial: RunningTrial, status: str) -> None:
        if trial.status is not None:
            return
        trial.status = status
        if status == FAILED:
            code = self.backend.trial_subprocess[trial.trial_id].poll() if self.backend is not None else None
            trial.problem = _last_line(self.trials_dir / str(trial.trial_id) / "std.err", code)
            tqdm.write(f"{trial.name} failed: {trial.problem}", file=sys.stderr)
        # A trial that was stopped early counts with the best epoch it has reported; one without a report does not.
        elif trial.report is not None:
            trial.evaluation = self._evaluation(trial, trial.report)
            self.evaluations.append(trial.evaluation)
            self.hypervolumes.append(hypervolume_of(self.evaluations, self.options.objectives, self._full_costs))
            trial.hypervolume = self.hypervolumes[-1]
            self._bar.set_postfix(hypervolume=f"{trial.hypervolume:.4f}", refresh=False)
        if self._counts_trials:
            self._bar.update()
        # The front may have changed: weights of trials that are dominated now are deleted.
        self._drop_weights()
        self._observe(trial)

    def _evaluation(self, trial: RunningTrial, report: TrialReport) -> EvaluatedSubNetwork:
        weights = epoch_directory(Path(TRIALS_DIR) / str(trial.trial_id), report.best_epoch)
        return EvaluatedSubNetwork(
            index=len(self.evaluations),
            name=trial.name,
            config=dict(trial.config) or None,
            sub_network=trial.sub_network,
            error=report.error,
            **asdict(self.problem.cost_model.costs(trial.sub_network)),
            # Parameters are a field of their own, counted by the cost model.
            costs={name: v for name, v in self.problem.costs(trial.sub_network).items() if name != "params"},
            eval_seconds=time.perf_counter() - trial.started if report.seconds is None else report.seconds,
            epochs=report.epoch,
            model=weights.as_posix(),
        )

    def _drop_weights(self) -> None:
        """Delete the weights of trials that are dominated: they never come back to the front."""
        kept = self.summarise().reported_names
        for trial in self.trials.values():
            if trial.status is not None and trial.name not in kept:
                for weights in (self.trials_dir / str(trial.trial_id)).glob("epoch-*"):
                    shutil.rmtree(weights, ignore_errors=True)


def _bar_of(total: int, max_wallclock_time: float | None, num_trials: int | None) -> dict[str, Any]:
    """Return the progress bar counts trials where their number is given, else seconds."""
    if num_trials is None and max_wallclock_time is not None:
        return {"total": max_wallclock_time, "unit": "s", "bar_format": "{l_bar}{bar}| {n:.0f}/{total:.0f} s{postfix}"}
    return {"total": total, "unit": "trial"}


def _last_line(log: Path, exit_code: int | None) -> str:
    """Return why a trial failed: the signal that killed it, or the last it said."""
    if exit_code is not None and exit_code < 0:
        return f"killed by signal {-exit_code}{' (out of memory?)' if exit_code == -9 else ''} (log: {log})"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.is_file() else []
    return f"{lines[-1].strip()[:300] if lines else 'no output'} (log: {log})"


def _no_result(trials: Mapping[int, RunningTrial], max_wallclock_time: float | None) -> SearchError:
    failed = [trial for trial in trials.values() if trial.status == FAILED]
    if failed:
        return SearchError(f"a trial must finish an epoch, but all failed, the first so: {failed[0].problem}")
    return SearchError(
        f"a trial must finish an epoch, but none did within --max-wallclock-time {max_wallclock_time:g} seconds. "
        "Raise it, or lower --max-train-samples."
    )
