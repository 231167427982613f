"""The journal of a search: every evaluation as it is made, so that a killed search loses none."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.files import holds_json, read_json_lines, write_json
from mlproject.tracking.outbox import FOLDER

JOURNAL_FILE = "evaluations.jsonl"
"""One evaluation a line."""
_HEAD = "journal.json"


def open_journal(output_dir: Path, search_of: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The evaluations in the journal of a directory, by their sub-networks' hashes.

    `search_of` is what the evaluations depend on; a journal of another search is begun anew. Damaged lines are passed
    over: their sub-networks are evaluated again.
    """
    path, head = output_dir / JOURNAL_FILE, output_dir / FOLDER / _HEAD
    if holds_json(head, search_of):
        return {line["sub_network"]: line for line in read_json_lines(path) if _is_whole(line)}
    path.unlink(missing_ok=True)
    write_json(head, dict(search_of))
    return {}


def _is_whole(line: Any) -> bool:
    """Whether a line has what a search needs of an evaluation, as numbers."""
    if not isinstance(line, dict) or not isinstance(line.get("sub_network"), str):
        return False
    values = [line.get("error"), line.get("eval_seconds"), *(line.get(n) or 0 for n in ("macs", "latency_ms"))]
    numbers = all(isinstance(v, int | float) and math.isfinite(v) for v in values)
    return numbers and {"macs", "latency_ms"} <= line.keys()


def copy_journal(source: Path, target: Path) -> None:
    """Brings the journal of a search to the directory where it is to go on."""
    (target / FOLDER).mkdir(parents=True, exist_ok=True)
    for name in (JOURNAL_FILE, f"{FOLDER}/{_HEAD}"):
        shutil.copyfile(source / name, target / name)
