"""How far a search grows with a cluster: what is measured on this machine, and a simulation of more than it has.

(a) What the process that proposes spends on an evaluation when there are many before it: proposal, front and
    hypervolume, a line of the journal, what is told to MLflow; and what MLflow needs to take that in.
(b) The same search with batches of proposals: hypervolume after so many evaluations of the closed-form surface of
    `search_methods.py`.
(c) Ray on this machine: starting workers, sending the super-network and the rows, a call, and the speed-up of 1, 2, …
    workers over one process with one thread, with the same logits.
(d) From these numbers, up to 256 workers and 10⁶ evaluations: evaluations a second and what they wait for. Workers are
    independent of each other, as machines are; the driver is one process; MLflow takes entries in behind its back.

`python benchmarks/scale_out.py` takes about six minutes on two quiet cores; (c) needs the extra [ray].
"""

import argparse
import heapq
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compressor.cluster.connection import connect
from compressor.data.batches import encode, evaluation_batches
from compressor.data.loading import load_task_data
from compressor.data.sources import DataSource
from compressor.digests import Inputs
from compressor.evaluation.evaluator import Evaluator
from compressor.evaluation.pareto import GrowingFront, compute_hypervolume
from compressor.evaluation.predictions import pack
from compressor.files import read_json, write_json
from compressor.network.families import get_dimensions
from compressor.network.loading import load_base_model
from compressor.network.sub_network import SubNetwork
from compressor.search.journal import add_to_journal, open_journal
from compressor.search.loop import initial_design, run_search
from compressor.search.methods import SEARCH_METHODS
from compressor.search.options import SearchOptions
from compressor.search.record import EvaluatedSubNetwork
from compressor.sharding.evaluator import ShardedEvaluator, count_parts, share_out
from compressor.sharding.messages import pack_batches, pack_weights
from compressor.sharding.workers import Share, Workers
from compressor.spaces import create_search_space
from search_methods import DIMENSIONS, closed_form

PARTS = ("bookkeeping", "batches", "cluster", "simulation")
SIMPLE = ("random_search", "local_search", "morea", "nsga2")
COUNTS = (1_000, 10_000, 100_000)
SIMULATED = (*COUNTS, 1_000_000)
REPEATS = 200
NUM_ROWS = 1_000
"""Validation rows whose predictions a line of the journal holds."""


def show(**values: Any) -> dict[str, Any]:
    """Prints a row."""
    print("  ".join(f"{key} {value}" for key, value in values.items()), flush=True)
    return values


def median_ms(call: Callable[[int], object], repeats: int = REPEATS) -> float:
    """Milliseconds of a call in the median."""
    times = []
    for number in range(repeats):
        start = time.perf_counter()
        call(number)
        times.append(time.perf_counter() - start)
    return round(float(np.median(times)) * 1e3, 4)


def time_fronts(counts: Sequence[int], num_objectives: int) -> list[dict[str, Any]]:
    """Front and hypervolume after so many random trade-offs, for one more."""
    rng, front, rows, added = np.random.default_rng(0), GrowingFront(num_objectives), [], 0

    def points(number: int) -> np.ndarray:
        costs = rng.random((number, num_objectives - 1))
        return np.column_stack((0.6 - 0.5 * costs.mean(axis=1) ** 0.4 + 0.1 * rng.random(number), costs))

    for count in counts:
        for point in points(count - added).tolist():
            front.add(point)
        added, more = count, iter(points(REPEATS).tolist())

        def add(_: int, more: Any = more) -> None:
            if front.add(next(more)):
                compute_hypervolume(front.points, [1.0] * num_objectives)

        start = time.perf_counter()
        for number in range(REPEATS):
            add(number)
        mean = (time.perf_counter() - start) / REPEATS * 1e3
        added += REPEATS
        whole = median_ms(lambda _: compute_hypervolume(front.points, [1.0] * num_objectives), 20)
        rows.append(
            show(
                evaluations=count,
                objectives=num_objectives,
                on_front=len(front.indices),
                front_and_hypervolume_ms=round(mean, 4),
                hypervolume_alone_ms=whole,
            )
        )
    return rows


