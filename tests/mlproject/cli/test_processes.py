"""A training on several processes: one command starts them, one that is killed ends all, others go on.

On the command line two processes are started once, killed, and resumed by one.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compressor.errors import OptionError, TrainingError
from compressor.files import module_environment
from conftest import sentence_rows
from mlproject.cli import main, processes
from mlproject.cli.processes import (
    _failure,
    count_processes,
    count_started,
    is_follower,
    require_training,
    silent_follower,
    take_part,
)
from mlproject.cli.resume import choose_output_dir
from running import WriteRows, runs

NUM_EPOCHS = 30


def under_torchrun(monkeypatch: pytest.MonkeyPatch, rank: int, size: int) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(size))


def test_torchrun_says_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (count_started(), is_follower(), count_processes(3)) == (1, False, 3)
    under_torchrun(monkeypatch, 1, 4)
    assert (count_started(), is_follower()) == (4, True)
    assert count_processes(1) == count_processes(4) == 4
    with pytest.raises(OptionError) as raised:
        count_processes(2)
    assert str(raised.value) == "--num-processes must be what torchrun has started, 4 in all, but got 2. Leave it out."
    monkeypatch.delenv("RANK")  # as a cluster sets the other for reasons of its own
    assert count_started() == 1


def test_other_commands_are_one_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    require_training("search")
    under_torchrun(monkeypatch, 0, 2)
    require_training("train-supernet")
    for rank, told in ((0, 1), (1, 0)):
        under_torchrun(monkeypatch, rank, 2)
        with pytest.raises(SystemExit) as stop:
            main(["compare", "one", "other"])
        assert stop.value.code == 1
        error = "Error: torchrun must start compressor train-supernet, but got compare. Run that without torchrun, as"
        assert capsys.readouterr().err.count(error) == told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TrainingError("another has ended"), ""),
        (KeyboardInterrupt(), ""),
        (OSError("no such\nfile"), "Error: process 1: no such file\n"),
    ],
)
def test_a_follower_tells_what_went_wrong_with_it_alone(
    error: BaseException, told: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from contextlib import nullcontext

    from compressor.training import ranks

    under_torchrun(monkeypatch, 1, 2)
    monkeypatch.setattr(ranks, "joined_ranks", nullcontext)
    with pytest.raises((SystemExit, OSError)), silent_follower(), take_part() as is_first:
        assert not is_first
        print("in silence")
        print("in silence", file=sys.stderr)
        raise error
    assert capfd.readouterr() == ("", told)


def failed(*exit_codes: int) -> Any:
    return SimpleNamespace(failures={rank: SimpleNamespace(exitcode=code) for rank, code in enumerate(exit_codes)})


def test_who_was_killed_is_told_and_other_failures_tell_themselves() -> None:
    assert str(_failure(failed(1, -signal.SIGKILL))).startswith(
        "all processes of a training must come to its end, but process 1 was killed (SIGKILL). Where memory ran out"
    )
    for codes, code in (((3, -signal.SIGTERM), 3), ((-signal.SIGTERM,), 1), ((1, 1), 1)):
        stop = _failure(failed(*codes))
        assert isinstance(stop, SystemExit)
        assert stop.code == code


def test_rows_of_a_step_may_be_split_anew(tmp_path: Path) -> None:
    from compressor.errors import OutputError
    from mlproject.tracking.outbox import Header, Outbox

    def values(batch: int, accumulation: int, num_processes: int) -> dict[str, Any]:
        given = {"output_dir": str(tmp_path / "net"), "overwrite_output_dir": False, "resume": False}
        split = {"gradient_accumulation_steps": accumulation, "num_processes": num_processes}
        return {**given, "per_device_train_batch_size": batch, **split}

    (tmp_path / "net").mkdir()
    begun = choose_output_dir("train-supernet", values(16, 1, 2))[1]
    Outbox(tmp_path / "net").begin(Header(begun.command, begun.options, "sqlite:///mlflow.db"))
    for same in (values(32, 1, 1), values(16, 2, 1), values(8, 1, 4)):
        assert choose_output_dir("train-supernet", same)[0] == tmp_path / "net"
    with pytest.raises(OutputError, match="--num-processes was 2 and is 1"):
        choose_output_dir("train-supernet", values(16, 1, 1))


def _follower_of(launcher: int) -> int | None:
    """The second process that a launcher has started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == launcher and b"\0RANK=1\0" in (folder / "environ").read_bytes():
                return int(folder.name)
        except (OSError, ValueError):
            continue
    return None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the process by the files of Linux")
def test_a_killed_process_ends_all_and_one_goes_on(
    base_model_dir: Path, write_rows: WriteRows, mlflow_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_rows(sentence_rows(120))
    words = ["train-supernet", "--model-name-or-path", base_model_dir, "--train-file", file, "--output-dir", "net"]
    words += ["--num-train-epochs", NUM_EPOCHS]
    two = [*words, "--per-device-train-batch-size", 4, "--num-processes", 2]
    command = [sys.executable, "-m", "mlproject", *map(str, two)]
    environment = {**module_environment(), "MLFLOW_TRACKING_URI": mlflow_uri}
    with (
        (tmp_path / "two.log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as launcher,
    ):
        states, deadline = tmp_path / "net" / ".compressor" / "training", time.monotonic() + 120
        while not list(states.glob("epoch-[1-9]*/state.json")) and time.monotonic() < deadline:
            assert launcher.poll() is None, (tmp_path / "two.log").read_text()
            time.sleep(0.02)
        follower = _follower_of(launcher.pid)
        assert follower is not None
        os.kill(follower, signal.SIGKILL)
        assert launcher.wait(timeout=60) == 1
    said = (tmp_path / "two.log").read_text()
    errors = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert "Error: all processes of a training must come to its end, but process 1 was killed (SIGKILL)." in errors[-1]
    assert "Traceback" not in said
    assert said.count("Training on ") == 1
    assert [run.info.status in ("FAILED", "KILLED") for run in runs()] == [True]
    main([str(word) for word in (*words, "--per-device-train-batch-size", 8)])
    assert "Resuming after epoch" in capsys.readouterr().out
    assert [run.info.status for run in runs()] == ["FINISHED"]
    record = json.loads((tmp_path / "net" / "super_network.json").read_text())
    assert [epoch["epoch"] for epoch in record["epochs"]] == list(range(1, NUM_EPOCHS + 1))
    assert (record["settings"]["num_processes"], record["settings"]["per_device_train_batch_size"]) == (1, 8)


def test_the_launcher_leaves_this_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed.launcher import api

    before = (dict(os.environ), [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)])
    started: list[Any] = []

    def launch(config: Any, program: str) -> Any:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = config.signals_to_handle
        started.append((config.nproc_per_node, program, os.environ["PYTHONPATH"].split(os.pathsep)[0]))
        return lambda *words: started.append(words)

    monkeypatch.setattr(api, "elastic_launch", launch)
    processes.start_processes(["train-supernet", "--num-processes", "3"], 3)
    source = str(Path(processes.__file__).parents[2])
    assert started == [(3, sys.executable, source), ("-m", "mlproject", "train-supernet", "--num-processes", "3")]
    assert (dict(os.environ), [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 1)])
def test_a_stopped_launcher_ends_as_a_stopped_command(
    number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.launcher import api

    def stopped(*_: str) -> None:
        raise SignalException("stopped", sigval=number)

    monkeypatch.setattr(api, "elastic_launch", lambda *_: stopped)
    with pytest.raises(SystemExit) as stop:
        main(["train-supernet", "--num-processes", "2"])
    assert stop.value.code == code
    assert capsys.readouterr() == ("", "")
