"""What a search can minimise. Apart from the search so that `--help` need not load it."""

from collections.abc import Sequence

from compressor.errors import SearchError

OBJECTIVES = ("error", "params", "macs", "latency_ms")
"""What a search can minimise; two or three of them."""
DEFAULT_OBJECTIVES = ("error", "params")
REFERENCE = 1.0
"""Every coordinate of the hypervolume's reference point: an error of 1, the costs of the full super-network."""


def check_objectives(objectives: Sequence[str]) -> tuple[str, ...]:
    """Return the objectives if a search can minimise them.

    Raises:
        SearchError: there are not two or three different ones, or one is unknown.
    """
    unknown = [name for name in objectives if name not in OBJECTIVES]
    if unknown or not 2 <= len(set(objectives)) == len(objectives) <= 3:
        raise SearchError(
            f"--objectives must be two or three of {', '.join(OBJECTIVES)}, but got {','.join(objectives)!r}. "
            "Write them as error,params."
        )
    return tuple(objectives)


def main_cost(objectives: Sequence[str]) -> str:
    """Return the first cost that was minimised."""
    return next((name for name in objectives if name != "error"), "params")
