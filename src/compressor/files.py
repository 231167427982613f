"""Files that are either whole or absent: everything is written beside its place and renamed into it."""

import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from compressor.errors import FileError, OutputError, shorten

STATE_FOLDER = ".compressor"
"""In an output directory: what a command needs to resume."""
INCOMPLETE = ".incomplete"
"""Marks a directory into which files are being moved."""
TEMPORARY = ".compressor-tmp"
"""How the names of hidden files and folders end that are not yet in their place; a killed process leaves some."""
_FULL_DISK = ("No space left on device", "disk is full", "Disk quota exceeded")
"""How the operating system says it, also through safetensors; and how SQLite does."""
_DEPTH = 4
"""Folders below an output directory in which something may be written."""


def write_text(path: Path, text: str) -> Path:
    """Write `text` to `path` atomically, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = name_temporary(path.parent, path.name)
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            # Before the rename: else a loss of power may leave the new name with an empty file.
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    # KeyboardInterrupt too: nothing half written stays.
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    return path


def is_full_disk(error: BaseException) -> bool:
    """Return whether an error says that the disk is full: the same may work once there is space."""
    return any(sign in str(error) for sign in _FULL_DISK)


def write_json(path: Path, value: Any) -> Path:
    """Write `value` to `path` as JSON, atomically, and return the path; NaN is refused because JSON has none."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def append_json_line(path: Path, value: Any, *, durable: bool = True) -> None:
    """Add `value` as one line of JSON to a file; a `durable` one outlasts a loss of power, any a killed process.

    Where the disk is full, the file is as it was before: half a line would spoil the next one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = (json.dumps(value, allow_nan=False) + "\n").encode()
    # Unbuffered and appending, so that a line is at its place once `write` returns, whoever else writes.
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        before, written = os.fstat(file).st_size, 0
        try:
            # A disk that gets full may take a part of a line before it says so.
            while written < len(line):
                written += os.write(file, line[written:])
            if durable:
                os.fsync(file)
        except OSError as error:
            os.ftruncate(file, before)
            error.filename = str(path)
            raise
    finally:
        os.close(file)


def read_json_lines(path: Path) -> list[Any]:
    """Return the values of a file made by `append_json_line`, none where there is no file.

    A last line that a crash cut short is dropped, from the file too. A line that is no JSON, because the file was
    damaged since, is None.
    """
    if not path.is_file():
        return []
    content = path.read_bytes()
    # Only what ends in a line feed was written to its end.
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(path, len(whole))
    return [_parse_line(line) for line in whole.splitlines()]


def _parse_line(line: bytes) -> Any:
    try:
        return _parse(line)
    except ValueError:  # also of bytes that are no text
        return None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        FileError: the file is not there, is a directory or device, or is not JSON.
    """
    if path.exists() and not path.is_file():  # a pipe or /dev/zero would be read for ever
        raise FileError(f"the file {path} must be an ordinary file, but is a directory or device. Check the path.")
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileError(f"the file {path} must exist, but it does not. Check the path.") from None
    except ValueError as error:
        raise FileError(f"the file {path} must hold JSON, but does not parse: {error}. Make it again.") from None


def _parse(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is none; NaN and infinite numbers, which JSON does not have, are refused too.
    """

    def refuse(name: str) -> float:
        raise ValueError(f"{name} is no number of JSON")

    def to_float(digits: str) -> float:
        number = float(digits)
        # 1e999 is valid JSON, and infinite in Python.
        return number if math.isfinite(number) else refuse(digits)

    try:
        return json.loads(text, parse_constant=refuse, parse_float=to_float)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_plain_name(name: str) -> bool:
    """Return whether a name is that of a file in the very directory."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def seen_from(folder: Path, path: Path) -> str:
    """Return a path as a file in a folder names it, so that both can move together and no file tells where they were.

    Where they have nothing but the disk's root in common it is the path's last name alone.
    """
    folder, path = folder.expanduser().resolve(), path.expanduser().resolve()
    common = Path(os.path.commonpath((folder, path)))
    # A path through the disk's root would tell the user's folders, and lead elsewhere on another machine.
    return os.path.relpath(path, folder) if common != common.parent else path.name


def resolve_from(folder: Path, written: str) -> Path:
    """Return the absolute path that a file in a folder names by `seen_from`; version 0.1.0 wrote absolute ones."""
    return Path(os.path.normpath(folder.expanduser().resolve() / written))


def without_home(path: str) -> str:
    """Return an absolute path with `~` in place of the user's own folder, whose name stays private."""
    home = str(Path.home())
    return f"~{path[len(home) :]}" if path.startswith(f"{home}{os.sep}") else path


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file.

    Raises:
        FileError: it is not there, or no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"a file of texts must be UTF-8, a text per line, but {path} cannot be read: {shorten(error)}. "
            "Correct the path or the file."
        ) from error


