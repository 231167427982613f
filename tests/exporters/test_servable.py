"""The served model: raw text in, the labels of the PyTorch model out, for every kind of text; bad input is told."""

import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from transformers import PreTrainedTokenizerFast

import exporters
from compressor.data.metrics.ratios import Structure, find_entities, read_tags
from conftest import WORDS
from exported import Exported
from exporters.graph.openvino_ir import convert_ir, missing_packages
from exporters.graph.quantization import quantize_int8
from exporters.servable import (
    Asked,
    Facts,
    Query,
    RankingModel,
    ServableModel,
    SingleTextModel,
    answer_labels,
    answer_relevance,
    answer_spans,
    make_model,
    open_onnx,
)

OPENVINO = pytest.mark.skipif(bool(missing_packages()), reason="the extra openvino is not installed")
CODE = Path(exporters.__file__).parent / "servable.py"
HEADS = {
    "single": "classification",
    "pair": "classification",
    "choices": "multiple_choice",
    "labels": "multi_label",
    "pair_labels": "multi_label",
    "tokens": "token_classification",
}


def sentences(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, size=int(rng.integers(1, 12)))) for _ in range(count)]


def load(
    kind: str,
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerFast,
    exported: Exported,
    task_head: str | None = None,
) -> tuple[Any, Any]:
    """The PyTorch model, and its served form as MLflow loads it."""
    model, uri = log(kind, tmp_path, tokenizer, exported, task_head)
    return model, mlflow.pyfunc.load_model(uri)


def log(
    kind: str,
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerFast,
    exported: Exported,
    task_head: str | None = None,
) -> tuple[Any, str]:
    """The PyTorch model, and the address of its served form."""
    model, graph = exported("bert", task_head or HEADS[kind])
    tokenizer.save_pretrained(tmp_path)
    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(CODE),
            artifacts={"graph": str(graph), "tokenizer": str(tmp_path / "tokenizer.json")},
            model_config={"kind": kind, "answers": "full"},
            pip_requirements=[f"mlflow=={version('mlflow')}"],
        )
    return model, str(info.model_uri)


@pytest.fixture(autouse=True)
def _database(mlflow_uri: str) -> None:
    """Models are logged to the test's own database."""


def test_texts(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, exported: Exported) -> None:
    model, served = load("single", tmp_path, tokenizer, exported)
    texts = [*sentences(70), "", " ".join(WORDS * 5)]  # an empty one and one that is cut
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=16, return_tensors="pt")
    with torch.inference_mode():
        scores = model(**tokens).logits.softmax(-1)
    answers = served.predict(texts)
    assert [answer.label for answer in answers] == [["bad", "so so", "good"][int(i)] for i in scores.argmax(-1)]
    for answer, row in zip(answers, scores.tolist(), strict=True):
        assert list(answer.scores.values()) == pytest.approx(row, abs=1e-4)
        assert answer.score == max(answer.scores.values())
    assert served.predict([]) == []
    for wrong in ("w1", ["w1", 3], [None]):
        with pytest.raises(MlflowException, match="type hint|Expected list"):
            served.predict(wrong)


