"""Trials on a Ray cluster: Syne Tune's backend as on one machine, with an actor in place of each process.

What a trial leaves on its node comes here as it appears: weights first, where they may be on the front, then the
report, then the log. So the directory of trials is what it would be on one machine, and a search resumes from it either
way. A trial whose node is lost is started again, with what it has reported.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from syne_tune.backend.trial_status import TrialResult
from tqdm import tqdm

import compressor
from compressor.cluster.files import unpack_files
from compressor.cluster.options import DEFAULT_MAX_FAILURES, TrialsOnCluster
from compressor.device import DEVICE_VARIABLE, may_use_gpus
from compressor.files import new_directory
from compressor.records import parse_record
from compressor.spaces.space import Config
from compressor.standard_nas.backend import TrialBackend
from compressor.standard_nas.record import REPORTS_FILE, SPEC_FILE, TRIAL_FILE, TrialReport, TrialTask, known_reports
from compressor.standard_nas.trial import epoch_directory
from compressor.standard_nas.trial_actor import ERR, OUT, TRIAL_COMMAND, TrialActor, trial_environment

_REPORT = re.compile(r"\[tune-metric\]: (\{.*\})")
_PATIENCE_S = 30.0
"""After which a note says that a trial waits for a node."""
_CLOSE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class RemoteTrials:
    """A cluster, and what all trials there share."""

    ray: Any
    """The module, connected."""
    cpus: int
    gpus: float
    """The GPUs, or a share of one, of each trial."""
    max_failures: int
    inputs: Any
    """Where the cluster's object store has the files that trials train on."""

    @classmethod
    def send(cls, ray: Any, options: TrialsOnCluster, inputs: Mapping[str, np.ndarray]) -> "RemoteTrials":
        """Put the files of `pack_inputs` into the store of a cluster, once for all trials."""
        has_gpus = ray.cluster_resources().get("GPU", 0) > 0 and may_use_gpus()
        return cls(
            ray=ray,
            cpus=options.cpus_per_trial or 1,
            gpus=float(has_gpus) if options.gpus_per_trial is None else options.gpus_per_trial,
            max_failures=DEFAULT_MAX_FAILURES if options.max_failures is None else options.max_failures,
            inputs=ray.put(dict(inputs)),
        )


class RayTrialBackend(TrialBackend):
    """The backend of one machine, with trials that are actors of a cluster."""

    def __init__(
        self,
        command: list[str],
        describe: Callable[[Config], TrialTask],
        remote: RemoteTrials,
        is_wanted: Callable[[int, TrialReport], bool],
    ) -> None:
        super().__init__(command, describe, remote.cpus)
        self.rotate_gpus = False  # Ray gives them out
        self._remote, self._is_wanted = remote, is_wanted

    def _start(self, trial_id: int, directory: Path) -> "RemoteTrial":
        (directory / OUT).write_text("")
        (directory / ERR).write_text("")
        command = [] if tuple(self._command) == TRIAL_COMMAND else self._command  # each node knows its own
        return RemoteTrial(directory, self._remote, command, partial(self._is_wanted, trial_id))

    def _all_trial_results(self, trial_ids: list[int]) -> list[TrialResult]:
        for trial_id in trial_ids:
            self.trial_subprocess[trial_id].look()
        results: list[TrialResult] = super()._all_trial_results(trial_ids)
        return results

    def _kill_process(self, trial_id: int) -> None:
        self.trial_subprocess[trial_id].kill()

    def kill_all(self) -> None:
        """End what still runs, and wait for what nodes clean up."""
        super().kill_all()
        closing = [trial.closing for trial in self.trial_subprocess.values() if trial.closing is not None]
        if closing:
            self._remote.ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_S)


