"""The words of a command line."""

import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import compressor
from compressor.options import find_options
from compressor.search.options import SearchOptions
from compressor.training.settings import TrainingSettings
from mlproject.cli import cli, commands, main
from mlproject.cli.options import RunOptions, _parameter, pick
from mlproject.cli.parameters import HeadedOption, normalise_arguments


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


def test_what_a_command_needs_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    for command in cli.commands.values():
        needed = [one for one in command.params if isinstance(one, click.Option) and one.required]
        for missing in needed:
            words = [word for one in needed if one is not missing for word in (one.opts[0], "given")]
            with pytest.raises(SystemExit):
                main([str(command.name), *words])
            assert capsys.readouterr().err.startswith(f"Error: Missing option '{missing.opts[0]}'"), command.name


def test_help_stands_below_headings() -> None:
    def headings(command: str) -> list[str]:
        return re.findall(r"^([A-Z].*):$", CliRunner().invoke(cli, [command, "--help"]).output, flags=re.M)

    both = ["Model", "Data", "Training", "Search space and evaluation"]
    assert headings("train-supernet") == [*both, "Device", "Output"]
    assert headings("compress") == [*both, "Search", "Choice", "Vocabulary", "Export", "Timing", "Device", "Output"]
    assert headings("search") == [
        "Input",
        "Data",
        "Search space and evaluation",
        "Search",
        "Timing",
        "Device",
        "Cluster",
        "Output",
    ]
    assert headings("extract") == ["Input", "Choice", "Vocabulary", "Device", "Output"]
    assert headings("sync") == ["Output"]
    assert headings("evaluate") == ["Input", "Data", "Gate", "Output"]
    headed = [one for one in cli.commands["compress"].params if isinstance(one, HeadedOption)]
    assert {one.name for one in headed if one.heading == "Export"} == {
        "runtime",
        "precision",
        "portable",
        "max_int8_loss",
        "register_as",
        "alias",
    }


def test_a_cluster_is_named_by_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "first:6379")
    for words, address in (([], "first:6379"), (["--ray", "local"], "local"), (["--ray", ""], "first:6379")):
        assert cli.commands["nas"].make_context("nas", words).params["ray"] == address


@pytest.mark.parametrize("command", [name for name in cli.commands if name != "sync"])
def test_every_option_is_a_field_of_a_class_that_the_command_makes(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """None is offered and then forgotten."""
    taken = {_parameter(name, one) for name, one in find_options(RunOptions).items()}

    def spy(made: type, values: dict[str, Any], **changes: Any) -> Any:
        taken.update(_parameter(name, one) for name, one in find_options(made).items())
        return pick(made, values, **changes)

    def begin(_: str) -> None:
        raise InterruptedError

    monkeypatch.setattr(commands, "pick", spy)
    monkeypatch.setattr(commands, "_top_run", begin)
    monkeypatch.chdir(tmp_path)
    Path("given").write_text("a text")
    words = [word for one in cli.commands[command].params if one.required for word in (one.opts[0], "given")]
    with pytest.raises(InterruptedError):
        cli.commands[command].main(words, standalone_mode=False)
    assert {one.name for one in cli.commands[command].params if isinstance(one, HeadedOption)} <= taken


def test_unknown_options_are_refused() -> None:
    assert pick(SearchOptions, {"num_samples": 3, "seed": None}, threads=None).num_samples == 3
    with pytest.raises(TypeError, match="num_sample"):
        pick(SearchOptions, {}, num_sample=3)


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
    assert pick(TrainingSettings, values).bf16 is bf16


def complete(line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a shell is offered where a line that ends so is to go on: kind,word."""
    monkeypatch.setenv("_COMPRESSOR_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("compressor tr", ["plain,train-supernet", "plain,trim-vocabulary"]),
        (
            "compressor compress --num-",
            [
                "plain,--num-random-sub-nets",
                "plain,--num-train-epochs",
                "plain,--num-samples",
                "plain,--num-candidates",
            ],
        ),
        ("compressor compress --search-space medium --attn-implementation e", ["plain,eager"]),
        ("compressor train-supernet --train-file rev", ["file,rev"]),
        ("compressor compare out/se", ["file,out/se"]),
        (
            "compressor compress --config-file none.yaml --train-file ~nobody/x --metric f",
            ["plain,f1", "plain,f1_macro", "plain,f1_micro"],
        ),
    ],
)
def test_shells_complete(
    line: str, offered: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert complete(line, capsys, monkeypatch) == offered


def test_the_script_of_the_documentation_is_click_s(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for shell in ("bash", "zsh", "fish"):
        monkeypatch.setenv("_COMPRESSOR_COMPLETE", f"{shell}_source")
        monkeypatch.setattr("click.shell_completion.BashComplete._check_version", lambda *_: None)
        with pytest.raises(SystemExit):
            main([])
        assert f"_COMPRESSOR_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_a_path_may_have_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As folders of sweeps have, such as Hydra's."""
    monkeypatch.chdir(tmp_path)
    for name in ("lr=1e-4,seed=1", "a", "b"):
        (tmp_path / name).mkdir()
    given = ["lr=1e-4,seed=1", "a,b", "runs:/1/x,runs:/2/y"]
    assert commands._paths(given) == ["lr=1e-4,seed=1", "a", "b", "runs:/1/x", "runs:/2/y"]
