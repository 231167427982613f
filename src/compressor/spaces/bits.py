"""Subsets as booleans and as text."""

from typing import Any

import numpy as np

from compressor.errors import SearchSpaceError


def draw_subset(length: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random subset as `length` booleans: first how many, uniformly, then which ones."""
    bits = np.zeros(length, dtype=bool)
    # A coin for each member would nearly always keep half of them (binomial), so that small sub-networks never came up.
    bits[rng.permutation(length)[: rng.integers(length + 1)]] = True
    return bits


def bits_to_text(bits: np.ndarray) -> str:
    """Return booleans as hexadecimal text, eight to two digits."""
    return np.packbits(bits).tobytes().hex()


def text_to_bits(text: Any, length: int) -> np.ndarray:
    """Return the first `length` booleans of a text made by `bits_to_text`.

    Raises:
        SearchSpaceError: the text does not hold exactly that many.
    """
    # packbits fills the last byte with zeros.
    digits = 2 * ((length + 7) // 8)
    try:
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8)).astype(bool)
    except (TypeError, ValueError):
        bits = np.zeros(0, dtype=bool)
    if len(bits) != digits * 4 or bits[length:].any():
        raise SearchSpaceError(
            f"a subset of {length} must be {digits} hexadecimal digits with no bit set beyond the {length}th, but got "
            f"{str(text)[:40]!r}. Correct the config."
        )
    return bits[:length]
