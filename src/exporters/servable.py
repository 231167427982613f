"""The served model: raw text in, label and scores out. Needs mlflow, its runtime, tokenizers and numpy alone.

MLflow keeps this file as the model's code and runs it where the model is loaded; nothing is pickled. What the texts
look like is in the model's configuration, a key of `KINDS`; how outputs are answered is in the graph's metadata, a key
of `ANSWERS`. Whoever loads the model may have answers in another form, a key of `FORMS_OF_ANSWERS`: MLflow's `evaluate`
takes labels alone. An ONNX graph is computed by ONNX Runtime, an IR by OpenVINO; the other one need not be installed.
"""

import functools
import json
import math
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from mlflow.models import ModelConfig, set_model
from mlflow.pyfunc import PythonModel
from pydantic import BaseModel, Field
from tokenizers import Encoding, Tokenizer

BATCH_SIZE = 32
"""Rows that are computed at once; more are cut into batches of like lengths. An int8 graph asks for one at a time."""


class TextPair(BaseModel):
    """Two texts that belong together."""

    text: str
    text_pair: str


class Choices(BaseModel):
    """A text, how every ending begins, and the endings to choose from."""

    text: str
    start: str = ""
    choices: list[str] = Field(min_length=1)


class Query(BaseModel):
    """A query and the documents to rank for it."""

    query: str
    documents: list[str]


class RankedDocument(BaseModel):
    """A document, its place among those that were given, from 0, and its score."""

    index: int
    document: str
    score: float


class Ranking(BaseModel):
    """The documents of a query, best first."""

    documents: list[RankedDocument]


class Answer(BaseModel):
    """What is answered for a row: a label with its score and all scores (probabilities), or a value."""

    label: str
    score: float
    scores: dict[str, float]


class LabelsAnswer(BaseModel):
    """What is answered where a row may have several labels: those it has, and the score of each (a probability)."""

    labels: list[str]
    scores: dict[str, float]


class Span(BaseModel):
    """A part of a text that has a label, from its letter `start` up to but not including `end`."""

    text: str
    start: int
    end: int
    label: str
    score: float


class SpansAnswer(BaseModel):
    """What is found in a text."""

    spans: list[Span]


class Asked(NamedTuple):
    """A row that is asked about."""

    text: Any
    """As it was tokenized: a text, or a pair; the first of several."""
    encoding: Encoding
    """Its tokens."""


class Graph(NamedTuple):
    """A graph in its runtime."""

    run: Callable[[dict[str, np.ndarray]], np.ndarray]
    """Its outputs for inputs by name."""
    inputs: list[str]
    rank: int
    """Axes of an input: 3 where rows have choices."""
    facts: dict[str, str]
    """What it says of itself: JSON values by name."""


def wanted_threads() -> int:
    """Return the threads that OMP_NUM_THREADS asks for; 0, a runtime's own choice, where it is not set.

    The runtimes do not read it, and count the cores of the node, of which a container may use a part.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdecimal() else 0


PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Where ONNX Runtime computes: what the model's configuration may ask for as `provider`."""


def open_onnx(path: str, provider: str = "cpu") -> Graph:
    """Return an ONNX graph in ONNX Runtime.

    Raises:
        RuntimeError: it cannot compute where it is to.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when it is imported
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.intra_op_num_threads = wanted_threads()
    wanted: tuple[str, dict[str, str]] = (PROVIDERS[provider], {})
    if wanted[0] == "CUDAExecutionProvider":
        onnxruntime.preload_dlls()  # CUDA's libraries that came from pip, which nothing else finds without PyTorch
        wanted = (wanted[0], {"use_tf32": "0"})  # full fp32 products, as it was verified
    session = onnxruntime.InferenceSession(path, options, providers=[wanted])
    if PROVIDERS[provider] not in session.get_providers():  # it falls back to the CPU with a warning
        raise RuntimeError(
            f"the model is to be served with provider {provider}, but ONNX Runtime started "
            f"{', '.join(session.get_providers())}. Install onnxruntime-gpu and its CUDA libraries, or serve with "
            'the configuration {"provider": "cpu"}.'
        )
    inputs, outputs = session.get_inputs(), [entry.name for entry in session.get_outputs()]
    return Graph(
        run=lambda values: session.run(outputs, values)[0],
        inputs=[entry.name for entry in inputs],
        rank=len(inputs[0].shape),
        facts=session.get_modelmeta().custom_metadata_map,
    )


@functools.cache
def openvino_core() -> Any:
    """Return OpenVINO's core: one for the process, as a second one that outlives the first leaves signals fatal."""
    # The same as in `graph/openvino_ir.py`, which is not there where a model is served.
    before = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # else OpenVINO reports that it is imported
    try:
        import openvino
    finally:
        del sys.modules["openvino_telemetry"]
        if before is not None:
            sys.modules["openvino_telemetry"] = before
    return openvino.Core()


