"""Standard NAS: which trials run, what counts, what stays on disk, and every way it can end early."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from compressor.data.sources import DataSource
from compressor.device import chosen_device
from compressor.errors import SearchError
from compressor.evaluation.latency_table import BlockTimes, LatencyKind, LatencyTable, LayerTimes
from compressor.files import write_json
from compressor.network.costs import create_cost_model
from compressor.network.sub_network import WrittenSubNetwork, full_sub_network
from compressor.search.methods import TRIAL_METHODS
from compressor.search.options import NasOptions
from compressor.search.record import SearchResult
from compressor.spaces import create_search_space
from compressor.standard_nas.backend import TrialBackend, _is_of
from compressor.standard_nas.record import TRIAL_FILE, BaseModel, TrialSpec, TrialTask
from compressor.standard_nas.tuner import (
    FAILED,
    FINISHED,
    STOPPED,
    UNFINISHED,
    NasProblem,
    RunningTrial,
    run_standard_nas,
)
from compressor.training.settings import TrainingSettings
from conftest import DIMENSIONS, tiny_model

TRIAL = """
import json, sys, time
from pathlib import Path
spec, directory = json.loads(sys.argv[1]), Path(sys.argv[2])
trial = json.loads((directory / "trial.json").read_text())
number, size = int(directory.name), trial["costs"]["params"]
best = (2.0, 0)
for epoch in range(1, spec["epochs"] + 1):
    if number in spec["crash"] and epoch == spec["crash_at"]:
        raise MemoryError("not enough of it")
    time.sleep(spec["seconds"])
    error = 0.9 - size / spec["full"] / 2 - (0.01 * epoch if epoch != 3 else 0)
    if error < best[0]:
        best = (error, epoch)
        (directory / f"epoch-{epoch}").mkdir()
    values = {"epoch": epoch, "epoch_error": error, "loss": 1.0, "error": best[0], "best_epoch": best[1]}
    st = {"st_worker_timestamp": time.time(), "st_worker_time": 1.0, "st_worker_iter": epoch - 1}
    print("[tune-metric]: " + json.dumps({**values, **trial["costs"], **st}), flush=True)
