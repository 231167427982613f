"""Who computes what, and what happens to the work of those that are lost: with workers in this process, by script.

With Ray itself: `test_on_a_cluster.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from compressor.errors import ClusterError
from compressor.sharding.workers import Share, Task, Workers
from conftest import tiny_model


@dataclass
class Script:
    """A stand-in for the module `ray`: calls are answered when they are waited for, or fail as the script says."""

    fails: Callable[[int, str], Exception | None] = lambda number, method: None
    """Of the worker's number and the method."""
    actors: list["Actor"] = field(default_factory=list)
    results: dict[int, Any] = field(default_factory=dict)
    told: list[tuple[int, str, Any]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    """What workers were to get."""

    def put(self, value: Any) -> Any:
        return value

    def remote(self, kind: type) -> "Script":
        return self

    def options(self, **resources: Any) -> Any:
        self.asked.append(resources)
        script = self

        class Factory:
            def remote(self, *arguments: Any) -> "Actor":
                script.actors.append(Actor(script, len(script.actors)))
                return script.actors[-1]

        return Factory()

    def wait(self, references: list[int], num_returns: int = 1, timeout: float | None = None) -> Any:
        if num_returns > 1:
            return references[:1], references[1:]  # one by one, so that the rest is in flight when a worker is lost
        return references[:1], []

    def get(self, reference: int) -> Any:
        if isinstance(self.results[reference], Exception):
            raise self.results[reference]
        return self.results[reference]

    def kill(self, actor: "Actor") -> None:
        actor.killed = True


@dataclass(eq=False)
class Actor:
    script: Script
    number: int
    killed: bool = False

    def __getattr__(self, method: str) -> Any:
        if method.startswith("__"):
            raise AttributeError(method)
        script, actor = self.script, self

        class Call:
            def remote(self, *arguments: Any) -> int:
                script.told.append((actor.number, method, arguments))
                reference = len(script.results)
                error = script.fails(actor.number, method)
                value = np.asarray(arguments[2], dtype=float) if method == "compute" else None
                script.results[reference] = error or value
                return reference

        return Call()


def tasks_of(key: str, parts: int) -> list[Task]:
    return [Task(key=key, part=part, rows="rows", sub_network=None, numbers=(part,)) for part in range(parts)]


def workers_of(script: Script, count: int = 2) -> Workers:
    return Workers(script, tiny_model(), Share(num_workers=count, cpus=1, gpus=0))


def collected(workers: Workers, key: str, parts: int) -> list[float]:
    return [float(part[0]) for part in workers.collect(key, parts)]


def test_parts_come_back_in_order_from_all_workers() -> None:
    script = Script()
    workers = workers_of(script)
    workers.hold("rows", np.zeros(3, dtype=np.uint8))
    workers.submit(tasks_of("a", 5))
    workers.submit(tasks_of("b", 2))
    assert collected(workers, "b", 2) == [0, 1]
    assert collected(workers, "a", 5) == [0, 1, 2, 3, 4]
    assert {number for number, method, _ in script.told if method == "compute"} == {0, 1}
    assert workers.describe() == "Evaluating with 2 workers of the Ray cluster, 1 CPU each."
    workers.close()
    assert all(actor.killed for actor in script.actors)


def test_a_lost_worker_is_replaced_and_its_parts_are_given_to_others(capsys: pytest.CaptureFixture[str]) -> None:
    lost = {0, 2}
    script = Script(lambda number, method: ActorDiedError() if number in lost and method == "compute" else None)
    workers = workers_of(script)
    workers.hold("rows", np.zeros(3, dtype=np.uint8))
    workers.submit(tasks_of("a", 6))
    assert collected(workers, "a", 6) == [0, 1, 2, 3, 4, 5]
    assert capsys.readouterr().err == "A worker of the cluster was lost; another one takes its place.\n" * 2
    assert [actor.killed for actor in script.actors] == [True, False, True, False]
    assert [number for number, method, _ in script.told if method == "hold"] == [0, 1, 2, 3]  # the rows go along


def test_what_is_left_out_is_not_begun_and_what_comes_of_the_rest_is_dropped() -> None:
    script = Script()
    workers = workers_of(script, 1)
    workers.submit(tasks_of("a", 4))
    workers.wait_for_all()  # two of them are on their way
    workers.submit(tasks_of("b", 1))
    workers.forget("a")
    assert collected(workers, "b", 1) == [0]
    assert [method for _, method, _ in script.told].count("compute") == 3
    assert not workers._done


def test_workers_that_are_lost_again_and_again_end_the_search() -> None:
    workers = workers_of(Script(lambda number, method: ActorDiedError() if method == "compute" else None))
    workers.submit(tasks_of("a", 1))
    with pytest.raises(
        ClusterError,
        match=r"^a worker must outlive its part of a search, but 6 were lost with the same one\. Give each more memory",
    ):
        workers.collect("a", 1)


def test_workers_that_never_start_end_the_search() -> None:
    workers = workers_of(Script(lambda number, method: ActorDiedError()))
    workers.submit(tasks_of("a", 1))
    with pytest.raises(ClusterError, match=r"^the workers of a search must start on the cluster, but do not: .*\. Ins"):
        workers.collect("a", 1)


def test_what_fails_in_a_worker_is_told() -> None:
    error = RayTaskError("compute", "…", ValueError("no such batch"))
    workers = workers_of(Script(lambda number, method: error if method == "compute" else None))
    workers.submit(tasks_of("a", 1))
    with pytest.raises(ClusterError) as raised:
        workers.collect("a", 1)
    assert str(raised.value) == (
        "a worker must compute its part of a search, but fails: no such batch. Correct the cause; the same command "
        "resumes from there."
    )


def test_a_cluster_without_room_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    monkeypatch.setattr(script, "wait", lambda *_, **__: ([], []))
    with pytest.raises(ClusterError, match=r"a worker that is up, but for 600 seconds the cluster had no room for one"):
        workers_of(script).collect("a", 1)


@pytest.mark.parametrize(
    ("nodes", "num_workers", "on_gpu", "expected"),
    [
        ([{"CPU": 2}], None, True, (2, 1, 0)),
        ([{"CPU": 2}], 1, True, (1, 2, 0)),
        ([{"CPU": 8}, {"CPU": 8}], 3, True, (3, 4, 0)),  # two beside each other on one of the machines
        ([{"CPU": 8}, {"CPU": 8}], 2, True, (2, 8, 0)),
        ([{"CPU": 0}, {"CPU": 1}], 5, True, (5, 1, 0)),  # until the cluster grows, four wait
        ([{"CPU": 8, "GPU": 2}, {"CPU": 8, "GPU": 2}], None, True, (4, 4, 1)),
        ([{"CPU": 8, "GPU": 2}], None, False, (8, 1, 0)),
        # What has no GPU has no room for a worker, and a machine none for more than it has GPUs.
        ([{"CPU": 32}, {"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}], None, True, (2, 8, 1)),
        ([{"CPU": 64, "GPU": 1}, {"CPU": 8, "GPU": 8}], None, True, (9, 1, 1)),
    ],
)
def test_a_cluster_is_split_evenly(
    nodes: Sequence[dict[str, float]], num_workers: int | None, on_gpu: bool, expected: tuple[int, int, int]
) -> None:
    share = Share.of(nodes, num_workers, on_gpu=on_gpu)
    assert (share.num_workers, share.cpus, share.gpus) == expected
