"""Multiple choice: its texts."""

import numpy as np

from compressor.data.heads.multiple_choice import MULTIPLE_CHOICE
from compressor.data.rows import Rows
from compressor.data.tasks import TASKS


def test_every_ending_gets_its_stem_and_start() -> None:
    rows = Rows(texts=(("She walks.", "Then", "she runs.", "it rains."),), labels=np.array([1]))
    assert MULTIPLE_CHOICE.to_texts(rows, TASKS["swag"]) == (
        ["She walks.", "She walks."],
        ["Then she runs.", "Then it rains."],
    )
