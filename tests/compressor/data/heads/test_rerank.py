"""Reranking: losses against their formulas, what labels are, queries that stay together, bad rows."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import AutoConfig, PreTrainedTokenizerFast

from compressor.data.batches import encode
from compressor.data.heads.rerank import RERANK, RERANK_SCORES
from compressor.data.loading import load_task_data
from compressor.data.metrics.ratios import Structure
from compressor.data.rows import TaskData
from compressor.data.sources import DataSource
from compressor.errors import TaskDataError
from compressor.evaluation.evaluator import Evaluator
from compressor.network.loading import load_base_model
from compressor.network.saving import save_sliced_model
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork
from conftest import DIMENSIONS, UNITS, WORDS
from exporters.servable import ANSWERS

WriteRows = Callable[..., Path]
STUDENT, TEACHER = torch.tensor([[0.3], [-1.0], [2.0]]), torch.tensor([[1.0], [0.0], [-1.0]])
EVEN = SubNetwork(heads=((0, 1, 2, 3), (), ()), units=(tuple(range(UNITS)), (), ()))
ODD = SubNetwork(heads=((0, 3), (), ()), units=((), (1, 2, 20), ()))
RELEVANCES = torch.tensor([0.0, 1.0, 0.25])


def query_rows(num_queries: int = 20, num_documents: int = 5, **more: Any) -> list[dict[str, object]]:
    """Queries of one word and documents that are relevant where they hold it; grades 0 to 2."""
    return [
        {
            "query": WORDS[query % 50],
            "document": f"{WORDS[(query + 7 * place) % 50]} {WORDS[place]} d{query}-{place}",
            "label": (place % 5 == 0) * 2 + (place % 5 == 3),
            **more,
        }
        for query in range(num_queries)
        for place in range(num_documents)
    ]


def load(file: Path, **more: Any) -> TaskData:
    return load_task_data(DataSource(task_name="rerank", train_file=str(file), **more))


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    shares = torch.sigmoid(outputs)
    return -(targets * shares.log() + (1 - targets) * (1 - shares).log()).mean()


def test_relevances_are_learnt_by_cross_entropy() -> None:
    hard = cross_entropy(STUDENT[:, 0], RELEVANCES)
    torch.testing.assert_close(RERANK.loss(STUDENT, RELEVANCES), hard)
    soft = cross_entropy(STUDENT[:, 0] / 3, torch.sigmoid(TEACHER[:, 0] / 3))
    torch.testing.assert_close(RERANK.distillation_loss(STUDENT, TEACHER, RELEVANCES, 3.0), 9 * soft + hard)


def test_a_teacher_s_scores_are_learnt_by_squared_error() -> None:
    scores = torch.tensor([4.0, -2.0, 2.0])
    hard = ((STUDENT[:, 0] - scores) ** 2).mean()
    torch.testing.assert_close(RERANK_SCORES.loss(STUDENT, scores), hard)
    soft = ((STUDENT - TEACHER) ** 2).mean()
    torch.testing.assert_close(RERANK_SCORES.distillation_loss(STUDENT, TEACHER, scores, 3.0), soft + hard)


@pytest.mark.parametrize(
    ("labels", "head", "read"),
    [
        ([0, 1], "rerank", [0, 1]),
        ([0, 4, 1, 2], "rerank", [0, 1, 0.25, 0.5]),
        (["0", "2.0"], "rerank", [0, 1]),
        ([0.25, 0.75], "rerank", [0.25, 0.75]),
        ([-3.5, 8.25], "rerank_scores", [-3.5, 8.25]),
        ([0.5, 1.5], "rerank_scores", [0.5, 1.5]),
    ],
)
def test_labels_tell_what_they_are(labels: list[object], head: str, read: list[float], write_rows: WriteRows) -> None:
    rows = [{**row, "label": labels[place % len(labels)]} for place, row in enumerate(query_rows(20, 8))]
    data = load(write_rows(rows))
    assert data.task.head.name == head
    assert set(data.train.labels.tolist()) == set(read)
    assert data.train.labels.dtype == np.float32
    assert data.label_names == ()


def test_queries_stay_together(write_rows: WriteRows) -> None:
    file = write_rows(query_rows())
    data = load(file, max_train_samples=23, max_eval_samples=12)
    assert [len(rows) for rows in data.parts.values()] == [20, 10, 10]
    parts = [{row[0] for row in rows.texts} for rows in data.parts.values()]
    assert list(map(len, parts)) == [4, 2, 2]
    assert len(set.union(*parts)) == 8
    for rows in data.parts.values():
        assert rows.groups is not None
        assert len({(text[0], group) for text, group in zip(rows.texts, rows.groups.tolist(), strict=True)}) == len(
            np.unique(rows.groups)
        )
    assert load(file, max_train_samples=1).train.labels.tolist() == [1, 0, 0, 0.5, 0]
    assert load(file, dataset_seed=1).digest != load(file).digest


def test_a_column_tells_the_queries(write_rows: WriteRows) -> None:
    rows = [
        {"q": "same", "d": row["document"], "grade": row["label"], "id": i // 10} for i, row in enumerate(query_rows())
    ]
    named: dict[str, Any] = {"query_column": "q", "document_column": "d", "label_column": "grade"}
    data = load(write_rows(rows), group_column="id", **named)
    assert data.train.groups is not None
    assert len(np.unique(data.train.groups)) == 6
    assert data.notes == (
        "1 of 1 validation queries are train queries too: errors on them are too good.",
        "1 of 1 test queries are train queries too: errors on them are too good.",
        "1 of 1 test queries are validation queries too: errors on them are too good.",
    )
    with pytest.raises(TaskDataError, match="the test queries must be held out of at least 5 training queries, but"):
        load(write_rows(rows), **named)  # all are one query


def test_queries_without_a_relevant_document_are_told(write_rows: WriteRows) -> None:
    rows = query_rows()
    for row in rows[:50]:
        row["label"] = 0
    data = load(write_rows(rows))
    expected, total = [], 0
    for name, part in data.parts.items():
        queries = {text[0] for text in part.texts}
        without = queries - {text[0] for text, label in zip(part.texts, part.labels, strict=True) if label}
        total += len(without)
        told = f"{len(without)} of {len(queries)} {name} queries have no relevant document and are left out."
        expected += [told] if without else []
    assert data.notes == tuple(expected)
    assert total == 10


def test_batches_know_their_queries(write_rows: WriteRows, tokenizer: PreTrainedTokenizerFast) -> None:
    data = load(write_rows(query_rows()))
    encoded = encode(data.validation, data.task, tokenizer, 40)
    assert encoded.structure is not None
    assert encoded.structure.groups.tolist() == data.validation.groups.tolist()  # type: ignore[union-attr]


def test_random_order_is_the_trivial_predictor(write_rows: WriteRows) -> None:
    data = load(write_rows(query_rows()))
    ideal = 2 + 1 / np.log2(3)  # grades 2 and 1 of five documents
    expected = 3 / 5 * (1 / np.log2(np.arange(2, 7))).sum() / ideal
    trivial = data.task.head.find_trivial(data)
    assert trivial.name == "random order"
    assert (trivial.error, trivial.test_error) == pytest.approx((1 - expected, 1 - expected))


@pytest.mark.parametrize(
    ("head", "name", "activation"), [(RERANK, "relevance", "Sigmoid"), (RERANK_SCORES, "score", "Identity")]
)
def test_the_configuration_says_what_cross_encoders_apply(head: Any, name: str, activation: str) -> None:
    config = AutoConfig.for_model("bert")
    head.configure(config, ())
    assert (config.num_labels, config.id2label) == (1, {0: name})
    path, _, last = config.sentence_transformers["activation_fn"].rpartition(".")
    assert last == activation
    assert getattr(__import__(path, fromlist=[last]), last) is getattr(torch.nn, last)


def test_the_tokenizer_is_saved_with_the_length(base_model_dir: Path, write_rows: WriteRows) -> None:
    data = load(write_rows(query_rows()), max_seq_length=20)
    _, tokenizer = load_base_model(str(base_model_dir), data.task, (), seed=0)
    assert tokenizer.model_max_length == 20


def test_near_ties_of_different_relevance_give_slack() -> None:
    rows: Any = type(
        "rows", (), {"labels": np.array([0.0, 1, 0]), "structure": Structure(groups=np.zeros(3, dtype=int))}
    )
    clear, tied = np.array([[0.5], [0.9], [0.5]]), np.array([[0.5], [0.5], [0.1]])
    assert RERANK.rounding_slack(clear, "mrr_at_10", rows) == pytest.approx(1e-6)
    assert RERANK.rounding_slack(tied, "mrr_at_10", rows) == pytest.approx(0.5 + 1e-6)


ROWS = query_rows()
BAD_ROWS: dict[str, tuple[list[dict[str, object]], dict[str, Any], str]] = {
    "no query column": (
        [{"q": "a", "document": "b", "label": 1}],
        {},
        "column 'query' must exist in the train rows, but their columns are 'q', 'document', 'label'. "
        "Name it with --query-column.",
    ),
    "no columns at all": (
        [{"q": "a"}],
        {"group_column": "id"},
        "column 'query' and 'document' and 'label' and 'id' must exist in the train rows, but their columns are 'q'. "
        "Name them with --query-column and --document-column and --label-column and --group-column.",
    ),
    "one column twice": (
        ROWS,
        {"document_column": "query"},
        "texts and label must be different columns, but 'query' is given for two. "
        "Correct --query-column or --document-column or --label-column.",
    ),
    "a document that is a number": (
        [{**ROWS[0], "document": 5}],
        {},
        "column 'document' must hold text, but row 1 of the train rows holds 5. "
        "Correct the file or name another --document-column.",
    ),
    "a label in words": (
        [{**ROWS[0], "label": "good"}],
        {},
        "the labels of a reranker must be numbers, but row 1 of the train rows holds 'good'. Check the file.",
    ),
    "a group that is a list": (
        [{**ROWS[0], "id": [1]}],
        {"group_column": "id"},
        "column 'id' must say of which query a row is, but row 1 of the train rows holds [1]. "
        "Write a text or a number.",
    ),
    "a row without group": (
        [{**ROWS[0], "id": 1}, ROWS[1]],
        {"group_column": "id"},
        "column 'id' must say of which query a row is, but row 2 of the train rows holds nan. "
        "Write a text or a number.",
    ),
    "one document a query": (
        [{**row, "query": f"query {number}"} for number, row in enumerate(ROWS)],
        {},
        "the train rows must hold queries with relevant documents and others, but of their 56 queries (56 rows) none "
        "can be ranked by ndcg_at_10. Check --group-column and --label-column.",
    ),
    "nothing relevant": (
        [{**row, "label": 0} for row in ROWS],
        {},
        "the train rows must hold queries with relevant documents and others, but of their 11 queries (55 rows) none "
        "can be ranked by ndcg_at_10. Check --group-column and --label-column.",
    ),
    "everything relevant": (
        [{**row, "label": 0.5 + 0.01 * number} for number, row in enumerate(ROWS[:45])],
        {"metric": "map"},
        "the train rows must hold queries with relevant documents and others, but of their 5 queries (25 rows) none "
        "can be ranked by map. Check --group-column and --label-column.",
    ),
    "a metric of labels": (
        ROWS,
        {"metric": "accuracy"},
        "the metric of the task must be one of ndcg_at_10, mrr_at_10, map, but got 'accuracy'. Correct --metric.",
    ),
    "the option for texts": (
        ROWS,
        {"text_columns": ("query", "document")},
        "a rerank task must have its texts named by --query-column and --document-column, but got --text-column. "
        "Use these.",
    ),
    "a regression": (
        ROWS,
        {"regression": True},
        "a rerank task must have no --regression, but got it with rerank. Drop it.",
    ),
}


@pytest.mark.parametrize("name", list(BAD_ROWS))
def test_bad_rows(name: str, write_rows: WriteRows) -> None:
    rows, settings, message = BAD_ROWS[name]
    with pytest.raises(TaskDataError) as raised:
        load(write_rows(rows), **settings)
    assert str(raised.value) == message


def test_other_tasks_have_no_queries(write_rows: WriteRows) -> None:
    with pytest.raises(TaskDataError) as raised:
        load_task_data(DataSource(task_name="custom", train_file=str(write_rows(ROWS)), group_column="id"))
    assert str(raised.value) == (
        "--query-column, --document-column and --group-column must be given with --task-name rerank, but got one with "
        "--task-name custom. Drop it or correct --task-name."
    )


LOADER = """
import json, sys
from sentence_transformers import CrossEncoder
for folder, pairs in json.loads(sys.stdin.read()):
    model = CrossEncoder(folder, trust_remote_code=True, device="cpu")
    print(json.dumps(model.predict(pairs).tolist()))
