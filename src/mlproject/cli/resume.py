"""Which output directory a command writes to, alone, and whether it goes on there with what was begun."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compressor.errors import OutputError
from compressor.files import claim_output_dir, local_path, make_directory, remove_empty, remove_temporaries
from compressor.locks import LockedError, hold
from mlproject.tracking.outbox import FOLDER, LOCK_FILE, Outbox, is_finished, read_header

DEFAULT_FOLDER = Path("compressor-output")
_NOT_COMPARED = ("output_dir", "overwrite_output_dir", "resume", "debug", "use_cache", "fresh")
_BUDGETS = {
    "search": ("num_samples",),
    "compress": ("num_samples",),
    "nas": ("num_trials", "max_wallclock_time", "num_workers"),
}
"""Options that may change when a command goes on: more of the same."""


def choose_output_dir(command: str, values: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The output directory of a command, and the header that says what is begun there.

    It is new or empty, may be overwritten (then what the tool kept there is to be cleared), or was begun by the same
    command with the same options and is not finished: then the command goes on.

    Raises:
        OutputError: it is in use, the options are others, or there is nothing to go on with.
    """
    header = {"command": command, "options": _comparable(values)}
    given = values["output_dir"]
    if given:
        path = Path(given)
    elif values["resume"]:
        path = _newest_unfinished(command, header)
    else:
        path = _unused(DEFAULT_FOLDER / f"{command}-{time.strftime('%Y%m%d-%H%M%S')}")
    path = local_path(str(path)).resolve()
    begun = {} if values["overwrite_output_dir"] else read_header(path)
    if begun:
        _require_same_command(path, begun, header)
    elif values["resume"]:
        raise OutputError(
            f"--resume must find a command that was begun in {path}, but there is none. Leave --resume out to begin."
        )
    return claim_output_dir(path, overwrite=values["overwrite_output_dir"] or _is_ours(path)), header


@contextmanager
def take_output_dir(command: str, values: Mapping[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """`choose_output_dir`, the directory being this process's alone for the time of the block.

    What killed processes have left half written is removed; a directory that was made for nothing is too.

    Raises:
        OutputError: as `choose_output_dir`, or another command is at work there.
    """
    path, header = choose_output_dir(command, values)
    with lock_output_dir(path):
        choose_output_dir(command, {**values, "output_dir": str(path)})  # another command may have just ended there
        if values["overwrite_output_dir"] or read_header(path):
            remove_temporaries(path)
        yield path, header


@contextmanager
def lock_output_dir(path: Path) -> Iterator[None]:
    """Holds the lock of an output directory, which is made for it; it is removed again where it stays empty.

    Raises:
        OutputError: another command is at work there.
    """
    folder = path / FOLDER
    made = make_directory(folder)
    lock = folder / LOCK_FILE
    try:
        with hold(lock):
            try:
                yield
            finally:
                if [entry.name for entry in folder.glob("*")] == [LOCK_FILE]:
                    lock.unlink()
                    remove_empty([folder, *made])
    except LockedError as error:
        raise OutputError(
            f"--output-dir must be of one command at a time, but another one is at work in {path} (process "
            f"{error.holder}). Wait for its end, or choose another --output-dir."
        ) from None


def _unused(path: Path) -> Path:
    """A path that is not there: this one, or this one with a number."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in range(2, 1000))
    return next(candidate for candidate in (path, *numbered) if not candidate.exists())


def _is_ours(path: Path) -> bool:
    """Whether a command was begun in a directory, or was killed before it could say so."""
    return bool(read_header(path)) or (path.is_dir() and {entry.name for entry in path.iterdir()} == {FOLDER})


def _comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in values.items() if key not in _NOT_COMPARED}
    return dict(json.loads(json.dumps(kept, default=str)))


def _newest_unfinished(command: str, header: Mapping[str, Any]) -> Path:
    begun = sorted(DEFAULT_FOLDER.glob(f"{command}-*"), reverse=True)
    for path in begun:
        try:
            before = read_header(path)
        except OutputError:  # a damaged one is none to go on with
            continue
        if before and not is_finished(path) and not _differences(command, before["options"], header["options"]):
            return path
    raise OutputError(
        f"--resume must find an unfinished {command} with the same options in {DEFAULT_FOLDER}, but none of "
        f"{len(begun)} is. Name its --output-dir, or leave --resume out to begin."
    )


def _require_same_command(path: Path, begun: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    command = header["command"]
    other = "Choose another --output-dir or add --overwrite-output-dir."
    if begun["command"] != command:
        raise OutputError(f"--output-dir must be of compressor {command}, but {path} is of {begun['command']}. {other}")
    different = _differences(command, begun["options"], header["options"])
    if different:
        raise OutputError(
            f"to go on in {path} the options must be those it was begun with, but {'; '.join(different)}. {other}"
        )
    if (
        is_finished(path)
        and not Outbox(path).num_pending
        and all(begun["options"].get(name) == header["options"].get(name) for name in _BUDGETS.get(command, ()))
    ):
        raise OutputError(f"--output-dir must be new, empty or unfinished, but {path} is finished. {other}")


def _differences(command: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"--{name.replace('_', '-')} was {before.get(name)} and is {now.get(name)}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name) and name not in _BUDGETS.get(command, ())
    ]
