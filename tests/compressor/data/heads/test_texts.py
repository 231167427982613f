"""Lists as files hold them."""

from typing import Any

import numpy as np
import pytest

from compressor.data.heads.texts import to_list


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (["a", 1], ["a", 1]),
        (("a",), ["a"]),
        (np.array([1, 2]), [1, 2]),
        (' ["a", "b"]', ["a", "b"]),
        ("[]", []),
        ("[a, b]", None),
        ("a", None),
        (None, None),
        ({"a": 1}, None),
    ],
)
def test_lists(value: Any, found: list[Any] | None) -> None:
    assert to_list(value) == found
