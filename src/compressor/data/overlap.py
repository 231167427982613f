"""Rows that stand in two places: an error measured on what a model was trained on says nothing.

Rows are the same where their texts are, apart from white space; labels do not count. Most data has some duplicates:
they are noted; a part that lies in another as a whole is refused.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from compressor.errors import TaskDataError
from compressor.records import Share, require_keys

if TYPE_CHECKING:
    from compressor.data.rows import Rows

LEAK = 0.05
"""A search refuses this share of training rows among its validation or test rows, beyond what training had."""
_NO_CLASS = 0xFFFF
"""In place of a class index: a regression, or an index of more than 16 bits."""
_PAIRS = (("validation", "train"), ("test", "train"), ("test", "validation"))


def fingerprints(rows: "Rows") -> np.ndarray:
    """Return one uint64 per row: 48 bits tell its texts, 16 its class."""
    marks = np.empty(len(rows), dtype=np.uint64)
    classes = rows.labels if rows.labels.dtype.kind == "i" and rows.labels.ndim == 1 else np.full(len(rows), _NO_CLASS)
    for row, texts in enumerate(rows.texts):
        text = "\0".join(" ".join(column.split()) for column in texts)
        digest = hashlib.sha256(text.encode()).digest()
        # 48 bits: among 10⁶ rows two different texts meet with a probability of 0.2 %.
        marks[row] = int.from_bytes(digest[:6]) << 16 | min(int(classes[row]), _NO_CLASS)
    return marks


@dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """What a super-network remembers of the rows it was trained on."""

    fingerprints: str
    """Fingerprints of the training rows, packed."""
    shares: Annotated[dict[str, Share], require_keys("validation", "test")]
    """Shares of the validation and test rows that were among them."""

    @classmethod
    def note(cls, parts: "Mapping[str, Rows]", unlabeled: "Rows | None" = None) -> "TrainingRows":
        """Note fingerprints and duplicates of the parts of some data, and of texts without labels beside them."""
        seen = fingerprints(parts["train"])
        if unlabeled is not None:
            # Of no class: whoever labels them later has not changed a label.
            seen = np.concatenate([seen, fingerprints(unlabeled) | np.uint64(_NO_CLASS)])
        shares = {name: share_of(fingerprints(parts[name]), seen) for name in ("validation", "test")}
        # Sorted and little-endian: the same file on every machine, and it tells nothing of the rows' order.
        packed = np.unique(seen).astype("<u8").tobytes()
        return cls(fingerprints=base64.b64encode(packed).decode(), shares=shares)

    def recall(self) -> np.ndarray:
        """Return the fingerprints of the training rows.

        Raises:
            TaskDataError: they are not as they were noted.
        """
        try:
            return np.frombuffer(base64.b64decode(self.fingerprints, validate=True), dtype="<u8")
        except ValueError:
            raise TaskDataError(
                "the training rows in super_network.json must be as training noted them, but are damaged. "
                "Restore the file or train again."
            ) from None


def share_of(marks: np.ndarray, others: np.ndarray) -> float:
    """Return the share of rows whose texts stand among others."""
    return float(texts_in(marks, others).mean()) if len(marks) else 0.0


def relabelled_share(marks: np.ndarray, others: np.ndarray) -> tuple[int, float]:
    """Return how many rows stand among others by their texts, and the share of these that have another label there.

    Others without a label, or with one that is no class, do not count.
    """
    others = others[others & np.uint64(_NO_CLASS) != _NO_CLASS]
    shared = marks[texts_in(marks, others)]
    return len(shared), float((~np.isin(shared, others)).mean()) if len(shared) else 0.0


def describe_overlap(parts: "Mapping[str, Rows]") -> str | None:
    """Return one line on the rows that parts share, None where they share none.

    Raises:
        TaskDataError: a whole part lies in another one.
    """
    marks = {name: fingerprints(rows) for name, rows in parts.items()}
    wrong, found = [], []
    for name, other in _PAIRS:
        # Asked in both directions: a small part may lie in a large one although few rows of the large one are shared.
        shared = int(texts_in(marks[name], marks[other]).sum())
        if shared == len(marks[name]):
            wrong.append(f"all {shared} {name} rows are {other} rows too")
        elif texts_in(marks[other], marks[name]).all():
            # Those that are only partly shared are told, not refused: many public data sets are like that.
            wrong.append(f"all {len(marks[other])} {other} rows are {name} rows too")
        elif shared:
            found.append(f"{shared:,} of {len(marks[name]):,} {name} rows are {other} rows too")
    if wrong:
        raise TaskDataError(
            f"training, validation and test rows must be different ones, but {'; '.join(wrong)}. "
            "Give other files, or drop the doubled rows."
        )
    return f"{'; '.join(found)}: errors on such rows are too good." if found else None


def texts_in(marks: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which rows' texts stand among others, by their fingerprints."""
    # Without the class: the same text with another label is as much a leak.
    return np.isin(marks >> np.uint64(16), others >> np.uint64(16))
