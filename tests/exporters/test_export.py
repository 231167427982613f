"""Exporting without MLflow: what is written, when a smaller precision is accepted; the command does the same."""

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from compressor.data.batches import encode
from compressor.errors import ModelError, OptionError, OutputError, ParityError, TaskDataError
from compressor.extraction.extract import extract_sub_network
from compressor.network.saving import load_sliced_model
from compressor.network.slicing import slice_model
from compressor.training.super_network import load_super_network
from conftest import tiny_model, write_slow_tokenizer
from exported import FACTS, ODD
from exporters import Export, ExportOptions, export_model, servable
from exporters.export import _calibration_rows, _convert, _judge
from exporters.export_record import VerifiedForm
from exporters.graph import sessions
from exporters.graph.openvino_ir import computes_bf16, missing_packages
from exporters.graph.parity import check_onnx_parity
from exporters.graph.sessions import graph_mb
from exporters.opened_model import OpenedModel, open_model
from exporters.options import Precision, installed_runtimes, list_forms
from exporters.servable import open_onnx
from exporters.served.models import open_served
from mlproject.cli import main
from test_golden import copy_golden

ALL: tuple[Precision, ...] = ("fp32", "int8", "fp16")
OPENVINO = pytest.mark.skipif(bool(missing_packages()), reason="the extra openvino is not installed")
pytestmark = pytest.mark.usefixtures("quick_exports")
FILES = {"config.json", "export.json", "model.onnx", "onnx", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_golden("0.2.0", tmp_path)


def test_a_model_is_exported_without_mlflow(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ExportOptions(precision=ALL, max_int8_loss=1.0)
    made = export_model(folder / "model", None, folder / "made", options)
    assert list(made.accepted) == ["fp32", "int8", "fp16"]
    assert {file.name for file in made.directory.iterdir()} == FILES | {"model.int8.onnx", "model.fp16.onnx"}
    assert {file.name for file in (made.directory / "onnx").iterdir()} == {
        "model.onnx",
        "model_quantized.onnx",
        "model_fp16.onnx",
    }
    assert Export.load(made.directory) == made
    assert made.fp32.error == open_model(folder / "model").known_error
    assert (made.model, made.task, len(made.fp32.parity)) == (folder / "model", "custom", 11)
    assert (made.smaller["int8"].int8_embeddings, made.smaller["fp16"].int8_embeddings) == (True, None)
    assert capsys.readouterr().out == ""


def test_the_command_does_the_same(folder: Path, mlflow_uri: str) -> None:
    words = ["--model", "model", "--max-int8-loss", "1", "--output-dir", "by-command"]
    main(["export", *words])
    data = open_model(folder / "model").load_data()
    made = export_model(str(folder / "model"), data, "by-function", ExportOptions(max_int8_loss=1.0))
    by_command = Export.load(folder / "by-command")
    assert replace(made, directory=by_command.directory) == by_command
    contents = [json.loads((folder / name / "export.json").read_text()) for name in ("by-command", "by-function")]
    assert contents[0] == contents[1]


def test_a_served_model_cuts_texts_where_its_tokenizer_does(folder: Path) -> None:
    """Some tokenizers keep the end of a long text; else what is served would read other words than were judged."""
    opened = open_model(folder / "model")
    opened.tokenizer.truncation_side = "left"
    made = export_model(opened, None, folder / "made", ExportOptions(precision=("fp32",)))
    served = open_served("made", made.directory)
    text = " ".join(["w1"] * 200 + ["w2"] * 20)
    tokens = opened.tokenizer(text, truncation=True, max_length=40, return_tensors="pt")
    assert set(opened.tokenizer.decode(tokens["input_ids"][0]).split()) == {"[CLS]", "w1", "w2", "[SEP]"}
    with torch.inference_mode():
        scores = opened.model(**tokens).logits.softmax(-1)[0]
    assert list(served.ask([text])[0].scores.values()) == pytest.approx(scores.tolist(), abs=1e-4)


def test_a_slow_tokenizer_is_refused_before_anything_is_exported(folder: Path) -> None:
    (folder / "slow").mkdir()
    write_slow_tokenizer(folder / "slow")
    opened = replace(open_model(folder / "model"), tokenizer=AutoTokenizer.from_pretrained(folder / "slow"))
    with pytest.raises(ModelError) as raised:
        export_model(opened, None, folder / "made")
    assert str(raised.value) == (
        "a tokenizer must have a tokenizer.json to be served, but PhobertTokenizer has none. "
        "Save that of the base model as a fast tokenizer, and train again."
    )
    assert not (folder / "made").exists()


def test_forms_of_an_earlier_export_do_not_stay_beside_those_of_another(folder: Path) -> None:
    """A service that takes model.int8.onnx from the directory would else serve the model before."""
    export_model(folder / "model", None, folder / "made", ExportOptions(precision=("fp32", "int8")))
    (folder / "made" / "notes.txt").write_text("mine")
    assert (folder / "made" / "model.int8.onnx").is_file()
    made = export_model(folder / "model", None, folder / "made", ExportOptions(precision=("fp32",)))
    assert (list(made.smaller), (folder / "made" / "notes.txt").read_text()) == ([], "mine")
    assert [file.name for file in (folder / "made").glob("*.onnx")] == ["model.onnx"]
    assert Export.load(folder / "made").fp32 == made.fp32


def test_int8_that_may_lose_too_much_is_kept_but_not_accepted(folder: Path) -> None:
    """Of so few rows nobody can be sure of so small a loss, so tables are tried in both ways."""
    made = export_model(folder / "model", None, folder / "made", ExportOptions(max_int8_loss=0.0))
    int8 = made.smaller["int8"]
    assert (int8.accepted, int8.int8_embeddings, list(made.accepted), made.best) == (False, False, ["fp32"], "fp32")
    assert int8.loss_at_most is not None
    assert int8.loss_at_most > int8.max_loss == 0.0
    assert made.path("int8").is_file()
    assert not (made.directory / "onnx" / "model_quantized.onnx").exists()


def test_two_tries_make_the_bound_wider(folder: Path) -> None:
    opened = open_model(folder / "model")
    data = opened.load_data()
    validation = encode(data.validation, data.task, opened.tokenizer, 40)
    logits = np.random.default_rng(0).normal(size=(len(validation), 2))
    made = [
        _judge(folder / "onnx" / "model.onnx", data.task, validation, logits, ExportOptions(), int8_embeddings=tables)
        for tables in (None, True)
    ]
    assert made[0].error == made[1].error
    assert (made[0].loss_at_most or 0) < (made[1].loss_at_most or 0)


def test_nothing_is_written_where_the_error_is_another_one(folder: Path) -> None:
    file = folder / "model" / "sub_network.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"error": 0.9}))
    with pytest.raises(ParityError, match=r"validation rows must be the 0.900000 that was measured before, but is 0\."):
        export_model(folder / "model", None, folder / "made")
    assert not (folder / "made").exists()


def test_rows_that_are_others_are_refused(folder: Path) -> None:
    data = open_model(folder / "model").load_data()
    others = replace(data, train=replace(data.train, texts=tuple(reversed(data.train.texts))))
    with pytest.raises(TaskDataError) as raised:
        export_model(folder / "model", others, folder / "made")
    assert str(raised.value) == (
        f"the rows must be those that the model was made with (digest {data.digest}), but the digest is "
        f"{others.digest}. Restore the files or make the model again."
    )


def test_a_directory_that_is_read_is_not_written(folder: Path) -> None:
    with pytest.raises(OutputError, match="--output-dir must not be what is read"):
        export_model(folder / "model", None, folder / "model")


def test_a_directory_that_is_no_model(folder: Path) -> None:
    with pytest.raises(ModelError, match="--model must be a directory, but .*/nothing is not there."):
        export_model(folder / "nothing", None, folder / "made")


def test_a_super_network_in_memory(folder: Path) -> None:
    net = load_super_network(folder / "net")
    made = export_model(replace(net, path=None), None, folder / "made", ExportOptions(precision=("fp32",)))
    assert (made.model, made.model_files, made.smaller) == (None, None, {})
    assert Export.load(folder / "made") == made
    assert net.record is not None
    assert made.fp32.error == net.record.error


def test_what_was_extracted_is_exported_from_memory_as_from_its_directory(folder: Path) -> None:
    net, data = load_super_network(folder / "net"), open_model(folder / "net").load_data()
    member = load_sliced_model(folder / "model").sub_network
    extraction = extract_sub_network(net, member, data, finetune_epochs=1)
    extraction.save(folder / "extracted")
    made = export_model(extraction, None, folder / "made", max_int8_loss=1.0)
    saved = export_model(folder / "extracted", data, folder / "saved", max_int8_loss=1.0)
    assert made.model is None
    assert made.fp32.error == extraction.error
    assert replace(saved, directory=made.directory, model=None, model_files=None) == made
    assert made.path().read_bytes() == saved.path().read_bytes()


def test_a_super_network_that_says_nothing_of_its_rows_needs_them_named(folder: Path) -> None:
    net, data = load_super_network(folder / "net"), open_model(folder / "net").load_data()
    plain = replace(net, path=None, record=None)
    made = export_model(plain, data, folder / "made", precision=("fp32",))
    assert made.data_digest == data.digest
    with pytest.raises(ModelError) as raised:
        export_model(plain, None, folder / "again")
    assert str(raised.value) == (
        "--model must be made by compressor extract or train-supernet, but this one holds no super_network.json. "
        "Run one of them first."
    )


@OPENVINO
def test_forms_for_openvino_are_verified_and_judged_like_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = export_model(folder / "model", None, folder / "made", runtime=("openvino",), max_int8_loss=1.0)
    smaller = ["openvino-int8", *(["openvino-bf16"] if computes_bf16() else [])]
    assert list(made.forms) == list(made.accepted) == ["fp32", "openvino-fp32", *smaller]
    assert made.best == "openvino-int8"
    assert Export.load(made.directory) == made
    verified = made.forms["openvino-fp32"]
    assert isinstance(verified, VerifiedForm)
    assert verified.error == made.fp32.error
    assert verified.parity.keys() == made.fp32.parity.keys()
    assert max(verified.parity.values()) <= 1e-4
    for form in made.forms.values():
        assert form.mb == graph_mb(made.directory / form.file) > 0
    assert made.smaller["openvino-int8"].confidence == 0.95
    assert {file.name for file in (made.directory / "onnx").iterdir()} == {"model.onnx"}
    assert capsys.readouterr().out == ""
    (made.directory / "openvino_model.int8.bin").write_bytes(b"others")
    with pytest.raises(ModelError, match=r"must be as export.json names them, but openvino_model.int8.bin was changed"):
        Export.load(made.directory)


@OPENVINO
def test_modernbert_gets_a_graph_that_openvino_reads(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    model = slice_model(tiny_model("modernbert"), ODD)
    opened = OpenedModel(
        model=model, tokenizer=tokenizer, path=None, source=None, data_digest=None, labels=(), sub_network="odd"
    )
    made = _convert(tmp_path / "model.onnx", opened, FACTS, portable=False)
    assert {file.name for file in tmp_path.iterdir()} == {"openvino_model.xml", "openvino_model.bin"}
    assert max(check_onnx_parity(made, model, tokenizer, []).values()) <= 1e-4


def test_int8_is_calibrated_on_training_rows(folder: Path) -> None:
    opened = open_model(folder / "model")
    data = opened.load_data()
    rows = _calibration_rows(data, opened)
    train = encode(data.train, data.task, opened.tokenizer, 40)
    texts = {tuple(train.columns["input_ids"][start:end]) for start, end in itertools.pairwise(train.offsets)}
    assert len(rows) == min(64, len(data.train))
    assert {tuple(row["input_ids"][0]) for row in rows} <= texts
    again = _calibration_rows(data, opened)
    assert all((one["input_ids"] == other["input_ids"]).all() for one, other in zip(rows, again, strict=True))


def test_openvino_that_is_not_installed_is_told_before_anything_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("openvino", "nncf"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OptionError) as refused:
        export_model(folder / "model", None, folder / "made", runtime=("onnxruntime", "openvino"))
    assert str(refused.value) == (
        "--runtime must be of what is installed, but got openvino without the packages openvino and nncf. Install "
        "them: pip install 'mlflow-compressor[openvino]'."
    )
    assert installed_runtimes() == ("onnxruntime",)
    monkeypatch.undo()
    assert ("openvino" in installed_runtimes()) == (not missing_packages())


@pytest.mark.parametrize(
    ("runtimes", "precisions", "forms"),
    [
        ({"onnxruntime"}, {"fp32", "int8", "bf16"}, ("fp32", "int8")),
        ({"onnxruntime"}, set[str](), ("fp32",)),
        ({"openvino"}, {"int8", "bf16", "fp16"}, ("fp32", "openvino-fp32", "openvino-int8", "openvino-bf16")),
        ({"onnxruntime", "openvino"}, {"int8"}, ("fp32", "int8", "openvino-fp32", "openvino-int8")),
    ],
)
def test_which_forms_there_are(runtimes: set[str], precisions: set[str], forms: tuple[str, ...]) -> None:
    assert list_forms(runtimes, precisions) == forms


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU stands for a GPU in ONNX Runtime."""
    for table in (sessions.PROVIDERS, servable.PROVIDERS):
        monkeypatch.setitem(table, "cuda", "CPUExecutionProvider")


def test_for_a_gpu_fp16_is_judged_and_served_there(folder: Path, gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    create = sessions.create_session

    def note(path: Path, threads: int, provider: str = "cpu") -> object:
        asked.append(provider)
        return create(path, threads, provider)

    for module in ("export", "graph.parity", "served.models"):
        monkeypatch.setattr(f"exporters.{module}.create_session", note)
    made = export_model(folder / "model", None, folder / "made", provider="cuda", max_int8_loss=1.0)
    assert list(made.accepted) == ["fp32", "fp16"]
    assert (made.best, made.provider) == ("fp16", "cuda")
    assert Export.load(made.directory) == made
    opened: list[str] = []
    monkeypatch.setattr(
        servable, "open_onnx", lambda path, provider: opened.append(provider) or open_onnx(path, provider)
    )
    served = open_served("made", made.directory)
    assert len(served.predict(["w1 w2"])) == 1
    assert opened == ["cuda"]
    assert set(asked) == {"cuda"}
    assert ExportOptions(provider="cuda", precision=("fp32",)).forms == ("fp32",)


def test_a_gpu_that_is_not_there_is_told_before_anything_is_done(folder: Path) -> None:
    with pytest.raises(
        ModelError, match=r"provider cuda must be there for what is computed, but ONNX Runtime has .*CPU"
    ):
        export_model(folder / "no model", None, folder / "made", provider="cuda")


def test_what_is_served_computes_as_it_was_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """In full fp32, and with CUDA's libraries where pip has put them."""
    asked: list[object] = []

    def start(path: str, options: object, providers: list[object]) -> object:
        asked.extend(providers)
        return SimpleNamespace(get_providers=list)

    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: asked.append("libraries"))
    with pytest.raises(RuntimeError, match="is to be served with provider cuda"):
        open_onnx("model.onnx", "cuda")
    assert asked == ["libraries", ("CUDAExecutionProvider", {"use_tf32": "0"})]


def test_what_was_exported_for_a_gpu_is_not_served_by_a_cpu_unnoticed(folder: Path) -> None:
    told = pytest.raises(
        RuntimeError, match="with provider cuda, but ONNX Runtime started CPUExecutionProvider. Install"
    )
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"), told:
        open_onnx(str(folder / "onnx" / "model.onnx"), "cuda")
