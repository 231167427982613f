"""MLproject says what Click says."""

from pathlib import Path

import click
import mlflow.projects._project_spec as project_spec
import pytest

from mlproject.cli import cli
from mlproject.cli.project_file import NO_PARAMETERS, parameter_default, render_project

ROOT = Path(__file__).parents[3]
PROJECT = project_spec.load_project(str(ROOT))


COMMANDS = [name for name in cli.commands if name != "sync"]  # it starts no run


def entry_point(command: str) -> str:
    return "main" if command == "compress" else command


def test_the_file_is_what_the_commands_render() -> None:
    text = (ROOT / "MLproject").read_text()
    assert text == render_project(), "an option has changed: python -m mlproject.cli.project_file > MLproject"


def test_every_command_is_an_entry_point() -> None:
    assert set(PROJECT._entry_points) == {entry_point(name) for name in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_parameters_and_defaults_equal_click_s(command: str) -> None:
    """Read by MLflow and by Click, not by the code that wrote the file."""
    parameters = PROJECT.get_entry_point(entry_point(command)).parameters
    options = {
        option.opts[0].removeprefix("--").replace("-", "_"): option
        for option in cli.commands[command].params
        if isinstance(option, click.Option) and not option.hidden and option.name not in NO_PARAMETERS
    }
    assert list(parameters) == list(options)
    for name, parameter in parameters.items():
        default = parameter_default(options[name])
        assert (parameter.default is None) == options[name].required
        if parameter.default is not None and not isinstance(default, str):
            assert float(parameter.default) == float(default)
        elif parameter.default is not None:
            assert parameter.default == default


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_that_mlflow_builds_parses(command: str, tmp_path: Path) -> None:
    """All parameters at their defaults, as `mlflow run` passes them, give Click's own values."""
    import shlex

    entry = PROJECT.get_entry_point(entry_point(command))
    required = {name: "given" for name, parameter in entry.parameters.items() if parameter.default is None}
    words = shlex.split(entry.compute_command(required, str(tmp_path)))
    assert words[:3] == ["python", "src", command]
    click_command = cli.commands[command]
    flags = [word for name in required for word in (f"--{name.replace('_', '-')}", "given")]
    by_mlflow = click_command.make_context(command, words[3:]).params
    assert by_mlflow == click_command.make_context(command, flags).params
