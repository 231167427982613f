"""Labels are told apart as they are written, and numbered as the model that they are for numbers them."""

import pandas as pd
import pytest

from compressor.data.labels import describe_alike, list_names, positions_among
from compressor.data.tasks import TASKS, get_task
from compressor.errors import TaskDataError

CUSTOM = TASKS["custom"]


def table(labels: list[object]) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"row {i}" for i in range(len(labels))], "label": labels})


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["007", "7"], ("007", "7")),
        (["1_0", "10"], ("10", "1_0")),
        (["1e0", "1", "+1"], ("+1", "1", "1e0")),
        (["\u0661", "1"], ("1", "\u0661")),
        ([str(2**53), str(2**53 + 1)], ("9007199254740992", "9007199254740993")),
        ([2**53, 2**53 + 1], ("9007199254740992", "9007199254740993")),
        ([2**70, 2**70 + 1], (str(2**70), str(2**70 + 1))),
        (["003", "012", "1"], ("1", "003", "012")),
        (["1.0", "1", "0"], ("0", "1")),
        ([1.0, 0.0], ("0", "1")),
        (["1.5", "1"], ("1", "1.5")),
        ([True, False], ("False", "True")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["a", "B"], ("B", "a")),
        ([" x", "x ", "y"], ("x", "y")),
    ],
)
def test_names(labels: list[object], names: tuple[str, ...]) -> None:
    rows = table(labels * 3)
    assert CUSTOM.head.find_label_names(rows, CUSTOM) == names
    indices = CUSTOM.head.read_labels(rows, CUSTOM, names, "train")
    for label, index in zip(labels, indices, strict=False):
        written = str(label).strip()
        assert names[index] in (written, written.removesuffix(".0"))


def test_a_task_s_own_numbers_and_names() -> None:
    task = get_task("sst2")
    for labels in ([0, 1], ["1.0", "0.0"], ["positive", "negative"]):
        assert task.head.find_label_names(table(labels), task) == ("negative", "positive")
    assert task.head.read_labels(table(["1", "0.0"]), task, task.label_names, "test").tolist() == [1, 0]
    with pytest.raises(TaskDataError, match="must be among negative, positive, but got -1 too"):
        task.head.read_labels(table([-1]), task, task.label_names, "test")


@pytest.mark.parametrize("label", [["a"], {"a": 1}, [], ("a",), b"a"])
def test_a_label_is_one_thing(label: object) -> None:
    with pytest.raises(TaskDataError) as raised:
        CUSTOM.head.find_label_names(table(["a", label]), CUSTOM)
    assert str(raised.value) == (
        f"column 'label' must hold one label a row, but row 2 of the train rows holds {label!r}. "
        "Write a text or a number."
    )


def test_floats_that_stand_for_several_integers_are_refused() -> None:
    with pytest.raises(TaskDataError, match=r"row 1 of the train rows holds a float as large as 9007199254740992\.0"):
        CUSTOM.head.find_label_names(table([2.0**53, 1.5]), CUSTOM)


@pytest.mark.parametrize("label", ["1_0", "\u0661", "5%", "", "1,5", "yes", "0x10", True])
def test_regression_takes_numbers_alone(label: object) -> None:
    task = get_task("custom", regression=True)
    with pytest.raises(
        TaskDataError, match="the labels of a regression must be numbers, but row 2 of|must hold a label"
    ):
        task.head.read_labels(table(["1", label]), task, (), "train")


@pytest.mark.parametrize("label", ["inf", "nan", "1e39", 10**400])
def test_regression_takes_finite_numbers_alone(label: object) -> None:
    task = get_task("custom", regression=True)
    with pytest.raises(TaskDataError, match="must be finite, but row 2 of the train rows holds "):
        task.head.read_labels(table([1, label]), task, (), "train")


@pytest.mark.parametrize(
    ("names", "model_names", "positions"),
    [
        (["bad", "good"], ["good", "bad"], [1, 0]),
        (["Bad", "GOOD"], ["good", "bad"], [1, 0]),
        (["good", "bad"], ["bad", "good", "so so"], [1, 0]),
        (["0", "1"], ["negative", "positive"], [0, 1]),
        (["0", "1"], ["LABEL_0", "LABEL_1"], [0, 1]),
        (["LABEL_1", "LABEL_0"], ["LABEL_0", "LABEL_1"], [1, 0]),
        (["1", "2"], ["2", "1"], [1, 0]),
        (["007", "010"], ["7", "10"], [0, 1]),
        (["Yes", "yes"], ["yes", "Yes"], [1, 0]),
    ],
)
def test_positions_are_told_by_name(names: list[str], model_names: list[str], positions: list[int]) -> None:
    assert positions_among(names, model_names, defined=False) == positions


@pytest.mark.parametrize(
    ("names", "model_names"),
    [
        (["bad", "good"], ["negative", "positive"]),
        (["bad", "good"], ["LABEL_0", "LABEL_1"]),
        (["bad", "good"], ["0", "1"]),
        (["1", "2"], ["negative", "positive"]),
        (["0", "1"], ["negative", "neutral", "positive"]),
        (["0", "1"], ["1", "2"]),
        (["Good", "bad"], ["good", "GOOD"]),
        (["good", "GOOD"], ["Good", "bad"]),
        (["a", "b", "c"], ["a", "b"]),
        (["0", "1"], ["LABEL_0", "LABEL_1", "LABEL_2"]),
    ],
)
def test_what_cannot_be_told_is_refused(names: list[str], model_names: list[str]) -> None:
    with pytest.raises(TaskDataError, match="the labels of the data must be the model's, "):
        positions_among(names, model_names, defined=False)


def test_a_model_without_names_takes_an_order_that_is_defined() -> None:
    """As GLUE defines entailment to be 0."""
    names = ["entailment", "not_entailment"]
    assert positions_among(names, ["LABEL_0", "LABEL_1"], defined=True) == [0, 1]
    with pytest.raises(TaskDataError):
        positions_among(names, ["no", "yes"], defined=True)


def test_names_in_an_error_stay_short() -> None:
    assert list_names(["a\nb", "x" * 99, *"cdefghijklm"]) == f"a b, {'x' * 39}…, c, d, e, f, g, h, i, j"


def test_labels_that_look_alike_are_told() -> None:
    assert describe_alike(["007", "7", "Yes", "yes", "no", "no\u200b", "a b"]) == (
        "labels that look alike are told apart: '007' and '7', 'Yes' and 'yes', 'no' and 'no\\u200b'."
    )
    assert describe_alike(["-1", "1", "01:00", "bad", "good", "not bad"]) is None
