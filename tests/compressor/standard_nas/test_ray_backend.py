"""Trials on a cluster of several raylets on this machine: the same as on one, whatever is killed meanwhile."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor.cluster.connection import connect
from compressor.cluster.options import TrialsOnCluster
from compressor.data.sources import DataSource
from compressor.errors import SearchError
from compressor.network.costs import create_cost_model
from compressor.search.options import NasOptions
from compressor.search.record import SearchResult
from compressor.spaces import create_search_space
from compressor.standard_nas.ray_backend import RemoteTrials
from compressor.standard_nas.record import BaseModel, TrialSpec
from compressor.standard_nas.tuner import FAILED, FINISHED, STOPPED, NasProblem, RunningTrial, run_standard_nas
from compressor.training.settings import TrainingSettings
from conftest import DIMENSIONS, tiny_model

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TRIAL = """
import json, sys, time
from pathlib import Path
told, directory = json.loads(sys.argv[1]), Path(sys.argv[2])
with open(told["log"], "a") as log:
    log.write(directory.name + "\\n")
trial = json.loads((directory / "trial.json").read_text())
reports = directory / "reports.jsonl"
known = [json.loads(line) for line in reports.read_text().splitlines()] if reports.is_file() else []
(directory.parent / "inputs" / "of-all.txt").is_file() or told["local"] or sys.exit("nothing was sent")
def report(values):
    print("[tune-metric]: " + json.dumps({**values, "st_worker_timestamp": time.time(), "st_worker_time": 1.0}))
    sys.stdout.flush()
for values in known:
    report(values)
best = (2.0, 0)
for epoch in range(1, told["epochs"] + 1):
    time.sleep(told["seconds"])
    error = 0.9 - trial["costs"]["params"] / told["full"] / 2 - (0.01 * epoch if epoch != 3 else 0)
    if error < best[0]:
        best = (error, epoch)
        (directory / f"epoch-{epoch}" / "more").mkdir(parents=True)
        (directory / f"epoch-{epoch}" / "more" / "weights").write_text(f"{directory.name} {epoch}")
    if epoch > len(known):
        values = {"epoch": epoch, "epoch_error": error, "loss": 1.0, "error": best[0], "best_epoch": best[1]}
        with reports.open("a") as lines:
            lines.write(json.dumps(values | trial["costs"]) + "\\n")
        report(values | trial["costs"])
if int(directory.name) in told["crash"]:
    sys.exit("not enough of it")