def time_proposals(counts: Sequence[int]) -> list[dict[str, Any]]:
    """A proposal of each method after so many evaluations, in `medium`; of nsga2 a tenth of a generation."""
    space, rows = create_search_space("medium", DIMENSIONS), []
    for method in SIMPLE:
        rng = np.random.default_rng(0)
        searcher = SEARCH_METHODS[method](space, initial_design(space), 0)
        told = 0
        for count in counts:
            for _ in range(count - told):
                share = float(rng.random())
                metrics = [0.6 - 0.5 * share**0.4 + 0.1 * float(rng.random()), share]
                searcher.on_trial_complete(told, space.draw_config(rng), metrics)
                told += 1
            start, repeats = time.perf_counter(), 40
            for _ in range(repeats):
                searcher.suggest()
            mean = (time.perf_counter() - start) / repeats * 1e3
            rows.append(show(method=method, evaluations=count, proposal_ms=round(mean, 3)))
    return rows


def sample_evaluation(number: int, sub_network: SubNetwork) -> EvaluatedSubNetwork:
    """An evaluation with all its numbers."""
    return EvaluatedSubNetwork(
        index=number,
        name=f"subnet-{number:03d}",
        config={f"layer_{layer}": layer for layer in range(12)},
        sub_network=sub_network,
        error=0.2,
        params=10**7,
        relative_params=0.5,
        encoder_params=10**6,
        relative_encoder_params=0.3,
        eval_seconds=1.0,
        costs={"macs": 1e9, "size_mb": 40.0, "peak_mb": 200.0},
    )


def time_journal(folder: Path) -> dict[str, Any]:
    """A line with the predictions of 1,000 rows, on this disk; reading a thousand again."""
    rng, space = np.random.default_rng(0), create_search_space("medium", DIMENSIONS)
    evaluations = [sample_evaluation(number, space.draw(rng)) for number in range(1_000)]
    predictions = rng.integers(0, 2, NUM_ROWS)
    open_journal(folder, Inputs(values={"search": 1}))
    written = median_ms(lambda number: add_to_journal(folder, evaluations[number], pack(predictions)), 1_000)
    start = time.perf_counter()
    assert len(open_journal(folder, Inputs(values={"search": 1}))) == 1_000
    read = (time.perf_counter() - start) / 1_000 * 1e3
    size = (folder / "evaluations.jsonl").stat().st_size // 1_000
    return show(journal_line_ms=written, line_bytes=size, journal_read_ms_per_line=round(read, 4))


