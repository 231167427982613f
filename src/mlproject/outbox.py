"""What a command has to tell MLflow, written down before it is told: an append-only file, and how far it got.

Entries are plain JSON. One whose content is there already is not added again, so that a command that goes on after an
interruption may tell all of it once more. Nothing is written before the output directory holds something, so that a
command that fails at once leaves no trace.
"""

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compressor.files import append_json_line, read_json, read_json_lines, write_json

Entry = dict[str, Any]
"""`kind`, the `run` it belongs to (by our own name for it), and what the kind needs; told `again` if it says so."""

FOLDER = ".compressor"
"""Of an output directory: what the tool keeps for itself."""
_HEADER, _ENTRIES, _DELIVERED = "command.json", "entries.jsonl", "delivered.jsonl"
TOP = "top"
"""Our name for the run of the command itself."""
_TIMES = ("start_ms", "end_ms", "now_ms")


class Outbox:
    """The entries of one output directory, in order."""

    def __init__(self, output_dir: Path) -> None:
        self.output_dir = output_dir
        self.header = read_header(output_dir)
        """What the directory was begun with; empty for a new one."""
        self.run_ids: dict[str, str] = {}
        """MLflow's ids of the runs, by our names for them."""
        self._folder = output_dir / FOLDER
        self._entries: list[Entry] = read_json_lines(self._folder / _ENTRIES)
        self._known = {_content(entry) for entry in self._entries}
        self._points = {point for entry in self._entries for point in _points(entry)}
        self._written = len(self._entries)
        self._header_written = bool(self.header)
        self._delivered = 0
        for line in read_json_lines(self._folder / _DELIVERED):
            self._delivered = line["number"]
            if "run_id" in line:
                self.run_ids[line["run"]] = line["run_id"]
        self._marks: list[Entry] = []
        self._lock = threading.Lock()  # entries are added by one thread and delivered by another

    def begin(self, header: dict[str, Any]) -> None:
        """Sets the header."""
        self._header_written = self._header_written and header == self.header
        self.header = header
        self.write()

    def add(self, entry: Entry) -> bool:
        """Adds an entry; False if its content is there already. Points of a metric that are known are left out."""
        points = _points(entry)
        if points and not entry.get("again"):
            if points <= self._points:
                return False
            new = points - self._points
            entry["metrics"] = [metric for metric in entry["metrics"] if (entry["run"], *metric) in new]
            self._points |= new
        content = _content(entry)
        if content in self._known and not entry.get("again"):
            return False
        self._known.add(content)
        self._entries.append(entry)
        self.write()
        return True

    def pending(self) -> Iterator[Entry]:
        """The entries that were not delivered, oldest first; each is to be marked before the next is taken."""
        while self._delivered < len(self._entries):
            yield self._entries[self._delivered]

    @property
    def num_pending(self) -> int:
        """How many entries were not delivered."""
        return len(self._entries) - self._delivered

    def mark_delivered(self, entry: Entry, run_id: str | None = None) -> None:
        """Notes that the oldest pending entry was delivered, and the id of the run it made."""
        self._delivered += 1
        mark: Entry = {"number": self._delivered}
        if run_id is not None:
            self.run_ids[entry["run"]] = run_id
            mark |= {"run": entry["run"], "run_id": run_id}
        self._marks.append(mark)
        self.write()

    def write(self, *, make_directory: bool = False) -> None:
        """Brings the files up to date, where the output directory is there or is to be made."""
        with self._lock:
            if not make_directory and not self.output_dir.is_dir():
                return
            if not self._header_written:
                self._folder.mkdir(parents=True, exist_ok=True)
                write_json(self._folder / _HEADER, self.header)
                self._header_written = True
            while self._written < len(self._entries):
                append_json_line(self._folder / _ENTRIES, self._entries[self._written], durable=False)
                self._written += 1
            while self._marks:
                append_json_line(self._folder / _DELIVERED, self._marks[0], durable=False)
                self._marks.pop(0)


def read_header(output_dir: Path) -> dict[str, Any]:
    """What an output directory was begun with: command, options, tracking server and run; empty for another one."""
    path = output_dir / FOLDER / _HEADER
    return dict(read_json(path)) if path.is_file() else {}


def clear(output_dir: Path) -> None:
    """Forgets what an output directory was begun with: it is to be written anew."""
    shutil.rmtree(output_dir / FOLDER, ignore_errors=True)


def is_finished(output_dir: Path) -> bool:
    """Whether the command that an output directory was begun with came to its end."""
    ends = [e for e in read_json_lines(output_dir / FOLDER / _ENTRIES) if e["kind"] == "end" and e["run"] == TOP]
    return bool(ends) and ends[-1]["status"] == "FINISHED"


def _points(entry: Entry) -> set[tuple[str, str, float, int]]:
    """The points of metrics that an entry tells: run, name, value, step."""
    told = entry.get("metrics", ()) if entry["kind"] == "log" else ()
    return {(entry["run"], name, value, step) for name, value, step in told}


def _content(entry: Entry) -> str:
    """A hash of what an entry says, whenever it was said."""
    said = {key: value for key, value in entry.items() if key not in _TIMES}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