"""
QUICK_HEAD = {"num_cpus": 0, "include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
"""Without processes that scale a cluster or carry its logs about: seconds for each."""
SPEC = TrialSpec(source=DataSource(), base_model=BaseModel(name_or_path="demo"), settings=TrainingSettings())
Found = tuple[SearchResult, list[RunningTrial]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head that runs no trials, and a machine that does."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        patch.setenv("RAY_TMPDIR", folder)  # a short one, for its sockets
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("scratch")))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3] / "src"))
        made = Cluster(initialize_head=True, head_node_args=QUICK_HEAD)
        made.add_node(num_cpus=1, resources={"first": 1})
        made.scratch = Path(os.environ["TMPDIR"])
        yield made
        made.shutdown()


class Setting:
    """A search of standard NAS with trials that report a closed-form error."""

    def __init__(self, folder: Path, address: str, scratch: Path = Path()) -> None:
        self.folder, self.address, self.scratch = folder, address, scratch
        self.script, self.log = folder / "trial.py", folder / "started.txt"
        self.script.write_text(TRIAL)
        self.cost_model = create_cost_model(tiny_model())

    @property
    def left(self) -> list[Path]:
        """What actors have not removed, once they had the time to."""
        for _ in range(50):
            folders = list(self.scratch.iterdir())
            if not folders:
                break
            time.sleep(0.1)
        return folders

    @property
    def started(self) -> list[int]:
        """The trials whose processes were started, in that order."""
        return [int(line) for line in self.log.read_text().splitlines()]

    def run(
        self,
        *,
        local: bool = False,
        epochs: int = 1,
        seconds: float = 0.0,
        crash: tuple[int, ...] = (),
        max_failures: int = 1,
        cpus: int = 1,
        resume: bool = False,
        observe: Callable[[RunningTrial], None] | None = None,
        **options: Any,
    ) -> Found:
        """Run it here; with the observer called as the tuner's is."""
        seen: dict[int, RunningTrial] = {}

        def watch(trial: RunningTrial) -> None:
            seen[trial.trial_id] = trial
            if observe is not None:
                observe(trial)

        full = self.cost_model.costs(self.cost_model.full).params
        told = {"epochs": epochs, "seconds": seconds, "full": full, "log": str(self.log), "local": local}
        problem = NasProblem(
            space=create_search_space("medium", DIMENSIONS),
            cost_model=self.cost_model,
            num_epochs=epochs,
            sequence_length=9,
        )
        command = (sys.executable, str(self.script), json.dumps(told | {"crash": crash}))
        where = self.folder / ("local" if local else "remote")
        arguments = (problem, where, SPEC, NasOptions(**options), watch)
        if local:
            return run_standard_nas(*arguments, resume=resume, command=command), list(seen.values())
        with connect(self.address) as ray:
            limits = TrialsOnCluster(ray=self.address, max_failures=max_failures, cpus_per_trial=cpus)
            sent = {"of-all.txt": np.frombuffer(b"rows and model", np.uint8)}
            remote = RemoteTrials.send(ray, limits, sent)
            assert (remote.cpus, remote.gpus) == (cpus, 0)
            result = run_standard_nas(*arguments, resume=resume, command=command, remote=remote)
        return result, list(seen.values())


