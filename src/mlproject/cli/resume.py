"""Which output directory a command writes to, alone, and whether it resumes there what was begun."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compressor.digests import Inputs
from compressor.errors import OutputError
from compressor.files import (
    STATE_FOLDER,
    check_output_dir,
    local_path,
    make_directory,
    remove_empty,
    remove_temporaries,
)
from compressor.locks import LockedError, hold
from mlproject.cli.options import HOW_IT_RUNS
from mlproject.tracking.outbox import LOCK_FILE, Command, Outbox, read_header

DEFAULT_FOLDER = Path("compressor-output")
_NOT_COMPARED = (
    *(*HOW_IT_RUNS, "use_cache", "fresh", "push_to_hub", "system_metrics"),
    *("device", "ray", "cpus_per_trial", "gpus_per_trial", "max_failures"),
)
_BUDGETS = {
    "search": ("num_samples", "num_workers"),
    "compress": ("num_samples",),
    "nas": ("num_trials", "max_wallclock_time", "num_workers"),
}
"""The budgets of commands: options that say how much of the same is wanted."""
_SPLIT = ("per_device_train_batch_size", "gradient_accumulation_steps", "num_processes")
"""The rows of a training step are their product; as long as it stays they may change too."""


def choose_output_dir(command: str, values: Mapping[str, Any]) -> tuple[Path, Command]:
    """Return the output directory of a command with these options, and what is begun there.

    It is new or empty, may be overwritten (then what the tool kept there is to be cleared), or was begun by the same
    command with the same options and is not finished: then the command resumes.

    Raises:
        OutputError: it is in use, the options are others, or there is nothing to resume.
    """
    now = Command(command, _comparable(values))
    given, overwrite, resume = (values[name] for name in ("output_dir", "overwrite_output_dir", "resume"))
    if given:
        path = Path(given)
    elif resume:
        path = _newest_unfinished(now)
    else:
        # Two commands may be started in one second.
        path = _unused(DEFAULT_FOLDER / f"{command}-{time.strftime('%Y%m%d-%H%M%S')}")
    path = local_path(str(path)).resolve()
    # Whoever overwrites wants nothing of what was begun there.
    begun = None if overwrite else read_header(path)
    if begun is not None:
        _require_same_command(path, begun, now)
    elif resume:
        raise OutputError(
            f"--resume must find a command that was begun in {path}, but there is none. Leave --resume out to begin."
        )
    return check_output_dir(path, overwrite=overwrite or _is_ours(path)), now


@contextmanager
def take_output_dir(command: str, values: Mapping[str, Any]) -> Iterator[tuple[Path, Command]]:
    """Yield `choose_output_dir`, the directory being this process's alone for the time of the block.

    What killed processes have left half written is removed; a directory that was made for nothing is too.

    Raises:
        OutputError: as `choose_output_dir`, or another command is at work there.
    """
    path, now = choose_output_dir(command, values)
    with lock_output_dir(path):
        choose_output_dir(command, {**values, "output_dir": str(path)})  # another command may have just ended there
        if values["overwrite_output_dir"] or read_header(path) is not None:
            remove_temporaries(path)
        yield path, now


@contextmanager
def lock_output_dir(path: Path) -> Iterator[None]:
    """Hold the lock of an output directory, which is made for it; it is removed again where it stays empty.

    Raises:
        OutputError: another command is at work there.
    """
    folder = path / STATE_FOLDER
    made = make_directory(folder)
    lock = folder / LOCK_FILE
    try:
        with hold(lock):
            try:
                yield
            finally:
                # Nothing was noted: a command that has failed early leaves no folder behind.
                if [entry.name for entry in folder.glob("*")] == [LOCK_FILE]:
                    lock.unlink()
                    remove_empty([folder, *made])
    except LockedError as error:
        raise OutputError(
            f"--output-dir must be of one command at a time, but another one is at work in {path} (process "
            f"{error.holder}). Wait for its end, or choose another --output-dir."
        ) from None


def _unused(path: Path) -> Path:
    """Return a path that is not there: this one, or this one with a number."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in range(2, 1000))
    return next(candidate for candidate in (path, *numbered) if not candidate.exists())


def _is_ours(path: Path) -> bool:
    """Return whether a command was begun in a directory, or was killed before it could say so."""
    return read_header(path) is not None or (
        path.is_dir() and {entry.name for entry in path.iterdir()} == {STATE_FOLDER}
    )


def _comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in values.items() if key not in _NOT_COMPARED}
    text = json.dumps(kept, default=str, ensure_ascii=False)
    return dict(json.loads(text.encode(errors="replace")))  # names of files need not be UTF-8


def _newest_unfinished(now: Command) -> Path:
    begun = sorted(DEFAULT_FOLDER.glob(f"{now.command}-*"), reverse=True)
    for path in begun:
        try:
            before = Outbox(path)
        except OutputError:  # a damaged one cannot be resumed
            continue
        if before.header is not None and not before.says_finished and not _differences(before.header, now):
            return path
    raise OutputError(
        f"--resume must find an unfinished {now.command} with the same options in {DEFAULT_FOLDER}, but none of "
        f"{len(begun)} is. Name its --output-dir, or leave --resume out to begin."
    )


def _require_same_command(path: Path, begun: Command, now: Command) -> None:
    other = "Choose another --output-dir or add --overwrite-output-dir."
    if begun.command != now.command:
        raise OutputError(
            f"--output-dir must be of compressor {now.command}, but {path} is of {begun.command}. {other}"
        )
    different = _differences(begun, now)
    if different:
        raise OutputError(
            f"to resume in {path} the options must be those it was begun with, but {'; '.join(different)}. {other}"
        )
    outbox = Outbox(path)
    # Finished and logged, and no more is wanted: a larger budget resumes a finished search.
    if outbox.says_finished and not outbox.num_pending and _inputs(now).same_amount_as(_inputs(begun)):
        raise OutputError(f"--output-dir must be new, empty or unfinished, but {path} is finished. {other}")


def _differences(begun: Command, now: Command) -> list[str]:
    before, after = begun.options, now.options
    free = _SPLIT if _rows_per_step(before) == _rows_per_step(after) else ()
    names = _inputs(now, free).differences(_inputs(begun, free))
    return [f"--{name.replace('_', '-')} was {before.get(name)} and is {after.get(name)}" for name in names]


def _inputs(command: Command, free: tuple[str, ...] = ()) -> Inputs:
    """Return what a command's results depend on; `free` are names of options that may differ besides its budget's."""
    return Inputs(values=command.options, budget=(*_BUDGETS.get(command.command, ()), *free))


def _rows_per_step(options: Mapping[str, Any]) -> int:
    return math.prod(int(options.get(name, 1)) for name in _SPLIT)
