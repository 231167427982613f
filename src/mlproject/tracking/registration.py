"""The settings of the stages, checked when they are made. Apart from the stages so that `--help` answers at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from compressor.options import Problem, option, refuse
from exporters.options import ExportOptions


@dataclass(frozen=True, kw_only=True)
class LoggedExportOptions(ExportOptions):
    """How a model is exported, and under which name MLflow's registry gets it."""

    register_as: str | None = option(None, "Registered model in MLflow that gets this one as a new version.")
    alias: str | None = option(None, "Alias of that version, such as champion; needs --register-as.")

    def _problems(self) -> list[Problem]:
        alone = [
            Problem(
                option="--alias",
                law="given with --register-as",
                value=f"{self.alias!r} alone",
                remedy="Name the registered model.",
            )
        ]
        return [*(alone if self.alias and not self.register_as else []), *super()._problems()]


CHAMPION = "champion"
SHORT_NAMES = {"S": "small", "M": "medium", "L": "large"}
"""What tiers are called in a registry, where they have only a letter."""


def find_aliases(names: Sequence[str], champion: str | None = None) -> dict[str, tuple[str, ...]]:
    """Return what each member of a family is called in a registry: by its tier, and the champion so too."""
    named = {name: SHORT_NAMES.get(name, name) for name in names}
    return {name: (own, CHAMPION) if name == champion else (own,) for name, own in named.items()}


def require_aliases(options: LoggedExportOptions, names: Sequence[str]) -> None:
    """Raise where the members of a family cannot have the aliases of their tiers.

    Raises:
        OptionError: an alias is given, or a name of a member is none that MLflow takes.
    """
    aliases = [alias for given in find_aliases(names).values() for alias in given]
    problems = []
    if options.alias is not None:
        law = f"left out for a family, whose versions are {', '.join((*aliases, CHAMPION))}"[:300]
        problems = [Problem(option="--alias", law=law, value=repr(options.alias), remedy="Leave it out.")]
    elif options.register_as is not None:
        from mlproject.tracking.delivery import find_registration_problems

        problems = [problem for alias in aliases for problem in find_registration_problems(None, alias)]
    refuse(problems)
