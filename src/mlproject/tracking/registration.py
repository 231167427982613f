"""The settings of the stages, checked when they are made. Apart from the stages so that `--help` answers at once."""

from dataclasses import dataclass

from compressor.limits import Problem
from exporters.options import ExportOptions


@dataclass(frozen=True, kw_only=True)
class LoggedExportOptions(ExportOptions):
    """How a model is exported, and under which name MLflow's registry gets it."""

    register_as: str | None = None
    """The registered model in MLflow that gets a new version."""
    alias: str | None = None
    """Of that version, such as champion."""

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
