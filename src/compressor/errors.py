"""Every error a user can cause: one base class, one line each, `law, but got value. Next step.`

Messages are written with the flags of the command line. Who calls the library reads the names of arguments and fields
instead: `num_samples` for `--num-samples`.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compressor.options import Problem


_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)*)")
_OTHER_NAMES = {"text-column": "text", "label-column": "label"}
"""Flags whose argument in Python has another name."""
_spelled_as_flags = False


@contextmanager
def spelled_as_flags() -> Iterator[None]:
    """Have errors name options as they are typed on the command line, for the time of the block."""
    global _spelled_as_flags
    before, _spelled_as_flags = _spelled_as_flags, True
    try:
        yield
    finally:
        _spelled_as_flags = before


def without_flags(text: str) -> str:
    """Return a text with the names of arguments and fields in place of flags."""
    return _FLAG.sub(lambda flag: _OTHER_NAMES.get(flag[1], flag[1].replace("-", "_")), text)


class CompressorError(Exception):
    """Base of all errors with a message meant for the user; the command line prints it as one line."""

    def __str__(self) -> str:
        text = super().__str__()
        return text if _spelled_as_flags else without_flags(text)


def shorten(error: object, limit: int = 200) -> str:
    """Return what a third-party error says, on one line of at most so many characters."""
    return " ".join(str(error).split())[:limit]


def shorten_value(value: object) -> str:
    """Return a value of a file as JSON, on one line and not long."""
    return shorten(json.dumps(value, default=str), 60)


class OptionError(CompressorError):
    """A value of an option, or several options together, that no command can run with."""

    def __init__(self, message: str, problems: "Sequence[Problem]" = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)
        """What `message` says, one by one."""


class FileError(CompressorError):
    """A file that is read and is not there, or holds something else."""


class SubNetworkError(CompressorError):
    """A sub-network that the encoder at hand cannot have."""


class SearchSpaceError(CompressorError):
    """An unknown search space, or a configuration outside of it."""


class StrategyError(CompressorError):
    """An unknown sampling strategy, or settings it cannot run with."""


class SearchError(CompressorError):
    """An unknown search method, or a search that cannot run as asked."""


class ClusterError(CompressorError):
    """A Ray cluster that cannot be reached, or cannot do the work."""


class DeviceError(CompressorError):
    """A device that cannot compute what is asked."""


class ModelError(CompressorError):
    """A model directory that cannot be used."""


class TaskDataError(CompressorError):
    """Data that cannot be used for the task."""


class TrainingError(CompressorError):
    """Training that cannot continue."""


class OutputError(CompressorError):
    """An output directory that cannot be written."""


class HubError(CompressorError):
    """The Hugging Face Hub does not take a model."""


class ParityError(CompressorError):
    """Two variants of one sub-network that should compute the same do not."""


class GateError(CompressorError):
    """A model that does not keep what was asked of it."""