def open_ir(path: str, weights: str) -> Graph:
    """Return an IR in OpenVINO, computed in the precision that it names."""
    core = openvino_core()
    model = core.read_model(path, weights)
    facts = {key: str(value.value) for key, value in model.get_rt_info("compressor").astype(dict).items()}
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": facts["computes_in"]}
    settings |= {"INFERENCE_NUM_THREADS": str(wanted_threads())} if wanted_threads() else {}
    compiled = core.compile_model(model, "CPU", settings)
    return Graph(
        # A request for each call: a server may call from several threads, and a request is of one at a time.
        run=lambda values: compiled.create_infer_request().infer(values)[0],
        inputs=[entry.any_name for entry in model.inputs],
        rank=len(model.inputs[0].partial_shape),
        facts=facts,
    )


class Facts(NamedTuple):
    """What a graph says of itself."""

    labels: list[str]
    head: str
    """A key of `ANSWERS`."""
    pad_values: dict[str, int]
    max_length: int
    one_row: bool
    """Whether rows are computed one at a time."""
    prompt: str = ""
    """What stands before every text."""
    truncation_side: str = "right"
    """Where longer texts are cut: right or left."""

    @classmethod
    def from_json(cls, written: dict[str, str]) -> "Facts":
        """Return the graph's metadata, a JSON value by name."""
        return cls(
            labels=json.loads(written["labels"]),
            # Graphs of version 0.1.0 knew these two alone.
            head=written.get("head") or ("regression" if written["regression"] == "true" else "classification"),
            pad_values=json.loads(written["pad_values"]),
            max_length=int(written["max_length"]),
            one_row=written.get("one_row") == "true",
            prompt=written.get("prompt", ""),
            truncation_side=written.get("truncation_side", "right"),
        )


def answer_label(logits: np.ndarray, facts: Facts, asked: Asked) -> Answer:  # noqa: ARG001
    """Return the best label of logits [classes], or the best choice's number where there are not as many as labels."""
    # The largest is taken off first, or exp overflows.
    scores = np.exp(logits - logits.max())
    scores /= scores.sum()
    labels = facts.labels if len(facts.labels) == len(scores) else [str(index) for index in range(len(scores))]
    best = int(np.argmax(scores))
    named = {label: float(score) for label, score in zip(labels, scores, strict=True)}
    return Answer(label=labels[best], score=float(scores[best]), scores=named)


def answer_value(outputs: np.ndarray, facts: Facts, asked: Asked) -> Answer:  # noqa: ARG001
    """Return the value of outputs [1]."""
    return Answer(label="value", score=float(outputs[0]), scores={"value": float(outputs[0])})


def answer_relevance(outputs: np.ndarray, facts: Facts, asked: Asked) -> Answer:
    """Return the relevance, from 0 to 1, of outputs [1]."""
    return answer_value(np.asarray([sigmoid(float(outputs[0]))]), facts, asked)


def answer_labels(logits: np.ndarray, facts: Facts, asked: Asked) -> LabelsAnswer:  # noqa: ARG001
    """Return the labels whose logits [labels] are above 0."""
    values = dict(zip(facts.labels, logits.tolist(), strict=True))
    scores = {label: sigmoid(value) for label, value in values.items()}
    return LabelsAnswer(labels=[label for label, value in values.items() if value > 0], scores=scores)


def sigmoid(value: float) -> float:
    """Return the probability of a logit, in double precision: documents are ranked by it, far from 0 too."""
    odds = math.exp(-abs(value))  # of the other side, which never overflows
    return 1 / (1 + odds) if value >= 0 else odds / (1 + odds)


def answer_spans(logits: np.ndarray, facts: Facts, asked: Asked) -> SpansAnswer:
    """Return the entities of logits [length, labels]: each word by its first piece, neighbours of one kind together.

    Words are what the tokenizer takes for such. A span's score is the mean of its words' probabilities.
    """
    found: list[tuple[list[int], str, list[float]]] = []
    continues = False
    for place, start, end in _words(asked.encoding):
        scores = np.exp(logits[place] - logits[place].max())
        best = int(scores.argmax())
        prefix, kind = split_label(facts.labels[best])
        if kind is not None:
            # The same reading of BIOES as `compressor.data.metrics.ratios.find_entities`; a test holds them together.
            if not (continues and found[-1][1] == kind and prefix not in "BSU"):
                found.append(([start, end], kind, []))
            found[-1][0][1] = end
            found[-1][2].append(float(scores[best] / scores.sum()))
        continues = kind is not None and prefix not in "ELSU"
    spans = []
    for (start, end), kind, parts in found:
        text = asked.text[start:end]
        start += len(text) - len(text.lstrip())  # a piece may begin with the space before it
        spans.append(Span(text=text.strip(), start=start, end=end, label=kind, score=float(np.mean(parts))))
    return SpansAnswer(spans=spans)