"""


@pytest.mark.slow
def test_cross_encoders_load_the_directory(base_model_dir: Path, write_rows: WriteRows, tmp_path: Path) -> None:
    """The scores of `CrossEncoder(directory)`, of stock and sliced models, of relevances and a teacher's scores, are
    those that are served, also of texts that are cut."""
    pytest.importorskip("sentence_transformers", reason="an environment with sentence-transformers loads the model")
    asked, expected, facts = [], [], cast(Any, None)
    for shift in (0, -1.5):  # relevances are not negative
        rows = [
            {**row, "document": f"{row['document']} " * place, "label": row["label"] + shift}  # type: ignore[operator]
            for place, row in enumerate(query_rows(10), start=1)
        ]
        data = load(write_rows(rows), max_seq_length=14)
        model, tokenizer = load_base_model(str(base_model_dir), data.task, (), seed=0)
        encoded = encode(data.test, data.task, tokenizer, 40)
        for name, sub_network in {"stock": EVEN, "sliced": ODD}.items():
            folder = tmp_path / f"{data.task.head.name}-{name}"
            folder.mkdir()
            sliced = slice_model(model.eval(), sub_network)
            save_sliced_model(folder, sliced, tokenizer, sub_network, DIMENSIONS, {})
            outputs = Evaluator(sliced, data.task, encoded).evaluate().logits
            asked.append((str(folder), list(data.test.texts)))
            expected.append([ANSWERS[data.task.head.name](output, facts, facts).score for output in outputs])
    assert len({Path(folder).name for folder, _ in asked}) == 4
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADER],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    for scores, served in zip(found, expected, strict=True):
        np.testing.assert_allclose(scores, served, atol=1e-6)
        assert len(set(served)) > 2
