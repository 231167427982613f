"""Options as fields of dataclasses: what a field may be, its help text and its spelling stand in its metadata, once.

The command line makes its options of these fields, and the classes check their numbers when they are made. A number
beyond its limit is refused before any work starts. Limits are far from what is of use: they stop what would hang, fill
the memory, or end in an error of a library below.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, TypeVar

from compressor.errors import OptionError

CPU_CORES = os.cpu_count() or 1
_MAX_SHOWN = 40
_OPTION, _LIMIT = "option", "limit"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The range of one option."""

    least: float
    most: float
    reason: str
    """Why not less, or not more."""
    above: bool = False
    """Whether `least` itself is too little."""


SEED = Limit(least=0, most=2**32 - 1, reason="what NumPy, PyTorch and Syne Tune all take")


@dataclass(frozen=True, kw_only=True)
class Option:
    """How a field is given on the command line, where its name, type and default do not say it."""

    help: str
    flags: tuple[str, ...] = ()
    """Its spellings, the usual one first; none: its name with hyphens."""
    choices: Sequence[str] = ()
    """The words it may be, unless its type lists them."""
    words: Mapping[str, Any] | None = None
    """What each word of an option stands for, where the field has other values."""
    path: bool = False
    """Whether it is a path, or what may stand in its place."""
    repeated: bool = False
    """Whether it may be given several times, or once with commas."""

    def word(self, value: Any) -> Any:
        """Return what a value of the field is called on the command line."""
        return value if self.words is None else next(word for word, one in self.words.items() if one is value)


def option(default: T, help: str, *, limit: Limit | None = None, **attributes: Any) -> T:
    """Return a dataclass field that the command line offers; `attributes` are further fields of `Option`."""
    return _field(default, {_OPTION: Option(help=help, **attributes)}, limit)


def limited(default: T, limit: Limit) -> T:
    """Return a dataclass field with a limit that the command line does not offer."""
    return _field(default, {}, limit)


def option_like(options: type, name: str, **changes: Any) -> Any:
    """Return a dataclass field that says the same as another class's; `changes` are a default or fields of `Option`."""
    # `fields()` would work on a finished class alone, but this is called while another class is made.
    model: Field[Any] = options.__dataclass_fields__[name]  # type: ignore[attr-defined]
    default = changes.pop("default", model.default)
    return _field(default, {_OPTION: replace(model.metadata[_OPTION], **changes)}, model.metadata.get(_LIMIT))


def _field(default: T, metadata: dict[str, Any], limit: Limit | None) -> T:
    return field(default=default, metadata=metadata | ({} if limit is None else {_LIMIT: limit}))


def find_options(options: type) -> dict[str, Option]:
    """Return the fields of a class that the command line offers, by name."""
    return {one.name: one.metadata[_OPTION] for one in fields(options) if _OPTION in one.metadata}


def find_limits(options: type) -> dict[str, Limit]:
    """Return the limits of a class's fields, by name."""
    return {one.name: one.metadata[_LIMIT] for one in fields(options) if _LIMIT in one.metadata}


def flags_of(name: str, given: Option | None = None) -> tuple[str, ...]:
    """Return how a field is spelled on the command line, the usual spelling first."""
    return (given.flags if given else ()) or (f"--{name.replace('_', '-')}",)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with options: "OPTION must be LAW, but got VALUE. REMEDY"."""

    option: str
    law: str
    value: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.option} must be {self.law}, but got {self.value}"


def check_value(options: type, name: str, value: float) -> float:
    """Return a number that is within the limit of a class's field.

    Raises:
        OptionError: it is not.
    """
    refuse(list(_find_problems(name, find_limits(options)[name], value)))
    return value


def check_numbers(options: Any, more: Sequence[Problem] = ()) -> None:
    """Raise unless each limited field of a settings class is within its limit or None; all wrong ones at once.

    A field may hold several numbers. `more` is what is wrong with the options besides.

    Raises:
        OptionError: a number is out of its range or not a number, or there are `more` problems.
    """
    limits = find_limits(type(options))
    found = [problem for name in limits for problem in _find_problems(name, limits[name], getattr(options, name))]
    refuse([*found, *more])


def _find_problems(name: str, limit: Limit, values: Any) -> Iterator[Problem]:
    """Yield what is wrong with the number of a field, or with the first of several that is wrong."""
    flag = flags_of(name)[0]
    # A field may hold one number or several.
    for value in values if isinstance(values, tuple) else (values,):
        if value is None:
            continue
        # First, because NaN is neither below nor above any limit.
        if isinstance(value, float) and math.isnan(value):
            law, remedy = "a number", "Correct it."
        elif value < limit.least or (limit.above and value == limit.least):
            law, remedy = f"{'above' if limit.above else 'at least'} {limit.least:,}", "Raise it."
        elif value > limit.most:
            law, remedy = f"at most {limit.most:,}", "Lower it."
        else:
            continue
        # One problem a field is enough: the next number is checked when this one is right.
        yield Problem(option=flag, law=law, value=show(value), remedy=remedy)
        return


def refuse(problems: Sequence[Problem]) -> None:
    """Raise one error for all problems, if there are any.

    Raises:
        OptionError: there are.
    """
    if len(problems) == 1:
        wrong = problems[0]
        raise OptionError(f"{wrong.option} must be {wrong.law}, but got {wrong.value}. {wrong.remedy}", problems)
    if problems:
        raise OptionError(f"{'; '.join(map(str, problems))}. Correct the options.", problems)


def show(number: float) -> str:
    """Return a number as it was typed, but never more than a few dozen characters."""
    try:
        text = str(number)
    except ValueError:  # Python refuses to write numbers of more than 4,300 digits
        return "thousands of digits"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}… ({len(text)} characters)"
