"""What a search can minimise."""

import pytest

from compressor.errors import SearchError
from compressor.search.objectives import check_objectives


@pytest.mark.parametrize(
    "objectives", [("error",), ("error", "error"), ("error", "flops"), ("error", "params", "macs", "latency_ms")]
)
def test_wrong_objectives(objectives: tuple[str, ...]) -> None:
    with pytest.raises(
        SearchError, match="--objectives must be two or three of error, params, macs, latency_ms, but got"
    ):
        check_objectives(objectives)
