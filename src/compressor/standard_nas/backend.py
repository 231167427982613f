"""Syne Tune's backend of standard NAS: how a trial is started, watched and ended on this machine."""

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from syne_tune.backend import LocalBackend
from syne_tune.backend.trial_status import TrialResult

from compressor.device import may_take_any_gpu
from compressor.errors import FileError
from compressor.files import write_json
from compressor.spaces.space import Config
from compressor.standard_nas.record import TRIAL_FILE, TrialTask
from compressor.standard_nas.trial_actor import start_process, trial_environment


class TrialBackend(LocalBackend):  # type: ignore[misc]
    """Syne Tune's local backend (a GPU per trial where there are several) that starts trials without a shell string.

    Its own way joins the command with spaces and splits it again, so no path may hold one. Trials get a session of
    their own: Ctrl-C reaches the tuner alone, which then stops them.
    """

    def __init__(self, command: list[str], describe: Callable[[Config], TrialTask], num_threads: int) -> None:
        # Any file will do: `_schedule` never starts it.
        # A GPU that was chosen is that of all trials.
        super().__init__(entry_point=__file__, rotate_gpus=may_take_any_gpu())
        self._command, self._describe = command, describe
        self._environment = trial_environment(num_threads)

    def start_trial(self, config: Config, checkpoint_trial_id: int | None = None) -> TrialResult:
        """Start a trial; one that an interruption cut short was none, or stopping all trials would look for it."""
        try:
            started: TrialResult = super().start_trial(config, checkpoint_trial_id)
        except BaseException:
            self.trial_ids: list[int] = [trial_id for trial_id in self.trial_ids if trial_id in self._trial_dict]
            raise
        return started

    def _schedule(self, trial_id: int, config: Config) -> None:
        self._prepare_for_schedule(num_gpus=torch.cuda.device_count())  # Syne Tune's own count leaves a file behind
        directory = self.trial_path(trial_id)
        task = self._describe(config)
        # What the directory holds of the same sub-network is its reports and weights, from which the trial resumes.
        if not _is_of(directory, task):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        write_json(directory / TRIAL_FILE, asdict(task))
        self.trial_subprocess[trial_id] = self._start(trial_id, directory)
        self._busy_trial_id_candidates.add(trial_id)

    def _start(self, trial_id: int, directory: Path) -> Any:
        """Start the trial in a directory; what it gives answers as a process does."""
        environment = dict(self._environment)
        self._allocate_gpu(trial_id, environment)
        if _VISIBLE in environment:
            environment[_VISIBLE] = _as_named(environment[_VISIBLE])
        return start_process(self._command, directory, environment)

    def kill_all(self) -> None:
        """Kill what still runs, however the search ended, and wait for it to be gone."""
        for process in self.trial_subprocess.values():
            process.kill()
            process.wait()


_VISIBLE = "CUDA_VISIBLE_DEVICES"


def _as_named(gpus: str) -> str:
    """Return Syne Tune's numbers of GPUs, counted from 0, as the user's environment names these GPUs."""
    visible = [name for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
    return ",".join(visible[int(gpu)] if visible else gpu for gpu in gpus.split(","))


def _is_of(directory: Path, task: TrialTask) -> bool:
    """Return whether a trial's directory is of the same sub-network; an older version knew less of what it costs."""
    try:
        return TrialTask.load(directory).kept == task.kept
    except FileError:
        return False