def local_path(text: str) -> Path:
    """Return the absolute path that a user typed; nothing needs to be there.

    Raises:
        FileError: no disk can have it: it is empty, too long, a loop of links, or holds what nobody types.
    """
    problem = "it is empty" if not text.strip() else ""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        problem = "it holds control characters"
    try:
        path = Path(text if not problem else ".").expanduser().absolute()
        # Asks the disk, which refuses what it cannot have.
        path.resolve().is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: of links in a loop, of an unknown user's home
        problem = getattr(error, "strerror", None) or shorten(error, 60)
    if problem:
        raise FileError(
            f"a path must be one that a disk can have, but {shorten(repr(text), 60)}: {problem.rstrip('.')}. "
            "Correct it."
        )
    return path


def cache_folder() -> Path:
    """Return our folder in the user's caches (`XDG_CACHE_HOME`, or `~/.cache`); nothing needs to be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "mlflow-compressor"


def module_environment() -> dict[str, str]:
    """Return this process's environment, in which another Python finds these packages by `-m` wherever they lie."""
    source = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))}


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def name_temporary(place: Path, name: str) -> Path:
    """Return a new path in `place` for what will be called `name`.

    It is known before anything is there: `tempfile` tells it afterwards, and a signal that comes in between would leave
    what was made behind.
    """
    return place / f".{name}.{secrets.token_hex(4)}{TEMPORARY}"


@contextmanager
def temporary_directory(place: Path, name: str) -> Iterator[Path]:
    """Yield a new directory in `place`, for what will be called `name`; what is left of it goes when the block ends.

    What a killed process leaves of it is found by `remove_temporaries`.
    """
    temporary = name_temporary(place, name)
    try:
        temporary.mkdir()
        temporary.chmod(0o755)  # others may read what becomes of it, as they may read other directories
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def new_directory(path: Path, gone: Collection[str] = ()) -> Iterator[Path]:
    """Yield a temporary directory whose files appear in `path` when the block ends well, and vanish when it does not.

    A new `path` appears at once. In one that holds other files these stay, but for those that are `gone` if ours have
    none of that name, and `INCOMPLETE` marks it while ours are moved in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # On the same file system as `path`, so that moving is renaming.
    with temporary_directory(path if path.is_dir() else path.parent, path.name) as temporary:
        yield temporary
        if not path.exists():
            temporary.replace(path)
            return
        (path / INCOMPLETE).touch()
        for name in set(gone) - {entry.name for entry in temporary.iterdir()}:
            (path / name).unlink(missing_ok=True)
        for entry in temporary.iterdir():
            if (path / entry.name).is_dir():
                shutil.rmtree(path / entry.name)
            entry.replace(path / entry.name)
        (path / INCOMPLETE).unlink()


@contextmanager
def new_files(path: Path) -> Iterator[Path]:
    """Yield a temporary directory whose files are moved beside `path`, itself last, when the block ends well."""
    with temporary_directory(path.parent, path.name) as temporary:
        yield temporary
        # False sorts before True: whoever finds `path` finds the files that it names, such as an ONNX graph's weights.
        for file in sorted(temporary.iterdir(), key=lambda file: file.name == path.name):
            file.replace(path.parent / file.name)


def remove_temporaries(folder: Path) -> None:
    """Remove what processes that were killed have left half written in a directory and the folders below it.

    Only for a directory in which no other process writes.
    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if name.startswith(".") and name.endswith(TEMPORARY):
                path = Path(parent) / name
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        deep = len(Path(parent).relative_to(folder).parts) >= _DEPTH
        # os.walk goes down into what is left in this very list.
        folders[:] = [] if deep else [name for name in folders if not name.endswith(TEMPORARY)]


def require_other_directory(output_dir: Path, *inputs: Path | None) -> None:
    """Raise unless results are written elsewhere than into a directory that is read.

    Raises:
        OutputError: they are not.
    """
    for path in inputs:
        if path is not None and path.expanduser().resolve() == output_dir.expanduser().resolve():
            raise OutputError(
                f"--output-dir must not be what is read, but {output_dir} is. Choose another --output-dir."
            )


def make_directory(path: Path) -> list[Path]:
    """Make the directory `path`; return those that had to be made for it, the innermost first."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return missing


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those of some directories that are there and empty, in that order."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def check_output_dir(path: Path, overwrite: bool = False) -> Path:
    """Return the absolute path of an output directory that is new, empty, or may be overwritten.

    Nothing is created or deleted here, so that a command that fails before its first result leaves no trace.

    Raises:
        OutputError: the directory is in use, or is a file.
    """
    path = path.expanduser().resolve()
    if path.exists() and not path.is_dir():
        raise OutputError(f"--output-dir must be a directory, but {path} is a file. Choose another --output-dir.")
    if path.is_dir() and not overwrite:
        used = sum(1 for _ in path.iterdir())
        if used:
            raise OutputError(
                f"--output-dir must be new or empty, but {path} holds {used} files or folders. "
                "Choose another --output-dir or add --overwrite-output-dir."
            )
    # A directory that is not there yet is made in the nearest one that is.
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"--output-dir must be writable, but {existing} is not. Choose another --output-dir.")
    return path
