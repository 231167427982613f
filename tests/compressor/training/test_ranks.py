"""Several processes train as one does with the same rows a step; one that ends ends the others.

The processes are started once, as forks of a server that has imported the libraries.
"""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets.config
import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from compressor.data.batches import EncodedRows
from compressor.data.loading import load_data
from compressor.data.tasks import TASKS, Task
from compressor.device import chosen_device
from compressor.digests import Inputs
from compressor.errors import CompressorError, OptionError, TrainingError
from compressor.training import loop
from compressor.training.loop import train_shared_weights
from compressor.training.ranks import ALONE, Ranks, _take_gpu, current_ranks
from compressor.training.settings import TrainingSettings
from compressor.training.state import EpochReport, TrainingStates
from compressor.training.train import train_super_network
from conftest import HIDDEN, VOCABULARY, answers, random_weights, sentence_rows, tiny_batch, tiny_config
from running import WriteRows
from short_memory import short_memory

SIZE = 2


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training that is done by one process and by two."""

    head: str = "classification"
    task: str = "custom"
    strategy: str = "one_shot"
    num_rows: int = 21
    rows_per_step: int = 8
    """The last step has fewer."""
    accumulation: int = 1
    space: str = "small"

    def settings(self, num_processes: int) -> TrainingSettings:
        return TrainingSettings(
            search_space=self.space,
            sampling_strategy=self.strategy,
            per_device_train_batch_size=self.rows_per_step // (num_processes * self.accumulation),
            gradient_accumulation_steps=self.accumulation,
            num_processes=num_processes,
            num_train_epochs=3,
            learning_rate=1e-3,
            bf16=False,
        )


JOBS = {
    "classes": Job(),
    "in order": Job(strategy="auto", space="small_ordered"),
    "words": Job(head="token_classification", task="ner", strategy="kd"),
    "several labels": Job(head="multi_label", task="multi-label"),
    "numbers": Job(head="regression", task="stsb", strategy="ats"),
    "vectors": Job(head="embedding", task="embed", strategy="sandwich"),
    "parts without a gradient": Job(strategy="random", space="layer"),
    "a last step of one row": Job(num_rows=9),
    "fewer rows than parts": Job(num_rows=3, accumulation=4),
    "accumulated": Job(accumulation=2),
}


def case(job: Job) -> tuple[PreTrainedModel, Task, EncodedRows]:
    """A tiny model without dropout, its task and rows of random tokens, lengths and numbers of words."""
    config = tiny_config("bert")
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    rng = np.random.default_rng(1)
    lengths = rng.integers(4, 12, size=job.num_rows)
    labels = rng.integers(0, 2, size=job.num_rows)
    words = None
    if job.head == "token_classification":  # a third of the tokens are words, so rows have few or many
        words = np.flatnonzero(rng.random(lengths.sum()) < 0.3)
        labels = rng.integers(0, 3, size=len(words))
    if job.head == "multi_label":
        labels = rng.integers(0, 2, size=(job.num_rows, 3))
    rows = EncodedRows(
        columns={"input_ids": rng.integers(5, VOCABULARY, size=lengths.sum())},
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        labels=labels.astype(np.float32) if job.head == "regression" else labels,
        num_choices=1,
        takes_choices=False,
        pad_values={"input_ids": 1},
        units=words,
        reference=rng.normal(size=(job.num_rows, HIDDEN)).astype(np.float32) if job.head == "embedding" else None,
    )
    task = replace(TASKS[job.task], metric="accuracy" if words is not None else TASKS[job.task].metric)
    return random_weights(config, job.head, "sdpa"), task, rows


def train(job: Job, num_processes: int, states: TrainingStates | None = None) -> tuple[dict[str, Tensor], list[Any]]:
    """The first step's gradients and the outputs afterwards, by name; the epochs' reports."""
    model, task, rows = case(job)
    gradients: dict[str, Tensor] = {}
    clip = torch.nn.utils.clip_grad_norm_

    def noting(parameters: Any, most: float) -> Tensor:
        if not gradients:
            gradients.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        return clip(parameters, most)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", noting)
        reports = train_shared_weights(model, task, rows, rows, job.settings(num_processes), lambda _: None, states)
    with torch.inference_mode():
        outputs = answers(model.eval(), tiny_batch(model))
    return {**gradients, "outputs": outputs.clone()}, [asdict(report) for report in reports]


def work(rank: int, size: int, folder: Path, what: str) -> None:
    """A process of several, which leaves what it found in `folder`."""
    torch.set_num_threads(1)
    join(folder / "meeting", rank, size)
    found = WORK[what](current_ranks(), folder)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def join(meeting: Path, rank: int, size: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)


def train_all(ranks: Ranks, folder: Path) -> dict[str, Any]:
    reports = {}
    for name, job in JOBS.items():
        tensors, reports[name] = train(job, ranks.size)
        save_file(tensors, folder / f"{name}-{ranks.rank}.safetensors")
    return reports


def agree_and_share(ranks: Ranks, folder: Path) -> dict[str, Any]:
    order: list[str] = []
    mark = folder / "first-was-here"
    with ranks.in_turn():
        order.append("after" if mark.exists() else "before")
        if ranks.is_first:
            time.sleep(0.1)
            mark.touch()
    tensors = {"a": torch.full((2, 3), float(ranks.rank)), "b": torch.tensor(ranks.rank), "c": torch.zeros(0)}
    shared = ranks.share(tensors if ranks.is_first else {})
    torch.manual_seed(5)
    ranks.seed_epoch(0, 1)
    return {
        "agreed": ranks.agree(lambda: {"rank": ranks.rank, "π": [0.1, None]}),
        "order": order,
        "shared": {name: tensor.tolist() for name, tensor in shared.items()},
        "dropout": torch.rand(1).item(),
    }


class KilledError(Exception):
    pass


def go_on(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """A training that is interrupted after an epoch, and goes on."""
    job = JOBS["in order"]
    run = {"settings": job.settings(ranks.size).identity}
    states = TrainingStates(directory=folder / "states", inputs=Inputs(values=run)) if ranks.is_first else None

    def interrupt(report: EpochReport) -> None:
        if report.epoch == 2:
            raise KilledError

    model, task, rows = case(job)
    with pytest.raises(KilledError):
        train_shared_weights(model, task, rows, rows, job.settings(ranks.size), interrupt, states)
    if ranks.is_first:
        shutil.copytree(folder / "states", folder / "left")
    tensors, reports = train(job, ranks.size, states)
    save_file(tensors, folder / f"gone-on-{ranks.rank}.safetensors")
    return {"reports": reports}


def lose_one(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """The last process is killed in its second step."""
    steps: list[int] = []
    clip = torch.nn.utils.clip_grad_norm_

    def dying(parameters: Any, most: float) -> Tensor:
        steps.append(1)
        if not ranks.is_first and len(steps) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return clip(parameters, most)

    torch.nn.utils.clip_grad_norm_ = dying
    try:
        train(JOBS["classes"], ranks.size)
    except TrainingError as error:
        return {"error": str(error)}
    return {"error": None}


def keep_best(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """A whole training whose first epoch is the best, interrupted after the second; then one with other rows."""
    datasets.config.HF_DATASETS_CACHE = folder / "cache"
    settings = TrainingSettings(num_train_epochs=3, sampling_strategy="standard", per_device_train_batch_size=8)
    errors = iter([0.1, 0.2, 0.3, 0.3])

    class FakeEvaluator:
        def __init__(self, *_: Any) -> None: ...

        def evaluate(self, sub_network: Any = None) -> Any:
            return SimpleNamespace(error=0.5 if sub_network is not None else next(errors))

    def interrupt(report: EpochReport) -> None:
        if report.epoch == 3:
            raise KilledError

    loop.Evaluator = FakeEvaluator  # type: ignore[misc, assignment]
    data = load_data(folder / "train.jsonl", text="text", label="label")
    with suppress(KilledError, TrainingError):  # the first one's own, which ends the others
        train_super_network(folder / "base", data, settings, directory=folder / "net", on_epoch=interrupt)
    dist.destroy_process_group()
    join(folder / "again", ranks.rank, ranks.size)
    net = train_super_network(folder / "base", data, settings, directory=folder / "net")
    save_file(dict(net.model.state_dict()), folder / f"kept-{ranks.rank}.safetensors")
    assert net.record is not None
    found = {"best": net.record.best_epoch, "epochs": [epoch.error for epoch in net.record.epochs]}
    try:
        if not ranks.is_first:
            data = load_data(folder / "other.jsonl", text="text", label="label")
        train_super_network(folder / "base", data, settings)
    except CompressorError as error:
        found["error"] = f"{type(error).__name__}: {error}"
    return found


def learn_texts(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """A training with texts without labels, interrupted after its first epoch; it goes on with the same answers."""
    datasets.config.HF_DATASETS_CACHE = folder / "cache"

    def interrupt(report: EpochReport) -> None:
        if report.epoch == 2:
            raise KilledError

    with suppress(KilledError, TrainingError):
        train_with_texts(folder, ranks.size, on_epoch=interrupt)
    dist.destroy_process_group()
    join(folder / "again", ranks.rank, ranks.size)
    printed = StringIO()
    with redirect_stdout(printed):
        outputs = train_with_texts(folder, ranks.size)
    return {"outputs": outputs, "printed": printed.getvalue()}


def train_with_texts(folder: Path, size: int, on_epoch: Any = None) -> Any:
    """What a tiny model without dropout answers afterwards."""
    settings = TrainingSettings(
        num_train_epochs=2, per_device_train_batch_size=8 // size, learning_rate=1e-3, bf16=False, num_processes=size
    )
    data = load_data(folder / "train.jsonl", text="text", label="label", unlabeled_file=folder / "texts.jsonl")
    net = train_super_network(folder / "base", data, settings, directory=folder / "net", on_epoch=on_epoch)
    with torch.inference_mode():
        return answers(net.model, tiny_batch(net.model)).tolist()


WORK = {
    "best": keep_best,
    "texts": learn_texts,
    "laws": train_all,
    "talk": agree_and_share,
    "goes on": go_on,
    "dies": lose_one,
}


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["conftest", "compressor.training.train", "transformers.models.bert.modeling_bert"])
    yield server


def start(context: Any, folder: Path, what: str, size: int = SIZE) -> list[Any]:
    """What each of several processes found; None of one that was killed."""
    folder.mkdir(exist_ok=True)
    processes = [context.Process(target=work, args=(rank, size, folder, what)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.is_alive() for process in processes] == [False] * size
    files = [folder / f"{rank}.json" for rank in range(size)]
    return [json.loads(file.read_text()) if file.is_file() else None for file in files]


@pytest.fixture(scope="module")
def together(context: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Path]:
    """The reports of all jobs in each of two processes, and the folder of their tensors."""
    folder = tmp_path_factory.mktemp("ranks") / "laws"
    return start(context, folder, "laws"), folder


@pytest.mark.parametrize("name", JOBS)
def test_two_processes_train_as_one(name: str, together: tuple[list[Any], Path]) -> None:
    reports, folder = together
    expected, expected_reports = train(replace(JOBS[name], accumulation=1), 1)
    for rank in range(SIZE):
        found = load_file(folder / f"{name}-{rank}.safetensors")
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            close = {"rtol": 1e-4, "atol": 1e-6} if key != "outputs" else {"rtol": 1e-2, "atol": 2e-3}
            torch.testing.assert_close(found[key], tensor, msg=lambda text, key=key: f"{key}: {text}", **close)
        for report, wanted in zip(reports[rank][name], expected_reports, strict=True):
            known = {key: value for key, value in wanted.items() if value is not None}
            assert {key: report[key] for key in known} == pytest.approx(known, rel=1e-3, abs=1e-3)
            assert [key for key in report if report[key] is None] == [key for key in wanted if key not in known]
    assert reports[0][name] == reports[1][name]


def test_parts_of_a_step_count_by_their_units() -> None:
    job = JOBS["words"]
    whole, parts = (train(replace(job, accumulation=count), 1) for count in (1, 4))
    for key, tensor in whole[0].items():
        if key != "outputs":
            torch.testing.assert_close(parts[0][key], tensor, rtol=1e-4, atol=1e-6)


def test_the_first_decides_and_goes_first(context: Any, tmp_path: Path) -> None:
    first, second = start(context, tmp_path / "talk", "talk")
    assert first["agreed"] == second["agreed"] == {"rank": 0, "π": [0.1, None]}
    assert (first["order"], second["order"]) == (["before"], ["after"])
    assert first["shared"] == second["shared"] == {"a": [[0.0] * 3] * 2, "b": 0, "c": []}
    assert first["dropout"] != second["dropout"]


def test_a_training_goes_on_and_with_another_number_of_processes(
    context: Any, together: tuple[list[Any], Path], tmp_path: Path
) -> None:
    undisturbed, folder = together
    found = start(context, tmp_path / "on", "goes on")
    assert [each["reports"] for each in found] == [each["in order"] for each in undisturbed]
    for rank in range(SIZE):
        wanted = load_file(folder / f"in order-{rank}.safetensors")["outputs"]
        assert torch.equal(load_file(tmp_path / "on" / f"gone-on-{rank}.safetensors")["outputs"], wanted)
    job = JOBS["in order"]
    states = TrainingStates(
        directory=tmp_path / "on" / "left", inputs=Inputs(values={"settings": job.settings(1).identity})
    )
    assert len(states.reports) == 1
    alone, _ = train(job, 1, states)
    torch.testing.assert_close(alone["outputs"], wanted, rtol=1e-2, atol=2e-3)


def test_all_have_the_best_epoch_and_the_first_alone_writes(
    context: Any, base_model_dir: Path, write_rows: WriteRows, tmp_path: Path
) -> None:
    folder = tmp_path / "best"
    shutil.copytree(base_model_dir, folder / "base")
    for count, name in ((60, "train"), (61, "other")):
        shutil.move(write_rows(sentence_rows(count)), folder / f"{name}.jsonl")
    first, second = start(context, folder, "best")
    assert first["best"] == second["best"] == 1
    assert first["epochs"] == second["epochs"] == [0.1, 0.2, 0.3]
    saved, *kept = (
        load_file(folder / name) for name in ("net/model.safetensors", "kept-0.safetensors", "kept-1.safetensors")
    )
    for name, tensor in saved.items():
        assert all(torch.equal(weights[name], tensor) for weights in kept), name
    assert second["error"].startswith("TaskDataError: all processes of a training must have the same rows and the same")
    assert first["error"].startswith("TrainingError: the processes of a training must all run to its end, but")


def test_texts_without_labels_are_answered_alike_in_all(
    context: Any, base_model_dir: Path, write_rows: WriteRows, tmp_path: Path
) -> None:
    folder, alone = tmp_path / "texts", tmp_path / "alone"
    shutil.copytree(base_model_dir, folder / "base")
    config = json.loads((folder / "base" / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "base" / "config.json").write_text(json.dumps(config))
    shutil.move(write_rows(sentence_rows(60)), folder / "train.jsonl")
    shutil.move(write_rows([{"text": row["text"]} for row in sentence_rows(40, seed=1)]), folder / "texts.jsonl")
    shutil.copytree(folder, alone)
    first, second = start(context, folder, "texts")
    assert first["outputs"] == second["outputs"]
    assert "Fine-tuning on the" not in first["printed"]  # it was fine-tuned before the interruption
    np.testing.assert_allclose(first["outputs"], train_with_texts(alone, 1), rtol=1e-2, atol=2e-3)


def test_one_that_is_killed_ends_the_others(context: Any, tmp_path: Path) -> None:
    first, second = start(context, tmp_path / "dies", "dies")
    assert second is None
    assert first["error"].startswith("the processes of a training must all run to its end, but another one has ended (")


@pytest.mark.parametrize(
    ("chosen", "number", "count", "taken"),
    [
        ("cpu", 1, 0, []),
        ("auto", 1, 0, []),
        ("auto", 1, 2, [1]),
        ("cuda", 0, 1, [0]),
        ("cuda", 1, 1, None),
        ("cuda:1", 0, 2, None),
    ],
)
def test_each_takes_a_gpu_of_its_own(
    chosen: str, number: int, count: int, taken: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    monkeypatch.setenv("LOCAL_RANK", str(number))
    with chosen_device(chosen):
        if taken is None:
            with pytest.raises(OptionError, match="the processes of a training must have a GPU each, but got --device"):
                _take_gpu()
        else:
            assert _take_gpu() == bool(taken)
    assert found == (taken or [])


def test_alone_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("broadcast", "all_reduce"):
        monkeypatch.setattr(dist, name, None)
    assert current_ranks() == ALONE
    told = object()
    assert ALONE.agree(lambda: told) is told
    losses = torch.tensor([1.0])
    assert ALONE.add_up(case(JOBS["classes"])[0], losses) is losses
    with ALONE.in_turn():
        pass


def test_the_rows_of_a_step_are_a_training_s_identity() -> None:
    one = TrainingSettings(per_device_train_batch_size=12)
    split = TrainingSettings(per_device_train_batch_size=2, gradient_accumulation_steps=3, num_processes=2)
    assert one.identity == split.identity
    assert one.for_rows(100).epochs == split.for_rows(100).epochs
    assert one.identity != replace(split, num_processes=1).identity


@pytest.mark.parametrize(("name", "every"), [("classes", 1), ("words", 2), ("in order", 2), ("accumulated", 2)])
def test_a_step_that_does_not_fit_is_one_that_fits(
    name: str, every: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Memory is full at once, or when a sub-network's gradients are in the weights already."""
    expected, reports = train(JOBS[name], 1)
    model, task, rows = case(JOBS[name])
    capsys.readouterr()
    monkeypatch.setattr(f"{__name__}.case", lambda job: (model, task, rows))
    with short_memory(model, 3, every=every):
        found, reports_found = train(JOBS[name], 1)
    for key, values in expected.items():
        torch.testing.assert_close(found[key], values, atol=1e-5, rtol=1e-4)
    for one, other in zip(reports, reports_found, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
    shown = capsys.readouterr().out
    assert ("rows do not fit into the memory of the device at once" in shown) == (len(rows) > 3)
