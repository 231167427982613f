"""A family: models of one search in several sizes, each in a folder of its own, that are deployed together.

`family.json` beside the folders names them, and the one to take where nothing else is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compressor.extraction.record import ExtractionReport
from compressor.files import is_plain_name
from compressor.records import broken, read_record, write_record

FAMILY_FILE = "family.json"
_NEXT_STEP = "Restore it, or extract again with compressor extract --tiers"


@dataclass(frozen=True, kw_only=True)
class Family:
    """The members of a family."""

    members: tuple[str, ...]
    """Names of their folders, the smallest model first."""
    champion: str
    """The smallest member that surely loses little of the super-network's error; else the one of the smallest error."""
    tiers: tuple[str, ...] = ()
    """As they were asked for; nothing for a whole front."""

    def folder_of(self, directory: Path, name: str) -> Path:
        """Return where a member of a family in a directory is: a model's files among MLflow's artifacts lie deeper."""
        deeper = directory / name / "model"
        return deeper if not (directory / name / "config.json").is_file() and deeper.is_dir() else directory / name

    @classmethod
    def load(cls, directory: Path) -> "Family":
        """Return the family in a directory.

        Raises:
            FileError: its file is not there or broken, or names no folders beside it.
        """
        file = directory / FAMILY_FILE
        family = read_record(file, cls, _NEXT_STEP)
        odd = [name for name in family.members if not is_plain_name(name)]
        if odd or not family.members or len(set(family.members)) < len(family.members):
            raise broken(file, f"its members are {', '.join(map(repr, family.members)) or 'none'}"[:200], _NEXT_STEP)
        if family.champion not in family.members:
            raise broken(file, f"its champion {family.champion[:100]!r} is none of its members", _NEXT_STEP)
        return family

    def save(self, directory: Path) -> Path:
        """Write `family.json`."""
        return write_record(directory / FAMILY_FILE, self)


def is_family(directory: Path) -> bool:
    """Return whether a directory holds a family, rather than one model."""
    return (directory / FAMILY_FILE).is_file()


def find_members(directory: Path) -> dict[str, Path]:
    """Return the folders of a family's members by name; of any other path itself, without a name.

    Raises:
        FileError: the file of the family is broken.
    """
    if not is_family(directory):
        return {"": directory}
    family = Family.load(directory)
    return {name: family.folder_of(directory, name) for name in family.members}


def make_family(
    reports: Mapping[str, ExtractionReport], holding: Mapping[str, bool], tiers: tuple[str, ...] = ()
) -> Family:
    """Return the family of some extracted models, by their folders; `holding` says which surely lose little error."""
    # Of equally many parameters the better one comes first, so that it is the champion.
    by_size = sorted(reports, key=lambda name: (reports[name].extracted.params, reports[name].error))
    surely = [name for name in by_size if holding[name]]
    champion = surely[0] if surely else min(by_size, key=lambda name: reports[name].error)
    return Family(members=tuple(by_size), champion=champion, tiers=tiers)
