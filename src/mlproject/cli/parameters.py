"""Click's commands and types, as Hugging Face users know options.

Underscores are accepted for hyphens, and an empty value means "not given", because that is how `mlflow run` passes a
parameter without a value.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from compressor.device import chosen_device, is_device
from mlproject.cli.processes import is_follower

HEADINGS = (
    "Input",
    "Model",
    "Data",
    "Training",
    "Search space and evaluation",
    "Search",
    "Choice",
    "Gate",
    "Vocabulary",
    "Export",
    "Timing",
    "Device",
    "Cluster",
    "Output",
)
"""What options stand under in a command's help, in this order; those that a command defines itself are its input."""


class HeadedOption(click.Option):
    """An option that stands below a heading."""

    def __init__(self, *args: Any, heading: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


class HuggingFaceCommand(click.Command):
    """A command that takes `--model_name_or_path` for `--model-name-or-path` and skips options with an empty value."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"show_default": True, "max_content_width": 110})
        super().__init__(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Return Click's own parsing, after the words are put into its form; a home that nobody has is refused here."""
        left = super().parse_args(ctx, normalise_arguments(args))
        if ctx.resilient_parsing:  # a shell asks how a word continues
            return left
        _tell_overridden(ctx)
        for name, value in ctx.params.items():
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and text.startswith("~") and not name.endswith("_file"):  # rows: in `data`
                    _require_home(text, ctx)
        return left

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, its models on the device that it was given."""
        with chosen_device(ctx.params["device"]) if "device" in ctx.params else nullcontext():
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options below their headings."""
        rows: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                heading = "Output" if "--help" in parameter.opts else getattr(parameter, "heading", HEADINGS[0])
                rows[heading].append(record)
        for heading, records in rows.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def _require_home(path: str, ctx: click.Context) -> None:
    """Raise unless a path that begins with ~ or ~NAME begins with a home that there is."""
    try:
        Path(path).expanduser()
    except RuntimeError:
        raise click.UsageError(
            f"a path with ~ must begin with somebody's home, but got {path[:100]!r}. Correct it.", ctx
        ) from None


def _tell_overridden(ctx: click.Context) -> None:
    """Print which options of the configuration file do not count, as the command line has them too."""
    given = ctx.default_map or {}
    typed = [
        one for one in ctx.command.params if ctx.get_parameter_source(one.name or "") is ParameterSource.COMMANDLINE
    ]
    both = [one.opts[0] for one in typed if one.name in given]
    if both and not is_follower():
        click.echo(f"Note: the command line wins over {ctx.params['config_file']} in {', '.join(both)}.")


class PathText(click.types.StringParamType):
    """A path, or what may stand in its place, as it is typed; shells complete it as a file's name."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Leave it to the shell, which knows the files."""
        return [CompletionItem(incomplete, type="file")]


PATH = PathText()


class TrainingPrecision(click.Choice[str]):
    """auto, fp32 or bf16; also true and false for the last two, as --bf16 was a switch."""

    def __init__(self) -> None:
        super().__init__(["auto", "fp32", "bf16"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the precision of a text."""
        switched = {"true": "bf16", "false": "fp32"}
        return super().convert(switched.get(str(value).lower(), value), param, ctx)


class ReadText(click.ParamType):  # type: ignore[type-arg]
    """A text of which a function makes a value; where that raises a ValueError, the text breaks the law."""

    def __init__(self, name: str, read: Callable[[str], Any], law: str, *, most_shown: int | None = None) -> None:
        self.name, self._read, self._law, self._most_shown = name, read, law, most_shown

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value of a text; what is a value already stays it."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError:
            self.fail(f"{value[: self._most_shown]!r} is not {self._law}.", param, ctx)


def _read_number(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    return name.strip(), float(number)


def _read_device(text: str) -> str:
    if not is_device(text):
        raise ValueError(text)
    return text


INTEGERS = ReadText(
    "integers", lambda text: tuple(int(part) for part in text.split(",")), "a list of whole numbers such as 1,8"
)
WORDS = ReadText("words", lambda text: tuple(part.strip() for part in text.split(",")), "words with commas")
NAMED_NUMBER = ReadText("name=number", _read_number, "a name and a number such as size_mb=20")
DEVICE = ReadText("device", _read_device, "auto, cpu, cuda or a GPU by its number such as cuda:1", most_shown=40)


def normalise_arguments(args: list[str]) -> list[str]:
    """Return the words of a command line with hyphens in option names and without options whose value is empty."""
    words: list[str] = []
    for word in args:
        if word == "" and words and words[-1].startswith("--"):
            # `--name ""`: the name goes with its empty value.
            words.pop()
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            if not equals or value:
                words.append(name.replace("_", "-") + equals + value)
        else:
            words.append(word)
    return words
