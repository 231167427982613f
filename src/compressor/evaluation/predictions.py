"""The validation predictions of a search's sub-networks, kept so that a choice can say how sure it is."""

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from compressor.data.metrics import are_labels
from compressor.data.metrics.ratios import Structure
from compressor.errors import SearchError, shorten

PREDICTIONS_FILE = "validation_predictions.safetensors"
_LABELS, _GROUPS, _TAGS = "labels", "groups", "tags"


@dataclass(frozen=True, kw_only=True)
class ValidationPredictions:
    """What sub-networks predicted for the validation rows, and what is true of them."""

    labels: np.ndarray
    """Class indices or values, shape [units]."""
    by_name: Mapping[str, np.ndarray]
    """Predictions [units] by the names of the evaluations; of those that are known."""
    structure: Structure | None = None
    """How units hang together, if they do."""


def write_predictions(path: Path, predictions: ValidationPredictions) -> Path:
    """Write the file of a search's validation predictions."""
    from safetensors.numpy import save_file

    tensors = {_LABELS: predictions.labels, **predictions.by_name}
    if predictions.structure is not None:
        written = {_GROUPS: predictions.structure.groups, _TAGS: predictions.structure.tags}
        tensors |= {name: values for name, values in written.items() if values is not None}
    save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, path)
    # safetensors makes files that only their owner may read.
    path.chmod(0o644)
    return path


def read_predictions(folder: Path) -> ValidationPredictions | None:
    """Return the validation predictions beside a search's results; None where an older version wrote none.

    Raises:
        SearchError: the file cannot be read, or holds predictions of other rows.
    """
    from safetensors.numpy import load_file

    path = folder / PREDICTIONS_FILE
    if not path.is_file():
        return None
    try:
        # All other tensors are predictions, by the names of their sub-networks.
        found = load_file(path)
        labels, groups, tags = found.pop(_LABELS), found.pop(_GROUPS, None), found.pop(_TAGS, None)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise _broken(path, shorten(error)) from None
    # Each entry is of one unit of the same rows, so shapes are those of the labels.
    if any(values.shape != labels.shape for values in found.values()):
        raise _broken(path, "its tensors differ in length")
    structure = None if groups is None else Structure(groups=groups, tags=tags)
    return ValidationPredictions(labels=labels, by_name=found, structure=structure)


def _broken(path: Path, reason: str) -> SearchError:
    return SearchError(
        f"{path} must hold a search's validation predictions, but it cannot be read: {reason}. Search again."
    )


def pack(predictions: np.ndarray) -> str:
    """Return predictions [units] or [rows, labels] as a short text, for a line of the journal."""
    whole = are_labels(predictions)
    # Four bytes: classes fit into them, and ranks of values survive; a journal has thousands of such lines.
    values = predictions.astype("<i4" if whole else "<f4")
    columns = "" if predictions.ndim == 1 else f"{predictions.shape[1]}:"
    return ("i" if whole else "f") + columns + base64.b64encode(zlib.compress(values.tobytes())).decode()


def unpack(text: str) -> np.ndarray:
    """Return the predictions of a text made by `pack`: int64, or float32 for values."""
    columns, _, packed = text[1:].rpartition(":")
    values = np.frombuffer(zlib.decompress(base64.b64decode(packed)), dtype=f"<{text[0]}4")
    values = values.astype(np.int64 if text[0] == "i" else np.float32)
    return values.reshape(-1, int(columns)) if columns else values
