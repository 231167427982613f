"""`extract`: what it proves, tries and writes, and what it refuses."""

import json
import re
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from transformers import AutoModel

from compressor.data.loading import load_task_data
from compressor.extraction.extract import Extractor, extract_sub_network
from compressor.extraction.options import ExtractionOptions
from compressor.extraction.origins import SharedWeights
from compressor.extraction.record import ExtractionReport, SlicedModelRecord
from compressor.network.saving import load_sliced_model
from compressor.search.record import SearchResult
from compressor.training.super_network import load_super_network
from conftest import sentence_rows, tiny_config
from fake_hub import TOKEN, take_the_hub_s_place
from mlproject.cli import cli
from running import RunCli, WriteRows, runs


def test_extraction_proves_distills_and_describes(run_cli: RunCli, trained: Path, tmp_path: Path) -> None:
    assert run_cli("search", "--supernet", "net", "--num-samples", 8, "--output-dir", "s").code == 0
    outcome = run_cli("extract", "--search", "s", "--max-error-increase", 1, "--output-dir", "one")
    assert outcome.code == 0, outcome.err
    report = json.loads((tmp_path / "one" / "extraction.json").read_text())
    parity, tuned, test = report["parity"], report["finetuning"], report["test"]
    assert parity["error_searched"] == parity["error_loaded"] == tuned["error_before"] == report["chosen"]["error"]
    assert parity["label_agreement"] == 1.0
    assert report["error"] == min((tuned["error_before"], *tuned["errors"]))
    assert test["error"] == report["extracted"]["test_error"]
    assert test["base_error"] == report["super_network"]["test_error"]
    assert test["interval"][0] <= test["difference"] <= test["interval"][1]
    assert f"error {parity['error_loaded']:.4f} as searched" in outcome.out
    assert re.search("^Repair without training (lowered|was tried and left out: )", outcome.out, flags=re.M)
    assert re.search("^Distillation (lowered|was tried and left out: )", outcome.out, flags=re.M)
    assert "On the test rows: error" in outcome.out
    card = (tmp_path / "one" / "README.md").read_text()
    assert f"| parameters (M) | {report['super_network']['params'] / 1e6:.2f} |" in card
    assert "library_name: transformers" in card.split("---")[1]
    assert ("trust_remote_code=True" in card) == (tmp_path / "one" / "modeling_sliced.py").is_file()
    run = next(run for run in runs() if run.data.tags["stage"] == "extract")
    assert run.data.metrics["error_before_finetuning"] == pytest.approx(tuned["error_before"])
    assert run.data.metrics["error"] == pytest.approx(report["error"])
    assert run.data.params["bf16"] == str(tuned["bf16"]) == "False"
    outcome = run_cli("export", "--model", "one", "--output-dir", "onnx")  # law 4 holds for the distilled weights
    assert outcome.code == 0, outcome.err

    outcome = run_cli("extract", "--search", "s", "--all", "--finetune-epochs", 0, "--output-dir", "front")
    assert outcome.code == 0, outcome.err
    front = json.loads((tmp_path / "s" / "search_results.json").read_text())["front"]
    assert sorted(path.name for path in (tmp_path / "front").glob("subnet-*")) == [
        f"subnet-{i:03d}" for i in sorted(front)
    ]
    assert f"Made {len(front)} sliced models in {tmp_path}/front. Next: compressor export --model" in outcome.last_line

    (tmp_path / "mine.json").write_text('{"num_layers": 2, "num_heads": 3, "num_units": 17}')
    outcome = run_cli("extract", "--search", "s", "--config", "mine.json", "--output-dir", "mine")
    assert outcome.code == 0, outcome.err
    assert sorted(json.loads((tmp_path / "mine" / "extraction.json").read_text())["kept"]["heads"]) == [0, 3, 3]


