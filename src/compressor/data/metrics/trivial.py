"""The trivial predictor of a task: what knows the labels but no text. A model that is no better has learnt nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from compressor.records import Errors


@dataclass(frozen=True, kw_only=True)
class TrivialPredictor:
    """The best answer that does not look at the texts, and its errors."""

    name: str
    """What it does: always 'positive', the mean, at random."""
    error: Errors
    """1 − metric on the validation rows."""
    test_error: Errors

    def __str__(self) -> str:
        return f"{self.name} (error {self.error:.4f})"

    def cells(self, columns: Sequence[str]) -> list[str]:
        """Return its row of a table: a cell for each column, empty but for `name`, `error` and `test_error`."""
        known = {"name": self.name, "error": f"{self.error:.4f}", "test_error": f"{self.test_error:.4f}"}
        return [known.get(column, "") for column in columns]


def is_useful(error_range: tuple[float, float], trivial: TrivialPredictor | None) -> bool:
    """Return whether a model is better than the trivial predictor, wherever in this range its error is."""
    return trivial is None or error_range[1] < trivial.error
