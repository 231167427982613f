"""Searchers of our own, where Syne Tune 0.16 has none that is seeded and knows more than one objective."""

from typing import Any

import numpy as np
from syne_tune.optimizer.schedulers.searchers.searcher import BaseSearcher

from compressor.search_spaces import Config, SearchSpace


class RandomSearcher(BaseSearcher):  # type: ignore[misc]
    """Independent draws of the search space, after the initial design; all randomness comes from the seed."""

    def __init__(self, space: SearchSpace, initial_design: list[Config], seed: int) -> None:
        super().__init__(space.config_space(), points_to_evaluate=initial_design, random_seed=seed)
        self._space, self._rng = space, np.random.default_rng([seed, 3])

    def suggest(self, **kwargs: Any) -> Config:
        """The next config of the initial design, or a random one."""
        return self._next_points_to_evaluate() or self._space.draw_config(self._rng)
