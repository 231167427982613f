"""The Ray actor that keeps a trial on a node of a cluster: it starts the same process as on one machine, and looks on.

The process works in a folder of the node's own, made of what was sent. Reports, logs and weights are fetched from here;
the process ends with the actor, however that ends. Light: no PyTorch, and nothing is received but texts and arrays.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import compressor
from compressor.cluster.files import pack_files, unpack_files
from compressor.cluster.scratch import make_scratch
from compressor.files import module_environment
from compressor.standard_nas import trial_process

INPUTS_DIR, OUT, ERR = "inputs", "std.out", "std.err"
"""Beside the trial's folder: what it was sent; in it: what it prints, reports among it, and what it logs."""
TRIAL_COMMAND = (sys.executable, trial_process.__file__)
"""Of this machine."""


def trial_environment(num_threads: int) -> dict[str, str]:
    """Return what the environment of a trial's process has of its own, wherever it runs."""
    # PASSIVE: idle OpenMP threads of one trial would else spin on the cores of another.
    return {"OMP_NUM_THREADS": str(num_threads), "OMP_WAIT_POLICY": "PASSIVE", "TQDM_DISABLE": "1"}


def start_process(command: Sequence[str], trial: Path, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start the process of the trial in a directory, which ends with this process; what it says goes into files there.

    It has a session of its own: Ctrl-C reaches the search alone. `environment` comes on top of this machine's.
    """
    parent = {trial_process.PARENT_VARIABLE: str(os.getpid())}
    with (trial / OUT).open("wb") as out, (trial / ERR).open("wb") as err:
        return subprocess.Popen(
            [*command, str(trial)],
            stdout=out,
            stderr=err,
            env=module_environment() | dict(environment) | parent,
            start_new_session=True,
        )


class TrialActor:
    """One trial: a process of this node."""

    def __init__(self, version: str, name: str, inputs: Mapping[str, np.ndarray], files: Mapping[str, str]) -> None:
        """The trial's folder has a `name`; `files` are texts beside and in it, `inputs` those of `INPUTS_DIR`.

        Raises:
            RuntimeError: another version of this library is installed here.
        """
        if version != compressor.__version__:
            raise RuntimeError(f"this node has mlflow-compressor {compressor.__version__}, the search has {version}")
        self._folder = make_scratch("compressor-trial", tempfile.gettempdir())
        self._trial = self._folder / name
        self._trial.mkdir()
        unpack_files(inputs, self._folder / INPUTS_DIR)
        for path, text in files.items():
            (self._folder / path).write_text(text, encoding="utf-8")
        # Bytes of each file that were sent so far.
        self._read = {OUT: 0, ERR: 0}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the process, by default this node's own; `environment` comes on top of the node's."""
        self._process = start_process(command or TRIAL_COMMAND, self._trial, environment)

    def look(self) -> tuple[int | None, str, str]:
        """Return the exit code once there is one, and the whole lines printed and logged since the last look."""
        assert self._process is not None
        code = self._process.poll()
        return code, self._read_on(OUT, whole=code is not None), self._read_on(ERR, whole=code is not None)

    def hand_over(self, name: str) -> dict[str, np.ndarray]:
        """Return the files of a folder in the trial's, which is removed here."""
        files = pack_files(self._trial / name)
        shutil.rmtree(self._trial / name)
        return files

    def close(self) -> None:
        """End the process and remove what is left of it here."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read_on(self, name: str, *, whole: bool) -> str:
        with (self._trial / name).open("rb") as file:
            file.seek(self._read[name])
            news = file.read()
        # A line that is being written is read as a whole next time.
        news = news if whole else news[: news.rfind(b"\n") + 1]
        self._read[name] += len(news)
        return news.decode(errors="replace")