@pytest.fixture
def setting(tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setattr("compressor.standard_nas.tuner._SLEEP_S", 0.02)
    return Setting(tmp_path, cluster.address, cluster.scratch)


def files(folder: Path) -> dict[str, str]:
    """What trials have left that a search goes on from."""
    found = [path for path in sorted((folder / "trials").rglob("*")) if path.is_file()]
    kept = [path for path in found if path.name in ("spec.json", "trial.json", "reports.jsonl", "weights")]
    return {str(path.relative_to(folder)): path.read_text() for path in kept}


def test_one_worker_and_the_same_seed_make_the_same_trials(setting: Setting) -> None:
    options: dict[str, Any] = {"epochs": 3, "num_trials": 4, "seed": 3}
    here, _ = setting.run(local=True, **options)
    there, trials = setting.run(**options)
    names = ("name", "sub_network", "error", "params", "epochs", "model", "on_front")
    assert [[getattr(e, name) for name in names] for e in there.evaluations] == [
        [getattr(e, name) for name in names] for e in here.evaluations
    ]
    assert there.hypervolumes == here.hypervolumes
    assert {trial.status for trial in trials} == {FINISHED}
    assert files(setting.folder / "remote") == files(setting.folder / "local")
    assert any("weights" in name for name in files(setting.folder / "remote"))
    assert "[tune-metric]" in (setting.folder / "remote" / "trials" / "0" / "std.out").read_text()
    assert setting.left == []


def test_early_stops_end_the_actors(setting: Setting) -> None:
    result, trials = setting.run(search_strategy="moasha", num_trials=6, epochs=3, seconds=0.2)
    stopped = [trial for trial in trials if trial.status == STOPPED]
    assert stopped
    assert all(trial.evaluation is not None and trial.evaluation.epochs == 1 for trial in stopped)
    assert len(result.evaluations) == 6
    assert trials[0].status == FINISHED
    for member in result.front:
        assert (setting.folder / "remote" / str(member.model) / "more" / "weights").is_file()
    assert setting.left == []


def test_a_trial_that_no_machine_has_room_for(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("compressor.standard_nas.ray_backend._PATIENCE_S", 0.1)
    with pytest.raises(SearchError, match="none did within --max-wallclock-time 1 seconds"):
        setting.run(max_wallclock_time=1, cpus=64)
    assert (
        capsys.readouterr().err.count("Note: a trial waits for a machine of the cluster with 64 CPUs free (--num-w")
        == 1
    )
    assert not setting.log.exists()


def test_a_trial_that_fails_says_so_and_is_not_repeated(setting: Setting) -> None:
    _, trials = setting.run(num_trials=3, crash=(1,))
    assert [trial.status for trial in trials] == [FINISHED, FAILED, FINISHED]
    log = setting.folder / "remote" / "trials" / "1" / "std.err"
    assert trials[1].problem == f"not enough of it (log: {log})"
    assert setting.started == [0, 1, 2]


@pytest.mark.parametrize("max_failures", [1, 0])
def test_a_machine_that_is_lost_in_mid_trial(setting: Setting, cluster: Any, max_failures: int) -> None:
    """Its trial is started again with what it has reported; nothing is reported twice."""
    (first,) = [node for node in cluster.worker_nodes if node._ray_params.resources.get("first")]

    def lose(trial: RunningTrial) -> None:
        if (
            trial.trial_id == 1
            and trial.report is not None
            and trial.report.epoch == 1
            and first in cluster.worker_nodes
        ):
            cluster.remove_node(first, allow_graceful=False)
            cluster.add_node(num_cpus=1, resources={"first": 1})

    there, trials = setting.run(num_trials=2, epochs=2, seconds=0.5, max_failures=max_failures, observe=lose)
    lines = (setting.folder / "remote" / "trials" / "1" / "std.err").read_text().splitlines()
    assert lines[-1].startswith("lost with its node: ")
    if max_failures == 0:
        assert [trial.status for trial in trials] == [FINISHED, FAILED]
        assert trials[1].problem.startswith("lost with its node: ")
        return
    assert lines[-1].endswith("; started again, 1 of 1")
    assert {trial.status for trial in trials} == {FINISHED}
    assert setting.started == [0, 1, 1]
    here, _ = setting.run(local=True, num_trials=2, epochs=2)
    assert [(e.name, e.error, e.epochs) for e in there.evaluations] == [
        (e.name, e.error, e.epochs) for e in here.evaluations
    ]
    assert files(setting.folder / "remote") == files(setting.folder / "local")
    assert setting.left == []


DRIVER = """
import sys, pathlib
sys.path[:0] = [{tests!r}, {here!r}]
from test_ray_backend import Setting
Setting(pathlib.Path({folder!r}), {address!r}).run(num_trials=3, epochs=2, seconds=0.4)
"""


def test_a_search_that_is_killed_goes_on(setting: Setting) -> None:
    here, tests = str(Path(__file__).parent), str(Path(__file__).parents[2])
    code = DRIVER.format(here=here, tests=tests, folder=str(setting.folder), address=setting.address)
    driver = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTEST_VERSION": "a test's driver"})
    reports = setting.folder / "remote" / "trials" / "1" / "reports.jsonl"
    deadline = time.monotonic() + 60
    while not (reports.is_file() and reports.read_text()) and time.monotonic() < deadline:
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    there, trials = setting.run(num_trials=3, epochs=2, resume=True)
    assert {trial.status for trial in trials} == {FINISHED}
    expected, _ = setting.run(local=True, num_trials=3, epochs=2)
    assert [(e.name, e.error) for e in there.evaluations] == [(e.name, e.error) for e in expected.evaluations]
    assert files(setting.folder / "remote") == files(setting.folder / "local")
    assert setting.left == []


def test_an_interruption_ends_all_and_keeps_what_has_ended(setting: Setting) -> None:
    def interrupt(trial: RunningTrial) -> None:
        if trial.trial_id == 1 and trial.report is not None:
            raise KeyboardInterrupt

    result, _ = setting.run(num_trials=4, epochs=2, seconds=0.2, observe=interrupt)
    assert result.interrupted
    assert [e.name for e in result.evaluations] == ["trial-000", "trial-001"]
    assert setting.left == []
