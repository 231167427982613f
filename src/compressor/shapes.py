"""The JSON files that stages leave for each other, read: their form, and whether they have it.

A shape is a type, one of the classes below, such as `Number`, a text (that very one), `None`, a tuple of shapes (any of
them), `[shape]` (a list of such), or a dict: `{"key": shape, "key?": shape}` asks for keys, those with a question mark
where they are there, and lets others be; `{str: shape}` is a mapping of any keys.
"""

import math
from pathlib import Path
from typing import Any

from compressor.errors import FileError, brief_value
from compressor.files import read_json

FORMAT = 1
"""Of the files that this version writes and reads."""


_MAX_SIZE = 1_000_000
"""Of anything that is counted per layer: a file that says more is broken."""


_MOST = 2**63
"""No count reaches it."""


class Number:
    """A finite number, as a shape."""


class Amount:
    """A finite number that is not below 0, as a shape."""


class Count:
    """A whole number from 0 up to as many as can be counted, as a shape."""


class Interval:
    """Two finite numbers, the first not above the second, as a shape."""


class Positive:
    """A finite number above 0, as a shape."""


class Size:
    """A number of layers, heads or units, as a shape."""


NullableNumber, NullableAmount = (Number, None), (Amount, None)
COSTS = {"params": Positive, "relative_params": Positive, "encoder_params": int, "relative_encoder_params": Number}
SOURCE = {
    "task_name": str,
    "train_file?": (str, None),
    "validation_file?": (str, None),
    "test_file?": (str, None),
    "dataset_name?": (str, None),
    "dataset_config_name?": (str, None),
    "text_columns": [str],
    "label_column?": (str, None),
    "metric?": (str, None),
    "regression?": bool,
    "max_seq_length?": (int, None),
    "max_train_samples?": (int, None),
    "max_eval_samples?": (int, None),
    "dataset_seed": int,
}
DIMENSIONS = dict.fromkeys(("num_layers", "num_heads", "num_units", "hidden_size", "head_size"), Size)
FILES = {str: str}
SUPER_NETWORK = {"format": int, "files?": FILES, "settings?": {"search_space?": str, "seed?": int}}
TRAINED = {
    "source": SOURCE,
    "data_digest": str,
    "label_names": [str],
    "model_name_or_path": str,
    "settings": {"search_space": str, "seed": int},
    "attn_implementation": str,
    "epochs": [{"epoch": int, "error": Number}],
}
"""What `super_network.json` holds besides where `train-supernet` wrote it."""


def read_record(path: Path, shape: Any, next_step: str) -> dict[str, Any]:
    """The content of a JSON file of a stage, which has the form that its readers count on.

    Raises:
        FileError: it is not there, is no JSON, has another form, or was written by a newer version.
    """
    value = read_json(path)
    written = value.get("format", FORMAT) if isinstance(value, dict) else FORMAT
    if type(written) is int and written > FORMAT:
        raise FileError(
            f"the file {path} must be of format {FORMAT}, but is of {written}, which a newer version wrote. "
            "Update mlflow-compressor."
        )
    problem = find_problem(value, {"format?": int, **shape})
    if problem is not None:
        raise FileError(f"the file {path} must be as it was written, but {problem}. {next_step}.")
    return dict(value)


def find_problem(value: Any, shape: Any, place: str = "") -> str | None:
    """The first thing in which a value is not of a shape; None where there is none."""
    if isinstance(shape, tuple):
        found = [find_problem(value, one, place) for one in shape]
        return None if None in found else found[0]
    if isinstance(shape, list) and isinstance(value, list):
        items = ((item, shape[0], f"{place}[{number}]") for number, item in enumerate(value))
    elif isinstance(shape, dict) and isinstance(value, dict):
        if str in shape:
            items = ((item, shape[str], f"{place}.{key}".lstrip(".")) for key, item in value.items())
        else:
            missing = [key for key in shape if not key.endswith("?") and key not in value]
            if missing:
                return f"{place or 'it'} lacks {missing[0]!r}"
            asked = ((key.removesuffix("?"), one) for key, one in shape.items())
            items = ((value[key], one, f"{place}.{key}".lstrip(".")) for key, one in asked if key in value)
    elif isinstance(shape, str):
        return None if value == shape else f"{place or 'it'} is {brief_value(value)}"
    else:
        fits = value is None if shape is None else _is_a(value, shape)
        return None if fits else f"{place or 'it'} is {brief_value(value)}"
    return next((problem for item in items if (problem := find_problem(*item)) is not None), None)


def _is_a(value: Any, shape: Any) -> bool:
    if shape is Number:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if shape is Interval:
        ends = isinstance(value, list) and len(value) == 2 and all(_is_a(end, Number) for end in value)
        return ends and value[0] <= value[1]
    if shape is Amount:
        return _is_a(value, Number) and value >= 0
    if shape is Count:
        return type(value) is int and 0 <= value < _MOST
    if shape is Positive:
        return _is_a(value, Number) and value > 0
    if shape is Size:
        return type(value) is int and 0 < value <= _MAX_SIZE
    if shape is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(shape, type) and isinstance(value, shape)
