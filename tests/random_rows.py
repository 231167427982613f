"""Encoded rows of any head, without texts or a tokenizer."""

import numpy as np

from compressor.data.batches import EncodedRows
from compressor.data.heads import HEADS as ALL_HEADS
from conftest import VOCABULARY


def random_rows(head: str, num_rows: int = 12) -> EncodedRows:
    """Rows as a head has them: two texts each where it compares texts, a unit at every second token for words."""
    form, rng = ALL_HEADS[head].form, np.random.default_rng(0)
    texts = 2 if form.takes_choices or head == "embedding" else 1
    offsets = np.concatenate(([0], np.cumsum(rng.integers(3, 15, size=num_rows * texts))))
    units = np.arange(0, offsets[-1], 2) if ALL_HEADS[head].labels_words else None
    count = num_rows * (1 if form.takes_choices else texts) if units is None else len(units)
    return EncodedRows(
        columns={"input_ids": rng.integers(5, VOCABULARY, size=offsets[-1])},
        offsets=offsets,
        labels=np.zeros(count, dtype=np.int64),
        num_choices=texts,
        takes_choices=form.takes_choices,
        pad_values={"input_ids": 0},
        units=units,
    )
