"""The README's commands: CI runs the two set-up lines, the parsers here take the others."""

import re
import shlex
from pathlib import Path

import pytest

from compressor.search.methods import TRIAL_METHODS
from compressor.spaces import SEARCH_SPACES
from compressor.training.strategies import SAMPLING_STRATEGIES
from mlproject.cli import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = (ROOT / "docs" / "commands.md").read_text()
TEXT = README + (ROOT / "docs" / "paper.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, flags=re.S)
LINES = [line.partition("   #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]


def test_ci_runs_the_readme_s_test_line() -> None:
    assert "pip install -e '.[dev]' && python -m pytest" in LINES
    assert "pip install -q -e '.[dev]' && python -m pytest" in (ROOT / ".ci" / "run").read_text()
    assert "mlflow run . --env-manager local --experiment-name compressor" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("compressor ")])
def test_commands_parse(line: str) -> None:
    _, command, *words = shlex.split(line)
    cli.commands[command].make_context(command, words)


@pytest.mark.parametrize("line", [line for line in LINES if "mlflow run" in line])
def test_mlproject_has_the_parameters(line: str) -> None:
    from mlflow.projects._project_spec import load_project

    parameters = load_project(str(ROOT)).get_entry_point("main").parameters
    assert all(name in parameters for name in re.findall(r"-P (\w+)=", line))


def test_every_choice_is_named() -> None:
    for name in (*SEARCH_SPACES, *SAMPLING_STRATEGIES, *TRIAL_METHODS, *cli.commands):
        assert f"`{name}`" in COMMANDS or f"`compressor {name}" in COMMANDS, name


def test_the_readme_is_read_in_one_go() -> None:
    assert len(README.splitlines()) <= 150


def test_the_tree_names_every_folder() -> None:
    tree = (ROOT / "ARCHITECTURE.md").read_text().partition("## Files")[2]
    for path in (ROOT / "src").rglob("__init__.py"):
        assert re.search(rf"(^|[ /]){path.parent.name}/ ", tree, re.MULTILINE), path.parent
