"""Every mistake of a hurried person gets one line and leaves nothing."""

from pathlib import Path

import pytest

from compressor.search.objectives import cost_names
from running import RunCli, runs

MISTAKES: dict[str, tuple[list[object], str]] = {
    "no samples": (["search", "--supernet", "net", "--num-samples", 0], "--num-samples must be at least 1, but got 0."),
    "no super-network": (["search", "--supernet", "none"], "--supernet must be a directory, but "),
    "unknown space": (
        ["search", "--supernet", "net", "--search-space", "tiny"],
        "'tiny' is not one of 'small_ordered', 'small', 'small_power2', 'medium', 'layer', 'sublayer', 'large'.",
    ),
    "unknown strategy": (
        ["train-supernet", "--sampling-strategy", "x"],
        "'x' is not one of 'auto', 'standard', 'random', 'linear_random', 'sandwich', 'kd', 'one_shot', 'ats'",
    ),
    "unknown method": (
        ["search", "--supernet", "net", "--method", "grid"],
        "'grid' is not one of 'random_search', 'local_search'",
    ),
    "unknown task": (["train-supernet", "--task_name", "rtee"], "'rtee' is not one of 'demo', 'custom', 'rerank'"),
    "unknown option": (["search", "--supernet", "net", "--num-sample", 3], "No such option '--num-sample'"),
    "unknown command": (["serch"], "No such command 'serch'"),
    "nothing given": (["search"], "Missing option '--supernet'"),
    "no cluster": (["nas", "--ray", "127.0.0.1:1"], "RAY_ADDRESS) must be the address of a Ray cluster that answers, "),
    "a trial's cores here": (
        ["nas", "--cpus-per-trial", 2],
        "--cpus-per-trial must be given with --ray, but got it al",
    ),
    "no file": (["train-supernet", "--train-file", "no.csv"], "no.csv must exist, but it does not. Check the path."),
    "no random sub-networks": (
        ["train-supernet", "--num-random-sub-nets", 0],
        "--num-random-sub-nets must be at least 1 with --sampling-strategy auto, but got 0.",
    ),
    "temperature": (["train-supernet", "--temperature", 0], "--temperature must be above 0, but got 0.0."),
    "not a number": (["train-supernet", "--learning-rate", "fast"], "'fast' is not a valid float"),
    "model without weights": (
        ["train-supernet", "--model-name-or-path", "empty"],
        "must hold safetensors weights, but ",
    ),
    "off the front": (["extract", "--search", "search", "--index", 99], "--index must lie on the front, in 0.."),
    "not a search": (["extract", "--search", "net"], "search_results.json must exist, but it does not."),
    "used directory": (
        ["search", "--supernet", "net", "--output-dir", "net"],
        "--output-dir must be of compressor search, but ",
    ),
    "not a model": (["export", "--model", "none"], "--model must be a directory, but "),
    "not exported": (["benchmark", "--model", "search"], "--model must be made by compressor export, extract or "),
    "no cost": (["extract", "--search", "search", "--max-cost", "20"], "'20' is not a name and a number such as "),
    "unknown cost": (
        ["extract", "--search", "search", "--max-cost", "flops=20"],
        f"--max-cost must be one of {', '.join(cost_names())} and a number above 0, but got 'flops=20.",
    ),
    "cost that is not known": (
        ["extract", "--search", "search", "--max-cost", "latency_ms=20"],
        "--max-cost must have values of latency_ms to look at, but the search did not measure any.",
    ),
    "batch sizes": (["benchmark", "--model", "net", "--batch-sizes", "a"], "'a' is not a list of whole numbers"),
}


def test_mistakes_get_one_line_and_leave_nothing(run_cli: RunCli, searched: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "bert"}')
    before = sorted(path.name for path in tmp_path.iterdir())
    for name, (words, message) in MISTAKES.items():
        outcome = run_cli(*words)
        assert outcome.code == 1, name
        assert len(outcome.error_lines) == 1, (name, outcome.err)
        assert message in outcome.error_lines[0], (name, outcome.err)
        assert sorted(path.name for path in tmp_path.iterdir()) == before, name
    failed = [run for run in runs() if run.info.status == "FAILED"]
    assert failed
    assert all(run.data.tags["error"] for run in failed)
    assert not [run for run in runs() if run.info.status == "RUNNING"]


def test_debug_shows_the_traceback(run_cli: RunCli) -> None:
    from compressor.errors import ModelError

    with pytest.raises(ModelError):
        run_cli("search", "--supernet", "none", "--debug")


def test_a_provider_that_is_not_there_is_refused_before_the_work(
    run_cli: RunCli, trained: Path, base_model_dir: Path, tmp_path: Path
) -> None:
    for words in (
        ["benchmark", "--model", "net"],
        ["compress", "--model-name-or-path", base_model_dir, "--train-file", "train.jsonl"],
    ):
        outcome = run_cli(*words, "--provider", "cuda", "--output-dir", "out")
        assert outcome.code == 1
        assert outcome.error_lines[0].startswith("Error: --provider cuda must be there for what is computed, but ")
        assert not list((tmp_path / "out").glob("*.*"))


def test_latencies_of_a_gpu_that_is_not_there_are_refused_before_the_training(
    run_cli: RunCli, base_model_dir: Path, tmp_path: Path
) -> None:
    words = ["--objectives", "error,latency_ms", "--latency-of", "onnx-cuda-fp16", "--output-dir", "out"]
    outcome = run_cli("compress", "--model-name-or-path", base_model_dir, "--train-file", "train.jsonl", *words)
    assert outcome.code == 1
    assert outcome.error_lines[0].startswith("Error: --latency-of onnx-cuda-fp16 must be given where ONNX Runtime has ")
    assert not list((tmp_path / "out").glob("*.*"))


def test_models_of_a_benchmark_keep_their_own_names(tmp_path: Path) -> None:
    """A number behind a name that repeats may be taken by another directory."""
    from mlproject.cli.commands import _model_names

    paths = [str(tmp_path / name) for name in ("first/a", "second/a-2", "third/a", "fourth/a")]
    assert _model_names(paths) == list(zip(["a", "a-2", "a-3", "a-4"], map(Path, paths), strict=True))
