"""A Syne Tune domain whose values are subsets: `choice([0, 1])` for each of 37,000 units is not usable."""

from typing import Any

import numpy as np
from syne_tune.config_space import Domain

from compressor.errors import SearchSpaceError
from compressor.spaces.bits import bits_to_text, draw_subset, text_to_bits


class SubsetDomain(Domain):  # type: ignore[misc]
    """All subsets of `length` things, written as hexadecimal bit strings (`bits_to_text`)."""

    def __init__(self, length: int) -> None:
        self.length = length

    @property
    def value_type(self) -> type:
        return str

    def sample(
        self, spec: Any = None, size: int = 1, random_state: np.random.RandomState | None = None
    ) -> str | list[str]:
        """Return one subset (or `size` of them): first how many, uniformly, then which ones."""
        seed = None if random_state is None else random_state.randint(2**31)
        # Syne Tune passes the old RandomState on; its numbers seed the generator that the spaces draw from.
        rng = np.random.default_rng(seed)
        values = [bits_to_text(draw_subset(self.length, rng)) for _ in range(size)]
        return values[0] if size == 1 else values

    def is_valid(self, value: Any) -> bool:
        try:
            text_to_bits(value, self.length)
        except SearchSpaceError:
            return False
        return True

    @property
    def domain_str(self) -> str:
        return f"subset of {self.length}"

    def __len__(self) -> int:
        return 0  # Syne Tune's word for "too many to count"

    def __bool__(self) -> bool:
        return True

    def match_string(self, value: Any) -> str:
        return str(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SubsetDomain) and other.length == self.length

    def __hash__(self) -> int:
        return hash(("subset", self.length))
