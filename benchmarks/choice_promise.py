"""How often the default choice breaks its promise, on simulated searches whose true errors are known.

    python benchmarks/choice_promise.py [--draws 400]

Each draw is a search of 60 sub-networks with true errors, of which validation rows are drawn: right and wrong answers
that are alike between neighbours, as those of shared weights are. The choice sees the rows alone. Beside it stands the
choice by the measured error, which picks the luckiest. The last line is JSON.
"""

import argparse
import json
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import ndtr

from compressor.evaluation.bounds import CONFIDENCE, ErrorIncreases, compare_with_base
from compressor.search.options import SMALL_INCREASE

KINDS = ("steep", "flat", "just above", "strangers")
"""How the true error rises as sub-networks get smaller; strangers are wrong on rows of their own."""
SIZES = (200, 500, 1000, 2000, 5000)
_DENSE_ERROR, _ALIKE = 0.19, 0.7
"""The super-network's error, and how alike rows are hard for different sub-networks (0: not at all, 1: the same)."""


@dataclass(frozen=True, kw_only=True)
class SimulatedSearch:
    """Sub-networks with known true increases of the error, and what validation rows say of them."""

    sizes: np.ndarray
    """Shares of the encoder, shape [candidates]."""
    losses: np.ndarray
    """True errors above the super-network's, shape [candidates]."""
    increases: ErrorIncreases
    """As the rows show them."""

    @classmethod
    def draw(
        cls, num_rows: int, num_candidates: int, rng: np.random.Generator, kind: str = "steep"
    ) -> "SimulatedSearch":
        """A search; most candidates lie above the curve of the best by an exponential of mean 0.01."""
        sizes = np.sort(rng.uniform(0.02, 0.98, num_candidates))
        curve = {"steep": 0.25 * (1 - sizes) ** 2, "just above": np.full(num_candidates, SMALL_INCREASE + 0.001)}
        losses = curve.get(kind, 0.25 * (1 - sizes) ** 4)
        if kind != "just above":
            losses = losses + rng.exponential(0.01, num_candidates) * (rng.random(num_candidates) < 0.7)
        labels = np.zeros(num_rows, dtype=int)  # 0 is right
        base = (rng.random(num_rows) < _DENSE_ERROR).astype(int)
        if kind == "strangers":
            others = rng.random((num_candidates, num_rows)) < (_DENSE_ERROR + losses)[:, None]
        else:
            both_ways = 0.01 + 0.06 * (1 - sizes)  # rows that change for the better, and as many for the worse
            own = rng.normal(size=(num_candidates, num_rows))
            hard = ndtr(_ALIKE * rng.normal(size=num_rows) + np.sqrt(1 - _ALIKE**2) * own)
            lost = hard < ((losses + both_ways) / (1 - _DENSE_ERROR))[:, None]
            won = hard > 1 - (both_ways / _DENSE_ERROR)[:, None]
            others = np.where(base == 1, ~won, lost)
        return cls(
            sizes=sizes,
            losses=losses,
            increases=compare_with_base("accuracy", base, list(others.astype(int)), labels),
        )

    def choose(self, limit: float, confidence: float | None) -> int | None:
        """The smallest member of the front within the limit, by bound or (None) as measured; None if there is none."""
        within = self.increases.values <= limit if confidence is None else self.increases.holding(limit, confidence)[0]
        order = np.lexsort((self.sizes, self.increases.values))
        smallest_so_far = np.minimum.accumulate(self.sizes[order])
        front = order[np.append(True, smallest_so_far[1:] < smallest_so_far[:-1])]
        fitting = [int(member) for member in front if within[member]]
        return min(fitting, key=lambda member: self.sizes[member], default=None)


def measure(kind: str, num_rows: int, num_draws: int) -> dict[str, float | str | int]:
    """How often each way to choose breaks the promise, and the mean share of the encoder that it keeps."""
    rng = np.random.default_rng([num_rows, KINDS.index(kind)])
    found: dict[str, list[float]] = {
        name: [] for name in ("broken", "size", "measured_broken", "measured_size", "best")
    }
    for _ in range(num_draws):
        search = SimulatedSearch.draw(num_rows, 60, rng, kind)
        fine = search.sizes[search.losses <= SMALL_INCREASE]
        found["best"].append(float(fine.min()) if len(fine) else 1.0)
        for prefix, confidence in (("", CONFIDENCE), ("measured_", None)):
            chosen = search.choose(SMALL_INCREASE, confidence)
            found[f"{prefix}broken"].append(chosen is not None and search.losses[chosen] > SMALL_INCREASE)
            found[f"{prefix}size"].append(1.0 if chosen is None else float(search.sizes[chosen]))
    return {"kind": kind, "rows": num_rows, **{name: round(float(np.mean(of)), 4) for name, of in found.items()}}


def main() -> None:
    """Prints a table, and all figures as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=400, help="simulated searches of each kind and size")
    draws = parser.parse_args().draws
    rows = [measure(kind, num_rows, draws) for kind in KINDS for num_rows in SIZES]
    table = Table(title=f"Promise: at most {SMALL_INCREASE} worse, {CONFIDENCE:.0%} confidence; {draws} draws each")
    for name in ("true errors", "rows", "broken", "size kept", "broken as measured", "size as measured", "best size"):
        table.add_column(name, justify="left" if name == "true errors" else "right")
    for row in rows:
        table.add_row(str(row["kind"]), f"{row['rows']:,}", *(f"{row[key]:.1%}" for key in list(row)[2:]))
    Console(width=120).print(table)
    print(json.dumps({"draws": draws, "limit": SMALL_INCREASE, "confidence": CONFIDENCE, "searches": rows}))


if __name__ == "__main__":
    main()