def time_mlflow(folder: Path, count: int) -> dict[str, Any]:
    """What is told of an evaluation: adding it to the outbox, and MLflow taking it in (SQLite, no server)."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    from mlproject.stages.search_runs import architecture, child_metrics
    from mlproject.tracking.outbox import Command
    from mlproject.tracking.tracker import Tracker

    rng, space = np.random.default_rng(0), create_search_space("medium", DIMENSIONS)
    evaluations = [sample_evaluation(number, space.draw(rng)) for number in range(count)]
    tracker = Tracker(folder / "output")
    with tracker.start_run("search", {}, Command("search", {})) as run:
        tracker.wait()
        start = time.perf_counter()
        for one in evaluations:
            run.log_child(
                one.name,
                metrics=child_metrics(one, 0.5),
                params=architecture(one.sub_network, one.config),
                tags={"stage": "search"},
            )
        added = (time.perf_counter() - start) / count * 1e3
        tracker.wait()
        taken = (time.perf_counter() - start) / count * 1e3
    tracker.close()
    return show(mlflow_told_ms=round(added, 3), mlflow_taken_in_ms=round(taken, 3))


def time_whole_loop(num_samples: int) -> dict[str, Any]:
    """All that a search does besides evaluating, from its first to its last evaluation, in `medium`."""
    surface, times = closed_form(), [time.perf_counter()]
    run_search(
        surface.space("medium"),
        surface.cost_model,
        lambda sub_network: 0.5 - 1e-5 * sub_network.num_heads,
        SearchOptions(search_strategy="local_search", num_samples=num_samples),
        on_evaluation=lambda *_: times.append(time.perf_counter()),
    )
    tenth = max(1, num_samples // 10)
    first, last = (np.median(np.diff(part)) * 1e3 for part in (times[:tenth], times[-tenth:]))
    return show(loop_evaluations=num_samples, first_tenth_ms=round(first, 3), last_tenth_ms=round(last, 3))


def compare_batches(num_samples: int, seeds: int, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Hypervolume by method and batch of proposals, mean and standard error over seeds."""
    surface, rows = closed_form(), []
    for method, size in itertools.product(SIMPLE, sizes):
        options = SearchOptions(search_strategy=method, num_samples=num_samples, batch_of_proposals=size)
        volumes = [
            run_search(
                surface.space("medium"), surface.cost_model, surface.error, replace(options, seed=seed)
            ).hypervolumes[-1]
            for seed in range(seeds)
        ]
        rows.append(
            show(
                method=method,
                batch_of_proposals=size,
                hypervolume=round(float(np.mean(volumes)), 4),
                standard_error=round(float(np.std(volumes, ddof=1) / np.sqrt(seeds)), 4),
            )
        )
    return rows


def time_cluster(name: str, most_workers: int, num_sub_networks: int) -> list[dict[str, Any]]:
    """Ray on this machine: starting, sending, calls, and the speed-up over one process with one thread."""
    torch.set_num_threads(1)
    data = load_task_data(DataSource())
    model, tokenizer = load_base_model(name, data.task, data.label_names, seed=0)
    dimensions = get_dimensions(model.eval())
    encoded = encode(data.validation, data.task, tokenizer, 128)
    space, rng = create_search_space("medium", dimensions), np.random.default_rng(0)
    drawn = [space.draw(rng) for _ in range(num_sub_networks)]
    alone = Evaluator(model, data.task, encoded)
    alone.compute_logits(space.smallest)
    expected, times = [], []
    for sub_network in drawn:
        start = time.perf_counter()
        expected.append(alone.compute_logits(sub_network))
        times.append(round(time.perf_counter() - start, 4))
    seconds = float(np.mean(times))
    weights, batches = pack_weights(model), pack_batches(evaluation_batches(encoded, 64))
    rows = [
        show(
            model=name,
            rows=len(encoded),
            batches=len(evaluation_batches(encoded, 64)),
            weights_mb=round(weights.nbytes / 1e6, 1),
            rows_mb=round(batches.nbytes / 1e6, 2),
            one_process_s=round(seconds, 3),
            evaluations_s=times,
        )
    ]
    start = time.perf_counter()
    with connect("local") as ray:
        connected = time.perf_counter() - start
        put = median_ms(lambda _: ray.put(weights), 5)
        rows.append(show(cluster_start_s=round(connected, 2), weights_put_ms=put))
        for count in range(1, most_workers + 1):
            start = time.perf_counter()
            workers = Workers(ray, model, Share(num_workers=count, cpus=1, gpus=0))
            sharded = ShardedEvaluator(workers, dimensions, data.task, encoded)
            workers.wait_for_all()
            sharded.compute_logits(space.smallest)
            rows.append(show(workers=count, start_s=round(time.perf_counter() - start, 2)))
            if count == 1:
                rows.append(time_calls(ray, workers))
            for size in (1, 8) if count > 1 else (1,):
                rows.append(time_sharded(sharded, drawn, size) | {"workers": count})
                rows[-1]["speed_up"] = round(seconds / rows[-1]["evaluation_s"], 2)
                rows[-1]["logits_differ"] = sum(
                    not np.array_equal(sharded.compute_logits(one), known)
                    for one, known in zip(drawn[:3], expected, strict=False)
                )
                show(**rows[-1])
            workers.close()
    return rows


