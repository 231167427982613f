"""The workers of a search on a Ray cluster: actors that hold the super-network, and who computes what.

Tasks go to whoever is free. What a lost worker had to do is given to others, and another one is started in its place,
which waits until the cluster has room for it.
"""

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from compressor.cluster.connection import connect
from compressor.device import may_use_gpus
from compressor.errors import ClusterError, shorten
from compressor.sharding.messages import pack_configuration, pack_weights
from compressor.sharding.worker import Worker

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_IN_FLIGHT = 2
"""Tasks that a worker is given at once: it begins with the second while the first one's result travels."""
_MAX_LOSSES = 5
"""Workers that a task may lose."""
_PATIENCE_S = 600.0
"""How long no worker may be up."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Some batches of a set, to be computed with one sub-network."""

    key: str
    """What it is part of."""
    part: int
    rows: str
    """The name of the set."""
    sub_network: str | None
    """Packed; None is the super-network as it stands."""
    numbers: tuple[int, ...]
    """The numbers of the batches."""
    losses: int = 0
    """Workers that were lost with it."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What each worker gets of the cluster."""

    num_workers: int
    cpus: int
    gpus: int

    @classmethod
    def of(cls, nodes: Sequence[dict[str, float]], num_workers: int | None, *, on_gpu: bool) -> "Share":
        """Split the machines of a cluster evenly: a worker for each GPU where there are some, else for each CPU.

        `nodes` are the resources of each machine. Fewer workers get more CPUs each, as many as fit beside each other.
        """
        gpus, cpus = (sum(int(node.get(kind, 0)) for node in nodes) for kind in ("GPU", "CPU"))
        per_worker = 1 if on_gpu and gpus else 0
        count = num_workers or max(1, gpus if per_worker else cpus)
        largest = max((int(node.get("CPU", 0)) for node in nodes), default=1)

        def fit(n: int) -> int:
            """Return how many workers with n CPUs each there is room for: an actor lies on one machine."""
            rooms = ((int(node.get("CPU", 0)) // n, int(node.get("GPU", 0))) for node in nodes)
            return sum(min(room) if per_worker else room[0] for room in rooms)

        fitting = (n for n in range(largest, 0, -1) if fit(n) >= count)
        return cls(num_workers=count, cpus=next(fitting, 1), gpus=per_worker)


@contextmanager
def start_workers(address: str, model: "PreTrainedModel", num_workers: int | None = None) -> "Iterator[Workers]":
    """Yield workers of a Ray cluster, connected and alive for the time of the block; they start in the background.

    Raises:
        ClusterError: Ray is not installed, or nothing answers at the address.
    """
    with connect(address) as ray:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        workers = Workers(ray, model, Share.of(nodes, num_workers, on_gpu=may_use_gpus()))
        try:
            yield workers
        finally:
            workers.close()


class Workers:
    """Workers of a connected cluster (`ray` is the module) that hold one model."""

    def __init__(self, ray: Any, model: "PreTrainedModel", share: Share) -> None:
        self._ray, self._share = ray, share
        self._configuration, self._weights = pack_configuration(model), ray.put(pack_weights(model))
        self._rows: dict[str, Any] = {}
        self._loads: dict[Any, int] = {}
        """Tasks in flight of each worker that is up."""
        self._starting: list[Any] = []
        self._running: dict[Any, tuple[Any, Task | None]] = {}
        """By the reference to its result: a worker and its task; none while the worker starts."""
        self._pending: deque[Task] = deque()
        self._forgotten: set[str] = set()
        """Keys whose results nobody will ask for."""
        self._done: dict[str, dict[int, np.ndarray]] = {}
        self._failed_starts = 0
        for _ in range(share.num_workers):
            self._start()

    def __len__(self) -> int:
        return self._share.num_workers

    def describe(self) -> str:
        """Say what evaluates."""
        share = self._share
        each = f"{share.gpus} GPU" if share.gpus else f"{share.cpus} CPU{'s' if share.cpus > 1 else ''}"
        return f"Evaluating with {share.num_workers} workers of the Ray cluster, {each} each."

    @property
    def actors(self) -> list[Any]:
        """Ray's handles of the workers that are up."""
        return list(self._loads)

    def wait_for_all(self) -> None:
        """Wait until all workers are up: the cluster must have room for them."""
        while len(self._loads) < len(self):
            self._advance()

    def hold(self, name: str, batches: np.ndarray) -> None:
        """Give all workers a set of packed batches."""
        self._rows[name] = self._ray.put(batches)
        for actor in (*self._loads, *self._starting):
            actor.hold.remote(name, self._rows[name])

    def submit(self, tasks: Sequence[Task]) -> None:
        """Have tasks computed, in this order as far as workers are free."""
        self._pending.extend(tasks)
        self._hand_out()

    def collect(self, key: str, num_parts: int) -> list[np.ndarray]:
        """Wait for the logits of a key's parts.

        Raises:
            ClusterError: workers cannot start, or are lost again and again, or a task fails.
        """
        while len(self._done.get(key, ())) < num_parts:
            self._advance()
        found = self._done.pop(key)
        return [found[part] for part in range(num_parts)]

    def forget(self, key: str) -> None:
        """Leave out the tasks of a key that nobody has begun with, and all that comes of the others."""
        self._pending = deque(task for task in self._pending if task.key != key)
        self._done.pop(key, None)
        self._forgotten.add(key)

    def close(self) -> None:
        """Stop all workers."""
        for actor in (*self._loads, *self._starting):
            self._ray.kill(actor)
        self._loads.clear()
        self._starting.clear()

    def _start(self) -> None:
        """Begin another worker; it is up once it says so."""
        remote = self._ray.remote(Worker).options(
            # Ray would restart an actor without the batches that it held.
            num_cpus=self._share.cpus,
            num_gpus=self._share.gpus,
            max_restarts=0,
            max_task_retries=0,
        )
        device = "cuda" if self._share.gpus else "cpu"
        actor = remote.remote(self._configuration, self._weights, device, self._share.cpus)
        for name, batches in self._rows.items():
            actor.hold.remote(name, batches)
        self._starting.append(actor)
        # An actor's calls run in order: it answers once model and batches are there.
        self._running[actor.is_up.remote()] = (actor, None)

    def _hand_out(self) -> None:
        while self._pending and self._loads:
            actor = min(self._loads, key=self._loads.__getitem__)
            if self._loads[actor] >= _IN_FLIGHT:
                return
            task = self._pending.popleft()
            self._loads[actor] += 1
            self._running[actor.compute.remote(task.rows, task.sub_network, list(task.numbers))] = (actor, task)

    def _advance(self) -> None:
        """Wait for a result, and take all that are there."""
        waiting = list(self._running)
        # As long as a worker is up a task may take its time; without any, somebody has to be warned.
        first, _ = self._ray.wait(waiting, timeout=None if self._loads else _PATIENCE_S)
        if not first:
            raise ClusterError(
                f"a search must have a worker that is up, but for {_PATIENCE_S:.0f} seconds the cluster had no room "
                f"for one of {self._share.cpus} CPUs. Give it more machines; the same command resumes from there."
            )
        done, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        for reference in done:
            self._take(reference)
        self._hand_out()

    def _take(self, reference: Any) -> None:
        """Take a result, or what came instead of it."""
        from ray.exceptions import RayError, RayTaskError

        actor, task = self._running.pop(reference)
        try:
            result = self._ray.get(reference)
        # First, as it is a RayError too: our own code failed, which would fail on every other worker as well.
        except RayTaskError as error:
            raise ClusterError(
                f"a worker must compute its part of a search, but fails: {shorten(error.cause or error)}. Correct the "
                "cause; the same command resumes from there."
            ) from error
        # The worker, its machine or the network is gone; the task itself is as good as before, and another one does it.
        except RayError as error:
            self._replace(actor, error)
            if task is not None:
                self._put_back(task)
            return
        # It was a start, not a task: the worker takes tasks from now on, and failures to start count anew.
        if task is None:
            self._failed_starts = 0
            self._starting.remove(actor)
            self._loads[actor] = 0
            return
        self._loads[actor] -= 1
        # Results that nobody will ask for are not kept, but their worker is free again.
        if task.key not in self._forgotten:
            self._done.setdefault(task.key, {})[task.part] = result

    def _replace(self, actor: Any, error: Exception) -> None:
        """Start another worker in the place of a lost one."""
        # It never came up. Perhaps none ever will, so these are counted, unlike losses of workers that have worked.
        if actor in self._starting:
            self._starting.remove(actor)
            self._failed_starts += 1
            if self._failed_starts > self._share.num_workers + _MAX_LOSSES:
                raise ClusterError(
                    f"the workers of a search must start on the cluster, but do not: {shorten(error)}. Install this "
                    "version of the package on all its machines."
                ) from error
        elif actor in self._loads:
            del self._loads[actor]
            tqdm.write("A worker of the cluster was lost; another one takes its place.", file=sys.stderr)
        # Replaced already: several of its tasks have failed at once.
        else:
            return
        self._ray.kill(actor)
        self._start()

    def _put_back(self, task: Task) -> None:
        if task.key in self._forgotten:
            return
        if task.losses >= _MAX_LOSSES:
            raise ClusterError(
                f"a worker must outlive its part of a search, but {task.losses + 1} were lost with the same one. Give "
                "each more memory: lower --num-workers."
            )
        # To the front: somebody waits for this sub-network before those that were announced later.
        self._pending.appendleft(replace(task, losses=task.losses + 1))
