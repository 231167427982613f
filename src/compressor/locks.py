"""Locks between processes: files that the operating system unlocks when their holder dies, however it dies."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from compressor.files import TEMPORARY, file_sha256

_LOOK_AGAIN_S = 0.1


class LockedError(Exception):
    """Another process holds the lock."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder
        """Its process id, as far as it is known."""


@contextmanager
def hold(path: Path, *, wait: bool = False, remove: bool = False) -> Iterator[None]:
    """Hold the lock file `path` for the time of the block; the folder must exist. With `remove` the file goes again.

    Where the file system knows no locks (some network drives), nothing is held.

    Raises:
        LockedError: another process holds it, and `wait` is not set.
    """
    file = _acquire(path, wait)
    try:
        yield
    finally:
        if remove:
            path.unlink(missing_ok=True)
        os.close(file)  # which unlocks it


@contextmanager
def renewed_directory(path: Path) -> Iterator[Path]:
    """Yield a new directory whose files replace those in `path` when the block ends well, one process at a time.

    Where they are the same, `path` stays as it is: another process may be reading there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(path.with_name(f".{path.name}.lock"), wait=True, remove=True):
        new = path.with_name(f".{path.name}{TEMPORARY}")
        shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
        new.mkdir()
        try:
            yield new
            if _content_of(new) != _content_of(path):
                shutil.rmtree(path, ignore_errors=True)
                new.replace(path)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def _content_of(folder: Path) -> dict[str, str]:
    """Return digests of a folder's files, by their paths in it."""
    return {str(file.relative_to(folder)): file_sha256(file) for file in folder.rglob("*") if file.is_file()}


def _acquire(path: Path, wait: bool) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            locked = _try_lock(file)
            # Else it is locked, but no longer what others would open: once more, with the file that is there now.
            if locked and _is_still(file, path):
                _note_holder(file)
                return file
            if not locked and not wait:
                raise LockedError(os.pread(file, 20, 0).decode(errors="replace").strip() or "unknown")
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        if not locked:
            time.sleep(_LOOK_AGAIN_S)


def _try_lock(file: int) -> bool:
    """Return whether the lock could be taken, or there are no locks here."""
    lock = _flock()
    try:
        if lock is not None:
            lock(file)
    except BlockingIOError:
        return False
    except OSError:  # this file system has none
        return True
    return True


def _flock() -> Callable[[int], None] | None:
    try:
        import fcntl
    except ImportError:  # not on Windows
        return None
    return lambda file: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_still(file: int, path: Path) -> bool:
    """Return whether the open file is what is there under that name: the former holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _note_holder(file: int) -> None:
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    except OSError:  # a full disk keeps nobody from holding a lock
        pass