class RemoteTrial:
    """A trial on a cluster; `poll`, `kill` and `wait` are those of a process."""

    def __init__(
        self, directory: Path, remote: RemoteTrials, command: Sequence[str], is_wanted: Callable[[TrialReport], bool]
    ) -> None:
        self._directory, self._remote, self._command, self._is_wanted = directory, remote, list(command), is_wanted
        self.closing: Any = None
        self._actor: Any = None
        self._answer: Any = None
        self._began = self._noted = False
        self._code: int | None = None
        self._num_failures = 0
        self._begin()

    def poll(self) -> int | None:
        """Return the exit code; None while it runs, or waits for a node."""
        return self._code

    def kill(self) -> None:
        """End it, and have its node cleaned up."""
        if self._code is None:
            # As a process that SIGKILL has ended.
            self._code = -9
        actor, self._actor = self._actor, None
        if actor is not None and self._began:
            self.closing = actor.close.remote()  # the actor ends after it, as nothing refers to it any more
        elif actor is not None:
            self._remote.ray.kill(actor)

    def wait(self) -> None:
        """Do nothing: it is ended by `kill`."""

    def look(self) -> None:
        """Take over what is new, if the node has answered; where it is lost, begin again or give up."""
        ray = self._remote.ray
        if self._code is not None:
            return
        # Without waiting: the tuner looks at all trials in turn.
        if not ray.wait([self._answer], timeout=0)[0]:
            self._report_waiting()
            return
        try:
            code, printed, logged = ray.get(self._answer)
            self._began = True
            self._take(printed, logged)
            # It still runs: asked again now, so that the answer is there in the next round.
            if code is None:
                self._answer = self._actor.look.remote()
        except ray.exceptions.RayError as error:
            self._lose(error)
            return
        # It has ended, well or not, and its place on the cluster is free for another one.
        if code is not None:
            self._code = code
            self.kill()

    def _begin(self) -> None:
        remote, name = self._remote, self._directory.name
        actor_class = remote.ray.remote(TrialActor).options(
            # Ray would else fill one machine before it takes the next.
            num_cpus=remote.cpus,
            num_gpus=remote.gpus,
            scheduling_strategy="SPREAD",
        )
        texts = {SPEC_FILE: (self._directory.parent / SPEC_FILE).read_text(encoding="utf-8")}
        known_reports(self._directory)  # drops what a damaged line spoils
        for file in (TRIAL_FILE, REPORTS_FILE):
            path = self._directory / file
            texts[f"{name}/{file}"] = path.read_text(encoding="utf-8") if path.is_file() else ""
        environment = trial_environment(remote.cpus) | {DEVICE_VARIABLE: "cuda" if remote.gpus else "cpu"}
        self._actor = actor_class.remote(compressor.__version__, name, remote.inputs, texts)
        # Calls of an actor run in order, so the first look comes after the start, whenever a node has room for both.
        self._actor.start.remote(self._command, environment)
        self._answer = self._actor.look.remote()
        self._began, self._asked, self._noted = False, time.monotonic(), False

    def _take(self, printed: str, logged: str) -> None:
        """Keep what a trial printed and logged; the weights of a report before the report."""
        with (self._directory / ERR).open("a", encoding="utf-8") as log:
            log.write(logged)
        for line in printed.splitlines(keepends=True):
            found = _REPORT.search(line)
            if found is not None:
                self._keep(parse_record(TrialReport, json.loads(found[1])))
            with (self._directory / OUT).open("a", encoding="utf-8") as log:
                log.write(line)

    def _keep(self, report: TrialReport) -> None:
        # A trial that was started again reports its known epochs once more.
        if report.epoch <= len(known_reports(self._directory)):
            return
        # Only then has the trial written weights; and those that are dominated need not travel.
        if report.best_epoch == report.epoch and self._is_wanted(report):
            weights = epoch_directory(self._directory, report.epoch)
            files = self._remote.ray.get(self._actor.hand_over.remote(weights.name))
            with new_directory(weights) as temporary:
                unpack_files(files, temporary)
        # Behind the weights, as on one machine: what was reported exists.
        report.append(self._directory)

    def _lose(self, error: Exception) -> None:
        self._num_failures += 1
        with suppress(self._remote.ray.exceptions.RayError):
            self._remote.ray.kill(self._actor)
        reason = [line.strip() for line in str(error).splitlines() if line.strip()][-1][:200]
        again = self._num_failures <= self._remote.max_failures
        with (self._directory / ERR).open("a", encoding="utf-8") as log:
            number = f"{self._num_failures} of {self._remote.max_failures}"
            log.write(f"lost with its node: {reason}{f'; started again, {number}' if again else ''}\n")
        if again:
            (self._directory / OUT).write_text("")  # it says again what it has reported
            self._begin()
        else:
            self._code, self._actor = 1, None

    def _report_waiting(self) -> None:
        if not self._began and not self._noted and time.monotonic() - self._asked > _PATIENCE_S:
            self._noted = True
            wanted = f"{self._remote.cpus} CPUs" + (f" and {self._remote.gpus:g} GPUs" if self._remote.gpus else "")
            tqdm.write(
                f"Note: a trial waits for a machine of the cluster with {wanted} free "
                "(--num-workers, --cpus-per-trial, --gpus-per-trial).",
                file=sys.stderr,
            )
