"""Options from a file: what is read, what is refused, and that a run's own file says the same again."""

import os
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from compressor.errors import CompressorError
from mlproject.cli import cli
from mlproject.cli.config_file import CONFIG_FILE, render_config
from mlproject.cli.options import HOW_IT_RUNS
from mlproject.cli.parameters import INTEGERS, NAMED_NUMBER, WORDS


def parse(command: str, *words: str) -> dict[str, Any]:
    return cli.commands[command].make_context(command, list(words)).params


def write(text: str, name: str = "project.yaml") -> str:
    Path(name).write_text(text)
    return name


def test_options_are_read_as_they_would_be_typed() -> None:
    text = """
    # a comment
    model-name-or-path: roberta-base
    train_file: reviews.csv
    text-column: [first, second]   # once for each column
    label-column: [mood, colour]   # one value: with a comma
    save-strategy: no
    learning-rate: 2e-5
    lengths: [16, 64]
    batch-sizes: 1,4
    max-cost: size_mb=20
    portable: yes
    metric:
    test-file: null
    seed: ~
    method: nsga2
    """
    values = parse("compress", "--config-file", write(text))
    assert values["model_name_or_path"] == "roberta-base"
    assert (values["train_file"], values["text_columns"], values["label_column"]) == (
        "reviews.csv",
        ("first", "second"),
        "mood,colour",
    )
    assert (values["save_strategy"], values["learning_rate"], values["portable"]) == ("no", 2e-5, True)
    assert (values["lengths"], values["batch_sizes"], values["max_cost"]) == ((16, 64), (1, 4), ("size_mb", 20.0))
    assert (values["metric"], values["test_file"], values["seed"]) == (None, None, 0)
    assert values["search_strategy"] == "nsga2"  # by its other name
    assert values["num_samples"] == parse("compress")["num_samples"]


def test_the_command_line_wins_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    file = write("num-samples: 7\nseed: 3\ntext-column: body\nportable: true\n")
    words = ["--num-samples", "9", "--text-column", "other", "--portable", "false", "--config-file", file]
    values = parse("compress", *words)
    assert (values["num_samples"], values["seed"], values["text_columns"], values["portable"]) == (
        9,
        3,
        ("other",),
        False,
    )
    note = "Note: the command line wins over project.yaml in --text-column, --num-samples, --portable.\n"
    assert capsys.readouterr().out == note
    parse("compress", "--config-file", file)
    assert capsys.readouterr().out == ""


def test_an_option_that_must_be_given_may_stand_in_the_file() -> None:
    assert parse("search", "--config-file", write("supernet: net"))["supernet"] == "net"
    assert parse("benchmark", "--config-file", write("model: [a, b]"))["models"] == ("a", "b")
    with pytest.raises(click.MissingParameter):
        parse("search", "--config-file", write("seed: 3"))


def test_values_are_checked_as_on_the_command_line() -> None:
    for text, message in {
        "num-samples: 60.5": "'60.5' is not a valid integer.",
        "search-space: tiny": "'tiny' is not one of 'small_ordered'",
        "regression: perhaps": "'perhaps' is not a valid boolean",
        "lengths: [8, x]": "'8,x' is not a list of whole numbers such as 1,8.",
    }.items():
        with pytest.raises(click.BadParameter) as raised:
            parse("compress", "--config-file", write(text))
        assert message in raised.value.format_message()


EMPTY = ("", "# nothing\n", "{}")


@pytest.mark.parametrize("text", EMPTY)
def test_an_empty_file_says_nothing(text: str) -> None:
    assert parse("extract", "--search", "s", "--config-file", write(text)) == parse("extract", "--search", "s") | {
        "config_file": "project.yaml"
    }


def word_of(option: click.Option) -> str:
    """A value of an option that is not its default."""
    if isinstance(option.type, click.Choice):
        return str([choice for choice in option.type.choices if choice != option.default][-1])
    if option.type is INTEGERS:
        return "3,5"
    if option.type is WORDS:
        return "one,two"
    if option.type is NAMED_NUMBER:
        return "size_mb=20"
    by_type = {"boolean": str(not option.default).lower(), "integer": "17", "float": "1.25e-05", "device": "cuda:1"}
    return by_type.get(option.type.name, f"null: {option.name} é #\tno")


@pytest.mark.parametrize("name", [name for name in cli.commands if name != "sync"])
def test_a_run_s_own_file_gives_the_same_options(name: str) -> None:
    command = cli.commands[name]
    settable = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    settable = [one for one in settable if one.name not in HOW_IT_RUNS]
    required = [word for one in settable if one.required for word in (one.opts[0], "given")]
    every = [word for one in settable for word in (one.opts[0], word_of(one))]
    several = [word for one in settable if one.multiple for word in (one.opts[0], "another, one")]
    for words in (required, [*every, *several]):
        before = parse(name, *words)
        text = render_config(command, before)
        after = parse(name, "--config-file", write(text, CONFIG_FILE))
        assert after == before | {"config_file": CONFIG_FILE}
        assert render_config(command, after) == text
        keys = [one.opts[0].removeprefix("--") for one in settable]
        assert list(yaml.safe_load(text) or {}) == keys  # complete, and by the names that are typed


def test_a_name_that_is_no_text_can_be_given_again() -> None:
    odd = os.fsdecode(b"rows-\xff.csv")
    text = render_config(cli.commands["compress"], parse("compress", "--train-file", odd))
    assert parse("compress", "--config-file", write(text))["train_file"] == odd


def test_arguments_of_compare_stand_under_its_option() -> None:
    text = render_config(cli.commands["compare"], parse("compare", "a", "b", "--search", "c"))
    assert yaml.safe_load(text)["search"] == ["a", "b", "c"]


def test_unknown_keys_are_refused_with_the_nearest() -> None:
    with pytest.raises(CompressorError) as raised:
        parse("compress", "--config-file", write("num-sample: 3\nseed: 1\ntrain_fil: x\ndebug: true\n"))
    assert str(raised.value) == (
        "the keys of project.yaml must be options of compressor compress, but it has 'num-sample' in line 1 (the "
        "nearest is 'num-samples'), 'train_fil' in line 3 (the nearest is 'train-file'), 'debug' in line 4 (the "
        "nearest is 'index'). compressor compress --help lists all."
    )


def test_an_option_twice_is_refused() -> None:
    with pytest.raises(CompressorError) as raised:
        parse("search", "--config-file", write("method: nsga2\nsupernet: x\nsearch_strategy: morea\n"))
    assert str(raised.value) == (
        "each option must stand once in project.yaml, but 'search-strategy' stands in line 1 and, perhaps by another "
        "name, in line 3. Drop one."
    )