def split_label(name: str) -> tuple[str, str | None]:
    """Return prefix and kind of a label such as `B-PER`; no kind for `O`. A name of another form is a kind itself."""
    prefix, dash, kind = name.partition("-")
    if name == "O":
        return "", None
    return (prefix, kind) if dash and prefix in ("B", "I", "E", "L", "S", "U") else ("I", name)


def _words(encoding: Encoding) -> list[tuple[int, int, int]]:
    """Return per word the place of its first token, and where it begins and ends in the text."""
    found: dict[int, tuple[int, int, int]] = {}
    for place, (word, (start, end)) in enumerate(zip(encoding.word_ids, encoding.offsets, strict=True)):
        if word is not None:
            first, begin, _ = found.get(word, (place, start, end))
            found[word] = first, begin, end
    return list(found.values())


def answer_vector(outputs: np.ndarray, facts: Facts, asked: Asked) -> list[float]:  # noqa: ARG001
    """Return the vector of outputs [dimensions]."""
    return [float(value) for value in outputs]


ANSWERS: dict[str, Callable[[np.ndarray, Facts, Asked], Any]] = {
    "classification": answer_label,
    "regression": answer_value,
    "multiple_choice": answer_label,
    "multi_label": answer_labels,
    "token_classification": answer_spans,
    "rerank": answer_relevance,
    "rerank_scores": answer_value,
    "embedding": answer_vector,
}
"""By the head of the model."""


def tell_label(answer: Answer) -> str | float:
    """Return the label of an answer, or its value."""
    return answer.score if answer.label == "value" and len(answer.scores) == 1 else answer.label


def tell_number(answer: Answer) -> int | float:
    """Return the number of an answer's label, or its value."""
    label = tell_label(answer)
    return list(answer.scores).index(label) if isinstance(label, str) else label


FORMS_OF_ANSWERS: dict[str, Callable[[Any], Any] | None] = {
    "full": None,
    "labels": tell_label,
    "numbers": tell_number,
}
"""What the model's configuration may ask for: `answers`. The others than `full` are of one label or value a row."""
_OF_ONE_LABEL = ("single", "pair", "choices")
"""Kinds whose rows have one label or value each."""


class ServableModel(PythonModel):  # type: ignore[misc]
    """Tokenizes, runs the graph and names the labels."""

    def __init__(self, answers: str = "full", provider: str = "cpu") -> None:
        self._form, self._provider = FORMS_OF_ANSWERS[answers], provider

    def load_context(self, context: Any) -> None:
        """Open the tokenizer and the graph, which says of itself what it needs."""
        path = context.artifacts["graph"]
        if path.endswith(".xml"):
            self._graph = open_ir(path, context.artifacts["weights"])
        else:
            self._graph = open_onnx(path, self._provider)
        self._facts = Facts.from_json(self._graph.facts)
        self._batch_size = 1 if self._facts.one_row else BATCH_SIZE
        self._tokenizer = Tokenizer.from_file(context.artifacts["tokenizer"])
        self._tokenizer.enable_truncation(self._facts.max_length, direction=self._facts.truncation_side)
        # A saved tokenizer may pad to a fixed length; batches are padded below, to their longest row.
        self._tokenizer.no_padding()

    def _answer(self, rows: list[list[Any]]) -> list[Any]:
        """Return the answers to rows of texts (or pairs) to tokenize: one each, or one per choice."""
        if not rows:
            return []
        texts = [text for row in rows for text in row]
        encodings = self._tokenizer.encode_batch(texts)
        # Texts were tokenized end to end: row i has those up to ends[i].
        ends = np.cumsum([len(row) for row in rows])
        grouped = [encodings[end - len(row) : end] for row, end in zip(rows, ends, strict=True)]
        widths = np.asarray([max(len(encoding.ids) for encoding in row) for row in grouped])
        answers: list[Any] = [None] * len(rows)
        order = np.lexsort(
            (widths, np.asarray([len(row) for row in rows]))
        )  # as many choices together, like lengths together
        for batch in self._batches(order, rows):
            outputs = self._run([grouped[index] for index in batch])
            for index, values in zip(batch, outputs, strict=True):
                answers[index] = ANSWERS[self._facts.head](
                    values, self._facts, Asked(rows[index][0], grouped[index][0])
                )
        return answers if self._form is None else [self._form(answer) for answer in answers]

    def _batches(self, order: np.ndarray, rows: list[list[Any]]) -> list[list[int]]:
        batches: list[list[int]] = []
        for index in order:
            # Rows of one batch have as many choices: they share an axis.
            fits = batches and len(batches[-1]) < self._batch_size and len(rows[batches[-1][0]]) == len(rows[index])
            if fits:
                batches[-1].append(int(index))
            else:
                batches.append([int(index)])
        return batches

    def _run(self, rows: list[list[Encoding]]) -> np.ndarray:
        """Return logits [rows, …] of tokenized rows."""
        width = max(len(encoding.ids) for row in rows for encoding in row)
        shape = (len(rows), len(rows[0]), width)
        # [rows, choices, length], each input filled with its own padding; texts are written over it from the left.
        values = {
            name: np.full(shape, self._facts.pad_values.get(name, 0), dtype=np.int64) for name in self._graph.inputs
        }
        for row, choices in enumerate(rows):
            for choice, encoding in enumerate(choices):
                columns = {
                    "input_ids": encoding.ids,
                    "token_type_ids": encoding.type_ids,
                    "attention_mask": encoding.attention_mask,
                }
                for name in self._graph.inputs:
                    values[name][row, choice, : len(encoding.ids)] = columns[name]
        if self._graph.rank == 2:
            # Without choices the graph's inputs are [rows, length].
            values = {name: array[:, 0] for name, array in values.items()}
        return self._graph.run(values)


