"""Bits as text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import SearchSpaceError
from compressor.spaces.bits import bits_to_text, text_to_bits


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_bits_round_trip(bits: list[bool]) -> None:
    assert text_to_bits(bits_to_text(np.array(bits)), len(bits)).tolist() == bits


@pytest.mark.parametrize("text", ["", "zz", "ff01", None, 3])
def test_broken_bit_texts(text: object) -> None:
    with pytest.raises(SearchSpaceError):
        text_to_bits(text, 5)