@pytest.mark.parametrize(("said", "threads"), [(None, 0), ("3", 3), ("", 0), ("many", 0)])
def test_a_container_says_how_many_threads_compute(
    said: str | None, threads: int, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    opened, session = [], onnxruntime.InferenceSession

    def open_session(path: str, options: onnxruntime.SessionOptions, **more: Any) -> onnxruntime.InferenceSession:
        opened.append(options.intra_op_num_threads)
        return session(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    open_onnx(str(exported("bert")[1]))
    assert opened == [threads]


def test_an_int8_answer_depends_on_its_text_alone(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, exported: Exported
) -> None:
    """Dynamic int8 rounds by the range of a whole batch; in batches these answers differ."""
    _, fp32 = exported("bert")
    tokenizer.save_pretrained(tmp_path)
    graph = quantize_int8(fp32, tmp_path / "model.int8.onnx")
    served = SingleTextModel()
    context = SimpleNamespace(artifacts={"graph": str(graph), "tokenizer": str(tmp_path / "tokenizer.json")})
    served.load_context(context)
    texts = sentences(40)
    together = served.predict(texts)
    assert together == [served.predict([text])[0] for text in texts]
    served._batch_size = 32
    assert served.predict(texts) != together


@OPENVINO
@pytest.mark.parametrize(("task_head", "served"), [("classification", SingleTextModel), ("regression", RankingModel)])
def test_an_ir_is_served_without_onnx_runtime(
    task_head: str,
    served: type[ServableModel],
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerFast,
    exported: Exported,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, graph = exported("bert", task_head)
    tokenizer.save_pretrained(tmp_path)
    ir = convert_ir(graph, tmp_path / "openvino_model.xml")
    (tmp_path / "elsewhere").mkdir()
    weights = ir.with_suffix(".bin").replace(tmp_path / "elsewhere" / "weights.bin")
    files = {"tokenizer": str(tmp_path / "tokenizer.json")}
    in_onnx, in_openvino = served(), served()
    in_onnx.load_context(SimpleNamespace(artifacts={"graph": str(graph), **files}))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    in_openvino.load_context(SimpleNamespace(artifacts={"graph": str(ir), "weights": str(weights), **files}))
    texts = sentences(40)
    if served is SingleTextModel:
        answers = [model.predict(texts) for model in (in_onnx, in_openvino)]
    else:
        answers = [model.predict([Query(query="w1", documents=texts)])[0].documents for model in (in_onnx, in_openvino)]
    assert len(answers[0]) == len(answers[1]) == 40
    for one, other in zip(*answers, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-4)
    assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]


def test_pairs(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, exported: Exported) -> None:
    model, served = load("pair", tmp_path, tokenizer, exported)
    first, second = sentences(40)[:20], sentences(40)[20:]
    tokens = tokenizer(first, second, padding=True, truncation=True, max_length=16, return_tensors="pt")
    with torch.inference_mode():
        scores = model(**tokens).logits.softmax(-1)
    answers = served.predict([{"text": a, "text_pair": b} for a, b in zip(first, second, strict=True)])
    np.testing.assert_allclose([list(answer.scores.values()) for answer in answers], scores, atol=1e-4)
    with pytest.raises(MlflowException, match="text_pair"):
        served.predict([{"text": "w1"}])


def test_choices(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, exported: Exported) -> None:
    """Rows may have different numbers of choices."""
    model, served = load("choices", tmp_path, tokenizer, exported)
    words = sentences(30)
    rows = [
        {"text": words[3 * i], "start": words[3 * i + 1], "choices": words[3 * i : 3 * i + 2 + i % 2]} for i in range(9)
    ]
    for row, answer in zip(rows, served.predict(rows), strict=True):
        texts = [f"{row['start']} {choice}" for choice in row["choices"]]
        tokens = tokenizer([row["text"]] * len(texts), texts, padding=True, truncation=True, max_length=16)
        with torch.inference_mode():
            inputs = {name: torch.tensor(values)[None] for name, values in tokens.items()}
            scores = model(**inputs).logits.softmax(-1)[0]
        assert list(answer.scores.values()) == pytest.approx(scores.tolist(), abs=1e-4)
    with pytest.raises(MlflowException, match="at least 1 item"):
        served.predict([rows[0], {"text": "w1", "choices": []}])


@pytest.mark.parametrize("kind", ["labels", "pair_labels"])
def test_several_labels(kind: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, exported: Exported) -> None:
    model, served = load(kind, tmp_path, tokenizer, exported)
    texts = (sentences(40)[:20], sentences(40)[20:])[: 2 if kind == "pair_labels" else 1]
    tokens = tokenizer(*texts, padding=True, truncation=True, max_length=16, return_tensors="pt")
    with torch.inference_mode():
        scores = model(**tokens).logits.sigmoid()
    pairs = [{"text": a, "text_pair": b} for a, b in zip(*texts, strict=True)] if kind == "pair_labels" else texts[0]
    answers = served.predict(pairs)
    names = ["bad", "so so", "good"]
    for answer, row in zip(answers, scores.tolist(), strict=True):
        assert list(answer.scores) == names
        assert list(answer.scores.values()) == pytest.approx(row, abs=1e-4)
        assert answer.labels == [name for name, score in zip(names, row, strict=True) if score > 0.5]
    assert len({tuple(answer.labels) for answer in answers}) > 1


def test_spans(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, exported: Exported) -> None:
    """The labels of the exported model are three kinds of entity; texts of two widths share a batch."""
    model, served = load("tokens", tmp_path, tokenizer, exported)
    texts = ["w1 w2, w3", "w40", "  w1   w9 w9\n w17 w23 w31 ", ""]
    names = ["bad", "so so", "good"]
    for text, answer in zip(texts, served.predict(texts), strict=True):
        tokens = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
        offsets = tokens.pop("offset_mapping")[0].tolist()[1:-1]
        with torch.inference_mode():
            scores = model(**tokens).logits[0, 1:-1].softmax(-1)
        told = [names[label] for label in scores.argmax(-1).tolist()]
        expected: list[list[Any]] = []
        for place, (label, (start, end)) in enumerate(zip(told, offsets, strict=True)):
            if place and told[place - 1] == label:
                expected[-1][1] = end
                expected[-1][3].append(float(scores[place].max()))
            else:
                expected.append([start, end, label, [float(scores[place].max())]])
        assert [(span.start, span.end, span.label) for span in answer.spans] == [(a, b, c) for a, b, c, _ in expected]
        for span, (start, end, _, parts) in zip(answer.spans, expected, strict=True):
            assert span.text == text[start:end]
            assert span.score == pytest.approx(float(np.mean(parts)), abs=1e-4)


def test_spans_are_the_metric_s_entities(tokenizer: PreTrainedTokenizerFast) -> None:
    names = ["O", "B-LOC", "I-LOC", "E-LOC", "S-LOC", "B-PER", "I-PER", "NOUN"]
    facts = Facts(labels=names, head="token_classification", pad_values={}, max_length=99, one_row=False)
    rng = np.random.default_rng(0)
    for _ in range(50):
        text = " ".join(rng.choice(WORDS, size=12))
        labels = rng.integers(len(names), size=14)
        asked = Asked(text, tokenizer.backend_tokenizer.encode(text))
        spans = answer_spans(9 * np.eye(len(names))[labels], facts, asked).spans
        structure = Structure(groups=np.zeros(12, dtype=int), tags=read_tags(names))
        first, last, kinds = find_entities(labels[1:-1], structure)
        offsets = asked.encoding.offsets[1:-1]
        places = [(offsets[a][0], offsets[b][1]) for a, b in zip(first, last, strict=True)]
        assert [(span.start, span.end) for span in spans] == places
        assert [span.label for span in spans] == [["LOC", "PER", "NOUN"][kind] for kind in kinds]


def test_graphs_of_older_exports_say_it_another_way() -> None:
    written = {"labels": "[]", "pad_values": "{}", "max_length": "8"}
    assert Facts.from_json({**written, "regression": "true"}).head == "regression"
    assert Facts.from_json({**written, "regression": "false"}).head == "classification"


def test_values(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, exported: Exported) -> None:
    model, served = load("single", tmp_path, tokenizer, exported, "regression")
    with torch.inference_mode():
        value = model(**tokenizer(["w1 w2"], return_tensors="pt")).logits.item()
    assert served.predict(["w1 w2"])[0].score == pytest.approx(value, abs=1e-4)


def test_rankings(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, exported: Exported) -> None:
    """Documents come back best first, with the scores of the PyTorch model."""
    model, served = load("documents", tmp_path, tokenizer, exported, "regression")
    texts = sentences(41)
    rows = [{"query": texts[0], "documents": texts[1:]}, {"query": "", "documents": []}]
    rows += [{"query": "w1", "documents": ["w2 w3", "w4", "w2 w3"]}]
    first, nothing, last = served.predict(rows)
    tokens = tokenizer([texts[0]] * 40, texts[1:], padding=True, truncation=True, max_length=16, return_tensors="pt")
    with torch.inference_mode():
        scores = model(**tokens).logits[:, 0].numpy()
    assert [document.index for document in first.documents] == np.argsort(-scores, kind="stable").tolist()
    for document in first.documents:
        assert document.document == texts[1 + document.index]
        assert document.score == pytest.approx(float(scores[document.index]), abs=1e-4)
    assert nothing.documents == []
    twice = [document.index for document in last.documents if document.document == "w2 w3"]
    assert twice == [0, 2]  # in the order they were given
    with pytest.raises(MlflowException, match="documents"):
        served.predict([{"query": "w1"}])


def test_relevances_lie_between_0_and_1() -> None:
    facts: Any = None
    asked: Any = None
    scores = [answer_relevance(np.array([value]), facts, asked).score for value in (-1000.0, -2.0, 0.0, 1000.0)]
    assert scores == pytest.approx([0, 1 / (1 + np.exp(2)), 0.5, 1])


@pytest.mark.parametrize("outputs", [(-17.5, -19.0), (-11.3, -11.3001), (19.0, 17.5), (30.0, 25.0), (-200.0, -210.0)])
def test_relevances_far_from_0_keep_the_order_of_the_outputs(outputs: tuple[float, float]) -> None:
    facts: Any = None
    asked: Any = None
    first, second = (answer_relevance(np.array([value], np.float32), facts, asked).score for value in outputs)
    assert first > second


@pytest.mark.filterwarnings("error")
def test_labels_are_those_whose_outputs_are_above_0() -> None:
    asked: Any = None
    facts = Facts(labels=["a", "b", "c"], head="multi_label", pad_values={}, max_length=8, one_row=False)
    found = answer_labels(np.array([1e-9, -200, 3], np.float32), facts, asked)
    assert found.labels == ["a", "c"]
    assert found.scores == pytest.approx({"a": 0.5, "b": 0, "c": 1 / (1 + np.exp(-3))})


@pytest.mark.filterwarnings("ignore:.* is ill-defined")  # of labels that the model tells nowhere
@pytest.mark.parametrize(("kind", "answers"), [("single", "labels"), ("pair", "numbers")])
def test_mlflow_evaluates_answers_that_are_labels(
    kind: str, answers: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, exported: Exported
) -> None:
    """A user's own call of MLflow's `evaluate`, with names or numbers as targets."""
    _, uri = log(kind, tmp_path, tokenizer, exported)
    texts = sentences(40)
    rows = {"text": texts[:20], "text_pair": texts[20:]} if kind == "pair" else {"body": texts[:20]}
    data = pd.DataFrame(rows)
    asked = data.to_dict(orient="records") if kind == "pair" else texts[:20]
    told = [answer.label for answer in mlflow.pyfunc.load_model(uri).predict(asked)]
    truth = [*told[:15], *["so so" if label != "so so" else "bad" for label in told[15:]]]
    names = ["bad", "so so", "good"]
    data["target"] = truth if answers == "labels" else [names.index(label) for label in truth]
    result = mlflow.models.evaluate(
        uri,
        data,
        targets="target",
        model_type="classifier",
        model_config={"answers": answers},
        evaluator_config={"log_model_explainability": False},
    )
    assert result.metrics["accuracy_score"] == 0.75
    assert "confusion_matrix" in result.artifacts
    assert mlflow.get_logged_model(uri.partition("/")[2]).metrics


def test_mlflow_evaluates_values(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, exported: Exported) -> None:
    _, uri = log("single", tmp_path, tokenizer, exported, "regression")
    texts = sentences(9)
    values = [answer.score for answer in mlflow.pyfunc.load_model(uri).predict(texts)]
    data = pd.DataFrame({"text": texts, "target": [value + 0.5 for value in values]})
    settings: dict[str, Any] = {"evaluator_config": {"log_model_explainability": False}}
    found = mlflow.models.evaluate(
        uri, data, targets="target", model_type="regressor", model_config={"answers": "labels"}, **settings
    )
    assert found.metrics["mean_absolute_error"] == pytest.approx(0.5, abs=1e-6)


def test_forms_of_answers_are_of_one_label() -> None:
    with pytest.raises(ValueError, match="answers of this model must be full or labels or numbers, but got 'names'"):
        make_model({"kind": "pair", "answers": "names"})
    with pytest.raises(ValueError, match="answers of this model must be full, but got 'labels'"):
        make_model({"kind": "tokens", "answers": "labels"})
    assert isinstance(make_model({"kind": "single"}), SingleTextModel)  # as older versions were logged