"""
SPEC = TrialSpec(source=DataSource(), base_model=BaseModel(name_or_path="demo"), settings=TrainingSettings())
Nas = Callable[..., tuple[SearchResult, list[RunningTrial]]]


@pytest.fixture
def nas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nas:
    """Runs standard NAS with trials that report a closed-form error in no time."""
    monkeypatch.setattr("compressor.standard_nas.tuner._SLEEP_S", 0.02)
    (tmp_path / "trial.py").write_text(TRIAL)
    cost_model = create_cost_model(tiny_model())
    full = cost_model.costs(cost_model.full).params

    def run(
        space: str = "small",
        crash: tuple[int, ...] = (),
        crash_at: int = 1,
        seconds: float = 0.0,
        num_epochs: int = 1,
        latency_table: LatencyTable | None = None,
        observe: Callable[[RunningTrial], None] | None = None,
        **options: Any,
    ) -> tuple[SearchResult, list[RunningTrial]]:
        seen: dict[int, RunningTrial] = {}

        def watch(trial: RunningTrial) -> None:
            seen[trial.trial_id] = trial
            if observe is not None:
                observe(trial)

        resume = options.pop("resume", False)
        if "method" in options:
            options["search_strategy"] = options.pop("method")
        told = {"epochs": num_epochs, "crash": crash, "crash_at": crash_at, "seconds": seconds, "full": full}
        result = run_standard_nas(
            NasProblem(
                space=create_search_space(space, DIMENSIONS),
                cost_model=cost_model,
                num_epochs=num_epochs,
                sequence_length=9,
                latency_table=latency_table,
            ),
            tmp_path / "an output",
            SPEC,
            NasOptions(**options),
            watch,
            resume=resume,
            command=(sys.executable, str(tmp_path / "trial.py"), json.dumps(told)),
        )
        return result, list(seen.values())

    return run


def test_a_latency_follows_from_a_table(nas: Nas) -> None:
    block = BlockTimes(members=(1,), ms=(0.25,))
    layer = LayerTimes(attention=block, feed_forward=block)
    kind = LatencyKind(latency_of="onnx-fp32", threads=1, batch_size=1, length=9)
    table = LatencyTable(
        kind=kind, model_type="bert", dimensions=DIMENSIONS, rest_ms=1.0, layer=layer, last_layer=layer
    )
    result, _ = nas(num_trials=3, objectives=("error", "latency_ms"), latency_table=table)
    assert {e.costs["latency_ms"] for e in result.evaluations} == {1.0 + 0.5 * layers for layers in (1, 2, 3)}
    assert result.full_costs["latency_ms"] == 2.5
    assert result.objectives == ("error", "latency_ms")


def test_trials_begin_with_the_design_and_never_repeat(nas: Nas) -> None:
    result, trials = nas(num_trials=7, num_workers=3)
    space = create_search_space("small", DIMENSIONS)
    assert [trial.sub_network for trial in trials[:3]] == [space.largest, space.smallest, space.middle]
    assert len({trial.sub_network.hash for trial in trials}) == len(result.evaluations) == 7
    assert {trial.status for trial in trials} == {FINISHED}
    assert sorted(e.name for e in result.evaluations) == [f"trial-00{number}" for number in range(7)]
    assert result.full is not None
    assert result.full.sub_network == full_sub_network(DIMENSIONS)
    assert result.full.on_front


@pytest.mark.parametrize("method", [method for method in TRIAL_METHODS if method not in ("lsbo", "rsbo")])
def test_every_method(nas: Nas, method: str) -> None:
    result, _ = nas(method=method, num_trials=5, num_workers=2, space="medium")
    assert len(result.evaluations) == 5


def test_the_seed_decides_what_is_tried(nas: Nas) -> None:
    hashes = [[trial.sub_network.hash for trial in nas(num_trials=6, seed=seed)[1]] for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("space", ["layer", "small_power2"])
def test_a_finite_space_ends(nas: Nas, space: str) -> None:
    result, _ = nas(space=space, num_trials=30 if space == "layer" else 4, num_workers=4)
    assert len(result.evaluations) == (8 if space == "layer" else 4)
    assert result.full is not None


def test_the_super_network_is_tried_where_it_lies_outside(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    space = type(create_search_space("small", DIMENSIONS))
    smaller = create_search_space("layer", DIMENSIONS).middle
    monkeypatch.setattr(space, "largest", property(lambda _: smaller), raising=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compressor.standard_nas.tuner.initial_design", lambda space: [space.to_config(space.smallest)])
        result, trials = nas(num_trials=3)
    assert trials[0].sub_network == full_sub_network(DIMENSIONS)
    assert result.full is not None
    assert result.full.config is None


def test_best_epoch_counts_and_front_members_keep_its_weights(nas: Nas, tmp_path: Path) -> None:
    result, _ = nas(num_trials=6, num_epochs=3)
    assert {e.epochs for e in result.evaluations} == {3}
    assert {Path(str(e.model)).name for e in result.evaluations} == {"epoch-2"}  # the third is worse
    kept = {path.parent.name for path in (tmp_path / "an output" / "trials").glob("*/epoch-*")}
    assert kept == {str(int(member.name.removeprefix("trial-"))) for member in result.front}
    assert {path.name for path in (tmp_path / "an output" / "trials").glob("*/epoch-*")} == {"epoch-2"}


def test_moasha_stops_trials_early_but_never_the_super_network(nas: Nas) -> None:
    result, trials = nas(method="moasha", num_trials=14, num_epochs=3, space="medium", seconds=0.1)
    stopped = [trial for trial in trials if trial.status == STOPPED]
    assert stopped
    assert all(trial.evaluation is not None and trial.evaluation.epochs == 1 for trial in stopped)
    assert trials[0].status == FINISHED
    assert len(result.evaluations) == 14


def test_a_crash_does_not_stop_the_rest(nas: Nas, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, trials = nas(num_trials=6, crash=(2, 4), num_workers=2)
    assert [trial.trial_id for trial in trials if trial.status == FAILED] == [2, 4]
    assert sorted(e.name for e in result.evaluations) == ["trial-000", "trial-001", "trial-003", "trial-005"]
    log = tmp_path / "an output" / "trials" / "2" / "std.err"
    assert trials[2].problem == f"MemoryError: not enough of it (log: {log})"
    assert "trial-002 failed: MemoryError: not enough of it" in capsys.readouterr().err


def test_a_killed_trial_says_so_and_nothing_is_left_in_the_user_s_folder(nas: Nas, tmp_path: Path) -> None:
    def kill(trial: RunningTrial) -> None:
        if trial.trial_id == 1 and trial.status is None and not trial.report:
            subprocess.run(["pkill", "-9", "-f", f"{tmp_path}/an output/trials/{trial.trial_id}$"], check=False)

    before = set(Path.cwd().iterdir())
    _, trials = nas(num_trials=3, seconds=0.5, observe=kill)
    assert trials[1].status == FAILED
    assert trials[1].problem.startswith("killed by signal 9 (out of memory?) (log: ")
    assert {path.name for path in set(Path.cwd().iterdir()) - before} <= {"an output"}


def test_a_super_network_that_crashed_is_missed_not_invented(nas: Nas) -> None:
    result, trials = nas(num_trials=4, num_epochs=2, crash=(0,), crash_at=2)
    assert trials[0].status == FAILED
    assert result.full is None
    assert all(0 < volume < 1 for volume in result.hypervolumes)


def test_when_all_crash_it_gives_up(nas: Nas) -> None:
    started = time.perf_counter()
    with pytest.raises(SearchError, match="a trial must finish an epoch, but all failed, the first so: MemoryError"):
        nas(num_trials=1000, crash=tuple(range(1000)))
    assert time.perf_counter() - started < 60


def test_time_is_a_budget(nas: Nas, tmp_path: Path) -> None:
    result, trials = nas(max_wallclock_time=4, seconds=1, num_epochs=100)
    assert [trial.status for trial in trials] == [UNFINISHED]
    assert result.evaluations[0].epochs in (1, 2, 3)
    assert (tmp_path / "an output" / str(result.evaluations[0].model)).is_dir()
    with pytest.raises(SearchError, match="none did within --max-wallclock-time 1 seconds"):
        nas(max_wallclock_time=1, seconds=30)


def test_an_interruption_leaves_a_front(nas: Nas, tmp_path: Path) -> None:
    def interrupt(trial: RunningTrial) -> None:
        if trial.trial_id == 2 and trial.status is None:
            raise KeyboardInterrupt

    result, _ = nas(num_trials=6, observe=interrupt)
    assert result.interrupted
    assert [e.name for e in result.evaluations] == ["trial-000", "trial-001"]
    assert result.front
    with pytest.raises(KeyboardInterrupt):
        nas(num_trials=6, seconds=5, observe=lambda _: (_ for _ in ()).throw(KeyboardInterrupt))


def test_an_older_search_in_the_same_directory_is_forgotten(nas: Nas, tmp_path: Path) -> None:
    for _ in range(2):
        result, _ = nas(num_trials=3)
        assert len(result.evaluations) == 3
    metadata = json.loads((tmp_path / "an output" / "trials" / "metadata.json").read_text())
    assert metadata["metric_names"] == ["error", "params"]


def test_unknown_method(nas: Nas) -> None:
    with pytest.raises(SearchError, match="must be one of random_search, .*, moasha, but got 'best'"):
        nas(method="best")


def test_an_interruption_while_a_trial_starts_keeps_the_others(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = TrialBackend._schedule

    def interrupted(self: TrialBackend, trial_id: int, config: Any) -> None:
        schedule(self, trial_id, config)
        if trial_id == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrialBackend, "_schedule", interrupted)
    result, _ = nas(num_trials=3, num_workers=1)
    assert result.interrupted
    assert [e.name for e in result.evaluations] == ["trial-000"]


def test_a_trial_that_an_older_version_began_goes_on(tmp_path: Path) -> None:
    """Its directory is told by the sub-network, whatever was known of its costs then."""
    space = create_search_space("small", DIMENSIONS)
    tasks = [
        TrialTask(kept=WrittenSubNetwork.of(kept, DIMENSIONS), costs={"params": 7, "size_mb": 2.8e-5})
        for kept in (space.largest, space.smallest)
    ]
    assert not _is_of(tmp_path, tasks[0])
    write_json(tmp_path / TRIAL_FILE, asdict(replace(tasks[0], costs={"params": 7, "macs": 9})))
    assert [_is_of(tmp_path, task) for task in tasks] == [True, False]


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [("auto", None, ["0", "1"]), ("auto", "2,GPU-7", ["2", "GPU-7"]), ("cuda:1", "2,GPU-7", [None, None])],
)
def test_each_trial_gets_a_gpu_of_those_that_the_user_may_take(
    device: str, visible: str | None, expected: list[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless one was chosen: that is the GPU of all trials, and each finds it by its number among the user's."""
    started: list[str | None] = []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(
        "compressor.standard_nas.backend.start_process",
        lambda _, __, environment: started.append(environment.get("CUDA_VISIBLE_DEVICES")),
    )
    with chosen_device(device):
        backend = TrialBackend(["true"], lambda _: None, 1)  # type: ignore[arg-type, return-value]
    backend._prepare_for_schedule(num_gpus=2)
    for trial_id in (0, 1):
        backend._start(trial_id, tmp_path)
    assert started == expected
