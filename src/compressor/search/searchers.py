"""Searchers of our own: Syne Tune 0.16 has none that is seeded, knows several objectives and proposes what is new.

All of them start from the initial design and minimise every objective. What they share is small: they remember what was
evaluated, and `_propose_new` looks for a proposal that was not, falling back to a random draw.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from syne_tune.optimizer.schedulers.searchers.searcher import BaseSearcher

from compressor.device import fork_random_state
from compressor.evaluation.pareto import GrowingFront, find_front
from compressor.spaces.space import Config, IntegerSpace, SearchSpace

_TRIES = 50
"""Proposals in a row that were evaluated before, after which a random draw is taken."""


class SeededSearcher(BaseSearcher):  # type: ignore[misc]
    """A searcher whose randomness comes from its seed alone; subclasses say what follows the initial design."""

    def __init__(self, space: SearchSpace, initial_design: list[Config], seed: int) -> None:
        super().__init__(space.config_space(), points_to_evaluate=initial_design, random_seed=seed)
        # The search's own stream (ARCHITECTURE, Randomness), not Syne Tune's.
        self.space, self.rng = space, np.random.default_rng([seed, 3])
        self.configs: list[Config] = []
        self.points: list[list[float]] = []
        self._front: GrowingFront | None = None
        self._hashes: set[str] = set()

    def suggest(self, **kwargs: Any) -> Config:
        """Return the next config of the initial design, or what the method proposes."""
        config: Config = self._next_points_to_evaluate() or self.propose()
        # By the sub-network: in some spaces several configs stand for the same one, such as those without a layer.
        self._hashes.add(self.space.from_config(config).hash)
        return config

    def propose(self) -> Config:
        """Return what the method proposes; here an independent draw of the space."""
        return self.space.draw_config(self.rng)

    def on_trial_complete(self, trial_id: int, config: Config, metrics: list[float]) -> None:
        """Remember an evaluated config with its objectives."""
        self.configs.append(config)
        self.points.append([float(value) for value in metrics])
        self._front = self._front or GrowingFront(len(metrics))
        self._front.add(self.points[-1])

    @property
    def front(self) -> list[int]:
        """Which of the evaluated configs are on the front, by the first objective."""
        return [] if self._front is None else self._front.indices

    def is_new(self, config: Config) -> bool:
        """Return whether its sub-network was not proposed yet; it may still be training."""
        return self.space.from_config(config).hash not in self._hashes

    def _propose_new(self, propose: Callable[[], Config]) -> Config:
        for _ in range(_TRIES):
            config = propose()
            if self.is_new(config):
                return config
        return self.space.draw_config(self.rng)


class LocalSearcher(SeededSearcher):
    """Mutates a member of the front found so far (the paper's local search), beside the widest gap more often.

    A member chosen uniformly leaves gaps, and random search then finds a larger hypervolume.
    """

    num_random = 10
    """Draws to begin with, the initial design included."""

    def propose(self) -> Config:
        """Return a neighbour of a front member."""
        if len(self.configs) < self.num_random:
            return self._propose_new(lambda: self.space.draw_config(self.rng))
        front = self.front
        weights = self._gaps(front)
        return self._propose_new(
            lambda: self.space.mutate_config(self.configs[front[int(self.rng.choice(len(front), p=weights))]], self.rng)
        )

    def _gaps(self, front: list[int]) -> np.ndarray:
        """Return the share of the front that lies between each member's neighbours, as probabilities [members]."""
        points = np.asarray([self.points[index] for index in front])
        span = np.where(np.ptp(points, axis=0) > 0, np.ptp(points, axis=0), 1.0)
        # Members come by the first objective, so neighbours in the list are neighbours on the front (of two
        # objectives).
        steps = np.abs(np.diff(points / span, axis=0)).sum(axis=1)
        # 1e-9: a front of one point has no gaps
        gaps = np.concatenate((steps, [0.0])) + np.concatenate(([0.0], steps)) + 1e-9
        return np.asarray(gaps / gaps.sum())


class EvolutionSearcher(SeededSearcher):
    """Multi-objective regularised evolution (MO-REA): the oldest die, the best of a random sample is mutated.

    Real et al., AAAI 2019, with non-domination as fitness, as in Syne Tune's class of that name; that one fills its
    first population of 100 from the global random state, so that 100 evaluations are a random search.
    """

    population_size, sample_size = 20, 8
    num_random = 10
    """Draws that begin the population, the initial design included."""

    def propose(self) -> Config:
        """Return a mutation of the best of a sample of the youngest population."""
        if len(self.configs) < self.num_random:
            return self._propose_new(lambda: self.space.draw_config(self.rng))
        # With `maxlen`: each front member that is added pushes the oldest of the others out.
        alive = deque(range(len(self.configs))[-self.population_size :], maxlen=self.population_size)
        alive.extend(index for index in self.front if index not in alive)  # front members are always kept
        return self._propose_new(
            lambda: self.space.mutate_config(self.configs[self._tournament(list(alive))], self.rng)
        )

    def _tournament(self, alive: list[int]) -> int:
        size = min(self.sample_size, len(alive))
        sample = [alive[position] for position in self.rng.permutation(len(alive))[:size]]
        best = find_front([self.points[index] for index in sample])
        return int(sample[best[int(self.rng.integers(len(best)))]])


class Nsga2Searcher(SeededSearcher):
    """NSGA-II (Deb et al., 2002) by pymoo, a generation at a time; Syne Tune 0.16 no longer has it."""

    population_size = 10

    def __init__(self, space: SearchSpace, initial_design: list[Config], seed: int) -> None:
        super().__init__(space, initial_design, seed)
        self._offspring: list[Config] = []

    def propose(self) -> Config:
        """Return the next member of the present generation; the first generation is drawn."""
        if len(self.configs) < self.population_size:
            return self._propose_new(lambda: self.space.draw_config(self.rng))
        return self._propose_new(self._next_offspring)

    def _next_offspring(self) -> Config:
        if not self._offspring:
            self._offspring = self._breed()
        return self._offspring.pop()

    def _breed(self) -> list[Config]:
        """Return one generation: the best of all that was evaluated survive, pymoo crosses and mutates them.

        pymoo is given the ranks that survivors come from alone: an object of its own for each of 10⁵ evaluations takes
        a second.
        """
        from moocore import pareto_rank
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.population import Population
        from pymoo.core.problem import Problem
        from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

        points = np.asarray(self.points)
        ranks = pareto_rank(points)
        # Whole ranks, as many as fill a population: the last of them is thinned out by crowding distance below.
        best = np.flatnonzero(ranks <= np.sort(ranks)[: self.population_size][-1])
        vectors, points = np.stack([self.space.to_vector(self.configs[index]) for index in best]), points[best]
        problem = Problem(n_var=vectors.shape[1], n_obj=points.shape[1], xl=0.0, xu=1.0)
        survivors = RankAndCrowding().do(
            problem, Population.new(X=vectors, F=points), n_survive=self.population_size, random_state=self.rng
        )
        # pymoo runs its own loop; here it is asked for one generation at a time, and given the survivors as its first.
        algorithm = NSGA2(pop_size=self.population_size, sampling=survivors, **self._operators())
        algorithm.setup(problem, seed=int(self.rng.integers(2**31)), termination=("n_gen", 3))
        algorithm.ask()
        algorithm.tell(infills=survivors)
        return [self.space.from_vector(vector) for vector in algorithm.ask().get("X")]

    def _operators(self) -> dict[str, Any]:
        """Return crossover and mutation: of numbers, or of thousands of bits in the space `large`."""
        if isinstance(self.space, IntegerSpace):
            return {}  # NSGA-II's own: simulated binary crossover and polynomial mutation
        from pymoo.operators.crossover.ux import UniformCrossover
        from pymoo.operators.mutation.pm import PolynomialMutation

        # One bit of a hundred; eta near 0 makes steps long enough to flip it, since bits are numbers in 0..1 here.
        return {"crossover": UniformCrossover(), "mutation": PolynomialMutation(prob_var=0.01, eta=0.1)}


class BayesianSearcher(SeededSearcher):
    """Gaussian processes of the objectives, and the candidate that promises most, by BoTorch.

    Syne Tune 0.16's EHVI mixes float and double, and gives a reference point that every observation lies beyond.
    Candidates are random draws and mutations of the front, so that every proposal is a sub-network that exists.

    Acquisitions: expected hypervolume improvement (Daulton et al., NeurIPS 2020), or the expected improvement of one
    weighted sum of the objectives, with equal weights (`linear`) or with weights drawn anew each time (`random`).
    """

    num_random, num_candidates = 8, 256

    def __init__(self, space: SearchSpace, initial_design: list[Config], seed: int, acquisition: str) -> None:
        super().__init__(space, initial_design, seed)
        self._acquisition = acquisition

    def propose(self) -> Config:
        """Return the new candidate with the largest acquisition value."""
        if len(self.configs) < self.num_random:
            return self._propose_new(lambda: self.space.draw_config(self.rng))
        candidates = [config for config in self._candidates() if self.is_new(config)]
        if not candidates:
            return self.space.draw_config(self.rng)
        vectors = np.stack(list(map(self.space.to_vector, candidates)))
        return candidates[int(np.argmax(self._values(vectors)))]

    def _candidates(self) -> list[Config]:
        front = self.front
        drawn = [self.space.draw_config(self.rng) for _ in range(self.num_candidates // 2)]
        for position in range(self.num_candidates // 2):
            config = self.configs[front[position % len(front)]]
            # One to three steps away: near the front, but not all beside each other.
            for _ in range(1 + position % 3):
                config = self.space.mutate_config(config, self.rng)
            drawn.append(config)
        return drawn

    def _values(self, vectors: np.ndarray) -> np.ndarray:
        """Return the acquisition value of each candidate [candidates, dimensions]."""
        import torch
        from botorch.acquisition.analytic import LogExpectedImprovement
        from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
        from botorch.models import ModelListGP
        from botorch.utils.multi_objective.box_decompositions import NondominatedPartitioning

        known = torch.as_tensor(np.stack(list(map(self.space.to_vector, self.configs))), dtype=torch.double)
        points = np.asarray(self.points)
        span = np.where(np.ptp(points, axis=0) > 0, np.ptp(points, axis=0), 1.0)
        targets = -torch.as_tensor((points - points.min(axis=0)) / span, dtype=torch.double)  # BoTorch maximises
        if self._acquisition != "hypervolume":
            count = targets.shape[1]
            # Dirichlet(1, …, 1) is uniform over all weights that add up to 1.
            weights = np.full(count, 1 / count) if self._acquisition == "linear" else self.rng.dirichlet(np.ones(count))
            targets = targets @ torch.as_tensor(weights, dtype=torch.double)[:, None]
        with fork_random_state(), _one_thread():
            torch.manual_seed(int(self.rng.integers(2**31)))
            models = [_fit_gaussian_process(known, targets[:, [index]]) for index in range(targets.shape[1])]
        if self._acquisition == "hypervolume":
            # targets are scaled to -1..0; a reference a tenth beyond the worst lets the ends of the front count
            reference = torch.full((targets.shape[1],), -1.1, dtype=torch.double)
            partitioning = NondominatedPartitioning(ref_point=reference, Y=targets)
            acquisition = ExpectedHypervolumeImprovement(ModelListGP(*models), reference.tolist(), partitioning)
        else:
            acquisition = LogExpectedImprovement(models[0], best_f=targets.max())
        with torch.no_grad():
            # [candidates, 1, dimensions]: BoTorch weighs batches of q points, here q = 1.
            values = acquisition(torch.as_tensor(vectors, dtype=torch.double)[:, None])
        return np.asarray(values.numpy())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run PyTorch on one thread: for matrices of a hundred rows the threads' waiting costs a hundred times the work."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _fit_gaussian_process(inputs: Any, targets: Any) -> Any:
    """Return a Gaussian process [n, dimensions] → [n, 1] with fitted hyperparameters, in double precision."""
    import warnings

    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    model = SingleTaskGP(inputs, targets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numerical warnings of a fit that is tried again anyway
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model
