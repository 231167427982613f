"""The journal of a search: every evaluation as it is made, so that a killed search loses none."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.files import append_json_line, read_json_lines

JOURNAL_FILE = "evaluations.jsonl"
"""One evaluation a line; the first line says of which search."""


def open_journal(output_dir: Path, search_of: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The evaluations in the journal of a directory, by their sub-networks' hashes.

    `search_of` is what the evaluations depend on; a journal of another search is begun anew.
    """
    path = output_dir / JOURNAL_FILE
    lines = read_json_lines(path)
    head = {"search": json.loads(json.dumps(search_of))}
    if lines and lines[0] == head:
        return {line["sub_network"]: line for line in lines[1:]}
    path.unlink(missing_ok=True)
    append_json_line(path, head)
    return {}