def time_sharded(sharded: ShardedEvaluator, drawn: Sequence[SubNetwork], size: int) -> dict[str, Any]:
    """Seconds of an evaluation where so many are announced at a time."""
    start = time.perf_counter()
    for first in range(0, len(drawn), size):
        sharded.announce(drawn[first : first + size])
        for sub_network in drawn[first : first + size]:
            sharded.compute_logits(sub_network)
    return {"batch_of_proposals": size, "evaluation_s": round((time.perf_counter() - start) / len(drawn), 4)}


def time_calls(ray: Any, workers: Workers) -> dict[str, Any]:
    """An empty call, there and back; and what each of many costs the driver."""
    actor = next(iter(workers.actors))
    trip = median_ms(lambda _: ray.get(actor.is_up.remote()))
    count, start = 2_000, time.perf_counter()
    ray.get([actor.is_up.remote() for _ in range(count)])
    return show(round_trip_ms=trip, call_ms=round((time.perf_counter() - start) / count * 1e3, 3))


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What the simulation is made of, in seconds."""

    evaluations: Sequence[float]
    """Of sub-networks with one worker."""
    driver: float
    """Of the driver for each evaluation: proposal, front, journal, outbox."""
    call: float
    """Of the driver for each call, half of it to send, half to take the result."""
    trip: float
    """An empty call, there and back."""
    num_batches: int


def simulate(costs: Costs, num_workers: int, size: int, num_evaluations: int) -> tuple[float, float]:
    """Evaluations a second, and the share of the time in which the driver is at work, by events.

    The driver does one thing at a time: it proposes `size` sub-networks, hands parts of them out (two at most to each
    worker), takes results, and notes each evaluation once all its parts are there, in order.
    """
    rng, clock, busy = np.random.default_rng(0), 0.0, 0.0
    free = [0.0] * num_workers
    parts = min(costs.num_batches, count_parts(num_workers, size))
    shares = [len(part) / costs.num_batches for part in share_out([1.0] * costs.num_batches, parts)]
    for _ in range(-(-num_evaluations // size)):
        works = rng.choice(np.asarray(costs.evaluations), size)
        pending = [(one, part) for one in range(size) for part in range(parts)][::-1]
        loads = [(0, worker) for worker in range(num_workers)]
        heapq.heapify(loads)
        in_flight = [0] * num_workers
        done: list[tuple[float, int, int]] = []
        left, next_one = [parts] * size, 0
        while next_one < size:
            if pending and loads:
                load, worker = heapq.heappop(loads)
                if load != in_flight[worker]:
                    continue  # an older entry
                one, part = pending.pop()
                clock, busy = clock + costs.call / 2, busy + costs.call / 2
                free[worker] = max(free[worker], clock + costs.trip / 2) + works[one] * shares[part]
                heapq.heappush(done, (free[worker], worker, one))
                in_flight[worker] += 1
                if in_flight[worker] < 2:
                    heapq.heappush(loads, (in_flight[worker], worker))
                continue
            finished, worker, one = heapq.heappop(done)
            clock, busy = max(clock, finished + costs.trip / 2) + costs.call / 2, busy + costs.call / 2
            in_flight[worker] -= 1
            heapq.heappush(loads, (in_flight[worker], worker))
            left[one] -= 1
            while next_one < size and left[next_one] == 0:
                clock, busy, next_one = clock + costs.driver, busy + costs.driver, next_one + 1
    made = -(-num_evaluations // size) * size
    return made / clock, busy / clock


def simulate_all(costs: Costs, driver_ms: dict[int, float], mlflow_ms: float, scale: float) -> list[dict[str, Any]]:
    """Rates by workers, batch of proposals and evaluations before; what they wait for."""
    rows = []
    for num_workers, size in itertools.product((1, 2, 4, 8, 16, 32, 64, 128, 256), (1, 16, 256)):
        for count in SIMULATED:
            own = replace(costs, driver=driver_ms[count] / 1e3, evaluations=[one * scale for one in costs.evaluations])
            rate, busy = simulate(own, num_workers, size, max(4 * size, 40))
            alone = 1 / float(np.mean(own.evaluations))
            efficiency = rate / (alone * num_workers)
            few = size == 1 and num_workers > costs.num_batches
            waits = (
                "workers" if efficiency >= 0.8 else "driver" if busy >= 0.8 else "more rows" if few else "last parts"
            )
            row = {
                "evaluation_s": round(1 / alone, 3),
                "workers": num_workers,
                "batch_of_proposals": size,
                "evaluations": count,
                "per_second": round(rate, 2),
                "efficiency": round(efficiency, 2),
                "driver_busy": round(busy, 2),
                "waits_for": waits,
                "mlflow_behind": bool(rate > 1e3 / mlflow_ms),
            }
            rows.append(row)
            if count in (SIMULATED[0], SIMULATED[-1]):
                show(**row)
    return rows


def driver_costs(measured: dict[str, Any]) -> dict[int, float]:
    """Milliseconds of the driver for each evaluation after so many: local search, two objectives."""
    fronts = {
        row["evaluations"]: row["front_and_hypervolume_ms"] for row in measured["fronts"] if row["objectives"] == 2
    }
    proposals = {
        row["evaluations"]: row["proposal_ms"] for row in measured["proposals"] if row["method"] == "local_search"
    }
    fixed = measured["journal"]["journal_line_ms"] + measured["mlflow"]["mlflow_told_ms"]
    return {count: fixed + 2 * fronts[count] + proposals.get(count, max(proposals.values())) for count in SIMULATED}


def measure_bookkeeping(arguments: argparse.Namespace) -> dict[str, Any]:
    """Part (a)."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            "fronts": [row for number in (2, 3) for row in time_fronts(SIMULATED if number == 2 else COUNTS, number)],
            "proposals": time_proposals(COUNTS),
            "journal": time_journal(Path(folder)),
            "mlflow": time_mlflow(Path(folder), 100),
            "loop": time_whole_loop(arguments.num_evaluations),
        }


