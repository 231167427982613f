"""Every error a user can cause: one base class, one line each, `law, but got value. Next step.`"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compressor.limits import Problem


class CompressorError(Exception):
    """Base of all errors with a message meant for the user; the command line prints it as one line."""


def brief(error: object, most: int = 200) -> str:
    """What an error of other hands says, on one line of at most so many characters."""
    return " ".join(str(error).split())[:most]


def brief_value(value: object) -> str:
    """A value of a file as JSON, on one line and not long."""
    return brief(json.dumps(value, default=str), 60)


class OptionError(CompressorError):
    """A value of an option, or several options together, that no command can run with."""

    def __init__(self, message: str, problems: Sequence["Problem"] = ()) -> None:
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


class ModelError(CompressorError):
    """A model directory that cannot be used."""


class TaskDataError(CompressorError):
    """Data that cannot be used for the task."""


class TrainingError(CompressorError):
    """Training that cannot go on."""


class OutputError(CompressorError):
    """An output directory that cannot be written."""


class ParityError(CompressorError):
    """Two forms of one sub-network that should compute the same do not."""
