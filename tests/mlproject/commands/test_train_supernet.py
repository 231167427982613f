"""`train-supernet`: which weights are kept, and a name that nobody answers to."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from conftest import sentence_rows
from running import RunCli, WriteRows, runs


def test_best_epoch_is_kept_or_the_last(
    run_cli: RunCli, base_model_dir: Path, write_rows: WriteRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation errors by epoch 0.3, 0.1, 0.2: with checkpoints the second epoch's weights are kept, else the last."""
    from safetensors.torch import load_file

    from compressor.training import loop as training

    errors = iter([0.3, 0.1, 0.2] * 2)

    class FakeEvaluator:
        def __init__(self, *_: Any) -> None: ...

        def evaluate(self, sub_network: Any = None) -> Any:
            error = 0.5 if sub_network is not None else next(errors)
            return type("E", (), {"error": error})()

    monkeypatch.setattr(training, "Evaluator", FakeEvaluator)
    words = ["train-supernet", "--model-name-or-path", base_model_dir, "--train-file", write_rows(sentence_rows(60))]
    for name, strategy in (("best", "epoch"), ("last", "no")):
        more = ["--num-train-epochs", 3, "--save-strategy", strategy, "--output-dir", name]
        more += ["--sampling-strategy", "one_shot"]
        outcome = run_cli(*words, *more)
        assert outcome.code == 0
        assert re.search("^Training in fp32: (it is too short to measure|this processor)", outcome.out, flags=re.M)
    assert {run.data.params["bf16"] for run in runs()} == {"False"}
    info = {name: json.loads((tmp_path / name / "super_network.json").read_text()) for name in ("best", "last")}
    assert (info["best"]["best_epoch"], info["last"]["best_epoch"]) == (2, 3)
    assert [path.name for path in (tmp_path / "best").glob("checkpoint-*")] == ["checkpoint-epoch-2"]
    assert not list((tmp_path / "last").glob("checkpoint-*"))
    kept = load_file(tmp_path / "best" / "model.safetensors")
    checkpoint = load_file(tmp_path / "best" / "checkpoint-epoch-2" / "model.safetensors")
    last = load_file(tmp_path / "last" / "model.safetensors")
    assert all(kept[key].equal(checkpoint[key]) for key in kept)
    assert any(not kept[key].equal(last[key]) for key in kept)
    assert sorted(run.data.metrics["error"] for run in runs()) == [0.1, 0.2]


def test_without_a_hub_a_name_fails_fast(run_cli: RunCli, write_rows: WriteRows) -> None:
    import time

    start = time.perf_counter()
    file = write_rows(sentence_rows(20))
    outcome = run_cli("train-supernet", "--model-name-or-path", "bert-base-cased", "--train-file", file)
    assert outcome.code == 1
    assert (
        "the model 'bert-base-cased' must be a local directory, 'demo', 'demo-base' or a name" in outcome.error_lines[0]
    )
    assert time.perf_counter() - start < 20
