"""Options from a YAML file, and a command's options as such a file: the same names, values as they would be typed.

A value is the text that stands in the file, not what YAML makes of it (`no` is a save strategy, not false), so that the
option's own type reads it as it reads the command line's words. Click does the rest by its `default_map`.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from compressor import __version__
from compressor.errors import OptionError, shorten
from compressor.files import local_path
from mlproject.cli.options import HOW_IT_RUNS
from mlproject.cli.parameters import NAMED_NUMBER

if TYPE_CHECKING:
    from yaml.nodes import Node

CONFIG_FILE = "config.yaml"
_NOT_IN_A_FILE = ("config_file", "debug")
"""Options about the command line itself."""
_SAME_AS = {"search_dirs": "searches"}
"""An option that says the same as an argument does."""
_NULL = ("", "~", "null", "Null", "NULL")


def read_config(text: str, command: click.Command) -> dict[str, Any]:
    """Return the values of a configuration file by the names of a command's parameters, as they would be typed.

    Raises:
        OptionError: it cannot be read, or has keys that are no options of the command.
    """
    path = local_path(text)
    options = _options_by_key(command)
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    unknown: list[str] = []
    for key, line, node in _read_pairs(path):
        name = key.removeprefix("--").replace("_", "-")
        if name not in options:
            nearest = difflib.get_close_matches(name, options, n=1, cutoff=0)[0]
            unknown.append(f"{shorten(repr(key), 60)} in line {line} (the nearest is {nearest!r})")
            continue
        option = options[name]
        if option.name in lines:
            raise OptionError(
                f"each option must stand once in {path.name}, but {name!r} stands in line {lines[option.name]} and, "
                f"perhaps by another name, in line {line}. Drop one."
            )
        lines[option.name] = line
        # A key without a value leaves the option at its default.
        value = _typed(node, option, path)
        if value:
            values[option.name] = value
    if unknown:
        raise OptionError(
            f"the keys of {path.name} must be options of compressor {command.name}, but it has {', '.join(unknown)}. "
            f"compressor {command.name} --help lists all."
        )
    return values


def render_config(command: click.Command, values: Mapping[str, Any]) -> str:
    """Return all options of a command with these values as a configuration file, but those that say how it runs.

    What is not given is null. Given again as `--config-file` the file says the same.
    """
    said = {
        key: _plain(option, values)
        for key, option in _options_by_key(command).items()
        if key == _key(option.opts[0]) and option.name not in HOW_IT_RUNS
    }
    first = f"# compressor {command.name} {__version__}. Again: compressor {command.name} --config-file {CONFIG_FILE}\n"
    return first + yaml.safe_dump(said, allow_unicode=True, sort_keys=False, width=10**6)


def _options_by_key(command: click.Command) -> dict[str, click.Option]:
    """Return options by each of their names, in the order of the command."""
    shown = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    return {_key(word): option for option in shown if option.name not in _NOT_IN_A_FILE for word in option.opts}


def _key(word: str) -> str:
    return word.removeprefix("--")


def _read_pairs(path: Path) -> list[tuple[str, int, "Node"]]:
    """Return keys, their lines and values of a file, in its order.

    Raises:
        OptionError: it is no file of YAML, or holds something else than keys and values.
    """
    if path.exists() and not path.is_file():  # a pipe or /dev/zero would be read for ever
        raise OptionError(
            f"--config-file must be an ordinary file, but {path} is a directory or device. Check the path."
        )
    try:
        # Composed, not loaded: nodes keep the text as it was typed, and the line where it stands.
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or shorten(error) or "it is nested too deeply"
        raise OptionError(
            f"--config-file must be a file of YAML, but {path} cannot be read: {reason.rstrip('.')}. "
            "Correct the path or the file."
        ) from error
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise OptionError(
            f"--config-file must hold options, a line each such as num-samples: 60, but {path.name} does not. "
            "Correct the file."
        )
    return [
        (str(key.value) if isinstance(key, yaml.ScalarNode) else "…", key.start_mark.line + 1, value)
        for key, value in root.value
    ]


def _typed(node: "Node", option: click.Option, path: Path) -> str | list[str]:
    """Return a value as it would be typed; empty for what is not given.

    Raises:
        OptionError: it is neither one word nor a list of words.
    """
    words = []
    for entry in node.value if isinstance(node, yaml.SequenceNode) else [node]:
        if not isinstance(entry, yaml.ScalarNode):
            raise OptionError(
                f"a value of {path.name} must be a text, a number, true, false or a list of these, but that of "
                f"{_key(option.opts[0])!r} (line {node.start_mark.line + 1}) is nested. Correct the file."
            )
        # A quoted "null" is a word; a bare one means that nothing is given.
        if entry.style or entry.value not in _NULL:
            words.append(str(entry.value))
    return words if option.multiple else ",".join(words)


def _plain(option: click.Option, values: Mapping[str, Any]) -> Any:
    """Return an option's value in the types that YAML has."""
    value = values[option.name or ""]
    if option.name in _SAME_AS:
        value = (*values[_SAME_AS[option.name]], *value)
    if option.type is NAMED_NUMBER and value is not None:
        return "=".join(map(str, value))
    return list(value) if isinstance(value, tuple) else value
