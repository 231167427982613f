"""The words of a command line."""

import re

import click
import pytest
from click.testing import CliRunner

import compressor
from mlproject.cli import cli
from mlproject.cli.commands import _training_settings
from mlproject.cli.options import _names_by_heading, normalise_arguments


def test_underscores_empty_values_and_equals() -> None:
    words = ["--model_name_or_path", "a_b", "--train-file", "", "--num_samples=3", "--metric=", "--bf16"]
    assert normalise_arguments(words) == ["--model-name-or-path", "a_b", "--num-samples=3", "--bf16"]


@pytest.mark.parametrize("command", list(cli.commands))
def test_help_explains_each_option(command: str) -> None:
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0
    for option in cli.commands[command].params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, option.name
            assert option.opts[0] in result.output


def test_help_stands_below_headings() -> None:
    def headings(command: str) -> list[str]:
        return re.findall(r"^([A-Z].*):$", CliRunner().invoke(cli, [command, "--help"]).output, flags=re.M)

    both = ["Model", "Data", "Training", "Search space and evaluation"]
    assert headings("train-supernet") == [*both, "Output"]
    assert headings("compress") == [*both, "Search", "Choice", "Vocabulary", "Export", "Timing", "Output"]
    assert headings("search") == ["Input", "Data", "Search space and evaluation", "Search", "Timing", "Output"]
    assert headings("extract") == ["Input", "Choice", "Vocabulary", "Output"]
    assert headings("sync") == ["Output"]
    assert _names_by_heading()["Export"] == {
        "runtime",
        "precision",
        "portable",
        "max_int8_loss",
        "register_as",
        "alias",
    }


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(cli, ["--version"]).output == f"compressor {compressor.__version__}\n"


def test_the_paper_s_names_are_accepted() -> None:
    words = "--learning_rate 2e-05 --model_name_or_path x --num_train_epochs 5 --output_dir y --save_strategy epoch "
    words += (
        "--per_device_eval_batch_size 8 --per_device_train_batch_size 4 --sampling_strategy full --search_space small "
    )
    words += "--seed 0 --task_name rte --num_random_sub_nets 2 --temperature 10"
    values = cli.commands["train-supernet"].make_context("train-supernet", words.split()).params
    assert (values["learning_rate"], values["per_device_train_batch_size"]) == (2e-5, 4)
    assert (values["sampling_strategy"], values["task_name"], values["temperature"]) == ("full", "rte", 10.0)
    words = "--model_name_or_path x --num_samples 100 --output_dir y --checkpoint_dir_model z --search_space small "
    words += "--search_strategy random_search --seed 0 --task_name rte"
    values = cli.commands["search"].make_context("search", words.split()).params
    assert (values["supernet"], values["num_samples"]) == ("z", 100)
    assert cli.commands["search"].make_context("s", ["--supernet", "z", "--method", "random_search"])


@pytest.mark.parametrize(("words", "value"), [([], False), (["--portable"], True), (["--portable", "false"], False)])
def test_switches_take_a_value_or_none(words: list[str], value: bool) -> None:
    assert cli.commands["export"].make_context("export", ["--model", "m", *words]).params["portable"] is value


@pytest.mark.parametrize(
    ("words", "value", "bf16"),
    [
        ([], "auto", None),
        (["--precision-training", "fp32"], "fp32", False),
        (["--precision_training=bf16"], "bf16", True),
        (["--bf16"], "bf16", True),
        (["--bf16", "true"], "bf16", True),
        (["--bf16", "False"], "fp32", False),
    ],
)
def test_the_precision_of_training_and_its_older_name(words: list[str], value: str, bf16: bool | None) -> None:
    values = cli.commands["train-supernet"].make_context("train-supernet", words).params
    assert values["precision_training"] == value
    assert _training_settings(values).bf16 is bf16
