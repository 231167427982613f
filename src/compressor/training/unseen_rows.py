"""Rows that a super-network may be searched on: none that it was trained on.

A search with other files, another seed or other limits splits anew. Without this check training rows would come among
the validation rows, and every error would be too good.
"""

import math

import numpy as np

from compressor.data.loading import load_task_data
from compressor.data.overlap import LEAK, TrainingRows, fingerprints, relabelled_share, share_of
from compressor.data.rows import TaskData
from compressor.errors import CompressorError, TaskDataError
from compressor.training.super_network import TrainingRecord

_FEW = 10
"""Fewer rows than these may have other labels by chance."""


def require_unseen_rows(record: TrainingRecord | None, data: TaskData) -> list[str]:
    """Return a line for each thing to know of rows that are not those of the training.

    A row is unseen where no training row has its texts. Some stand twice in most data: validation and test rows may
    hold as large a share of training rows as they held in training (give or take two standard deviations), and `LEAK`
    of all rows more.

    Raises:
        TaskDataError: training rows are among the validation or test rows, or have other labels now.
    """
    # The same files, split by the same seed: validation and test rows are those that training has left out. By the
    # digest too: a file that has grown since is split anew.
    if record is not None and data.source == record.source and data.digest == record.data_digest:
        return []
    noted = None if record is None else record.training_rows or _note_again(record)
    if noted is None:
        return [*data.notes, "which rows the super-network was trained on is not known: these may be among them."]
    seen, shares = noted.recall(), noted.shares
    wrong, found = [], list(data.notes)
    for name in ("validation", "test"):
        marks = fingerprints(data.parts[name])
        count, usual = round(share_of(marks, seen) * len(marks)), shares[name] * len(marks)
        line = f"{count:,} of the {len(marks):,} {name} rows"
        # Counts of chance duplicates are about Poisson: their standard deviation is the root of their mean.
        if count > usual + 2 * math.sqrt(usual) + LEAK * len(marks):
            wrong.append(line)
        elif count:
            found.append(f"the super-network was trained on {line}: errors on such rows are too good.")
    if wrong:
        raise TaskDataError(
            "a super-network must be searched and tested on rows it was not trained on, but was trained on "
            f"{' and '.join(wrong)}. Leave --dataset-seed and the files as they were in training, or give others."
        )
    # Shared texts with other labels: numbers may be names of other classes now, and each answer would be wrong.
    if data.label_names:
        shared, other = relabelled_share(np.concatenate([fingerprints(rows) for rows in data.parts.values()]), seen)
        if shared >= _FEW and other > 0.5:
            raise TaskDataError(
                f"rows that the super-network was trained on must have the labels they had, but {other:.0%} of "
                f"{shared:,} have another one. Correct the labels, or train again."
            )
    return found


def _note_again(record: TrainingRecord) -> TrainingRows | None:
    """Note what version 0.1.0 did not of the training rows, where they are still there."""
    try:
        data = load_task_data(record.source)
    except CompressorError:
        return None
    return TrainingRows.note(data.parts) if data.digest == record.data_digest else None
