"""The text of the file MLproject, made from the Click commands so that parameters and defaults cannot drift apart.

`python -m mlproject.cli.project_file > MLproject` writes it again after an option has changed; a test compares the two.
"""

from typing import Any

import click

MAIN = "compress"
_NO_RUN = ("sync",)
"""Commands that start no run, so MLflow has nothing to start."""
NO_PARAMETERS = ("debug", "config_file", "dry_run")
"""Options that mean nothing in a run of MLflow's: it gives all others, which would win over a file."""


def render_project() -> str:
    """Return the content of MLproject: one entry point per command, `main` for `compress`."""
    from mlproject.cli import cli

    lines = ["name: mlflow-compressor", "", "conda_env: conda.yaml", "", "entry_points:"]
    # `main` comes first; sorting is stable, so the others keep their order.
    for name, command in sorted(cli.commands.items(), key=lambda item: item[0] != MAIN):
        if name in _NO_RUN:
            continue
        shown = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
        options = {one.opts[0]: one for one in shown if one.name not in NO_PARAMETERS}
        keys = {flag: flag.removeprefix("--").replace("-", "_") for flag in options}
        lines += [f"  {'main' if name == MAIN else name}:", "    parameters:"]
        lines += [f"      {keys[f]}: {{type: {_type(one)}, default: {_default(one)}}}" for f, one in options.items()]
        words = " ".join(f"{flag} {{{key}}}" for flag, key in keys.items())
        lines.append(f'    command: "python src {name} {words}"')
    return "\n".join(lines) + "\n"


def parameter_default(option: click.Option) -> Any:
    """Return an option's default as MLproject writes it: "" for "not given", None for "required", text for switches."""
    if option.required:
        return None
    if option.default in (None, ()) or type(option.default).__name__ == "Sentinel":
        return ""
    return str(option.default).lower() if isinstance(option.default, bool) else option.default


def _type(option: Any) -> str:
    numeric = isinstance(option.type, click.types.IntParamType | click.types.FloatParamType)
    return "float" if numeric and parameter_default(option) != "" else "string"


def _default(option: Any) -> str:
    value = parameter_default(option)
    if value is None:
        return "null"
    if isinstance(value, float):
        # YAML reads 2e-05 as a text: it wants a point in the mantissa.
        return f"{value:.10f}".rstrip("0") + ("0" if value == int(value) else "")
    return str(value) if isinstance(value, int) else f'"{value}"'


if __name__ == "__main__":
    print(render_project(), end="")