def main() -> None:
    """Measures and simulates; one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--model-name-or-path", default="demo")
    parser.add_argument("--most-workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--num-sub-networks", type=int, default=16)
    parser.add_argument("--num-evaluations", type=int, default=5_000, help="of the loop without evaluating")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--measured", type=Path, default=None, help="an earlier --output-file, for the simulation")
    parser.add_argument("--output-file", type=Path, default=None, help="for the same JSON, indented")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "scale_out"}
    if arguments.measured is not None:
        result |= read_json(arguments.measured)
    if "bookkeeping" in arguments.parts:
        result["bookkeeping"] = measure_bookkeeping(arguments)
    if "batches" in arguments.parts:
        result["batches"] = compare_batches(100, arguments.seeds, (1, 4, 16, 64))
    if "cluster" in arguments.parts:
        result["cluster"] = time_cluster(
            arguments.model_name_or_path, arguments.most_workers, arguments.num_sub_networks
        )
    if "simulation" in arguments.parts:
        if not {"bookkeeping", "cluster"} <= result.keys():
            parser.error("the simulation is made of what bookkeeping and cluster measure")
        known = {name: value for row in result["cluster"] for name, value in row.items()}
        alone, costs = result["cluster"][0], driver_costs(result["bookkeeping"])
        of = Costs(
            evaluations=alone["evaluations_s"],
            driver=0.0,
            call=known["call_ms"] / 1e3,
            trip=known["round_trip_ms"] / 1e3,
            num_batches=alone["batches"],
        )
        mlflow_ms = result["bookkeeping"]["mlflow"]["mlflow_taken_in_ms"]
        result["driver_ms"] = {str(count): round(ms, 3) for count, ms in costs.items()}
        result["simulation"] = [row for scale in (1, 0.1) for row in simulate_all(of, costs, mlflow_ms, scale)]
    if arguments.output_file is not None:
        write_json(arguments.output_file, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
