"""The JSON files that stages leave for each other: a frozen dataclass each, whose type hints say what a file may hold.

`read_record` gives the dataclass of a file, `write_record` writes one. Types such as `Amount` narrow a number; keys
that no field names are passed over, so that a file may say more than its readers ask for. A mapping that is `Inline`
has its keys beside the record's others.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, Predicate

from compressor.errors import FileError, shorten_value
from compressor.files import read_json, write_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

FORMAT = 1
"""The format of the files that this version writes and reads."""

Amount = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(0), Lt(2**63)]
Size = Annotated[int, Gt(0), Le(1_000_000)]
"""The number of anything that is counted per layer: a file that says more is broken."""


def _is_ascending(ends: tuple[float, float]) -> bool:
    return ends[0] <= ends[1]


Interval = Annotated[tuple[float, float], Predicate(_is_ascending)]
"""Two numbers, the first not above the second."""
Errors = Annotated[float, Ge(0), Le(2)]
"""1 − metric: up to 1, for correlations up to 2."""


def _are_errors(ends: tuple[float, float]) -> bool:
    return -1e-6 <= ends[0] <= ends[1] <= 2 + 1e-6  # quantiles of a bootstrap leave the range by rounding


ErrorInterval = Annotated[tuple[float, float], Predicate(_are_errors)]

Record = TypeVar("Record")


@cache
def _adapter(cls: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def parse_record(cls: type[Record], value: Any) -> Record:
    """Return the instance of a dataclass that JSON values stand for.

    Raises:
        ValueError: they have another form; the message is the second half of a sentence, such as "error is null".
    """
    from pydantic import ValidationError

    kind: Any = cls
    written = _format_of(value)
    if type(written) is not int:
        raise ValueError(f"format is {shorten_value(written)}")
    try:
        # Through JSON: in strict mode only there may a list become a tuple, while "1" is still no number.
        record: Record = _adapter(kind).validate_json(json.dumps(_gather(kind, value)), strict=True)
    except ValidationError as error:
        raise ValueError(_describe(error, value)) from None
    missing = _find_missing(cls, value)
    if missing is not None:
        raise ValueError(missing)
    return record


def _format_of(value: Any) -> Any:
    return value.get("format", FORMAT) if isinstance(value, Mapping) else FORMAT


def read_versioned(path: Path) -> Any:
    """Return the content of a JSON file of a stage, in whose format this version reads.

    Raises:
        FileError: it is not there, is no JSON, or was written by a newer version.
    """
    value = read_json(path)
    written = _format_of(value)
    # Not isinstance: `true` is an int. What is no number is refused by `parse_record`, with its place.
    if type(written) is int and written > FORMAT:
        raise FileError(
            f"the file {path} must be of format {FORMAT}, but is of {written}, which a newer version wrote. "
            "Update mlflow-compressor."
        )
    return value


def broken(path: Path, problem: object, next_step: str) -> FileError:
    """Return the error for a file that is not as it was written."""
    return FileError(f"the file {path} must be as it was written, but {problem}. {next_step}.")


def read_record(path: Path, cls: type[Record], next_step: str) -> Record:
    """Return the record in a JSON file of a stage.

    Raises:
        FileError: it is not there, is no JSON, has another form, or was written by a newer version.
    """
    value = read_versioned(path)
    try:
        return parse_record(cls, value)
    except ValueError as error:
        raise broken(path, error, next_step) from None


def write_record(path: Path, record: Any, **more: Any) -> Path:
    """Write a record, with its format first and `more` keys last."""
    write_json(path, {"format": FORMAT, **to_values(record), **more})
    return path


@dataclass(frozen=True)
class Inline:
    """An annotation of a mapping: in a file its keys stand beside the record's others, null where it lacks one."""

    names: Callable[[], Collection[str]]
    """The keys that it may have."""


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _inline_of(hint: Any) -> Inline | None:
    return next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Inline)), None)


def _record_of(hint: Any) -> Any:
    """Return the dataclass that a type is of, as an item or where it is not None; not what mappings hold."""
    if is_dataclass(hint):
        return hint
    return None if get_origin(hint) is dict else next(filter(None, map(_record_of, get_args(hint))), None)


def _gather(kind: Any, value: Any) -> Any:
    """Return JSON values of a type with the keys of each inline mapping moved into it."""
    record = _record_of(kind)
    # A list of records: each of them is gathered by itself.
    if isinstance(value, list | tuple) and record is not None:
        return [_gather(record, one) for one in value]
    # Plain values, and mappings that are no record, stay as they are.
    if not isinstance(value, dict) or record is None:
        return value
    gathered = dict(value)
    for name, hint in _hints(record).items():
        inline = _inline_of(hint)
        if inline is not None:
            known = {key: gathered.pop(key, None) for key in inline.names()}
            # null stands for what a record lacks; the mapping then has no such key.
            gathered[name] = {key: one for key, one in known.items() if one is not None}
        elif name in value:
            gathered[name] = _gather(hint, value[name])
    return gathered


def to_values(value: Any) -> Any:
    """Return the fields of a record by name as a file holds them, likewise of all records in it."""
    if isinstance(value, list | tuple):
        return type(value)(map(to_values, value))
    if isinstance(value, dict):
        return {key: to_values(one) for key, one in value.items()}
    if not is_dataclass(value):
        return value
    kind: Any = type(value)
    written, hints = dict[str, Any](), _hints(kind)
    for field in fields(value):
        inline, one = _inline_of(hints[field.name]), to_values(getattr(value, field.name))
        # An inline mapping has no key of its own in a file: its entries stand among the record's, null where not known.
        written |= {field.name: one} if inline is None else {name: one.get(name) for name in inline.names()}
    return written


@dataclass(frozen=True)
class RequireKeys:
    """An annotation of a field: its value in a file has these keys, whatever defaults its class has."""

    names: tuple[str, ...]


def require_keys(*names: str) -> RequireKeys:
    """Annotate a field whose value in a file has these keys, whatever defaults its class has."""
    return RequireKeys(names)


def _find_missing(cls: Any, value: Any, place: str = "") -> str | None:
    """Return the first key that is missing in spite of a default; nothing is asked of what is in a list or mapping."""
    has_fields = is_dataclass(cls)
    for name, hint in (_hints(cls) if has_fields else {}).items():
        if not isinstance(value, dict) or not isinstance(value.get(name), dict):
            continue
        inside = f"{place}.{name}".lstrip(".")
        for kind in (hint, *get_args(hint)):  # also where the field may be None
            asked = [one for one in getattr(kind, "__metadata__", ()) if isinstance(one, RequireKeys)]
            missing = [key for one in asked for key in one.names if key not in value[name]]
            if missing:
                return f"{inside} lacks {missing[0]!r}"
            problem = _find_missing(getattr(kind, "__origin__", kind), value[name], inside)
            if problem is not None:
                return problem
    return None


def _describe(error: "ValidationError", value: Any) -> str:
    """Return the first thing in which JSON values are not of a form."""
    first = error.errors(include_url=False)[0]
    keys, place, here = first["loc"], "", value
    for key in keys:  # also names the branch of a union, which is no place in the file
        if isinstance(here, dict) and key in here:
            place, here = f"{place}.{key}".lstrip("."), here[key]
        elif isinstance(here, list) and isinstance(key, int) and key < len(here):
            place, here = f"{place}[{key}]", here[key]
    if first["type"] == "missing":
        return f"{place or 'it'} lacks {keys[-1]!r}"
    return f"{place or 'it'} is {shorten_value(here)}"