class SingleTextModel(ServableModel):
    """Takes texts."""

    def predict(self, model_input: list[str]) -> list[Answer]:
        """Return an answer per text."""
        return self._answer([[text] for text in model_input])


class TextPairModel(ServableModel):
    """Takes pairs of texts."""

    def predict(self, model_input: list[TextPair]) -> list[Answer]:
        """Return an answer per pair."""
        return self._answer([[(row.text, row.text_pair)] for row in model_input])


class ChoicesModel(ServableModel):
    """Takes texts with endings to choose from."""

    def predict(self, model_input: list[Choices]) -> list[Answer]:
        """Return an answer per row: its label is the number of the choice."""
        return self._answer(
            [[(row.text, f"{row.start} {choice}".strip()) for choice in row.choices] for row in model_input]
        )


class RankingModel(ServableModel):
    """Takes queries with documents to rank."""

    def predict(self, model_input: list[Query]) -> list[Ranking]:
        """Return a ranking per query; documents of the same score stay in the order they were given in."""
        # Documents of all queries at once, so that batches are full; answers come back in the order they were asked in.
        answers = iter(self._answer([[(row.query, text)] for row in model_input for text in row.documents]))
        rankings = []
        for row in model_input:
            scored = [
                RankedDocument(index=index, document=text, score=next(answers).score)
                for index, text in enumerate(row.documents)
            ]
            rankings.append(Ranking(documents=sorted(scored, key=lambda each: -each.score)))
        return rankings


class EmbeddingModel(ServableModel):
    """Takes texts, gives vectors."""

    def predict(self, model_input: list[str]) -> list[list[float]]:
        """Return a vector per text."""
        return self._answer([[self._facts.prompt + text] for text in model_input])


class LabelsModel(ServableModel):
    """Takes texts that may have several labels."""

    def predict(self, model_input: list[str]) -> list[LabelsAnswer]:
        """Return an answer per text."""
        return self._answer([[text] for text in model_input])


class PairLabelsModel(ServableModel):
    """Takes pairs of texts that may have several labels."""

    def predict(self, model_input: list[TextPair]) -> list[LabelsAnswer]:
        """Return an answer per pair."""
        return self._answer([[(row.text, row.text_pair)] for row in model_input])


class SpansModel(ServableModel):
    """Takes texts, in which it finds parts that have labels."""

    def predict(self, model_input: list[str]) -> list[SpansAnswer]:
        """Return an answer per text."""
        return self._answer([[text] for text in model_input])


KINDS: dict[str, type[ServableModel]] = {
    "single": SingleTextModel,
    "embed": EmbeddingModel,
    "pair": TextPairModel,
    "choices": ChoicesModel,
    "labels": LabelsModel,
    "pair_labels": PairLabelsModel,
    "tokens": SpansModel,
    "documents": RankingModel,
}


def make_model(config: dict[str, Any]) -> ServableModel:
    """Return the model of a configuration: its kind, and in which form it answers.

    Raises:
        ValueError: there is no such form, or this kind does not have it.
    """
    kind, answers = config["kind"], config.get("answers", "full")
    forms = list(FORMS_OF_ANSWERS) if kind in _OF_ONE_LABEL else ["full"]
    if answers not in forms:
        raise ValueError(f"answers of this model must be {' or '.join(forms)}, but got {answers!r}")
    return KINDS[kind](answers, config.get("provider", "cpu"))


if __name__ != "exporters.servable":  # run by MLflow as a model's code, not imported as a module
    set_model(make_model(ModelConfig(development_config={"kind": "single"}).to_dict()))
