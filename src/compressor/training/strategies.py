"""Sampling strategies: which sub-networks one training step updates (Klein et al., TMLR 2024, section 4, and `auto`).

A strategy is one plain function from a step to its updates, in order; it sees no model. The gradients of all updates of
a step are summed before the optimizer moves. To add a strategy, write its function and list it in
`SAMPLING_STRATEGIES`; the contract tests take it from there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compressor.errors import StrategyError
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.spaces.space import SearchSpace


@dataclass(frozen=True)
class Update:
    """One forward and backward pass of a training step."""

    sub_network: SubNetwork | None
    """None: the model as it stands."""
    distill: bool = False
    """Learn from the super-network's logits of this step too, not from the labels alone."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where a training run stands."""

    index: int
    """From 0."""
    num_steps: int
    num_random_sub_nets: int
    rng: np.random.Generator
    num_warm_up_steps: int = 0
    """Steps before heads, units and layers are put in order; 0 where they never are."""


Strategy = Callable[[SearchSpace, Step], list[Update]]


def standard(space: SearchSpace, step: Step) -> list[Update]:
    """Return the super-network: ordinary fine-tuning."""
    return [_super_network(space)]


def random(space: SearchSpace, step: Step) -> list[Update]:
    """Return k random sub-networks."""
    return _random(space, step)


def linear_random(space: SearchSpace, step: Step) -> list[Update]:
    """Return k random sub-networks with probability t/T, else the super-network."""
    # The probability rises from 0: the whole learns first, its parts more and more often.
    return _random(space, step) if step.rng.random() < step.index / step.num_steps else [_super_network(space)]


def sandwich(space: SearchSpace, step: Step) -> list[Update]:
    """Return the super-network, the smallest sub-network and k random ones (Yu and Huang, ICCV 2019)."""
    return [_super_network(space), Update(space.smallest), *_random(space, step)]


def kd(space: SearchSpace, step: Step) -> list[Update]:
    """Return the super-network on the labels, k random sub-networks with in-place distillation from it."""
    # The whole comes first: those that distill learn from the logits of a step's first update.
    return [_super_network(space), *_random(space, step, distill=True)]


def one_shot(space: SearchSpace, step: Step) -> list[Update]:
    """Return sandwich with in-place distillation from the super-network."""
    return [_super_network(space), Update(space.smallest, distill=True), *_random(space, step, distill=True)]


def ats(space: SearchSpace, step: Step) -> list[Update]:
    """Return k random sub-networks on even steps, the super-network on odd ones."""
    return [_super_network(space)] if step.index % 2 else _random(space, step)


def auto(space: SearchSpace, step: Step) -> list[Update]:
    """Return super-network until heads, units and layers are in order; then `kd` with sub-networks that can learn."""
    # Before the ordering sub-networks would be trained that are others afterwards.
    if step.index < step.num_warm_up_steps:
        return [_super_network(space)]
    drawn = [space.draw_trainable(step.rng) for _ in range(step.num_random_sub_nets)]
    return [
        _super_network(space),
        *(Update(sub_network, distill=True) for sub_network in drawn),
    ]


def count_warm_up_epochs(name: str, num_epochs: int, *, is_fine_tuned: bool = False) -> int | None:
    """Return the epochs after which a strategy orders heads, units and layers by importance; None: it never does.

    A model that is fine-tuned already needs none. With one epoch in all it is 0 too: what is ordered then is what the
    pre-trained weights do.
    """
    if is_fine_tuned and name in WARM_UP_SHARES:
        return 0
    return round(num_epochs * WARM_UP_SHARES[name]) if name in WARM_UP_SHARES else None


def get_strategy(name: str, num_random_sub_nets: int) -> Strategy:
    """Return the strategy of that name (or alias), once its settings are checked.

    Raises:
        StrategyError: there is no such strategy, or it needs random sub-networks and gets none.
    """
    canonical = STRATEGY_ALIASES.get(name, name)
    if canonical not in SAMPLING_STRATEGIES:
        raise StrategyError(
            f"the sampling strategy must be one of {', '.join((*SAMPLING_STRATEGIES, *STRATEGY_ALIASES))}, but got "
            f"{name!r}. Correct --sampling-strategy."
        )
    # Of all strategies `standard` alone draws none.
    if canonical != "standard" and num_random_sub_nets < 1:
        raise StrategyError(
            f"--num-random-sub-nets must be at least 1 with --sampling-strategy {name}, but got {num_random_sub_nets}. "
            "Raise it or use --sampling-strategy standard."
        )
    return SAMPLING_STRATEGIES[canonical]


def _super_network(space: SearchSpace) -> Update:
    return Update(full_sub_network(space.dimensions))


def _random(space: SearchSpace, step: Step, distill: bool = False) -> list[Update]:
    return [Update(space.draw(step.rng), distill) for _ in range(step.num_random_sub_nets)]


SAMPLING_STRATEGIES: dict[str, Strategy] = {
    "auto": auto,
    "standard": standard,
    "random": random,
    "linear_random": linear_random,
    "sandwich": sandwich,
    "kd": kd,
    "one_shot": one_shot,
    "ats": ats,
}

WARM_UP_SHARES: dict[str, float] = {"auto": 1 / 3}
"""The share of the epochs before the ordering, of the strategies that order heads, units and layers."""

STRATEGY_ALIASES: dict[str, str] = {"full": "one_shot", "random_linear": "linear_random"}
"""Names that the paper's code uses."""