def test_a_trimmed_vocabulary_goes_all_the_way(run_cli: RunCli, searched: Path, tmp_path: Path) -> None:
    """Of 60 words the rows use 58; the model, its costs, its ONNX variant and the report are of the smaller one."""
    given = ("--search", "search", "--max-error-increase", 1, "--finetune-epochs", 1)
    assert run_cli("extract", *given, "--output-dir", "whole").code == 0
    (tmp_path / "more.txt").write_text("w0 w0\nw54")
    outcome = run_cli(
        "extract", *given, "--trim-vocabulary", "--vocabulary-file", "more.txt", "--vocabulary-min-count", 2,
        "--output-dir", "trimmed",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    whole, trimmed = (ExtractionReport.load(tmp_path / name) for name in ("whole", "trimmed"))
    vocabulary = trimmed.vocabulary
    assert vocabulary is not None
    assert whole.vocabulary is None
    assert vocabulary.describe() in outcome.out
    assert "occur less than 2 times" in vocabulary.describe()
    assert "equal" in replace(vocabulary, min_count=1).describe()
    assert vocabulary.tokens_after < vocabulary.tokens_before == 60
    gone = (vocabulary.tokens_before - vocabulary.tokens_after) * 16
    model = load_sliced_model(tmp_path / "trimmed").model
    assert trimmed.extracted.params == whole.extracted.params - gone == sum(p.numel() for p in model.parameters())
    assert trimmed.extracted.costs["size_mb"] == pytest.approx(4 * trimmed.extracted.params / 1e6)
    assert trimmed.extracted.costs["macs"] == whole.extracted.costs["macs"]
    assert model.config.vocab_size == vocabulary.tokens_after
    assert trimmed.error == whole.error
    outcome = run_cli("export", "--model", "trimmed", "--output-dir", "onnx")
    assert outcome.code == 0, outcome.err
    outcome = run_cli("report", "--search", "search", "--model", "trimmed", "--onnx", "onnx", "--output-dir", "page")
    assert outcome.code == 0, outcome.err
    page = re.sub("</?span>", "", (tmp_path / "page" / "report.html").read_text())
    assert "--trim-vocabulary true --vocabulary-file more.txt" in page
    outcome = run_cli("extract", *given, "--trim-vocabulary", "--vocabulary-file", "none.txt", "--output-dir", "no")
    assert outcome.code == 1
    assert "a file of texts must be UTF-8, a text per line, but" in outcome.err
    assert not (tmp_path / "no").exists()


def test_a_model_of_other_hands_is_trimmed(run_cli: RunCli, base_model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(f"w{n} w{n + 1}" for n in range(20)))
    words = ("trim-vocabulary", "--model", base_model_dir, "--vocabulary-file", "texts.txt", "--output-dir", "small")
    outcome = run_cli(*words)
    assert outcome.code == 0, outcome.err
    assert "Trimming left 26 of 60 tokens" in outcome.out
    assert "equal outputs on the texts" in outcome.out
    assert outcome.last_line.endswith(f"Next: compressor compress --model-name-or-path {tmp_path}/small")
    run = next(run for run in runs() if run.data.tags["stage"] == "trim-vocabulary")
    assert run.data.metrics["tokens_after"] == 26
    assert AutoModel.from_pretrained(tmp_path / "small").config.vocab_size == 26


def test_the_command_makes_what_the_function_makes(run_cli: RunCli, searched: Path, tmp_path: Path) -> None:
    """The same choice, the same errors, costs and differences, the same weights."""
    net, found = load_super_network("net"), SearchResult.load("search")
    assert net.record is not None
    data = load_task_data(net.record.source)
    small = extract_sub_network(net, found.choose(max_error_increase=1), data)
    outcome = run_cli("extract", "--search", "search", "--max-error-increase", 1, "--output-dir", "by-command")
    assert outcome.code == 0, outcome.err
    assert ExtractionReport.load(tmp_path / "by-command") == small.report
    small.save("by-function", search=searched)
    names = ("model.safetensors", "config.json", "parity.json", "extraction.json", "sub_network.json")
    for name in names:
        assert (tmp_path / "by-function" / name).read_bytes() == (tmp_path / "by-command" / name).read_bytes(), name
    record = SlicedModelRecord.load(tmp_path / "by-command")
    assert (record.search, record.supernet) == ("../search", "../net")
    assert record.supernet_files == net.record.files

    outcome = run_cli("extract", "--search", "search", "--all", "--finetune-epochs", 1, "--output-dir", "front")
    assert outcome.code == 0, outcome.err
    extractor = Extractor(SharedWeights(net), data, ExtractionOptions(finetune_epochs=1))
    for name, member in found.choose_several(all=True).items():
        assert ExtractionReport.load(tmp_path / "front" / name) == extractor.extract(member).report


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--index", 0, "--knee"], "one way to choose must be given, but got --knee and --index. Drop all but one."),
        (["--index", 40], "--index must lie on the front, in 0.."),
        (["--max-params", 0.001], "--max-params must be met by a member of the front, but none has 0.001 or less"),
        (["--finetune-epochs", -1], "--finetune-epochs must be at least 0, but got -1. Raise it."),
        (["--config", "nowhere.json"], "must exist, but it does not. Check the path."),
    ],
)
def test_extraction_tells_what_goes_wrong(
    words: list[object], message: str, run_cli: RunCli, searched: Path, tmp_path: Path
) -> None:
    outcome = run_cli("extract", "--search", "search", *words, "--output-dir", "out")
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1
    assert message in outcome.error_lines[0]
    assert not (tmp_path / "out").exists()


