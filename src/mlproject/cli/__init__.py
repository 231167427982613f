"""The command line: Click commands, their options, and how a command resumes or ends."""

from mlproject.cli.commands import cli as cli
from mlproject.cli.commands import main as main
