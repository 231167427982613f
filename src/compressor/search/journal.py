"""The journal of a search: every evaluation as it is made, so that a killed search loses none."""

import shutil
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.digests import Inputs, digest_code
from compressor.evaluation.latency_table import TABLE_FILE
from compressor.files import STATE_FOLDER, append_json_line, read_json, read_json_lines, write_json
from compressor.records import Amount, Errors, parse_record
from compressor.search.objectives import OtherCosts, other_cost_names

if TYPE_CHECKING:
    from compressor.search.record import EvaluatedSubNetwork

JOURNAL_FILE = "evaluations.jsonl"
"""One evaluation a line."""
_HEAD = "journal.json"
_CODE = "code_digest"
"""The key of the head for the code that began the journal; version 0.1.0 wrote none."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a search needs of an evaluation that was made before."""

    sub_network: str
    """Its hash."""
    error: Errors
    eval_seconds: Amount
    costs: OtherCosts = field(default_factory=dict)
    predictions: str | None = None
    """Predictions of the validation rows, packed; None where an older version wrote the line."""


def open_journal(directory: Path, inputs: Inputs, objectives: Collection[str] = ()) -> dict[str, Recorded]:
    """Return the evaluations in the journal of a directory, by their sub-networks' hashes.

    A journal of a search with other inputs is begun anew; one that other code began is taken up with a note, as its
    evaluations may be the work of a night. Damaged lines are passed over, and so are those without a cost that is an
    objective: their sub-networks are evaluated again.
    """
    path, head = directory / JOURNAL_FILE, directory / STATE_FOLDER / _HEAD
    content = read_json(head) if head.is_file() else {}
    written = content if isinstance(content, dict) else {}
    code, own_code = written.pop(_CODE, None), digest_code("compressor")
    if inputs.same_as(replace(inputs, values=written)):
        recorded = filter(None, map(_read, read_json_lines(path)))
        # Parameters are counted anew in closed form; other costs stand in the line or are lost.
        needed = set(other_cost_names()).intersection(objectives)
        found = {one.sub_network: one for one in recorded if needed <= one.costs.keys()}
        if found and code not in (None, own_code):
            print(
                f"Note: the search in {directory} was begun by another version of the code. Its evaluations "
                f"({len(found)}) are kept, the others are made by this version. For all from one version, begin in "
                "another directory."
            )
        return found
    # The lines first: killed in between, the old head goes with no lines, and nothing foreign is taken up.
    path.unlink(missing_ok=True)
    write_json(head, inputs.identity | {_CODE: own_code})
    return {}


def has_journal(directory: Path) -> bool:
    """Return whether a search was begun in a directory."""
    return (directory / STATE_FOLDER / _HEAD).is_file()


def _read(line: Any) -> Recorded | None:
    """Return an evaluation of a line, None where the line is damaged or cut."""
    try:
        return parse_record(Recorded, line)
    except ValueError:
        return None


def add_to_journal(directory: Path, evaluation: "EvaluatedSubNetwork", predictions: str | None = None) -> None:
    """Append an evaluation and its packed predictions to the journal of a directory."""
    packed = {} if predictions is None else {"predictions": predictions}
    append_json_line(directory / JOURNAL_FILE, evaluation.to_json() | packed)


def copy_journal(source: Path, target: Path) -> None:
    """Copy the journal of a search, and its latency table, to the directory where it is to resume."""
    (target / STATE_FOLDER).mkdir(parents=True, exist_ok=True)
    for name in (JOURNAL_FILE, f"{STATE_FOLDER}/{_HEAD}", TABLE_FILE):
        if name != TABLE_FILE or (source / name).is_file():
            shutil.copyfile(source / name, target / name)