def test_a_changed_super_network_is_noticed(run_cli: RunCli, searched: Path, trained: Path) -> None:
    from transformers import BertForSequenceClassification

    BertForSequenceClassification(tiny_config("bert")).save_pretrained(trained)
    outcome = run_cli("extract", "--search", "search")
    assert outcome.code == 1
    assert "must be as super_network.json names them, but config.json was changed" in outcome.error_lines[0]
    _forget_files(trained / "super_network.json")
    outcome = run_cli("extract", "--search", "search")
    assert "must be as search_results.json names them, but config.json was changed" in outcome.error_lines[0]
    _forget_files(searched / "search_results.json")  # as an older version left them
    outcome = run_cli("extract", "--search", "search")
    assert "the super-network must be the one that was searched" in outcome.error_lines[0]


def _forget_files(path: Path) -> None:
    """Takes the hashes of a model's files out of a record."""
    record = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in record.items() if not key.endswith("files")}))


@pytest.mark.parametrize("more", [[], ["--max-eval-samples", 9]])
def test_rows_changed_after_the_search_are_noticed(
    more: list[object], run_cli: RunCli, trained: Path, write_rows: WriteRows
) -> None:
    words = ["search", "--supernet", "net", "--num-samples", 3, "--output-dir", "search", *more]
    assert run_cli(*words).code == 0
    write_rows(sentence_rows(80, seed=5))
    outcome = run_cli("extract", "--search", "search", "--index", 0)
    assert outcome.code == 1
    assert "the rows must be those" in outcome.error_lines[0]


def test_a_pushed_model_loads_and_its_run_has_all_options(
    run_cli: RunCli, searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = take_the_hub_s_place(tmp_path / "hub", monkeypatch)
    (tmp_path / "options.yaml").write_text("search: search\nfinetune_epochs: 0\n")
    words = ["--config-file", "options.yaml", "--index", 0, "--output-dir", "one", "--system-metrics"]
    hub.failing["upload_folder"] = ConnectionError(f"reset by peer ({TOKEN})")
    refused = run_cli("extract", *words, "--push-to-hub", "me/smal")
    assert refused.error_lines == [
        f"Error: the model must be pushed to me/smal, but reset by peer (…). All files are kept in {tmp_path}/one; "
        f"push them with: hf upload me/smal {tmp_path}/one"
    ]
    hub.failing.clear()
    outcome = run_cli("extract", *words, "--push-to-hub", "me/small")  # goes on, under another name
    assert outcome.code == 0, outcome.err
    assert "Hub: https://huggingface.co/me/small\n" in outcome.out
    pushed = {path.name for path in (tmp_path / "hub" / "me" / "small").iterdir()}
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= pushed
    assert not pushed & {"sub_network.json", ".compressor"}
    model = AutoModel.from_pretrained(tmp_path / "hub" / "me" / "small", trust_remote_code=True)
    extracted = AutoModel.from_pretrained(tmp_path / "one", trust_remote_code=True)
    assert all((model.state_dict()[name] == tensor).all() for name, tensor in extracted.state_dict().items())

    run = next(run for run in runs() if run.data.tags["stage"] == "extract")
    assert run.data.tags["hub"] == "https://huggingface.co/me/small"
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= run.data.metrics.keys()
    written = mlflow.MlflowClient().download_artifacts(run.info.run_id, "config.yaml", str(tmp_path))
    given = cli.commands["extract"].make_context("extract", [str(word) for word in words]).params
    again = cli.commands["extract"].make_context("extract", ["--config-file", written]).params
    known = {"output_dir": None, "config_file": written, "push_to_hub": "me/small"}
    assert again == given | known
    assert TOKEN not in refused.out + refused.err + outcome.out + outcome.err
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
