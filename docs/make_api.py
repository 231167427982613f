"""Makes docs/api.md of the docstrings of the public names: `python docs/make_api.py > docs/api.md`."""

import dataclasses
import inspect
import re
from enum import Enum
from types import ModuleType
from typing import Any

import compressor
import exporters
from compressor.errors import without_flags
from compressor.options import Option, find_options

_HEAD = """# The Python interface

Made of the docstrings by `python docs/make_api.py > docs/api.md`; a test keeps it current. [The ten
lines](notebook.md) show it at work. Every name is loaded when it is first used: `import compressor` takes a few
hundredths of a second.
"""


def main() -> None:
    """Prints the page."""
    print(make_page(), end="")


def make_page() -> str:
    """Return the page in Markdown."""
    parts = [_HEAD]
    for module in (compressor, exporters):
        parts.append(f"## {module.__name__}\n\n{_paragraphs(inspect.getdoc(module) or '')}\n")
        parts += [_describe(module, name) for name in module.__all__]
    return "\n".join(parts)


def _describe(module: ModuleType, name: str) -> str:
    value: Any = getattr(module, name)
    title = f"### {name}\n\n"
    if inspect.isfunction(value):
        return f"{title}```text\n{_signature(name, value)}\n```\n\n{_paragraphs(inspect.getdoc(value) or '')}\n"
    text = f"{title}{_paragraphs(inspect.getdoc(value) or '')}\n"
    if dataclasses.is_dataclass(value) and isinstance(value, type):
        documented = _field_docs(value)
        documented |= {name: _in_python(one) for name, one in find_options(value).items()}
        rows = [_field(field, documented.get(field.name, "")) for field in dataclasses.fields(value)]
        text += "\n| field | type | default | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    for method, function in _methods(value):
        is_property = not callable(vars(value)[method]) and not isinstance(vars(value)[method], classmethod)
        shown = f".{method}" if is_property else _signature(f".{method}", function)
        text += f"\n**`{shown}`**\n\n{_paragraphs(inspect.getdoc(function) or '')}\n"
    return text


def _methods(cls: Any) -> list[tuple[str, Any]]:
    """The public methods and properties of a class, as they are written down."""
    if not isinstance(cls, type) or issubclass(cls, Enum | Exception):
        return []
    members = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
    found = []
    for name, value in members.items():
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        function = getattr(function, "func", function)  # of a cached property
        if inspect.isfunction(function):
            found.append((name, function))
    return found


def _signature(name: str, function: Any) -> str:
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for key, parameter in inspect.signature(function).parameters.items()
        if key not in ("self", "cls")
    ]
    return f"{name}{inspect.Signature(parameters)}"


def _field(field: Any, text: str) -> str:
    kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
    if field.default is not dataclasses.MISSING:
        default = f"`{field.default!r}`"
        default = default if len(default) < 60 else f"`{type(field.default).__name__}()`"
    else:
        default = "" if field.default_factory is dataclasses.MISSING else "made"
    kind = re.sub(r"typing\.|\w+\.(?=\w)", "", str(kind)).replace("|", "\\|")
    kind = kind if len(kind) < 60 and "Annotated" not in kind else re.sub(r"Annotated\[([\w.\[\], ]+?),.*", r"\1", kind)
    return f"| `{field.name}` | {_code(kind)} | {default} | {text} |"


def _code(text: str) -> str:
    return f"`{text}`" if text.isidentifier() else text.replace("[", "\\[").replace("<", "&lt;")


def _field_docs(cls: type) -> dict[str, str]:
    """The texts below the fields of a dataclass."""
    sources = [inspect.getsource(one) for one in reversed(cls.__mro__) if dataclasses.is_dataclass(one)]
    found = re.findall(r'^    (\w+): [^\n]+\n    """(.+?)"""', "\n".join(sources), flags=re.M | re.S)
    return {name: " ".join(text.split()).replace("|", "\\|") for name, text in found}


def _in_python(option: Option) -> str:
    """The help text of an option with the names of fields in place of flags, and its values in place of words."""
    words = ", ".join(f"{word} is `{value}`" for word, value in (option.words or {}).items())
    text = f"{option.help} Here {words}." if words else option.help
    return without_flags(text).replace("|", "\\|").replace("<", "&lt;")


def _paragraphs(text: str) -> str:
    """A docstring as Markdown: what it raises as a list."""
    body, _, raises = text.partition("Raises:\n")
    if not raises:
        return text.strip()
    items = re.findall(r"^ {4}(\w+): (.+?)(?=^ {4}\w+: |\Z)", raises, flags=re.M | re.S)
    return body.strip() + "\n\n" + "\n".join(f"- raises `{name}`: {' '.join(of.split())}" for name, of in items)


if __name__ == "__main__":
    main()
